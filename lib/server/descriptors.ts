/**
 * How many connections the limit of open files (`ulimit -n`, `LimitNOFILE`) leaves room for.
 *
 * @module
 */

import { DEFAULT_MAX_CONNECTIONS } from "./policy.ts";
import { DEFAULT_MAX_HEADS } from "../net/wire_server.ts";

/** What is kept for the listener, files and the runtime, in descriptors: 64, or a quarter of fewer than 256. */
export const SPARE_DESCRIPTORS = 64;

/** Opens and closes a file by its descriptor, as `node:fs` does. */
export interface FileSystem {
  /** Opens a file, and gives its descriptor. */
  openSync(path: string, flags: string): number;
  /** Closes a descriptor. */
  closeSync(descriptor: number): void;
}

/**
 * Counts the descriptors that this process can still open, by opening them. The runtime tells its limit only to a process with
 * all permissions (`/proc/self/limits`); this needs the permission to read `/dev/null`.
 *
 * @param most Where to stop: each takes about 10 microseconds, half of what `Deno.openSync()` does.
 * @param files Opens them.
 * @returns How many there are, at most `most`; `undefined` if it cannot be found out.
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
  files: FileSystem = process.getBuiltinModule("node:fs"),
): number | undefined {
  const open: number[] = [];
  try {
    while (open.length < most) open.push(files.openSync("/dev/null", "r"));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EMFILE")) return undefined;
  } finally {
    for (const descriptor of open) files.closeSync(descriptor);
  }
  return open.length;
}

/**
 * Says how many descriptors a server can use.
 *
 * @param maxConnections How many connections it takes; 10,000 by default.
 * @returns One for each of them, 1,024 for those before their upgrade, and 64 to spare.
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

/** What a server can hold, and what its operator should know of it. */
export interface Fit {
  /** How many connections it takes. */
  readonly maxConnections: number;
  /** How many connections may be before their upgrade. */
  readonly maxHeads: number;
  /** One line about what there are too few descriptors for; empty if there are enough. */
  readonly note: string;
}

/**
 * Fits the limits of a server to the descriptors that there are. A connection that is asked for without one is an error of the
 * system; one over the limit is answered with 503.
 *
 * @param descriptors How many there are, as {@linkcode countDescriptors} finds it.
 * @param maxConnections How many connections the operator wants: that is kept in any case.
 * @returns The limits. If nothing is wanted and there are too few for 10,000, a quarter is for those before their upgrade.
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
  const advice = `for ${wanted} raise the limit of open files (ulimit -n, LimitNOFILE) by ${needed - descriptors}`;
  return maxConnections === undefined
    ? { maxConnections: fitting, maxHeads, note: `There are descriptors for ${fitting} connections only: ${advice}` }
    : {
      maxConnections,
      maxHeads,
      note: `There are descriptors for about ${fitting} of the ${wanted} connections of --max-connections: ${advice}`,
    };
}
