/** The rule of the house: imports point down, from room to room, and `lib/protocol/` is pure. */

import { assert, assertEquals } from "@std/assert";

const ROOT = new URL("../", import.meta.url);

/** The height of each room. A room imports only from lower ones. */
const HEIGHTS = new Map([
  ["protocol", 0],
  ["net", 1],
  ["connection", 2],
  ["peer", 2],
  ["client", 3],
  ["server", 3],
  ["check", 4],
  ["bench", 4],
  // The lab plays the cases of `check` to clients.
  ["lab", 5],
  ["cli", 6],
  ["shells", 7],
]);

/** The command lines and the library, at the root. */
const SHELLS = ["main.ts", "server.ts", "handler.ts", "mod.ts"];

/** A file with its code, without comments. */
interface Source {
  /** Its path from the root. */
  readonly path: string;
  readonly code: string;
}

async function* filesIn(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))) {
    if (isDirectory) yield* filesIn(`${folder}${name}/`);
    else if (name.endsWith(".ts")) yield `${folder}${name}`;
  }
}

/** Removes comments: whole lines, or line ends behind a space. Addresses in strings have no space before slashes. */
function withoutComments(text: string): string {
  return text.replace(/^[ \t]*\/\*\*?[^]*?\*\//gm, "").replace(/(^|[ \t])\/\/ .*$/gm, "");
}

async function sourcesOf(paths: AsyncIterable<string> | Iterable<string>): Promise<Source[]> {
  const sources: Source[] = [];
  for await (const path of paths) {
    try {
      sources.push({ path, code: withoutComments(await Deno.readTextFile(new URL(path, ROOT))) });
    } catch (error) {
      // Not every shell exists.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return sources;
}

/** The imports and re-exports of a file, static and dynamic. */
function importsOf({ code }: Source): string[] {
  return [...code.matchAll(/(?:\bfrom|\bimport\(?)\s*"([^"]+)"/g)].map(([, specifier = ""]) => specifier);
}

/** The path from the root of an imported file; `undefined` for a package. */
function targetOf({ path }: Source, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return new URL(specifier, new URL(path, ROOT)).href.slice(ROOT.href.length);
}

function roomOf(path: string): string {
  const [first = "", room = ""] = path.split("/");
  return first === "lib" ? room : "shells";
}

const LIB = await sourcesOf(filesIn("lib/"));
const ALL = [...LIB, ...await sourcesOf(SHELLS)];

/** The edges of the import graph to TypeScript files of the house. */
const EDGES = ALL.flatMap((source) =>
  importsOf(source).flatMap((specifier) => {
    const to = targetOf(source, specifier);
    return to?.endsWith(".ts") ? [{ from: source.path, to }] : [];
  })
);

Deno.test("every file of lib/ belongs to a room of known height", () => {
  assertEquals(LIB.map(({ path }) => path).filter((path) => !HEIGHTS.has(roomOf(path))), []);
});

Deno.test("the import graph has every file but the shells, so that none escapes the rule", () => {
  const files = new Set(ALL.map(({ path }) => path));
  assertEquals(EDGES.filter(({ to }) => !files.has(to)), []);
  const imported = new Set(EDGES.map(({ to }) => to));
  // A module without importers is an entry of the library: there are few.
  const entries = LIB.map(({ path }) => path).filter((path) => !imported.has(path));
  assert(entries.length <= LIB.length / 10, `nobody imports ${entries.join(", ")}`);
});

Deno.test("imports point down, never up or sideways", () => {
  const wrong = EDGES.filter(({ from, to }) => {
    const [above, below] = [HEIGHTS.get(roomOf(from)) ?? -1, HEIGHTS.get(roomOf(to)) ?? Infinity];
    return roomOf(from) !== roomOf(to) && above <= below;
  });
  assertEquals(wrong.map(({ from, to }) => `${from} imports ${to}`), []);
});

Deno.test("lib/protocol/ imports nothing from outside", () => {
  const wrong = LIB.filter(({ path }) => roomOf(path) === "protocol").flatMap((source) =>
    importsOf(source).filter((specifier) => !/^\.\/[a-z0-9_]+\.ts$/.test(specifier)).map((specifier) =>
      `${source.path} imports ${specifier}`
    )
  );
  assertEquals(wrong, []);
});

for (const name of ["Deno", "console", "performance", "setTimeout", "setInterval", "setImmediate", "Date", "fetch"]) {
  Deno.test(`lib/protocol/ knows no ${name}`, () => {
    const pattern = new RegExp(`(?<![.\\w"'])${name}\\b(?=[.(])`);
    const wrong = LIB.filter(({ path, code }) => roomOf(path) === "protocol" && pattern.test(code));
    assertEquals(wrong.map(({ path }) => path), []);
  });
}

Deno.test("no import cycle exists in lib/", () => {
  const targets = Map.groupBy(EDGES, ({ from }) => from);
  const done = new Set<string>();
  const cycles: string[] = [];
  function walk(path: string, way: readonly string[]): void {
    if (way.includes(path)) return void cycles.push([...way.slice(way.indexOf(path)), path].join(" > "));
    if (done.has(path)) return;
    for (const { to } of targets.get(path) ?? []) walk(to, [...way, path]);
    done.add(path);
  }
  for (const { path } of ALL) walk(path, []);
  assertEquals(cycles, []);
});

Deno.test("no file has more than 450 lines", async () => {
  const long: string[] = [];
  for (const folder of ["lib/", "tests/", "perf/", "examples/", "offline/", ".ci/"]) {
    for await (const path of filesIn(folder)) {
      const lines = (await Deno.readTextFile(new URL(path, ROOT))).trimEnd().split("\n").length;
      if (lines > 450) long.push(`${path} has ${lines}`);
    }
  }
  assertEquals(long, []);
});
