/**
 * Fairness between the connections of a server, and towards its timers and those who come.
 *
 * @module
 */

/** Up to this many connections the runtime serves all in one turn of its event loop, and nobody has to queue: 64. */
const FAIR_CONNECTIONS = 64;

/** So many bytes are as much work as one frame: 512. */
const BYTES_OF_WORK = 512;

/** After so much work a connection queues: 1,024 frames, or 512 KiB. */
export const MAX_WORK = 1024;

/** So much work is done before the runtime has to ask the system what has happened: 8,192 frames, or 4 MiB; a few milliseconds. */
export const MAX_PERIOD_WORK = 8 * MAX_WORK;

/** The same while light connections have others that queue beside them: 2,048 frames, or 1 MiB; about a millisecond. */
export const SHORT_PERIOD_WORK = 2 * MAX_WORK;

/** Periods stay short for so many behind the last read of a light connection: 64. */
const SHORT_PERIODS = 64;

/** Whoever does less work than this at once is light, in frames: 64, or 32 KiB. */
export const LIGHT_WORK = 64;

/** Whoever was light for so many reads in a row is taken for light until it is not: 8. */
const MIN_LIGHT_READS = 8;

/** How much work a connection does as a rule: `new` ones have not shown it. */
export type Standing = "light" | "new" | "heavy";

