/** What the echo server does over our own frames only: raw bytes in, frames out. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { WebSocket as WsClient } from "npm:ws@8.23.0";
import type { EchoClosed, EchoEvent } from "../../lib/server/policy.ts";
import { encodeFrame, type EncodeFrameOptions, OPCODE } from "../../lib/protocol/frame.ts";
import { type EchoServer, serveEcho, type ServeEchoOptions } from "../../lib/server/serve.ts";
import { within } from "../../lib/net/deadline.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { serverProcess } from "../support/command.ts";
import { CLOSE, connectRaw, type RawFrame, type RawSocket, requestHead } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);
const utf8 = (text: string) => new TextEncoder().encode(text);

/** A frame of a client. */
function frame(opcode: number, payload: string | Uint8Array = "", options: EncodeFrameOptions = {}) {
  const bytes = typeof payload === "string" ? utf8(payload) : payload;
  return encodeFrame(opcode, bytes, { maskingKey: KEY, ...options });
}

const begin = (opcode: number, payload: string | Uint8Array) => frame(opcode, payload, { final: false });
const more = (payload: string | Uint8Array) => begin(OPCODE.continuation, payload);
const last = (payload: string | Uint8Array) => frame(OPCODE.continuation, payload);

function closeFrame(code: number, reason = ""): Uint8Array {
  return frame(OPCODE.close, Uint8Array.of(code >> 8, code & 255, ...utf8(reason)));
}

function concat(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...(typeof part === "string" ? utf8(part) : part)]));
}

/** A server, a raw peer whose upgrade is done, and the end of the connection as the server tells it. */
interface Scene {
  readonly server: EchoServer;
  readonly socket: RawSocket;
  readonly closed: Promise<EchoClosed>;
  /** The next frame. */
  next(): Promise<RawFrame>;
}

async function onWire(test: (scene: Scene) => Promise<void>, options: ServeEchoOptions = {}): Promise<void> {
  const closed = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: EchoEvent) => event.type === "closed" && closed.resolve(event);
  const server = serveEcho({ transport: "wire", port: 0, onEvent, ...options });
  const socket = await connectRaw(server.url);
  try {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
    await test({
      server,
      socket,
      closed: within(closed.promise, "end", WAIT),
      next: () => within(socket.readFrame(), "frame", WAIT),
    });
  } finally {
    socket.close();
    await server.shutdown();
    closed.resolve({} as EchoClosed);
  }
}

/** The code and reason of a close frame. */
function closeOf({ opcode, payload }: RawFrame): [number, string] {
  assertEquals(opcode, CLOSE);
  return [payload[0]! * 256 + payload[1]!, new TextDecoder().decode(payload.subarray(2))];
}

/** Waits until the server has ended TCP. */
async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}

