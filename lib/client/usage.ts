/**
 * Errors of the user: a wrong command line or input.
 *
 * @module
 */

/** Thrown when a command line, or a command of a conversation, is wrong; the message names thing, value and remedy. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}

/** Thrown when the input cannot be sent as requested. */
export class PayloadError extends Error {
  /** The name of the class. */
  override readonly name = "PayloadError";
}

/** The runtime's replacement for bytes that are not UTF-8. */
const REPLACEMENT = "\ufffd";

/**
 * Rejects a word of the command line with U+FFFD, which the runtime puts in place of bytes that are not UTF-8. A real
 * U+FFFD looks the same, and is rejected as well.
 *
 * @param what The name of the word in the error; the word itself is not quoted.
 * @param word The word.
 * @param advice The remedy.
 * @throws {UsageError} If the word has U+FFFD in it.
 *
 * @example
 * ```ts
 * import { assertUtf8 } from "./usage.ts";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => assertUtf8("Option --reply", "a\ufffdb", "give text"), Error, "Option --reply is not UTF-8");
 * ```
 */
export function assertUtf8(what: string, word: string, advice: string): void {
  if (word.includes(REPLACEMENT)) {
    throw new UsageError(`${what} is not UTF-8, or has U+FFFD in place of such bytes: ${advice}`);
  }
}
