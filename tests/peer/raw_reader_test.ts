/** Reading frames that are right or wrong, within bounds. */

import { assertEquals } from "@std/assert";
import { MAX_ALL_SEEN_BYTES, MAX_SEEN_BYTES, RawReader } from "../../lib/peer/raw_reader.ts";

Deno.test("RawReader stops at a frame longer than 64 MiB", () => {
  assertEquals(MAX_SEEN_BYTES, 67_108_864);
  let frames = 0;
  const reader = new RawReader(() => frames++);
  // Two empty pings around the header of a frame of 64 MiB and a byte.
  reader.push(Uint8Array.of(0x89, 0, 0x82, 127, 0, 0, 0, 0, 4, 0, 0, 1, 0x89, 0));
  assertEquals([frames, reader.isSpent], [1, true]);
});

Deno.test("RawReader stops when all frames count 128 MiB, 1,024 bytes each besides the payload", () => {
  assertEquals(MAX_ALL_SEEN_BYTES, 134_217_728);
  let frames = 0;
  const reader = new RawReader(() => frames++);
  const pings = new Uint8Array(2 * 1024).map((_, index) => index % 2 === 0 ? 0x89 : 0);
  for (let pushes = 0; pushes < 600; pushes++) reader.push(pings);
  assertEquals([frames, reader.isSpent], [MAX_ALL_SEEN_BYTES / 1024, true]);
});
