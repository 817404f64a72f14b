/** The connection over our own frames: what only it can see, do and tell. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { CloseRecord } from "../../lib/protocol/close.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";
import {
  type Connection,
  ConnectionClosedError,
  type FrameTrace,
  OpenError,
  type OpenOptions,
  OptionError,
} from "../../lib/connection/connection.ts";
import { TimeoutError } from "../../lib/net/deadline.ts";
import { MAX_QUEUED_PONGS, MAX_UNREAD_WIRE_BYTES, openWire } from "../../lib/connection/wire.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { client, outcomeOf, reportOf, start } from "../support/command.ts";
import { BINARY, CLOSE, rawPeer, type Script, TEXT } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const SHORT = { timeoutMs: 100 };
const PING = 9;
const PONG = 10;

/** Runs a test over a connection to a peer that has upgraded it. */
async function connected(script: Script, test: (connection: Connection) => Promise<void>, options: OpenOptions = {}) {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
  await test(await openWire(peer.url, options));
}

/** The answer that a peer gives, and what is wrong about it. */
const REFUSALS: readonly [string, string, RegExp, number][] = [
  [
    "another accept key",
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
    /Sec-WebSocket-Accept does not fit/,
    101,
  ],
  [
    "no accept key",
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    /Sec-WebSocket-Accept is missing/,
    101,
  ],
  [
    "another status",
    "HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nnope",
    /status 403 \(Forbidden\) instead of 101/,
    403,
  ],
  [
    "a line that is no field",
    "HTTP/1.1 101 S\r\nA: b\r\nno field\r\n\r\n",
    /line 3 is not a header field: "no field"/,
    101,
  ],
  [
    "a line that is no field in a refusal",
    "HTTP/1.1 403 Forbidden\r\nno field\r\n\r\n",
    /status 403 \(Forbidden\) instead of 101; line 2 is not a header field: "no field"/,
    403,
  ],
  ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", /it is not HTTP/, 0],
  ["a head without end", `HTTP/1.1 101 S\r\n${"X: y\r\n".repeat(12_000)}`, /head is longer than 65536 bytes/, 101],
  [
    "a refusal whose head has no end",
    `HTTP/1.1 403 Forbidden\r\n${"X: y\r\n".repeat(12_000)}`,
    /status 403 \(Forbidden\) instead of 101; head is longer than 65536 bytes/,
    403,
  ],
  [
    "interim responses without end",
    "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17),
    /Answer is not a valid upgrade: more than 16 interim responses come before the answer/,
    103,
  ],
  [
    "a refusal behind an interim response",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    /status 403 \(Forbidden\) instead of 101$/,
    403,
  ],
];

