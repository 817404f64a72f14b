/**
 * Stand-in for `@std/cli/parse-args` where JSR cannot be reached: the part that this project uses.
 *
 * @module
 */

/** Options of {@linkcode parseArgs}. */
export interface ParseOptions {
  /** Names of flags: `false` unless given. */
  boolean?: readonly string[];
  /** Names whose values stay strings. */
  string?: readonly string[];
  /** Names that may be repeated: their values are an array, empty unless given. */
  collect?: readonly string[];
}

/**
 * Sorts the words of a command line. Takes only the forms `--name`, `--name=value` and operands; all words after `--`
 * are operands.
 *
 * @param args The words.
 * @param options The names.
 * @returns The values by name, and the operands as `_`.
 */
export function parseArgs(
  args: readonly string[],
  options: ParseOptions = {},
): Record<string, unknown> & { _: string[] } {
  const { boolean = [], collect = [] } = options;
  const flags: Record<string, boolean> = Object.fromEntries(boolean.map((name) => [name, false]));
  const lists: Record<string, string[]> = Object.fromEntries(collect.map((name) => [name, []]));
  const singles: Record<string, string> = {};
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const operands: string[] = [];
  for (const word of args.slice(0, end)) {
    const [, name, value] = /^--([^=]+)(?:=(.*))?$/s.exec(word) ?? [];
    if (name === undefined) operands.push(word);
    else if (value === undefined) flags[name] = true;
    else if (lists[name]) lists[name].push(value);
    else singles[name] = value;
  }
  return { ...flags, ...singles, ...lists, _: [...operands, ...args.slice(end + 1)] };
}
