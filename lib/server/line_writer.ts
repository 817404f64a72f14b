/**
 * Writes lines to a stream whose reader may stall, without waiting: excess lines are dropped and counted.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { within } from "../net/deadline.ts";

/** Limit of pending lines, in characters: 1,048,576. */
export const MAX_WAITING_CHARS = 1024 * 1024;

/** Bytes in one write, unless a line is longer: a pipe takes this many whole (`PIPE_BUF`). 4,096. */
const MAX_WRITE_BYTES = 4096;

/** A sink of bytes, such as `Deno.stdout`. */
export interface ByteSink {
  /** Writes some of the bytes; resolves with how many. */
  write(bytes: Uint8Array): Promise<number>;
}

/** Options of {@linkcode LineWriter}. */
export interface LineWriterOptions {
  /** Limit of pending lines, in characters; 1,048,576 by default. One line may always wait. */
  readonly maxWaitingChars?: number;
  /** Makes the line in place of dropped ones; none by default. */
  readonly describeDropped?: (lines: number) => string | undefined;
  /** Takes the reason when writing fails, once until a line is written again. A throw is ignored. */
  readonly onError?: (reason: string) => void;
}

/**
 * A stream of lines that never blocks its writer.
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
  /** Index of the next line. */
  #next = 0;
  #waitingChars = 0;
  #droppedLines = 0;
  /** Dropped lines that no line has reported. */
  #untoldLines = 0;
  #isBroken = false;
  #running: Promise<void> | undefined;

  /**
   * Begins empty.
   *
   * @param sink Takes the bytes. Nobody else should write there.
   * @param options The limit, and who is told of losses.
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
   * Queues a line, or drops it if too much is pending.
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
   * Waits until all is written.
   *
   * @param timeoutMs How long to wait at most, in milliseconds.
   * @returns How many lines are still pending: 0 unless the reader stalls.
   */
  async flush(timeoutMs: number): Promise<number> {
    if (this.#running) await within(this.#running, "log", { timeoutMs }).catch(() => {});
    return this.#lines.length - this.#next;
  }

  async #run(): Promise<void> {
    while (this.#next < this.#lines.length) await this.#writeSome();
    // In the same turn as the check of the queue: a line in between would wait for ever.
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
    // While writing fails, this line would fail too, for ever.
    if (!this.#isBroken && this.#untoldLines > 0) this.#tellDropped();
  }

  /** End of the next write: one pending line, and as many more as fit. */
  #endOfWrite(): number {
    let end = this.#next;
    let bytes = 0;
    do {
      // A character takes at most three bytes, and a line ends in one.
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
      // There is nowhere left to report.
    }
  }
}