for (const [what, answer, problem, status] of REFUSALS) {
  Deno.test(`openWire() rejects an answer with ${what}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      await socket.write(answer);
      await socket.untilGone();
    });
    const error = await assertRejects(() => openWire(peer.url), OpenError);
    assertMatch(error.message, problem);
    assertEquals([error.failure, error.stage, error.refusal?.status], ["handshake-refused", "upgrade", status]);
  });
}

Deno.test("openWire() gives status, fields and the beginning of the body of a refusal", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nnope");
    await socket.untilGone();
  });
  const { refusal } = await assertRejects(() => openWire(peer.url), OpenError);
  assertEquals(refusal, {
    from: "server",
    status: 403,
    problems: ["status 403 instead of 101"],
    fields: [["X-Why", "because"], ["Content-Length", "4"]],
    body: "nope",
  });
});

Deno.test("openWire() tells a silent server from none", async () => {
  await using peer = rawPeer((socket) => socket.untilGone());
  const silent = await assertRejects(
    () => openWire(peer.url, { connectTimeoutMs: 1000 }),
    OpenError,
    "Connected, but no answer",
  );
  assertEquals([silent.failure, silent.stage], ["no-connection", "upgrade"]);
  const none = await assertRejects(() => openWire("ws://127.0.0.1:1/"), OpenError, "No connection to 127.0.0.1:1: ");
  assertEquals([none.failure, none.stage], ["no-connection", "connect"]);
});

Deno.test("openWire() rejects with connection-lost when the connection ends before the answer", async () => {
  await using peer = rawPeer(async (socket) => void await socket.readHead());
  const error = await assertRejects(() => openWire(peer.url), OpenError, "before the handshake was answered");
  assertEquals([error.failure, error.stage], ["connection-lost", "upgrade"]);
});

Deno.test("openWire() takes frames that come right behind the answer", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.frame(TEXT, "early");
    await socket.answerClose();
  });
  const connection = await openWire(peer.url);
  assertEquals(await connection.receive(WAIT), "early");
  await connection.close(WAIT);
});

Deno.test("send() masks each frame with another key, and cuts at fragmentBytes", async () => {
  const traces: FrameTrace[] = [];
  const payloads: string[] = [];
  await connected(async (socket) => {
    for (let frame = 0; frame < 3; frame++) {
      const { opcode, payload } = await socket.readFrame();
      payloads.push(`${opcode} ${new TextDecoder().decode(payload)}`);
    }
    await socket.answerClose();
  }, async (connection) => {
    await connection.send("Hello world", WAIT);
    await connection.close(WAIT);
  }, { fragmentBytes: 4, onFrame: (frame) => traces.push(frame) });
  assertEquals(payloads, ["1 Hell", "0 o wo", "0 rld"]);
  const out = traces.filter(({ direction }) => direction === "out").map(({ header }) => header);
  assertEquals(out.map(({ opcode, final, isMasked, length }) => [opcode, final, isMasked, length]), [
    [1, false, true, 4],
    [0, false, true, 4],
    [0, true, true, 3],
    [8, true, true, 2],
  ]);
});

Deno.test("receive() puts fragments together around pings, which are answered at once", async () => {
  const pong = Promise.withResolvers<Uint8Array>();
  await connected(async (socket) => {
    await socket.frame(TEXT, Uint8Array.of(0xe2, 0x82), 0);
    await socket.frame(PING, "are you there?");
    const frame = await socket.readFrame();
    assertEquals(frame.opcode, PONG);
    pong.resolve(frame.payload);
    await socket.frame(0, Uint8Array.of(0xac));
    await socket.answerClose();
  }, async (connection) => {
    assertEquals(await connection.receive(WAIT), "€");
    assertEquals(new TextDecoder().decode(await pong.promise), "are you there?");
    await connection.close(WAIT);
  });
});

Deno.test("a connection over wire answers each of ten pings in one write", async () => {
  const pongs = Promise.withResolvers<string[]>();
  await connected(async (socket) => {
    await socket.write(Uint8Array.from(Array.from({ length: 10 }, (_, at) => [0x80 | PING, 1, 48 + at]).flat()));
    const payloads: string[] = [];
    while (payloads.length < 10) payloads.push(new TextDecoder().decode((await socket.readFrame()).payload));
    pongs.resolve(payloads);
    await socket.answerClose();
  }, async (connection) => {
    assertEquals((await pongs.promise).join(""), "0123456789");
    await connection.close(WAIT);
  });
});

Deno.test("a connection over wire queues 64 pongs, and then the latest takes the last place", async () => {
  assertEquals(MAX_QUEUED_PONGS, 64);
  const pongs = Promise.withResolvers<number[]>();
  await connected(async (socket) => {
    // All of them come in one read, before the first pong is written.
    const pings = Array.from({ length: 200 }, (_, at) => [0x80 | PING, 1, at]).flat();
    await socket.write(Uint8Array.from(pings));
    const payloads: number[] = [];
    while (payloads.at(-1) !== 199) payloads.push((await socket.readFrame()).payload[0] ?? -1);
    pongs.resolve(payloads);
    await socket.answerClose();
  }, async (connection) => {
    assertEquals(await pongs.promise, [...Array.from({ length: 63 }, (_, at) => at), 199]);
    await connection.close(WAIT);
  });
});

Deno.test("receive() gives a message that was complete before the peer broke the protocol in the same write", async () => {
  await connected(async (socket) => {
    await socket.write(Uint8Array.of(0x81, 2, 104, 105, 0x83, 0));
    await socket.readFrame();
  }, async (connection) => {
    assertEquals(await connection.receive(WAIT), "hi");
    await assertRejects(() => connection.receive(WAIT), ConnectionClosedError, "opcode 3");
  });
});

Deno.test("ping() resolves with the round-trip time of its own pong", async () => {
  await connected(async (socket) => {
    const { opcode, payload } = await socket.readFrame();
    assertEquals([opcode, payload.byteLength], [PING, 8]);
    await socket.frame(PONG, "another");
    await socket.frame(PONG, payload);
    await socket.readFrame();
    await socket.answerClose();
  }, async (connection) => {
    assert((await connection.ping?.(WAIT) ?? -1) >= 0);
    await assertRejects(async () => await connection.ping?.(SHORT), TimeoutError, "No pong within 0.1 s");
    await connection.close(WAIT);
  });
});

Deno.test("send() puts no data behind the close frame when the peer closes in the middle of a message", async () => {
  const behind = Promise.withResolvers<number>();
  await connected(async (socket) => {
    for (let frame = 0; frame < 100; frame++) await socket.readFrame();
    await socket.closeFrame(1001);
    while ((await socket.readFrame()).opcode !== CLOSE);
    let count = 0;
    try {
      while (true) {
        await socket.readFrame();
        count++;
      }
    } catch {
      behind.resolve(count);
    }
  }, async (connection) => {
    await assertRejects(() => connection.send(new Uint8Array(20_000_000), WAIT), ConnectionClosedError, "1001");
  }, { fragmentBytes: 1000 });
  assertEquals(await behind.promise, 0);
});

Deno.test({
  name: "client stays within 256 MiB when it cuts a message into 250,000 fragments",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const server = serveEcho({ port: 0, transport: "wire" });
    const child = start("main.ts", ["--transport", "wire", "--fragment", "1", "--size", "250000", server.url]);
    const outcome = outcomeOf(child);
    let isOver = false;
    let peakKibibytes = 0;
    outcome.then(() => isOver = true);
    while (!isOver) {
      // The most so far: what the last look finds is the peak, but for the very end.
      const { stdout } = await new Deno.Command("cat", { args: [`/proc/${child.pid}/status`], stderr: "null" })
        .output();
      const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout)) ?? [];
      peakKibibytes = Math.max(peakKibibytes, Number(kibibytes ?? 0));
    }
    const { code, stderr } = await outcome;
    await server.shutdown();
    assertEquals(code, 0, stderr);
    assert(peakKibibytes > 0 && peakKibibytes < 256 * 1024, `${peakKibibytes} KiB`);
  },
});

Deno.test("ping() keeps its deadline when it cannot even be sent", async () => {
  await connected((socket) => socket.untilStopped(), async (connection) => {
    await connection.send(new Uint8Array(32 * 1024 * 1024));
    await assertRejects(async () => await connection.ping?.(SHORT), TimeoutError, "No pong within 0.1 s");
    await connection.close(SHORT);
  });
});

Deno.test("openWire() blames the proxy for what the proxy does", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("SSH-2.0-OpenSSH_9.2\r\n");
    await socket.untilGone();
  });
  const proxy = `http://127.0.0.1:${peer.port}`;
  const error = await assertRejects(
    () => openWire("ws://server.test/", { proxy }),
    OpenError,
    `Proxy ${proxy} opened no tunnel: it is not HTTP`,
  );
  assertEquals([error.failure, error.stage, error.refusal?.from], ["no-connection", "connect", "proxy"]);
});

