/**
 * What a worker and the one who has started it tell each other.
 *
 * @module
 */

import type { EchoEvent, EchoStats } from "./policy.ts";
import type { ServeEchoOptions } from "./serve.ts";

/** What a worker is given at its start. */
export interface WorkerStart {
  /** Where it listens and what it accepts; data only. */
  readonly serve: ServeEchoOptions;
  /** What all workers share: see `workers_share.ts`. */
  readonly memory: SharedArrayBuffer;
  /** Its number, from 0. */
  readonly index: number;
  /** Whether anybody wants to know of its events. */
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

/** What a worker is told. */
export type ToWorker =
  /** The last events were taken some time ago: more may come, all at once. */
  | { readonly type: "taken" }
  /** Wanted: what it has counted. */
  | { readonly type: "count"; readonly ask: number }
  | { readonly type: "metrics"; readonly ask: number; readonly answer: MetricsAnswer }
  /** Wanted: memory, as it has the largest of all holders. */
  | { readonly type: "shed" }
  | { readonly type: "shutdown"; readonly timeoutMs: number };

/** What a worker tells. */
export type FromWorker =
  | { readonly type: "listening" }
  /** It cannot listen. */
  | { readonly type: "failed"; readonly error: string }
  /** Events in their order, and how many others are missing behind them. */
  | { readonly type: "events"; readonly events: readonly EchoEvent[]; readonly dropped: number }
  /** What it has counted; each second without being asked, with 0. */
  | { readonly type: "count"; readonly ask: number; readonly stats: EchoStats }
  /** Wanted: an answer to `GET /metrics`. */
  | { readonly type: "metrics"; readonly ask: number; readonly accept: string }
  /** Wanted: a look at the descriptors, as more connections have come. */
  | { readonly type: "room" }
  /** Wanted: memory of another worker. */
  | { readonly type: "shed"; readonly index: number }
  | { readonly type: "stopped"; readonly unanswered: number };

/** How much may wait for the one who takes events, in characters, besides the ends of connections of which was told: 1,048,576. */
export const MAX_WAITING_EVENT_CHARS = 1024 * 1024;

/** What an event counts besides the text of its peer, in characters: 256. */
const EVENT_CHARS = 256;

/**
 * Hands on events in their order, many at once while the other side is busy. What is too much is dropped and counted: of a
 * connection both its beginning and its end, or neither.
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
  /** The connections whose beginning was dropped, by their numbers. */
  readonly #untold = new Set<number>();
  #isTaken = true;

  /**
   * Has nothing to hand on.
   *
   * @param post Posts events, and how many are missing behind them.
   */
  constructor(post: (events: readonly EchoEvent[], dropped: number) => void) {
    this.#post = post;
  }

  /** Hands on an event, at once or when what went before was taken. */
  tell(event: EchoEvent): void {
    if (this.#isTooMuch(event)) {
      this.#dropped++;
    } else {
      this.#events.push(event);
      this.#waitingChars += charsOf(event);
    }
    if (this.#isTaken) this.flush();
  }

  /** What was posted last was taken. */
  taken(): void {
    this.#isTaken = true;
    if (this.#events.length > 0 || this.#dropped > 0) this.flush();
  }

  /** Posts what waits, without waiting. */
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
 * Adds up what several servers have counted.
 *
 * @param all What each has counted.
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

/** What a server has counted that has just begun. */
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
