/**
 * Fairness between the connections of a server, its timers and new connections.
 *
 * @module
 */

/** Up to this many connections, one turn of the event loop serves all, and none has to queue: 64. */
const FAIR_CONNECTIONS = 64;

/** Bytes that cost as much as one frame: 512. */
const BYTES_OF_WORK = 512;

/** A connection queues after this much work: 1,024 frames, or 512 KiB. */
export const MAX_WORK = 1024;

/** Work of one period, between two asks of the system for events: 8,192 frames, or 4 MiB; a few milliseconds. */
export const MAX_PERIOD_WORK = 8 * MAX_WORK;

/** Work of a short period, while heavy connections queue beside light ones: 2,048 frames, or 1 MiB; about a millisecond. */
export const SHORT_PERIOD_WORK = 2 * MAX_WORK;

/** Periods that stay short after the last read of a light connection: 64. */
const SHORT_PERIODS = 64;

/** A read with less work than this is light, in frames: 64, or 32 KiB. */
export const LIGHT_WORK = 64;

/** Light reads in a row that make a connection light, until a heavy one: 8. */
const MIN_LIGHT_READS = 8;

/** The usual work of a connection; not yet known if `new`. */
export type Standing = "light" | "new" | "heavy";

/**
 * Tracks the work of each read of a connection.
 *
 * @example
 * ```ts
 * import { LIGHT_WORK, Pace } from "./turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const pace = new Pace();
 * assertEquals(pace.standing, "new");
 * for (let reads = 0; reads < 8; reads++) {
 *   pace.onWork(LIGHT_WORK - 1);
 *   pace.onEnd();
 * }
 * assertEquals(pace.standing, "light");
 * pace.onWork(LIGHT_WORK);
 * assertEquals(pace.standing, "heavy");
 * ```
 */
export class Pace {
  #lightReads = 0;
  #work = 0;
  #wasHeavy = false;

  /** Expected work of the next read, in frames: that of the last one, or {@linkcode MAX_WORK} before the first. */
  expectedWork = MAX_WORK;

  /** The usual work of the connection. */
  get standing(): Standing {
    return this.#lightReads >= MIN_LIGHT_READS ? "light" : this.#wasHeavy ? "heavy" : "new";
  }

