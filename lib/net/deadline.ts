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
  /** What did not come, as a noun. */
  readonly awaited: string;
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
    this.awaited = awaited;
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
  const cancel = timeoutMs === undefined
    ? undefined
    : schedule(timeoutMs, () => early.reject(new TimeoutError(awaited, timeoutMs)));
  const onAbort = () => early.reject(signal?.reason);
  // The race has to take hold of the promise even then: its failure would have no handler.
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  try {
    return await Promise.race([early.promise, promise]);
  } finally {
    cancel?.();
    signal?.removeEventListener("abort", onAbort);
  }
}

/** The longest that a timer can be, in milliseconds; a longer one would be due at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

interface Alarm {
  readonly dueAt: number;
  readonly ring: () => void;
}

const alarms = new Set<Alarm>();
let timer: { readonly dueAt: number; readonly signal: AbortSignal } | undefined;

/**
 * Calls back after a time, and gives the way to cancel it. All waits share one timer, and it is one of `AbortSignal`: the
 * first `setTimeout` of a process makes the runtime load a module, which takes longer than the reply of a server nearby. A
 * timer of `AbortSignal` cannot be cleared, so a wait that ends later uses the one that is armed, which then arms the next;
 * nothing listens to it while nobody waits, so that it does not keep the process alive.
 */
function schedule(ms: number, ring: () => void): () => void {
  const alarm: Alarm = { dueAt: performance.now() + Math.min(ms, MAX_TIMER_MS), ring };
  alarms.add(alarm);
  arm(alarm.dueAt);
  return () => {
    alarms.delete(alarm);
    if (alarms.size === 0) timer?.signal.removeEventListener("abort", onTimer);
  };
}

function arm(dueAt: number): void {
  // One that has rung while nobody listened will not ring again.
  if (timer === undefined || timer.signal.aborted || dueAt < timer.dueAt) {
    timer?.signal.removeEventListener("abort", onTimer);
    timer = { dueAt, signal: AbortSignal.timeout(Math.max(0, Math.ceil(dueAt - performance.now()))) };
  }
  timer.signal.addEventListener("abort", onTimer);
}

function onTimer(): void {
  timer = undefined;
  const now = performance.now();
  let next = Infinity;
  for (const alarm of alarms) {
    if (alarm.dueAt > now) {
      next = Math.min(next, alarm.dueAt);
    } else {
      alarms.delete(alarm);
      alarm.ring();
    }
  }
  if (next < Infinity) arm(next);
}
