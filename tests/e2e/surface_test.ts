/** The entry points of the library: few, each name in one of them, and an import runs nothing. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { outcomeOf, standIns, startScript } from "../support/command.ts";

const ROOT = new URL("../../", import.meta.url);

const { exports, publish } = JSON.parse(await Deno.readTextFile(new URL("deno.json", ROOT)));
const ENTRY_POINTS = Object.entries<string>(exports);

/** The names that an entry point exports, those of types as well. */
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
  // The settings of a server, which only a server may find wrong.
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
