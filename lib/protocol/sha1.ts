/**
 * SHA-1 (RFC 3174), for the accept key of RFC 6455 section 1.3. The key is no secret, so a weak digest is fine.
 *
 * `crypto.subtle` hands these 60 bytes to another thread, which takes a tenth of the time of a new connection.
 * `node:crypto` takes 14 ms to load. The digest is the only array made here: arrays for the sums take three times as long.
 *
 * @module
 */

/** Scratch memory: the 80 words of a block, and the state between two blocks. */
const words = new Int32Array(80);
const state = new Int32Array(5);

/**
 * Computes the digest of bytes.
 *
 * @param bytes The bytes.
 * @returns The digest, 20 bytes.
 *
 * @example
 * ```ts
 * import { sha1 } from "./sha1.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(sha1(new TextEncoder().encode("abc")).toHex(), "a9993e364706816aba3e25717850c26c9cd0d89d");
 * ```
 */
export function sha1(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  state[0] = 0x67452301;
  state[1] = 0xefcdab89;
  state[2] = 0x98badcfe;
  state[3] = 0x10325476;
  state[4] = 0xc3d2e1f0;
  const last = (bytes.length + 8) >> 6;
  for (let block = 0; block <= last; block++) {
    for (let at = 0; at < 16; at++) words[at] = inputWord(bytes, 64 * block + 4 * at);
    // The padding ends with the length of the input in bits (RFC 3174 section 4).
    if (block === last) words[15] = 8 * bytes.length;
    mix();
  }
  const digest = new Uint8Array(20);
  for (let at = 0; at < 20; at++) digest[at] = wordOf(state, at >> 2) >>> (24 - 8 * (at & 3));
  return digest;
}

/** Gives four bytes as a big-endian word. The padding begins with a set bit. */
function inputWord(bytes: Uint8Array, from: number): number {
  if (from > bytes.length) return 0;
  let word = 0;
  for (let at = from; at < from + 4; at++) word = (word << 8) | (bytes[at] ?? (at === bytes.length ? 0x80 : 0));
  return word;
}

/** Runs the 80 steps of a block (RFC 3174 section 6.1). */
function mix(): void {
  for (let at = 16; at < 80; at++) {
    const word = wordOf(words, at - 3) ^ wordOf(words, at - 8) ^ wordOf(words, at - 14) ^ wordOf(words, at - 16);
    words[at] = rotated(word, 1);
  }
  let [a, b, c, d, e] = [wordOf(state, 0), wordOf(state, 1), wordOf(state, 2), wordOf(state, 3), wordOf(state, 4)];
  for (let step = 0; step < 80; step++) {
    // Every sum stays within 32 bits.
    let mixed = ((rotated(a, 5) + e) | 0) + wordOf(words, step) | 0;
    if (step < 20) mixed = (mixed + (((b & c) | (~b & d)) + 0x5a827999 | 0)) | 0;
    else if (step < 40) mixed = (mixed + ((b ^ c ^ d) + 0x6ed9eba1 | 0)) | 0;
    else if (step < 60) mixed = (mixed + (((b & c) | (b & d) | (c & d)) + (0x8f1bbcdc | 0) | 0)) | 0;
    else mixed = (mixed + ((b ^ c ^ d) + (0xca62c1d6 | 0) | 0)) | 0;
    e = d;
    d = c;
    c = rotated(b, 30);
    b = a;
    a = mixed;
  }
  state[0] = wordOf(state, 0) + a;
  state[1] = wordOf(state, 1) + b;
  state[2] = wordOf(state, 2) + c;
  state[3] = wordOf(state, 3) + d;
  state[4] = wordOf(state, 4) + e;
}

function wordOf(of: Int32Array, at: number): number {
  return of[at] ?? 0;
}

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}
