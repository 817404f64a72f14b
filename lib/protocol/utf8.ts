/**
 * UTF-8 (RFC 3629) in pieces, as RFC 6455 section 8.1 requires of text.
 *
 * @module
 */

// The decoders keep a byte order mark, a character of the message. First use makes them: a client over the built-in
// WebSocket needs none.
let decoder: TextDecoder | undefined;
let asciiDecoder: TextDecoder | undefined;

/** From this length on, words and the runtime's decoder are faster than single bytes. */
const MIN_BULK_BYTES = 64;

/**
 * Decodes UTF-8 and keeps a byte order mark.
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
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  // ASCII has no errors, and a lenient decoder takes a sixth of the time.
  if (isAscii(bytes)) return (asciiDecoder ??= new TextDecoder("utf-8", { ignoreBOM: true })).decode(bytes);
  try {
    return (decoder ??= new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })).decode(bytes);
  } catch {
    return undefined;
  }
}

/**
 * Tells whether bytes are UTF-8. ASCII, as most text is, becomes no string.
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
 * Checks bytes as they arrive, and stores only its position in a character.
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
  // The range of the next byte, narrower after a first byte that could begin an overlong form, a surrogate or a code
  // above U+10FFFF.
  #lowest = 0x80;
  #highest = 0xbf;

  /** Whether the bytes so far end with a complete character. */
  get isBetweenCharacters(): boolean {
    return this.#missing === 0;
  }

  /**
   * Takes the next bytes.
   *
   * @param bytes The bytes.
   * @returns Whether all bytes so far may be UTF-8; once `false`, the checker is spent.
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

/** The earliest start of the last character: a byte that continues none, or the fourth from the end. */
function startOfLastCharacter(bytes: Uint8Array): number {
  const earliest = Math.max(0, bytes.byteLength - 4);
  let at = bytes.byteLength - 1;
  while (at > earliest && ((bytes[at] ?? 0) & 0xc0) === 0x80) at--;
  return at;
}

function isAscii(bytes: Uint8Array): boolean {
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
