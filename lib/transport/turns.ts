/**
 * Fairness between many connections that are all busy.
 *
 * @module
 */

/** Up to this many connections the runtime serves all in one turn of its event loop, and nobody has to queue: 64. */
const FAIR_CONNECTIONS = 64;

/**
 * Rounds for the reads of a server. The runtime completes at most 128 reads and writes in a turn of its event loop, and
 * those that were just served come first: of 500 busy connections the same ones would be served for a tenth of a second. So
 * who was served waits until a turn has gone by in which nobody else was. With few connections nobody waits.
 *
 * @example
 * ```ts
 * import { Turns } from "./turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = new Turns();
 * turns.enter();
 * assertEquals(turns.next(), undefined);
 * turns.leave();
 * ```
 */
export class Turns {
  #connections = 0;
  #round = Promise.withResolvers<void>();
  #isWaiting = false;
  #hasArrived = false;

  /** One more connection reads. */
  enter(): void {
    this.#connections++;
  }

  /** One connection less reads. */
  leave(): void {
    this.#connections--;
  }

  /**
   * Queues for the next read.
   *
   * @returns When it may begin; `undefined` if at once.
   */
  next(): Promise<void> | undefined {
    if (this.#connections <= FAIR_CONNECTIONS) return undefined;
    this.#hasArrived = true;
    if (!this.#isWaiting) setImmediate(this.#onTurn);
    this.#isWaiting = true;
    return this.#round.promise;
  }

  readonly #onTurn = (): void => {
    if (this.#hasArrived) {
      this.#hasArrived = false;
      setImmediate(this.#onTurn);
      return;
    }
    this.#isWaiting = false;
    this.#round.resolve();
    this.#round = Promise.withResolvers();
  };
}
