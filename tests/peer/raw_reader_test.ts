/** Reads valid and invalid frames, within bounds. */

import { assertEquals } from "@std/assert";
import { MAX_ALL_SEEN_BYTES, MAX_SEEN_BYTES, RawReader } from "../../lib/peer/raw_reader.ts";

Deno.test("RawReader stops at a frame longer than 64 MiB", () => {
  assertEquals(MAX_SEEN_BYTES, 67_108_864);
  let frames = 0;
  const reader = new RawReader(() => frames++);
  // Two empty pings around the header of a frame of 64 MiB plus a byte.
  reader.push(Uint8Array.of(0x89, 0, 0x82, 127, 0, 0, 0, 0, 4, 0, 0, 1, 0x89, 0));
  assertEquals([frames, reader.isSpent], [1, true]);
});

Deno.test("RawReader stops when all payloads together are longer than 128 MiB", () => {
  assertEquals(MAX_ALL_SEEN_BYTES, 134_217_728);
  let frames = 0;
  const reader = new RawReader(() => frames++);
  const frame = new Uint8Array(10 + 1024 ** 2);
  // A binary frame of 1 MiB.
  frame.set([0x82, 127, 0, 0, 0, 0, 0, 0x10]);
  for (let pushes = 0; pushes < 130; pushes++) reader.push(frame);
  assertEquals([frames, reader.isSpent], [128, true]);
});
