/**
 * The patience with silent connections before their upgrade, while others wait for a place.
 *
 * @module
 */

/** No connection is dropped for another earlier, in milliseconds: 2 s, and up to a tick more. */
export const MIN_HEAD_MS = 2000;

/** The same for a silent connection in a flood of them, in milliseconds: 250. */
export const MIN_SILENT_HEAD_MS = 250;

/** Each dropped silent connection shortens the patience by this factor: 415 of them leave an eighth. */
const PART_LEFT = 0.995;

/**
 * A patience that floods wear out. A client that opens 10,000 connections before its first byte is silent for a second,
 * and should lose none. Once hundreds have been silent for two seconds, the next must send sooner: otherwise 5,000
 * silent connections would delay an honest one for 9 s, and a client that reconnects after each drop for ever.
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

  /** Allowed silence, in milliseconds. */
  get ms(): number {
    return this.#ms;
  }

  /** Notes that a connection waits for a place. */
  need(): void {
    this.#isNeeded = true;
  }

  /** Notes that a silent connection was dropped. */
  wear(): void {
    this.#ms = Math.max(MIN_SILENT_HEAD_MS, PART_LEFT * this.#ms);
  }

  /** Restores the full patience after a tick without a wait for a place; called with each tick. */
  tick(): void {
    if (!this.#isNeeded) this.#ms = MIN_HEAD_MS;
    this.#isNeeded = false;
  }
}
