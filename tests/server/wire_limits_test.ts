/** The limits of the server over our own frames: rate, memory and silence. */

import { assert, assertEquals } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { MemoryBudget, SHED_REASON } from "../../lib/server/budget.ts";
import { within } from "../../lib/net/deadline.ts";
import type { WireLimits } from "../../lib/server/wire_limits.ts";
import { MAX_READ_BYTES } from "../../lib/server/echo_buffer.ts";
import { WireEcho } from "../../lib/server/wire_echo.ts";
import { CLOSE, connectRaw, rawClient, type RawSocket, requestHead } from "../support/raw_peer.ts";
import { frame, framesToClose, joined, type Told, until, WAIT, wireScene } from "../support/wire.ts";

const MIB = 1024 * 1024;
const text = (payload: string | Uint8Array) => frame(OPCODE.text, payload);
const begin = (payload: string | Uint8Array) => frame(OPCODE.text, payload, { final: false });
const more = (payload: string | Uint8Array) => frame(OPCODE.continuation, payload, { final: false });
const last = (payload: string | Uint8Array) => frame(OPCODE.continuation, payload);
const normal = frame(CLOSE, Uint8Array.of(0x03, 0xe8));
/** Text of this many bytes. */
const letters = (bytes: number) => new Uint8Array(bytes).fill(97);

async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}

function endsOf(told: readonly Told[]) {
  return told.flatMap((one) => one.type === "end" ? [one.end] : []);
}

const { text: TEXT, binary: BINARY, pong: PONG } = OPCODE;
const rateOf = (messagesPerSecond: number, bytesPerSecond: number) => ({ messagesPerSecond, bytesPerSecond });

for (
  const [what, rate, frames, opcodes, code, reason] of [
    [
      "answers the message that is one too many with 1008, behind the echoes of those before",
      rateOf(3, Infinity),
      ["a", "b", "c", "d", "e"].map(text),
      [TEXT, TEXT, TEXT],
      1008,
      "at most 3 messages a second",
    ],
    [
      "does not count the close frame",
      rateOf(3, Infinity),
      [...["a", "b", "c"].map(text), normal],
      [TEXT, TEXT, TEXT],
      1000,
      "",
    ],
    [
      "counts pings and pongs as messages",
      rateOf(3, Infinity),
      [frame(OPCODE.ping), frame(OPCODE.pong), frame(OPCODE.ping), frame(OPCODE.ping)],
      [PONG, PONG],
      1008,
      "at most 3 messages a second",
    ],
    [
      "counts a message in fragments once, if they have 128 bytes or are the last",
      rateOf(1, Infinity),
      [begin("a"), more(letters(128)), more(letters(128)), last("")],
      [TEXT],
      1000,
      "",
    ],
    [
      "counts fragments of less than 128 bytes as messages",
      rateOf(3, Infinity),
      [begin(""), more(""), more(letters(127)), more("")],
      [],
      1008,
      "at most 3 messages a second",
    ],
    [
      "lets a message through that is longer than a second allows, and then none",
      rateOf(Infinity, 10),
      [text("123456789"), frame(BINARY, letters(1000)), text("x")],
      [TEXT, BINARY],
      1008,
      "at most 10 bytes a second",
    ],
    [
      "charges the fragments of a message, and refuses none of them",
      rateOf(Infinity, 10),
      [begin(letters(50)), more(letters(128)), last(letters(50)), text("x")],
      [TEXT],
      1008,
      "at most 10 bytes a second",
    ],
    [
      "does nothing within the limit",
      rateOf(5, 1000),
      [text("a"), frame(BINARY, "b"), frame(OPCODE.ping), text("c"), text("d")],
      [TEXT, BINARY, PONG, TEXT, TEXT],
      1000,
      "",
    ],
  ] as const
) {
  Deno.test(`the rate of a WireServer ${what}`, async () => {
    await using scene = wireScene({ rate });
    const socket = await scene.connect();
    await socket.write(joined(...frames, ...(code === 1000 && reason === "" ? [normal] : [])));
    assertEquals(await framesToClose(socket), [[...opcodes], code, reason]);
  });
}

Deno.test("WireServer reads the peer's close frame after a message beyond the rate", async () => {
  await using scene = wireScene({ rate: rateOf(1, Infinity) });
  const socket = await scene.connect();
  await socket.write(joined(text("a"), text("b"), frame(OPCODE.ping), frame(CLOSE, Uint8Array.of(0x03, 0xf0))));
  assertEquals(await framesToClose(socket), [[TEXT], 1008, "at most 1 messages a second"]);
  await untilEnd(socket);
  const [told] = endsOf(await scene.untilTold(1));
  assert(told !== undefined);
  const { sent, received, initiator, end, tcp, detail, messages, bytes } = told;
  assertEquals({ sent, received, initiator, end, tcp, detail, messages, bytes }, {
    sent: { code: 1008, reason: "at most 1 messages a second" },
    received: { code: 1008, reason: "" },
    initiator: "local",
    end: "close-frame",
    tcp: "local",
    detail: "",
    messages: 1,
    bytes: 1,
  });
});

