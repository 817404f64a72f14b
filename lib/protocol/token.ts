/**
 * Tokens, which names of header fields, methods and subprotocols are, and the white space around them.
 *
 * @module
 */

/**
 * Tells whether text is a token (RFC 9110 section 5.6.2), as a subprotocol has to be (RFC 6455 section 4.1).
 *
 * @param text The text.
 * @returns Whether it is one.
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

/**
 * Takes the white space of HTTP off both ends of a field value: spaces and tabs, and no others (RFC 9110 section 5.5). A byte
 * A0, which `String.trim()` takes for a space, belongs to the value. Takes linear time, as no pattern does.
 *
 * @param text The value.
 * @returns The value without the spaces and tabs around it.
 *
 * @example
 * ```ts
 * import { trimBlanks } from "./token.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(trimBlanks("\t chat \u00a0 "), "chat \u00a0");
 * ```
 */
export function trimBlanks(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09;
}
