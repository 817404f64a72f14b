/**
 * A server of several workers: threads that listen on the same port over our own frames, with one policy, one set of limits, one
 * log, one `/metrics` and one shutdown.
 *
 * Each worker is a thread with a JavaScript heap of its own. One whose heap is full ends alone, and is replaced.
 *
 * @module
 */

import { Worker } from "node:worker_threads";
import {
  type ConnectionRoom,
  DEFAULT_MAX_CONNECTIONS,
  DEFAULT_SHUTDOWN_TIMEOUT_MS,
  type EchoEvent,
  type EchoStats,
  type TroubleKind,
} from "./policy.ts";
import { type ListeningServer, serveEcho, type ServeEchoOptions } from "./serve.ts";
import { createMetrics, type Metrics, type ServerStats } from "./metrics.ts";
import type { ServerEvent } from "./log.ts";
import { type FromWorker, NOTHING_COUNTED, sumOf, type ToWorker, type WorkerStart } from "./workers_messages.ts";
import { SharedLimits } from "./workers_share.ts";
import { within } from "../net/deadline.ts";
import { DEFAULT_MAX_HEADS } from "../net/wire_server.ts";

/** How long the first replacement of a worker waits, in milliseconds: 100. */
const MIN_RESPAWN_MS = 100;

/** How long a replacement waits at most, in milliseconds: 10 s. */
const MAX_RESPAWN_MS = 10_000;

/** A worker that has lived for so long is replaced as if none had died before, in milliseconds: 1 minute. */
const SETTLED_MS = 60_000;

/** How long a worker may take to say what it has counted before its last answer counts, in milliseconds: 1 s. */
const COUNT_TIMEOUT_MS = 1000;

/** Behind the time of a shutdown, a worker has this long to tell of its last connections, in milliseconds: 2 s. */
const LAST_WORDS_MS = 2000;

/**
 * How long a worker collects events before it tells of them, in milliseconds: 10. Told of one by one, the events of a connection
 * cost as much as half of its handshake.
 */
const COLLECT_MS = 10;

/** The reason in the record of a connection whose worker has died. */
export const WORKER_DIED = "Worker has died";

/**
 * Says how long the replacement of a worker waits, so that what ends each of them does not take the whole machine.
 *
 * @param beforeMs How long the one before has waited, in milliseconds; `undefined` for the first.
 * @param livedMs How long the worker has lived, in milliseconds.
 * @returns How long to wait, in milliseconds: 100 at first and after a worker that has lived for a minute, and otherwise twice as
 * long as before, up to 10 s.
 *
 * @example
 * ```ts
 * import { respawnDelayMs } from "./workers.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([respawnDelayMs(undefined, 5), respawnDelayMs(100, 5), respawnDelayMs(100, 60_000)], [100, 200, 100]);
 * ```
 */
export function respawnDelayMs(beforeMs: number | undefined, livedMs: number): number {
  if (beforeMs === undefined || livedMs >= SETTLED_MS) return MIN_RESPAWN_MS;
  return Math.min(2 * beforeMs, MAX_RESPAWN_MS);
}

/** Options of {@linkcode serveOverWorkers}. */
export interface WorkersOptions {
  /** How many workers there are. */
  readonly workers: number;
  /** The module that each runs, and that calls `work()` of `workers_thread.ts`. */
  readonly module: URL;
  /** Where they listen and what they accept; data only. */
  readonly serve: ServeEchoOptions;
  /** Says how many connections there may be over all workers; `maxConnections` by default. */
  readonly room?: ConnectionRoom | undefined;
  /** The version of the server. */
  readonly version: string;
  /** Told of what happens in all workers, in the order of each. */
  readonly tell: (event: ServerEvent) => void;
  /** Whether `tell` wants to know of what happens in the workers. */
  readonly tells: boolean;
  /** How many lines the log has dropped. */
  readonly droppedLogLines: () => number;
}

/** A server of several workers. */
export interface WorkersServer extends ListeningServer {
  /** What all have counted so far. */
  stats(): Promise<ServerStats>;
  /** Tells of something that has gone wrong outside of the workers, and counts it. */
  troubled(error: string): void;
}

/**
 * Starts the workers.
 *
 * @param options How many, and what each does.
 * @returns The server, once all of them listen.
 * @throws {Error} If it cannot listen there, as `serveEcho()` says it, or if a worker cannot be started.
 */
