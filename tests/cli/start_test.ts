/** What the command line loads before it reads its first option: each module takes its part of the time of a short run. */

import { assert, assertEquals } from "@std/assert";
import { standIns } from "../support/command.ts";

const ROOT = new URL("../../", import.meta.url);

interface Graph {
  readonly roots: readonly string[];
  readonly redirects: Readonly<Record<string, string>>;
  readonly modules: readonly Module[];
}

interface Module {
  readonly specifier: string;
  readonly dependencies?: readonly { readonly code?: { readonly specifier?: string }; readonly isDynamic?: boolean }[];
}

/** The modules that load with a script, without what it loads later. */
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

Deno.test("main.ts loads at most 30 modules of ours before it reads its options, and nothing of a connection", async () => {
  const ours = (await loadedWith("main.ts")).filter((path) => /^(lib\/|\w+\.ts$)/.test(path));
  assert(ours.length <= 30, `${ours.length} modules: ${ours.join(" ")}`);
  const early = ours.filter((path) => /^lib\/(server|lab|peer)\/|\/(exchange|builtin|wire|dial|http)\.ts$/.test(path));
  assertEquals(early, []);
});

Deno.test("exchange() loads nothing of HTTP, certificates and failures, as the runtime does the handshake", async () => {
  const paths = await loadedWith("lib/client/exchange.ts");
  assert(paths.includes("lib/connection/builtin.ts"));
  const late = /\/(http\w*|handshake\w*|answer|dial|certificate|tls|failure|opening|wire)\.ts$/;
  assertEquals(paths.filter((path) => late.test(path) && path !== "lib/net/failure.ts"), []);
});
