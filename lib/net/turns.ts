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

/** So much work is done before the runtime has to ask the system what has happened: 16,384 frames, or 8 MiB; a few milliseconds. */
export const MAX_PERIOD_WORK = 16 * MAX_WORK;

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
 * With more than 64 connections, each is served once a round: who was served waits until all others were that had anything to be
 * served. The runtime would not do this by itself. Of 500 busy connections it serves 128, and then the same 128 again if their next
 * messages have arrived: the round therefore goes on until the runtime has asked the system and nobody is left. The most served of
 * 500 connections then gets 1.02 to 1.1 times as much as the least, instead of 4 to 27 times, and the p99 is 2 times the median
 * instead of 50 (20 B and 1 KiB).
 *
 * @example
 * ```ts
 * import { MAX_WORK, Turns } from "./turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const turns = new Turns();
 * turns.enter();
 * assertEquals(turns.next(MAX_WORK - 1), undefined);
 * // This much waits for the next turn of the event loop.
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
  readonly #queue: Waiting[] = [];
  /** Those that begin. */
  readonly #newcomers: Waiting[] = [];
  /** The work that was done since the system was asked last, and whether it will be asked again. */
  #periodWork = 0;
  #isPeriod = false;

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
   * Queues for the next read, when all that went out for the last one is written.
   *
   * @param work How much work was done since the connection has last queued, in frames: see {@linkcode workOfBytes}.
   * @returns When it may begin; `undefined` if at once. From {@linkcode MAX_WORK} on it queues.
   */
  next(work: number): Promise<void> | undefined {
    if (work >= MAX_WORK) return this.#queueUp(work);
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
    return this.#queueUp(work, true);
  }

  readonly #onTurn = (): void => {
    const completions = Math.max(this.#turnReads, this.#turnServed);
    this.#turnReads = this.#turnServed = 0;
    if (this.#served < this.#connections) {
      if (completions >= TURN_COMPLETIONS) return void untilEvents().then(this.#onTurn);
      if (completions > 0) return void setImmediate(this.#onTurn);
    }
    this.#isRound = false;
    this.#served = 0;
    this.#round.resolve();
    this.#round = Promise.withResolvers();
  };

  /** Gives all that have done much work as much of a period as there is, in turn. */
  #queueUp(work: number, isFirst = false): Promise<void> | undefined {
    this.#periodWork += work;
    if (!this.#isPeriod) this.#repeatPeriods();
    if (this.#waiting === 0 && this.#periodWork < MAX_PERIOD_WORK) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    (isFirst ? this.#newcomers : this.#queue).push({ work, goOn: resolve });
    return promise;
  }

  async #repeatPeriods(): Promise<void> {
    this.#isPeriod = true;
    do {
      await untilEvents();
      this.#periodWork = 0;
      for (let work = 0; work < MAX_PERIOD_WORK;) {
        // The newest comes first: of too many, those who have waited longest would give up anyway.
        const newcomer = this.#newcomers.pop();
        const other = this.#queue.shift();
        if (newcomer === undefined && other === undefined) break;
        for (const next of [newcomer, other]) {
          work += next?.work ?? 0;
          next?.goOn();
        }
      }
    } while (this.#waiting > 0);
    this.#isPeriod = false;
  }

  get #waiting(): number {
    return this.#queue.length + this.#newcomers.length;
  }
}
