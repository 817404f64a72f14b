/**
 * The words of a command line, and the variables of its options. Pure: words in, texts out.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { assertUtf8, UsageError } from "../client/usage.ts";
import { DEFAULT_COLUMNS, wrap } from "../client/wrap.ts";
import { escapeUnprintable, withoutCredentials } from "../protocol/message.ts";

export { UsageError } from "../client/usage.ts";

/** The words of an option. */
export interface OptionSpec {
  /** The long name, without the dashes. */
  readonly name: string;
  /** The letter of the short form. */
  readonly short?: string;
  /** The name of the value in the help; a flag has none. */
  readonly value?: string;
  /** A way to give bytes that are not UTF-8, which no value can hold; for the error. */
  readonly otherBytes?: string;
  /** The sentences of the help text. */
  readonly help: readonly string[];
  /** Possible values, where they are few. */
  readonly choices?: readonly string[];
  /** Whether the option may be repeated; spaces separate the values in its variable. */
  readonly isList?: boolean;
  /** The contents of its variable: its value, the content of the file that it names, or no variable. Default: `value`. */
  readonly variable?: "value" | "content" | "none";
  /** A synonym: on the command line it wins over the variable of this option. */
  readonly overruledBy?: string;
}

/** A command line, sorted into options and operands. */
export interface CommandLine {
  /** Whether a flag was given. */
  has(name: string): boolean;
  /** The value of an option, the last one if it was given more than once. */
  value(name: string): string | undefined;
  /** Every value of an option, in order. */
  values(name: string): string[];
  /** The words that belong to no option. */
  readonly operands: readonly string[];
  /** The options that only the environment gives. */
  readonly variables: ReadonlySet<string>;
}

/** Reads a variable of the environment; `undefined` if there is none. */
export type ReadVariable = (name: string) => string | undefined;

/**
 * Names the environment variable of an option.
 *
 * @param option The name of the option.
 * @returns The name of the variable. `1` or `true` in it sets a flag, spaces separate the values of a list.
 *
 * @example
 * ```ts
 * import { variableOf } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(variableOf("max-message"), "WSPROOF_MAX_MESSAGE");
 * ```
 */
export function variableOf(option: string): string {
  return `${PREFIX}${option.toUpperCase().replaceAll("-", "_")}`;
}

const PREFIX = "WSPROOF_";

/**
 * Sorts the words of a command line.
 *
 * @param args The words.
 * @param specs The options of the command.
 * @param readVariable Reads the options' variables; by default no variable counts.
 * @returns The options and the operands; each word after `--` is an operand. The command line wins over a variable; an
 * empty variable counts as none.
 * @throws {UsageError} For an unknown option, naming the nearest; for a missing or unwanted value, and for a word that
 * is not UTF-8.
 *
 * @example
 * ```ts
 * import { parseCommandLine } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const specs = [{ name: "message", short: "m", value: "TEXT", help: [] }];
 * const line = parseCommandLine(["-m", "-5", "ws://127.0.0.1/"], specs);
 * assertEquals(line.value("message"), "-5");
 * assertEquals(line.operands, ["ws://127.0.0.1/"]);
 * ```
 */
export function parseCommandLine(
  args: readonly string[],
  specs: readonly OptionSpec[],
  readVariable: ReadVariable = () => undefined,
): CommandLine {
  const given = sortWords(args, specs);
  const variables = new Set<string>();
  const words = specs.flatMap((spec) => {
    const { name, variable = "value", overruledBy = name } = spec;
    if (variable !== "value" || isGiven(given, name) || isGiven(given, overruledBy)) return [];
    const text = readVariable(variableOf(name)) ?? "";
    if (text === "") return [];
    variables.add(name);
    return wordsOf(spec, text);
  });
  return { ...(words.length === 0 ? given : sortWords([...words, ...args], specs)), variables };
}

function isGiven(line: SortedWords, name: string): boolean {
  return line.has(name) || line.value(name) !== undefined;
}

