/**
 * A server of several workers: threads that listen on one port over our own frames, with one policy, one set of limits,
 * one log, one `/metrics` and one shutdown.
 *
 * Each worker is a thread with its own JavaScript heap. A worker with a full heap ends alone, and is replaced.
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

/** Delay of the first replacement of a worker, in milliseconds: 100. */
const MIN_RESPAWN_MS = 100;

/** Longest delay of a replacement, in milliseconds: 10 s. */
const MAX_RESPAWN_MS = 10_000;

/** After a life this long, the delay starts anew, in milliseconds: 1 minute. */
const SETTLED_MS = 60_000;

/** Deadline for a worker to send its counts before its last ones are used, in milliseconds: 1 s. */
const COUNT_TIMEOUT_MS = 1000;

/** After a shutdown's deadline, a worker has this long to report its last connections, in milliseconds: 2 s. */
const LAST_WORDS_MS = 2000;

/**
 * Interval at which a worker sends its events, in milliseconds: 10. One by one, the events of a connection cost as much
 * as half of its handshake.
 */
const COLLECT_MS = 10;

/** Detail of a connection whose worker has died. */
export const WORKER_DIED = "Worker has died";

/**
 * Computes the delay of a worker's replacement: a fault of all must not take the whole machine.
 *
 * @param beforeMs The delay before, in milliseconds; `undefined` for the first.
 * @param livedMs How long the worker has lived, in milliseconds.
 * @returns The delay in milliseconds: 100 at first and after a life of a minute, otherwise twice the one before, up to
 * 10 s.
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
  /** The module of each worker, which calls `work()` of `workers_thread.ts`. */
  readonly module: URL;
  /** Where they listen and what they accept; data only. */
  readonly serve: ServeEchoOptions;
  /** Limits connections over all workers; `maxConnections` by default. */
  readonly room?: ConnectionRoom | undefined;
  /** The version of the server. */
  readonly version: string;
  /** Takes the events of all workers, in the order of each. */
  readonly tell: (event: ServerEvent) => void;
  /** Whether `tell` wants the events of the workers. */
  readonly tells: boolean;
  /** How many lines the log has dropped. */
  readonly droppedLogLines: () => number;
}

/** A server of several workers. */
export interface WorkersServer extends ListeningServer {
  /** Counts of all workers. */
  stats(): Promise<ServerStats>;
  /** Counts and reports trouble outside of the workers. */
  troubled(error: string): void;
}

/**
 * Starts the workers.
 *
 * @param options How many, and what each does.
 * @returns The server, once all of them listen.
 * @throws {Error} If it cannot listen, as for `serveEcho()`, or if a worker cannot be started.
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
 * Listens alone for a moment: finds a free port, checks address and certificate, and fails on a taken port, as a worker
 * would not.
 */
async function findPlace(options: ServeEchoOptions): Promise<{ urls: readonly string[]; serve: ServeEchoOptions }> {
  const serve: ServeEchoOptions = { ...options, transport: "wire" };
  const alone = serveEcho(serve);
  await alone.shutdown({ timeoutMs: 0 });
  const urls = alone.urls.map((url) => new URL(url));
  const addresses = urls.map(({ hostname }) => hostname.replace(/^\[(.*)\]$/, "$1"));
  // A URL omits the default port of its scheme.
  const port = Number(urls[0]?.port || (serve.cert === undefined ? 80 : 443));
  return { urls: alone.urls, serve: { ...serve, addresses, port } };
}

/** One of the workers, from its start to its end. */
interface Member {
  readonly index: number;
  readonly thread: Worker;
  readonly startedAt: number;
  /** Reported connections that have not ended, by number: their peers, and the time of the report. */
  readonly open: Map<number, { readonly peer: string; readonly at: number }>;
  /** Resolves when it listens. */
  readonly listening: PromiseWithResolvers<void>;
  /** Resolves with how many peers did not answer the close. */
  readonly stopped: PromiseWithResolvers<number>;
  /** Its last known counts. */
  counted: EchoStats;
  /** Why it ends. */
  reason: string;
  /** Lets the worker send more events. */
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
  /** Counts of dead workers, and from outside of workers. */
  #former = NOTHING_COUNTED;
  #droppedEvents = 0;
  /** Delay of the last replacement. */
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

  /** Counts of all workers; of one that does not answer, its last ones. */
  async stats(): Promise<ServerStats> {
    await Promise.all([...this.#members.values()].map((member) => this.#count(member)));
    // Read after the wait: a worker may have died since.
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
    // Workers must not wait for a cleared timer to send more.
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
    // Only the first start has somebody waiting.
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

  /** Not while a worker starts: the count takes all descriptors for a moment, and without one the runtime panics. */
  #lookForRoom(): void {
    const { room } = this.#options;
    if (room === undefined || this.#waiting.size > 0) return;
    const { connections, heads } = this.#limits;
    this.#limits.allow({ maxConnections: room.maxConnections(connections), maxHeads: room.maxHeads(heads) });
  }

  /** A worker has ended: subtracts and reports its connections, and replaces it. */
  #buried(member: Member, code: number): void {
    this.#members.delete(member.index);
    clearTimeout(member.collecting);
    const lost = this.#limits.bury(member.index);
    const reason = member.reason || `It has ended with ${code}`;
    member.listening.reject(new Error(reason));
    member.stopped.resolve(lost);
    if (!this.#isStarted) return;
    this.#tellLost(member);
    if (this.#isEnding) return;
    this.#countLost(member.counted, lost);
    const connections = `${lost} ${lost === 1 ? "connection" : "connections"}`;
    this.troubled("worker", `Worker ${member.index + 1} with ${connections}: ${reason}`);
    this.#replace(member);
  }

  /** How connections ended since the last count is not known: each that was open then has lost its worker too. */
  #countLost(counted: EchoStats, lost: number): void {
    const gone = counted.refusals.find(({ cause }) => cause === "gone")?.count ?? 0;
    const ended = counted.closes.reduce((sum, { count }) => sum + count, gone);
    const count = Math.max(counted.accepted - ended, lost);
    const closes = [...counted.closes, { code: 1006, initiator: "none", count } as const];
    this.#former = sumOf([this.#former, { ...counted, connections: 0, accepted: ended + count, closes }]);
  }

  #tellLost({ open }: Member): void {
    const record = { received: null, sent: null, initiator: null, end: "no-close-frame", tcp: "local" } as const;
    for (const [id, { peer, at }] of open) {
      const ms = performance.now() - at;
      this.#options.tell({ type: "closed", id, peer, ...record, detail: WORKER_DIED, messages: 0, bytes: 0, ms });
    }
    open.clear();
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

/** Heap limit of a worker, in MiB: that of a process without workers. */
function heapMib(): number {
  return Math.floor(process.getBuiltinModule("node:v8").getHeapStatistics().heap_size_limit / 1024 / 1024);
}
