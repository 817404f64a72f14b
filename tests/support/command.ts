/** Runs the real command lines, the way the tasks of deno.json do. */

import { assertMatch } from "@std/assert";
import { PROXY_VARIABLES } from "../../lib/transport/proxy.ts";

const ROOT = new URL("../../", import.meta.url);

/** How long a command may take before the test gives up on it, in milliseconds. */
const COMMAND_TIMEOUT_MS = 60_000;

/** What a command printed, and its exit code. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Which packages stand behind the @std names, in the words of the task that decides. */
export const standIns: readonly string[] = await (async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["task", "-q", "std"], cwd: ROOT, stderr: "null" })
    .output();
  return new TextDecoder().decode(stdout).split(/\s+/).filter((word) => word !== "");
})();

/** How a script is started. */
export interface StartOptions {
  /** Where its standard input comes from; nowhere by default. */
  readonly stdin?: "piped" | "null";
  /** Permissions besides those of its task. */
  readonly permissions?: readonly string[];
  /** Variables of its environment besides those of the test. */
  readonly env?: Readonly<Record<string, string>>;
  /** How many descriptors it may have; not on Windows. */
  readonly descriptors?: number;
}

const PERMISSIONS = {
  "main.ts": ["--allow-net", "--allow-read", `--allow-env=${PROXY_VARIABLES.join()}`],
  "server.ts": ["--allow-net", "--allow-read", "--allow-env=WSPROOF_*"],
};

/** Starts a script of the project. */
export function start(
  script: keyof typeof PERMISSIONS,
  args: readonly string[],
  options: StartOptions = {},
): Deno.ChildProcess {
  const permissions = [...PERMISSIONS[script], ...options.permissions ?? []];
  return spawn(["run", "--no-prompt", ...standIns, ...permissions, script, ...args], options);
}

/** Starts a script that stands nowhere but here; it has every permission. */
export function startScript(source: string, options: StartOptions = {}): Deno.ChildProcess {
  return spawn(["eval", ...standIns, source], options);
}

function spawn(words: string[], { stdin = "null", env = {}, descriptors }: StartOptions): Deno.ChildProcess {
  const limited = ["-c", `ulimit -n ${descriptors}; exec "$0" "$@"`, Deno.execPath(), ...words];
  return new Deno.Command(descriptors === undefined ? Deno.execPath() : "sh", {
    args: descriptors === undefined ? words : limited,
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** Waits for the end of a process, and kills it if it does not come. */
export async function outcomeOf(child: Deno.ChildProcess): Promise<Outcome> {
  const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
  try {
    const { code, stdout, stderr } = await child.output();
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } finally {
    clearTimeout(timer);
  }
}

/** Runs the client with an input on its standard input. */
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
  // A client that is not interested in its input closes it.
  await writer.write(bytes).then(() => writer.close()).catch(() => {});
  return await outcome;
}

/** The report that the client printed with --json. */
// deno-lint-ignore no-explicit-any -- the tests read the JSON as any program would, and state the form that they find
export function reportOf(outcome: Outcome): any {
  assertMatch(outcome.stdout, /^\{.*\}\n$/, outcome.stderr);
  return JSON.parse(outcome.stdout);
}

/** The echo server in a process of its own; dispose of it to stop it. */
export interface ServerProcess extends AsyncDisposable {
  readonly url: string;
  readonly child: Deno.ChildProcess;
  /** The next line on its standard output. */
  nextLine(): Promise<string>;
  /** Waits for its end, and gives what stands on its standard error output. */
  ended(): Promise<{ code: number; stderr: string }>;
}

/** Starts the echo server on a free port. */
export function serverProcess(...args: string[]): Promise<ServerProcess> {
  return serverProcessWith({}, ...args);
}

/** Starts the echo server on a free port, with more options for its process. */
export async function serverProcessWith(options: StartOptions, ...args: string[]): Promise<ServerProcess> {
  const child = start("server.ts", ["--port", "0", ...args], options);
  const stderr = new Response(child.stderr).text();
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
  const ended = async () => {
    const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
    const { code } = await child.status;
    clearTimeout(timer);
    await reader.cancel();
    return { code, stderr: await stderr };
  };
  const first = await nextLine();
  const url = first.startsWith("{") ? JSON.parse(first).url : first.slice("Listening on ".length);
  assertMatch(url, /^wss?:\/\/127\.0\.0\.1:\d+\/$/, first);
  return {
    url,
    child,
    nextLine,
    ended,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // It has ended already.
      }
      await ended();
    },
  };
}
