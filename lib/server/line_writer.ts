/**
 * Writes lines to a stream whose reader may stall, without waiting for it: what is too much is dropped and counted.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { within } from "../net/deadline.ts";

/** How much may wait for the reader, in characters: 1,048,576. */
export const MAX_WAITING_CHARS = 1024 * 1024;

/** How many bytes are written at once, as far as lines are not longer: so many a pipe takes whole (`PIPE_BUF`). 4,096. */
const MAX_WRITE_BYTES = 4096;

/** A sink of bytes, such as `Deno.stdout`. */
export interface ByteSink {
  /** Writes some of the bytes, and says how many those were. */
  write(bytes: Uint8Array): Promise<number>;
}

/** Options of {@linkcode LineWriter}. */
export interface LineWriterOptions {
  /** How much may wait for the reader, in characters; 1,048,576 by default. One line may always wait. */
  readonly maxWaitingChars?: number;
  /** Makes the line that stands where others were dropped; none by default. */
  readonly describeDropped?: (lines: number) => string | undefined;
  /** Told why lines cannot be written, once until one is written again. What it throws is ignored. */
  readonly onError?: (reason: string) => void;
}

/**
 * A stream of lines that never holds up who writes it.
 *
 * @example
 * ```ts
 * import { LineWriter } from "./line_writer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const chunks: string[] = [];
 * const lines = new LineWriter({
 *   write(bytes) {
 *     chunks.push(new TextDecoder().decode(bytes));
 *     return Promise.resolve(bytes.byteLength);
 *   },
 * });
 * lines.write("one");
 * lines.write("two");
 * assertEquals(await lines.flush(1000), 0);
 * assertEquals(chunks.join(""), "one\ntwo\n");
 * ```
 */
export class LineWriter {
  readonly #sink: ByteSink;
  readonly #options: LineWriterOptions;
  readonly #encoder = new TextEncoder();
  #lines: string[] = [];
  /** Those before it are written. */
  #next = 0;
  #waitingChars = 0;
  #droppedLines = 0;
  /** Those of the dropped lines that no line tells of. */
  #untoldLines = 0;
  #isBroken = false;
  #running: Promise<void> | undefined;

  /**
   * Writes nothing so far.
   *
   * @param sink What takes the bytes. Nobody else should write to it.
   * @param options How much may wait, and who is told of what is lost.
   */
  constructor(sink: ByteSink, options: LineWriterOptions = {}) {
    this.#sink = sink;
    this.#options = options;
  }

  /** How many lines were dropped so far. */
  get droppedLines(): number {
    return this.#droppedLines;
  }

  /**
   * Puts a line behind those that wait, or drops it if too much waits.
   *
   * @param line The line, without its end.
   */
  write(line: string): void {
    const { maxWaitingChars = MAX_WAITING_CHARS } = this.#options;
    if (this.#waitingChars > 0 && this.#waitingChars + line.length > maxWaitingChars) return this.#drop(1);
    this.#lines.push(line);
    this.#waitingChars += line.length;
    this.#running ??= this.#run();
  }

  /**
   * Waits until nothing waits any more.
   *
   * @param timeoutMs How long to wait at most, in milliseconds.
   * @returns How many lines still wait: 0 unless the reader stalls.
   */
  async flush(timeoutMs: number): Promise<number> {
    if (this.#running) await within(this.#running, "log", { timeoutMs }).catch(() => {});
    return this.#lines.length - this.#next;
  }

  async #run(): Promise<void> {
    while (this.#next < this.#lines.length) await this.#writeSome();
    // In the same turn as the look at the lines: a line that comes in between would wait for ever.
    this.#running = undefined;
  }

  async #writeSome(): Promise<void> {
    const end = this.#endOfWrite();
    const lines = this.#lines.slice(this.#next, end);
    try {
      await this.#writeAll(this.#encoder.encode(`${lines.join("\n")}\n`));
      this.#isBroken = false;
    } catch (error) {
      this.#drop(lines.length);
      this.#fail(messageOf(error));
    }
    this.#forget(lines, end);
    // Where nothing can be written, this would fail in its turn, and for ever.
    if (!this.#isBroken && this.#untoldLines > 0) this.#tellDropped();
  }

  /** The first of the lines that wait, and as many more as one write takes. */
  #endOfWrite(): number {
    let end = this.#next;
    let bytes = 0;
    do {
      // A character of a line has at most three bytes, and a line has an end.
      bytes += 3 * (this.#lines[end++]?.length ?? 0) + 1;
    } while (end < this.#lines.length && bytes + 3 * (this.#lines[end]?.length ?? 0) < MAX_WRITE_BYTES);
    return end;
  }

  async #writeAll(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength;) at += await this.#sink.write(bytes.subarray(at));
  }

  #forget(lines: readonly string[], end: number): void {
    this.#next = end;
    for (const { length } of lines) this.#waitingChars -= length;
    if (this.#next < this.#lines.length / 2) return;
    this.#lines.splice(0, this.#next);
    this.#next = 0;
  }

  #drop(lines: number): void {
    this.#droppedLines += lines;
    this.#untoldLines += lines;
  }

  #tellDropped(): void {
    const line = this.#options.describeDropped?.(this.#untoldLines);
    this.#untoldLines = 0;
    if (line === undefined) return;
    this.#lines.push(line);
    this.#waitingChars += line.length;
  }

  #fail(reason: string): void {
    if (this.#isBroken) return;
    this.#isBroken = true;
    try {
      this.#options.onError?.(reason);
    } catch {
      // There is nowhere left to say it.
    }
  }
}
