/**
 * The kinds of options, and the source of their values: one reader and one wording of errors for client, server, lab
 * and handler, on the command line and in the environment.
 *
 * @module
 */

import { withoutCredentials, withoutSecrets } from "../protocol/message.ts";
import { type CommandLine, type OptionSpec, UsageError, variableOf } from "./command_line.ts";

/**
 * Makes the error for a value, as `Option --size cannot be "x": give bytes`; by default it shows the value, without a password.
 */
export type Refuse = (advice: string, shown?: string) => Error;

/** One option: its words, and the meaning of its value. */
export interface Option<T = unknown> extends OptionSpec {
  /** Parses a value; throws the error of `refuse`. */
  readonly read: (text: string, refuse: Refuse) => T;
  /** Ways to run the program that exclude the option, in the user's words: `--lab`. */
  readonly notWith?: readonly string[];
}

/** An option without a value. */
export function flag(spec: Omit<Option, "value" | "read">): Option<true> {
  return { ...spec, read: () => true };
}

/** An option with any text. */
export function text(spec: Omit<Option, "read">): Option<string> {
  return { ...spec, read: (text) => text };
}

/** An option with the path of a file, a folder or a socket: a URL there may have a password, which later errors would quote. */
export function path(spec: Omit<Option, "read">): Option<string> {
  return {
    ...spec,
    read: (text, refuse) => {
      if (text.includes("://")) throw refuse("give a path", withoutSecrets(text));
      return text;
    },
  };
}

/** An option with a size in bytes, `min` by default 0. */
export function size({ min = 0, ...spec }: Omit<Option, "read"> & { min?: 0 | 1 }): Option<number> {
  return { ...spec, read: (text, refuse) => readSize(text, refuse, min) };
}

/** An option with a whole number from `min` to `max`. */
export function whole({ min, max, ...spec }: Omit<Option, "read"> & { min: number; max: number }): Option<number> {
  return { ...spec, read: (text, refuse) => readWhole(text, refuse, min, max) };
}

/** An option with seconds; its value is in milliseconds. */
export function seconds(spec: Omit<Option, "read">): Option<number> {
  return { ...spec, read: readSeconds };
}

/** An option with one of a few words. */
export function choice<T extends string>(
  { choices, ...spec }: Omit<Option, "read" | "choices"> & { choices: readonly T[] },
): Option<T> {
  return {
    ...spec,
    choices,
    read: (text, refuse) => {
      const chosen = choices.find((each) => each === text);
      if (chosen !== undefined) return chosen;
      throw refuse(`give ${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`);
    },
  };
}

/**
 * Reads a size: a whole number of bytes, or one with the suffix KiB, MiB or GiB.
 *
 * @param text The text.
 * @param refuse Makes the error.
 * @param min The least size, in bytes.
 * @returns The size in bytes, at most `Number.MAX_SAFE_INTEGER`.
 * @throws {UsageError} If the text is something else.
 *
 * @example
 * ```ts
 * import { readSize } from "./options.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(readSize("64KiB", (advice) => new Error(advice), 1), 65536);
 * ```
 */
export function readSize(text: string, refuse: Refuse, min: 0 | 1): number {
  const [, digits, suffix] = /^(\d+)(B|KiB|MiB|GiB)?$/i.exec(text) ?? [];
  const bytes = Number(digits) * (SIZE_SUFFIXES[(suffix ?? "b").toLowerCase()] ?? NaN);
  if (!Number.isSafeInteger(bytes)) throw refuse("give bytes, or a number with KiB, MiB or GiB", shownValue(text));
  if (bytes < min) throw refuse("give at least 1 byte", shownValue(text));
  return bytes;
}

const SIZE_SUFFIXES: Record<string, number> = { b: 1, kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3 };

/**
 * Reads a whole number.
 *
 * @param text The digits.
 * @param refuse Makes the error.
 * @param min The least number.
 * @param max The greatest number.
 * @returns The number.
 * @throws {UsageError} If the text is something else.
 *
 * @example
 * ```ts
 * import { readWhole } from "./options.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(readWhole("6455", (advice) => new Error(advice), 0, 65535), 6455);
 * ```
 */
export function readWhole(text: string, refuse: Refuse, min: number, max: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= min && value <= max)) throw refuse(`give a whole number from ${min} to ${max}`, shownValue(text));
  return value;
}

/** Reads seconds, with decimals if need be, above 0 and at most 86400 (a day), as milliseconds. */
function readSeconds(text: string, refuse: Refuse): number {
  const seconds = /^(\d+\.?\d*|\.\d+)$/.test(text) ? Number(text) : NaN;
  if (!(seconds > 0 && seconds <= MAX_SECONDS)) throw refuse(`give seconds, above 0 and at most ${MAX_SECONDS}`);
  return seconds * 1000;
}

