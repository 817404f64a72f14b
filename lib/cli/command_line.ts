/**
 * What both command lines share: options, values and their errors. Pure: words in, values out.
 *
 * @module
 */

import { parseArgs } from "@std/cli/parse-args";
import { UsageError } from "../client/usage.ts";

export { UsageError } from "../client/usage.ts";

/** One option of a command line. */
export interface OptionSpec {
  /** The long name, without the dashes. */
  readonly name: string;
  /** The letter of the short form. */
  readonly short?: string;
  /** What the help calls the value; an option without it is a flag. */
  readonly value?: string;
  /** What to do to give bytes that are not UTF-8, which no value can have. */
  readonly otherBytes?: string;
  /** What it does, as lines of the help text. */
  readonly help: readonly string[];
}

/** A command line, sorted into options and the rest. */
export interface CommandLine {
  /** Whether a flag was given. */
  has(name: string): boolean;
  /** The value of an option, the last one if it was given more than once. */
  value(name: string): string | undefined;
  /** Every value of an option, in order. */
  values(name: string): string[];
  /** The words that belong to no option. */
  readonly operands: readonly string[];
}

/**
 * Sorts the words of a command line.
 *
 * @param args The words.
 * @param specs The options there are.
 * @returns The options and the operands; all that follows `--` is an operand.
 * @throws {UsageError} For an option that does not exist, naming the nearest; for a value that is missing or not wanted,
 * and for a word whose bytes are not UTF-8.
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
export function parseCommandLine(args: readonly string[], specs: readonly OptionSpec[]): CommandLine {
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

/** What the runtime makes of bytes of the command line, or of a variable, that are not UTF-8. */
const REPLACEMENT = "\ufffd";

/**
 * Refuses a word of the command line whose bytes were not UTF-8: the runtime has put U+FFFD in their place, so that the
 * word is not what was given. The character itself looks the same and is refused as well.
 *
 * @param what What the word is, for the error, which does not quote it.
 * @param word The word.
 * @param advice What to do instead.
 * @throws {UsageError} If the word has U+FFFD in it.
 *
 * @example
 * ```ts
 * import { assertUtf8 } from "./command_line.ts";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => assertUtf8("Option --reply", "a\ufffdb", "give text"), Error, "Option --reply is not UTF-8");
 * ```
 */
export function assertUtf8(what: string, word: string, advice: string): void {
  if (word.includes(REPLACEMENT)) {
    throw new UsageError(`${what} is not UTF-8, or has U+FFFD, which stands for such bytes: ${advice}`);
  }
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
    if (joined !== undefined) throw new UsageError(`Option ${shown} takes no value: leave out "${joined}"`);
    return `--${spec.name}`;
  }
  const value = joined ?? rest.shift();
  if (value === undefined) throw new UsageError(`Option ${shown} needs a value: ${shown} ${spec.value}`);
  assertUtf8(`Option ${shown}`, value, spec.otherBytes ?? "give UTF-8 without it");
  return `--${spec.name}=${value}`;
}

function specFor(shown: string, specs: readonly OptionSpec[]): OptionSpec {
  const spec = specs.find(({ name, short }) => shown === `--${name}` || (short !== undefined && shown === `-${short}`));
  if (spec) return spec;
  const names = specs.flatMap(({ name, short }) => short === undefined ? [`--${name}`] : [`--${name}`, `-${short}`]);
  const [nearest] = names.map((name) => ({ name, edits: editsBetween(shown, name) })).sort((a, b) => a.edits - b.edits);
  const isNear = nearest !== undefined && nearest.edits <= MAX_EDITS && nearest.edits < shown.length / 2;
  const advice = isNear && shown.startsWith("--") ? `did you mean ${nearest.name}?` : "--help lists them";
  throw new UsageError(`Option ${shown} does not exist: ${advice}`);
}

/** How many letters a misspelt option may be off to be recognised. */
const MAX_EDITS = 3;

/** The Levenshtein distance: how many letters have to be put in, left out or replaced. */
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
 * @returns Lines; the options in one column, what they do in another, below one that is too long for its column.
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
export function describeOptions(specs: readonly OptionSpec[]): string[] {
  return specs.flatMap(({ name, short, value, help }) => {
    const letter = short === undefined ? "    " : `-${short}, `;
    const option = `  ${letter}--${name}${value === undefined ? "" : ` ${value}`}`;
    const isLong = option.length >= HELP_COLUMN;
    const lines = help.map((line, index) => `${(index === 0 && !isLong ? option : "").padEnd(HELP_COLUMN)}${line}`);
    return isLong ? [option, ...lines] : lines;
  });
}

const HELP_COLUMN = 30;

/**
 * Reads a size.
 *
 * @param option The option, for the error.
 * @param text A whole number of bytes, or one with the suffix KiB, MiB or GiB.
 * @returns The size in bytes.
 * @throws {UsageError} If it is something else.
 *
 * @example
 * ```ts
 * import { parseSize } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseSize("--size", "64KiB"), 65536);
 * ```
 */
export function parseSize(option: string, text: string): number {
  const [, digits, suffix] = /^(\d+)(B|KiB|MiB|GiB)?$/i.exec(text) ?? [];
  const bytes = Number(digits) * (SIZE_SUFFIXES[(suffix ?? "b").toLowerCase()] ?? NaN);
  if (!Number.isSafeInteger(bytes)) {
    throw new UsageError(`Option ${option} cannot be "${text}": give bytes, or a number with KiB, MiB or GiB`);
  }
  return bytes;
}

const SIZE_SUFFIXES: Record<string, number> = { b: 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };

/**
 * Reads a duration in seconds.
 *
 * @param option The option, for the error.
 * @param text Seconds, with decimals if need be; above 0 and at most 86400 (a day).
 * @returns The duration in milliseconds.
 * @throws {UsageError} If it is something else.
 *
 * @example
 * ```ts
 * import { parseSeconds } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseSeconds("--reply-timeout", "0.5"), 500);
 * ```
 */
export function parseSeconds(option: string, text: string): number {
  const seconds = /^(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN;
  if (!(seconds > 0 && seconds <= MAX_SECONDS)) {
    throw new UsageError(`Option ${option} cannot be "${text}": give seconds, above 0 and at most ${MAX_SECONDS}`);
  }
  return seconds * 1000;
}

const MAX_SECONDS = 86400;

/**
 * Reads a whole number.
 *
 * @param option The option, for the error.
 * @param text The digits.
 * @param min The least that is allowed.
 * @param max The most that is allowed.
 * @returns The number.
 * @throws {UsageError} If it is something else.
 *
 * @example
 * ```ts
 * import { parseWhole } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseWhole("--port", "6455", 0, 65535), 6455);
 * ```
 */
export function parseWhole(option: string, text: string, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= min && value <= max)) {
    throw new UsageError(`Option ${option} cannot be "${text}": give a whole number from ${min} to ${max}`);
  }
  return value;
}
