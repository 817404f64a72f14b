/**
 * A deadline for every wait.
 *
 * @module
 */

/**
 * Thrown when a wait passes its deadline.
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
  /** The awaited thing, as a noun. */
  readonly awaited: string;
  /** The elapsed deadline, in milliseconds. */
  readonly timeoutMs: number;

  /**
   * Makes the error.
   *
   * @param awaited The awaited thing, as a noun.
   * @param timeoutMs The elapsed deadline, in milliseconds.
   */
  constructor(awaited: string, timeoutMs: number) {
    super(`No ${awaited} within ${timeoutMs / 1000} s`);
    this.name = "TimeoutError";
    this.awaited = awaited;
    this.timeoutMs = timeoutMs;
  }
}

/** Limits of a wait. */
export interface WaitOptions {
  /** Deadline in milliseconds; without one, only `signal` ends the wait. */
  timeoutMs?: number;
  /** Ends the wait with the signal's reason. */
  signal?: AbortSignal | undefined;
}

/**
 * Waits for a promise, up to a deadline. Timer and listener are gone on return.
 *
 * @param promise The promise; an early end of the wait does not cancel it.
 * @param awaited The awaited thing, as a noun for the error.
 * @param options Deadline and signal.
 * @returns The value of the promise.
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
  // Race even after an abort: otherwise a rejection of the promise would have no handler.
  if (signal?.aborted) onAbort();
  signal?.addEventListener("abort", onAbort);
  try {
    return await Promise.race([early.promise, promise]);
  } finally {
    cancel?.();
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Longest possible timer, in milliseconds; a longer one would fire at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

interface Alarm {
  readonly dueAt: number;
  readonly ring: () => void;
}

const alarms = new Set<Alarm>();
let timer: { readonly dueAt: number; readonly signal: AbortSignal } | undefined;

/**
 * Schedules a callback, and returns a function that cancels it. All waits share one timer of `AbortSignal`: the first
 * `setTimeout` of a process makes the runtime load a module, which takes longer than the reply of a server nearby. A
 * timer of `AbortSignal` cannot be cleared: a later deadline uses the armed timer, which then arms the next. Without a
 * wait, nothing listens to the timer, and the process can exit.
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
  // A timer that fired without a listener does not fire again.
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
