/**
 * The error of whoever asks for something that cannot be meant.
 *
 * @module
 */

/** Thrown when a command line, or a command of a conversation, is wrong; the message says what, which value and what to do. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
}
