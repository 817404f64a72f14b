/**
 * A progress bar for check: finished cases, bytes in both directions, and the pending case.
 *
 * @module
 */

import { ProgressBar } from "@std/cli/unstable-progress-bar";
import type { Case } from "../check/case.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";
import { formatSize } from "../protocol/message.ts";

/** Width of the bar, in columns: 14. The longest word of an id then fits into 80. */
const BAR_COLUMNS = 14;

/** The state of a run. */
export interface CheckState {
  /** Number of finished cases. */
  readonly done: number;
  /** Number of all cases. */
  readonly count: number;
  /** Bytes in both directions. */
  readonly bytes: number;
  /** The longest-running case; `undefined` if none runs. */
  readonly id: string | undefined;
}

/** Draws to standard error, at the start and once a second, until stopped. */
export class CheckProgress {
  readonly #count: number;
  readonly #bar: ProgressBar;
  readonly #running = new Set<{ readonly id: string }>();
  #bytes = 0;

  /**
   * Draws the bar.
   *
   * @param count Number of cases, 1 or more.
   * @param columns The width of the terminal.
   */
  constructor(count: number, columns: number = DEFAULT_COLUMNS) {
    this.#count = count;
    this.#bar = new ProgressBar({
      max: count,
      barLength: BAR_COLUMNS,
      clear: true,
      formatter: ({ styledTime, progressBar, value: done }) => {
        const [first] = this.#running;
        const words = progressText({ done, count, bytes: this.#bytes, id: first?.id });
        // A longer line would wrap, and stay.
        return `${styledTime} [${progressBar}] ${words}`.slice(0, Math.max(1, columns - 1));
      },
    });
  }

  /**
   * Records the start of a case.
   *
   * @param test The case.
   * @returns A function to call at the end of the case.
   */
  onCase({ id }: Pick<Case, "id">): () => void {
    const entry = { id };
    this.#running.add(entry);
    return () => void this.#running.delete(entry);
  }

  /** Records a result. */
  onResult(): void {
    this.#bar.value = Math.min(this.#bar.value + 1, this.#count);
  }

  /**
   * Records traffic.
   *
   * @param count Bytes in either direction.
   */
  onBytes(count: number): void {
    this.#bytes += count;
  }

  /** Removes the bar. */
  async stop(): Promise<void> {
    await this.#bar.stop();
  }
}

/**
 * Formats the progress of a run.
 *
 * @param state The progress.
 * @returns The text beside the bar.
 *
 * @example
 * ```ts
 * import { progressText } from "./check_progress.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const state = { done: 3, count: 9, bytes: 2 * 1024 ** 2, id: "6455/5.4/whole-16mib-text" };
 * assertEquals(progressText(state), "3 of 9, 2 MiB: whole-16mib-text");
 * ```
 */
export function progressText({ done, count, bytes, id }: CheckState): string {
  return `${done} of ${count}, ${formatSize(bytes)}${id === undefined ? "" : `: ${id.split("/").at(-1)}`}`;
}
