/** The connection over the runtime's WebSocket: every way to open, run and end. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { type CloseRecord, encodeClosePayload } from "../../lib/protocol/close.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { MAX_BUILTIN_FRAME_BYTES } from "../../lib/connection/connection.ts";
import { MAX_UNREAD_BYTES } from "../../lib/connection/inbox.ts";
import { type Connection, OpenError, type OpenOptions, OptionError } from "../../lib/connection/connection.ts";
import { TimeoutError } from "../../lib/net/deadline.ts";
import { BINARY, CLOSE, rawPeer, type Script, TEXT } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const SHORT = { timeoutMs: 100 };

/** Runs a test over a connection that the peer has upgraded. */
async function connected(script: Script, test: (connection: Connection) => Promise<void>, options: OpenOptions = {}) {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
  await test(await openBuiltin(peer.url, options));
}

for (
  const [what, url, options] of [
    ["a URL that is none", "::", {}],
    ["a certificate that is none", "wss://127.0.0.1/", { clientCertificate: { cert: "no", key: "no" } }],
    ["a proxy that is none", "ws://127.0.0.1/", { proxy: "no" }],
    ["a subprotocol that is not a token", "ws://127.0.0.1/", { protocols: ["a b"] }],
  ] as const
) {
  Deno.test(`openBuiltin() rejects with an OptionError for ${what}`, async () => {
    await assertRejects(() => openBuiltin(url, options), OptionError, "Cannot ");
  });
}

Deno.test("openBuiltin() closes with 4002 when the subprotocol was not offered", async () => {
  const code = Promise.withResolvers<number>();
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade("Sec-WebSocket-Protocol: soap");
    const { payload } = await socket.answerClose();
    code.resolve(new DataView(payload.buffer).getUint16(0));
  });
  const error = await assertRejects(() => openBuiltin(peer.url), OpenError, "not offered");
  assertEquals([error.failure, await code.promise], ["handshake-refused", 4002]);
});

Deno.test("receive() accepts a message of maxMessageBytes, and closes with 4009 for one byte more", async () => {
  const code = Promise.withResolvers<number>();
  await connected(async (socket) => {
    await socket.frame(BINARY, new Uint8Array(8));
    await socket.frame(BINARY, new Uint8Array(9));
    const { payload } = await socket.answerClose();
    code.resolve(new DataView(payload.buffer).getUint16(0));
  }, async (connection) => {
    assertEquals((await connection.receive(WAIT)).length, 8);
    const error = await assertRejects(() => connection.receive(WAIT), ProtocolError, "limit of 8 bytes");
    assertEquals(error.code, "message-too-big");
    assertEquals([await code.promise, (await connection.closed).received?.code], [4009, 4009]);
  }, { maxMessageBytes: 8 });
});

Deno.test("receive() rejects when more than 64 MiB wait unread", async () => {
  assertEquals(MAX_UNREAD_BYTES, 64 * 1024 * 1024);
  const part = new Uint8Array(1024 * 1024);
  await connected(async (socket) => {
    for (let sent = 0; sent < 64; sent++) await socket.frame(BINARY, part);
    await socket.answerClose();
  }, async (connection) => {
    await connection.closed;
    let received = 0;
    await assertRejects(
      async () => {
        while (true) received += (await connection.receive(WAIT)).length;
      },
      ProtocolError,
      "arrived unread",
    );
    // Each message costs a little more than its payload, so the last of 64 does not fit.
    assertEquals(received, 63 * part.length);
  });
});

Deno.test("send() waits while more than maxBufferedBytes wait to go out", async () => {
  const mayRead = Promise.withResolvers<void>();
  await connected(async (socket) => {
    await mayRead.promise;
    for (let read = 0; read < 3; read++) await socket.readFrame();
    await socket.answerClose();
  }, async (connection) => {
    // More than the buffers of both sockets hold.
    const large = new Uint8Array(32 * 1024 * 1024);
    await connection.send(large);
    await assertRejects(() => connection.send("x", SHORT), TimeoutError, "No room to send within 0.1 s");
    const controller = new AbortController();
    const waiting = assertRejects(() => connection.send("x", { signal: controller.signal }), Error, "enough");
    controller.abort(new Error("enough"));
    await waiting;
    mayRead.resolve();
    await connection.send("y", WAIT);
    await connection.send("z", WAIT);
    assertEquals((await connection.close(WAIT)).end, "close-frame");
  }, { maxBufferedBytes: 0 });
});