Deno.test("the budget of a WireServer closes the peer with the longest unfinished text with 1013, and not the others", async () => {
  // The buffer for text doubles when it overflows: the smaller message takes 4 MiB in the end.
  const budget = new MemoryBudget(4.5 * MIB);
  await using scene = wireScene({ budget });
  const [large, small] = [await scene.connect(), await scene.connect()];
  await large.write(begin(letters(3 * MIB)));
  await until(() => budget.totalBytes > 2.9 * MIB);
  const closed = framesToClose(large);
  await small.write(begin(letters(2 * MIB)));
  assertEquals(await closed, [[], 1013, SHED_REASON]);
  await small.write(last("!"));
  assertEquals((await within(small.readFrame(), "echo", WAIT)).payload.byteLength, 2 * MIB + 1);
  await large.write(frame(CLOSE, Uint8Array.of(0x03, 0xf5)));
  const [end] = endsOf(await scene.untilTold(1));
  assertEquals([end?.sent, end?.received?.code, end?.detail], [{ code: 1013, reason: SHED_REASON }, 1013, ""]);
  small.close();
  await until(() => budget.totalBytes === 0);
});

Deno.test("the budget of a WireServer counts the reserved room for text, up to 32 times the arrived bytes", async () => {
  const budget = new MemoryBudget(Infinity);
  await using scene = wireScene({ budget });
  const socket = await scene.connect();
  const whole = text(letters(16 * MIB));
  await socket.write(whole.subarray(0, 100_000));
  await until(() => budget.totalBytes > 0);
  // More than the received bytes, and at most 32 times that, or the message. The read buffer counts as well.
  assert(budget.totalBytes > 100_000 && budget.totalBytes <= 3_200_000 + MAX_READ_BYTES, `${budget.totalBytes}`);
  await socket.write(whole.subarray(100_000, 15 * MIB));
  await until(() => budget.totalBytes >= 16 * MIB);
  assert(budget.totalBytes < 16 * MIB + MAX_READ_BYTES, `${budget.totalBytes}`);
});

Deno.test("the budget of a WireServer forgets text that was echoed, and that of a peer that has left", async () => {
  const budget = new MemoryBudget(4 * MIB);
  await using scene = wireScene({ budget });
  const socket = await scene.connect();
  for (let count = 0; count < 10; count++) {
    await socket.write(joined(begin(letters(MIB)), last("")));
    assertEquals((await within(socket.readFrame(), "echo", WAIT)).payload.byteLength, MIB);
  }
  await socket.write(begin(letters(MIB)));
  await until(() => budget.totalBytes > 0.9 * MIB);
  socket.close();
  await scene.untilTold(1);
  // Includes the read buffer.
  assertEquals(budget.totalBytes, 0);
});

Deno.test("the budget of a WireServer ignores small and binary messages, however full it is", async () => {
  const budget = new MemoryBudget(0);
  await using scene = wireScene({ budget });
  const socket = await scene.connect();
  await socket.write(joined(begin(letters(3000)), last(""), frame(BINARY, letters(200_000)), text("x")));
  const sizes = [];
  for (let count = 0; count < 3; count++) {
    sizes.push((await within(socket.readFrame(), "echo", WAIT)).payload.byteLength);
  }
  assertEquals([sizes, budget.totalBytes], [[3000, 200_000, 1], 0]);
  await socket.write(joined(begin(letters(3000)), more(letters(3000))));
  assertEquals(await framesToClose(socket), [[], 1013, SHED_REASON]);
});

Deno.test("the budget of a WireServer drops a peer that does not read a long text, as no close frame fits inside it", async () => {
  const budget = new MemoryBudget(25 * MIB);
  await using scene = wireScene({ budget });
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: scene.server.port });
  const write = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.byteLength;) at += await conn.write(bytes.subarray(at));
  };
  const read = (bytes: number) => within(conn.read(new Uint8Array(bytes)), "bytes", WAIT);
  await write(new TextEncoder().encode(requestHead()));
  await read(4096);
  await write(text(letters(24 * MIB)));
  // The echo has started, and far exceeds the buffers of TCP.
  await read(10);
  assert(budget.totalBytes >= 23 * MIB, `${budget.totalBytes}`);
  const other = await scene.connect();
  await other.write(joined(begin(letters(2 * MIB)), last("")));
  const [end] = endsOf(await scene.untilTold(1));
  assertEquals([end?.sent, end?.detail], [null, SHED_REASON]);
  assertEquals((await within(other.readFrame(), "echo", WAIT)).payload.byteLength, 2 * MIB);
  conn.close();
  other.close();
  await until(() => budget.totalBytes === 0);
});

