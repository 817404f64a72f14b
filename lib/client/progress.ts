/**
 * A progress bar for an exchange that takes longer than a second.
 *
 * @module
 */

import type { ProgressBar, ProgressBarFormatter } from "@std/cli/unstable-progress-bar";
import type { ExchangeEvent } from "./exchange_report.ts";

/** How long an exchange runs before it gets a bar, in milliseconds: 1 s. */
export const PROGRESS_DELAY_MS = 1000;

/**
 * Follows the events of an exchange, and draws on the standard error output how far it is.
 *
 * @example
 * ```ts
 * import { Progress } from "./progress.ts";
 *
 * const progress = new Progress(1024, true);
 * progress.onEvent({ atMs: 5, type: "sent", message: "Hello world", total: { messages: 1, bytes: 11 } });
 * await progress.stop();
 * ```
 */
export class Progress {
  readonly #totalBytes: number;
  #bar: Promise<ProgressBar> | undefined;
  readonly #isEcho: boolean;
  #sentBytes = 0;
  #receivedBytes = 0;

  /**
   * Draws nothing yet.
   *
   * @param totalBytes How many bytes will go out in all.
   * @param isEcho Whether as many come back, which then says how far the work is.
   */
  constructor(totalBytes: number, isEcho: boolean) {
    this.#totalBytes = totalBytes;
    this.#isEcho = isEcho;
  }

  /**
   * Takes note of an event; the first one after a second draws the bar.
   *
   * @param event What happened.
   */
  onEvent(event: ExchangeEvent): void {
    if (event.type === "sent") this.#sentBytes = event.total.bytes;
    else if (event.type === "received") this.#receivedBytes = event.total.bytes;
    else return;
    if (event.atMs < PROGRESS_DELAY_MS) return;
    this.#bar ??= draw(this.#totalBytes, this.#doneBytes());
    this.#bar.then((bar) => bar.value = this.#doneBytes(), () => {});
  }

  /** Removes the bar. */
  async stop(): Promise<void> {
    await (await this.#bar)?.stop();
  }

  #doneBytes(): number {
    return this.#isEcho ? this.#receivedBytes : this.#sentBytes;
  }
}

/** Few runs need the bar, so only they load it. */
async function draw(max: number, value: number): Promise<ProgressBar> {
  const { ProgressBar } = await import("@std/cli/unstable-progress-bar");
  const formatter = ({ styledTime, progressBar, value: done }: ProgressBarFormatter) =>
    `${styledTime} [${progressBar}] ${mebibytes(done)} of ${mebibytes(max)} MiB`;
  return new ProgressBar({ max, value, barLength: 40, clear: true, formatter });
}

function mebibytes(bytes: number): string {
  return (bytes / 1024 ** 2).toFixed(1);
}
