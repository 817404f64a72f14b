/**
 * Describes how a reply is wrong.
 *
 * @module
 */

import {
  byteLengthOf,
  formatBytes,
  hexPairs,
  hexStart,
  kindOf,
  type Message,
  payloadOf,
  quote,
} from "../protocol/message.ts";
import type { TransportName } from "../connection/connection.ts";

/** The expected reply. */
export type Expectation =
  /** The message that was sent, unchanged. */
  | { readonly type: "echo" }
  /** A text message with these characters. */
  | { readonly type: "text"; readonly text: string }
  /** A text message that matches the pattern. */
  | { readonly type: "match"; readonly pattern: RegExp }
  /** Any complete message. */
  | { readonly type: "any" }
  /** No message at all. */
  | { readonly type: "none" };

/** The difference between a reply and the expected one. */
export interface Difference {
  /** Kinds, lengths, and the offset of the first different byte. */
  readonly text: string;
  /** The likely cause; empty if none is plain. */
  readonly cause: string;
}

/** The longest quotation of a message, in characters. */
const MAX_QUOTED_CHARS = 32;

/** The longest binary message to show whole, and the bytes to show of a longer one. */
const MAX_WHOLE_BYTES = 16;
const MAX_START_BYTES = 4;

/**
 * Compares a reply with the expectation.
 *
 * @param expectation The expected reply.
 * @param sent The message that the reply answers.
 * @param reply The reply.
 * @returns The difference; `undefined` if the reply is right.
 *
 * @example
 * ```ts
 * import { differenceOf } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(differenceOf({ type: "echo" }, "Hello world", "Hello world"), undefined);
 * assertEquals(differenceOf({ type: "echo" }, "Hello world", "Hello World"), {
 *   text: 'text, 11 bytes, instead of text, 11 bytes; the first difference is at byte 6: "World" instead of "world"',
 *   cause: "",
 * });
 * ```
 */
export function differenceOf(expectation: Expectation, sent: Message, reply: Message): Difference | undefined {
  switch (expectation.type) {
    case "any":
      return undefined;
    case "none":
      return { text: `${describe(reply)}, where no message was expected`, cause: "" };
    case "match":
      if (typeof reply === "string" && matches(expectation.pattern, reply)) return undefined;
      return { text: `${describe(reply)}, which does not match ${expectation.pattern}`, cause: binaryCause(reply) };
    case "text": {
      const found = difference(expectation.text, reply);
      return found && { text: found.text, cause: expectation.text === sent ? found.cause : binaryCause(reply) };
    }
    case "echo":
      return difference(sent, reply);
  }
}

/**
 * Describes a message: kind, size and first bytes.
 *
 * @param message The message.
 * @returns One clause.
 *
 * @example
 * ```ts
 * import { describe } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describe("Hello world"), 'text, 11 bytes: "Hello world"');
 * assertEquals(describe(new Uint8Array(3)), "binary, 3 bytes: 00 00 00");
 * assertEquals(describe(new Uint8Array(17)), "binary, 17 bytes: 00 00 00 00 ...");
 * ```
 */
export function describe(message: Message): string {
  if (typeof message === "string") {
    return describeSize(message) + (message === "" ? "" : `: ${quote(message, MAX_QUOTED_CHARS)}`);
  }
  const shown = message.byteLength > MAX_WHOLE_BYTES ? MAX_START_BYTES : MAX_WHOLE_BYTES;
  return `${describeSize(message)}${hexStart(message, shown)}`;
}

function describeSize(message: Message): string {
  return `${kindOf(message)}, ${formatBytes(byteLengthOf(message))}`;
}

/** A pattern with the flag g or y would go on from its last match. */
function matches(pattern: RegExp, text: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(text);
}

function difference(expected: Message, reply: Message): Difference | undefined {
  if (typeof expected === "string" && typeof reply === "string" && expected === reply) return undefined;
  const [expectedBytes, replyBytes] = [payloadOf(expected), payloadOf(reply)];
  const offset = firstDifference(expectedBytes, replyBytes);
  if (offset === -1 && kindOf(expected) === kindOf(reply)) return undefined;
  const sizes = `${describeSize(reply)}, instead of ${describeSize(expected)}`;
  if (offset === -1) {
    return { text: sizes, cause: `the same bytes came back as ${kindOf(reply)}: the server changed the kind` };
  }
  const where = `the first difference is at byte ${offset}`;
  const shown = `${excerpt(replyBytes, reply, offset)} instead of ${excerpt(expectedBytes, expected, offset)}`;
  return { text: `${sizes}; ${where}: ${shown}`, cause: causeOf(expected, expectedBytes, reply, replyBytes, offset) };
}