/** An echo with a peer and a manual clock. */
async function withEcho(
  limits: Partial<WireLimits>,
  test: (echo: WireEcho, socket: RawSocket, readCount: () => number) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = await connectRaw(`ws://127.0.0.1:${listener.addr.port}/`);
  const conn = await listener.accept();
  listener.close();
  let count = 0;
  const stream = {
    async read(into: Uint8Array) {
      const bytes = await conn.read(into);
      count++;
      return bytes;
    },
    write: (bytes: Uint8Array) => conn.write(bytes),
    closeWrite: () => conn.closeWrite(),
    close: () => conn.close(),
  };
  const echo = new WireEcho(stream, { maxMessageBytes: 32 * MIB, idleTimeoutMs: 300, ...limits });
  const running = echo.run();
  try {
    await test(echo, socket, () => count);
  } finally {
    echo.destroy();
    socket.close();
    await within(running, "end", WAIT);
  }
}

Deno.test("WireEcho does not mistake a slow upload for silence, byte by byte, text or binary", async () => {
  await withEcho({}, async (echo, socket, readCount) => {
    let now = performance.now();
    const upload = frame(BINARY, letters(40));
    await socket.write(upload.subarray(0, 6));
    for (const [index, byte] of upload.subarray(6).entries()) {
      await socket.write(Uint8Array.of(byte));
      await until(() => echo.bytes > index);
      echo.tick(now += 299);
    }
    assertEquals((await within(socket.readFrame(), "echo", WAIT)).payload.byteLength, 40);
    await socket.write(begin("x"));
    await until(() => echo.heldBytes() > 0);
    for (let count = 1; count < 40; count++) {
      const before = readCount();
      await socket.write(more("x"));
      await until(() => readCount() > before);
      echo.tick(now += 299);
    }
    await socket.write(last(""));
    // No ping came in between.
    assertEquals((await within(socket.readFrame(), "echo", WAIT)).opcode, TEXT);
    assertEquals([echo.messages, echo.bytes, echo.heldBytes()], [2, 80, 0]);
  });
});

Deno.test("WireEcho closes with 1001 when a slow upload stands still", async () => {
  await withEcho({}, async (echo, socket) => {
    // Whole numbers, so that sums are exact.
    const begun = Math.ceil(performance.now());
    await socket.write(begin("x"));
    await until(() => echo.heldBytes() > 0);
    echo.tick(begun);
    echo.tick(begun + 300);
    assertEquals((await within(socket.readFrame(), "ping", WAIT)).opcode, OPCODE.ping);
    echo.tick(begun + 600);
    assertEquals(await framesToClose(socket), [[], 1001, "no answer to the ping"]);
    assertEquals((await within(echo.ended, "end", WAIT)).detail, "No answer to the ping");
  });
});

for (const opcode of [TEXT, BINARY]) {
  const kind = opcode === TEXT ? "text" : "binary";
  Deno.test(`WireEcho drops a peer that sends ${kind} and never reads, however much it keeps sending`, async () => {
    await withEcho({}, async (echo, socket) => {
      let isGone = false;
      const sending = (async () => {
        const message = frame(opcode, letters(MIB));
        while (true) await socket.write(message);
      })().catch(() => isGone = true);
      // The peer's time runs as long as no echo goes out.
      let now = performance.now();
      const ticking = until(() => {
        echo.tick(now += 100);
        return isGone;
      });
      await within(Promise.all([sending, ticking]), "end", WAIT);
      assertEquals((await within(echo.ended, "end", WAIT)).detail, "Peer does not read");
    });
  });
}

Deno.test("WireEcho ends text that trickles forever with 1009", async () => {
  await withEcho({ maxMessageBytes: 1000, idleTimeoutMs: WAIT.timeoutMs }, async (echo, socket) => {
    await socket.write(begin("x"));
    const closed = framesToClose(socket);
    for (let count = 1; count <= 1000; count++) {
      await socket.write(more("x"));
      echo.tick(performance.now());
    }
    assertEquals(await closed, [[], 1009, "at most 1000 bytes"]);
  });
});

Deno.test("WireEcho sends nothing after its close frame when it echoes the rest of a read", async () => {
  const server = serveEcho({ transport: "wire", port: 0, maxBufferedTotalBytes: 100 * 1024 });
  const socket = await rawClient(server.url);
  // The read buffer grows to 4 KiB.
  await socket.write(frame(OPCODE.binary, letters(1000)));
  await within(socket.readFrame(), "echo", WAIT);
  // In one read: a complete message, and the start of a text that exceeds the budget.
  const beginning = frame(OPCODE.text, letters(8 * MIB)).subarray(0, 14 + 3900);
  await socket.write(joined(frame(OPCODE.binary, "hello"), beginning));
  assertEquals(await framesToClose(socket), [[OPCODE.binary], 1013, SHED_REASON]);
  socket.close();
  await server.shutdown({ timeoutMs: 1000 });
});
