/** The documents are true: their options, tables, places and example match the program. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { CHECK_OPTIONS } from "../../lib/cli/check_settings.ts";
import { SERVER_OPTIONS } from "../../lib/cli/server_settings.ts";
import { TALK_COMMANDS } from "../../lib/client/talk_command.ts";
import { exchange } from "../../lib/client/exchange.ts";
import { DEFAULT_TIMEOUT_MS } from "../../lib/connection/connection.ts";
import { serveLab } from "../../lib/lab/lab.ts";
import { LAB_STEPS } from "../../lib/lab/program.ts";
import { usageOf } from "../../lib/lab/step.ts";
import { Endpoint } from "../../lib/protocol/endpoint.ts";
import { encodeFrame, OPCODE } from "../../lib/protocol/frame.ts";
import { logLine } from "../../lib/server/log.ts";
import { createMetrics } from "../../lib/server/metrics.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { client, outcomeOf, reportOf, serverProcess, start } from "../support/command.ts";
import { codeBlock, documents, placeOf, read } from "../support/documents.ts";

Deno.test("docs/client.md lists every option of the client, with its value and letter", async () => {
  const table = await read("docs/client.md");
  for (const { name, short, value } of CLIENT_OPTIONS) {
    assertStringIncludes(table, `\`--${name}${value === undefined ? "" : ` ${value}`}\``);
    if (short !== undefined) assertStringIncludes(table, `\`-${short}\`, \`--${name}`);
  }
});

Deno.test("docs/client.md lists every command of a conversation", async () => {
  const table = await read("docs/client.md");
  for (const [name, { usage }] of Object.entries(TALK_COMMANDS)) {
    assertStringIncludes(table, `| \`${`${name} ${usage}`.trim()}\` `);
  }
});

Deno.test("the documents name the task of the client with -q, as without it Deno prints a line first", async () => {
  for (const path of [...await documents(), ...OTHERS, "CHANGELOG.md"]) {
    assertEquals((await read(path)).match(/\bdeno task client\b.*/g), null, path);
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

Deno.test("docs/check.md lists every option of check, with its value and letter", async () => {
  const table = await read("docs/check.md");
  for (const { name, short, value } of CHECK_OPTIONS) {
    assertStringIncludes(table, `\`--${name}${value === undefined ? "" : ` ${value}`}\``);
    if (short !== undefined) assertStringIncludes(table, `\`-${short}\`, \`--${name}`);
  }
});

Deno.test("docs/check.md shows each field of the report of check, in their order", async () => {
  const example = JSON.parse(codeBlock(await read("docs/check.md"), "json"));
  const server = serveEcho({ port: 0, transport: "wire" });
  const report = reportOf(await client(["check", "--json", server.url, "5.18"]));
  await server.shutdown();
  assertEquals(Object.keys(example), Object.keys(report));
  assertEquals(Object.keys(example.cases[0]), Object.keys(report.cases[0]));
  for (const name of ["id", "autobahn", "section", "rule", "title", "level"]) {
    assertEquals(example.cases[0][name], report.cases[0][name]);
  }
  assertEquals(shapeOf(example.counts), shapeOf(report.counts));
});

/** The default in a text, such as 16MiB. */
function defaultIn(text: string): string | undefined {
  return /default (\d+(?: ?[KMG]iB)?)/.exec(text)?.[1]?.replace(" ", "");
}

