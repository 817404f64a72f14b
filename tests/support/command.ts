/** Runs the real command lines as the tasks of deno.json do. */

import { assertMatch } from "@std/assert";
import { TERMINAL_VARIABLES } from "../../lib/cli/environment.ts";
import { PROXY_VARIABLES } from "../../lib/net/proxy.ts";

const ROOT = new URL("../../", import.meta.url);

/** Deadline for a command, in milliseconds. */
export const COMMAND_TIMEOUT_MS = 120_000;

/** The output and exit code of a command. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The packages behind the @std names, as remembered by the deciding task or asked from it. */
export const standIns: readonly string[] = await (async () => {
  const flags = await Deno.readTextFile(new URL(".std/flags", ROOT)).catch(async () => {
    const command = new Deno.Command(Deno.execPath(), { args: ["task", "-q", "std:flags"], cwd: ROOT, stderr: "null" });
    return new TextDecoder().decode((await command.output()).stdout);
  });
  return flags.split(/\s+/).filter((word) => word !== "");
})();

/** Options of a process. */
export interface StartOptions {
  /** The standard input; none by default. */
  readonly stdin?: "piped" | "null";
  /** Permissions beyond those of its task. */
  readonly permissions?: readonly string[];
  /** The hosts for `--allow-net`; all by default. */
  readonly net?: string;
  /** Environment variables beyond those of the test. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whether the script may list the variables that it may read, as under its task; `true` by default. */
  readonly isListing?: boolean;
  /** The limit of descriptors; not on Windows. */
  readonly descriptors?: number;
  /** Arguments for `sh`, which starts the script as `"$0" "$@"`; not on Windows. */
  readonly shell?: readonly string[];
}

const PERMISSIONS = {
  // A run with permission to read need not load the modules of all other runs.
  "main.ts": [
    "--unstable-lazy-dynamic-imports",
    "--allow-read",
    `--allow-env=${[...PROXY_VARIABLES, ...TERMINAL_VARIABLES].join()}`,
  ],
  "server.ts": ["--allow-read", "--allow-env=WSPROOF_*"],
};

/** Starts a script of the project. */
export function start(
  script: keyof typeof PERMISSIONS,
  args: readonly string[],
  options: StartOptions = {},
): Deno.ChildProcess {
  const net = options.net === undefined ? "--allow-net" : `--allow-net=${options.net}`;
  const { isListing = true } = options;
  const permissions = [net, ...PERMISSIONS[script], ...isListing ? ["--ignore-env"] : [], ...options.permissions ?? []];
  return spawn(["run", "--no-prompt", ...standIns, ...permissions, script, ...args], options);
}

/** Starts a script given as source, with every permission. */
export function startScript(source: string, options: StartOptions & { flags?: string[] } = {}): Deno.ChildProcess {
  return spawn(["eval", ...standIns, ...options.flags ?? [], source], options);
}

