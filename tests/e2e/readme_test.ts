/** The README is true: its commands, its options, its tables and its example are those of the program. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { LAB_STEPS } from "../../lib/lab/program.ts";
import { usageOf } from "../../lib/lab/step.ts";
import { createMetrics } from "../../lib/server/metrics.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { SERVER_OPTIONS } from "../../lib/cli/server_settings.ts";
import { EXIT_CODES } from "../../lib/client/verdict.ts";
import { client, outcomeOf, reportOf, start } from "../support/command.ts";

const README = await Deno.readTextFile(new URL("../../README.md", import.meta.url));

/** The text of the section with this heading. */
function section(heading: string): string {
  const [, text = ""] = README.split(`\n${heading}\n`);
  return text.split(/\n## /)[0] ?? "";
}

/** The first code block in a language. */
function codeBlock(text: string, language: string): string {
  return new RegExp(`\`\`\`${language}\n(.*?)\`\`\``, "s").exec(text)?.[1] ?? "";
}

Deno.test("the quick start is the two set-up commands, in one block", () => {
  assertEquals(
    codeBlock(section("## Quick start"), "sh"),
    "npx --yes deno@2.9.6 task client\nnpx --yes deno@2.9.6 task test\n",
  );
});

Deno.test("the README lists every option of the client, with its value and letter", () => {
  const table = section("## The client");
  for (const { name, short, value } of CLIENT_OPTIONS) {
    assertStringIncludes(table, `\`--${name}${value === undefined ? "" : ` ${value}`}\``);
    if (short !== undefined) assertStringIncludes(table, `\`-${short}\`, \`--${name}`);
  }
});

Deno.test("the README lists every option of the server, with its value and letter, and the help shows it", async () => {
  const help = (await outcomeOf(start("server.ts", ["--help"]))).stdout;
  const table = section("## The server");
  for (const { name, short, value } of SERVER_OPTIONS) {
    const option = `--${name}${value === undefined ? "" : ` ${value}`}`;
    assertStringIncludes(table, `\`${option}\``);
    assertMatch(
      help,
      new RegExp(`^ {2}${short === undefined ? "   " : `-${short},`} ${RegExp.escape(option)}\\s`, "m"),
    );
    if (short !== undefined) assertStringIncludes(table, `\`-${short}\`, \`--${name}`);
  }
});

Deno.test("the README lists every metric, and no other", async () => {
  const stats = { connections: 0, accepted: 0, messages: 0, bytes: 0, closes: [], refusals: [], troubles: [] };
  using metrics = createMetrics(() => stats, "1.2.3");
  const text = await (await metrics.respond(new Request("http://127.0.0.1/metrics"))).text();
  const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  const rows = section("## The server").matchAll(/^\| `([a-z_]+)` +\| (?:`wsproof| {2})/gm);
  assertEquals([...rows].map(([, name]) => name), names);
});

Deno.test("the README lists every step of the lab, and what it does", () => {
  const rows = section("## The lab: test your own client against a peer that misbehaves")
    .matchAll(/^\| `([a-z][^`]*)` +\| (.*?) +\|$/gm);
  assertEquals(
    [...rows].map(([, usage, help]) => [usage, help]),
    Object.values(LAB_STEPS).flat().map((step) => [usageOf(step), step.help]),
  );
});

Deno.test("the README lists every verdict with its exit code", () => {
  const rows = section("## Verdicts and exit codes").matchAll(/^\| (\d+) +\| `([a-z-]+)`/gm);
  assertEquals(Object.fromEntries([...rows].map(([, code, verdict]) => [verdict, Number(code)])), { ...EXIT_CODES });
});

/** The names of all fields, at any depth. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shapeOf(field)]));
}

Deno.test("the example of the JSON report has the fields of a real one, in their order", async () => {
  const example = JSON.parse(codeBlock(section("### The report for a program"), "json"));
  const server = serveEcho({ port: 0 });
  const report = reportOf(await client(["--json", server.url]));
  await server.shutdown();
  assertEquals(JSON.stringify(shapeOf(example)), JSON.stringify(shapeOf(report)));
  assertEquals(example.messages[0].sha256, report.messages[0].sha256);
  const details = (stages: { detail: string }[]) => stages.map(({ detail }) => detail.replace(/:\d+\//, ""));
  assertEquals(details(example.stages), details(report.stages));
});

Deno.test("the places that the README names exist", async () => {
  for (const [, path = ""] of README.matchAll(/`((?:lib|tests|offline|perf)\/[\w/]+\.ts)`/g)) {
    assert((await Deno.stat(new URL(`../../${path}`, import.meta.url))).isFile, path);
  }
  const files = [
    "client/exchange",
    "client/diagnosis",
    "server/builtin_echo",
    "protocol/close",
    "protocol/assembler",
    "connection/builtin",
  ];
  const sources = await Promise.all(
    files.map((file) => Deno.readTextFile(new URL(`../../lib/${file}.ts`, import.meta.url))),
  );
  for (const [, name = ""] of README.matchAll(/`(\w+)\(\)`/g)) {
    assert(sources.some((source) => new RegExp(`\\b${name}\\(`).test(source)), name);
  }
});
