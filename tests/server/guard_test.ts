/** The limits of one connection, with literal times. */

import { assertEquals } from "@std/assert";
import { MemoryBudget } from "../../lib/server/budget.ts";
import { CLOSE_ANSWER_TIMEOUT_MS, Guard, type GuardLimits } from "../../lib/server/guard.ts";

const KIB = 1024;
const HOLDER = { heldBytes: () => 0, shed: () => false };

function guardOf(limits: Partial<GuardLimits> = {}, now = 0): Guard {
  return new Guard(HOLDER, { idleTimeoutMs: 1000, pings: true, ...limits }, now);
}

/** Looks at each of these times. */
function looks(guard: Guard, ...times: readonly number[]) {
  return times.map((now) => guard.look(now));
}

Deno.test("Guard.look() asks for one ping at half of the idle timeout, and says silent at its end", () => {
  assertEquals(looks(guardOf({}, 5000), 5499, 5500, 5999, 6000, 6001), [
    undefined,
    "ping",
    undefined,
    "silent",
    "silent",
  ]);
});

Deno.test("Guard.look() asks for a ping first, and gives half of the idle timeout to answer it, however late it looks", () => {
  assertEquals(looks(guardOf(), 9000, 9001, 9499, 9500), ["ping", undefined, undefined, "silent"]);
});

Deno.test("Guard.look() starts again when something has moved, and pings again", () => {
  const guard = guardOf();
  assertEquals(looks(guard, 500), ["ping"]);
  guard.moved();
  assertEquals(looks(guard, 999, 1498, 1499, 1998, 1999), [undefined, undefined, "ping", undefined, "silent"]);
});

Deno.test("Guard.look() says silent without a ping, if somebody else pings", () => {
  assertEquals(looks(guardOf({ pings: false }), 500, 999, 1000), [undefined, undefined, "silent"]);
});

Deno.test("Guard.look() ignores silence with an idle timeout of 0", () => {
  assertEquals(looks(guardOf({ idleTimeoutMs: 0 }), 1e9), [undefined]);
});

Deno.test("Guard.look() says late from the deadline of the close on, and nothing of silence before", () => {
  const guard = guardOf();
  guard.closeBy(3000);
  assertEquals(looks(guard, 2999, 3000, 3001), [undefined, "late", "late"]);
});

Deno.test("Guard.look() ignores a close that somebody else waits for", () => {
  const guard = guardOf();
  guard.closeBy(Infinity);
  assertEquals(looks(guard, 1e9), [undefined]);
});

Deno.test("Guard.look() says late for a connection that does not open, and looks for silence once it is open", () => {
  const guard = guardOf();
  guard.openBy(3000);
  assertEquals(looks(guard, 3000), ["late"]);
  guard.openBy(Infinity);
  assertEquals(looks(guard, 3001), ["ping"]);
});

Deno.test("Guard.endBy() moves a deadline nearer, and never away", () => {
  for (const [before, then, due] of [[Infinity, 500, 500], [400, 500, 400], [600, 500, 500]] as const) {
    const guard = guardOf();
    guard.closeBy(before);
    guard.endBy(then);
    assertEquals(looks(guard, due - 1, due), [undefined, "late"]);
  }
});

Deno.test("Guard.takes() allows everything without a rate, and keeps to a rate", () => {
  const free = guardOf();
  assertEquals([free.isMetered, free.takes(1e9, 1e9, 0)], [false, true]);
  const guard = guardOf({ rate: { messagesPerSecond: 2, bytesPerSecond: 100 } });
  assertEquals([guard.isMetered, guard.takes(1, 60, 0), guard.takes(1, 60, 0)], [true, true, true]);
  assertEquals([guard.takes(1, 1, 0), guard.rateReason], [false, "at most 2 messages a second"]);
  assertEquals([guard.takes(1, 1, 100), guard.rateReason], [false, "at most 2 messages a second"]);
  assertEquals([guard.takes(0, 100, 500), guard.takes(1, 1, 500), guard.rateReason], [
    true,
    false,
    "at most 100 bytes a second",
  ]);
  assertEquals(guard.takes(1, 1, 2000), true);
});

Deno.test("Guard.holds() tells the budget of all but the last 4 KiB, and of less at once", () => {
  const budget = new MemoryBudget(Infinity);
  const guard = guardOf({ budget });
  const totals = [4095, 4096, 8191, 8192, 8000, 100, 0].map((bytes) => {
    assertEquals(guard.holds(bytes), true);
    return budget.totalBytes;
  });
  assertEquals(totals, [0, 4096, 4096, 8192, 8000, 0, 0]);
});

Deno.test("Guard.holds() says when it is too much and nobody can release anything", () => {
  const holder = { heldBytes: () => 14 * KIB, shed: () => false };
  const guard = new Guard(holder, { idleTimeoutMs: 0, pings: false, budget: new MemoryBudget(10 * KIB) }, 0);
  assertEquals([guard.holds(10 * KIB), guard.holds(14 * KIB)], [true, false]);
});

Deno.test("Guard.release() releases what the budget has counted", () => {
  const budget = new MemoryBudget(Infinity);
  const guard = guardOf({ budget });
  guard.holds(10 * KIB);
  guard.release();
  assertEquals(budget.totalBytes, 0);
  guard.holds(5 * KIB);
  assertEquals(budget.totalBytes, 5 * KIB);
});

Deno.test("a close frame may be answered for 2 s", () => {
  assertEquals(CLOSE_ANSWER_TIMEOUT_MS, 2000);
});

Deno.test("Guard.wasSilent says whether nothing had moved for a second, with or without an idle timeout", () => {
  for (const idleTimeoutMs of [0, 60_000]) {
    const guard = guardOf({ idleTimeoutMs });
    const seen = [999, 1000].map((now) => (guard.look(now), guard.wasSilent));
    // Traffic counts from the next look.
    guard.moved();
    assertEquals([...seen, guard.wasSilent], [false, true, true]);
    guard.look(1100);
    assertEquals(guard.wasSilent, false);
  }
});
