/**
 * The shared state of a server's workers: numbers and places of connections, and the memory that peers hold. It is one
 * piece of shared memory, and each worker writes its own part only: a worker that dies leaves nothing half done.
 *
 * @module
 */

import type { MemoryPool } from "./budget.ts";
import type { ConnectionPlaces, ConnectionRoom } from "./policy.ts";

/** Size of the header, in bytes: the last number of a connection, and the limits. */
const HEADER_BYTES = 16;
const LIMITS_AT = 8;

/** The limits, each of 32 bits. */
const MAX_CONNECTIONS = 0;
const MAX_HEADS = 1;

/** The fields of a worker's part, each of 32 bits. */
const CONNECTIONS = 0;
const HEADS = 1;
/** KiB held by all its peers, and by the largest. */
const HELD = 2;
const LARGEST = 3;
/** 1 from a request to shed until the worker looks. */
const IS_ASKED = 4;
const FIELDS = 5;

/** A worker asks for room after this many more connections, before or after their upgrade: 64. */
const ASK_EVERY = 64;

/**
 * The shared memory, as the main thread sees it.
 *
 * @example
 * ```ts
 * import { SharedLimits, WorkerShare } from "./workers_share.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const limits = new SharedLimits(2, { maxConnections: 2, maxHeads: 8 });
 * const ask = { room() {}, shed() {} };
 * const [first, second] = [0, 1].map((index) => new WorkerShare(limits.memory, index, ask));
 * assertEquals([first?.take(), second?.take(), first?.take()], [1, 2, undefined]);
 * assertEquals(limits.bury(1), 1);
 * assertEquals(first?.take(), 3);
 * ```
 */
export class SharedLimits {
  /** Memory for each {@linkcode WorkerShare}. */
  readonly memory: SharedArrayBuffer;
  readonly #limits: Int32Array<SharedArrayBuffer>;
  readonly #fields: Int32Array<SharedArrayBuffer>;

  /**
   * Begins without connections.
   *
   * @param workers How many workers share it.
   * @param limits Limits over all workers: connections, and those before their upgrade.
   */
  constructor(workers: number, limits: { maxConnections: number; maxHeads: number }) {
    this.memory = new SharedArrayBuffer(HEADER_BYTES + 4 * FIELDS * workers);
    this.#limits = limitsOf(this.memory);
    this.#fields = fieldsOf(this.memory);
    this.allow(limits);
  }

