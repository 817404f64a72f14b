/**
 * The connections that the limit of open files (`ulimit -n`, `LimitNOFILE`) allows.
 *
 * @module
 */

import { DEFAULT_MAX_CONNECTIONS } from "./policy.ts";
import { DEFAULT_MAX_HEADS } from "../net/wire_server.ts";

/** Descriptors for the listener, files and the runtime: 64, or a quarter of fewer than 256. */
export const SPARE_DESCRIPTORS = 64;

/** Descriptors counted at the start: 256. Few connections need no more, and each takes up to 40 microseconds. */
const FIRST_DESCRIPTORS = 256;

/** Descriptors counted beyond those in use when they run short: 2,048, in some 20 milliseconds. */
const NEXT_DESCRIPTORS = 2048;

/** Counting goes on below this many known spare descriptors: 1,024, or half of the known ones. */
const FEW_DESCRIPTORS = 1024;

/** Opens one more descriptor. */
export type OpenDescriptor = () => { close(): void };

/**
 * Counts the descriptors that this process can still open, by opening them. The runtime tells its limit only to a
 * process with all permissions (`/proc/self/limits`); this needs the permission to read `/dev/null`.
 *
 * @param most Where to stop.
 * @param open Opens one.
 * @returns How many there are, at most `most`; `undefined` if counting failed.
 *
 * @example
 * ```ts
 * import { countDescriptors } from "./descriptors.ts";
 * import { assertEquals } from "@std/assert";
 *
 * if (Deno.build.os !== "windows") assertEquals(countDescriptors(10), 10);
 * ```
 */
export function countDescriptors(
  most: number,
  open: OpenDescriptor = () => Deno.openSync("/dev/null"),
): number | undefined {
  const opened: { close(): void }[] = [];
  try {
    while (opened.length < most) opened.push(open());
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EMFILE")) return undefined;
  } finally {
    for (const descriptor of opened) descriptor.close();
  }
  return opened.length;
}

/**
 * Says how many descriptors a server can use.
 *
 * @param maxConnections The limit of connections; 10,000 by default.
 * @returns One for each connection, 1,024 before their upgrade, and 64 to spare.
 *
 * @example
 * ```ts
 * import { descriptorsFor } from "./descriptors.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(descriptorsFor(), 11_088);
 * ```
 */
export function descriptorsFor(maxConnections: number = DEFAULT_MAX_CONNECTIONS): number {
  return maxConnections + DEFAULT_MAX_HEADS + SPARE_DESCRIPTORS;
}

/** Limits that fit the descriptors, and a note for the operator. */
export interface Fit {
  /** How many connections fit. */
  readonly maxConnections: number;
  /** How many connections may be before their upgrade. */
  readonly maxHeads: number;
  /** One line for the operator about missing descriptors; empty if there are enough. */
  readonly note: string;
}

/**
 * Fits the limits of a server to its descriptors. Without a descriptor the system fails a connection; over the limit
 * the server answers with 503.
 *
 * @param descriptors How many there are, from {@linkcode countDescriptors}.
 * @param maxConnections How many connections the operator wants: always kept.
 * @returns The limits. By default, with too few for 10,000, a quarter is for connections before their upgrade.
 *
 * @example
 * ```ts
 * import { fitToDescriptors } from "./descriptors.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { maxConnections, maxHeads } = fitToDescriptors(1000);
 * assertEquals([maxConnections, maxHeads], [702, 234]);
 * ```
 */
