/** Shared by the measurements: servers in their own processes, and a process's figures from Linux. */

/** A server in its own process; dispose of it to kill it. */
export interface Server extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

/** Makes a command of Deno with piped output. */
export function deno(args: readonly string[]): Deno.Command {
  return new Deno.Command(Deno.execPath(), { args: [...args], stdin: "null", stdout: "piped", stderr: "inherit" });
}

/** The packages behind the @std names, from the deciding task. */
export async function readStandIns(): Promise<string[]> {
  const { stdout } = await deno(["task", "-q", "std:flags"]).output();
  return new TextDecoder().decode(stdout).split(/\s+/).filter((word) => word !== "");
}

/** Starts a server on Deno; the cores are in the form of `taskset -c`. */
export function start(args: readonly string[], env: Record<string, string> = {}, cores?: string): Promise<Server> {
  return startCommand(Deno.execPath(), ["run", "--no-prompt", "--allow-net", ...args], env, cores);
}

/** Starts a server that prints its address. */
export async function startCommand(
  program: string,
  programArgs: readonly string[],
  env: Record<string, string> = {},
  cores?: string,
): Promise<Server> {
  const [command, args] = cores === undefined
    ? [program, programArgs]
    : ["taskset", ["-c", cores, program, ...programArgs]];
  const child = new Deno.Command(command, { args: [...args], env, stdin: "null", stdout: "piped", stderr: "inherit" })
    .spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const [, url = ""] = /^Listening on (\S+)/.exec((await reader.read()).value ?? "") ?? [];
  if (url === "") throw new Error(`${args.join(" ")} does not say where it listens`);
  return {
    url,
    pid: child.pid,
    async [Symbol.asyncDispose]() {
      child.kill();
      await reader.cancel();
      await child.status;
    },
  };
}

/** The memory of a process in MiB: resident now, or at its peak. */
export async function readMebibytes(pid: number, which: "VmRSS" | "VmHWM"): Promise<number> {
  // Reading below /proc would need every permission.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`], stderr: "null" }).output();
  const [, kibibytes] = new RegExp(`^${which}:\\s+(\\d+) kB$`, "m").exec(new TextDecoder().decode(stdout)) ?? [];
  return Number(kibibytes) / 1024;
}

/** The middle value. */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** V8's short-lived memory, as in the tasks and deploy/. Why: perf/README.md, "10,000 idle connections". */
export const V8_FLAGS = "--v8-flags=--max-semi-space-size=4";

/** The bare lines, with Deno as it comes: the flags in `deno.json` are ours. */
export const BARE: readonly string[] = ["--no-config", "perf/bare_echo.ts"];

const TOKEN = "open sesame";
const ORIGIN = "https://app.example";
const PROTOCOL = "echo";

/** A server with the whole policy on, and unreachable limits. */
export function startWithPolicy(
  transport: "builtin" | "wire",
  standIns: readonly string[],
  more: readonly string[] = [],
  cores?: string,
): Promise<Server> {
  const limits = [
    ["--max-connections", "20000"],
    ["--max-message", "16MiB"],
    ["--max-buffered", "16MiB"],
    ["--max-buffered-total", "512MiB"],
    ["--rate", "100000000,1000GiB"],
    ["--allow-origin", ORIGIN],
    ["--protocol", PROTOCOL],
  ].flat();
  const place = ["--transport", transport, "--quiet", "--port", "0"];
  return start([
    V8_FLAGS,
    ...standIns,
    "--allow-read",
    "--allow-env=WSPROOF_TOKEN",
    "server.ts",
    ...place,
    ...limits,
    ...more,
  ], {
    WSPROOF_TOKEN: TOKEN,
  }, cores);
}

/** The fields of a handshake that such a server accepts. */
export const POLICY_FIELDS: readonly string[] = [
  `Origin: ${ORIGIN}`,
  `Authorization: Bearer ${TOKEN}`,
  `Sec-WebSocket-Protocol: ${PROTOCOL}`,
];