for (
  const [what, bytes, code, reason] of [
    ["an unmasked frame", [0x81, 0x01, 0x61], 1002, "Frame of a client is not masked"],
    ["a reserved bit", [0xc1, 0x80, 0, 0, 0, 0], 1002, "Frame has a reserved bit set"],
    ["the opcode 3", [0x83, 0x80, 0, 0, 0, 0], 1002, "Frame has the opcode 3, which is not defined"],
    ["the opcode 11", [0x8b, 0x80, 0, 0, 0, 0], 1002, "Frame has the opcode 11, which is not defined"],
    ["a ping in fragments", [0x09, 0x80, 0, 0, 0, 0], 1002, "Control frame is fragmented"],
    ["a ping of 126 bytes", [0x89, 0xfe, 0, 126], 1002, "Control frame is longer than 125 bytes"],
    [
      "a length of 125 in two bytes",
      [0x82, 0xfe, 0, 125, 0, 0, 0, 0],
      1002,
      "Frame has the length 125 in more bytes than it needs",
    ],
    [
      "a length over 2^63",
      [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      1002,
      "Frame has a length over 2^63 - 1",
    ],
    ["a continuation of nothing", last("x"), 1002, "Continuation came without a message to continue"],
    [
      "a text message inside a binary one",
      concat(begin(OPCODE.binary, "x"), frame(OPCODE.text, "y")),
      1002,
      "New text message began inside an unfinished binary message",
    ],
    ["text that is not UTF-8", frame(OPCODE.text, Uint8Array.of(0xff)), 1007, "Text message is not UTF-8"],
    [
      "text that ends inside a character",
      frame(OPCODE.text, Uint8Array.of(0xe2, 0x82)),
      1007,
      "Text message is not UTF-8",
    ],
    [
      "a fragment that is not UTF-8, before the message ends",
      begin(OPCODE.text, Uint8Array.of(0x61, 0xff)),
      1007,
      "Text message is not UTF-8",
    ],
    ["a close frame of one byte", frame(OPCODE.close, "x"), 1002, "Close frame has a payload of one byte"],
    ["a close frame with 1005", closeFrame(1005), 1002, "Close frame has the code 1005, which must not be sent"],
    ["a close frame with 999", closeFrame(999), 1002, "Close frame has the code 999, which must not be sent"],
    [
      "a close reason that is not UTF-8",
      frame(OPCODE.close, Uint8Array.of(0x03, 0xe8, 0xff)),
      1007,
      "Close reason is not UTF-8",
    ],
    ["the header of a message over the limit", [0x82, 0xfe, 0x10, 0, 0, 0, 0, 0], 1009, "at most 64 bytes"],
  ] as const
) {
  Deno.test(`wire server answers ${what} with ${code}, and the message before it first`, async () => {
    await onWire(async ({ socket, next, closed }) => {
      await socket.write(concat(frame(OPCODE.text, "before"), Uint8Array.from(bytes)));
      const echo = await next();
      assertEquals([echo.opcode, new TextDecoder().decode(echo.payload)], [OPCODE.text, "before"]);
      let answer = await next();
      // The part of a binary message that was in order has gone back already.
      while (answer.opcode !== CLOSE) answer = await next();
      assertEquals(closeOf(answer), [code, reason]);
      socket.close();
      const { sent, received } = await closed;
      assertEquals([sent, received], [{ code, reason }, null]);
    }, { maxMessageBytes: 64 });
  });
}

Deno.test("wire server ends TCP after a protocol error, without waiting for the peer's close frame", async () => {
  await onWire(async ({ socket, next }) => {
    await socket.write(Uint8Array.of(0x81, 0x01, 0x61));
    assertEquals(closeOf(await next())[0], 1002);
    await untilEnd(socket);
  });
});

Deno.test("wire server reads the peer's close frame behind a message over the limit", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(frame(OPCODE.text, "too long"));
    assertEquals(closeOf(await next()), [1009, "at most 4 bytes"]);
    await socket.write(concat(frame(OPCODE.text, "more"), closeFrame(1009, "sorry")));
    assertEquals((await closed).received, { code: 1009, reason: "sorry" });
  }, { maxMessageBytes: 4 });
});

Deno.test("wire server puts text of fragments together, and answers the pings between them at once", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(concat(begin(OPCODE.text, "one "), frame(OPCODE.ping, "first")));
    assertEquals(await next(), { opcode: OPCODE.pong, payload: utf8("first") });
    await socket.write(concat(more("two "), frame(OPCODE.ping), more(""), last("three")));
    assertEquals(await next(), { opcode: OPCODE.pong, payload: utf8("") });
    assertEquals(await next(), { opcode: OPCODE.text, payload: utf8("one two three") });
    await socket.write(closeFrame(1000));
    const { messages, bytes } = await closed;
    assertEquals([messages, bytes], [1, 13]);
  });
});

Deno.test("wire server sends fragments of a binary message back as they come", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(begin(OPCODE.binary, "one"));
    assertEquals(await next(), { opcode: OPCODE.binary, payload: utf8("one") });
    await socket.write(concat(frame(OPCODE.ping, "?"), more("two")));
    assertEquals(await next(), { opcode: OPCODE.pong, payload: utf8("?") });
    assertEquals(await next(), { opcode: OPCODE.continuation, payload: utf8("two") });
    await socket.write(last(""));
    assertEquals(await next(), { opcode: OPCODE.continuation, payload: utf8("") });
    await socket.write(closeFrame(1000));
    const { messages, bytes } = await closed;
    assertEquals([messages, bytes], [1, 6]);
  });
});

Deno.test("wire server takes text whose characters are split over fragments", async () => {
  await onWire(async ({ socket, next }) => {
    const [first = 0, ...others] = utf8("😀€");
    await socket.write(
      concat(begin(OPCODE.text, Uint8Array.of(first)), ...others.map((byte) => more(Uint8Array.of(byte))), last("")),
    );
    assertEquals(await next(), { opcode: OPCODE.text, payload: utf8("😀€") });
  });
});

