/**
 * Stand-in for `@std/cli/unstable-progress-bar` where JSR cannot be reached.
 *
 * @module
 */

/** What a formatter is given. */
export interface ProgressBarFormatter {
  /** The time so far, as `mm:ss`. */
  styledTime: string;
  /** The bar, filled as far as the work is done. */
  progressBar: string;
  /** How far the work is. */
  value: number;
  /** How far it will go. */
  max: number;
  /** The time so far, in milliseconds. */
  time: number;
}

/** Options of {@linkcode ProgressBar}. */
export interface ProgressBarOptions {
  /** Where the bar is written to; the standard error output by default, which stays open. */
  writable?: WritableStream<Uint8Array>;
  /** How far the work is at the start; 0 by default. */
  value?: number;
  /** How far the work will go. */
  max: number;
  /** The length of the bar in characters; 50 by default. */
  barLength?: number;
  /** Whether the bar is removed at the end; `false` by default. */
  clear?: boolean;
  /** Makes the line. */
  formatter?: (formatter: ProgressBarFormatter) => string;
}

/** A bar that is drawn once a second until it is stopped. */
export class ProgressBar {
  /** How far the work is. */
  value: number;
  /** How far it will go. */
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
