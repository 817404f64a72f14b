/**
 * Whether bytes that come in pieces are UTF-8 (RFC 3629), as RFC 6455 section 8.1 wants of text.
 *
 * @module
 */

// A byte order mark is a character of the message like any other, and stays. Made when they are first needed: a run of
// the client over the built-in WebSocket needs none.
let decoder: TextDecoder | undefined;
let asciiDecoder: TextDecoder | undefined;

/** From this length on, whole words and the runtime's decoder are faster than byte after byte. */
const MIN_BULK_BYTES = 64;

/**
 * Decodes UTF-8, and keeps a byte order mark.
 *
 * @param bytes The bytes.
 * @returns The text; `undefined` if the bytes are not UTF-8.
 *
 * @example
 * ```ts
 * import { decodeUtf8 } from "./utf8.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(decodeUtf8(Uint8Array.of(0xc3, 0xa9)), "é");
 * assertEquals(decodeUtf8(Uint8Array.of(0xc3)), undefined);
 * ```
 */
export function decodeUtf8(bytes: Uint8Array<ArrayBuffer>): string | undefined {
  // One that forgives takes a sixth of the time, where nothing can be wrong.
  if (isAscii(bytes)) return (asciiDecoder ??= new TextDecoder("utf-8", { ignoreBOM: true })).decode(bytes);
  try {
    return (decoder ??= new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Tells whether bytes are UTF-8, without making a string of them if they are ASCII, as most text is.
 *
 * @param bytes The bytes.
 * @returns Whether they are UTF-8.
 *
 * @example
 * ```ts
 * import { isUtf8 } from "./utf8.ts";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assert(isUtf8(Uint8Array.of(0xc3, 0xa9)));
 * assertFalse(isUtf8(Uint8Array.of(0xc3)));
 * ```
 */
export function isUtf8(bytes: Uint8Array<ArrayBuffer>): boolean {
  return isAscii(bytes) || decodeUtf8(bytes) !== undefined;
}

/**
 * Checks bytes as they come. Of what it has seen it keeps where it is in a character, and nothing else.
 *
 * @example
 * ```ts
 * import { Utf8Checker } from "./utf8.ts";
 * import { assert, assertFalse } from "@std/assert";
 *
 * const checker = new Utf8Checker();
 * assert(checker.push(Uint8Array.of(0x61, 0xe2, 0x82)));
 * assertFalse(checker.isBetweenCharacters);
 * assert(checker.push(Uint8Array.of(0xac)));
 * assertFalse(checker.push(Uint8Array.of(0xff)));
 * ```
 */
export class Utf8Checker {
  #missing = 0;
  // What the next byte of a character may be: narrower after the first where a code would be too long, a surrogate or
  // too large.
  #lowest = 0x80;
  #highest = 0xbf;

  /** Whether the bytes so far end with a whole character. */
  get isBetweenCharacters(): boolean {
    return this.#missing === 0;
  }

  /**
   * Takes the next bytes.
   *
   * @param bytes The bytes.
   * @returns Whether all so far may be UTF-8; once it is not, the checker is spent.
   */
  push(bytes: Uint8Array<ArrayBuffer>): boolean {
    let at = 0;
    if (bytes.byteLength >= MIN_BULK_BYTES) {
      while (this.#missing > 0) if (!this.#take(bytes[at++] ?? 0)) return false;
      const end = startOfLastCharacter(bytes);
      if (!isUtf8(bytes.subarray(at, end))) return false;
      at = end;
    }
    for (; at < bytes.byteLength; at++) if (!this.#take(bytes[at] ?? 0)) return false;
    return true;
  }

  #take(byte: number): boolean {
    if (this.#missing > 0) {
      if (byte < this.#lowest || byte > this.#highest) return false;
      this.#missing--;
      this.#lowest = 0x80;
      this.#highest = 0xbf;
      return true;
    }
    if (byte < 0x80) return true;
    if (byte < 0xc2 || byte > 0xf4) return false;
    this.#missing = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    if (byte === 0xe0) this.#lowest = 0xa0;
    else if (byte === 0xed) this.#highest = 0x9f;
    else if (byte === 0xf0) this.#lowest = 0x90;
    else if (byte === 0xf4) this.#highest = 0x8f;
    return true;
  }
}

/** Where the last character may begin: at a byte that continues none, or at the fourth from the end. */
function startOfLastCharacter(bytes: Uint8Array): number {
  const earliest = Math.max(0, bytes.byteLength - 4);
  let at = bytes.byteLength - 1;
  while (at > earliest && ((bytes[at] ?? 0) & 0xc0) === 0x80) at--;
  return at;
}

function isAscii(bytes: Uint8Array<ArrayBuffer>): boolean {
  const { buffer, byteOffset, byteLength } = bytes;
  let bits = 0;
  let at = 0;
  if (byteLength >= MIN_BULK_BYTES) {
    for (; ((byteOffset + at) & 3) !== 0; at++) bits |= bytes[at] ?? 0;
    const words = new Int32Array(buffer, byteOffset + at, (byteLength - at) >> 2);
    const fours = words.length - words.length % 4;
    for (let word = 0; word < fours; word += 4) {
      const four = (words[word] ?? 0) | (words[word + 1] ?? 0) | (words[word + 2] ?? 0) | (words[word + 3] ?? 0);
      if ((four & 0x80808080) !== 0) return false;
    }
    at += fours * 4;
  }
  for (; at < byteLength; at++) bits |= bytes[at] ?? 0;
  return bits < 0x80;
}
