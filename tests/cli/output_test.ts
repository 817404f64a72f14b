/** The client's output: reports, failures and errors in, lines out. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { type Screen, tellError, tellFailure } from "../../lib/cli/output.ts";
import { UsageError } from "../../lib/cli/command_line.ts";
import { PayloadError } from "../../lib/client/usage.ts";
import { OptionError } from "../../lib/connection/connection.ts";

/** A screen that records the printed lines. */
function recorder(): Screen & { readonly lines: string[] } {
  const lines: string[] = [];
  const stream = (name: string) => ({ isColored: false, print: (text: string) => void lines.push(`${name}: ${text}`) });
  return { lines, out: stream("out"), error: stream("error") };
}

for (const ErrorClass of [UsageError, PayloadError, OptionError, Deno.errors.NotCapable]) {
  Deno.test(`tellError() says a ${ErrorClass.name} in one line, and gives exit code 2`, () => {
    const screen = recorder();
    assertEquals(tellError(new ErrorClass("Option --a is\u001b wrong"), screen), 2);
    assertEquals(screen.lines, ["error: wsproof: Option --a is\\u001b wrong"]);
  });
}

Deno.test("tellError() says that the output is full, when a line could not be printed, and gives exit code 1", () => {
  const screen = recorder();
  assertEquals(tellError(new Error("No space left on device (os error 28)"), screen), 1);
  assertEquals(screen.lines, [
    "error: wsproof: Cannot write to standard output: No space left on device",
  ]);
});

Deno.test("tellError() says where to report any other error, and gives exit code 1", () => {
  const screen = recorder();
  assertEquals(tellError(new RangeError("off by one"), screen), 1);
  const [error = "", advice = ""] = screen.lines;
  assertStringIncludes(error, "RangeError: off by one");
  assertStringIncludes(advice, "please report it");
});

Deno.test("tellFailure() says the verdict, the problem and the hint, and gives the exit code of the verdict", () => {
  const screen = recorder();
  const failure = { verdict: "no-reply", problem: "Nothing came", hint: "wait longer" } as const;
  assertEquals(tellFailure(failure, "lines", screen), 5);
  assertEquals(screen.lines, ["error: no-reply (exit 5): Nothing came\n  wait longer"]);
});

Deno.test("tellFailure() prints nothing with --quiet, and still returns the exit code", () => {
  const screen = recorder();
  assertEquals(tellFailure({ verdict: "no-reply", problem: "Nothing came", hint: "" }, "nothing", screen), 5);
  assertEquals(screen.lines, []);
});