for (const opcode of [OPCODE.text, OPCODE.binary]) {
  const kind = opcode === OPCODE.text ? "text" : "binary";
  Deno.test(`wire server takes ${kind} fragments of maxMessageBytes in sum`, async () => {
    await onWire(async ({ socket, next }) => {
      await socket.write(concat(begin(opcode, "1234"), last("5678"), closeFrame(1000)));
      let bytes = 0;
      for (let answer = await next(); answer.opcode !== CLOSE; answer = await next()) {
        bytes += answer.payload.byteLength;
      }
      assertEquals(bytes, 8);
    }, { maxMessageBytes: 8 });
  });

  Deno.test(`wire server answers ${kind} fragments of one byte more with 1009, by their header`, async () => {
    await onWire(async ({ socket, next }) => {
      await socket.write(concat(begin(opcode, "1234"), last("56789").subarray(0, 6)));
      let answer = await next();
      while (answer.opcode !== CLOSE) answer = await next();
      assertEquals(closeOf(answer), [1009, "at most 8 bytes"]);
    }, { maxMessageBytes: 8 });
  });
}

Deno.test("wire server counts a new message from nothing", async () => {
  await onWire(async ({ socket, next }) => {
    for (const opcode of [OPCODE.text, OPCODE.binary, OPCODE.text]) {
      await socket.write(concat(begin(opcode, "1234"), last("5678")));
      let bytes = 0;
      while (bytes < 8) bytes += (await next()).payload.byteLength;
    }
  }, { maxMessageBytes: 8 });
});

Deno.test("wire server ends fragments without end with 1009", async () => {
  await onWire(async ({ socket, next }) => {
    const answer = next();
    await socket.write(begin(OPCODE.text, "x"));
    const many = concat(...Array.from({ length: 100 }, () => more("0123456789")));
    for (let count = 0; count < 20; count++) await socket.write(many).catch(() => {});
    assertEquals(closeOf(await answer), [1009, "at most 16384 bytes"]);
  }, { maxMessageBytes: 16384 });
});

for (const size of [65_536, 1_048_576]) {
  for (const opcode of [OPCODE.text, OPCODE.binary]) {
    Deno.test(`wire server echoes ${size} bytes and more of ${opcode === OPCODE.text ? "text" : "binary"} unchanged`, async () => {
      await onWire(async ({ socket, next }) => {
        // Ten bytes a time, so that characters lie across the reads of the server.
        const whole = utf8("é€😀x".repeat(Math.ceil(size / 10)));
        const sending = socket.write(concat(frame(OPCODE.ping, "a"), frame(opcode, whole), frame(OPCODE.text, "z")));
        assertEquals((await next()).opcode, OPCODE.pong);
        const echo = await next();
        assert(echo.opcode === opcode && equal(echo.payload, whole));
        assertEquals(await next(), { opcode: OPCODE.text, payload: utf8("z") });
        await sending;
      });
    });
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index]);
}

Deno.test("wire server takes frames that come in one piece with the head", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = await connectRaw(server.url);
  await socket.write(concat(requestHead(), frame(OPCODE.text, "a"), frame(OPCODE.binary, "b"), closeFrame(1000)));
  assertMatch(await within(socket.readHead(), "upgrade", WAIT), /^HTTP\/1\.1 101 /);
  const opcodes = [];
  for (let count = 0; count < 3; count++) opcodes.push((await within(socket.readFrame(), "frame", WAIT)).opcode);
  assertEquals(opcodes, [OPCODE.text, OPCODE.binary, OPCODE.close]);
  await untilEnd(socket);
  socket.close();
  await server.shutdown();
});

Deno.test("wire server takes head and frames byte by byte", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = await connectRaw(server.url);
  const all = concat(
    requestHead(),
    frame(OPCODE.text, "é€😀"),
    frame(OPCODE.ping, "ping"),
    begin(OPCODE.binary, "1"),
    last("2"),
    frame(OPCODE.binary, new Uint8Array(300)),
    closeFrame(4000, "bye"),
  );
  for (const byte of all) await socket.write(Uint8Array.of(byte));
  await within(socket.readHead(), "upgrade", WAIT);
  const frames = [];
  for (let count = 0; count < 6; count++) frames.push(await within(socket.readFrame(), "frame", WAIT));
  assertEquals(frames.slice(0, 4).map(({ opcode, payload }) => [opcode, new TextDecoder().decode(payload)]), [
    [OPCODE.text, "é€😀"],
    [OPCODE.pong, "ping"],
    [OPCODE.binary, "1"],
    [OPCODE.continuation, "2"],
  ]);
  assertEquals(frames[4], { opcode: OPCODE.binary, payload: new Uint8Array(300) });
  assertEquals(closeOf(frames[5]!), [4000, "bye"]);
  socket.close();
  await server.shutdown();
});

