/** Shared by the fuzzers: random numbers with a seed, servers in their own processes, and findings. */

import { createAuthority } from "../../tests/support/certificates.ts";
import { readMebibytes } from "../support.ts";
import { Random } from "./random.ts";

const ROOT = new URL("../../", import.meta.url);

/** Deadline for a server to listen, and to end, in milliseconds. */
const PROCESS_TIMEOUT_MS = 60_000;

/** Deno's flags for every server. */
export const FLAGS: readonly string[] = [
  ...["--import-map=offline/import_map.json", "--allow-net", "--allow-read", "--allow-env=WSPROOF_*"],
];

/** The settings of a fuzzer. */
export interface FuzzSettings {
  readonly count: number;
  readonly seed: number;
}

/** Reads `--count N` and `--seed N`; by default this many tries, and the seed 6455. */
export function readSettings(args: readonly string[], count: number): FuzzSettings {
  const numberOf = (name: string) => {
    const at = args.indexOf(name);
    return at === -1 ? undefined : Number(args[at + 1]);
  };
  const settings = { count: numberOf("--count") ?? count, seed: numberOf("--seed") ?? 6455 };
  if (Object.values(settings).every((value) => Number.isSafeInteger(value) && value > 0)) return settings;
  throw new Error("Give --count and --seed as whole numbers above 0");
}

/** A server under attack. */
export interface Target {
  readonly name: string;
  readonly hostname: string;
  readonly port: number;
  /** The authority of its certificate, as PEM text, if it speaks TLS. */
  readonly caCert?: string | undefined;
  /** Whether the process still runs. */
  isAlive(): boolean;
  /** Resident memory, in MiB. */
  residentMib(): Promise<number>;
  /** How many descriptors it has open. */
  descriptors(): number;
  /** Ends the server; returns the faults of its end: its exit code, or its standard error output. */
  stop(): Promise<string[]>;
}

/** Connects to a server, over TLS if it speaks that. */
export function connectTo({ hostname, port, caCert }: Target): Promise<Deno.Conn> {
  return caCert === undefined
    ? Deno.connect({ hostname, port })
    : Deno.connectTls({ hostname, port, caCerts: [caCert] });
}

/** Makes a certificate for 127.0.0.1, in files for the server; they can be removed once it listens. */
export async function makePair(): Promise<{ args: string[]; caCert: string; remove(): Promise<void> }> {
  const authority = await createAuthority();
  const { cert, key } = await authority.sign("wsproof fuzz");
  const directory = await Deno.makeTempDir();
  await Deno.writeTextFile(`${directory}/cert.pem`, cert);
  await Deno.writeTextFile(`${directory}/key.pem`, key);
  return {
    args: ["--cert", `${directory}/cert.pem`, "--key", `${directory}/key.pem`],
    caCert: authority.cert,
    remove: () => Deno.remove(directory, { recursive: true }),
  };
}

/** Options of {@linkcode startTarget}. */
export interface TargetOptions {
  /** The authority of its certificate, as PEM text, if it speaks TLS. */
  readonly caCert?: string;
  /** More of its environment. */
  readonly env?: Record<string, string>;
  /** Receives each line of its standard output. */
  readonly onLine?: (line: string) => void;
}

/**
 * Starts a server, and waits for its address.
 *
 * @param name Its name.
 * @param args The arguments of Deno.
 * @param options The authority of its certificate, its environment, and a listener for its output.
 */
export async function startTarget(
  name: string,
  args: readonly string[],
  { caCert, env = {}, onLine = () => {} }: TargetOptions = {},
): Promise<Target> {
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let isAlive = true;
  const status = child.status.finally(() => isAlive = false);
  const output = watch(child.stdout, onLine);
  const errors = watch(child.stderr);
  const [, port] = await within(
    Promise.race([output.match(/:(\d+)\/[\s"]/), errors.match(/Listening on http:\/\/[^\s]*:(\d+)\/\s/)]),
    `${name} to listen`,
    PROCESS_TIMEOUT_MS,
  );
  return {
    name,
    hostname: "127.0.0.1",
    port: Number(port),
    caCert,
    isAlive: () => isAlive,
    residentMib: () => readMebibytes(child.pid, "VmRSS"),
    descriptors() {
      // Reading the folder itself needs every permission of Deno.
      const { stdout } = new Deno.Command("ls", { args: [`/proc/${child.pid}/fd`] }).outputSync();
      return new TextDecoder().decode(stdout).trim().split("\n").length;
    },
    async stop() {
      const found: string[] = [];
      if (!isAlive) found.push(`${name} ended by itself`);
      else child.kill("SIGTERM");
      try {
        const { code, signal } = await within(status, `${name} to end`, PROCESS_TIMEOUT_MS);
        // `deno serve` ends by the signal itself.
        if (code !== 0 && signal !== "SIGTERM" && code !== 143) found.push(`${name} ended with exit code ${code}`);
      } catch (error) {
        child.kill("SIGKILL");
        found.push(String(error));
      }
      const stderr = (await errors.text()).split("\n").filter((line) =>
        !/^(|wsproof: .*stand-ins.*|.*Listening on.*)$/.test(line)
      );
      if (stderr.length > 0) found.push(`${name} on stderr: ${stderr.slice(0, 5).join(" | ")}`);
      await output.text();
      return found;
    },
  };
}

/** Reads a stream to its end, keeps its start, and waits for expected output. */
function watch(stream: ReadableStream<Uint8Array>, onLine: (line: string) => void = () => {}) {
  const MAX_KEPT_CHARS = 64 * 1024;
  let [text, unfinished] = ["", ""];
  let changed = Promise.withResolvers<void>();
  let isOver = false;
  const done = (async () => {
    for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
      if (text.length < MAX_KEPT_CHARS) text += piece;
      const lines = (unfinished + piece).split("\n");
      unfinished = lines.pop() ?? "";
      lines.forEach(onLine);
      changed.resolve();
      changed = Promise.withResolvers();
    }
    isOver = true;
    changed.resolve();
  })();
  return {
    async match(pattern: RegExp): Promise<RegExpExecArray> {
      while (true) {
        const found = pattern.exec(text);
        if (found) return found;
        // The other stream may match.
        if (isOver) return await new Promise(() => {});
        await changed.promise;
      }
    },
    async text(): Promise<string> {
      await done;
      return text;
    },
  };
}

/** Waits with a deadline. */
export async function within<T>(promise: Promise<T>, what: string, timeoutMs: number): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`Waited ${timeoutMs / 1000} s for ${what}`)), timeoutMs);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs numbered tries, several at once, each with its own random numbers: a try can be repeated alone. */
export async function runTries(
  { count, seed }: FuzzSettings,
  atOnce: number,
  attempt: (random: Random, index: number) => Promise<string | undefined>,
): Promise<string[]> {
  const found: string[] = [];
  let next = 0;
  const worker = async () => {
    while (next < count && found.length < MAX_FINDINGS) {
      const index = next++;
      const finding = await attempt(new Random(seed * 1_000_003 + index), index).catch((error) => `${error}`);
      if (finding !== undefined) found.push(`try ${index}: ${finding}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return found;
}

/** After this many findings the fuzzer stops. */
export const MAX_FINDINGS = 20;

/** Prints the findings; returns the exit code. */
export function conclude(what: string, tries: number, since: number, found: readonly string[]): number {
  for (const finding of found) console.log(`FOUND ${finding}`);
  const seconds = ((performance.now() - since) / 1000).toFixed(1);
  console.log(`${what}: ${tries} tries in ${seconds} s, ${found.length} findings`);
  return found.length === 0 ? 0 : 1;
}
