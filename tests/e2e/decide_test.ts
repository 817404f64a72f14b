/** The packages behind the @std names: the tasks of a checkout, with their own registry on loopback. */

import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { type Outcome, outcomeOf } from "../support/command.ts";
import { packagePages, type Registry, serveRegistry } from "../support/registry.ts";

const ROOT = new URL("../../", import.meta.url);
const STAND_INS = "--import-map=offline/import_map.json";

/** An address without a listener; `fetch()` refuses port 1. */
const NOWHERE = "http://127.0.0.1:2/";

/** Prints the source of a package for the client. */
const MAIN = `import "@std/assert"; console.log(import.meta.resolve("@std/assert"), ...Deno.args);`;

const { pages: PAGES, integrity: INTEGRITY } = await packagePages();

/** A checkout with the files of the choice and an empty cache; dispose of it to remove both. */
class Checkout implements AsyncDisposable {
  private constructor(readonly folder: string) {}

  static async make(): Promise<Checkout> {
    const folder = await Deno.makeTempDir();
    for (const name of ["offline", "tests/e2e"]) await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    await Deno.copyFile(new URL("deno.json", ROOT), `${folder}/deno.json`);
    await Deno.copyFile(new URL("tests/e2e/std_test.ts", ROOT), `${folder}/tests/e2e/std_test.ts`);
    for await (const { name } of Deno.readDir(new URL("offline/", ROOT))) {
      await Deno.copyFile(new URL(`offline/${name}`, ROOT), `${folder}/offline/${name}`);
    }
    await Deno.writeTextFile(`${folder}/main.ts`, MAIN);
    const checkout = new Checkout(folder);
    await checkout.lock(INTEGRITY);
    return checkout;
  }

  /** Writes deno.lock with these hashes. */
  async lock(integrity: Readonly<Record<string, string>>): Promise<void> {
    const versions = Object.keys(integrity).map((name) => [`jsr:${name}`, name.slice(name.lastIndexOf("@") + 1)]);
    const packages = Object.entries(integrity).map(([name, hash]) => [name, { integrity: hash }]);
    const lock = {
      version: "5",
      specifiers: Object.fromEntries(versions),
      jsr: Object.fromEntries(packages),
      workspace: { dependencies: versions.map(([name]) => name) },
    };
    await Deno.writeTextFile(`${this.folder}/deno.lock`, JSON.stringify(lock));
  }

  /** Runs Deno in the checkout, with JSR at a URL. */
  deno(jsr: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    const none = Object.fromEntries(
      ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"].flatMap((name) => [[name, ""], [name.toLowerCase(), ""]]),
    );
    const child = new Deno.Command(Deno.execPath(), {
      args: [...args],
      cwd: this.folder,
      env: { ...none, NO_COLOR: "1", DENO_DIR: `${this.folder}/cache`, JSR_URL: jsr, ...env },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    });
    return outcomeOf(child.spawn());
  }

  /** Runs a task. */
  task(jsr: string, ...words: string[]): Promise<Outcome> {
    return this.deno(jsr, ["task", "-q", ...words]);
  }