for (
  const [what, bytes, received] of [
    ["a code and a reason", closeFrame(4000, "bye"), { code: 4000, reason: "bye" }],
    ["nothing in it", frame(OPCODE.close), { code: 1005, reason: "" }],
    ["a reason of 123 bytes", closeFrame(1000, "é".repeat(61) + "x"), { code: 1000, reason: "é".repeat(61) + "x" }],
  ] as const
) {
  Deno.test(`wire server answers a close frame with ${what} by the same, and ends TCP`, async () => {
    await onWire(async ({ socket, next, closed }) => {
      await socket.write(concat(bytes, "garbage behind it"));
      const { opcode, payload } = await next();
      assertEquals(opcode, CLOSE);
      assertEquals(encodeFrame(CLOSE, payload, { maskingKey: KEY }), bytes);
      await untilEnd(socket);
      const end = await closed;
      assertEquals([end.received, end.sent, end.initiator, end.detail], [received, received, "peer", ""]);
    });
  });
}

Deno.test("wire server drops a peer that does not answer its close frame", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(frame(OPCODE.text, "too long"));
    assertEquals(closeOf(await next())[0], 1009);
    const { received, detail } = await closed;
    assertEquals([received, detail], [null, "No answer to the close frame"]);
    await untilEnd(socket);
  }, { maxMessageBytes: 1 });
});

Deno.test("wire server waits for the end of a frame that it echoes before it closes", async () => {
  await onWire(async ({ server, socket, next, closed }) => {
    const message = frame(OPCODE.binary, "0123456789");
    await socket.write(message.subarray(0, 10));
    const echo = next();
    // The server has read the half when it answers what comes on another connection behind it.
    await fetch(server.url.replace("ws:", "http:")).then((answer) => answer.body?.cancel());
    const stopping = server.shutdown(WAIT);
    await socket.write(concat(message.subarray(10), frame(OPCODE.text, "not echoed")));
    assertEquals((await echo).payload, utf8("0123456789"));
    assertEquals(closeOf(await next()), [1001, "server shutting down"]);
    await socket.write(closeFrame(1001));
    assertEquals([await stopping, (await closed).messages], [0, 1]);
  });
});

Deno.test("wire server ignores pongs that nobody asked for", async () => {
  await onWire(async ({ socket, next }) => {
    await socket.write(concat(frame(OPCODE.pong, "x"), frame(OPCODE.text, "y")));
    assertEquals((await next()).payload, utf8("y"));
  });
});

Deno.test("wire server pings a silent peer again and again as long as it answers", async () => {
  await onWire(async ({ socket, next }) => {
    for (let count = 0; count < 2; count++) {
      assertEquals((await next()).opcode, OPCODE.ping);
      await socket.write(frame(OPCODE.pong));
    }
    // So long that a busy machine still answers in time.
  }, { idleTimeoutSeconds: 1 });
});

Deno.test("wire server closes with 1001 and drops a peer that does not answer the ping", async () => {
  await onWire(async ({ socket, next, closed }) => {
    assertEquals((await next()).opcode, OPCODE.ping);
    assertEquals(closeOf(await next()), [1001, "no answer to the ping"]);
    await untilEnd(socket);
    const { received, detail } = await closed;
    assertEquals([received, detail], [null, "No answer to the ping"]);
  }, { idleTimeoutSeconds: 0.2 });
});

Deno.test("wire server drops a peer that stops inside a frame, where nothing else can be said", async () => {
  await onWire(async ({ socket, closed }) => {
    await socket.write(frame(OPCODE.binary, "0123456789").subarray(0, 10));
    await untilEnd(socket);
    assertEquals((await closed).detail, "No answer to the ping");
  }, { idleTimeoutSeconds: 0.2 });
});

Deno.test("wire server drops a peer that does not read, once its writes have stood still for the idle timeout", async () => {
  await onWire(async ({ socket, closed }) => {
    const message = frame(OPCODE.binary, new Uint8Array(1024 * 1024));
    try {
      // Until the buffers of TCP are full in both directions, and then until it is dropped.
      while (true) await within(socket.write(message), "room", WAIT);
    } catch {
      assertEquals((await closed).detail, "Peer does not read");
    }
  }, { idleTimeoutSeconds: 1 });
});