Deno.test("openWire() says that a server speaks TLS", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write(Uint8Array.of(21, 3, 1, 0, 2, 2, 10));
    await socket.untilGone();
  });
  await assertRejects(() => openWire(peer.url), OpenError, "it is TLS and not HTTP: try wss://");
});

Deno.test("a connection goes on when the listener of its frames throws", async () => {
  await connected(async (socket) => {
    await socket.echoOne();
    await socket.answerClose();
  }, async (connection) => {
    await connection.send("still here");
    assertEquals(await connection.receive(WAIT), "still here");
    await connection.close(WAIT);
  }, {
    onFrame: () => {
      throw new Error("broken listener");
    },
  });
});

Deno.test("a reader that stops stops the peer, and nothing is lost when it goes on", async () => {
  const part = new Uint8Array(1024 * 1024);
  const parts = 64;
  let written = 0;
  await connected(async (socket) => {
    for (; written < parts; written++) await socket.frame(BINARY, part);
    // The ping that was not answered in time.
    assertEquals((await socket.readFrame()).opcode, PING);
    await socket.answerClose();
  }, async (connection) => {
    // The first message shows that reading has begun; then nobody receives.
    await connection.receive(WAIT);
    await assertRejects(() => connection.ping?.({ timeoutMs: 300 }) ?? Promise.resolve(), TimeoutError);
    assert(written < parts, `${written} parts were taken in`);
    for (let received = 1; received < parts; received++) {
      assertEquals((await connection.receive(WAIT)).length, part.length);
    }
    assertEquals((await connection.close(WAIT)).end, "close-frame");
  });
  assertEquals(MAX_UNREAD_WIRE_BYTES, 8 * 1024 * 1024);
});

