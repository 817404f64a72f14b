/**
 * Stand-in for `@std/cli/unstable-progress-bar` where JSR cannot be reached.
 *
 * @module
 */

/** The data for a formatter. */
export interface ProgressBarFormatter {
  /** The time so far, as `mm:ss`. */
  styledTime: string;
  /** The bar, filled in proportion. */
  progressBar: string;
  /** The progress so far. */
  value: number;
  /** The full progress. */
  max: number;
  /** The time so far, in milliseconds. */
  time: number;
}

/** Options of {@linkcode ProgressBar}. */
export interface ProgressBarOptions {
  /** The output; by default the standard error output, which stays open. */
  writable?: WritableStream<Uint8Array>;
  /** The progress at the start; 0 by default. */
  value?: number;
  /** The full progress. */
  max: number;
  /** The length of the bar in characters; 50 by default. */
  barLength?: number;
  /** Whether the bar disappears at the end; `false` by default. */
  clear?: boolean;
  /** Makes the line. */
  formatter?: (formatter: ProgressBarFormatter) => string;
}

/** A bar, drawn once a second until it is stopped. */
export class ProgressBar {
  /** The progress so far. */
  value: number;
  /** The full progress. */
  max: number;
  readonly #options: ProgressBarOptions;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #start = Date.now();
  readonly #timer: ReturnType<typeof setInterval>;

  /** @param options Where to draw, and how far the work will go. */
  constructor(options: ProgressBarOptions) {
    this.value = options.value ?? 0;
    this.max = options.max;
    this.#options = options;
    this.#writer = (options.writable ?? Deno.stderr.writable).getWriter();
    this.#timer = setInterval(() => this.#write(`\r\x1b[K${this.#line()}`), 1000);
    this.#write(`\r\x1b[K${this.#line()}`);
  }

  /** Draws the bar for the last time, or removes it. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#write(this.#options.clear ? "\r\x1b[K" : `\r\x1b[K${this.#line()}\n`);
    this.#writer.releaseLock();
  }

  #line(): string {
    const { barLength = 50, formatter } = this.#options;
    const filled = Math.trunc(Math.min(Math.max(this.value / this.max, 0), 1) * barLength);
    const time = Date.now() - this.#start;
    const pair = (seconds: number) => String(Math.trunc(seconds)).padStart(2, "0");
    const shown: ProgressBarFormatter = {
      styledTime: `${pair(time / 60_000)}:${pair(time / 1000 % 60)}`,
      progressBar: "#".repeat(filled) + "-".repeat(barLength - filled),
      value: this.value,
      max: this.max,
      time,
    };
    return formatter ? formatter(shown) : `[${shown.styledTime}] [${shown.progressBar}]`;
  }

  async #write(text: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(text)).catch(() => {});
  }
}
