/** The wire server's echo and the turns of its server: large reads wait, small ones do not. */

import { assert, assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import type { ByteStream } from "../../lib/net/tls.ts";
import { type Demand, MAX_PERIOD_WORK, SHORT_PERIOD_WORK, Turns } from "../../lib/net/turns.ts";
import { encodeFrame, OPCODE } from "../../lib/protocol/frame.ts";
import { WireEcho } from "../../lib/server/wire_echo.ts";

const WAIT = { timeoutMs: 20_000 };
const LIMITS = { maxMessageBytes: 1024 * 1024, idleTimeoutMs: 0 };
const message = (bytes: number) =>
  encodeFrame(OPCODE.binary, new Uint8Array(bytes), { maskingKey: new Uint8Array(4).fill(1) });

/** Records what happens, and gives a turn at once. */
class RecordedTurns extends Turns {
  constructor(readonly events: string[]) {
    super();
  }

  override turn({ standing }: Demand, isAgain = false): Promise<void> {
    this.events.push(`${isAgain ? "turn again" : "turn"}, ${standing}`);
    return Promise.resolve();
  }

  override spend(): void {
    this.events.push("work");
  }
}

/** A stream that gives one piece at a read, and then ends. */
function streamOf(pieces: readonly Uint8Array[], events: string[]): ByteStream {
  const left = [...pieces];
  return {
    read(into) {
      events.push("read");
      const piece = left.shift();
      if (piece) into.set(piece);
      return Promise.resolve(piece?.byteLength ?? null);
    },
    write: ({ byteLength }) => Promise.resolve(byteLength),
    closeWrite: () => Promise.resolve(),
    close() {},
  };
}

async function eventsOf(pieces: readonly Uint8Array[]): Promise<string[]> {
  const events: string[] = [];
  await within(new WireEcho(streamOf(pieces, events), LIMITS, new RecordedTurns(events)).run(), "echo", WAIT);
  return events;
}

Deno.test("wire server reads and echoes small messages without a turn", async () => {
  assertEquals(await eventsOf([message(20), message(500)]), ["read", "work", "read", "work", "read"]);
});

Deno.test("wire server waits for a turn before a large read, and again after it, as its bytes may come late", async () => {
  // Reads that fill the read buffer enlarge it, from 512 to 4,096 bytes.
  const pieces = [message(1016).subarray(0, 512), message(1016).subarray(512), message(1000), message(20)];
  assertEquals(await eventsOf(pieces), [
    ...["read", "work"],
    ...["turn, new", "read", "work"],
    ...["turn, new", "read", "turn again, new", "work"],
    // Few bytes are little work, whenever they come.
    ...["turn, new", "read", "work"],
    ...["turn, new", "read"],
  ]);
});

Deno.test("wire server waits for a turn between the pieces of bytes after a head, and after its close handshake", async () => {
  const events: string[] = [];
  const close = encodeFrame(OPCODE.close, Uint8Array.of(3, 232), { maskingKey: new Uint8Array(4) });
  const echo = new WireEcho(streamOf([close, message(20)], events), LIMITS, new RecordedTurns(events));
  await within(echo.run(message(1000)), "echo", WAIT);
  assertEquals(events, [
    ...["work", "turn, new", "work"],
    ...["read", "work"],
    ...["read", "work", "turn, heavy", "read"],
  ]);
});

/** Counts the work of all, and lets others wait for an amount of it. */
class CountedTurns extends Turns {
  sum = 0;
  #waiting: { sum: number; goOn: () => void }[] = [];

  override spend(work: number): void {
    super.spend(work);
    this.sum += work;
  }

  async until(sum: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ sum, goOn: resolve });
    if (this.#waiting.length === 1) setImmediate(this.#look);
    await promise;
  }

  readonly #look = () => {
    for (const { sum, goOn } of this.#waiting) if (this.sum >= sum) goOn();
    this.#waiting = this.#waiting.filter(({ sum }) => this.sum < sum);
    if (this.#waiting.length > 0) setImmediate(this.#look);
  };
}

Deno.test("wire server does little work before that of light and new connections, beside 200 heavy ones", async () => {
  const turns = new CountedTurns();
  const [heavyMessage, lightMessage] = [message(1024 * 1024), message(8192)];
  let isOver = false;
  const heavy = (): ByteStream => {
    let at = 0;
    return {
      ...streamOf([], []),
      read(into) {
        if (isOver) return Promise.resolve(null);
        const piece = heavyMessage.subarray(at, at + into.byteLength);
        at = (at + piece.byteLength) % heavyMessage.byteLength;
        into.set(piece);
        return Promise.resolve(piece.byteLength);
      },
    };
  };
  /** Work that came before the echo of each message. */
  const before = { light: [] as number[], new: [] as number[] };
  /** Sends messages, each after some work of others, and waits for each echo. */
  const honest = (kind: keyof typeof before, messages: number): ByteStream => {
    let [left, due] = [0, 0];
    return {
      ...streamOf([], []),
      async read(into) {
        if (left === 0) {
          if (messages-- === 0) return null;
          due = turns.sum + (kind === "light" ? 3000 : 0);
          await turns.until(due);
          left = lightMessage.byteLength;
        }
        const piece = lightMessage.subarray(-left).subarray(0, into.byteLength);
        left -= piece.byteLength;
        into.set(piece);
        return piece.byteLength;
      },
      write({ byteLength }) {
        if (left === 0) before[kind].push(turns.sum - due);
        return Promise.resolve(byteLength);
      },
    };
  };
  const run = (stream: ByteStream) => new WireEcho(stream, LIMITS, turns).run();
  const heavies = Array.from({ length: 200 }, () => run(heavy()));
  const light = run(honest("light", 100));
  for (let count = 0; count < 20; count++) await within(run(honest("new", 1)), "echo", WAIT);
  await within(light, "echoes", WAIT);
  isOver = true;
  await within(Promise.all(heavies), "end", WAIT);
  // The first messages make it light. A read, of up to 258 frames, may exceed a period.
  const lights = before.light.slice(10);
  assert(Math.max(...lights) < 1.5 * SHORT_PERIOD_WORK, lights.join(" "));
  // 200 heavy reads are 51,600 frames.
  assert(Math.max(...before.new) < 2 * MAX_PERIOD_WORK, before.new.join(" "));
});
