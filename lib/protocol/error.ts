/**
 * The error that the protocol modules throw when a peer breaks RFC 6455.
 *
 * @module
 */

/** The breaches with another close code than 1002 (RFC 6455 section 7.4.1). */
const OTHER_CLOSE_CODES = new Map<ProtocolErrorCode, 1007 | 1008 | 1009>([
  ["invalid-utf8", 1007],
  ["invalid-deflate", 1007],
  ["too-much-unread", 1008],
  ["inflates-too-much", 1008],
  ["message-too-big", 1009],
]);

/** The broken rule, as a stable word for programs. */
export type ProtocolErrorCode =
  | "unexpected-continuation"
  | "unfinished-message"
  | "invalid-utf8"
  | "message-too-big"
  | "invalid-close-payload"
  | "invalid-close-code"
  | "reserved-bits"
  | "unknown-opcode"
  | "fragmented-control"
  | "control-too-long"
  | "length-not-minimal"
  | "length-too-large"
  | "unmasked-frame"
  | "masked-frame"
  | "data-after-close"
  | "invalid-deflate"
  | "inflates-too-much"
  | "too-much-unread";

/**
 * Thrown when a peer breaks RFC 6455 or 7692. The error carries the close code of section 7.4.1 to fail the connection
 * with: 1002 (protocol error), 1007 (invalid data), 1008 (policy) or 1009 (message too big).
 *
 * @example
 * ```ts
 * import { ProtocolError } from "./error.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new ProtocolError("invalid-utf8", "Text is not UTF-8");
 * assertEquals(error.closeCode, 1007);
 * ```
 */
export class ProtocolError extends Error {
  /** The broken rule. */
  readonly code: ProtocolErrorCode;
  /** The close code to answer with. */
  readonly closeCode: 1002 | 1007 | 1008 | 1009;

  /**
   * Makes the error.
   *
   * @param code The broken rule.
   * @param message One line for a person.
   */
  constructor(code: ProtocolErrorCode, message: string) {
    super(message);
    this.name = "ProtocolError";
    this.code = code;
    this.closeCode = OTHER_CLOSE_CODES.get(code) ?? 1002;
  }
}

/**
 * Returns the text of a thrown value.
 *
 * @param error The thrown value.
 * @returns Its message, or the value as a string if it is no error.
 *
 * @example
 * ```ts
 * import { messageOf } from "./error.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([messageOf(new Error("no")), messageOf(42)], ["no", "42"]);
 * ```
 */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
