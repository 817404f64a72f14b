import { assertEquals } from "@std/assert";
import { Standstill } from "../../lib/net/standstill.ts";

/** The answers to ticks at these times. */
function answers(...times: number[]): boolean[] {
  const standstill = new Standstill(0);
  return times.map((now) => standstill.isOver(now));
}

Deno.test("Standstill.isOver() lets deadlines count while the ticks come, up to a second late", () => {
  assertEquals(answers(100, 200, 1200, 1300), [true, true, true, true]);
});

Deno.test("Standstill.isOver() lets no deadline count for a second, when a tick comes more than a second late", () => {
  assertEquals(answers(100, 1101, 1201, 2100, 2101, 2201), [true, false, false, false, true, true]);
});

Deno.test("Standstill.isOver() lets deadlines count at every other tick, when each comes late", () => {
  assertEquals(answers(2000, 4000, 6000, 8000), [false, true, false, true]);
});
