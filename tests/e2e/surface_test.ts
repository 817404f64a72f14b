/** The entry points of the library: few, each name in exactly one, no effects on import. Only shells print, exit. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { outcomeOf, standIns, startScript } from "../support/command.ts";

const ROOT = new URL("../../", import.meta.url);

const { exports, publish, tasks } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
const ENTRY_POINTS = Object.entries<string>(exports);

/** The exports of an entry point, types included. */
async function namesOf(file: string): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["doc", "--json", ...standIns, file],
    cwd: ROOT,
  }).output();
  assertEquals(code, 0, new TextDecoder().decode(stderr));
  const { nodes } = JSON.parse(new TextDecoder().decode(stdout));
  const symbols = Object.values<{ symbols: { name: string }[] }>(nodes).flatMap((module) => module.symbols);
  return symbols.map(({ name }) => name);
}

Deno.test("the library has at most six entry points, which are published", () => {
  assert(ENTRY_POINTS.length <= 6, `${ENTRY_POINTS.length}`);
  for (const [, file] of ENTRY_POINTS) {
    const path = file.replace("./", "");
    assert(publish.include.some((place: string) => place === path || path.startsWith(place)), file);
  }
});

Deno.test("a name is exported by one entry point only", async () => {
  const homes = new Map<string, string[]>();
  for (const [entryPoint, file] of ENTRY_POINTS) {
    for (const name of await namesOf(file)) homes.set(name, [...homes.get(name) ?? [], entryPoint]);
  }
  assert(homes.has("exchange") && homes.has("Message"), [...homes.keys()].join());
  assertEquals([...homes].filter(([, places]) => places.length > 1), []);
});

Deno.test("importing the entry points and the shells prints nothing and ends nothing", async () => {
  const files = [...ENTRY_POINTS.map(([, file]) => file), "./server.ts", "./handler.ts"];
  const imports = files.map((file) => `await import(${JSON.stringify(new URL(file, ROOT).href)});`);
  // A wrong setting of a server, which only a server may report.
  const child = startScript(`${imports.join("\n")}\nconsole.log("alive");`, { env: { WSPROOF_RATE: "x" } });
  assertEquals(await outcomeOf(child), { code: 0, stdout: "alive\n", stderr: "" });
});

Deno.test("handler answers requests of a program that imports it, and rejects them where its environment is wrong", async () => {
  const source = `
    const { default: handler } = await import(${JSON.stringify(new URL("handler.ts", ROOT).href)});
    const info = { remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 1 }, completed: Promise.resolve() };
    const response = await handler.fetch(new Request("http://127.0.0.1/healthz"), info);
    console.log(await response.text());`;
  assertEquals(await outcomeOf(startScript(source)), { code: 0, stdout: "ok\n\n", stderr: "" });
  const { code, stderr } = await outcomeOf(startScript(source, { env: { WSPROOF_RATE: "x" } }));
  assertEquals(code, 1);
  assertStringIncludes(stderr, 'UsageError: Variable WSPROOF_RATE cannot be "x"');
});

/** A file, or the files of a folder at any depth. */
async function* filesOf(place: URL): AsyncGenerator<URL> {
  if (!place.pathname.endsWith("/")) return yield place;
  for await (const { name, isDirectory } of Deno.readDir(place)) {
    yield* filesOf(new URL(isDirectory ? `${name}/` : name, place));
  }
}

Deno.test("lib/ neither prints nor ends the process", async () => {
  const found = [];
  for await (const file of filesOf(new URL("lib/", ROOT))) {
    if (!file.pathname.endsWith(".ts")) continue;
    const code = (await Deno.readTextFile(file)).replace(/\/\*.*?\*\//gs, "");
    for (const [use] of code.matchAll(/\bconsole\.|\bDeno\.(?:exit|std(?:out|err)\.w)/g)) found.push(`${file}: ${use}`);
  }
  assertEquals(found, []);
});

Deno.test("CONTRIBUTING names files that exist", async () => {
  const text = await Deno.readTextFile(new URL("CONTRIBUTING.md", ROOT));
  const paths = [...text.matchAll(/`((?:[\w.-]+\/)*[\w-]+\.(?:ts|json|md)|(?:[\w.-]+\/)+)`/g)].map(([, path = ""]) =>
    path
  );
  assert(paths.includes("lib/cli/") && paths.includes("server.ts"), paths.join());
  for (const path of paths.filter((path) => !/^(coverage|dist|\.std)\//.test(path))) {
    await Deno.stat(new URL(path, ROOT));
  }
});

Deno.test("every task that a text of the project names exists", async () => {
  const places = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/",
    "deploy/",
    "perf/",
    ".ci/",
    ".github/",
    "lib/",
    "tests/",
  ];
  const found = [];
  for (const place of places) {
    for await (const file of filesOf(new URL(place, ROOT))) {
      for (const [, task = ""] of (await Deno.readTextFile(file)).matchAll(/\bdeno task (?:-q )?([a-z][\w:]*)/g)) {
        found.push({ file: file.pathname, task });
      }
    }
  }
  assert(found.some(({ task }) => task === "client") && found.some(({ task }) => task === "perf"));
  assertEquals(found.filter(({ task }) => !(task in tasks)), []);
});
