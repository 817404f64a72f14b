/**
 * The memory limit that all peers of a server share.
 *
 * @module
 */

/** Holdings below this are not counted, in bytes: 4 KiB. A connection takes several times as much anyway. */
export const MIN_COUNTED_BYTES = 4 * 1024;

/** Below this, in bytes, the echo over the runtime's WebSocket does not ask how many are pending: 64 KiB. */
export const MIN_HELD_BYTES = 64 * 1024;

/** A measurement of all holders stays valid for this long, in milliseconds: 10 at least. */
const MEASURE_INTERVAL_MS = 10;

/** ... and this many times as long as measuring took, so that measuring never takes over. */
const MEASURE_INTERVAL_RATIO = 10;

/** Share of the limit that read buffers may take: a quarter. */
const BUFFERS_SHARE = 1 / 4;

/** Overdraft while another worker sheds its largest holder: an eighth of the limit. */
const OVERDRAFT_SHARE = 1 / 8;

/** Close reason, with the code 1013, for the holder of the most. */
export const SHED_REASON = "too much pending data, try again later";

/** Holder of one peer's memory. */
export interface Holder {
  /** Bytes that it holds now, measured anew. */
  heldBytes(): number;
  /**
   * Closes the connection with 1013, as the largest holder. It must not throw.
   *
   * @returns Whether this frees memory. If so, the budget never asks again; if not, only after the next measurement.
   */
  shed(): boolean;
}

/** One limit that several budgets share, each in a worker of its own: see `workers_share.ts`. */
export interface MemoryPool {
  /** How many budgets share the limit: each reserves its part for read buffers. */
  readonly members: number;
  /** How many bytes the others hold. */
  othersBytes(): number;
  /** Tells the others how many bytes this worker holds, and how many its largest open holder. */
  tell(bytes: number, largestBytes: number): void;
  /**
   * Asks the worker with the largest holder to shed it.
   *
   * @param largestBytes Size of the largest holder here.
   * @returns Whether another worker with a larger holder was asked.
   */
  askOthers(largestBytes: number): boolean;
}

/** Last state of a holder. */
interface Holding {
  bytes: number;
  /** `stubborn`: asked to shed, but freed nothing. */
  state: "open" | "shed" | "stubborn";
}

/**
 * Counts the bytes that all peers together hold, and sheds the largest holder when the sum passes the limit. Holders
 * below 4 KiB do not count: small messages never come here, and are never refused.
 *
 * Read buffers beyond their first size are reserved, from a quarter of the limit. A connection that gets no reservation
 * keeps its present buffer.
 *
 * As long as everything fits, the budget adds up the last reported sizes. Otherwise all holders are measured anew, at
 * most once in 10 ms and for at most a tenth of the time; there are at most `maxBytes` / 4 KiB of them.
 *
 * A server over our own frames takes at most about 64 MiB, 32 KiB for each connection (144 KiB over TLS), 32 KiB for
 * each one before its upgrade, and `maxBytes`. The TCP buffers of the system come on top.
 *
 * @example
 * ```ts
 * import { type Holder, MemoryBudget } from "./budget.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const MIB = 1024 * 1024;
 * class Peer implements Holder {
 *   constructor(public bytes: number) {}
 *   heldBytes = () => this.bytes;
 *   shed = () => {
 *     this.bytes = 0;
 *     return true;
 *   };
 * }
 * const [large, small] = [new Peer(3 * MIB), new Peer(2 * MIB)];
 * const budget = new MemoryBudget(4 * MIB);
 * assertEquals(budget.hold(large, large.bytes), true);
 * // The larger one has to go, so that there is room.
 * assertEquals(budget.hold(small, small.bytes), true);
 * assertEquals([large.bytes, budget.totalBytes], [0, 2 * MIB]);
 * ```
 */
export class MemoryBudget {
  readonly #maxBytes: number;
  readonly #now: () => number;
  readonly #pool: MemoryPool | undefined;
  readonly #holdings = new Map<Holder, Holding>();
  #totalBytes = 0;
  #reservedBytes = 0;
  /** Size of the largest holder, as last told. */
  #largestBytes = 0;
  #measureAt = -Infinity;
  /** Open holders by measured size, the largest last. */
  #bySize: [holder: Holder, bytes: number][] = [];
  /** Whether `#bySize` is complete. */
  #isFresh = true;

  /**
   * Begins without holders.
   *
   * @param maxBytes How many bytes all may hold together; `Infinity` for no limit.
   * @param now The clock, in milliseconds.
   * @param pool The others that share the limit; none by default.
   */
  constructor(maxBytes: number, now: () => number = () => performance.now(), pool?: MemoryPool) {
    this.#maxBytes = maxBytes;
    this.#now = now;
    this.#pool = pool;
  }

  /**
   * How many bytes all hold together, as last reported, with reservations and the bytes of other workers. Holders below
   * 4 KiB do not count.
   */
  get totalBytes(): number {
    return this.#totalBytes + this.#reservedBytes + (this.#pool?.othersBytes() ?? 0);
  }

  /** Whether more than half of the reservable memory is reserved: idle peers should return theirs. */
  get isTight(): boolean {
    return 2 * this.#reservedBytes > this.#buffersBytes;
  }