Deno.test("shutdown() drops peers that do not answer, and nothing of them stays behind", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const sockets = await Promise.all([1, 2, 3].map(() => connectRaw(server.url)));
  for (const socket of sockets.slice(0, 2)) {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
  }
  // The third has not asked for anything, and is no connection yet.
  assertEquals(await server.shutdown({ timeoutMs: 50 }), 2);
  for (const socket of sockets) {
    await untilEnd(socket);
    socket.close();
  }
});

Deno.test({
  name: "wire server stays below 128 MiB when a peer sends up to 2 GiB and never reads",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await using server = await serverProcess("--transport", "wire", "--idle-timeout", "2", "--log", "json");
    const socket = await connectRaw(server.url);
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
    const message = frame(OPCODE.binary, new Uint8Array(1024 * 1024));
    const ended = (async () => {
      await server.nextLine();
      return JSON.parse(await server.nextLine());
    })();
    try {
      for (let sent = 0; sent < 2048; sent++) await within(socket.write(message), "room", WAIT);
    } catch {
      // It is dropped long before.
    }
    assertEquals((await within(ended, "end", WAIT)).error, "Peer does not read");
    const { stdout } = await new Deno.Command("cat", { args: [`/proc/${server.child.pid}/status`] }).output();
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout)) ?? [];
    assert(Number(kibibytes) < 128 * 1024, `${kibibytes} KiB`);
    socket.close();
  },
});

Deno.test("wire server serves the client of npm ws: fragments, pings, text and binary, and the close", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = new WsClient(server.url, ["chat"], { perMessageDeflate: false });
  const event = (name: string) =>
    within(new Promise<unknown[]>((resolve) => socket.once(name, (...args: unknown[]) => resolve(args))), name, WAIT);
  await event("open");
  assertEquals([socket.protocol, socket.extensions], ["chat", ""]);
  for (const isBinary of [false, true]) {
    const [message, pong] = [event("message"), event("pong")];
    socket.send("frag", { fin: false, binary: isBinary });
    socket.ping("?");
    socket.send("ments", { fin: true, binary: isBinary });
    const [[data, kind], [payload]] = [await message, await pong];
    assertEquals([String(data), kind, String(payload)], ["fragments", isBinary, "?"]);
  }
  const closed = event("close");
  socket.close(4000, "bye");
  const [code, reason] = await closed;
  assertEquals([code, String(reason)], [4000, "bye"]);
  await server.shutdown();
});

Deno.test("wire server goes on with the others when one connection breaks", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const [bad, good] = [await connectRaw(server.url), await connectRaw(server.url)];
  for (const socket of [bad, good]) {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
  }
  await bad.write(Uint8Array.of(0xff, 0xff));
  await untilEnd(bad);
  await good.write(frame(OPCODE.text, "still here"));
  assertEquals((await within(good.readFrame(), "echo", WAIT)).payload, utf8("still here"));
  bad.close();
  good.close();
  await server.shutdown();
});

Deno.test("wire server is fair: of 100 busy connections each is served", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const sockets = await Promise.all(Array.from({ length: 100 }, () => connectRaw(server.url)));
  await Promise.all(sockets.map(async (socket) => {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
    for (let count = 0; count < 20; count++) {
      await socket.write(frame(OPCODE.binary, `${count}`));
      assertEquals((await within(socket.readFrame(), "echo", WAIT)).payload, utf8(`${count}`));
    }
    socket.close();
  }));
  await server.shutdown();
});

Deno.test("wire server is not held up by peers that are gone before they are accepted", async () => {
  const events: EchoEvent[] = [];
  const server = serveEcho({ transport: "wire", port: 0, onEvent: (event) => events.push(event) });
  // As long as this process waits it accepts nothing, so that all of them are gone by then.
  const script = `import { connect } from "node:net";
    const { hostname: host, port } = new URL(Deno.args[0]);
    for (let count = 0; count < 50; count++) {
      const socket = connect({ host, port: Number(port) }, () => socket.resetAndDestroy());
      socket.on("error", () => {});
    }`;
  const { success } = new Deno.Command(Deno.execPath(), { args: ["eval", script, server.url] }).outputSync();
  assert(success);
  const connection = await openWire(server.url);
  await connection.send("still here");
  assertEquals(await connection.receive(WAIT), "still here");
  await connection.close(WAIT);
  await server.shutdown();
  assertEquals(events.filter(({ type }) => type === "trouble"), []);
});
