/**
 * A progress bar for check: how many cases are done, how many bytes went to and fro, and which case is waited for.
 *
 * @module
 */

import { ProgressBar } from "@std/cli/unstable-progress-bar";
import type { Case } from "../check/case.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";
import { formatSize } from "../protocol/message.ts";

/** The length of the bar, in columns: 14, so that the longest word of an id fits into 80. */
const BAR_COLUMNS = 14;

/** What the line says. */
export interface CheckState {
  /** How many cases are done. */
  readonly done: number;
  /** How many cases there are. */
  readonly count: number;
  /** How many bytes went to and fro. */
  readonly bytes: number;
  /** The case that has run the longest; `undefined` if none runs. */
  readonly id: string | undefined;
}

/** Draws on the standard error output, once a second and at the beginning, until it is stopped. */
export class CheckProgress {
  readonly #count: number;
  readonly #bar: ProgressBar;
  readonly #running = new Set<{ readonly id: string }>();
  #bytes = 0;

  /**
   * Draws the bar.
   *
   * @param count How many cases there are, 1 or more.
   * @param columns The columns of the terminal.
   */
  constructor(count: number, columns: number = DEFAULT_COLUMNS) {
    this.#count = count;
    this.#bar = new ProgressBar({
      max: count,
      barLength: BAR_COLUMNS,
      clear: true,
      formatter: ({ styledTime, progressBar, value: done }) => {
        const [first] = this.#running;
        const words = progressWords({ done, count, bytes: this.#bytes, id: first?.id });
        // A longer line would break, and stay.
        return `${styledTime} [${progressBar}] ${words}`.slice(0, Math.max(1, columns - 1));
      },
    });
  }

  /**
   * Takes note of a case that begins.
   *
   * @param test The case.
   * @returns What to call when the case has ended.
   */
  onCase({ id }: Pick<Case, "id">): () => void {
    const entry = { id };
    this.#running.add(entry);
    return () => void this.#running.delete(entry);
  }

  /** Takes note of a result. */
  onResult(): void {
    this.#bar.value = Math.min(this.#bar.value + 1, this.#count);
  }

  /**
   * Takes note of bytes.
   *
   * @param count How many went to or fro.
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
 * Says how far a run is.
 *
 * @param state How far it is.
 * @returns The words beside the bar.
 *
 * @example
 * ```ts
 * import { progressWords } from "./check_progress.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const state = { done: 3, count: 9, bytes: 2 * 1024 ** 2, id: "6455/5.4/whole-16mib-text" };
 * assertEquals(progressWords(state), "3 of 9, 2 MiB: whole-16mib-text");
 * ```
 */
export function progressWords({ done, count, bytes, id }: CheckState): string {
  return `${done} of ${count}, ${formatSize(bytes)}${id === undefined ? "" : `: ${id.split("/").at(-1)}`}`;
}
