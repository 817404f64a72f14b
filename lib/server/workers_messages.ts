/**
 * The messages between a worker and its main thread.
 *
 * @module
 */

import type { EchoEvent, EchoStats } from "./policy.ts";
import type { ServeEchoOptions } from "./serve.ts";

/** The data of a worker at its start. */
export interface WorkerStart {
  /** Where it listens and what it accepts; data only. */
  readonly serve: ServeEchoOptions;
  /** The shared memory: see `workers_share.ts`. */
  readonly memory: SharedArrayBuffer;
  /** Its number, from 0. */
  readonly index: number;
  /** Whether anybody wants its events. */
  readonly tells: boolean;
  /** The version of the server. */
  readonly version: string;
}

/** An answer to `GET /metrics`. */
export interface MetricsAnswer {
  /** The field Content-Type. */
  readonly type: string;
  /** The body. */
  readonly body: string;
}

/** A message to a worker. */
export type ToWorker =
  /** Acknowledges events, after a pause: more may come, all at once. */
  | { readonly type: "taken" }
  /** Asks for its counts. */
  | { readonly type: "count"; readonly ask: number }
  | { readonly type: "metrics"; readonly ask: number; readonly answer: MetricsAnswer }
  /** Asks it to shed, as the largest holder. */
  | { readonly type: "shed" }
  | { readonly type: "shutdown"; readonly timeoutMs: number };

/** A message from a worker. */
export type FromWorker =
  | { readonly type: "listening" }
  /** Listening failed. */
  | { readonly type: "failed"; readonly error: string }
  /** Events in order, and how many are missing after them. */
  | { readonly type: "events"; readonly events: readonly EchoEvent[]; readonly dropped: number }
  /** Its counts; unasked each second, with `ask` 0. */
  | { readonly type: "count"; readonly ask: number; readonly stats: EchoStats }
  /** Asks for the `GET /metrics` answer. */
  | { readonly type: "metrics"; readonly ask: number; readonly accept: string }
  /** Asks for a look at the descriptors, as connections have come. */
  | { readonly type: "room" }
  /** Asks another worker to shed. */
  | { readonly type: "shed"; readonly index: number }
  | { readonly type: "stopped"; readonly unanswered: number };

/** Limit of pending events, in characters, besides the ends of reported connections: 1,048,576. */
export const MAX_WAITING_EVENT_CHARS = 1024 * 1024;

/** Size of an event without its text, in characters: 256. */
const EVENT_CHARS = 256;

/**
 * Sends events in order, many at once while the other side is busy. Excess events are dropped and counted: of a
 * connection both its start and its end, or neither.
 *
 * @example
 * ```ts
 * import { EventOutbox } from "./workers_messages.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const posted: number[] = [];
 * const outbox = new EventOutbox((events) => posted.push(events.length));
 * for (let times = 0; times < 3; times++) outbox.tell({ type: "trouble", kind: "runtime", error: "" });
 * outbox.taken();
 * assertEquals(posted, [1, 2]);
 * ```
 */
export class EventOutbox {
  readonly #post: (events: readonly EchoEvent[], dropped: number) => void;
  #events: EchoEvent[] = [];
  #waitingChars = 0;
  #dropped = 0;
  /** Numbers of the connections whose start was dropped. */
  readonly #untold = new Set<number>();
  #isTaken = true;

  /**
   * Begins empty.
   *
   * @param post Posts events, and how many are missing after them.
   */
  constructor(post: (events: readonly EchoEvent[], dropped: number) => void) {
    this.#post = post;
  }

  /** Sends an event, at once or when the last are acknowledged. */
  tell(event: EchoEvent): void {
    if (this.#isTooMuch(event)) {
      this.#dropped++;
    } else {
      this.#events.push(event);
      this.#waitingChars += charsOf(event);
    }
    if (this.#isTaken) this.flush();
  }

  /** Acknowledges the last events. */
  taken(): void {
    this.#isTaken = true;
    if (this.#events.length > 0 || this.#dropped > 0) this.flush();
  }

  /** Posts what is pending, at once. */
  flush(): void {
    const [events, dropped] = [this.#events, this.#dropped];
    [this.#events, this.#waitingChars, this.#dropped, this.#isTaken] = [[], 0, 0, false];
    this.#post(events, dropped);
  }

  #isTooMuch(event: EchoEvent): boolean {
    if (event.type === "closed") return this.#untold.delete(event.id);
    if (this.#waitingChars + charsOf(event) <= MAX_WAITING_EVENT_CHARS) return false;
    if (event.type === "opened") this.#untold.add(event.id);
    return true;
  }
}

function charsOf(event: EchoEvent): number {
  const path = "path" in event ? event.path.length : 0;
  return EVENT_CHARS + path + ("protocol" in event ? event.protocol.length : 0);
}

/**
 * Adds up the counts of several servers.
 *
 * @param all The counts of each.
 * @returns The sum.
 *
 * @example
 * ```ts
 * import { NOTHING_COUNTED, sumOf } from "./workers_messages.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const troubles = (count: number) => ({ ...NOTHING_COUNTED, troubles: [{ kind: "accept", count }] } as const);
 * assertEquals(sumOf([troubles(2), troubles(3)]), troubles(5));
 * ```
 */
export function sumOf(all: readonly EchoStats[]): EchoStats {
  const sum = (read: (stats: EchoStats) => number) => all.reduce((total, stats) => total + read(stats), 0);
  return {
    connections: sum(({ connections }) => connections),
    accepted: sum(({ accepted }) => accepted),
    messages: sum(({ messages }) => messages),
    bytes: sum(({ bytes }) => bytes),
    wire: { sent: sum(({ wire }) => wire?.sent ?? 0), received: sum(({ wire }) => wire?.received ?? 0) },
    deflated: sum(({ deflated }) => deflated ?? 0),
    closes: merge(all.flatMap(({ closes }) => closes), ({ code, initiator }) => `${code} ${initiator}`),
    refusals: merge(all.flatMap(({ refusals }) => refusals), ({ cause }) => cause),
    troubles: merge(all.flatMap(({ troubles }) => troubles), ({ kind }) => kind),
  };
}

/** Counts of a new server. */
export const NOTHING_COUNTED: EchoStats = {
  connections: 0,
  accepted: 0,
  messages: 0,
  bytes: 0,
  wire: { sent: 0, received: 0 },
  deflated: 0,
  closes: [],
  refusals: [],
  troubles: [],
};

function merge<Count extends { readonly count: number }>(
  counts: readonly Count[],
  key: (count: Count) => string,
): Count[] {
  const merged = new Map<string, Count>();
  for (const each of counts) {
    const before = merged.get(key(each));
    merged.set(key(each), before ? { ...before, count: before.count + each.count } : each);
  }
  return [...merged.values()];
}