  get #buffersBytes(): number {
    return BUFFERS_SHARE * this.#maxBytes / (this.#pool?.members ?? 1);
  }

  /**
   * Reserves memory for a read buffer, if any is left.
   *
   * @param bytes How many bytes more.
   * @returns Whether they are reserved.
   */
  reserve(bytes: number): boolean {
    const isLeft = this.#reservedBytes + bytes <= this.#buffersBytes;
    if (!isLeft || this.totalBytes + bytes > this.#maxBytes) return false;
    this.#reservedBytes += bytes;
    this.#tell();
    return true;
  }

  /**
   * Returns reserved memory.
   *
   * @param bytes How many bytes less.
   */
  giveBack(bytes: number): void {
    this.#reservedBytes -= bytes;
    this.#tell();
  }

  /**
   * Notes how much a holder holds now. If the sum passes the limit, sheds the largest holders until it fits; the caller
   * may be among them.
   *
   * @param holder The holder.
   * @param bytes How many bytes; less than 4 KiB counts as nothing.
   * @returns Whether all fits now. If not, nobody is left to shed, and the caller should let go.
   */
  hold(holder: Holder, bytes: number): boolean {
    this.#note(holder, bytes);
    return this.totalBytes <= this.#maxBytes || bytes < MIN_COUNTED_BYTES || this.#makeRoom(holder);
  }

  /**
   * Forgets a holder.
   *
   * @param holder The holder; an unknown one does no harm.
   */
  release(holder: Holder): void {
    this.#totalBytes -= this.#holdings.get(holder)?.bytes ?? 0;
    this.#holdings.delete(holder);
    this.#tell();
  }

  /** Another worker asks for room: sheds the largest here until all fits, or until another has a larger one. */
  relieve(): void {
    this.#measureAt = -Infinity;
    this.#makeRoom();
  }

  #tell(): void {
    this.#pool?.tell(this.#totalBytes + this.#reservedBytes, this.#largestBytes);
  }

  #note(holder: Holder, bytes: number): void {
    if (bytes < MIN_COUNTED_BYTES) return this.release(holder);
    const holding = this.#holdings.get(holder);
    if (holding === undefined) {
      this.#holdings.set(holder, { bytes, state: "open" });
      this.#totalBytes += bytes;
    } else {
      this.#totalBytes += bytes - holding.bytes;
      holding.bytes = bytes;
    }
    if (bytes > this.#largestBytes && holding?.state !== "shed") this.#largestBytes = bytes;
    this.#tell();
  }

  /** Sheds the largest until all fits. */
  #makeRoom(asking?: Holder): boolean {
    const now = this.#now();
    if (now >= this.#measureAt) {
      for (const holding of this.#holdings.values()) if (holding.state === "stubborn") holding.state = "open";
      this.#measure();
      this.#measureAt = now + Math.max(MEASURE_INTERVAL_MS, MEASURE_INTERVAL_RATIO * (this.#now() - now));
    }
    while (this.totalBytes > this.#maxBytes) {
      if (this.#isLeftToOthers(asking)) return true;
      const largest = this.#takeLargest(asking);
      if (largest === undefined) return false;
      const holding = this.#holdings.get(largest);
      if (holding) holding.state = "shed";
      const hasGiven = largest.shed();
      if (holding && !hasGiven) holding.state = "stubborn";
      // It may have released itself.
      if (this.#holdings.has(largest)) this.#note(largest, largest.heldBytes());
    }
    return true;
  }

  /**
   * Whether the largest holder is another worker's, which was asked to shed it: a small overdraft can wait for that.
   */
  #isLeftToOthers(asking: Holder | undefined): boolean {
    if (this.#pool === undefined || this.totalBytes > (1 + OVERDRAFT_SHARE) * this.#maxBytes) return false;
    return this.#pool.askOthers(Math.max(this.#openBytes(asking), this.#bySize.at(-1)?.[1] ?? 0));
  }

  #measure(): void {
    this.#isFresh = true;
    this.#bySize = [];
    for (const [holder, holding] of this.#holdings) {
      const bytes = holder.heldBytes();
      this.#note(holder, bytes);
      if (bytes >= MIN_COUNTED_BYTES && holding.state === "open") this.#bySize.push([holder, bytes]);
    }
    this.#bySize.sort(([, a], [, b]) => a - b);
    this.#largestBytes = this.#bySize.at(-1)?.[1] ?? 0;
    this.#tell();
  }

  /** Size of a holder that can still shed. */
  #openBytes(holder: Holder | undefined): number {
    const own = holder && this.#holdings.get(holder);
    return own?.state === "open" ? own.bytes : 0;
  }

  #takeLargest(asking: Holder | undefined): Holder | undefined {
    const ownBytes = this.#openBytes(asking);
    while (true) {
      const last = this.#bySize.at(-1);
      if (asking && ownBytes > 0 && ownBytes >= (last?.[1] ?? (this.#isFresh ? 0 : Infinity))) return asking;
      if (last === undefined) {
        if (this.#isFresh) return undefined;
        // All measured holders are gone: those that grew since go before the caller.
        this.#measure();
        continue;
      }
      this.#bySize.pop();
      this.#isFresh = false;
      const holding = this.#holdings.get(last[0]);
      // A holder that shrank has let go by itself.
      if (holding?.state === "open" && holding.bytes >= last[1]) return last[0];
    }
  }
}
