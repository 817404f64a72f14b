/** The connection over our own frames: abilities that no other transport has. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { CloseRecord } from "../../lib/protocol/close.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";
import {
  type Connection,
  ConnectionClosedError,
  type FrameTrace,
  type OpenOptions,
} from "../../lib/connection/connection.ts";
import { TimeoutError } from "../../lib/net/deadline.ts";
import { MAX_QUEUED_PONGS } from "../../lib/connection/frame_writer.ts";
import { MAX_UNREAD_WIRE_BYTES, openWire } from "../../lib/connection/wire.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { outcomeOf, start } from "../support/command.ts";
import { BINARY, CLOSE, rawPeer, type Script, TEXT } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const SHORT = { timeoutMs: 100 };
const PING = 9;
const PONG = 10;

/** Runs a test over a connection that the peer has upgraded. */
async function connected(script: Script, test: (connection: Connection) => Promise<void>, options: OpenOptions = {}) {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
  await test(await openWire(peer.url, options));
}

Deno.test("openWire() reads frames that come right after the answer", async () => {
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

Deno.test("send() keeps to the options of the opening, when their object changes later", async () => {
  const options = { fragmentBytes: 4 };
  const first = Promise.withResolvers<string>();
  await connected(async (socket) => {
    first.resolve(new TextDecoder().decode((await socket.readFrame()).payload));
    await socket.readFrame();
    await socket.answerClose();
  }, async (connection) => {
    options.fragmentBytes = 1;
    await connection.send("Hello", WAIT);
    await connection.close(WAIT);
  }, options);
  assertEquals(await first.promise, "Hell");
});

Deno.test("receive() joins fragments around pings, and answers the pings at once", async () => {
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

Deno.test("a connection over wire queues 64 pongs, then replaces the last one with the latest", async () => {
  assertEquals(MAX_QUEUED_PONGS, 64);
  const pongs = Promise.withResolvers<number[]>();
  await connected(async (socket) => {
    // All of them arrive in one read, before the first pong is written.
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

Deno.test("receive() returns a message that was complete before the peer broke the protocol in the same write", async () => {
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

Deno.test("send() puts no data after the close frame when the peer closes in the middle of a message", async () => {
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
      // The peak so far: the last look misses only the very end.
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

Deno.test("a connection continues when the listener of its frames throws", async () => {
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

Deno.test("a paused reader stops the peer, and loses nothing when it continues", async () => {
  const part = new Uint8Array(1024 * 1024);
  const parts = 64;
  let written = 0;
  await connected(async (socket) => {
    for (; written < parts; written++) await socket.frame(BINARY, part);
    // The ping without an answer in time.
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

Deno.test("receive() accepts a message of maxMessageBytes in fragments, and closes with 1009 for one byte more", async () => {
  const code = Promise.withResolvers<number>();
  await connected(async (socket) => {
    await socket.frame(BINARY, new Uint8Array(5), 0);
    await socket.frame(0, new Uint8Array(3));
    await socket.frame(BINARY, new Uint8Array(5), 0);
    // The header alone shows that the sum passes the limit.
    await socket.write(Uint8Array.of(0x80, 4));
    const { payload } = await socket.readFrame();
    code.resolve(new DataView(payload.buffer).getUint16(0));
  }, async (connection) => {
    assertEquals((await connection.receive(WAIT)).length, 8);
    const error = await assertRejects(() => connection.receive(WAIT), ProtocolError, "limit of 8 bytes");
    assertEquals([error.code, await code.promise], ["message-too-big", 1009]);
  }, { maxMessageBytes: 8 });
});

/** A breach in a peer's frames, and the code that fails the connection. */
const VIOLATIONS: readonly [string, number[], number, RegExp][] = [
  ["a reserved bit", [0xc1, 0], 1002, /reserved bit/],
  ["an opcode that is not defined", [0x83, 0], 1002, /opcode 3/],
  ["a masked frame", [0x81, 0x80, 1, 2, 3, 4], 1002, /masked/],
  ["a continuation without a message", [0x80, 0], 1002, /Continuation came without/],
  ["a new message inside another", [0x01, 0, 0x81, 0], 1002, /began inside an unfinished/],
  ["a ping in fragments", [0x09, 0], 1002, /Control frame is fragmented/],
  ["a ping of 126 bytes", [0x89, 126, 0, 126], 1002, /longer than 125/],
  ["a length that is not minimal", [0x81, 126, 0, 125], 1002, /more bytes than needed/],
  ["text that is not UTF-8", [0x81, 1, 0xff], 1007, /not UTF-8/],
  ["the first bytes of text that is not UTF-8", [0x01, 2, 0xc0, 0x80], 1007, /not UTF-8/],
  ["a close frame of one byte", [0x88, 1, 3], 1002, /payload of one byte/],
  ["a close code that must not be sent", [0x88, 2, 0x03, 0xee], 1002, /code 1006/],
  ["a close reason that is not UTF-8", [0x88, 3, 0x03, 0xe8, 0xff], 1007, /reason is not UTF-8/],
];

for (const [what, bytes, code, detail] of VIOLATIONS) {
  Deno.test(`a connection over wire fails with ${code} for ${what}`, async () => {
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

/** Each answer to a close, with its record. */
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
