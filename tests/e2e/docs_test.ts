/** The documents are true: their options, their tables, their places and their example are those of the program. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { SERVER_OPTIONS } from "../../lib/cli/server_settings.ts";
import { LAB_STEPS } from "../../lib/lab/program.ts";
import { usageOf } from "../../lib/lab/step.ts";
import { createMetrics } from "../../lib/server/metrics.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { client, outcomeOf, reportOf, start } from "../support/command.ts";
import { codeBlock, documents, placeOf, read } from "../support/documents.ts";

Deno.test("docs/client.md lists every option of the client, with its value and letter", async () => {
  const table = await read("docs/client.md");
  for (const { name, short, value } of CLIENT_OPTIONS) {
    assertStringIncludes(table, `\`--${name}${value === undefined ? "" : ` ${value}`}\``);
    if (short !== undefined) assertStringIncludes(table, `\`-${short}\`, \`--${name}`);
  }
});

Deno.test("docs/server.md lists every option of the server, with its value and letter, and the help shows it", async () => {
  const help = (await outcomeOf(start("server.ts", ["--help"]))).stdout;
  const table = await read("docs/server.md");
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

Deno.test("docs/server.md lists every metric, and no other", async () => {
  const stats = { connections: 0, accepted: 0, messages: 0, bytes: 0, closes: [], refusals: [], troubles: [] };
  using metrics = createMetrics(() => stats, "1.2.3");
  const text = await (await metrics.respond(new Request("http://127.0.0.1/metrics"))).text();
  const names = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name);
  const rows = (await read("docs/server.md")).matchAll(/^\| `([a-z_]+)` +\| (?:`wsproof| {2})/gm);
  assertEquals([...rows].map(([, name]) => name), names);
});

Deno.test("docs/lab.md lists every step of the lab, and what it does", async () => {
  const rows = (await read("docs/lab.md")).matchAll(/^\| `([a-z][^`]*)` +\| (.*?) +\|$/gm);
  assertEquals(
    [...rows].map(([, usage, help]) => [usage, help]),
    Object.values(LAB_STEPS).flat().map((step) => [usageOf(step), step.help]),
  );
});

/** The names of all fields, at any depth. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shapeOf);
  if (typeof value !== "object" || value === null) return typeof value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, shapeOf(field)]));
}

Deno.test("the example of the JSON report has the fields of a real one, in their order", async () => {
  const example = JSON.parse(codeBlock(await read("docs/report.md"), "json"));
  const server = serveEcho({ port: 0 });
  const report = reportOf(await client(["--json", server.url]));
  await server.shutdown();
  assertEquals(JSON.stringify(shapeOf(example)), JSON.stringify(shapeOf(report)));
  assertEquals(example.messages[0].sha256, report.messages[0].sha256);
  const details = (stages: { detail: string }[]) => stages.map(({ detail }) => detail.replace(/:\d+\//, ""));
  assertEquals(details(example.stages), details(report.stages));
});

Deno.test("the places that the documents name exist", async () => {
  const text = (await Promise.all((await documents()).map(read))).join("\n");
  for (const [, path = ""] of text.matchAll(/`((?:lib|tests|offline|perf|examples)\/[\w/]+\.(?:ts|sh|md))`/g)) {
    assert((await Deno.stat(placeOf(path))).isFile, path);
  }
  const files = [
    "client/exchange",
    "client/diagnosis",
    "server/builtin_echo",
    "protocol/close",
    "protocol/assembler",
    "connection/builtin",
  ];
  const sources = await Promise.all(files.map((file) => read(`lib/${file}.ts`)));
  for (const [, name = ""] of text.matchAll(/`(\w+)\(\)`/g)) {
    assert(sources.some((source) => new RegExp(`\\b${name}\\(`).test(source)), name);
  }
});

/** The anchor that GitHub gives a heading. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

Deno.test("the links between the documents lead somewhere, headings too", async () => {
  const paths = [...await documents(), "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md", "perf/README.md"];
  for (const path of paths) {
    for (const [link, target = ""] of (await read(path)).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue;
      const url = new URL(target, placeOf(path));
      const anchor = url.hash.slice(1);
      url.hash = "";
      const info = await Deno.stat(url).catch(() => undefined);
      assert(info !== undefined, `${path}: ${link}`);
      if (anchor === "") continue;
      const anchors = (await Deno.readTextFile(url)).matchAll(/^#+ (.*)$/gm);
      assert([...anchors].some(([, heading = ""]) => anchorOf(heading) === anchor), `${path}: ${link}`);
    }
  }
});
