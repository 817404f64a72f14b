/**
 * Ctrl-C and SIGTERM for the command lines: the first signal asks to end, a later signal of a person ends at once.
 *
 * @module
 */

/**
 * A signal counts as the second from this many milliseconds after the first: 500. `deno task` passes each Ctrl-C on to
 * its child, which the terminal has signalled already: one Ctrl-C arrives twice within milliseconds.
 */
export const SECOND_SIGNAL_MS = 500;

/** Counts signals, and tells the meaning of each. */
export class SignalCounter {
  #firstAt: number | undefined;

  /**
   * Counts a signal.
   *
   * @param now Its time, in milliseconds, as of `performance.now()`.
   * @returns `first` asks to end; `repeated` came too soon for a person, and is ignored; `second` asks to end at once.
   *
   * @example
   * ```ts
   * import { SignalCounter } from "./signals.ts";
   * import { assertEquals } from "@std/assert";
   *
   * const counter = new SignalCounter();
   * assertEquals([10_000, 10_004, 10_500].map((now) => counter.take(now)), ["first", "repeated", "second"]);
   * ```
   */
  take(now: number): "first" | "repeated" | "second" {
    if (this.#firstAt === undefined) {
      this.#firstAt = now;
      return "first";
    }
    return now - this.#firstAt < SECOND_SIGNAL_MS ? "repeated" : "second";
  }
}

/** A listener for signals, from {@linkcode listenForSignals}; dispose of the listener to listen no more. */
export interface SignalListener extends Disposable {
  /** Aborts at the first signal. */
  readonly signal: AbortSignal;
  /** Counts a Ctrl-C that is no signal: a terminal in raw mode sends a character instead. */
  readonly interrupt: () => void;
}

/**
 * Listens for SIGINT and, except on Windows, SIGTERM. Only a command line calls this.
 *
 * @param endAtOnce Called at the second signal, from {@linkcode SECOND_SIGNAL_MS} after the first on.
 * @returns The listener.
 *
 * @example
 * ```ts
 * import { listenForSignals } from "./signals.ts";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = listenForSignals(() => Deno.exit(130));
 * assertEquals(listener.signal.aborted, false);
 * ```
 */
export function listenForSignals(endAtOnce: () => void): SignalListener {
  const controller = new AbortController();
  const counter = new SignalCounter();
  const onSignal = () => {
    const meaning = counter.take(performance.now());
    if (meaning === "first") controller.abort();
    else if (meaning === "second") endAtOnce();
  };
  const names: readonly Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const name of names) Deno.addSignalListener(name, onSignal);
  return {
    signal: controller.signal,
    interrupt: onSignal,
    [Symbol.dispose]() {
      for (const name of names) Deno.removeSignalListener(name, onSignal);
    },
  };
}
