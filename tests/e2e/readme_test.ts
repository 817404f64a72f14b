/** The README is true: its commands, options and exit codes match the program. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { EXIT_CODES } from "../../lib/client/verdict.ts";
import { serveLab } from "../../lib/lab/mod.ts";
import { serveEcho } from "../../mod.ts";
import { client } from "../support/command.ts";
import { codeBlock, read, section } from "../support/documents.ts";

const README = await read("README.md");

Deno.test("the quick start is the two set-up commands, in one block", () => {
  assertEquals(
    codeBlock(section(README, "## Quick start"), "sh"),
    "npx --yes deno@2.9.6 task client\nnpx --yes deno@2.9.6 task test\n",
  );
});

Deno.test("the package has the documents that the README links to", async () => {
  const included: string[] = JSON.parse(await read("deno.json")).publish.include;
  const linked = [...README.matchAll(/\]\((docs\/[^)#]+)/g)].map(([, path = ""]) => path);
  assert(linked.length >= 8, `${linked.length} links`);
  assertEquals(linked.filter((path) => !included.some((each) => path.startsWith(each))), []);
});

Deno.test("the README has at most 200 lines", () => {
  const lines = README.trimEnd().split("\n").length;
  assertEquals(Math.max(lines, 200), 200);
});

Deno.test("the README shows the eight common options, as the client has them", () => {
  const rows = [...section(README, "## Common options").matchAll(/^\| `(-.*?) +\|/gm)].map(([, cell]) => cell);
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

/** Runs in the README: the command and the printed lines. */
const RUNS = [...section(README, "## A run").matchAll(/```console\n\$ deno task -q client (.*)\n([^]*?)```/g)];

/** Removes the parts that vary: durations, the port, random bytes; and the line breaks of a terminal. */
function steady(text: string): string {
  return text.replace(/\d+(\.\d+)? ms/g, "N ms").replace(/127\.0\.0\.1:\d+/g, "127.0.0.1").replace(/\s+/g, " ")
    .replace(/(: the end instead of)( [0-9a-f]{2}){4}/, "$1 BYTES").replace(
      /:( [0-9a-f]{2}){4} \.\.\./g,
      ": BYTES ...",
    );
}

/** Runs a command of the README on another port, and compares the output with the README. */
async function holdRun([, words = "", shown = ""]: RegExpMatchArray, url: string): Promise<void> {
  const args = words.split(" ").map((word) => word.replace("ws://127.0.0.1:6455/", url));
  const { stdout, stderr } = await client(args);
  assertEquals(steady(stdout + stderr), steady(shown));
}

Deno.test("the run that is proven prints what the README shows", async () => {
  const [run] = RUNS;
  assert(run);
  const server = serveEcho({ port: 0 });
  await holdRun(run, server.url);
  await server.shutdown();
});

Deno.test("the run that fails prints what the README shows", async () => {
  const [, run] = RUNS;
  assert(run);
  const lab = await serveLab({ port: 0 });
  await holdRun(run, lab.url);
  await lab.shutdown();
});
