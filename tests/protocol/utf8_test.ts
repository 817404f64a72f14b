/** UTF-8 validation, at any place in memory and in any pieces. */

import { assertEquals } from "@std/assert";
import { decodeUtf8, isUtf8, Utf8Checker } from "../../lib/protocol/utf8.ts";

/** The verdict of the runtime's own decoder. */
function expected(bytes: Uint8Array<ArrayBuffer>): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

Deno.test("isUtf8() agrees with the decoder for every length to 100, at every place in memory", () => {
  const memory = new Uint8Array(120).fill(0x61);
  for (let offset = 0; offset < 8; offset++) {
    for (let length = 0; length <= 100; length++) {
      const bytes = memory.subarray(offset, offset + length);
      assertEquals(isUtf8(bytes), true, `${offset} ${length}`);
      for (let at = 0; at < length; at++) {
        bytes[at] = 0xff;
        if (isUtf8(bytes)) throw new Error(`0xff at ${at} of ${length} bytes, offset ${offset}, was not found`);
        bytes[at] = 0x61;
      }
    }
  }
});

Deno.test("isUtf8() and decodeUtf8() agree with the decoder for every pair of bytes", () => {
  for (let first = 0; first < 256; first++) {
    for (let second = 0; second < 256; second++) {
      const bytes = Uint8Array.of(first, second);
      if (isUtf8(bytes) !== expected(bytes)) throw new Error(`${first} ${second}`);
      if ((decodeUtf8(bytes) !== undefined) !== expected(bytes)) throw new Error(`${first} ${second}`);
    }
  }
});

Deno.test("push() of a Utf8Checker finds the same as the decoder, cut at every place, in short and long pieces", () => {
  const pad = new TextEncoder().encode("x".repeat(70));
  const samples = [[0xe2, 0x82, 0xac], [0xf0, 0x9f, 0x98, 0x80], [0xed, 0xa0, 0x80], [0xc0, 0x80], [
    0xf4,
    0x90,
    0x80,
    0x80,
  ], [0xe0, 0x80, 0x80]];
  for (const sample of samples) {
    for (const bytes of [Uint8Array.from(sample), Uint8Array.from([...pad, ...sample, ...pad])]) {
      for (let cut = 0; cut <= bytes.byteLength; cut++) {
        const checker = new Utf8Checker();
        const passes = checker.push(bytes.slice(0, cut)) && checker.push(bytes.slice(cut)) &&
          checker.isBetweenCharacters;
        assertEquals(passes, expected(bytes), `${sample} cut at ${cut} of ${bytes.byteLength}`);
      }
    }
  }
});
