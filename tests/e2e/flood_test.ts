/** Floods from a peer in another process: the client's deadlines and Ctrl-C, the server's clock and other peers. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { within } from "../../lib/net/deadline.ts";
import { Turns } from "../../lib/net/turns.ts";
import type { WireLimits } from "../../lib/server/wire_limits.ts";
import { WireEcho } from "../../lib/server/wire_echo.ts";
import { outcomeOf, start, startScript } from "../support/command.ts";
import { frame, joined, WAIT } from "../support/wire.ts";

/** A server that answers the upgrade, then sends the same bytes forever; prints its port and the start of the flood. */
const FLOODING_SERVER = (first: string, again: string) => `
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  console.log(listener.addr.port);
  const conn = await listener.accept();
  const head = new Uint8Array(16384);
  let length = 0;
  const text = () => new TextDecoder().decode(head.subarray(0, length));
  while (!text().endsWith("\\r\\n\\r\\n")) length += await conn.read(head.subarray(length));
  const [, key] = /sec-websocket-key: (\\S+)/i.exec(text());
  const bytes = new TextEncoder().encode(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  const accept = new Uint8Array(await crypto.subtle.digest("SHA-1", bytes)).toBase64();
  const answer = "HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n";
  await conn.write(new TextEncoder().encode(answer + "Sec-WebSocket-Accept: " + accept + "\\r\\n\\r\\n"));
  await conn.write(Uint8Array.fromHex("${first}"));
  const flood = Uint8Array.fromHex("${again}".repeat(32768));
  try {
    for (let at = await conn.write(flood), isTold = false;; at %= flood.byteLength) {
      if (!isTold) console.log("flooding");
      isTold = true;
      at += await conn.write(flood.subarray(at));
    }
  } catch {
    // The client is gone.
  }
  await new Promise(() => setInterval(() => {}, 1000));
`;

