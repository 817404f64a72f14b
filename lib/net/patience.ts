/**
 * How long a connection may be silent before its upgrade, when others wait for its place.
 *
 * @module
 */

/** So long no connection is dropped for another, in milliseconds, and up to a tick more: 2 s. */
export const MIN_HEAD_MS = 2000;

/** The same for a silent one in a flood of silent ones, in milliseconds: 250. */
export const MIN_SILENT_HEAD_MS = 250;

/** Each silent one that is dropped leaves this part of the time for the next: 415 of them leave an eighth. */
const PART_LEFT = 0.995;

/**
 * A patience that floods wear out. One client that connects 10,000 times before it sends a byte is silent for a second, and should
 * lose nobody. Once hundreds have been silent for two seconds, the next ones have to speak sooner: otherwise 5,000 silent ones would
 * hold up an honest one for 9 s, and a client that comes again with each that is dropped for as long as it likes.
 *
 * @example
 * ```ts
 * import { Patience } from "./patience.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const patience = new Patience();
 * for (let dropped = 0; dropped < 500; dropped++) patience.wear();
 * assertEquals(patience.ms, 250);
 * ```
 */
export class Patience {
  #ms = MIN_HEAD_MS;
  #isNeeded = false;

  /** How long a silent one may take, in milliseconds. */
  get ms(): number {
    return this.#ms;
  }

  /** Somebody waits for a place. */
  need(): void {
    this.#isNeeded = true;
  }

  /** A silent one was dropped. */
  wear(): void {
    this.#ms = Math.max(MIN_SILENT_HEAD_MS, PART_LEFT * this.#ms);
  }

  /** Called with each tick of the clock: it is whole again after one in which nobody has waited for a place. */
  tick(): void {
    if (!this.#isNeeded) this.#ms = MIN_HEAD_MS;
    this.#isNeeded = false;
  }
}