function spawn(words: string[], options: StartOptions): Deno.ChildProcess {
  const { stdin = "null", env = {}, descriptors } = options;
  const { shell = descriptors === undefined ? undefined : ["-c", `ulimit -n ${descriptors}; exec "$0" "$@"`] } =
    options;
  return new Deno.Command(shell ? "sh" : Deno.execPath(), {
    args: shell ? [...shell, Deno.execPath(), ...words] : words,
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Waits for the end of a process, and kills it after the deadline. */
export async function outcomeOf(child: Deno.ChildProcess): Promise<Outcome> {
  const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
  try {
    const { code, stdout, stderr } = await child.output();
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs the client with this standard input. */
export async function client(
  args: readonly string[],
  input: string | Uint8Array = "",
  permissions: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const child = start("main.ts", args, { stdin: "piped", permissions, env });
  const outcome = outcomeOf(child);
  const bytes = typeof input === "string" ? new TextEncoder().encode(input) : input;
  const writer = child.stdin.getWriter();
  // A client that needs no input closes it.
  await writer.write(bytes).then(() => writer.close()).catch(() => {});
  return await outcome;
}

/** The client's report with --json. */
// deno-lint-ignore no-explicit-any -- the tests read the JSON as any program would, and assert its form
export function reportOf(outcome: Outcome): any {
  assertMatch(outcome.stdout, /^\{.*\}\n$/, outcome.stderr);
  return JSON.parse(outcome.stdout);
}

/** The echo server in its own process; dispose of it to stop it. */
export interface ServerProcess extends AsyncDisposable {
  readonly url: string;
  readonly child: Deno.ChildProcess;
  /** The next line of standard output. */
  nextLine(): Promise<string>;
  /** Waits for the end; returns the standard error output. */
  ended(): Promise<{ code: number; stderr: string }>;
  /** The same while standard output is still open and unread. */
  endedUnread(): Promise<{ code: number; stderr: string }>;
}

/** Starts the echo server on a free port. */
export function serverProcess(...args: string[]): Promise<ServerProcess> {
  return serverProcessWith({}, ...args);
}

/** Starts the echo server on a free port, with options for its process. */
export function serverProcessWith(options: StartOptions, ...args: string[]): Promise<ServerProcess> {
  return watchServer(start("server.ts", ["--port", "0", ...args], options));
}

/** Starts `deno serve` with the handler and two workers on a free port, configured by variables. */
export function startHandler(
  env: Readonly<Record<string, string>>,
  ...given: readonly (Pick<StartOptions, "descriptors"> | string)[]
): Deno.ChildProcess {
  const flags = given.filter((word) => typeof word === "string");
  const options = given.find((option) => typeof option !== "string");
  const permissions = ["--no-prompt", "--allow-net", "--allow-read", "--allow-env=WSPROOF_*", "--ignore-env"];
  const place = ["--parallel", "--host", "127.0.0.1", "--port", "0"];
  return spawn(["serve", ...standIns, ...place, ...permissions, ...flags, "handler.ts"], {
    ...options,
    env: { DENO_JOBS: "2", ...env },
  });
}

/** The handler in its own process, once it listens. */
export async function handlerProcess(
  ...[env, ...flags]: Parameters<typeof startHandler>
): Promise<ServerProcess> {
  const child = startHandler(env, ...flags);
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let shown = "";
  while (!shown.includes("threads\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The server ended: ${shown}`);
    shown += value;
  }
  const [, port] = /Listening on http:\/\/127\.0\.0\.1:(\d+)\/ with 2 threads/.exec(shown) ?? [];
  const stderr = (async () => {
    let rest = "";
    for (let part = await reader.read(); !part.done; part = await reader.read()) rest += part.value;
    return rest;
  })();
  return watch(child, stderr, () => Promise.resolve(`ws://127.0.0.1:${port}/`));
}

/** Waits until a server prints its address. */
export function watchServer(child: Deno.ChildProcess): Promise<ServerProcess> {
  return watch(child, new Response(child.stderr).text(), async (nextLine) => {
    const first = await nextLine();
    return first.startsWith("{") ? JSON.parse(first).url : first.slice("Listening on ".length);
  });
}

async function watch(
  child: Deno.ChildProcess,
  stderr: Promise<string>,
  findUrl: (nextLine: () => Promise<string>) => Promise<string>,
): Promise<ServerProcess> {
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const nextLine = async () => {
    while (!text.includes("\n")) {
      const { done, value } = await reader.read();
      if (done) throw new Error(`The server ended: ${await stderr}`);
      text += value;
    }
    const line = text.slice(0, text.indexOf("\n"));
    text = text.slice(line.length + 1);
    return line;
  };
  const endedUnread = async () => {
    const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
    const { code } = await child.status;
    clearTimeout(timer);
    return { code, stderr: await stderr };
  };
  const ended = async () => {
    const end = await endedUnread();
    await reader.cancel();
    return end;
  };
  const url = await findUrl(nextLine);
  assertMatch(url, /^wss?:\/\/127\.0\.0\.1:\d+\/$/);
  return {
    url,
    child,
    nextLine,
    ended,
    endedUnread,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // Already ended.
      }
      await ended();
    },
  };
}