const OURS = { code: 4000, reason: "bye" };

/** Each end of a connection, with its record. */
const ENDS: readonly [string, Script, Partial<CloseRecord>][] = [
  ["the peer answers with the same code and reason", (s) => s.answerClose().then(() => {}), {
    sent: OURS,
    received: OURS,
    initiator: "not-known",
    end: "close-frame",
  }],
  ["the peer answers with another code", (s) => s.readFrame().then(() => s.closeFrame(1011, "oops")), {
    sent: null,
    received: { code: 1011, reason: "oops" },
    initiator: "not-known",
    end: "close-frame",
  }],
  ["the peer answers with an empty frame", (s) => s.readFrame().then(() => s.frame(CLOSE)), {
    sent: null,
    received: null,
    initiator: "not-known",
    end: "not-known",
  }],
  ["the peer drops the connection instead", (s) => s.readFrame().then(() => {}), {
    sent: null,
    received: null,
    initiator: "not-known",
    end: "not-known",
  }],
  ["the peer sends an illegal code", (s) => s.readFrame().then(() => s.closeFrame(1006)).then(() => s.untilGone()), {
    sent: null,
    received: null,
    initiator: "not-known",
    end: "not-known",
  }],
  ["the peer does not answer", (s) => s.untilGone(), {
    sent: OURS,
    received: null,
    initiator: "local",
    end: "no-answer",
  }],
];

for (const [what, script, expected] of ENDS) {
  Deno.test(`close() records the end, and only known facts, when ${what}`, async () => {
    await connected(script, async (connection) => {
      const record = await connection.close({ ...OURS, ...(expected.end === "no-answer" ? SHORT : WAIT) });
      const { sent, received, initiator, end } = record;
      assertEquals({ sent, received, initiator, end }, expected);
      assertEquals(await connection.closed, record);
    });
  });
}

/** A text message "hi" and a close frame with 4001, in one write. */
const MESSAGE_AND_CLOSE = Uint8Array.of(0x81, 2, 0x68, 0x69, 0x88, 2, 4001 >> 8, 4001 & 255);

Deno.test("close() does not record its own code as sent, when the runtime has answered the peer's close", async () => {
  const answer = Promise.withResolvers<Uint8Array>();
  await connected(async (socket) => {
    await socket.write(MESSAGE_AND_CLOSE);
    answer.resolve((await socket.readFrame()).payload);
  }, async (connection) => {
    assertEquals(await connection.receive(WAIT), "hi");
    const { sent, received, initiator } = await connection.close(WAIT);
    // The peer's close frame may be reported before or after the call of close().
    assertEquals([received, initiator], [{ code: 4001, reason: "" }, sent ? "peer" : "not-known"]);
    if (sent) assertEquals(await answer.promise, encodeClosePayload(sent.code, sent.reason));
  });
});

Deno.test("the runtime answers the close frame of the peer with the same code and reason", async () => {
  const answer = Promise.withResolvers<Uint8Array>();
  await connected(async (socket) => {
    await socket.closeFrame(1001, "bye");
    answer.resolve((await socket.readFrame()).payload);
  }, async (connection) => {
    await connection.closed;
    assertEquals(await answer.promise, Uint8Array.of(0x03, 0xe9, 0x62, 0x79, 0x65));
  });
});

Deno.test("close() records a drop and a broken protocol that come before it", async () => {
  await connected(() => Promise.resolve(), async (connection) => {
    const { end, initiator, sent, detail } = await connection.closed;
    assertEquals([end, initiator, sent], ["no-close-frame", null, null]);
    assertEquals(detail, "Unexpected EOF");
  });
  await connected((socket) => socket.frame(TEXT, "x", 0xc0).then(() => socket.untilGone()), async (connection) => {
    const { end, detail } = await connection.closed;
    assertEquals(end, "protocol-error");
    assertMatch(detail, /Reserved bits/);
  });
});

Deno.test("close() throws for a code or reason that may not be sent, and the connection stays open", async () => {
  await connected(async (socket) => {
    await socket.echoOne();
    await socket.answerClose();
  }, async (connection) => {
    await assertRejects(() => connection.close({ code: 1006 }), RangeError, "code 1006");
    await assertRejects(() => connection.close({ code: 1001 }), RangeError, "1000 and 3000-4999");
    await assertRejects(() => connection.close({ reason: "x".repeat(124) }), RangeError, "124 bytes");
    await connection.send("still open");
    assertEquals(await connection.receive(WAIT), "still open");
    await connection.close(WAIT);
  });
});

