/** The wire server's echo and the turns of its server: large reads wait, small ones do not. */

import { assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import type { ByteStream } from "../../lib/net/tls.ts";
import { type Demand, Turns } from "../../lib/net/turns.ts";
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

Deno.test("wire server waits for a turn before a large read, and again behind it, as its bytes may come late", async () => {
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

Deno.test("wire server waits for a turn between the pieces of bytes behind a head, and behind its close handshake", async () => {
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