  /**
   * Adds work to the present read.
   *
   * @param work The work, in frames.
   */
  onWork(work: number): void {
    this.#work += work;
    this.expectedWork = Math.min(MAX_WORK, Math.max(this.#work, this.expectedWork));
    if (this.#work < LIGHT_WORK) return;
    this.#lightReads = 0;
    this.#wasHeavy = true;
  }

  /** Ends the present read. */
  onEnd(): void {
    if (this.#work < LIGHT_WORK) this.#lightReads++;
    this.expectedWork = Math.min(MAX_WORK, Math.max(this.#work, LIGHT_WORK));
    this.#work = 0;
  }
}

/**
 * The runtime completes at most this many reads, or writes, in one turn of its event loop: 128. The others have to wait until the
 * runtime has asked the system again, and then come after connections with new bytes.
 */
const TURN_COMPLETIONS = 128;

/** After this many turns of its event loop the runtime has asked the system for events: 61, and some more. */
const EVENT_TURNS = 64;

/**
 * Estimates the cost of bytes beside their frames.
 *
 * @param bytes The number of bytes read and written.
 * @returns The work, in frames.
 *
 * @example
 * ```ts
 * import { workOfBytes } from "./turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([100, 512, 128 * 1024].map(workOfBytes), [0, 1, 256]);
 * ```
 */
export function workOfBytes(bytes: number): number {
  return bytes / BYTES_OF_WORK | 0;
}

/**
 * Yields until the runtime has asked the system for events: due timers, signals, bytes, new connections. A busy runtime asks only
 * once in 61 turns of its event loop, so one `setImmediate` is not enough. Takes about 200 microseconds.
 *
 * @example
 * ```ts
 * import { untilEvents } from "./turns.ts";
 *
 * await untilEvents();
 * ```
 */
export function untilEvents(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let left = EVENT_TURNS;
  const onTurn = () => left-- > 0 ? setImmediate(onTurn) : resolve();
  onTurn();
  return promise;
}

/** A connection in a queue. */
interface Waiting {
  readonly work: number;
  readonly goOn: () => void;
}

/**
 * Turns for the reads of a server. A read of bytes that are already there completes at once, so the loop of one busy connection
 * would starve timers, new connections and all other peers. A connection therefore queues after much work, and one turn of the
 * event loop does a bounded amount of it.
 *
 * A period bounds the work of all connections together: otherwise 1,000 connections whose first bytes inflate to 128 KiB each
 * would run in a row. Once the work of a period is done, each connection waits before its next read. Light connections may use
 * twice a period, and come first. Periods are short while heavy connections queue beside light ones.
 *
 * With more than 64 connections, a round serves each connection once: a served connection waits for all others with pending bytes.
 * The runtime alone is not fair. Of 500 busy connections it serves 128, and then the same 128 again if their next messages have
 * arrived. A round therefore lasts until the runtime has asked the system and no connection is left. The most served of 500
 * connections then gets 1.02 to 1.1 times as much as the least, instead of 4 to 27 times, and the p99 is 2 times the median instead
 * of 50 (20 B and 1 KiB).
 *
 * @example
 * ```ts
 * import { MAX_PERIOD_WORK, MAX_WORK, Turns } from "./turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = new Turns();
 * turns.enter();
 * turns.spend(MAX_WORK);
 * assertEquals(turns.next(MAX_WORK), undefined);
 * // The period has no more.
 * turns.spend(MAX_PERIOD_WORK);
 * await turns.next(MAX_WORK);
 * turns.leave();
 * ```
 */
export class Turns {
  #connections = 0;
  /** The end of the round, the connections that wait for it, and whether a round is under way. */
  #round = Promise.withResolvers<void>();
  #served = 0;
  #isRound = false;
  /** Completed reads, and served connections, in this turn of the event loop. */
  #turnReads = 0;
  #turnServed = 0;
  readonly #queues: Record<Standing, Waiting[]> = { light: [], new: [], heavy: [] };
  /** Work of the present period, in frames, and whether a next period will begin. */
  #periodWork = 0;
  #isPeriod = false;
  /** Limit of the present period, and the number of short periods left. */
  #periodLimit = MAX_PERIOD_WORK;
  #shortPeriods = 0;

  /** Adds a connection. */
  enter(): void {
    this.#connections++;
  }

  /** Removes a connection. */
  leave(): void {
    this.#connections--;
  }

  /** Counts a completed read. */
  onRead(): void {
    this.#turnReads++;
  }

  /**
   * Counts work.
   *
   * @param work The work, in frames.
   */
  spend(work: number): void {
    this.#periodWork += work;
    if (this.#periodWork >= this.#periodLimit && !this.#isPeriod) this.#repeatPeriods();
  }

  /**
   * Queues for work of unknown size, if the period is spent.
   *
   * @param pace The usual and the expected work of the connection.
   * @returns Resolves when the work may begin; `undefined` if at once.
   */
  before({ standing, expectedWork }: Pick<Pace, "standing" | "expectedWork">): Promise<void> | undefined {
    const isFree = standing === "light" || this.#waiting === 0;
    return isFree && !this.#isSpent(standing) ? undefined : this.#wait(expectedWork, standing);
  }

  /**
   * Checks a turn again just before the work: earlier connections may have done more than expected.
   *
   * @param pace As for {@linkcode Turns.before}.
   * @returns Resolves when the work may begin; `undefined` if at once.
   */
  again({ standing, expectedWork }: Pick<Pace, "standing" | "expectedWork">): Promise<void> | undefined {
    return this.#isSpent(standing) ? this.#wait(expectedWork, standing, true) : undefined;
  }

  #isSpent(standing: Standing): boolean {
    return this.#periodWork >= (standing === "light" ? 2 : 1) * this.#periodLimit;
  }

  /**
   * Queues for the next read, once the answers to the last one are written.
   *
   * @param work Work since the connection last queued, in frames: see {@linkcode workOfBytes}. {@linkcode Turns.spend} has already
   * counted this work. From {@linkcode MAX_WORK} on the connection queues.
   * @param standing The usual work of the connection: light ones come first.
   * @returns Resolves when the read may begin; `undefined` if at once.
   */
  next(work: number, standing: Standing = "heavy"): Promise<void> | undefined {
    if (standing === "light") this.#shortPeriods = SHORT_PERIODS;
    if (work >= MAX_WORK) return this.#queueUp(standing === "light" ? LIGHT_WORK : work, standing);
    if (this.#connections <= FAIR_CONNECTIONS) return undefined;
    this.#served++;
    this.#turnServed++;
    if (!this.#isRound) setImmediate(this.#onTurn);
    this.#isRound = true;
    return this.#round.promise;
  }

  /**
   * Queues for the work of a new connection, in turn with older ones, so that neither kind starves the other.
   *
   * @param work The expected work, in frames.
   * @returns Resolves when the work may begin; `undefined` if at once.
   */
  first(work: number): Promise<void> | undefined {
    this.spend(work);
    return this.#queueUp(work, "new");
  }

  readonly #onTurn = (): void => {
    const completions = Math.max(this.#turnReads, this.#turnServed);
    this.#turnReads = this.#turnServed = 0;
    if (this.#served < this.#connections) {
      if (completions >= TURN_COMPLETIONS) return void untilEvents().then(this.#onTurn);
      if (completions > 0) return void setImmediate(this.#onTurn);
    }
    this.#isRound = false;
    this.#endRound();
  };

  #endRound(): void {
    this.#served = 0;
    this.#round.resolve();
    this.#round = Promise.withResolvers();
  }

  /** Queues if the period is spent, or others queue already. */
  #queueUp(work: number, standing: Standing): Promise<void> | undefined {
    if (this.#waiting === 0 && this.#periodWork < this.#periodLimit) return undefined;
    return this.#wait(work, standing);
  }

  #wait(work: number, standing: Standing, isNext = false): Promise<void> {
    if (!this.#isPeriod) this.#repeatPeriods();
    const { promise, resolve } = Promise.withResolvers<void>();
    const queue = this.#queues[standing];
    const waiting = { work, goOn: resolve };
    if (isNext && standing !== "new") queue.unshift(waiting);
    else queue.push(waiting);
    return promise;
  }

  async #repeatPeriods(): Promise<void> {
    const { light, new: newcomers, heavy } = this.#queues;
    this.#isPeriod = true;
    do {
      await untilEvents();
      this.#periodWork = 0;
      const isMixed = newcomers.length + heavy.length > 0;
      // Asking the system costs a fifth of a short period, so only light connections justify one.
      this.#periodLimit = isMixed && this.#shortPeriods-- > 0 ? SHORT_PERIOD_WORK : MAX_PERIOD_WORK;
      // Light connections must not wait for all queued ones, as they would until the end of the round.
      if (isMixed) this.#endRound();
      for (let work = 0; work < this.#periodLimit && this.#waiting > 0;) {
        // The newest comes first: of too many, the oldest would give up anyway.
        for (const next of light.length > 0 ? [light.shift()] : [newcomers.pop(), heavy.shift()]) {
          work += next?.work ?? 0;
          next?.goOn();
        }
      }
    } while (this.#waiting > 0);
    this.#isPeriod = false;
  }

  get #waiting(): number {
    const { light, new: newcomers, heavy } = this.#queues;
    return light.length + newcomers.length + heavy.length;
  }
}