Deno.test("a frame of 67108863 bytes passes, and one byte more breaks the runtime's limit", async () => {
  assertEquals(MAX_BUILTIN_FRAME_BYTES, 67_108_863);
  const header = (length: number) => {
    const bytes = new Uint8Array(10);
    bytes.set([0x80 | BINARY, 127]);
    new DataView(bytes.buffer).setBigUint64(2, BigInt(length));
    return bytes;
  };
  await connected(async (socket) => {
    await socket.write(header(MAX_BUILTIN_FRAME_BYTES));
    await socket.write(new Uint8Array(MAX_BUILTIN_FRAME_BYTES));
    await socket.write(header(MAX_BUILTIN_FRAME_BYTES + 1));
    await socket.untilGone();
  }, async (connection) => {
    assertEquals((await connection.receive(WAIT)).length, MAX_BUILTIN_FRAME_BYTES);
    // The runtime's limit is no breach of the protocol by the peer.
    const error = await assertRejects(() => connection.receive(WAIT), ProtocolError, "longer than 67108863 bytes");
    assertEquals([error.code, (await connection.closed).end], ["length-too-large", "no-close-frame"]);
  });
});

/** The error of an opening that the peer refuses with these statuses in turn, and the number of requests. */
async function refused(...statuses: number[]): Promise<{ error: OpenError; asked: number }> {
  let asked = 0;
  await using peer = rawPeer(async (socket) => {
    const status = statuses[asked++];
    if (status === 101) return await socket.upgrade().then(() => socket.answerClose()).then(() => {});
    await socket.readHead();
    await socket.write(`HTTP/1.1 ${status} No\r\nContent-Length: 6\r\n\r\nno VPN`);
  });
  const error = await assertRejects(() => openBuiltin(peer.url, { connectTimeoutMs: 60_000 }), OpenError);
  return { error, asked };
}

for (const status of [400, 403, 404, 421]) {
  Deno.test(`openBuiltin() asks again for a server's own words, when it refuses with ${status}`, async () => {
    const { error, asked } = await refused(status, status);
    assertEquals([error.status, error.refusal?.body, error.stage, asked], [status, "no VPN", "upgrade", 2]);
    assertMatch(error.message, new RegExp(`^Server answered with status ${status} .* instead of 101$`));
  });
}

for (const status of [200, 301, 401, 407, 429, 500, 503]) {
  Deno.test(`openBuiltin() asks once, when a server answers with ${status}`, async () => {
    const { error, asked } = await refused(status, status);
    assertEquals([error.status, error.refusal, asked], [status, undefined, 1]);
  });
}

for (const second of [404, 101]) {
  Deno.test(`openBuiltin() reports the first answer, when a server answers the second time with ${second}`, async () => {
    const { error, asked } = await refused(403, second);
    assertEquals([error.status, error.refusal, error.reason, asked], [403, undefined, "other", 2]);
  });
}

Deno.test("openBuiltin() quotes a server that speaks first, and says that it is not HTTP", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.write("SSH-2.0-OpenSSH_9.2\r\n");
    await socket.untilGone();
  });
  const error = await assertRejects(() => openBuiltin(peer.url, { connectTimeoutMs: 60_000 }), OpenError);
  assertEquals([error.failure, error.message], ["handshake-refused", "Answer is not a valid upgrade: it is not HTTP"]);
  assertEquals(error.refusal?.body, "SSH-2.0-OpenSSH_9.2\r\n");
});

Deno.test("openBuiltin() names the place of a silent server, and says that no subprotocol was selected", async () => {
  await using silent = rawPeer((socket) => socket.untilGone());
  const none = await assertRejects(() => openBuiltin(silent.url, { connectTimeoutMs: 100 }), OpenError);
  assertEquals(
    [none.message, none.reason],
    [`No answer within 0.1 s from 127.0.0.1:${silent.port}: no connection, or a silent server`, "silent"],
  );
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.answerClose();
  });
  const other = await assertRejects(() => openBuiltin(peer.url, { protocols: ["chat"] }), OpenError);
  assertEquals([other.failure, other.reason], ["handshake-refused", "subprotocol"]);
});
