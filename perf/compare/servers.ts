/** The compared servers, each in its own process on its own cores. */

import { BARE, deno, readStandIns, type Server, start, startCommand, startWithPolicy } from "../support.ts";

/** The names of the servers, in the order of the tables; the first is the base of the ratios. */
export const SERVER_NAMES = ["bare", "builtin", "wire", "ws", "bun"] as const;

/** One of the servers. */
export type ServerName = typeof SERVER_NAMES[number];

/** Checks whether a word is the name of a server. */
export function isServerName(word: string): word is ServerName {
  return SERVER_NAMES.some((name) => name === word);
}

/** The versions of the npm packages. */
const PACKAGES = { ws: "8.23.0", bufferutil: "4.1.0", bun: "1.4.5" };
/** The package with the executable of Bun itself; the package `bun` fetches it by a script. */
const BUN_PACKAGE = `@oven/bun-linux-${Deno.build.arch === "aarch64" ? "aarch64" : "x64"}`;

/** Starts the servers. */
export interface Servers extends AsyncDisposable {
  /** The versions here, for the tables. */
  readonly versions: Readonly<Record<string, string>>;
  /** Starts one; the cores are in the form of `taskset -c`. */
  start(name: ServerName, cores: string, more?: readonly string[]): Promise<Server>;
}

/**
 * Installs the npm packages into a folder that goes with the result.
 *
 * @throws {Error} if a package cannot be installed, or there is no Node for `ws`.
 */
export async function prepareServers(names: readonly ServerName[]): Promise<Servers> {
  const standIns = await readStandIns();
  const folder = await Deno.makeTempDir({ prefix: "wsproof-peers-" });
  const bun = `${folder}/node_modules/${BUN_PACKAGE}/bin/bun`;
  const servers: Record<ServerName, (cores: string, more: readonly string[]) => Promise<Server>> = {
    bare: (cores) => start(BARE, {}, cores),
    builtin: (cores, more) => startWithPolicy("builtin", standIns, more, cores),
    wire: (cores, more) => startWithPolicy("wire", standIns, more, cores),
    ws: (cores) => startCommand("node", ["perf/ws_echo.mjs", folder], {}, cores),
    bun: (cores) => startCommand(bun, ["perf/bun_echo.mjs"], {}, cores),
  };
  const versions: Record<string, string> = { deno: Deno.version.deno };
  try {
    const dependencies: Record<string, string> = {};
    if (names.includes("ws")) {
      Object.assign(dependencies, { ws: PACKAGES.ws, bufferutil: PACKAGES.bufferutil });
      versions["node"] = (await readOutput("node", ["--version"])).replace(/^v/, "");
      versions["ws"] = PACKAGES.ws;
    }
    if (names.includes("bun")) {
      dependencies[BUN_PACKAGE] = PACKAGES.bun;
      versions["bun"] = PACKAGES.bun;
    }
    if (Object.keys(dependencies).length > 0) await install(folder, dependencies);
  } catch (error) {
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
  return {
    versions,
    start: (name, cores, more = []) => servers[name](cores, more),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

async function install(folder: string, dependencies: Record<string, string>): Promise<void> {
  await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify({ dependencies }));
  const command = new Deno.Command(Deno.execPath(), { args: ["install", "--quiet"], cwd: folder });
  const { success, stderr } = await command.output();
  if (!success) {
    throw new Error(`npm does not give ws and Bun (--servers bare,builtin,wire does without): ${decode(stderr)}`);
  }
}

/** The standard output of a command, without the last newline. */
export async function readOutput(command: string, args: readonly string[]): Promise<string> {
  try {
    return decode((await new Deno.Command(command, { args: [...args], stdin: "null" }).output()).stdout);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) throw new Error(`There is no ${command}`);
    throw error;
  }
}

function decode(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).trim();
}

/** Whether the server of this tree has an option. */
export async function knowsOption(option: string): Promise<boolean> {
  const { stdout } = await deno(["run", ...await readStandIns(), "server.ts", "--help"]).output();
  return decode(stdout).includes(option);
}
