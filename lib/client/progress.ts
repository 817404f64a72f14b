/**
 * A progress bar for an exchange that takes longer than a blink.
 *
 * @module
 */

import type { ProgressBar, ProgressBarFormatter } from "@std/cli/unstable-progress-bar";
import type { ExchangeEvent } from "./exchange_report.ts";
import { formatSize } from "../protocol/message.ts";

/** How long an exchange runs before it gets a bar, in milliseconds: 300 ms. */
export const PROGRESS_DELAY_MS = 300;

/** The longest bar, in columns, without what stands beside it: 40. */
const MAX_BAR_COLUMNS = 40;

/** The columns of the longest words beside the bar, with its brackets: 53. */
const WORDS_COLUMNS = 53;

/** From this size on, in bytes, the bar comes before anything has happened: 1 MiB. */
const LARGE_BYTES = 1024 ** 2;

/** What a bar shows. */
export interface ProgressState {
  /** The bytes that are done. */
  readonly done: number;
  /** The bytes that there are. */
  readonly total: number;
  /** The time so far, in milliseconds. */
  readonly ms: number;
}

/**
 * Follows the events of an exchange, and draws on the standard error output how far it is.
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
   * Draws nothing yet. The bar comes {@linkcode PROGRESS_DELAY_MS} later; with less than 1 MiB to do, at the next event only.
   *
   * @param totalBytes How many bytes will go out in all.
   * @param isEcho Whether as many come back, which then says how far the work is.
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
   * Takes note of an event.
   *
   * @param event What happened.
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

  /** Few runs need the bar, so only they load it. */
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
 * Says how far an exchange is, how fast it goes, and how long it will take.
 *
 * @param state How far it is.
 * @returns At most 50 columns below a terabyte and a day: a time left is known once a byte is done.
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
