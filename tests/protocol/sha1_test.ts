/** SHA-1 beside the runtime's own. */

import { assertEquals } from "@std/assert";
import { sha1 } from "../../lib/protocol/sha1.ts";

for (
  const [text, digest] of [
    ["", "da39a3ee5e6b4b0d3255bfef95601890afd80709"],
    ["abc", "a9993e364706816aba3e25717850c26c9cd0d89d"],
    ["abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"],
  ] as const
) {
  Deno.test(`sha1() is that of RFC 3174 section 7.3, when the text is ${JSON.stringify(text)}`, () => {
    assertEquals(sha1(new TextEncoder().encode(text)).toHex(), digest);
  });
}

Deno.test("sha1() agrees with the runtime, when the bytes end anywhere in a block", async () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    const expected = new Uint8Array(await crypto.subtle.digest("SHA-1", bytes));
    assertEquals(sha1(bytes), expected);
  }
});