/**
 * Follows how much work each read of a connection is.
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

  /** How much its next work is taken for, in frames: as much as its last read, or {@linkcode MAX_WORK} before its first. */
  expectedWork = MAX_WORK;

  /** How much it does as a rule. */
  get standing(): Standing {
    return this.#lightReads >= MIN_LIGHT_READS ? "light" : this.#wasHeavy ? "heavy" : "new";
  }

  /**
   * Takes account of work that a part of a read was.
   *
   * @param work How much, in frames.
   */
  onWork(work: number): void {
    this.#work += work;
    this.expectedWork = Math.min(MAX_WORK, Math.max(this.#work, this.expectedWork));
    if (this.#work < LIGHT_WORK) return;
    this.#lightReads = 0;
    this.#wasHeavy = true;
  }

  /** The read has ended. */
  onEnd(): void {
    if (this.#work < LIGHT_WORK) this.#lightReads++;
    this.expectedWork = Math.min(MAX_WORK, Math.max(this.#work, LIGHT_WORK));
    this.#work = 0;
  }
}

/**
 * The runtime completes so many reads, or so many writes, in one turn of its event loop: 128. It comes back to the others only
 * when it has asked the system again, and then behind those for whom bytes have arrived since.
 */
const TURN_COMPLETIONS = 128;

/** After so many turns of its event loop the runtime has asked the system what has happened: 61, and some more. */
const EVENT_TURNS = 64;

/**
 * Estimates what bytes cost beside their frames.
 *
 * @param bytes How many bytes are read and written.
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
 * Goes through so many turns of the event loop that the runtime has asked the system what has happened: timers that are due,
 * signals, bytes and connections that have arrived. As long as there is anything to do it asks only once in 61 turns, so that
 * one `setImmediate` is not enough. Takes about 200 microseconds.
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

/** Who waits for a turn. */
interface Waiting {
  readonly work: number;
  readonly goOn: () => void;
}

/**
 * Turns for the reads of a server. A read whose bytes are there already completes at once, so that the loop of one busy
 * connection would keep timers, new connections and everybody else from running. Whoever has done much work therefore
 * queues, and in each turn of the event loop only so much work goes on.
 *
 * The work of all is bounded as well: 1,000 connections whose first bytes inflate to 128 KiB would otherwise be served in a row.
 * Once as much was done as a period has, each waits before its next read is taken. Those who were light for a while may go on until
 * twice as much was done, and come first. Periods are short while such light connections are there and others queue.
 *
 * With more than 64 connections, each is served once a round: who was served waits until all others were that had anything to be
 * served. The runtime would not do this by itself. Of 500 busy connections it serves 128, and then the same 128 again if their next
 * messages have arrived: the round therefore goes on until the runtime has asked the system and nobody is left. The most served of
 * 500 connections then gets 1.02 to 1.1 times as much as the least, instead of 4 to 27 times, and the p99 is 2 times the median
 * instead of 50 (20 B and 1 KiB).
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
 * // This much is all there is for now.
 * turns.spend(MAX_PERIOD_WORK);
 * await turns.next(MAX_WORK);
 * turns.leave();
 * ```
 */
export class Turns {
  #connections = 0;
  /** The end of the round, how many wait for it, and whether it is looked for. */
  #round = Promise.withResolvers<void>();
  #served = 0;
  #isRound = false;
  /** The reads that have come, and the connections that were served, in this turn of the event loop. */
  #turnReads = 0;
  #turnServed = 0;
  readonly #queues: Record<Standing, Waiting[]> = { light: [], new: [], heavy: [] };
  /** The work that was done since the system was asked last, in frames, and whether it will be asked again. */
  #periodWork = 0;
  #isPeriod = false;
  /** Most work of this period, and how many periods from now on may be short. */
  #periodLimit = MAX_PERIOD_WORK;
  #shortPeriods = 0;

  /** One more connection reads. */
  enter(): void {
    this.#connections++;
  }

  /** One connection less reads. */
  leave(): void {
    this.#connections--;
  }

  /** A read has come. */
  onRead(): void {
    this.#turnReads++;
  }

  /**
   * Counts work that was done.
   *
   * @param work How much, in frames.
   */
  spend(work: number): void {
    this.#periodWork += work;
    if (this.#periodWork >= this.#periodLimit && !this.#isPeriod) this.#repeatPeriods();
  }

  /**
   * Queues for work of which nobody knows how much it is, if much was done by all since the system was asked last.
   *
   * @param pace How much work the connection does as a rule.
   * @returns When it may begin; `undefined` if at once.
   */
  before({ standing, expectedWork }: Pick<Pace, "standing" | "expectedWork">): Promise<void> | undefined {
    const isFree = standing === "light" || this.#waiting === 0;
    return isFree && !this.#isSpent(standing) ? undefined : this.#wait(expectedWork, standing);
  }

  /**
   * Looks whether a turn that has come is still there, just before the work: those who came before may have done more than was
   * expected of them.
   *
   * @param pace As for {@linkcode Turns.before}.
   * @returns When it may begin; `undefined` if at once.
   */
  again({ standing, expectedWork }: Pick<Pace, "standing" | "expectedWork">): Promise<void> | undefined {
    return this.#isSpent(standing) ? this.#wait(expectedWork, standing, true) : undefined;
  }

  #isSpent(standing: Standing): boolean {
    return this.#periodWork >= (standing === "light" ? 2 : 1) * this.#periodLimit;
  }

  /**
   * Queues for the next read, when all that went out for the last one is written.
   *
   * @param work How much work was done since the connection has last queued, in frames: see {@linkcode workOfBytes}. All of it
   * has been counted by {@linkcode Turns.spend}.
   * @param standing How much it does as a rule: those who are light come first.
   * @returns When it may begin; `undefined` if at once. From {@linkcode MAX_WORK} on it queues.
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
   * Queues for the work of a connection that begins: in turn with those that have had one, so that neither keep the others out.
   *
   * @param work How much it will be, in frames.
   * @returns When it may begin; `undefined` if at once.
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

  /** Gives all that have done much work as much of a period as there is, in turn. */
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
      // An ask of the system takes a fifth of a short period: only light connections beside others are worth it.
      this.#periodLimit = isMixed && this.#shortPeriods-- > 0 ? SHORT_PERIOD_WORK : MAX_PERIOD_WORK;
      // A round would last until all who queue have had their turn: whoever is light has not to wait for so long.
      if (isMixed) this.#endRound();
      for (let work = 0; work < this.#periodLimit && this.#waiting > 0;) {
        // The newest comes first: of too many, those who have waited longest would give up anyway.
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