Deno.test("the options of docs/client.md and docs/server.md have the defaults that the help shows", async () => {
  for (const [path, options] of [["docs/client.md", CLIENT_OPTIONS], ["docs/server.md", SERVER_OPTIONS]] as const) {
    const rows = (await read(path)).split("\n").filter((line) => line.startsWith("| `-"));
    const numbers = options.map(({ name, help }) => [name, defaultIn([help].flat().join(" "))] as const);
    assert(numbers.filter(([, number]) => number !== undefined).length >= 4, path);
    for (const [name, number] of numbers) {
      const row = rows.find((row) => row.includes(`--${name} `) || row.includes(`--${name}\``)) ?? "";
      assertEquals(defaultIn(row), number, `${path}: --${name}`);
    }
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

Deno.test(
  "docs/server.md lists the fields of each line of the log",
  { ignore: Deno.build.os === "windows" },
  async () => {
    const rows = (await read("docs/server.md")).matchAll(/^\| `([a-z]+)` +\| ([^|]*?) +\|$/gm);
    // Field names, without bracketed values and the text after a colon.
    const namesIn = (cell: string) =>
      [...cell.replace(/\(.*?\)|: .*/g, "").matchAll(/`(\w+)`/g)].map(([, name]) => name);
    const fields = new Map([...rows].map(([, type, cell = ""]) => [type, namesIn(cell)]));
    await using server = await serverProcess("--log", "json", "--transport", "wire");
    await client(["-q", server.url]);
    const lines = [await server.nextLine(), await server.nextLine()];
    await (await fetch(server.url.replace("ws:", "http:"), { method: "POST" })).body?.cancel();
    lines.push(await server.nextLine());
    server.child.kill("SIGTERM");
    lines.push(await server.nextLine(), await server.nextLine());
    const events = lines.map((line) => JSON.parse(line));
    assertEquals(events.map(({ type }) => type), ["opened", "closed", "refused", "draining", "stopped"]);
    for (const { time, type, ...rest } of events) {
      assertMatch(time, /^\d{4}-\d\d-\d\dT/);
      assertEquals(Object.keys(rest), fields.get(type), type);
    }
  },
);

Deno.test("docs/lab.md lists every step of the lab with its help", async () => {
  const rows = (await read("docs/lab.md")).matchAll(/^\| `([a-z][^`]*)` +\| (.*?) +\|$/gm);
  assertEquals(
    [...rows].map(([, usage, help]) => [usage, help]),
    Object.values(LAB_STEPS).flat().map((step) => [usageOf(step), step.help]),
  );
});

/** All field names, at any depth. */
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

Deno.test("docs/report.md describes every field of a report, in their order", async () => {
  const document = await read("docs/report.md");
  const rows = [...document.matchAll(/^\| `(\w+)` +\|/gm)].map(([, name]) => name);
  const report = JSON.parse(codeBlock(document, "json"));
  assertEquals(rows, [...Object.keys(report), ...Object.keys(report.close)]);
});

Deno.test("docs/library.md lists every entry point, with its module and names that it exports", async () => {
  const { exports } = JSON.parse(await read("deno.json"));
  const rows = [...(await read("docs/library.md")).matchAll(/^\| `(\.[^`]*)` +\| `([^`]+)` +\| (.*) \|$/gm)];
  assertEquals(Object.fromEntries(rows.map(([, entryPoint, file]) => [entryPoint, `./${file}`])), exports);
  for (const [, , file = "", contents = ""] of rows) {
    const names = Object.keys(await import(placeOf(file).href));
    for (const [, name = ""] of contents.matchAll(/`(\w+)`/g)) assert(names.includes(name), `${file}: ${name}`);
  }
});

/** A server endpoint in a phase, and its later events. */
function endpointIn(phase: string, discardsAfterClose = false): { endpoint: Endpoint; told: string[] } {
  const told: string[] = [];
  const endpoint: Endpoint = new Endpoint("server", {
    onOutput: (opcode) => told.push(`sends ${opcode}`),
    onMessage: () => told.push("message"),
    onClose: () => told.push("close"),
    onFailure: () => told.push("failure"),
  }, { discardsAfterClose });
  if (phase === "closing") endpoint.close(1000);
  if (phase === "closed") endpoint.receive(fromClient(OPCODE.close, 0x03, 0xe8));
  if (phase === "failed") endpoint.receive(fromClient(OPCODE.text, 0xff));
  assertEquals(endpoint.phase, phase);
  told.length = 0;
  return { endpoint, told };
}

function fromClient(opcode: number, ...payload: number[]): Uint8Array<ArrayBuffer> {
  return encodeFrame(opcode, Uint8Array.from(payload), { maskingKey: Uint8Array.of(1, 2, 3, 4) });
}

/** The phase table's words for events of an endpoint, by input. */
const REACTIONS: Record<string, Record<string, string>> = {
  data: { message: "a message", failure: "a breach: `failed`", "": "ignored" },
  ping: { [`sends ${OPCODE.pong}`]: "answered", "": "ignored" },
  close: { [`sends ${OPCODE.close},close`]: "is answered: `closed`", close: "ends it: `closed`", "": "is ignored" },
};

Deno.test("the phase table of docs/architecture.md matches the endpoint", async () => {
  const table = (await read("docs/architecture.md")).matchAll(
    /^\| `(\w+)` +\| [^|]+\| ([^|]+?) +\| (\w+) +\| ([^|]+?) +\|$/gm,
  );
  const rows = [...table].map(([, ...cells]) => cells);
  assertEquals(rows.map(([phase]) => phase), ["open", "closing", "closed", "failed"]);
  for (const [phase = "", data, ping, close] of rows) {
    const react = (kind: string, frame: Uint8Array<ArrayBuffer>, discards = false) => {
      const { endpoint, told } = endpointIn(phase, discards);
      endpoint.receive(frame);
      return { endpoint, words: REACTIONS[kind]?.[told.join()] };
    };
    const text = () => fromClient(OPCODE.text, 0x61);
    const kept = react("data", text()).words;
    const discarded = react("data", text(), true).words;
    assertEquals(kept === discarded ? kept : `${kept}, or discarded`, data, phase);
    assertEquals(react("ping", fromClient(OPCODE.ping)).words, ping, phase);
    const { endpoint, words } = react("close", fromClient(OPCODE.close, 0x03, 0xe9));
    if (phase === "failed") assertEquals([close, endpoint.received?.code], ["is noted", 1001]);
    else assertEquals(words, close, phase);
  }
});

Deno.test("docs/architecture.md draws every room of lib/, and names every module of lib/protocol/", async () => {
  const document = await read("docs/architecture.md");
  for await (const { name } of Deno.readDir(placeOf("lib/"))) assertStringIncludes(document, `["lib/${name}<br>`);
  for await (const { name } of Deno.readDir(placeOf("lib/protocol/"))) {
    if (name !== "mod.ts") assertMatch(document, new RegExp(`\`(lib/protocol/)?${name}\``));
  }
});

/** The source of every module below a folder. */
async function sources(folder = "lib/"): Promise<string[]> {
  const texts: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(placeOf(folder))) {
    if (isDirectory) texts.push(...await sources(`${folder}${name}/`));
    else if (name.endsWith(".ts")) texts.push(await read(folder + name));
  }
  return texts;
}

Deno.test("the deadlines of docs/architecture.md are those of the code", async () => {
  const rows = [...(await read("docs/architecture.md")).matchAll(/^\| .*\| +(\d+) s \| `(\w+)` +\|$/gm)];
  assert(rows.length >= 7, `${rows.length} rows`);
  const code = (await sources()).join("\n");
  for (const [, seconds = "", name = ""] of rows) {
    const [, value = ""] = new RegExp(`^export const ${name} = ([\\d_]+);`, "m").exec(code) ?? [];
    assertEquals(Number(value.replaceAll("_", "")) / (name.endsWith("_MS") ? 1000 : 1), Number(seconds), name);
  }
});

/** All documents that tests hold to the code, as one text. */
async function wholeText(): Promise<string> {
  return (await Promise.all([...await documents(), ...OTHERS].map(read))).join("\n");
}

const OTHERS = ["CONTRIBUTING.md", "deploy/README.md", "perf/README.md", "perf/faults.md"];

Deno.test("the places and functions that the documents name exist", async () => {
  const text = (await Promise.all((await documents()).map(read))).join("\n");
  const places = [...text.matchAll(/`((?:lib|tests|offline|perf|examples|deploy)\/[\w/]*(?:\.(?:ts|sh|md))?)`/g)];
  assert(places.length > 20, `${places.length} places`);
  for (const [, path = ""] of places) {
    const { isFile, isDirectory } = await Deno.stat(placeOf(path));
    assert(path.endsWith("/") ? isDirectory : isFile, path);
  }
  const code = (await sources()).join("\n");
  for (const [, name = ""] of text.matchAll(/`(\w+)\(\)`/g)) assertMatch(code, new RegExp(`\\b${name}\\(`), name);
});

Deno.test("the names of docs/history.md are in the named modules", async () => {
  const rows = [...(await read("docs/history.md")).matchAll(/\| ([^|]+) in `(lib\/[\w/.]+)` +\|/g)];
  assert(rows.length >= 6, `${rows.length} rows`);
  for (const [, cell = "", path = ""] of rows) {
    const code = path.endsWith("/") ? (await sources(path)).join("\n") : await read(path);
    for (const [, name = ""] of cell.matchAll(/`(\w+)(?:\(\))?`/g)) {
      assertMatch(
        code,
        new RegExp(`(function|class|interface) ${name}\\b|^  (async )?${name}\\(`, "m"),
        `${path}: ${name}`,
      );
    }
  }
});

Deno.test("the commands of the documents take the flags for Deno from the task that prints them", async () => {
  const tasks = [...(await wholeText()).matchAll(/\$\(deno task -q ([\w:]+)\)/g)].map(([, name]) => name);
  assertEquals([...new Set(tasks)], ["std:flags"]);
});

Deno.test("the variables that the documents name are options of the server", async () => {
  const named = [...(await wholeText()).matchAll(/\bWSPROOF_([A-Z_]*[A-Z])\b/g)].map(([, name = ""]) => name);
  const variables = SERVER_OPTIONS.map(({ name }) => name.toUpperCase().replaceAll("-", "_"));
  assertEquals(
    [...new Set(named)].filter((name) => !["NAME", "LAB_URL"].includes(name) && !variables.includes(name)),
    [],
  );
});

Deno.test("the long options that the documents name are those of client, server, check or Deno", async () => {
  const text = (await Promise.all((await documents()).map(read))).join("\n");
  const known = [...CLIENT_OPTIONS, ...SERVER_OPTIONS, ...CHECK_OPTIONS].map(({ name }) => name);
  const named = [...text.matchAll(/`--([a-z0-9-]+)/g)].map(([, name = ""]) => name);
  assertEquals([...new Set(named)].filter((name) => !known.includes(name) && !DENO_OPTIONS.includes(name)), []);
});

const DENO_OPTIONS = [
  "allow-net",
  "allow-read",
  "allow-env",
  "allow-write",
  "ignore-env",
  "parallel",
  "unstable-net",
  "unstable-no-legacy-abort",
  "v8-flags",
  "allow-run",
  "experimental-websocket",
];

/** GitHub's anchor for a heading. */
function anchorOf(heading: string): string {
  return heading.toLowerCase().replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

Deno.test("the links between the documents lead somewhere, headings too", async () => {
  const paths = [...await documents(), ...OTHERS, "CHANGELOG.md"];
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

/** The client's output for peers with the faults of the page. */
async function printed(): Promise<string> {
  const lab = await serveLab({ port: 0 });
  const said = [];
  for (
    const [path, options] of [
      ["refuse/401", { transport: "wire" }],
      ["refuse/421", { transport: "wire" }],
      ["mute", { replyTimeoutMs: 100 }],
      ["greet/x", {}],
      ["corrupt", {}],
      ["close/1009", {}],
      ["answer-close/1011", {}],
      ["drop-on-close", {}],
      ["corupt", { transport: "wire" }],
    ] as const
  ) {
    const { problem, hint } = await exchange(lab.url + path, options);
    said.push(problem, hint);
  }
  await lab.shutdown();
  said.push(logLine("text", { type: "dropped", lines: 2 }, new Date(0)));
  // The page shows the client's default deadline.
  return said.join("\n").replace("within 0.1 s", `within ${DEFAULT_TIMEOUT_MS / 1000} s`).replaceAll('\\"', '"');
}

Deno.test("docs/troubleshooting.md quotes messages that the program prints", async () => {
  const texts = [...await sources(), await read("server.ts"), await printed()].join("\n");
  const rows = [...(await read("docs/troubleshooting.md")).matchAll(/^\| (?:\d +\| )?(.*?) +\|/gm)];
  const quoted = rows.flatMap(([, symptom = ""]) => [...symptom.matchAll(/`((?!deno )[A-Za-z][^`]* [^`]*)`/g)])
    .map(([, message = ""]) => message);
  assert(quoted.length >= 20, `${quoted.length} messages`);
  for (const message of quoted) {
    for (const piece of message.split("…")) assertStringIncludes(texts, piece, message);
  }
});