/**
 * Finds the first different byte.
 *
 * @param a Bytes.
 * @param b Other bytes.
 * @returns Its offset; the shorter length if one is a prefix of the other; -1 if they are equal.
 *
 * @example
 * ```ts
 * import { firstDifference } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(firstDifference(Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 4)), 2);
 * ```
 */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.byteLength, b.byteLength);
  let at = 0;
  if (a.byteOffset % 8 === 0 && b.byteOffset % 8 === 0) {
    // Eight bytes at a time are several times faster for the megabytes of a split payload.
    const words = length >> 3;
    const aWords = new BigInt64Array(a.buffer, a.byteOffset, words);
    const bWords = new BigInt64Array(b.buffer, b.byteOffset, words);
    let word = 0;
    while (word < words && aWords[word] === bWords[word]) word++;
    at = word * 8;
  }
  while (at < length && a[at] === b[at]) at++;
  return at === length && a.byteLength === b.byteLength ? -1 : at;
}

/** Shows the bytes at an offset: characters of text, else hexadecimal. */
function excerpt(bytes: Uint8Array, message: Message, offset: number): string {
  const rest = bytes.subarray(offset);
  if (rest.byteLength === 0) return "the end";
  if (typeof message === "string") return quote(textAround(bytes, offset));
  return hexPairs(rest.subarray(0, 4));
}

/** Decodes up to 16 bytes from the start of the character at an offset. */
function textAround(bytes: Uint8Array, offset: number): string {
  let start = offset;
  while (start > 0 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start--;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return decoder.decode(bytes.subarray(start, start + 16), { stream: true });
}

function causeOf(
  expected: Message,
  expectedBytes: Uint8Array,
  reply: Message,
  replyBytes: Uint8Array,
  offset: number,
): string {
  const [expectedLength, length] = [expectedBytes.byteLength, replyBytes.byteLength];
  if (offset === length && length < expectedLength) {
    if (length === 0) return "the reply is empty";
    if (isPowerOfTwo(length) && length >= 64) {
      return `cut at ${length} bytes, a power of two: probably a full buffer in the server`;
    }
    if (isLineEnd(expectedBytes.subarray(length))) return "the server removed the line end of the message";
    return "the reply is cut off";
  }
  if (offset === expectedLength && length > expectedLength) {
    if (isLineEnd(replyBytes.subarray(expectedLength))) return "the server added a line end";
    return "the server added something to the message";
  }
  if (typeof expected === "string" && typeof reply === "string" && expected !== "" && reply.includes(expected)) {
    return "the reply contains the message: for a server that does not echo, use --reply or --reply-match";
  }
  if (kindOf(expected) === "text" && kindOf(reply) === "binary") return binaryCause(reply);
  // A reply of the same length with the right start is a damaged echo.
  const isOther = offset === 0 || length !== expectedLength;
  return isOther ? "for a server that does not echo, use --reply, --reply-match or --reply-any" : "";
}

function binaryCause(reply: Message): string {
  return kindOf(reply) === "binary" ? "binary came instead of text" : "";
}

function isLineEnd(bytes: Uint8Array): boolean {
  const [first, second] = bytes;
  return (bytes.byteLength === 1 && first === 0x0a) || (bytes.byteLength === 2 && first === 0x0d && second === 0x0a);
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/**
 * Returns advice for a message over the limit.
 *
 * @param transport The transport.
 * @returns One clause or two.
 *
 * @example
 * ```ts
 * import { hintForLength } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(hintForLength("wire"), "use --max-message to accept longer messages");
 * ```
 */
export function hintForLength(transport: TransportName): string {
  const hint = "use --max-message to accept longer messages";
  return transport === "wire"
    ? hint
    : `${hint}, from 64 MiB up with --transport wire; the built-in WebSocket reads a whole message into memory before it can refuse it, --transport wire does not`;
}
