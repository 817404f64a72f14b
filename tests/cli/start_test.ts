/** The modules that load before the command line reads an option: each takes part of the time of a short run. */

import { assert, assertEquals } from "@std/assert";
import { standIns } from "../support/command.ts";
import { serveEcho } from "../../lib/server/serve.ts";

const ROOT = new URL("../../", import.meta.url);

/** The relevant permissions of the task. */
const PERMISSIONS = ["--allow-net", "--allow-read"];

interface Graph {
  readonly roots: readonly string[];
  readonly redirects: Readonly<Record<string, string>>;
  readonly modules: readonly Module[];
}

interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly { readonly code?: { readonly specifier?: string }; readonly isDynamic?: boolean }[];
}

/** The modules that load with a script, without later ones. */
async function loadedWith(script: string): Promise<string[]> {
  const command = new Deno.Command(Deno.execPath(), { args: ["info", "--json", ...standIns, script], cwd: ROOT });
  const { roots, redirects, modules }: Graph = JSON.parse(new TextDecoder().decode((await command.output()).stdout));
  const bySpecifier = new Map(modules.map((module) => [module.specifier, module]));
  const loaded = new Set<string>(roots);
  for (const specifier of loaded) {
    for (const { code, isDynamic } of bySpecifier.get(specifier)?.dependencies ?? []) {
      if (code?.specifier && !isDynamic) loaded.add(redirects[code.specifier] ?? code.specifier);
    }
  }
  return [...loaded].map((specifier) => specifier.replace(ROOT.href, ""));
}

/** Our modules that the runtime fetches, run as the task does, while the client exchanges a message with a server. */
async function fetchedBy(...options: string[]): Promise<string[]> {
  const server = serveEcho({ port: 0 });
  const flags = ["--unstable-lazy-dynamic-imports", "--log-level=debug", "--no-prompt", ...standIns, ...PERMISSIONS];
  const words = ["run", ...flags, "main.ts", ...options, server.url];
  const { code, stderr } = await new Deno.Command(Deno.execPath(), { args: words, cwd: ROOT }).output();
  await server.shutdown();
  const log = new TextDecoder().decode(stderr);
  assertEquals(code, 0, log);
  const paths = [...log.matchAll(/fetch_no_follow - specifier: (\S+)/g)].map(([, name = ""]) =>
    name.replace(ROOT.href, "")
  );
  return paths.filter((path) => /^(lib\/|\w+\.ts$)/.test(path));
}

Deno.test("a run with a URL alone loads at most 30 modules, and none of options, commands, failures and servers", async () => {
  const paths = await fetchedBy();
  assert(paths.includes("lib/client/exchange.ts"), paths.join(" "));
  assert(paths.length <= 30, `${paths.length} modules: ${paths.join(" ")}`);
  const early = /^lib\/(server|lab|check|peer)\/|options?\.ts$|\/(command\w*|client_\w+|wire\w*|dial|http\w*)\.ts$/;
  assertEquals(paths.filter((path) => early.test(path)), []);
});

Deno.test("a run with options loads no module of another command", async () => {
  const paths = await fetchedBy("--message", "Hello");
  assert(paths.includes("lib/cli/client_settings.ts"), paths.join(" "));
  assertEquals(paths.filter((path) => /^(server\.ts|lib\/(server|lab|check|peer)\/)/.test(path)), []);
});

Deno.test("server.ts and the client's own frames load no module of Node before there is anything to compress", async () => {
  for (const script of ["server.ts", "lib/connection/wire.ts"]) {
    const paths = await loadedWith(script);
    assert(paths.includes("lib/net/zlib.ts"));
    assertEquals(paths.filter((path) => path.startsWith("node:")), [], script);
  }
});

Deno.test("exchange() loads nothing of HTTP, certificates and failures, as the runtime does the handshake", async () => {
  const paths = await loadedWith("lib/client/exchange.ts");
  assert(paths.includes("lib/connection/builtin.ts"));
  const late = /\/(http\w*|handshake\w*|answer|dial|certificate|tls|failure|opening|wire)\.ts$/;
  assertEquals(paths.filter((path) => late.test(path) && path !== "lib/net/failure.ts"), []);
});