  /** Changes the limits over all workers. */
  allow({ maxConnections, maxHeads }: { maxConnections: number; maxHeads: number }): void {
    Atomics.store(this.#limits, MAX_CONNECTIONS, maxConnections);
    Atomics.store(this.#limits, MAX_HEADS, maxHeads);
  }

  /** How many connections have a place. */
  get connections(): number {
    return sumOf(this.#fields, CONNECTIONS);
  }

  /** How many connections are before their upgrade. */
  get heads(): number {
    return sumOf(this.#fields, HEADS);
  }

  /**
   * Says how many connections a worker has.
   *
   * @param index Its number, from 0.
   * @returns How many have a place.
   */
  connectionsOf(index: number): number {
    return Atomics.load(this.#fields, index * FIELDS + CONNECTIONS);
  }

  /**
   * Takes a dead worker out of all sums.
   *
   * @param index Its number, from 0.
   * @returns How many connections ended with it.
   */
  bury(index: number): number {
    const connections = this.connectionsOf(index);
    for (const field of [CONNECTIONS, HEADS, HELD, LARGEST, IS_ASKED]) {
      Atomics.store(this.#fields, index * FIELDS + field, 0);
    }
    return connections;
  }
}

/** A worker's requests. Each returns at once. */
export interface WorkerRequests {
  /** Asks how many connections there is room for, as more have come. */
  room(): void;
  /** Asks a worker, by its number from 0, to shed its largest holder. */
  shed(index: number): void;
}

/** The shared memory, as one worker sees it. */
export class WorkerShare implements ConnectionPlaces, ConnectionRoom, MemoryPool {
  /** How many workers share the limits. */
  readonly members: number;
  readonly #ids: BigInt64Array<SharedArrayBuffer>;
  readonly #limits: Int32Array<SharedArrayBuffer>;
  readonly #fields: Int32Array<SharedArrayBuffer>;
  readonly #at: number;
  readonly #ask: WorkerRequests;
  #askedAt = 0;
  #heads = 0;
  #held = 0;
  #largest = 0;

  /**
   * Takes the part of a worker.
   *
   * @param memory The memory of {@linkcode SharedLimits}.
   * @param index The number of the worker, from 0.
   * @param ask Asks others.
   */
  constructor(memory: SharedArrayBuffer, index: number, ask: WorkerRequests) {
    this.#ids = new BigInt64Array(memory, 0, 1);
    this.#limits = limitsOf(memory);
    this.#fields = fieldsOf(memory);
    this.members = this.#fields.length / FIELDS;
    this.#at = index * FIELDS;
    this.#ask = ask;
  }

  /** How many connections of this worker have a place. */
  get connections(): number {
    return Atomics.load(this.#fields, this.#at + CONNECTIONS);
  }

  /**
   * Takes a place. Two workers that ask for the last one at the same moment may both be refused; there are never too
   * many.
   *
   * @returns The number of the connection, unique among all workers; `undefined` if there is no place left.
   */
  take(): number | undefined {
    const own = Atomics.add(this.#fields, this.#at + CONNECTIONS, 1) + 1;
    if (sumOf(this.#fields, CONNECTIONS) > this.maxConnections()) {
      this.leave();
      return undefined;
    }
    this.#askAhead(own + this.#heads);
    return Number(Atomics.add(this.#ids, 0, 1n)) + 1;
  }

  /** Returns a place. */
  leave(): void {
    const own = Atomics.sub(this.#fields, this.#at + CONNECTIONS, 1) - 1;
    this.#askedAt = Math.min(this.#askedAt, own + this.#heads);
  }

  /** Limit of connections over all workers. */
  maxConnections(): number {
    return Atomics.load(this.#limits, MAX_CONNECTIONS);
  }

  /**
   * Says how many connections this worker may have before their upgrade: its share, at least one.
   *
   * @param heads How many there are now.
   * @returns The limit.
   */
  maxHeads(heads: number): number {
    Atomics.store(this.#fields, this.#at + HEADS, heads);
    this.#heads = heads;
    this.#askAhead(this.connections + heads);
    return Math.max(1, Math.floor(Atomics.load(this.#limits, MAX_HEADS) / this.members));
  }

  /** Bytes held by the peers of the other workers. */
  othersBytes(): number {
    return 1024 * (sumOf(this.#fields, HELD) - this.#held);
  }

  /**
   * Tells the others what the peers of this worker hold.
   *
   * @param bytes All of them together.
   * @param largestBytes The largest that can shed.
   */
  tell(bytes: number, largestBytes: number): void {
    this.#held = this.#note(HELD, bytes, this.#held);
    this.#largest = this.#note(LARGEST, largestBytes, this.#largest);
  }

  /**
   * Asks the worker with the largest holder to shed it.
   *
   * @param largestBytes Size of the largest holder here.
   * @returns Whether another one is larger, and its worker is asked.
   */
  askOthers(largestBytes: number): boolean {
    let [largest, at] = [Math.ceil(largestBytes / 1024), -1];
    for (let other = 0; other < this.#fields.length; other += FIELDS) {
      const kib = Atomics.load(this.#fields, other + LARGEST);
      if (other !== this.#at && kib > largest) [largest, at] = [kib, other];
    }
    if (at === -1) return false;
    if (Atomics.exchange(this.#fields, at + IS_ASKED, 1) === 0) this.#ask.shed(at / FIELDS);
    return true;
  }

  /** This worker looks at the request. */
  heard(): void {
    Atomics.store(this.#fields, this.#at + IS_ASKED, 0);
  }

  /** Asks while there are descriptors left: half heads take them all as well as connections do. */
  #askAhead(own: number): void {
    this.#askedAt = Math.min(this.#askedAt, own);
    if (own < this.#askedAt + ASK_EVERY) return;
    this.#askedAt = own;
    this.#ask.room();
  }

  #note(field: number, bytes: number, before: number): number {
    const kib = Math.ceil(bytes / 1024);
    if (kib !== before) Atomics.store(this.#fields, this.#at + field, kib);
    return kib;
  }
}

function limitsOf(memory: SharedArrayBuffer): Int32Array<SharedArrayBuffer> {
  return new Int32Array(memory, LIMITS_AT, 2);
}

function fieldsOf(memory: SharedArrayBuffer): Int32Array<SharedArrayBuffer> {
  return new Int32Array(memory, HEADER_BYTES);
}

function sumOf(fields: Int32Array<SharedArrayBuffer>, field: number): number {
  let sum = 0;
  for (let at = field; at < fields.length; at += FIELDS) sum += Atomics.load(fields, at);
  return sum;
}
