/**
 * Turns of raw connections: none of them keeps timers, signals and other requests from being served.
 *
 * @module
 */

/** For so long turns follow each other before timers and new connections are served, in milliseconds: 5. */
const SLICE_MS = 5;

/**
 * A queue of connections that have work to do. They work one after the other, a few milliseconds each; every 5 ms timers,
 * signals and new connections are served first. A chain of `setImmediate` alone would keep those waiting for half a second.
 *
 * @example
 * ```ts
 * import { Pace } from "./pace.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const pace = new Pace();
 * const order: string[] = [];
 * const work = async (name: string) => {
 *   for (let piece = 0; piece < 2; piece++) {
 *     await pace.turn();
 *     order.push(name);
 *   }
 * };
 * await Promise.all([work("a"), work("b")]);
 * assertEquals(order, ["a", "b", "a", "b"]);
 * ```
 */
export class Pace {
  readonly #queue: (() => void)[] = [];
  #sliceEnd = 0;

  /**
   * Queues for a turn.
   *
   * @returns When the work may go on; never in the same turn of the event loop.
   */
  turn(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (this.#queue.push(resolve) === 1) this.#schedule();
    return promise;
  }

  #schedule(): void {
    if (performance.now() < this.#sliceEnd) setImmediate(this.#next);
    else setTimeout(this.#beginSlice, 0);
  }

  readonly #beginSlice = (): void => {
    this.#sliceEnd = performance.now() + SLICE_MS;
    this.#next();
  };

  readonly #next = (): void => {
    this.#queue.shift()?.();
    if (this.#queue.length > 0) this.#schedule();
  };
}
