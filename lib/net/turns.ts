/**
 * Fairness between the connections of a server, its timers and new connections.
 *
 * @module
 */

/** Up to this many connections, one turn of the event loop serves all, and none waits for a round: 64. */
const FAIR_CONNECTIONS = 64;

/** Bytes that cost as much as one frame: 512. */
const BYTES_OF_WORK = 512;

/** Work of one period, between two asks of the system for events: 8,192 frames, or 4 MiB; a few milliseconds. */
export const MAX_PERIOD_WORK = 8192;

/**
 * Work of a short period, while others queue beside light connections: 2,048 frames, or 1 MiB; about a millisecond.
 * Beside 1,000 heavy connections, 1,200 (bombs) to 2,100 frames of work precede a light one's (p99), instead of 5,700
 * to 7,600. Always short periods would cost heavy connections up to a fifth of their throughput, as each ask takes 200
 * microseconds.
 */
export const SHORT_PERIOD_WORK = 2048;

/** Periods that stay short after the last read of a light connection: 64, so that one light read in 64 ms is enough. */
const SHORT_PERIODS = 64;

/**
 * Light connections may use this many times a period before they queue: 2. With 1 they would share the periods of heavy
 * ones: beside 1,000 of these, light connections would get 0.6 times as much done, and 25,000 frames of work would
 * precede a new one's, not 6,100.
 */
const LIGHT_SHARE = 2;

/** A read with less work than this is light, in frames: 64, or 32 KiB. */
export const LIGHT_WORK = 64;

/** Light reads in a row that make a connection light, until a heavy one: 8. */
const MIN_LIGHT_READS = 8;

/** Expected work of a first read, in frames: 1,024, so that a period begins with 8 new connections. */
const FIRST_WORK = 1024;

/** The usual work of a connection; not yet known if `new`. */
export type Standing = "light" | "new" | "heavy";

/**
 * Tracks the work of each read of a connection: the usual and the expected work.
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
export class Pace implements Demand {
  #lightReads = 0;
  #work = 0;
  #wasHeavy = false;

  /** Expected work of the next read, in frames: as much as the last one; 1,024 before the first. */
  expectedWork = FIRST_WORK;

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
    if (this.#work < LIGHT_WORK) return;
    this.#lightReads = 0;
    this.#wasHeavy = true;
  }

  /** Ends the present read. */
  onEnd(): void {
    this.expectedWork = this.#work;
    if (this.#work < LIGHT_WORK) this.#lightReads++;
    this.#work = 0;
  }
}

/**
 * The runtime completes at most this many reads, or writes, in one turn of its event loop: 128. The others have to wait
 * until the runtime has asked the system again, and then come after connections with new bytes.
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
 * Yields until the runtime has asked the system for events: due timers, signals, bytes, new connections. A busy runtime
 * asks only once in 61 turns of its event loop, so one `setImmediate` is not enough. Takes about 200 microseconds.
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

/** A demand for a turn: a {@linkcode Pace}, or literals where the work is known. */
export interface Demand {
  /** The usual work of the connection. */
  readonly standing: Standing;
  /** Expected work, in frames. */
  readonly expectedWork: number;
}

/** A connection in a queue. */
interface Waiting {
  readonly expectedWork: number;
  readonly goOn: () => void;
}

/**
 * Turns for the reads of a server: a read of bytes that are already there completes at once, so the loop of one busy
 * connection would starve timers, new connections and all other peers. Each connection waits for two things:
 *
 * - **A turn** before work. All connections together do a bounded amount of work in a period, which ends when the
 *   runtime has asked the system for events; otherwise 1,000 connections whose first bytes inflate to 128 KiB each
 *   would run in a row. Once the period is spent, connections queue for the next one: every second turn is a new
 *   connection's, and of the others light ones come first. In one queue, a new one would wait for 1,000 heavy ones;
 *   behind 500 light ones that fill each period, for ever. Light ones may use twice a period. Periods are short while
 *   new or heavy connections queue beside light ones.
 * - **A round** after answers, with more than 64 connections. A served connection waits for all others with pending
 *   bytes. The runtime alone is not fair: of 500 busy connections it serves 128, and then the same 128 again if their
 *   next messages have arrived. A round therefore lasts until the runtime has asked the system and no connection is
 *   left. The most served of 500 connections then gets 1.02 to 1.1 times as much as the least, instead of 4 to 27
 *   times, and the p99 is 2 times the median instead of 50 (20 B and 1 KiB).
 *
 * @example
 * ```ts
 * import { MAX_PERIOD_WORK, Turns } from "./turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = new Turns();
 * const demand = { standing: "heavy", expectedWork: 1024 } as const;
 * assertEquals(turns.turn(demand), undefined);
 * turns.spend(MAX_PERIOD_WORK);
 * // The period has no more.
 * await turns.turn(demand);
 * ```
 */
