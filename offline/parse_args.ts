/**
 * Stand-in for `@std/cli/parse-args` where JSR cannot be reached: the part that this project uses, over `node:util`.
 *
 * @module
 */

import { parseArgs as parse } from "node:util";

/** Options of {@linkcode parseArgs}. */
export interface ParseOptions {
  /** Names that are flags: `false` unless given. */
  boolean?: readonly string[];
  /** Names whose values stay strings. */
  string?: readonly string[];
  /** Names that may be given more than once: their values are an array, empty unless given. */
  collect?: readonly string[];
}

/**
 * Sorts the words of a command line. Takes only the forms `--name`, `--name=value` and operands, and treats all that
 * follows `--` as operands.
 *
 * @param args The words.
 * @param options The names.
 * @returns The values by name, and the operands as `_`.
 */
export function parseArgs(
  args: readonly string[],
  options: ParseOptions = {},
): Record<string, unknown> & { _: string[] } {
  const { boolean = [], string = [], collect = [] } = options;
  const { values, positionals } = parse({
    args: [...args],
    options: {
      ...Object.fromEntries(boolean.map((name) => [name, { type: "boolean" as const, default: false }])),
      ...Object.fromEntries(
        string.map((name) => [name, { type: "string" as const, multiple: collect.includes(name) }]),
      ),
    },
    allowPositionals: true,
    strict: true,
  });
  const empty = Object.fromEntries(collect.map((name) => [name, []]));
  return { ...empty, ...values, _: positionals };
}