const MAX_SECONDS = 86400;

/** Source of option values: a command line with its environment. Every error names the place of the value. */
export class Source {
  readonly #line: CommandLine;

  /**
   * Takes a command line.
   *
   * @param line The command line.
   *
   * @example
   * ```ts
   * import { parseCommandLine } from "./command_line.ts";
   * import { size, Source } from "./options.ts";
   * import { assertEquals, assertThrows } from "@std/assert";
   *
   * const limit = size({ name: "limit", value: "BYTES", help: [] });
   * const source = new Source(parseCommandLine(["--limit", "1KiB"], [limit]));
   * assertEquals(source.value(limit), 1024);
   *
   * const environment = new Source(parseCommandLine([], [limit], () => "few"));
   * assertThrows(() => environment.value(limit), Error, 'Variable WSPROOF_LIMIT cannot be "few": give bytes');
   * ```
   */
  constructor(line: CommandLine) {
    this.#line = line;
  }

  /** The words that belong to no option. */
  get operands(): readonly string[] {
    return this.#line.operands;
  }

  /** Whether an option was given, with a value or as a flag. */
  has({ name }: Option): boolean {
    return this.#line.has(name) || this.#line.value(name) !== undefined;
  }

  /**
   * Reads the value of an option, the last one if it was given more than once.
   *
   * @param option The option.
   * @returns The value; `undefined` if it was not given.
   * @throws {UsageError} If the option cannot have this value.
   */
  value<T>(option: Option<T>): T | undefined {
    const text = this.#line.value(option.name);
    return text === undefined ? undefined : this.#read(option, text);
  }

  /**
   * Reads every value of an option.
   *
   * @param option The option.
   * @returns The values, in order.
   * @throws {UsageError} If the option cannot have one of them.
   */
  values<T>(option: Option<T>): T[] {
    return this.#line.values(option.name).map((text) => this.#read(option, text));
  }

  /**
   * Makes the error for a value that does not go with other options.
   *
   * @param option The option.
   * @param advice What to do.
   * @param shown The value as the error shows it; by default the last value, quoted, without a password.
   * @returns The error to throw.
   */
  refusal(option: Option, advice: string, shown = shownValue(this.#line.value(option.name))): UsageError {
    return this.error(option, `cannot be ${shown}: ${advice}`);
  }

  /**
   * Makes an error about an option.
   *
   * @param option The option.
   * @param words The problem, and what to do.
   * @returns The error to throw.
   */
  error(option: Option, words: string): UsageError {
    return new UsageError(`${this.#nameOf(option)} ${words}`);
  }

  /**
   * Refuses options that exclude each other.
   *
   * @param options The options.
   * @throws {UsageError} If more than one of them was given.
   */
  assertOneOf(options: readonly Option[]): void {
    const [first, second] = options.filter((option) => this.has(option));
    if (first === undefined || second === undefined) return;
    throw new UsageError(`Options --${first.name} and --${second.name} exclude each other: give one of them`);
  }

  /**
   * Refuses options that do not go with a way to run the program.
   *
   * @param way The way, as in {@linkcode Option.notWith}.
   * @param options The options of the command.
   * @throws {UsageError} If a given option names the way.
   */
  assertGoWith(way: string, options: readonly Option[]): void {
    const wrong = options.find((option) => option.notWith?.includes(way) && this.has(option));
    if (wrong !== undefined) throw this.error(wrong, `cannot be used with ${way}: leave it out`);
  }

  /**
   * Refuses operands, for a command that takes none.
   *
   * @param command The subject of the error.
   * @throws {UsageError} If there is one.
   */
  assertNoOperand(command: string): void {
    const [operand] = this.operands;
    if (operand !== undefined) throw new UsageError(`${command} takes no operand: leave out ${shownValue(operand)}`);
  }

  #read<T>(option: Option<T>, text: string): T {
    return option.read(text, (advice, shown = shownValue(text)) => this.refusal(option, advice, shown));
  }

  #nameOf({ name }: Option): string {
    return this.#line.variables.has(name) ? `Variable ${variableOf(name)}` : `Option --${name}`;
  }
}

function shownValue(text = ""): string {
  return `"${withoutCredentials(text)}"`;
}

/**
 * Drops absent properties, so that later code applies the defaults.
 *
 * @param values The properties: `undefined`, or an empty list, for an absent option.
 * @returns The other properties.
 *
 * @example
 * ```ts
 * import { defined } from "./options.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(defined({ port: 6455, hostname: undefined, protocols: [] }), { port: 6455 });
 * ```
 */
export function defined<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> };
export function defined(values: object): object {
  const isGiven = (value: unknown) => value !== undefined && !(Array.isArray(value) && value.length === 0);
  return Object.fromEntries(Object.entries(values).filter(([, value]) => isGiven(value)));
}
