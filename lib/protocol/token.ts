/**
 * Tokens: names of header fields, methods and subprotocols.
 *
 * @module
 */

/**
 * Tells whether text is a token (RFC 9110 section 5.6.2), as a subprotocol must be (RFC 6455 section 4.1).
 *
 * @param text The text.
 * @returns Whether the text is a token.
 *
 * @example
 * ```ts
 * import { isToken } from "./token.ts";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assert(isToken("chat.v2"));
 * assertFalse(isToken("a b"));
 * ```
 */
export function isToken(text: string): boolean {
  return /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(text);
}