async function onFlood(
  first: string,
  again: string,
  test: (url: string, untilFlooding: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const child = startScript(FLOODING_SERVER(first, again));
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let said = "";
  const untilSaid = async (what: RegExp) => {
    while (!what.test(said)) said += (await within(reader.read(), "line", WAIT)).value ?? "";
  };
  try {
    await untilSaid(/^\d+\n/);
    await test(`ws://127.0.0.1:${parseInt(said)}/`, () => untilSaid(/flooding/));
  } finally {
    child.kill("SIGKILL");
    await reader.cancel();
    await child.stderr.cancel();
    await child.status;
  }
}

for (
  const [what, first, again] of [
    ["empty fragments", "0200", "0000"],
    ["pings", "8900", "8900"],
  ] as const
) {
  Deno.test(`client keeps --reply-timeout over wire, while its peer floods ${what}`, async () => {
    await onFlood(first, again, async (url) => {
      const { code, stdout } = await outcomeOf(
        start("main.ts", ["--transport", "wire", "--reply-timeout", "1", "--close-timeout", "1", url]),
      );
      assertMatch(stdout, /no complete message in time/);
      assertEquals(code, 5);
    });
  });

  Deno.test(`client ends over wire when it is interrupted, while its peer floods ${what}`, async () => {
    await onFlood(first, again, async (url, untilFlooding) => {
      const child = start("main.ts", ["--transport", "wire", "--reply-timeout", "3600", "--close-timeout", "1", url]);
      const outcome = outcomeOf(child);
      await untilFlooding();
      child.kill("SIGINT");
      assertEquals((await outcome).code, 130);
    });
  });
}

const BATCH = 600;
const ENDLESS_READS = 20_000;
const repeated = (bytes: Uint8Array) => joined(...Array.from({ length: BATCH }, () => bytes));

/** The bytes of each read; the next read continues, whatever the size of the buffer. */
const FLOODS: readonly [what: string, bytes: Uint8Array, limits: Partial<WireLimits>][] = [
  ["pings", repeated(frame(OPCODE.ping)), {}],
  ["empty messages", repeated(frame(OPCODE.text)), {}],
  [
    "fragments of one byte",
    joined(
      frame(OPCODE.text, "", { final: false }),
      repeated(frame(OPCODE.continuation, "x", { final: false })),
      frame(OPCODE.continuation),
    ),
    {},
  ],
  ["messages of 1 MiB", frame(OPCODE.binary, new Uint8Array(1024 * 1024)), {}],
  [
    "pings behind its close frame",
    joined(frame(OPCODE.close, Uint8Array.of(3, 232)), repeated(frame(OPCODE.ping))),
    {},
  ],
  [
    "pings beyond its rate",
    repeated(frame(OPCODE.ping)),
    { rate: { messagesPerSecond: 10, bytesPerSecond: Infinity } },
  ],
];

for (const [what, bytes, limits] of FLOODS) {
  Deno.test(`WireEcho leaves room for timers, when its peer sends ${what} without a pause`, async () => {
    let reads = 0;
    let at = 0;
    let isClosed = false;
    const stream = {
      // Like the runtime's sockets, returns available bytes at once.
      read(into: Uint8Array): Promise<number | null> {
        if (isClosed) return Promise.reject(new Error("closed"));
        if (++reads > ENDLESS_READS) return Promise.resolve(null);
        const piece = bytes.subarray(at, at + into.byteLength);
        into.set(piece);
        at = (at + piece.byteLength) % bytes.byteLength;
        return Promise.resolve(piece.byteLength);
      },
      write: (piece: Uint8Array) => Promise.resolve(piece.byteLength),
      closeWrite: () => Promise.resolve(),
      close: () => void (isClosed = true),
    };
    const echo = new WireEcho(stream, { maxMessageBytes: 2 ** 24, idleTimeoutMs: 0, ...limits });
    const running = echo.run();
    const readsAtTimer = await within(
      new Promise<number>((resolve) => setTimeout(() => resolve(reads))),
      "timer",
      WAIT,
    );
    echo.destroy();
    await within(running, "end", WAIT);
    assert(readsAtTimer <= ENDLESS_READS, "The flood was over before the timer");
  });
}

class NotedTurns extends Turns {
  readonly works: number[] = [];

  override spend(work: number): void {
    this.works.push(work);
    super.spend(work);
  }
}

for (const [byteCost, work] of [[undefined, 4], [1, 4], [8, 32]] as const) {
  Deno.test(`WireEcho counts the work of its bytes, when its stream says that each costs ${byteCost}`, async () => {
    const message = frame(OPCODE.binary, new Uint8Array(2040));
    let at = 0;
    const stream = {
      ...(byteCost !== undefined && { byteCost }),
      read(into: Uint8Array): Promise<number | null> {
        const piece = message.subarray(at, at + into.byteLength);
        if (piece.byteLength === 0) return Promise.resolve(null);
        into.set(piece);
        at += piece.byteLength;
        return Promise.resolve(piece.byteLength);
      },
      write: (piece: Uint8Array) => Promise.resolve(piece.byteLength),
      closeWrite: () => Promise.resolve(),
      close() {},
    };
    const turns = new NotedTurns();
    const echo = new WireEcho(stream, { maxMessageBytes: 2 ** 24, idleTimeoutMs: 0 }, turns);
    await within(echo.run(), "end", WAIT);
    // One more for the frame that spans two reads.
    assertEquals([turns.works.length, turns.works.reduce((sum, each) => sum + each)], [2, work + 1]);
  });
}

Deno.test("WireEcho stops looking for the peer's close frame after 131,072 frames", async () => {
  const ping = frame(OPCODE.ping);
  const bytes = repeated(ping);
  let frames = 0;
  const written: number[] = [];
  let isClosed = false;
  const stream = {
    read(into: Uint8Array): Promise<number | null> {
      if (isClosed) return Promise.reject(new Error("closed"));
      const count = Math.min(BATCH, Math.floor(into.byteLength / ping.byteLength));
      frames += count;
      into.set(bytes.subarray(0, count * ping.byteLength));
      return Promise.resolve(count * ping.byteLength);
    },
    write: (piece: Uint8Array) => Promise.resolve(written.push(piece[0] ?? 0) && piece.byteLength),
    closeWrite: () => Promise.resolve(),
    close: () => void (isClosed = true),
  };
  const rate = { messagesPerSecond: 1, bytesPerSecond: Infinity };
  const echo = new WireEcho(stream, { maxMessageBytes: 2 ** 24, idleTimeoutMs: 0, rate });
  const running = echo.run();
  const end = await within(echo.ended, "end", WAIT);
  const decoded = frames;
  echo.destroy();
  await within(running, "end of the connection", WAIT);
  assertEquals([end.sent?.code, end.received, end.detail], [1008, null, "No answer to the close frame"]);
  // Bytes count as work too.
  assert(decoded > 100_000 && decoded < 140_000, `${decoded}`);
});
