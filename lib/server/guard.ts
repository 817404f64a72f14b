/**
 * The limits of one connection: how fast its peer may send, how long it may be silent, how long a close may take, and how much
 * memory it may hold. The time is handed in.
 *
 * @module
 */

import { type Holder, type MemoryBudget, MIN_COUNTED_BYTES } from "./budget.ts";
import { describeRate, type RateLimit, RateMeter } from "./rate.ts";

/** How long a peer may take to answer a close frame of the server, and to end its side of TCP, in milliseconds: 2 s. */
export const CLOSE_ANSWER_TIMEOUT_MS = 2000;

/** The end of a connection whose peer did not answer the close frame of the server in time, in words. */
export const NO_ANSWER = "No answer to the close frame";

/** The end of a connection whose peer did not take its echoes, in words. */
export const NOT_READING = "Peer does not read";

/** From here on a peer counts as silent, in milliseconds: 1 s. */
const SILENCE_MS = 1000;

/** The limits of one connection. */
export interface GuardLimits {
  /** How fast the peer may send. Without limit by default. */
  readonly rate?: RateLimit | undefined;
  /** How long nothing may move, in milliseconds; 0 for ever. */
  readonly idleTimeoutMs: number;
  /** Whether a ping asks a silent peer at half of that time; `false` if somebody else does it. `true` by default. */
  readonly pings?: boolean;
  /** The memory that the peer shares with others. Without limit by default. */
  readonly budget?: MemoryBudget | undefined;
}

/**
 * The deadline that has passed: `ping` at half of the idle timeout, `silent` at its end, `late` when the connection has not
 * opened or closed in time.
 */
export type Overdue = "ping" | "silent" | "late";

/**
 * Guards one connection. It has no clock and no timer: whoever reads and writes tells it of what moves, and a clock that all
 * connections share asks it now and then.
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
  #isPinged = false;
  #isSilent = false;
  /** The memory that the budget knows of, in bytes. */
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

  /** Whether there is a rate to keep to, so that {@linkcode takes} needs the time. */
  get isMetered(): boolean {
    return this.#meter !== undefined;
  }

  /** Whether nothing had moved for a second when the deadlines were last looked at. */
  get wasSilent(): boolean {
    return this.#isSilent;
  }

  /** The reason of the close frame with 1008 when {@linkcode takes} last gave `false`. */
  get rateReason(): string {
    return this.#meter === undefined ? "" : describeRate(this.#meter.limit, this.#meter.passed);
  }

  /**
   * Charges what comes to the rate.
   *
   * @param messages How many messages begin.
   * @param bytes How many payload bytes come.
   * @param now The time.
   * @returns Whether the rate allows it; bytes without a message are only charged.
   */
  takes(messages: number, bytes: number, now: number): boolean {
    return this.#meter === undefined || this.#meter.take(messages, bytes, now);
  }

  /** Something has come, or has been taken by the peer. When exactly does not matter: it counts as of the next look. */
  moved(): void {
    this.#hasMoved = true;
  }

  /**
   * The connection has to be open by then.
   *
   * @param at The time; `Infinity` once it is open.
   */
  openBy(at: number): void {
    this.#dueAt = at;
  }

  /**
   * The connection closes, and has to be closed by then. Silence does not count any more.
   *
   * @param at The time; `Infinity` if somebody else waits.
   */
  closeBy(at: number): void {
    this.#isClosing = true;
    this.#dueAt = at;
  }

  /**
   * Both sides have said that it is over: the rest has to be over by then, or by the deadline that there was before.
   *
   * @param at The time.
   */
  endBy(at: number): void {
    this.closeBy(Math.min(this.#dueAt, at));
  }

  /**
   * Looks at the deadlines.
   *
   * @param now The time.
   * @returns The one that has passed, if one has; `ping` only once in a silence.
   */
  look(now: number): Overdue | undefined {
    if (now >= this.#dueAt) return "late";
    if (this.#hasMoved) {
      this.#hasMoved = false;
      this.#isPinged = false;
      this.#movedAt = now;
    }
    const { idleTimeoutMs, pings = true } = this.#limits;
    const silentMs = now - this.#movedAt;
    this.#isSilent = silentMs >= SILENCE_MS;
    if (idleTimeoutMs === 0 || this.#isClosing) return undefined;
    if (this.#isPinged || !pings) return silentMs >= idleTimeoutMs ? "silent" : undefined;
    if (silentMs < idleTimeoutMs / 2) return undefined;
    this.#isPinged = true;
    return "ping";
  }

  /**
   * Tells the budget how much is held now. It knows of all but the last 4 KiB.
   *
   * @param bytes How many bytes.
   * @returns Whether all fits. If not, nobody else can give anything back.
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
