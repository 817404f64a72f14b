/** The README is true: its commands, its options and its exit codes are those of the program. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { EXIT_CODES } from "../../lib/client/verdict.ts";
import { codeBlock, read, section } from "../support/documents.ts";

const README = await read("README.md");

Deno.test("the quick start is the two set-up commands, in one block", () => {
  assertEquals(
    codeBlock(section(README, "## Quick start"), "sh"),
    "npx --yes deno@2.9.6 task client\nnpx --yes deno@2.9.6 task test\n",
  );
});

Deno.test("the README has at most 200 lines", () => {
  const lines = README.trimEnd().split("\n").length;
  assertEquals(Math.max(lines, 200), 200);
});

Deno.test("the README shows the eight commonest options, as the client has them", () => {
  const rows = [...section(README, "## The commonest options").matchAll(/^\| `(-.*?) +\|/gm)].map(([, cell]) => cell);
  assertEquals(rows.length, 8);
  const options = CLIENT_OPTIONS.map(({ name, short, value }) =>
    `${short === undefined ? "" : `-${short}\`, \``}--${name}${value === undefined ? "" : ` ${value}`}\``
  );
  for (const row of rows) assertStringIncludes(options.join("\n"), row ?? "");
});

Deno.test("the README lists every verdict with its exit code", () => {
  const rows = section(README, "## Verdicts and exit codes").matchAll(/^\| (\d+) +\| `([a-z-]+)`/gm);
  assertEquals(Object.fromEntries([...rows].map(([, code, verdict]) => [verdict, Number(code)])), { ...EXIT_CODES });
});
