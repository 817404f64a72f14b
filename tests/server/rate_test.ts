import { assert, assertEquals } from "@std/assert";
import { describeRate, RateMeter } from "../../lib/server/rate.ts";

const limitOf = (messagesPerSecond: number, bytesPerSecond: number) => ({ messagesPerSecond, bytesPerSecond });

Deno.test("RateMeter.take() allows the messages of one second at once, and no more", () => {
  const meter = new RateMeter(limitOf(3, Infinity), 1000);
  assertEquals([1, 2, 3, 4].map(() => meter.take(1, 10, 1000)), [true, true, true, false]);
  assertEquals(meter.passed, "messagesPerSecond");
});

Deno.test("RateMeter.take() allows the next message when its time has come", () => {
  const meter = new RateMeter(limitOf(4, Infinity), 0);
  assertEquals(meter.take(4, 0, 0), true);
  assertEquals([249, 250, 499, 500].map((now) => meter.take(1, 0, now)), [false, true, false, true]);
});

Deno.test("RateMeter.take() takes several messages whole or not at all", () => {
  const meter = new RateMeter(limitOf(3, Infinity), 0);
  assertEquals([meter.take(4, 0, 0), meter.take(3, 0, 0)], [false, true]);
});

Deno.test("RateMeter.take() saves no more than one second", () => {
  const meter = new RateMeter(limitOf(2, 10), 0);
  const hour = 3_600_000;
  assertEquals([1, 2, 3].map(() => meter.take(1, 0, hour)), [true, true, false]);
  assertEquals(meter.take(0, 10, 2 * hour), true);
  assertEquals([meter.take(1, 1, 2 * hour), meter.passed], [false, "bytesPerSecond"]);
});

Deno.test("RateMeter.take() allows the message that goes into debt, and the next after the debt is paid", () => {
  const meter = new RateMeter(limitOf(Infinity, 100), 0);
  assertEquals([meter.take(1, 99, 0), meter.take(1, 501, 0), meter.take(1, 0, 0)], [true, true, false]);
  assertEquals(meter.passed, "bytesPerSecond");
  assertEquals([4999, 5000, 5001].map((now) => meter.take(1, 0, now)), [false, false, true]);
});

Deno.test("RateMeter.take() only charges the bytes of a message that has begun", () => {
  const meter = new RateMeter(limitOf(Infinity, 100), 0);
  assertEquals([1, 2, 3].map(() => meter.take(0, 100, 0)), [true, true, true]);
  assertEquals([meter.take(1, 0, 2000), meter.take(1, 0, 2001)], [false, true]);
});

Deno.test("RateMeter.take() charges nothing for a message that it refuses", () => {
  const meter = new RateMeter(limitOf(1, 100), 0);
  assertEquals(meter.take(1, 100, 0), true);
  for (let count = 0; count < 100; count++) assertEquals(meter.take(1, 100, 0), false);
  assertEquals(meter.take(1, 0, 1000), true);
});

Deno.test("RateMeter.take() allows everything without a limit, and one message of a limit below one", () => {
  const unlimited = new RateMeter(limitOf(Infinity, Infinity), 0);
  for (let count = 0; count < 1000; count++) assert(unlimited.take(1000, 2 ** 40, count));
  const slow = new RateMeter(limitOf(0.5, 0.5), 0);
  assertEquals([slow.take(1, 0, 0), slow.take(1, 0, 1999), slow.take(1, 0, 2000)], [true, false, true]);
  const none = new RateMeter(limitOf(0, 0), 0);
  assertEquals([none.take(1, 0, 0), none.take(1, 0, 1e9)], [true, false]);
});

Deno.test("RateMeter.take() ignores a clock that goes back", () => {
  const meter = new RateMeter(limitOf(1, 1), 1000);
  assertEquals([meter.take(1, 0, 0), meter.take(1, 0, 500)], [true, false]);
});

Deno.test("describeRate() says which side of the limit was passed, short enough for a close frame", () => {
  const limit = limitOf(500, 10 * 1024 * 1024);
  assertEquals(describeRate(limit, "messagesPerSecond"), "at most 500 messages a second");
  assertEquals(describeRate(limit, "bytesPerSecond"), "at most 10485760 bytes a second");
  const longest = describeRate(limitOf(Number.MAX_VALUE, -Number.MIN_VALUE), "messagesPerSecond");
  assert(longest.length <= 123);
});
