/** within(): the promise, the deadline or the signal, whichever comes first. */

import { assertEquals, assertRejects } from "@std/assert";
import { getEventListeners } from "node:events";
import { TimeoutError, within } from "../../lib/net/deadline.ts";

const never = () => new Promise<never>(() => {});

/** Longer than any test runs: the sanitizer finds a leaked timer. */
const HOUR_MS = 3_600_000;

Deno.test("within() ends in time, when the timer of an earlier wait fired while nobody waited", async () => {
  await within(Promise.resolve(), "value", { timeoutMs: 20 });
  // Longer than that timer: it fires, and nobody listens.
  await new Promise((resolve) => setTimeout(resolve, 60));
  const never = new Promise<never>(() => {});
  const patience = Promise.withResolvers<never>();
  const timer = setTimeout(() => patience.reject(new Error("The deadline did not come")), 60_000);
  const waiting = within(never, "value", { timeoutMs: 100 });
  await assertRejects(() => Promise.race([waiting, patience.promise]), TimeoutError);
  clearTimeout(timer);
});

Deno.test("within() returns the value and leaves no timer, when the promise is in time", async () => {
  assertEquals(await within(Promise.resolve(42), "number", { timeoutMs: HOUR_MS }), 42);
});

Deno.test("within() returns the value, when there is neither deadline nor signal", async () => {
  assertEquals(await within(Promise.resolve(42), "number", {}), 42);
});

Deno.test("within() rejects with the promise's reason and leaves no timer, when that comes first", async () => {
  const failing = within(Promise.reject(new RangeError("broken")), "number", { timeoutMs: HOUR_MS });
  await assertRejects(() => failing, RangeError, "broken");
});

Deno.test("within() throws TimeoutError, when the deadline passes first", async () => {
  const error = await assertRejects(() => within(never(), "message", { timeoutMs: 1 }), TimeoutError);
  assertEquals([error.message, error.timeoutMs], ["No message within 0.001 s", 1]);
});

Deno.test("within() throws TimeoutError, when the deadline is 0 and the promise is pending", async () => {
  await assertRejects(() => within(never(), "message", { timeoutMs: 0 }), TimeoutError, "No message within 0 s");
});

Deno.test("within() waits on, when the deadline is longer than a timer can be", async () => {
  const arrival = Promise.withResolvers<number>();
  const waiting = within(arrival.promise, "number", { timeoutMs: 2 ** 31 });
  // An overflowed timer is due before this one, which was set later and for longer.
  setTimeout(() => arrival.resolve(42), 2);
  assertEquals(await waiting, 42);
});

Deno.test("within() lets the promise fail unnoticed, when the deadline has passed before", async () => {
  const late = Promise.withResolvers<never>();
  await assertRejects(() => within(late.promise, "message", { timeoutMs: 1 }), TimeoutError);
  late.reject(new Error("too late"));
});

Deno.test("within() throws the signal's reason and leaves no timer, when it aborts first", async () => {
  const controller = new AbortController();
  const waiting = within(never(), "message", { timeoutMs: HOUR_MS, signal: controller.signal });
  controller.abort(new RangeError("stop"));
  await assertRejects(() => waiting, RangeError, "stop");
});

Deno.test("within() throws the signal's reason, when it has aborted before", async () => {
  const signal = AbortSignal.abort(new RangeError("stop"));
  const waiting = within(Promise.resolve(42), "number", { timeoutMs: HOUR_MS, signal });
  await assertRejects(() => waiting, RangeError, "stop");
});

Deno.test("within() lets the promise fail unnoticed, when the signal aborts first", async () => {
  const late = Promise.withResolvers<never>();
  const controller = new AbortController();
  const waiting = within(late.promise, "message", { signal: controller.signal });
  controller.abort(new RangeError("stop"));
  await assertRejects(() => waiting, RangeError, "stop");
  late.reject(new Error("too late"));
});

for (const [how, promise] of [["resolves", () => Promise.resolve(42)], ["passes its deadline", never]] as const) {
  Deno.test(`within() leaves no listener on the signal, when the promise ${how}`, async () => {
    const { signal } = new AbortController();
    const waiting = within<number>(promise(), "number", { timeoutMs: 1, signal }).catch(() => {});
    assertEquals(getEventListeners(signal, "abort").length, 1);
    await waiting;
    assertEquals(getEventListeners(signal, "abort").length, 0);
  });
}

for (const [timeoutMs, text] of [[500, "0.5 s"], [1000, "1 s"], [1500, "1.5 s"], [10_000, "10 s"]] as const) {
  Deno.test(`TimeoutError() says ${text}, when the time was ${timeoutMs} ms`, () => {
    const { name, message, timeoutMs: kept } = new TimeoutError("reply", timeoutMs);
    assertEquals([name, message, kept], ["TimeoutError", `No reply within ${text}`, timeoutMs]);
  });
}

// An uncaught error ends the test file, so this one is last.
Deno.test("within() lets the promise fail unnoticed, when the signal has aborted before", async () => {
  const late = Promise.withResolvers<never>();
  const signal = AbortSignal.abort(new RangeError("stop"));
  await assertRejects(() => within(late.promise, "message", { signal }), RangeError, "stop");
  late.reject(new Error("too late"));
});
