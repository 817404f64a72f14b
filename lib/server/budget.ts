/**
 * How much memory all peers of a server may take together.
 *
 * @module
 */

/** Holdings below this are not counted, in bytes: 4 KiB. A connection takes several times as much anyway. */
export const MIN_COUNTED_BYTES = 4 * 1024;

/** Below this, in bytes, the echo over the runtime's WebSocket does not ask what waits for a peer: 64 KiB. */
export const MIN_HELD_BYTES = 64 * 1024;

/** How long the holdings as they were measured are good enough, in milliseconds: 10 at least. */
const MEASURE_INTERVAL_MS = 10;

/** ... and this many times as long as the measuring took, so that measuring many leaves time for everything else. */
const MEASURE_INTERVAL_RATIO = 10;

/** The part of the whole that read buffers may take: a quarter. */
const BUFFERS_SHARE = 1 / 4;

/** How far all may be over the limit while another worker is asked to shed its largest: an eighth of the limit. */
const OVERDRAFT_SHARE = 1 / 8;

/** The reason with which the one that holds the most is closed, with the close code 1013. */
export const SHED_REASON = "too much waits for all peers, try again later";

/** What holds memory for one peer. */
export interface Holder {
  /** How many bytes it holds now, measured anew. */
  heldBytes(): number;
  /**
   * Closes it, as it holds the most, with the close code 1013. It must not throw.
   *
   * @returns Whether it gives anything back; one that does is never asked again, and one that does not until all are measured again.
   */
  shed(): boolean;
}

/** One limit that several budgets share, each in a worker of its own: see `workers_share.ts`. */
export interface MemoryPool {
  /** How many budgets share the limit: each reserves its part for read buffers. */
  readonly members: number;
  /** How many bytes the others hold. */
  othersBytes(): number;
  /** Tells the others how many bytes are held here, and how many by the largest holder that can be shed. */
  tell(bytes: number, largestBytes: number): void;
  /**
   * Asks the worker with the largest holder to shed it.
   *
   * @param largestBytes What the largest holder here holds.
   * @returns Whether another worker has a larger one, and was asked.
   */
  askOthers(largestBytes: number): boolean;
}

/** What is known of a holder. */
interface Holding {
  bytes: number;
  /** Whether it was shed, or asked to and could not. */
  state: "open" | "shed" | "stubborn";
}

/**
 * Counts what all peers together make a server hold, and closes the one that holds the most when it is too much. Those who
 * hold less than 4 KiB are not counted: small messages never come here, and are never refused.
 *
 * Read buffers beyond their first size are reserved, out of a quarter of the whole: a connection that gets none goes on with
 * the one that it has.
 *
 * As long as everything fits, nobody is measured: what the holders said last is added up. Only when it does not fit, all
 * are measured anew, and at most once in 10 ms, or for a tenth of the time if that is more; there are at most `maxBytes` / 4 KiB
 * of them.
 *
 * A server over our own frames takes at most about 64 MiB, 32 KiB for each connection (144 KiB over TLS), 32 KiB for each one
 * before its upgrade, and `maxBytes`. What the system holds in the buffers of TCP is not in this.
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
  /** What the others were told of the largest holder. */
  #largestBytes = 0;
  #measureAt = -Infinity;
  /** Those that can be shed, the largest last, as they were measured. */
  #bySize: [holder: Holder, bytes: number][] = [];
  /** Nobody was taken from them since. */
  #isFresh = true;

  /**
   * Begins without holders.
   *
   * @param maxBytes How many bytes all may hold together; `Infinity` for no limit.
   * @param now The clock, in milliseconds.
   * @param pool The others with which it shares the limit; nobody by default.
   */
  constructor(maxBytes: number, now: () => number = () => performance.now(), pool?: MemoryPool) {
    this.#maxBytes = maxBytes;
    this.#now = now;
    this.#pool = pool;
  }

  /**
   * How many bytes all hold together, by what they said last, with what is reserved; what is below 4 KiB is not in it. The bytes
   * of other workers count too.
   */
  get totalBytes(): number {
    return this.#totalBytes + this.#reservedBytes + (this.#pool?.othersBytes() ?? 0);
  }

  /** Whether more than half of what can be reserved is: whoever needs it no more should give it back. */
  get isTight(): boolean {
    return 2 * this.#reservedBytes > this.#buffersBytes;
  }

  get #buffersBytes(): number {
    return BUFFERS_SHARE * this.#maxBytes / (this.#pool?.members ?? 1);
  }

  /**
   * Reserves memory for a read buffer, if there is any left.
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
   * Gives back memory that was reserved.
   *
   * @param bytes How many bytes less.
   */
  giveBack(bytes: number): void {
    this.#reservedBytes -= bytes;
    this.#tell();
  }

  /**
   * Notes how much a holder holds now. If all together then hold too much, those that hold the most are shed until it fits;
   * the one that asks may be among them.
   *
   * @param holder The holder.
   * @param bytes How many bytes it holds; less than 4 KiB is as good as nothing.
   * @returns Whether all fits now. If not, nobody is left that could give anything back, and the caller should let go.
   */
  hold(holder: Holder, bytes: number): boolean {
    this.#note(holder, bytes);
    return this.totalBytes <= this.#maxBytes || bytes < MIN_COUNTED_BYTES || this.#makeRoom(holder);
  }

  /**
   * Forgets a holder, as it holds nothing any more.
   *
   * @param holder The holder; one that is not known does no harm.
   */
  release(holder: Holder): void {
    this.#totalBytes -= this.#holdings.get(holder)?.bytes ?? 0;
    this.#holdings.delete(holder);
    this.#tell();
  }

  /** Another worker has asked for room: sheds the largest here until all fits, or until another has a larger one. */
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

  /** Whether the largest of all is another worker's, which was asked to shed it; and so little too much can wait for that. */
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

  /** What a holder holds that can be shed. */
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
        // All that were measured are gone: those who have become large since are looked at before the one that asks.
        this.#measure();
        continue;
      }
      this.#bySize.pop();
      this.#isFresh = false;
      const holding = this.#holdings.get(last[0]);
      // One that holds less than it did has let go by itself.
      if (holding?.state === "open" && holding.bytes >= last[1]) return last[0];
    }
  }
}