  /** The remembered choice, by file; undefined if there is none. */
  async remembered(): Promise<Record<string, string> | undefined> {
    const names = (await Array.fromAsync(Deno.readDir(this.folder), ({ name }) => name)).filter((name) =>
      name.startsWith(".std")
    );
    if (names.length === 0) return undefined;
    assertEquals(names, [".std"]);
    const [flags = "", notice = ""] = await Promise.all(
      ["flags", "notice"].map((name) => Deno.readTextFile(`${this.folder}/.std/${name}`)),
    );
    return { flags, notice };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** Asserts the choice of the stand-ins, and its reason. */
function assertStandIns({ code, stdout, stderr }: Outcome, reason: string): void {
  assertEquals([code, stdout.trim()], [0, STAND_INS], stderr);
  assertStringIncludes(stderr, "std: the stand-ins of offline/, as JSR cannot be reached");
  assertStringIncludes(stderr, reason);
}

/** Asserts the choice of JSR's packages, without a message. */
function assertJsr({ code, stdout, stderr }: Outcome): void {
  assertEquals([code, stdout.trim()], [0, ""], stderr);
  assertFalse(stderr.includes("stand-ins"), stderr);
}

Deno.test("the task std:flags chooses JSR and does not ask again, when its packages match deno.lock", async () => {
  await using checkout = await Checkout.make();
  await using registry = serveRegistry(PAGES);
  assertJsr(await checkout.task(registry.url, "std:flags"));
  assertEquals(await checkout.remembered(), { flags: "", notice: "" });
  const { requests } = registry;
  assert(requests > 0);
  assertJsr(await checkout.task(registry.url, "std:flags"));
  assertStringIncludes((await checkout.task(registry.url, "std")).stdout, "std: the packages of JSR");
  assertEquals(registry.requests, requests);
});

Deno.test("the task std:flags chooses the stand-ins, says so and remembers it, when nothing listens", async () => {
  await using checkout = await Checkout.make();
  const first = await checkout.task(NOWHERE, "std:flags");
  assertStandIns(first, "tcp connect error");
  assertEquals(await checkout.remembered(), { flags: STAND_INS, notice: first.stderr });
  assertStandIns(await checkout.task(NOWHERE, "std:flags"), "tcp connect error");
});

for (const status of [403, 502]) {
  Deno.test(`the task std:flags chooses the stand-ins, when something in between answers ${status}`, async () => {
    await using checkout = await Checkout.make();
    await using registry = serveRegistry(new Map(), status);
    assertStandIns(await checkout.task(registry.url, "std:flags"), `the answer is ${status}`);
  });
}

Deno.test("the task std:flags names the variable and not its value, when the proxy is dead", async () => {
  await using checkout = await Checkout.make();
  await using registry = serveRegistry(PAGES);
  const env = { HTTP_PROXY: "http://me:secret@127.0.0.1:2/" };
  const outcome = await checkout.deno(registry.url, ["task", "-q", "std:flags"], env);
  assertStandIns(outcome, "with HTTP_PROXY set");
  assertFalse(outcome.stderr.includes("secret"));
  assertEquals(registry.requests, 0);
});

Deno.test("the task std:flags asks a proxy once, and not again after the choice", async () => {
  await using checkout = await Checkout.make();
  await using proxy = serveRegistry(new Map(), 502);
  const env = { HTTP_PROXY: proxy.url };
  for (let run = 0; run < 3; run++) {
    const outcome = await checkout.deno("http://jsr.test/", ["task", "-q", "std:flags"], env);
    assertStandIns(outcome, "the answer is 502");
    assertEquals(proxy.requests, 1);
  }
});

/** The changed pages of the registry. */
function changed(change: (path: string, text: string) => string | undefined): Map<string, string> {
  const entries = [...PAGES].map(([path, text]) => [path, change(path, text)] as const);
  return new Map(entries.flatMap(([path, text]) => text === undefined ? [] : [[path, text] as const]));
}

const NO_CHOICE: readonly { what: string; serve: () => Registry; says: string }[] = [
  {
    what: "a package does not match deno.lock",
    serve: () => serveRegistry(changed((path, text) => path.endsWith("_meta.json") ? `${text} ` : text)),
    says: "Integrity check failed for package",
  },
  {
    what: "a file does not match its package",
    serve: () => serveRegistry(changed((path, text) => path.endsWith(".ts") ? `${text}\n` : text)),
    says: "Integrity check failed in package",
  },
  {
    what: "the version does not exist",
    serve: () => serveRegistry(changed((path, text) => path.includes("_meta.json") ? undefined : text)),
    says: "1.0.19",
  },
  { what: "JSR answers 404", serve: () => serveRegistry(new Map(), 404), says: "JSR package not found" },
  { what: "JSR answers 500", serve: () => serveRegistry(new Map(), 500), says: "500 Internal Server Error" },
  {
    what: "an answer is not JSON",
    serve: () => serveRegistry(changed(() => "<title>Sign in</title>")),
    says: "@std/assert",
  },
];
for (const { what, serve, says } of NO_CHOICE) {
  Deno.test(`the task std:flags fails and remembers nothing, when ${what}`, async () => {
    await using checkout = await Checkout.make();
    await using registry = serve();
    const { code, stdout, stderr } = await checkout.task(registry.url, "std:flags");
    assertEquals([code, stdout], [1, ""], stderr);
    assertStringIncludes(stderr, says);
    assertStringIncludes(stderr, "std: no choice, as");
    assertEquals(await checkout.remembered(), undefined);
  });
}

Deno.test("the task std:flags fails, when a package of the cache does not match deno.lock and nothing listens", async () => {
  await using checkout = await Checkout.make();
  {
    await using registry = serveRegistry(PAGES);
    assertJsr(await checkout.task(registry.url, "std:flags"));
    await Deno.remove(`${checkout.folder}/.std`, { recursive: true });
    await checkout.lock({ ...INTEGRITY, "@std/cli@1.0.30": "0".repeat(64) });
    // The cache is keyed by URL, so the registry must keep its own.
    const { code, stdout, stderr } = await checkout.deno(registry.url, ["task", "-q", "std:flags"], {
      HTTP_PROXY: NOWHERE,
    });
    assertEquals([code, stdout], [1, ""], stderr);
    assertStringIncludes(stderr, "Integrity check failed for package");
  }
  assertEquals(await checkout.remembered(), undefined);
});

Deno.test("the task std:decide chooses JSR, when its packages are in the cache and nothing listens", async () => {
  await using checkout = await Checkout.make();
  await using registry = serveRegistry(PAGES);
  assertJsr(await checkout.task(registry.url, "std:flags"));
  const { requests } = registry;
  const again = await checkout.deno(registry.url, ["task", "-q", "std:decide"], { HTTP_PROXY: NOWHERE });
  assertStringIncludes(again.stdout, "std: the packages of JSR");
  assertEquals(registry.requests, requests);
});

Deno.test("the task std:decide chooses JSR, when the stand-ins were chosen and JSR is back", async () => {
  await using checkout = await Checkout.make();
  assertStandIns(await checkout.task(NOWHERE, "std:flags"), "tcp connect error");
  await using registry = serveRegistry(PAGES);
  assertStandIns(await checkout.task(registry.url, "std:flags"), "`deno task std:decide` decides again");
  assertEquals(registry.requests, 0);
  assertStringIncludes((await checkout.task(registry.url, "std:decide")).stdout, "std: the packages of JSR");
  assertJsr(await checkout.task(registry.url, "std:flags"));
});

Deno.test("the task std:decide keeps the choice, when there is none to replace it", async () => {
  await using checkout = await Checkout.make();
  assertStandIns(await checkout.task(NOWHERE, "std:flags"), "tcp connect error");
  await using registry = serveRegistry(new Map(), 500);
  assertEquals((await checkout.task(registry.url, "std:decide")).code, 1);
  assertStandIns(await checkout.task(registry.url, "std:flags"), "tcp connect error");
});

Deno.test("the task std:flags makes one choice, when many tasks run at once", async () => {
  await using checkout = await Checkout.make();
  const outcomes = await Promise.all(Array.from({ length: 8 }, () => checkout.task(NOWHERE, "std:flags")));
  for (const outcome of outcomes) assertStandIns(outcome, "tcp connect error");
  assertEquals((await checkout.remembered())?.flags, STAND_INS);
});

Deno.test("the choice counts for one run and says why, when it cannot be written", async () => {
  await using checkout = await Checkout.make();
  const outcome = await checkout.deno(NOWHERE, [
    ...["run", "--no-lock", "--no-prompt", "--allow-env", "--allow-net", "--allow-read", "--allow-run"],
    "offline/decide.ts",
  ]);
  assertStandIns(outcome, "the choice is made at every run, as .std/ cannot be written");
  assertEquals(await checkout.remembered(), undefined);
});

Deno.test("the task client uses the stand-ins and says so each time, when nothing listens", async () => {
  await using checkout = await Checkout.make();
  for (let run = 0; run < 2; run++) {
    const { code, stdout, stderr } = await checkout.task(NOWHERE, "client", "-q", "a b");
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /^file:\S+\/offline\/assert\.ts -q a b\n$/);
    assertStringIncludes(stderr, "std: the stand-ins of offline/");
  }
});

Deno.test("the task client uses the packages of JSR and says nothing, when they match deno.lock", async () => {
  await using checkout = await Checkout.make();
  await using registry = serveRegistry(PAGES);
  await checkout.task(registry.url, "std:flags");
  const { stdout, stderr } = await checkout.task(registry.url, "client", "-q");
  assertEquals([stdout, stderr], [`${registry.url}@std/assert/1.0.19/assert.ts -q\n`, ""]);
});

Deno.test("the task client fails, when a package does not match deno.lock", async () => {
  await using checkout = await Checkout.make();
  await checkout.lock({ ...INTEGRITY, "@std/assert@1.0.19": "0".repeat(64) });
  await using registry = serveRegistry(PAGES);
  const { code, stdout, stderr } = await checkout.task(registry.url, "client");
  assertFalse(code === 0, stderr);
  assertEquals(stdout, "");
  assertStringIncludes(stderr, "Integrity check failed for package");
});