export function fitToDescriptors(descriptors: number, maxConnections?: number): Fit {
  const wanted = maxConnections ?? DEFAULT_MAX_CONNECTIONS;
  const needed = descriptorsFor(wanted);
  if (descriptors >= needed) return { maxConnections: wanted, maxHeads: DEFAULT_MAX_HEADS, note: "" };
  const free = Math.max(2, descriptors - Math.min(SPARE_DESCRIPTORS, Math.floor(descriptors / 4)));
  const maxHeads = Math.max(1, Math.min(DEFAULT_MAX_HEADS, Math.floor(free / 4)));
  const fitting = Math.min(wanted, free - maxHeads);
  if (fitting === wanted) return { maxConnections: wanted, maxHeads, note: "" };
  const advice = `for ${wanted}, raise the limit of open files (ulimit -n, LimitNOFILE) by ${needed - descriptors}`;
  return maxConnections === undefined
    ? { maxConnections: fitting, maxHeads, note: `There are descriptors for only ${fitting} connections: ${advice}` }
    : {
      maxConnections,
      maxHeads,
      note: `There are descriptors for about ${fitting} of the ${wanted} connections of --max-connections: ${advice}`,
    };
}

/** Options of {@linkcode DescriptorRoom}. */
export interface DescriptorRoomOptions {
  /** How many connections the operator wants: always kept. 10,000, or fewer, by default. */
  readonly maxConnections?: number | undefined;
  /** Takes one line, once, when descriptors are short. */
  readonly onShort: (note: string) => void;
  /** Counts free descriptors up to a limit, as {@linkcode countDescriptors} does. */
  readonly count?: (most: number) => number | undefined;
}

/**
 * The room for connections that the descriptors leave. Counting all of them would make a start several times as long,
 * so they are counted as connections come near: at most 256 at first, then 2,048 more than are in use.
 *
 * @example
 * ```ts
 * import { DescriptorRoom } from "./descriptors.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const notes: string[] = [];
 * const free = 200;
 * const room = new DescriptorRoom({ onShort: (note) => notes.push(note), count: (most) => Math.min(most, free) });
 * assertEquals([room.maxConnections(0), room.maxHeads(0), notes.length], [113, 37, 1]);
 * ```
 */
export class DescriptorRoom {
  readonly #options: DescriptorRoomOptions;
  /** Known descriptors, used ones included; `undefined` when the rest cannot be counted. */
  #known: number | undefined = 0;
  #fit: Fit;
  #connections = 0;
  #heads = 0;

  /**
   * Counts the first descriptors.
   *
   * @param options The options.
   * @throws {Error} If counting fails.
   */
  constructor(options: DescriptorRoomOptions) {
    this.#options = options;
    this.#fit = this.#fitTo(descriptorsFor(options.maxConnections));
    if (!this.#count(FIRST_DESCRIPTORS)) throw new Error("The limit of open files cannot be determined");
  }

  /**
   * Says how many connections there may be.
   *
   * @param connections How many there are now.
   * @returns The limit.
   */
  maxConnections(connections: number): number {
    this.#connections = connections;
    this.#countAhead();
    return this.#fit.maxConnections;
  }

  /**
   * Says how many connections may be before their upgrade.
   *
   * @param heads How many there are now.
   * @returns The limit.
   */
  maxHeads(heads: number): number {
    this.#heads = heads;
    this.#countAhead();
    return this.#fit.maxHeads;
  }

  #fitTo(descriptors: number): Fit {
    return fitToDescriptors(descriptors, this.#options.maxConnections);
  }

  #countAhead(): void {
    if (this.#known === undefined) return;
    const left = this.#known - this.#connections - this.#heads;
    if (left < Math.min(FEW_DESCRIPTORS, this.#known / 2)) this.#count(NEXT_DESCRIPTORS);
  }

  /** Counts descriptors beyond those in use; `false` on failure. */
  #count(most: number): boolean {
    const used = this.#connections + this.#heads;
    const needed = descriptorsFor(this.#options.maxConnections);
    const wanted = Math.min(most, needed - used);
    const free = (this.#options.count ?? countDescriptors)(wanted);
    if (free === undefined || used + free >= needed) {
      this.#known = undefined;
    } else if (free === wanted) {
      this.#known = used + free;
    } else {
      this.#known = undefined;
      this.#fit = this.#fitTo(used + free);
      if (this.#fit.note) this.#options.onShort(this.#fit.note);
    }
    return free !== undefined;
  }
}
