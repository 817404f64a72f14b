/**
 * How fast a peer may send.
 *
 * @module
 */

/** How much a peer may send in a second; `Infinity` for no limit. */
export interface RateLimit {
  /** Messages a second. */
  readonly messagesPerSecond: number;
  /** Payload bytes a second. */
  readonly bytesPerSecond: number;
}

/**
 * Says what a limit allows, as the reason of a close frame.
 *
 * @param limit The limit.
 * @param passed Which of its two sides was passed.
 * @returns One line of ASCII.
 *
 * @example
 * ```ts
 * import { describeRate } from "./rate.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const limit = { messagesPerSecond: 500, bytesPerSecond: 10485760 };
 * assertEquals(describeRate(limit, "messagesPerSecond"), "at most 500 messages a second");
 * assertEquals(describeRate(limit, "bytesPerSecond"), "at most 10485760 bytes a second");
 * ```
 */
export function describeRate(limit: RateLimit, passed: keyof RateLimit): string {
  return `at most ${limit[passed]} ${passed === "messagesPerSecond" ? "messages" : "bytes"} a second`;
}

/**
 * Counts what one peer sends against a {@linkcode RateLimit}: a bucket of messages and one of bytes, each full at the
 * beginning, with what a second allows. Messages have to be there whole. Bytes may go into debt: the message that empties
 * the bucket still passes, however long it is, and what begins before the debt is worked off does not.
 *
 * It has no clock, and {@linkcode take} allocates nothing.
 *
 * @example
 * ```ts
 * import { RateMeter } from "./rate.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const meter = new RateMeter({ messagesPerSecond: 10, bytesPerSecond: 1000 }, 0);
 * // Longer than a second allows: it passes once, and then nothing does for four seconds.
 * assertEquals(meter.take(1, 5000, 0), true);
 * assertEquals(meter.take(1, 1, 3999), false);
 * assertEquals(meter.passed, "bytesPerSecond");
 * assertEquals(meter.take(1, 1, 4001), true);
 * ```
 */
export class RateMeter {
  /** The limit. */
  readonly limit: RateLimit;
  readonly #mostMessages: number;
  #messages: number;
  #bytes: number;
  #filledAt: number;
  #passed: keyof RateLimit = "messagesPerSecond";

  /**
   * Begins with what a second allows, and with one message at least.
   *
   * @param limit The limit; zero allows one message.
   * @param now The time in milliseconds, as of `performance.now()`.
   */
  constructor(limit: RateLimit, now: number) {
    this.limit = limit;
    this.#mostMessages = Math.max(1, limit.messagesPerSecond);
    this.#messages = this.#mostMessages;
    this.#bytes = Math.max(1, limit.bytesPerSecond);
    this.#filledAt = now;
  }

  /** Which side of the limit was passed when {@linkcode take} last gave `false`. */
  get passed(): keyof RateLimit {
    return this.#passed;
  }

  /**
   * Takes messages that begin, if the limit allows them. Bytes without a message are those of one that has begun: they are
   * only charged.
   *
   * @param messages How many messages begin.
   * @param bytes How many payload bytes come.
   * @param now The time in milliseconds, as of `performance.now()`.
   * @returns Whether they are allowed; if not, nothing is taken.
   */
  take(messages: number, bytes: number, now: number): boolean {
    if (now > this.#filledAt) this.#fill(now);
    if (messages > 0) {
      if (messages > this.#messages) return this.#pass("messagesPerSecond");
      if (this.#bytes <= 0) return this.#pass("bytesPerSecond");
      this.#messages -= messages;
    }
    this.#bytes -= bytes;
    return true;
  }

  #pass(side: keyof RateLimit): false {
    this.#passed = side;
    return false;
  }

  #fill(now: number): void {
    const { messagesPerSecond, bytesPerSecond } = this.limit;
    const seconds = (now - this.#filledAt) / 1000;
    this.#filledAt = now;
    this.#messages = Math.min(this.#mostMessages, this.#messages + seconds * messagesPerSecond);
    this.#bytes = Math.min(bytesPerSecond, this.#bytes + seconds * bytesPerSecond);
  }
}
