/**
 * The limits of one connection: rate, silence, time to close, memory. The caller passes the time in.
 *
 * @module
 */

import { type Holder, type MemoryBudget, MIN_COUNTED_BYTES } from "./budget.ts";
import { describeRate, type RateLimit, RateMeter } from "./rate.ts";

/** Deadline for a peer to answer the server's close frame and end its side of TCP, in milliseconds: 2 s. */
export const CLOSE_ANSWER_TIMEOUT_MS = 2000;

/** Detail of an end: the peer did not answer the close frame in time. */
export const NO_ANSWER = "No answer to the close frame";

/** Detail of an end: the peer did not take its echoes. */
export const NOT_READING = "Peer does not read";

/** A peer counts as silent from here on, in milliseconds: 1 s. */
const SILENCE_MS = 1000;

/** The limits of one connection. */
export interface GuardLimits {
  /** Rate limit of the peer. Without limit by default. */
  readonly rate?: RateLimit | undefined;
  /** Idle timeout, in milliseconds; 0 for never. */
  readonly idleTimeoutMs: number;
  /** Whether to ping a silent peer at half of that time; `false` if the runtime pings. `true` by default. */
  readonly pings?: boolean;
  /** The memory that all peers share. Without limit by default. */
  readonly budget?: MemoryBudget | undefined;
}

/**
 * The deadline that has passed: `ping` at half of the idle timeout, `silent` as long again after the ping, `late` when
 * opening or closing takes too long.
 */
export type Overdue = "ping" | "silent" | "late";

/**
 * Guards one connection. A guard has no clock and no timer: its owner reports traffic, and a clock shared by all
 * connections polls it.
 *
 * @example
 * ```ts
 * import { Guard } from "./guard.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const holder = { heldBytes: () => 0, shed: () => false };
 * const guard = new Guard(holder, { idleTimeoutMs: 60_000, pings: true }, 0);
 * assertEquals([guard.look(29_999), guard.look(30_000), guard.look(60_000)], [undefined, "ping", "silent"]);
 * guard.moved();
 * assertEquals(guard.look(60_100), undefined);
 * guard.closeBy(62_000);
 * assertEquals(guard.look(62_000), "late");
 * ```
 */
export class Guard {
  readonly #holder: Holder;
  readonly #limits: GuardLimits;
  readonly #meter: RateMeter | undefined;
  #dueAt = Infinity;
  #isClosing = false;
  #hasMoved = false;
  #movedAt: number;
  /** Time of the ping in the present silence. */
  #pingedAt: number | undefined;
  #isSilent = false;
  /** Bytes that the budget knows of. */
  #toldBytes = 0;

  /**
   * Guards from now on.
   *
   * @param holder Holds the memory of the connection.
   * @param limits The limits.
   * @param now The time in milliseconds, as of `performance.now()`, here and in every other method.
   */
  constructor(holder: Holder, limits: GuardLimits, now: number) {
    this.#holder = holder;
    this.#limits = limits;
    this.#movedAt = now;
    this.#meter = limits.rate && new RateMeter(limits.rate, now);
  }

  /** Whether there is a rate, so that {@linkcode takes} needs the time. */
  get isMetered(): boolean {
    return this.#meter !== undefined;
  }

  /** Whether nothing had moved for a second at the last look. */
  get wasSilent(): boolean {
    return this.#isSilent;
  }

  /** Close reason, with 1008, after {@linkcode takes} gave `false`. */
  get rateReason(): string {
    return this.#meter === undefined ? "" : describeRate(this.#meter.limit, this.#meter.passed);
  }

  /**
   * Charges traffic to the rate.
   *
   * @param messages How many messages begin.
   * @param bytes How many payload bytes come.
   * @param now The time.
   * @returns Whether the rate allows it; bytes without a message are only charged.
   */
  takes(messages: number, bytes: number, now: number): boolean {
    return this.#meter === undefined || this.#meter.take(messages, bytes, now);
  }

  /** The peer has sent or taken something. The exact time does not matter: the next look counts. */
  moved(): void {
    this.#hasMoved = true;
  }

  /**
   * Sets the deadline for opening.
   *
   * @param at The time; `Infinity` once it is open.
   */
  openBy(at: number): void {
    this.#dueAt = at;
  }

  /**
   * Sets the deadline for closing. Silence does not count any more.
   *
   * @param at The time; `Infinity` if somebody else waits.
   */
  closeBy(at: number): void {
    this.#isClosing = true;
    this.#dueAt = at;
  }

  /**
   * Both sides have closed: sets the deadline for the rest, unless an earlier one stands.
   *
   * @param at The time.
   */
  endBy(at: number): void {
    this.closeBy(Math.min(this.#dueAt, at));
  }

  /**
   * Checks the deadlines.
   *
   * @param now The time.
   * @returns The deadline that has passed, if any; `ping` only once in a silence.
   */
  look(now: number): Overdue | undefined {
    if (now >= this.#dueAt) return "late";
    if (this.#hasMoved) {
      this.#hasMoved = false;
      this.#pingedAt = undefined;
      this.#movedAt = now;
    }
    const { idleTimeoutMs, pings = true } = this.#limits;
    const silentMs = now - this.#movedAt;
    this.#isSilent = silentMs >= SILENCE_MS;
    if (idleTimeoutMs === 0 || this.#isClosing) return undefined;
    if (!pings) return silentMs >= idleTimeoutMs ? "silent" : undefined;
    // A late look, as after a stop of the process, must not shorten the time for the answer.
    if (this.#pingedAt !== undefined) return now - this.#pingedAt >= idleTimeoutMs / 2 ? "silent" : undefined;
    if (silentMs < idleTimeoutMs / 2) return undefined;
    this.#pingedAt = now;
    return "ping";
  }

  /**
   * Tells the budget how much is held now, to within 4 KiB.
   *
   * @param bytes How many bytes.
   * @returns Whether all fits. If not, nobody else can free memory.
   */
  holds(bytes: number): boolean {
    const { budget } = this.#limits;
    if (budget === undefined || (bytes >= this.#toldBytes && bytes < this.#toldBytes + MIN_COUNTED_BYTES)) return true;
    this.#toldBytes = bytes < MIN_COUNTED_BYTES ? 0 : bytes;
    return budget.hold(this.#holder, bytes);
  }

  /** Nothing is held any more. */
  release(): void {
    this.#toldBytes = 0;
    this.#limits.budget?.release(this.#holder);
  }
}
