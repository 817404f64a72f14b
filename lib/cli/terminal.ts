/**
 * What the terminal can do: its width, and whether a line can be drawn again.
 *
 * @module
 */

import { type Environment, PROCESS } from "./environment.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";

/** The variables of the environment that describe the terminal. */
export const TERMINAL_VARIABLES = ["COLUMNS", "TERM"] as const;

/** No line is made shorter than this, in columns: 40. */
export const MIN_COLUMNS = 40;

type Variables = Pick<Environment, "variable">;

/**
 * Tells how wide lines may be on an output: as COLUMNS says, else as wide as the terminal.
 *
 * @param output The output.
 * @param environment Where COLUMNS may stand.
 * @returns The columns, at least {@linkcode MIN_COLUMNS}; `undefined` if the output is no terminal and COLUMNS is not set.
 *
 * @example
 * ```ts
 * import { columnsOf } from "./terminal.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const pipe = { isTerminal: () => false };
 * assertEquals(columnsOf(pipe, { variable: () => "120" }), 120);
 * assertEquals(columnsOf(pipe, { variable: () => undefined }), undefined);
 * ```
 */
export function columnsOf(
  output: { isTerminal(): boolean },
  { variable }: Variables = PROCESS,
): number | undefined {
  const given = Number(variable("COLUMNS"));
  if (Number.isSafeInteger(given) && given > 0) return Math.max(MIN_COLUMNS, given);
  if (!output.isTerminal()) return undefined;
  return Math.max(MIN_COLUMNS, consoleColumns() || DEFAULT_COLUMNS);
}

/** The width of the terminal; 0 where no terminal tells. */
function consoleColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 0;
  }
}

/**
 * Tells whether lines can be edited at a prompt: in a terminal of both directions that can move its cursor.
 *
 * @param environment Where TERM may stand.
 * @returns Whether they can.
 *
 * @example
 * ```ts
 * import { canEdit } from "./terminal.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(canEdit({ variable: () => "dumb" }), false);
 * ```
 */
export function canEdit({ variable }: Variables = PROCESS): boolean {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal() && variable("TERM") !== "dumb";
}
