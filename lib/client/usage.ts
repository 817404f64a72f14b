/**
 * The errors of whoever asks for something that cannot be meant.
 *
 * @module
 */

/** Thrown when a command line, or a command of a conversation, is wrong; the message says what, which value and what to do. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}

/** Thrown when the input cannot be sent as it was asked for. */
export class PayloadError extends Error {
  /** The name of the class. */
  override readonly name = "PayloadError";
}

/** The runtime puts this character in place of bytes that are not UTF-8. */
const REPLACEMENT = "\ufffd";

/**
 * Refuses a word of the command line whose bytes were not UTF-8: the runtime has put U+FFFD in their place. A real U+FFFD
 * looks the same, and is refused as well.
 *
 * @param what The name of the word in the error, which does not quote it.
 * @param word The word.
 * @param advice What to do instead.
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
    throw new UsageError(`${what} is not UTF-8, or has U+FFFD, which stands for such bytes: ${advice}`);
  }
}
