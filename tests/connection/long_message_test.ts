/** Long messages: compressed in slices, in order, and never in the way of timers and signals. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { ConnectionClosedError } from "../../lib/connection/connection.ts";
import { deflateInSlices, MAX_WHOLE_BYTES, SendOrder } from "../../lib/connection/long_message.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { TimeoutError } from "../../lib/net/deadline.ts";
import { engineCount, MessageDeflate } from "../../lib/net/zlib.ts";
import { concatBytes } from "../../lib/protocol/message.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { rawPeer } from "../support/raw_peer.ts";

const MIB = 1024 * 1024;
const WAIT = { timeoutMs: 60_000 };
const DIRECTION = { takeover: true, windowBits: 15 };

/** Digits that look random: they shrink to half, so that no server takes them for a bomb. */
function digits(bytes: number): Uint8Array<ArrayBuffer> {
  const text = new Uint8Array(bytes);
  for (let at = 0, seed = 1; at < bytes; at++) text[at] = 48 + (seed = seed * 48271 % 2147483647) % 10;
  return text;
}

/** Runs a test with a codec, and checks that no engine is left. */
async function withCodec(test: (codec: MessageDeflate) => Promise<void>) {
  const before = engineCount();
  const codec = new MessageDeflate({ own: DIRECTION, peer: DIRECTION, maxMessageBytes: 16 * MIB });
  await test(codec);
  codec.release();
  assertEquals(engineCount(), before);
}

function inflate(codec: MessageDeflate, packed: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  codec.inflate(packed, true, (piece) => {
    pieces.push(piece.slice());
  });
  return concatBytes(pieces);
}

/** An abort in the first turn of the event loop. */
function abortSoon(): AbortSignal {
  const controller = new AbortController();
  setImmediate(() => controller.abort(new Error("Interrupted")));
  return controller.signal;
}

Deno.test("deflateInSlices() returns messages of any size that inflate to their content", async () => {
  await withCodec(async (codec) => {
    for (const bytes of [0, 1, MAX_WHOLE_BYTES, MAX_WHOLE_BYTES + 1, 3 * MIB, 3 * MIB + 1]) {
      const message = digits(bytes);
      assertEquals(inflate(codec, await deflateInSlices(codec, message, WAIT)), message, `${bytes} bytes`);
    }
  });
});

Deno.test("deflateInSlices() lets others run between its slices, from 1 MiB up", async () => {
  for (const [bytes, order] of [[MIB, ["packed", "turn"]], [MIB + 1, ["turn", "packed"]]] as const) {
    await withCodec(async (codec) => {
      const events: string[] = [];
      const turn = new Promise<void>((resolve) =>
        setImmediate(() => {
          events.push("turn");
          resolve();
        })
      );
      await deflateInSlices(codec, new Uint8Array(bytes), WAIT);
      events.push("packed");
      await turn;
      assertEquals(events, [...order]);
    });
  }
});

const ENDS: [what: string, wait: () => Parameters<typeof deflateInSlices>[2], message: string][] = [
  ["its signal", () => ({ signal: abortSoon() }), "Interrupted"],
  ["its deadline", () => ({ timeoutMs: 0 }), "No end of the compression within 0 s"],
  ["its check", () => ({
    check: () => {
      throw new Error("The connection is over");
    },
  }), "The connection is over"],
];
for (const [what, wait, message] of ENDS) {
  Deno.test(`deflateInSlices() ends with ${what}, and the next message is whole`, async () => {
    await withCodec(async (codec) => {
      const first = digits(1000);
      assertEquals(inflate(codec, await deflateInSlices(codec, first, WAIT)), first);
      const before = engineCount();
      await assertRejects(() => deflateInSlices(codec, digits(2 * MIB), wait()), Error, message);
      assertEquals(engineCount(), before - 1);
      assertEquals(inflate(codec, await deflateInSlices(codec, first, WAIT)), first);
    });
  });
}

Deno.test("SendOrder keeps messages after a long one in line, even if one has stopped waiting", async () => {
  const order = new SendOrder();
  const sent: string[] = [];
  const gate = Promise.withResolvers<void>();
  const first = order.run(true, () => gate.promise.then(() => void sent.push("long")), WAIT);
  const late = order.run(false, () => Promise.resolve(void sent.push("late")), { timeoutMs: 1 });
  const last = order.run(false, () => Promise.resolve(void sent.push("last")), WAIT);
  await assertRejects(() => late, TimeoutError, "No room to send within 0.001 s");
  // Whoever is next in line would be sent by now.
  await new Promise((resolve) => setImmediate(resolve));
  assertEquals(sent, []);
  gate.resolve();
  await Promise.all([first, last]);
  assertEquals(sent, ["long", "last"]);
});

Deno.test("SendOrder lets others continue after a message that failed", async () => {
  const order = new SendOrder();
  const failed = order.run(true, () => Promise.reject(new Error("Broken")), WAIT);
  const sent: string[] = [];
  const next = order.run(false, () => Promise.resolve(void sent.push("next")), WAIT);
  await assertRejects(() => failed, Error, "Broken");
  await next;
  assertEquals(sent, ["next"]);
});

Deno.test("send() keeps the order of messages, with long ones between short ones, and fragments", async () => {
  const server = serveEcho({ port: 0, transport: "wire" });
  for (const fragmentBytes of [undefined, 100_000]) {
    const connection = await openWire(server.url, { deflate: {}, ...(fragmentBytes && { fragmentBytes }) });
    assert(connection.extensions?.startsWith("permessage-deflate"));
    const messages = ["first", digits(2 * MIB), "second", digits(3 * MIB), "third", ""];
    const sending = Promise.all(messages.map((message) => connection.send(message, WAIT)));
    for (const message of messages) assertEquals(await connection.receive(WAIT), message);
    await sending;
    await connection.close(WAIT);
  }
  await server.shutdown();
});

Deno.test("send() lets others run while it compresses, and stops at its signal", async () => {
  const server = serveEcho({ port: 0, transport: "wire" });
  const before = engineCount();
  const connection = await openWire(server.url, { deflate: {} });
  await assertRejects(() => connection.send(digits(4 * MIB), { ...WAIT, signal: abortSoon() }), Error, "Interrupted");
  await connection.send("still in order", WAIT);
  assertEquals(await connection.receive(WAIT), "still in order");
  await connection.close(WAIT);
  await server.shutdown();
  assert(engineCount() <= before);
});

Deno.test("send() ends when the connection does, and leaves no engine", async () => {
  const before = engineCount();
  const closing = Promise.withResolvers<void>();
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade("Sec-WebSocket-Extensions: permessage-deflate");
    await closing.promise;
    socket.close();
  });
  const connection = await openWire(peer.url, { deflate: {} });
  // The end comes in the middle of a message that would take a hundred slices.
  setImmediate(() => closing.resolve());
  await assertRejects(() => connection.send(new Uint8Array(64 * MIB), WAIT), ConnectionClosedError);
  await connection.closed;
  assertEquals(engineCount(), before);
});
