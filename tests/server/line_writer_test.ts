/** A stream of lines whose reader may stall: the queue, the drops, and their notice. */

import { assert, assertEquals } from "@std/assert";
import { type ByteSink, LineWriter } from "../../lib/server/line_writer.ts";

const WAIT_MS = 20_000;

/** A reader that reads when allowed, and a limited number of bytes at once. */
class Reader implements ByteSink {
  readonly sizes: number[] = [];
  readonly #most: number;
  readonly #decoder = new TextDecoder();
  #text = "";
  #gate = Promise.withResolvers<void>();

  constructor(most = Infinity) {
    this.#most = most;
  }

  /** The text read so far. */
  get text(): string {
    return this.#text;
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.#gate.promise;
    const taken = bytes.subarray(0, this.#most);
    this.sizes.push(bytes.byteLength);
    this.#text += this.#decoder.decode(taken, { stream: true });
    return taken.byteLength;
  }

  /** Reads everything from now on. */
  goOn(): void {
    this.#gate.resolve();
  }

  /** Reads nothing from now on. */
  stall(): void {
    this.#gate = Promise.withResolvers();
  }
}

Deno.test("LineWriter writes every line in order, although the stream takes a few bytes at a time", async () => {
  const reader = new Reader(7);
  const writer = new LineWriter(reader);
  const lines = Array.from({ length: 100 }, (_, index) => `line ${index} \u00e9`);
  for (const line of lines) writer.write(line);
  reader.goOn();
  assertEquals(await writer.flush(WAIT_MS), 0);
  assertEquals(reader.text, `${lines.join("\n")}\n`);
});

Deno.test("LineWriter writes a line that comes in any turn after the last one was taken", async () => {
  for (let turns = 0; turns < 12; turns++) {
    let text = "";
    const taken = Promise.withResolvers<void>();
    const writer = new LineWriter({
      write(bytes) {
        text += new TextDecoder().decode(bytes);
        taken.resolve();
        return Promise.resolve(bytes.byteLength);
      },
    });
    writer.write("first");
    await taken.promise;
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    writer.write("second");
    assertEquals(await writer.flush(WAIT_MS), 0, `after ${turns} turns`);
    assertEquals(text, "first\nsecond\n");
  }
});

Deno.test("LineWriter joins lines up to one atomic write of a pipe, and writes a longer one alone", async () => {
  const reader = new Reader();
  const writer = new LineWriter(reader);
  const lines = ["first", ...Array.from({ length: 1000 }, () => "x".repeat(100)), "y".repeat(9000), "last"];
  for (const line of lines) writer.write(line);
  reader.goOn();
  assertEquals(await writer.flush(WAIT_MS), 0);
  assertEquals(reader.text, `${lines.join("\n")}\n`);
  assertEquals(reader.sizes.filter((size) => size > 4096), [9001]);
  assert(reader.sizes.length < 200);
});

Deno.test("LineWriter drops excess lines while the reader stalls, and says so in their place", async () => {
  const reader = new Reader();
  const writer = new LineWriter(reader, { maxWaitingChars: 25, describeDropped: (lines) => `${lines} dropped` });
  for (const line of ["0123456789", "0123456789", "0123456789", "abcdefghij"]) writer.write(line);
  assertEquals(writer.droppedLines, 2);
  reader.goOn();
  assertEquals(await writer.flush(WAIT_MS), 0);
  writer.write("later");
  assertEquals(await writer.flush(WAIT_MS), 0);
  assertEquals(reader.text, "0123456789\n0123456789\n2 dropped\nlater\n");
});

Deno.test("LineWriter always accepts one line, however long", async () => {
  const reader = new Reader();
  const writer = new LineWriter(reader, { maxWaitingChars: 3 });
  writer.write("0123456789");
  reader.goOn();
  assertEquals([await writer.flush(WAIT_MS), reader.text, writer.droppedLines], [0, "0123456789\n", 0]);
});

Deno.test("LineWriter has room for as much again when the reader has continued", async () => {
  const reader = new Reader();
  const writer = new LineWriter(reader, { maxWaitingChars: 100 });
  for (let round = 0; round < 5; round++) {
    for (let line = 0; line < 10; line++) writer.write("0123456789");
    reader.goOn();
    assertEquals(await writer.flush(WAIT_MS), 0);
    reader.stall();
  }
  assertEquals([writer.droppedLines, reader.text.length], [0, 5 * 10 * 11]);
});

Deno.test("flush() gives up on a reader that stalls, and says how many lines still wait", async () => {
  const reader = new Reader();
  const writer = new LineWriter(reader);
  writer.write("one");
  writer.write("two");
  assertEquals(await writer.flush(1), 2);
  reader.goOn();
  assertEquals([await writer.flush(WAIT_MS), reader.text], [0, "one\ntwo\n"]);
});