/** The words equivalent to a variable. */
function wordsOf({ name, value, isList = false }: OptionSpec, text: string): string[] {
  if (value !== undefined) return (isList ? text.trim().split(/\s+/) : [text]).map((each) => `--${name}=${each}`);
  if (/^(1|true)$/i.test(text)) return [`--${name}`];
  if (/^(0|false)$/i.test(text)) return [];
  throw new UsageError(`Variable ${variableOf(name)} cannot be "${text}": give 1 or 0`);
}

type SortedWords = Omit<CommandLine, "variables">;

function sortWords(args: readonly string[], specs: readonly OptionSpec[]): SortedWords {
  const withValue = specs.filter((spec) => spec.value !== undefined).map((spec) => spec.name);
  const parsed: Record<string, unknown> = parseArgs(joinValues(args, specs), {
    boolean: specs.filter((spec) => spec.value === undefined).map((spec) => spec.name),
    string: [...withValue, "_"],
    collect: withValue,
  });
  const values = (name: string) => stringsOf(parsed[name]);
  return {
    has: (name) => parsed[name] === true,
    value: (name) => values(name).at(-1),
    values,
    operands: stringsOf(parsed["_"]).map((operand) => {
      assertUtf8("An argument", operand, "in a URL write such bytes percent-encoded, as %FF");
      return operand;
    }),
  };
}

function stringsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

/** Brings every option into the form `--name` or `--name=value`, so that a value may begin with a dash. */
function joinValues(args: readonly string[], specs: readonly OptionSpec[]): string[] {
  const words: string[] = [];
  const operands: string[] = [];
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === "--") return [...words, word, ...operands, ...rest];
    if (!word.startsWith("-") || word === "-") {
      operands.push(word);
    } else if (word.startsWith("--")) {
      const [, name = "", joined] = /^--([^=]*)(?:=(.*))?$/s.exec(word) ?? [];
      words.push(optionWord(specFor(`--${name}`, specs), `--${name}`, joined, rest));
    } else {
      for (let letters = word.slice(1); letters !== "";) {
        const [letter = ""] = letters;
        const shown = `-${letter}`;
        const spec = specFor(shown, specs);
        const after = letters.slice(letter.length);
        const isLast = spec.value !== undefined || after.startsWith("=");
        words.push(optionWord(spec, shown, isLast && after !== "" ? after.replace(/^=/, "") : undefined, rest));
        letters = isLast ? "" : after;
      }
    }
  }
  return [...words, "--", ...operands];
}

function optionWord(spec: OptionSpec, shown: string, joined: string | undefined, rest: string[]): string {
  if (spec.value === undefined) {
    if (joined !== undefined) {
      throw new UsageError(`Option ${shown} takes no value: leave out "${withoutCredentials(joined)}"`);
    }
    return `--${spec.name}`;
  }
  const value = joined ?? rest.shift();
  if (value === undefined) throw new UsageError(`Option ${shown} needs a value: ${shown} ${spec.value}`);
  assertUtf8(`Option ${shown}`, value, spec.otherBytes ?? "give UTF-8 without U+FFFD");
  return `--${spec.name}=${value}`;
}

