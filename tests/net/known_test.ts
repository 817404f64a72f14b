import { assertEquals } from "@std/assert";
import { Known, MAX_KNOWN_CHARS, MAX_KNOWN_VALUES } from "../../lib/net/known.ts";

/** Accepts values that begin with a letter; counts the tests of each. */
function scene() {
  const tests: string[] = [];
  const known = new Known((value) => (tests.push(value), /^[a-z]/.test(value)));
  return { known, tests };
}

Deno.test("Known tests a value once, when it passes, and each time, when it does not", () => {
  const { known, tests } = scene();
  assertEquals(["a", "1", "a", "1"].map((value) => known.has(value)), [true, false, true, false]);
  assertEquals(tests, ["a", "1", "1"]);
});

Deno.test("Known remembers 64 values, and starts again with the next", () => {
  const { known, tests } = scene();
  const values = Array.from({ length: 64 }, (_, at) => `a${at}`);
  for (const value of [...values, ...values]) known.has(value);
  assertEquals([MAX_KNOWN_VALUES, tests.length], [64, 64]);
  for (const value of ["b", "a0"]) known.has(value);
  assertEquals(tests.slice(64), ["b", "a0"]);
});

Deno.test("Known remembers a value of 256 characters, and none that is longer", () => {
  const { known, tests } = scene();
  for (const length of [256, 256, 257, 257]) assertEquals(known.has("a".repeat(length)), true);
  assertEquals([MAX_KNOWN_CHARS, tests.map((value) => value.length)], [256, [256, 257, 257]]);
});
