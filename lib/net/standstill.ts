/**
 * Notices that the process stood still: stopped (`SIGSTOP`, a frozen container), swapped out, or without CPU time.
 *
 * @module
 */

/** A tick this long after the last one shows a standstill, in milliseconds: 1 s. */
const STANDSTILL_MS = 1000;

/** Grace after a standstill, in milliseconds: 1 s. */
const GRACE_MS = 1000;

/**
 * Decides whether a clock may look at deadlines. After a standstill, peers first get a second: their bytes came in
 * time, and nobody has read them.
 *
 * @example
 * ```ts
 * import { Standstill } from "./standstill.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const standstill = new Standstill(0);
 * assertEquals([100, 9000, 9900, 10_000].map((now) => standstill.isOver(now)), [true, false, false, true]);
 * ```
 */
export class Standstill {
  #tickedAt: number;
  /** End of the grace; 0 without one. */
  #graceUntil = 0;

  /**
   * Begins to watch.
   *
   * @param now The time in milliseconds, as of `performance.now()`, here and in {@linkcode isOver}.
   */
  constructor(now: number) {
    this.#tickedAt = now;
  }

  /**
   * Tells with each tick whether deadlines count.
   *
   * @param now The time.
   * @returns `false` for a second after a standstill; then `true` at least once, as a busy server has deadlines too.
   */
  isOver(now: number): boolean {
    const hasStood = now - this.#tickedAt > STANDSTILL_MS;
    this.#tickedAt = now;
    if (hasStood && this.#graceUntil === 0) this.#graceUntil = now + GRACE_MS;
    if (now < this.#graceUntil) return false;
    this.#graceUntil = 0;
    return true;
  }
}
