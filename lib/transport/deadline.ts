/**
 * A deadline for every wait.
 *
 * @module
 */

/**
 * Thrown when a wait has passed its deadline.
 *
 * @example
 * ```ts
 * import { TimeoutError } from "./deadline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new TimeoutError("message", 1500).message, "No message within 1.5 s");
 * ```
 */
export class TimeoutError extends Error {
  /** The time that was waited, in milliseconds. */
  readonly timeoutMs: number;

  /**
   * Makes the error.
   *
   * @param awaited What did not come, as a noun.
   * @param timeoutMs The time that was waited, in milliseconds.
   */
  constructor(awaited: string, timeoutMs: number) {
    super(`No ${awaited} within ${timeoutMs / 1000} s`);
    this.name = "TimeoutError";
    this.timeoutMs = timeoutMs;
  }
}

/** How long a wait may take. */
export interface WaitOptions {
  /** The longest wait in milliseconds; without it, only `signal` ends the wait. */
  timeoutMs?: number;
  /** Ends the wait with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/**
 * Waits for a promise, but not longer than it may take. Timer and listener are gone when it returns.
 *
 * @param promise What is waited for; it is not cancelled when the wait ends early.
 * @param awaited What it brings, as a noun for the error.
 * @param options The deadline.
 * @returns What the promise resolves to.
 * @throws {TimeoutError} If the deadline passes first.
 *
 * @example
 * ```ts
 * import { within } from "./deadline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await within(Promise.resolve(42), "number", { timeoutMs: 1000 }), 42);
 * ```
 */
export async function within<T>(promise: Promise<T>, awaited: string, options: WaitOptions): Promise<T> {
  const { timeoutMs, signal } = options;
  const early = Promise.withResolvers<never>();
  const timer = timeoutMs === undefined
    ? undefined
    : setTimeout(() => early.reject(new TimeoutError(awaited, timeoutMs)), Math.min(timeoutMs, MAX_TIMER_MS));
  const onAbort = () => early.reject(signal?.reason);
  // The race has to take hold of the promise even then: its failure would have no handler.
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  try {
    return await Promise.race([early.promise, promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** The longest that a timer can be, in milliseconds; a longer one would be due at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;
