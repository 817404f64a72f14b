/**
 * The rate limit of a peer.
 *
 * @module
 */

/** Limits of one peer; `Infinity` for none. */
export interface RateLimit {
  /** Messages a second. */
  readonly messagesPerSecond: number;
  /** Payload bytes a second. */
  readonly bytesPerSecond: number;
}

/**
 * Describes a limit for the reason of a close frame.
 *
 * @param limit The limit.
 * @param passed The side that was passed.
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
 * Meters one peer against a {@linkcode RateLimit}: a bucket of messages and a bucket of bytes, both full at first, with
 * one second's worth. Messages must fit whole. Bytes may go into debt: the message that empties the bucket still
 * passes, however long, and no other begins before the debt is paid.
 *
 * The meter has no clock, and {@linkcode take} allocates nothing.
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
   * Begins with one second's worth, at least one message.
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

  /** The side that was passed when {@linkcode take} last gave `false`. */
  get passed(): keyof RateLimit {
    return this.#passed;
  }

  /**
   * Takes messages that begin, if the limit allows them. Bytes without a message continue an earlier one: they are only
   * charged.
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
