/**
 * The environment, files and terminal of this process, within its permissions.
 *
 * @module
 */

import type { ReadVariable } from "./command_line.ts";
import { assertUtf8, UsageError } from "../client/usage.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";

/** The surroundings of a command line: variables and files. */
export interface Environment {
  /** The value of a variable; `undefined` without the variable or its permission. */
  readonly variable: ReadVariable;
  /** Whether a variable may be read: without the permission, its value may go unseen. */
  mayRead(name: string): boolean;
  /** Names of the variables that are not empty and may be read; empty if the permissions allow no list. */
  names(): readonly string[];
  /** The bytes of a file. */
  readFile(path: string): Promise<Uint8Array>;
}

/** The environment and the files of this process. */
export const PROCESS: Environment = {
  variable: (name) => PROCESS.mayRead(name) ? readVariable(name) : undefined,
  mayRead: (name) => Deno.permissions.querySync({ name: "env", variable: name }).state === "granted",
  names: listVariables,
  readFile: (path) => Deno.readFile(path),
};

/** The runtime's error quotes the value, which may be a secret; a task may have replaced bytes by U+FFFD. */
function readVariable(name: string): string | undefined {
  try {
    const value = Deno.env.get(name);
    if (value !== undefined) assertUtf8(`Variable ${name}`, value, "give UTF-8 without U+FFFD");
    return value;
  } catch (error) {
    if (!(error instanceof Deno.errors.InvalidData)) throw error;
    throw new UsageError(`Variable ${name} is not UTF-8: give UTF-8`);
  }
}

/**
 * The runtime lists the environment with `--allow-env`, or with `--allow-env=WSPROOF_* --ignore-env`, which hides all
 * other names. With `--allow-env=WSPROOF_*` alone it asks for more, in a terminal with a prompt.
 */
function listVariables(): readonly string[] {
  if (Deno.permissions.querySync({ name: "env" }).state === "prompt") return [];
  try {
    return Object.entries(Deno.env.toObject()).flatMap(([name, value]) => value === "" ? [] : [name]);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return [];
    throw error;
  }
}

/** Environment variables that describe the terminal. */
export const TERMINAL_VARIABLES = ["COLUMNS", "TERM"] as const;

/** Least width of a line, in columns: 40. */
export const MIN_COLUMNS = 40;

type Variables = Pick<Environment, "variable">;

/**
 * Tells the width of an output: COLUMNS, else the width of the terminal.
 *
 * @param output The output.
 * @param environment The source of COLUMNS.
 * @returns The columns, at least {@linkcode MIN_COLUMNS}; `undefined` without a terminal and without COLUMNS.
 *
 * @example
 * ```ts
 * import { columnsOf } from "./environment.ts";
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

/** The width of the terminal; 0 if unknown. */
function consoleColumns(): number {
  try {
    return Deno.consoleSize().columns;
  } catch {
    return 0;
  }
}

/**
 * Tells whether a prompt can edit lines: in a terminal of both directions that can move its cursor.
 *
 * @param environment The source of TERM.
 * @returns Whether it can.
 *
 * @example
 * ```ts
 * import { canEdit } from "./environment.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(canEdit({ variable: () => "dumb" }), false);
 * ```
 */
export function canEdit({ variable }: Variables = PROCESS): boolean {
  return Deno.stdin.isTerminal() && Deno.stdout.isTerminal() && variable("TERM") !== "dumb";
}
