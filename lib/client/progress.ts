/**
 * A progress bar for a long exchange.
 *
 * @module
 */

import type { ProgressBar, ProgressBarFormatter } from "@std/cli/unstable-progress-bar";
import type { ExchangeEvent } from "./exchange_report.ts";
import { formatSize } from "../protocol/message.ts";

/** The time before an exchange gets a bar, in milliseconds: 300 ms. */
export const PROGRESS_DELAY_MS = 300;

/** The longest bar without the text beside it, in columns: 40. */
const MAX_BAR_COLUMNS = 40;

/** The columns of the longest text beside the bar, with its brackets: 53. */
const WORDS_COLUMNS = 53;

/** From this size on, in bytes, the bar does not wait for the first event: 1 MiB. */
const LARGE_BYTES = 1024 ** 2;

/** The state of a bar. */
export interface ProgressState {
  /** The bytes done. */
  readonly done: number;
  /** The bytes in all. */
  readonly total: number;
  /** The time so far, in milliseconds. */
  readonly ms: number;
}

/**
 * Follows the events of an exchange, and draws its progress on the standard error output.
 *
 * @example
 * ```ts
 * import { Progress } from "./progress.ts";
 *
 * const progress = new Progress(1024, true, 80);
 * progress.onEvent({ atMs: 5, type: "sent", message: "Hello world", total: { messages: 1, bytes: 11 } });
 * await progress.stop();
 * ```
 */
export class Progress {
  readonly #totalBytes: number;
  readonly #isEcho: boolean;
  readonly #columns: number;
  readonly #start = performance.now();
  readonly #timer: ReturnType<typeof setTimeout>;
  #bar: Promise<ProgressBar> | undefined;
  #isDue = false;
  #sentBytes = 0;
  #receivedBytes = 0;

  /**
   * Draws nothing yet. The bar comes {@linkcode PROGRESS_DELAY_MS} later; below 1 MiB, with the next event.
   *
   * @param totalBytes The number of bytes to send.
   * @param isEcho Whether an echo comes back: then its bytes are the progress.
   * @param columns The columns of the terminal.
   */
  constructor(totalBytes: number, isEcho: boolean, columns: number) {
    this.#totalBytes = totalBytes;
    this.#isEcho = isEcho;
    this.#columns = columns;
    this.#timer = setTimeout(() => {
      this.#isDue = true;
      if (totalBytes >= LARGE_BYTES) this.#bar = this.#draw();
    }, PROGRESS_DELAY_MS);
  }

  /**
   * Takes an event.
   *
   * @param event The event.
   */
  onEvent(event: ExchangeEvent): void {
    if (event.type === "sent") this.#sentBytes = event.total.bytes;
    else if (event.type === "received") this.#receivedBytes = event.total.bytes;
    else return;
    if (this.#isDue) this.#bar ??= this.#draw();
    this.#bar?.then((bar) => bar.value = this.#doneBytes(), () => {});
  }

  /** Removes the bar. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await (await this.#bar)?.stop();
  }

  /** Loads the bar on demand: few runs need one. */
  async #draw(): Promise<ProgressBar> {
    const { ProgressBar } = await import("@std/cli/unstable-progress-bar");
    const formatter = ({ progressBar }: ProgressBarFormatter) => {
      const state = { done: this.#doneBytes(), total: this.#totalBytes, ms: performance.now() - this.#start };
      return `[${progressBar}] ${progressText(state)}`;
    };
    const barLength = Math.max(4, Math.min(MAX_BAR_COLUMNS, this.#columns - WORDS_COLUMNS));
    return new ProgressBar({ max: this.#totalBytes, value: this.#doneBytes(), barLength, clear: true, formatter });
  }

  #doneBytes(): number {
    return this.#isEcho ? this.#receivedBytes : this.#sentBytes;
  }
}

/**
 * Formats progress, speed and time left.
 *
 * @param state The state.
 * @returns At most 50 columns below a terabyte and a day; the time left is known once a byte is done.
 *
 * @example
 * ```ts
 * import { progressText } from "./progress.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const total = 200 * 1024 ** 2;
 * assertEquals(progressText({ done: total / 4, total, ms: 500 }), "50 MiB of 200 MiB, 100 MiB/s, 2 s left");
 * ```
 */
export function progressText({ done, total, ms }: ProgressState): string {
  const left = done === 0 ? `${durationText(ms)} so far` : `${durationText(ms * (total - done) / done)} left`;
  return `${formatSize(done)} of ${formatSize(total)}, ${formatSize(done / Math.max(ms, 1) * 1000)}/s, ${left}`;
}

/** Whole seconds, or minutes and seconds, or hours and minutes. */
function durationText(ms: number): string {
  const seconds = Math.ceil(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const [minutes, hours] = [Math.floor(seconds / 60), Math.floor(seconds / 3600)];
  return hours === 0 ? `${minutes} min ${seconds % 60} s` : `${hours} h ${minutes % 60} min`;
}
