/** The size of a connection's read buffer. */

import { assertEquals } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { MemoryBudget } from "../../lib/server/budget.ts";
import { EchoBuffer, MAX_READ_BYTES, MIN_READ_BYTES } from "../../lib/server/echo_buffer.ts";

const KIB = 1024;

/** Reads this many bytes in this many frames; returns the size of the next read buffer. */
function sizeAfter(buffer: EchoBuffer, count: number, { frames = 1, wasSilent = false } = {}): number {
  buffer.begin(count);
  buffer.fit(count, frames, wasSilent);
  return buffer.room.byteLength;
}

Deno.test("EchoBuffer.fit() makes the read buffer larger for a peer that fills it: 512 bytes, 4 KiB, and twice as much up to 128 KiB", () => {
  const buffer = new EchoBuffer();
  const sizes = [buffer.room.byteLength];
  for (let count = 0; count < 8; count++) sizes.push(sizeAfter(buffer, buffer.room.byteLength));
  assertEquals(sizes.map((size) => size / KIB), [0.5, 4, 8, 16, 32, 64, 128, 128, 128]);
  assertEquals([MIN_READ_BYTES, MAX_READ_BYTES], [512, 128 * KIB]);
});

Deno.test("EchoBuffer.fit() keeps the read buffer that is not filled, and makes it small after a silence", () => {
  const budget = new MemoryBudget(1024 * KIB);
  const buffer = new EchoBuffer(budget);
  while (buffer.room.byteLength < MAX_READ_BYTES) sizeAfter(buffer, buffer.room.byteLength);
  assertEquals(sizeAfter(buffer, 100), MAX_READ_BYTES);
  // A peer that goes on as before needs the buffer.
  assertEquals(sizeAfter(buffer, 100_000, { wasSilent: true }), MAX_READ_BYTES);
  assertEquals(budget.totalBytes, MAX_READ_BYTES - 4 * KIB);
  assertEquals([sizeAfter(buffer, 100, { wasSilent: true }), budget.totalBytes], [MIN_READ_BYTES, 0]);
});

Deno.test("EchoBuffer.fit() makes the read buffer 4 KiB large without a budget for it, and no larger", () => {
  const buffer = new EchoBuffer(new MemoryBudget(0));
  assertEquals(sizeAfter(buffer, 512), 4 * KIB);
  assertEquals(sizeAfter(buffer, 4 * KIB), 4 * KIB);
});

Deno.test("EchoBuffer.fit() does not make the read buffer larger for more than 2,048 frames, and smaller for twice as many", () => {
  const buffer = new EchoBuffer();
  for (let count = 0; count < 3; count++) sizeAfter(buffer, buffer.room.byteLength);
  const sizes = [2049, 4097, 4097, 4097].map((frames) => sizeAfter(buffer, buffer.room.byteLength, { frames }) / KIB);
  assertEquals(sizes, [16, 8, 4, 4]);
});

Deno.test("EchoBuffer leaks nothing of a former connection whose memory it reuses", () => {
  const former = new EchoBuffer();
  former.room.fill(0x73);
  former.release();
  const buffer = new EchoBuffer();
  assertEquals([buffer.isEmpty, buffer.heldBytes, buffer.room.byteLength], [true, 0, MIN_READ_BYTES]);
  buffer.room.set([0x82, 0x82, 0, 0, 0, 0, 7, 8]);
  const read = buffer.begin(8);
  assertEquals(read.byteLength, 8);
  buffer.echo(OPCODE.binary, true, 2, read.subarray(6), true);
  assertEquals(buffer.takeEchoes(), Uint8Array.of(0x82, 0x02, 7, 8));
});

Deno.test("EchoBuffer keeps its memory to itself until its release, then lends it to one other", () => {
  const buffers = Array.from({ length: 3 }, () => new EchoBuffer());
  const [first, ...others] = buffers;
  first?.release();
  const [second, third] = [new EchoBuffer(), new EchoBuffer()];
  const memory = [...others, second, third].map(({ room }) => room.buffer);
  assertEquals(new Set(memory).size, memory.length);
});