export async function serveOverWorkers(options: WorkersOptions): Promise<WorkersServer> {
  const { urls, serve } = await findPlace(options.serve);
  const workers = new Workers({ ...options, serve });
  try {
    await workers.started;
  } catch (error) {
    workers.end();
    throw error;
  }
  return {
    url: urls[0] ?? "",
    urls,
    stats: () => workers.stats(),
    troubled: (error) => workers.troubled("runtime", error),
    shutdown: ({ timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = {}) => workers.shutdown(timeoutMs),
  };
}

/**
 * Listens alone for a moment: finds a free port and what is wrong with the address or the certificate, and is refused where
 * somebody else listens already, as a worker would not be.
 */
async function findPlace(options: ServeEchoOptions): Promise<{ urls: readonly string[]; serve: ServeEchoOptions }> {
  const serve: ServeEchoOptions = { ...options, transport: "wire" };
  const alone = serveEcho(serve);
  await alone.shutdown({ timeoutMs: 0 });
  const urls = alone.urls.map((url) => new URL(url));
  const addresses = urls.map(({ hostname }) => hostname.replace(/^\[(.*)\]$/, "$1"));
  // A URL leaves out the usual port of its scheme.
  const port = Number(urls[0]?.port || (serve.cert === undefined ? 80 : 443));
  return { urls: alone.urls, serve: { ...serve, addresses, port } };
}

/** One of the workers, from its start to its end. */
interface Member {
  readonly index: number;
  readonly thread: Worker;
  readonly startedAt: number;
  /** The connections of which it has told and that have not ended, by number: their peers, and when they were told of. */
  readonly open: Map<number, { readonly peer: string; readonly at: number }>;
  /** Resolves when it listens. */
  readonly listening: PromiseWithResolvers<void>;
  /** Resolves with how many peers did not answer the close. */
  readonly stopped: PromiseWithResolvers<number>;
  /** What it had counted when it was asked last. */
  counted: EchoStats;
  /** Why it ends. */
  reason: string;
  /** Goes off when it may tell of more events. */
  collecting?: ReturnType<typeof setTimeout>;
}

class Workers {
  /** Resolves when all listen; rejects if one cannot. */
  readonly started: Promise<unknown>;
  readonly #options: WorkersOptions;
  readonly #limits: SharedLimits;
  readonly #metrics: Metrics;
  readonly #members = new Map<number, Member>();
  readonly #waiting = new Set<ReturnType<typeof setTimeout>>();
  readonly #counting = new Map<number, () => void>();
  #asked = 0;
  /** What is counted of workers that have died, and outside of workers. */
  #former = NOTHING_COUNTED;
  #droppedEvents = 0;
  /** How long the last replacement has waited. */
  #respawnMs: number | undefined;
  #isStarted = false;
  #isEnding = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    const { maxConnections = DEFAULT_MAX_CONNECTIONS } = options.serve;
    this.#limits = new SharedLimits(options.workers, { maxConnections, maxHeads: DEFAULT_MAX_HEADS });
    this.#lookForRoom();
    this.#metrics = createMetrics(() => this.stats(), options.version);
    const members = Array.from({ length: options.workers }, (_, index) => this.#start(index));
    this.started = Promise.all(members.map(({ listening }) => listening.promise)).then(() => this.#isStarted = true);
  }

  /** What all have counted; of one that does not answer, what it had counted before. */
  async stats(): Promise<ServerStats> {
    await Promise.all([...this.#members.values()].map((member) => this.#count(member)));
    // Not of those that were asked: one may have died since.
    const counted = [...this.#members.values()].map(({ counted }) => counted);
    const droppedLogLines = this.#droppedEvents + this.#options.droppedLogLines();
    return { ...sumOf([this.#former, ...counted]), droppedLogLines };
  }

  troubled(kind: TroubleKind, error: string): void {
    this.#former = sumOf([this.#former, { ...NOTHING_COUNTED, troubles: [{ kind, count: 1 }] }]);
    this.#options.tell({ type: "trouble", kind, error });
  }

  async shutdown(timeoutMs: number): Promise<number> {
    this.#isEnding = true;
    for (const timer of this.#waiting) clearTimeout(timer);
    // Those who wait to tell of more must not wait for a timer that is gone.
    for (const member of this.#members.values()) this.#collect(member);
    const unanswered = await Promise.all([...this.#members.values()].map(async (member) => {
      post(member, { type: "shutdown", timeoutMs });
      const stopped = within(member.stopped.promise, "end of a worker", { timeoutMs: timeoutMs + LAST_WORDS_MS });
      return await stopped.catch(() => this.#limits.connectionsOf(member.index));
    }));
    this.end();
    return unanswered.reduce((sum, peers) => sum + peers, 0);
  }

  /** Ends all of them at once. */
  end(): void {
    this.#isEnding = true;
    this.#metrics[Symbol.dispose]();
    for (const { thread, collecting } of this.#members.values()) {
      clearTimeout(collecting);
      thread.terminate();
    }
  }

  #start(index: number): Member {
    const { module, serve, tells, version } = this.#options;
    const workerData: WorkerStart = { serve, memory: this.#limits.memory, index, tells, version };
    const resourceLimits = { maxOldGenerationSizeMb: heapMib() };
    const thread = new Worker(module, { name: `wsproof ${index + 1}`, workerData, env: {}, resourceLimits });
    const member: Member = {
      index,
      thread,
      startedAt: performance.now(),
      open: new Map(),
      listening: Promise.withResolvers(),
      stopped: Promise.withResolvers(),
      counted: NOTHING_COUNTED,
      reason: "",
    };
    // Only at the first start somebody waits for it.
    member.listening.promise.catch(() => {});
    this.#members.set(index, member);
    thread.on("message", (message: FromWorker) => this.#hear(member, message));
    thread.on("error", (error: Error) => member.reason = error.message);
    thread.on("exit", (code) => this.#buried(member, code));
    return member;
  }

  #hear(member: Member, message: FromWorker): void {
    switch (message.type) {
      case "listening":
        return member.listening.resolve();
      case "failed":
        member.reason = message.error;
        return void member.thread.terminate();
      case "events":
        for (const event of message.events) this.#tell(member, event);
        if (message.dropped > 0) this.#tellDropped(message.dropped);
        return this.#collect(member);
      case "count":
        member.counted = message.stats;
        return this.#counting.get(message.ask)?.();
      case "metrics":
        return void this.#answer(member, message);
      case "room":
        return this.#lookForRoom();
      case "shed": {
        const holder = this.#members.get(message.index);
        return holder && post(holder, { type: "shed" });
      }
      case "stopped":
        return member.stopped.resolve(message.unanswered);
    }
  }

  #collect(member: Member): void {
    clearTimeout(member.collecting);
    if (this.#isEnding) return post(member, { type: "taken" });
    member.collecting = setTimeout(() => post(member, { type: "taken" }), COLLECT_MS);
  }

  #tell({ open }: Member, event: EchoEvent): void {
    if (event.type === "opened") open.set(event.id, { peer: event.peer, at: performance.now() });
    if (event.type === "closed") open.delete(event.id);
    this.#options.tell(event);
  }

  #tellDropped(lines: number): void {
    this.#droppedEvents += lines;
    this.#options.tell({ type: "dropped", lines });
  }

  async #count(member: Member): Promise<void> {
    const ask = ++this.#asked;
    const counted = new Promise<void>((resolve) => this.#counting.set(ask, resolve));
    post(member, { type: "count", ask });
    await within(counted, "count of a worker", { timeoutMs: COUNT_TIMEOUT_MS }).catch(() => {});
    this.#counting.delete(ask);
  }

  async #answer(member: Member, { ask, accept }: FromWorker & { type: "metrics" }): Promise<void> {
    const response = await this.#metrics.respond(new Request("http://localhost/metrics", { headers: { accept } }));
    const answer = { type: response.headers.get("content-type") ?? "", body: await response.text() };
    post(member, { type: "metrics", ask, answer });
  }

  /** Not while a worker starts: the count takes all descriptors for a moment, and without one the runtime panics then. */
  #lookForRoom(): void {
    const { room } = this.#options;
    if (room === undefined || this.#waiting.size > 0) return;
    const { connections, heads } = this.#limits;
    this.#limits.allow({ maxConnections: room.maxConnections(connections), maxHeads: room.maxHeads(heads) });
  }

  /** A worker has ended: its connections are counted out and told of, and another one takes its place. */
  #buried(member: Member, code: number): void {
    this.#members.delete(member.index);
    clearTimeout(member.collecting);
    const lost = this.#limits.bury(member.index);
    const reason = member.reason || `It has ended with ${code}`;
    member.listening.reject(new Error(reason));
    member.stopped.resolve(lost);
    if (!this.#isStarted || this.#isEnding) return;
    this.#countLost(member.counted, lost);
    this.#tellLost(member);
    const connections = `${lost} ${lost === 1 ? "connection" : "connections"}`;
    this.troubled("worker", `Worker ${member.index + 1} with ${connections}: ${reason}`);
    this.#replace(member);
  }

  /** The connections that have ended since it was asked last are not known: so many as there are ends count as accepted. */
  #countLost(counted: EchoStats, lost: number): void {
    const closes = [...counted.closes, { code: 1006, initiator: "none", count: lost } as const];
    const ended = closes.reduce((sum, { count }) => sum + count, 0);
    const accepted = Math.max(counted.accepted, ended);
    this.#former = sumOf([this.#former, { ...counted, connections: 0, accepted, closes }]);
  }

  #tellLost({ open }: Member): void {
    const record = { received: null, sent: null, initiator: null, end: "no-close-frame", tcp: "local" } as const;
    for (const [id, { peer, at }] of open) {
      const ms = performance.now() - at;
      this.#options.tell({ type: "closed", id, peer, ...record, detail: WORKER_DIED, messages: 0, bytes: 0, ms });
    }
  }

  #replace({ index, startedAt }: Member): void {
    this.#respawnMs = respawnDelayMs(this.#respawnMs, performance.now() - startedAt);
    const timer = setTimeout(() => {
      const { listening } = this.#start(index);
      listening.promise.catch(() => {}).finally(() => this.#waiting.delete(timer));
    }, this.#respawnMs);
    this.#waiting.add(timer);
  }
}

function post({ thread }: Member, message: ToWorker): void {
  thread.postMessage(message);
}

/** How large the heap of a worker may be, in MiB: as large as that of a process without workers. */
function heapMib(): number {
  return Math.floor(process.getBuiltinModule("node:v8").getHeapStatistics().heap_size_limit / 1024 / 1024);
}