Deno.test("receive() takes a message of maxMessageBytes in fragments, and closes with 1009 for one byte more", async () => {
  const code = Promise.withResolvers<number>();
  await connected(async (socket) => {
    await socket.frame(BINARY, new Uint8Array(5), 0);
    await socket.frame(0, new Uint8Array(3));
    await socket.frame(BINARY, new Uint8Array(5), 0);
    // The header alone says that the sum will be too much.
    await socket.write(Uint8Array.of(0x80, 4));
    const { payload } = await socket.readFrame();
    code.resolve(new DataView(payload.buffer).getUint16(0));
  }, async (connection) => {
    assertEquals((await connection.receive(WAIT)).length, 8);
    const error = await assertRejects(() => connection.receive(WAIT), ProtocolError, "limit of 8 bytes");
    assertEquals([error.code, await code.promise], ["message-too-big", 1009]);
  }, { maxMessageBytes: 8 });
});

/** What a peer does wrong in its frames, and the code with which the connection is failed. */
const VIOLATIONS: readonly [string, number[], number, RegExp][] = [
  ["a reserved bit", [0xc1, 0], 1002, /reserved bit/],
  ["an opcode that is not defined", [0x83, 0], 1002, /opcode 3/],
  ["a masked frame", [0x81, 0x80, 1, 2, 3, 4], 1002, /masked/],
  ["a continuation without a message", [0x80, 0], 1002, /Continuation came without/],
  ["a new message inside another", [0x01, 0, 0x81, 0], 1002, /began inside an unfinished/],
  ["a ping in fragments", [0x09, 0], 1002, /Control frame is fragmented/],
  ["a ping of 126 bytes", [0x89, 126, 0, 126], 1002, /longer than 125/],
  ["a length that is not minimal", [0x81, 126, 0, 125], 1002, /more bytes than it needs/],
  ["text that is not UTF-8", [0x81, 1, 0xff], 1007, /not UTF-8/],
  ["the first bytes of text that is not UTF-8", [0x01, 2, 0xc0, 0x80], 1007, /not UTF-8/],
  ["a close frame of one byte", [0x88, 1, 3], 1002, /payload of one byte/],
  ["a close code that must not be sent", [0x88, 2, 0x03, 0xee], 1002, /code 1006/],
  ["a close reason that is not UTF-8", [0x88, 3, 0x03, 0xe8, 0xff], 1007, /reason is not UTF-8/],
];

for (const [what, bytes, code, detail] of VIOLATIONS) {
  Deno.test(`a connection over wire is failed with ${code} for ${what}`, async () => {
    const answered = Promise.withResolvers<number>();
    await connected(async (socket) => {
      await socket.write(Uint8Array.from(bytes));
      const { opcode, payload } = await socket.readFrame();
      assertEquals(opcode, CLOSE);
      answered.resolve(new DataView(payload.buffer).getUint16(0));
    }, async (connection) => {
      const error = await assertRejects(() => connection.receive(WAIT), ConnectionClosedError, "broke the protocol");
      assertEquals([await answered.promise, error.record.end, error.record.tcp], [code, "protocol-error", "local"]);
      assertMatch(error.record.detail, detail);
    });
  });
}

