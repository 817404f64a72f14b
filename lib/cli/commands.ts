/**
 * Commands: the first word of wsproof's command line chooses one. Pure: words in, a choice out.
 *
 * @module
 */

import { type CommandLine, describeEntry, nearestOf, type OptionSpec, UsageError } from "./command_line.ts";

/** The entry of a command in a help. */
export interface CommandHelp {
  /** The words that may follow the name of the command. */
  readonly usage: string;
  /** The purpose of the command. */
  readonly help: string;
}

/** One command. */
export interface Command extends CommandHelp {
  /** The options of the command, for the completions of shells; none by default. */
  readonly options?: () => Promise<readonly OptionSpec[]>;
  /** The possible operands of the command, for the completions of shells; none by default. */
  readonly words?: () => Promise<readonly string[]>;
  /** Runs the command with the words behind it; resolves with the exit code. */
  run(args: readonly string[]): Promise<number>;
}

/** All commands, by name. */
export type Commands = Readonly<Record<string, Command>>;

/**
 * Finds the command that a command line begins with.
 *
 * @param args The words of the command line.
 * @param commands All commands.
 * @returns The command; `undefined` if the first word is an option or an operand.
 *
 * @example
 * ```ts
 * import { commandOf } from "./commands.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const serve = { usage: "[OPTIONS]", help: "Run the echo server", run: () => Promise.resolve(0) };
 * assertEquals(commandOf(["serve", "--port", "0"], { serve }), serve);
 * assertEquals(commandOf(["ws://127.0.0.1/"], { serve }), undefined);
 * ```
 */
export function commandOf([word = ""]: readonly string[], commands: Commands): Command | undefined {
  return Object.hasOwn(commands, word) ? commands[word] : undefined;
}

/**
 * Refuses an operand of letters only: a misspelt command, or a command behind the first word.
 *
 * @param line A command line that begins with no command.
 * @param commands All commands.
 * @throws {UsageError} If an operand consists of letters only, as no URL does.
 *
 * @example
 * ```ts
 * import { parseCommandLine } from "./command_line.ts";
 * import { refuseWords } from "./commands.ts";
 * import { assertThrows } from "@std/assert";
 *
 * const line = parseCommandLine(["sevre"], []);
 * assertThrows(() => refuseWords(line, {}), Error, '"sevre" is neither a command');
 * ```
 */
export function refuseWords(line: CommandLine, commands: Commands): void {
  const word = line.operands.find((operand) => /^[a-zA-Z]+$/.test(operand));
  if (word === undefined) return;
  if (Object.hasOwn(commands, word)) {
    throw new UsageError(`Command ${word} must be the first word: write wsproof ${word} ${commands[word]?.usage}`);
  }
  const names = Object.keys(commands);
  const nearest = nearestOf(word, names);
  const advice = line.value("message") !== undefined
    ? QUOTES_HINT
    : nearest === undefined
    ? `for a host of that name, write ws://${word}/`
    : `did you mean ${nearest}?`;
  throw new UsageError(`Operand "${word}" is neither a command (${names.join(", ")}) nor a URL: ${advice}`);
}

/** Advice for words behind a message. */
export const QUOTES_HINT = 'a message of several words needs quotes, as in -m "two words"';

/**
 * Writes the command part of a help text.
 *
 * @param commands The commands, in the order of the text.
 * @param columns The columns of the terminal; 80 by default.
 * @returns Lines of two columns.
 *
 * @example
 * ```ts
 * import { describeCommands } from "./commands.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const serve = { usage: "[OPTIONS]", help: "Run the echo server", run: () => Promise.resolve(0) };
 * assertEquals(describeCommands({ serve }), ["  serve [OPTIONS]             Run the echo server"]);
 * ```
 */
export function describeCommands(commands: Readonly<Record<string, CommandHelp>>, columns?: number): string[] {
  return Object.entries(commands).flatMap(([name, { usage, help }]) =>
    describeEntry(`  ${name} ${usage}`.trimEnd(), help, columns)
  );
}