export class Turns {
  #connections = 0;
  /** The end of the round, the connections that wait for it, and whether a round is under way. */
  #round = Promise.withResolvers<void>();
  #served = 0;
  #isRound = false;
  /** Connections served in this turn of the event loop, and whether bytes may be left until the system is asked. */
  #turnServed = 0;
  #mustAsk = false;
  /** Connections that wait for a turn, by standing, and whether a new one is next. */
  readonly #queues: Record<Standing, Waiting[]> = { light: [], new: [], heavy: [] };
  #isNewNext = true;
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
   * Queues for work, if the period is spent, or others queue. Light connections pass others, and may spend twice a
   * period.
   *
   * @param demand The usual and the expected work of the connection. {@linkcode Turns.spend} counts the work done.
   * @param isAgain Whether the connection has had a turn for this work. If so, it queues only if the period is spent.
   * @returns Resolves when the work may begin; `undefined` if at once.
   */
  turn({ standing, expectedWork }: Demand, isAgain = false): Promise<void> | undefined {
    const isLight = standing === "light";
    const isFree = isLight || isAgain || this.#waiting === 0;
    if (isFree && this.#periodWork < (isLight ? LIGHT_SHARE : 1) * this.#periodLimit) return undefined;
    if (!this.#isPeriod) this.#repeatPeriods();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#queues[standing].push({ expectedWork, goOn: resolve });
    // Light connections belong to the round; the others would keep it going for too long.
    if (isLight) this.#mustAsk = true;
    return promise;
  }

  /**
   * Waits for the end of the round, once the answers to a read are written.
   *
   * @param standing The usual work of the connection: a light one makes periods short.
   * @returns Resolves when the next read may begin; `undefined` if at once.
   */
  round(standing: Standing): Promise<void> | undefined {
    if (standing === "light") this.#shortPeriods = SHORT_PERIODS;
    if (this.#connections <= FAIR_CONNECTIONS) return undefined;
    this.#served++;
    this.#turnServed++;
    if (!this.#isRound) setImmediate(this.#onTurn);
    this.#isRound = true;
    return this.#round.promise;
  }

  readonly #onTurn = (): void => {
    const served = this.#turnServed;
    this.#turnServed = 0;
    if (this.#served < this.#connections) {
      if (served >= TURN_COMPLETIONS) this.#mustAsk = true;
      if (served > 0) return void setImmediate(this.#onTurn);
      if (this.#mustAsk) {
        this.#mustAsk = false;
        return void untilEvents().then(this.#onTurn);
      }
    }
    this.#isRound = false;
    this.#served = 0;
    this.#round.resolve();
    this.#round = Promise.withResolvers();
  };

  async #repeatPeriods(): Promise<void> {
    this.#isPeriod = true;
    do {
      await untilEvents();
      this.#periodWork = 0;
      const isMixed = this.#waiting > this.#queues.light.length;
      // Asking the system costs a fifth of a short period, so only light connections justify one.
      this.#periodLimit = isMixed && this.#shortPeriods-- > 0 ? SHORT_PERIOD_WORK : MAX_PERIOD_WORK;
      for (let expected = 0; Math.max(expected, this.#periodWork) < this.#periodLimit && this.#waiting > 0;) {
        const next = this.#takeNext();
        expected += next?.expectedWork ?? 0;
        next?.goOn();
        // Work that begins at once is done and counted before the next turn, however much was expected.
        await undefined;
      }
    } while (this.#waiting > 0);
    this.#isPeriod = false;
  }

  #takeNext(): Waiting | undefined {
    const { light, new: newcomers, heavy } = this.#queues;
    this.#isNewNext = !this.#isNewNext;
    // The newest comes first: of too many, the oldest would give up anyway.
    return (this.#isNewNext ? newcomers.pop() : undefined) ?? light.shift() ?? heavy.shift() ?? newcomers.pop();
  }

  get #waiting(): number {
    const { light, new: newcomers, heavy } = this.#queues;
    return light.length + newcomers.length + heavy.length;
  }
}