/** Each way in which a close is answered, and the record that tells of it. */
const ENDS: readonly [string, Script, Partial<CloseRecord>][] = [
  ["answers with the same code", (s) => s.answerClose().then(() => {}), {
    received: { code: 4000, reason: "bye" },
    initiator: "local",
    end: "close-frame",
    tcp: "peer",
  }],
  ["answers with an empty frame", (s) => s.readFrame().then(() => s.frame(CLOSE)), {
    received: { code: 1005, reason: "" },
    initiator: "local",
    end: "close-frame",
    tcp: "peer",
  }],
  ["drops the connection instead", (s) => s.readFrame().then(() => {}), {
    received: null,
    initiator: "local",
    end: "no-close-frame",
    tcp: "peer",
  }],
  ["answers, and leaves TCP open", (s) => s.answerClose().then(() => s.untilGone()), {
    received: { code: 4000, reason: "bye" },
    initiator: "local",
    end: "close-frame",
    tcp: "local",
  }],
  ["answers, and goes on sending", (s) => s.answerClose().then(() => s.frame(TEXT, "more")).then(() => s.untilGone()), {
    received: { code: 4000, reason: "bye" },
    initiator: "local",
    end: "protocol-error",
    tcp: "local",
  }],
  ["answers, and sends control frames 50 ms behind it", async (s) => {
    await s.answerClose();
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const opcode of [PING, PONG, CLOSE]) await s.frame(opcode);
  }, {
    received: { code: 4000, reason: "bye" },
    initiator: "local",
    end: "close-frame",
    tcp: "peer",
  }],
  ["answers, with control frames behind it in the same write", async (s) => {
    const { payload } = await s.readFrame();
    const bytes = [CLOSE, PING, PONG, CLOSE].flatMap((opcode) => [0x80 | opcode, payload.byteLength, ...payload]);
    await s.write(Uint8Array.from(bytes));
  }, {
    received: { code: 4000, reason: "bye" },
    initiator: "local",
    end: "close-frame",
    tcp: "peer",
  }],
  ["pings before it answers, and waits for the pong", async (s) => {
    const { payload } = await s.readFrame();
    await s.frame(PING, "still there?");
    assertEquals((await s.readFrame()).opcode, PONG);
    await s.frame(CLOSE, payload);
  }, {
    received: { code: 4000, reason: "bye" },
    initiator: "local",
    end: "close-frame",
    tcp: "peer",
  }],
  ["answers with an illegal code", (s) => s.readFrame().then(() => s.closeFrame(1006)).then(() => s.untilGone()), {
    received: null,
    initiator: "local",
    end: "protocol-error",
    tcp: "local",
  }],
];

for (const [what, script, expected] of ENDS) {
  Deno.test(`close() over wire records the end when the peer ${what}`, async () => {
    await connected(script, async (connection) => {
      const { received, initiator, end, tcp, sent } = await connection.close({ code: 4000, reason: "bye", ...WAIT });
      assertEquals({ received, initiator, end, tcp }, expected);
      assertEquals(sent, { code: 4000, reason: "bye" });
    });
  });
}

Deno.test("close() over wire sends codes that the built-in WebSocket cannot", async () => {
  await connected((socket) => socket.answerClose().then(() => {}), async (connection) => {
    assertEquals((await connection.close({ code: 1001, reason: "bye", ...WAIT })).received, {
      code: 1001,
      reason: "bye",
    });
  });
});

