/**
 * SHA-1 (RFC 3174), for the accept key of RFC 6455 section 1.3. The key is no secret, so a weak digest is fine.
 *
 * `crypto.subtle` hands these 60 bytes to another thread, which takes a tenth of the time of a new connection.
 * `node:crypto` takes 14 ms to load.
 *
 * @module
 */

/** Scratch memory: the 80 words of a block. */
const words = new Int32Array(80);

/**
 * Computes the digest of text.
 *
 * @param text The text, in ASCII.
 * @returns The digest, 20 bytes.
 *
 * @example
 * ```ts
 * import { sha1 } from "./sha1.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(sha1("abc").toHex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
 * ```
 */
export function sha1(text: string): Uint8Array<ArrayBuffer> {
  const blocks = ((text.length + 8) >> 6) + 1;
  const input = new Int32Array(16 * blocks);
  // The padding is a set bit, then the length of the text in bits (RFC 3174 section 4).
  for (let at = 0; at < text.length; at++) put(input, at, text.charCodeAt(at));
  put(input, text.length, 0x80);
  input[16 * blocks - 1] = 8 * text.length;
  const state = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  for (let block = 0; block < blocks; block++) mix(state, input, 16 * block);
  const digest = new Uint8Array(20);
  for (let at = 0; at < 20; at++) digest[at] = (state[at >> 2] ?? 0) >>> (24 - 8 * (at & 3));
  return digest;
}

/** Sets a byte of a big-endian word. */
function put(input: Int32Array, at: number, byte: number): void {
  input[at >> 2] = (input[at >> 2] ?? 0) | (byte << (24 - 8 * (at & 3)));
}

/** Runs the 80 steps of a block (RFC 3174 section 6.1). Arrays here would take most of the time. */
function mix(state: Int32Array, input: Int32Array, from: number): void {
  let [a = 0, b = 0, c = 0, d = 0, e = 0] = state;
  for (let step = 0; step < 80; step++) {
    const word = step < 16
      ? input[from + step] ?? 0
      : rotated(wordAt(step - 3) ^ wordAt(step - 8) ^ wordAt(step - 14) ^ wordAt(step - 16), 1);
    words[step] = word;
    // Every sum stays within 32 bits.
    let mixed = ((b ^ c ^ d) + (step < 40 ? 0x6ed9eba1 : 0xca62c1d6 | 0)) | 0;
    if (step < 20) mixed = (((b & c) | (~b & d)) + 0x5a827999) | 0;
    else if (step >= 40 && step < 60) mixed = (((b & c) | (b & d) | (c & d)) + (0x8f1bbcdc | 0)) | 0;
    const next = (((rotated(a, 5) + mixed) | 0) + ((e + word) | 0)) | 0;
    e = d;
    d = c;
    c = rotated(b, 30);
    b = a;
    a = next;
  }
  const sum = Int32Array.of(a, b, c, d, e);
  for (let at = 0; at < 5; at++) state[at] = (state[at] ?? 0) + (sum[at] ?? 0);
}

function wordAt(at: number): number {
  return words[at] ?? 0;
}

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