function specFor(shown: string, specs: readonly OptionSpec[]): OptionSpec {
  const spec = specs.find(({ name, short }) => shown === `--${name}` || (short !== undefined && shown === `-${short}`));
  if (spec) return spec;
  const names = specs.flatMap(({ name, short }) => short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`]);
  const nearest = shown.startsWith("--") ? nearestOf(shown, names) : undefined;
  const advice = nearest === undefined ? "--help lists them" : `did you mean ${nearest}?`;
  throw new UsageError(`Option ${withoutCredentials(shown)} does not exist: ${advice}`);
}

/**
 * Reports `WSPROOF_` variables that stand for no option. They are no error, as others use the prefix too: Kubernetes
 * sets `WSPROOF_SERVICE_HOST` for a service of this name, and scripts have their own variables.
 *
 * @param names Names of the environment's variables.
 * @param specs The options of the command.
 * @returns One line, with the nearest known variable beside each name; empty if every name stands for an option.
 *
 * @example
 * ```ts
 * import { unknownVariables } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const specs = [{ name: "port", value: "PORT", help: [] }];
 * assertEquals(
 *   unknownVariables(["HOME", "WSPROOF_PROT"], specs),
 *   "The server ignores variables that match no option: WSPROOF_PROT (did you mean WSPROOF_PORT?)",
 * );
 * ```
 */
export function unknownVariables(names: readonly string[], specs: readonly OptionSpec[]): string {
  const options = specs.filter(({ variable }) => variable !== "none").map(({ name }) => name);
  const variables = new Set(options.map(variableOf));
  const unknown = names.filter((name) => name.startsWith(PREFIX) && !variables.has(name)).sort().map((name) => {
    // Compared as options: the common prefix would count as likeness.
    const option = `--${name.slice(PREFIX.length).toLowerCase().replaceAll("_", "-")}`;
    const nearest = nearestOf(option, options.map((name) => `--${name}`));
    return escapeUnprintable(name) + (nearest === undefined ? "" : ` (did you mean ${variableOf(nearest.slice(2))}?)`);
  });
  return unknown.length === 0 ? "" : `The server ignores variables that match no option: ${unknown.join(", ")}`;
}

/**
 * Finds the probable meaning of a misspelt name.
 *
 * @param shown The misspelt name.
 * @param names All names.
 * @returns The name at most 3 letters and less than half of the misspelt name away; `undefined` if there is none.
 *
 * @example
 * ```ts
 * import { nearestOf } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(nearestOf("sevre", ["check", "serve"]), "serve");
 * assertEquals(nearestOf("world", ["check", "serve"]), undefined);
 * ```
 */
export function nearestOf(shown: string, names: readonly string[]): string | undefined {
  const [nearest] = names.map((name) => ({ name, edits: editsBetween(shown, name) })).sort((a, b) => a.edits - b.edits);
  if (nearest === undefined || nearest.edits > MAX_EDITS || nearest.edits >= shown.length / 2) return undefined;
  return nearest.name;
}

/** Most edits between a misspelt name and its match. */
const MAX_EDITS = 3;

/** The Levenshtein distance: the least number of letters to insert, delete or replace. */
function editsBetween(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      next.push(Math.min((row[j] ?? 0) + (letter === other ? 0 : 1), (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}

/**
 * Writes the option part of a help text.
 *
 * @param specs The options, in the order of the text.
 * @param columns The columns of the terminal; 80 by default.
 * @returns Lines of two columns: the options and their help. An option too long for its column has a line of its own.
 *
 * @example
 * ```ts
 * import { describeOptions } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const specs = [{ name: "port", value: "PORT", help: ["Port to listen on"] }];
 * assertEquals(describeOptions(specs), ["      --port PORT             Port to listen on"]);
 * ```
 */
export function describeOptions(specs: readonly OptionSpec[], columns: number = DEFAULT_COLUMNS): string[] {
  return specs.flatMap(({ name, short, value, help }) => {
    const letter = short === undefined ? "    " : `-${short}, `;
    return describeEntry(`  ${letter}--${name}${value === undefined ? "" : ` ${value}`}`, help.join(" "), columns);
  });
}

/**
 * Writes one entry of a help text.
 *
 * @param entry The option or the command, with its indent.
 * @param help The explanation.
 * @param columns The columns of the terminal; 80 by default.
 * @returns Lines of two columns: the entry and its help. An entry too long for its column has a line of its own.
 *
 * @example
 * ```ts
 * import { describeEntry } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeEntry("  /ping", "Show a round-trip time"), ["  /ping                       Show a round-trip time"]);
 * ```
 */
export function describeEntry(entry: string, help: string, columns: number = DEFAULT_COLUMNS): string[] {
  const lines = wrap(help, { first: columns - HELP_COLUMN }).map((line) => " ".repeat(HELP_COLUMN) + line);
  if (entry.length >= HELP_COLUMN) return [entry, ...lines];
  const [first = "", ...others] = lines;
  return [entry.padEnd(HELP_COLUMN) + first.slice(HELP_COLUMN), ...others];
}

/** Column of the explanations in a help. */
const HELP_COLUMN = 30;