Deno.test("openWire() asks an HTTP proxy for a tunnel, with the credentials of its URL", async () => {
  const heads: string[] = [];
  await using peer = rawPeer(async (socket) => {
    heads.push(await socket.readHead());
    await socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    heads.push(await socket.upgrade());
    await socket.echoOne();
    await socket.answerClose();
  });
  const connection = await openWire("ws://server.test/x", { proxy: `http://user:secret@127.0.0.1:${peer.port}` });
  await connection.send("through");
  assertEquals(await connection.receive(WAIT), "through");
  await connection.close(WAIT);
  assertMatch(
    heads[0] ?? "",
    /^CONNECT server\.test:80 HTTP\/1\.1\r\nHost: server\.test:80\r\nProxy-Authorization: Basic /,
  );
  assertMatch(heads[1] ?? "", /^GET \/x HTTP\/1\.1\r\nHost: server\.test\r\n/);
});

Deno.test("openWire() sends credentials of any characters to a proxy", async () => {
  const sent = Promise.withResolvers<string>();
  await using peer = rawPeer(async (socket) => {
    sent.resolve(/Proxy-Authorization: Basic (\S+)/.exec(await socket.readHead())?.[1] ?? "");
    await socket.write("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
  });
  const proxy = `http://us%E2%82%ACer:100%@127.0.0.1:${peer.port}`;
  await assertRejects(() => openWire("ws://server.test/", { proxy }), OpenError);
  assertEquals(new TextDecoder().decode(Uint8Array.fromBase64(await sent.promise)), "us€er:100%");
});

Deno.test("openWire() sends header values as bytes, and refuses a subprotocol that is no token", async () => {
  const value = Promise.withResolvers<string>();
  await using peer = rawPeer(async (socket) => {
    value.resolve(/x-name: (.*)/i.exec(await socket.upgrade())?.[1] ?? "");
    await socket.answerClose();
  });
  const connection = await openWire(peer.url, { headers: new Headers({ "X-Name": "caf\u00e9" }) });
  await connection.close(WAIT);
  // One byte, which is no UTF-8: the raw peer shows U+FFFD for it.
  assertEquals(await value.promise, "caf\ufffd");
  await assertRejects(() => openWire(peer.url, { protocols: ["a b"] }), OptionError, "Cannot ask for the upgrade");
});

Deno.test("openWire() says what a proxy answered instead of a tunnel, and which proxies it takes", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
  });
  const url = "ws://server.test/";
  const error = await assertRejects(() => openWire(url, { proxy: `http://127.0.0.1:${peer.port}` }), OpenError, "407");
  assertEquals([error.failure, error.status], ["no-connection", 407]);
  await assertRejects(() => openWire(url, { proxy: "socks5://127.0.0.1:1" }), OptionError, "over wire");
});

Deno.test("client --trace shows each frame with direction, opcode, bits, length and payload", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.frame(PING, "hi");
    // The client sends its message as soon as it is open, so the pong comes before or behind it.
    for (const { opcode, payload } of [await socket.readFrame(), await socket.readFrame()]) {
      if (opcode === TEXT) await socket.frame(TEXT, payload);
    }
    await socket.closeFrame(1000, "done");
    await socket.untilGone();
  });
  const { code, stderr } = await client([
    "--transport",
    "wire",
    "--trace",
    "--reply-any",
    "--reply-timeout",
    "5",
    peer.url,
  ]);
  assertEquals(code, 0, stderr);
  for (
    const line of [
      "< ping FIN, 2 bytes: 68 69",
      "> pong FIN, 2 bytes, masked: 68 69",
      '> text FIN, 11 bytes, masked: "Hello world"',
      '< text FIN, 11 bytes: "Hello world"',
      '< close FIN, 6 bytes: 1000 (normal closure), reason "done"',
    ]
  ) assert(stderr.split("\n").some((shown) => shown.endsWith(line)), `${line}\n${stderr}`);
});

Deno.test("client --transport wire reports the refusal with its fields and body", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno");
  });
  const report = reportOf(await client(["--json", "--transport", "wire", peer.url]));
  assertEquals([report.verdict, report.transport], ["handshake-refused", "wire"]);
  assertEquals(report.refusal, {
    from: "server",
    status: 401,
    problems: ["status 401 instead of 101"],
    fields: [["WWW-Authenticate", "Basic"], ["Content-Length", "2"]],
    body: "no",
  });
});
