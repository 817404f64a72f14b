/**
 * Measures the client beside the bare runtime, in turns within one run, and prints ratios: 1 GiB in parts of 1 MiB
 * against a bare loop over the same WebSocket, with both peak memories. `perf/start.ts` measures a whole short run.
 *
 * Noise of the machine affects both sides alike; each side's median counts.
 */

const TOTAL_BYTES = 1024 ** 3;
const PART_BYTES = 1024 ** 2;

const deno = (args: readonly string[]) =>
  new Deno.Command(Deno.execPath(), { args: [...args], stdin: "null", stdout: "piped", stderr: "piped" });

const standIns = new TextDecoder().decode((await deno(["task", "-q", "std:flags"]).output()).stdout).split(/\s+/)
  .filter(
    Boolean,
  );
const CLIENT = [
  "run",
  "--no-prompt",
  "--unstable-lazy-dynamic-imports",
  ...standIns,
  "--allow-net",
  "--allow-read",
  "main.ts",
];
const SERVER = ["run", "--no-prompt", ...standIns, "--allow-net", "server.ts", "--port", "0", "--quiet"];

/** Runs a command to its end; returns its duration, in milliseconds. */
async function timed(args: readonly string[]): Promise<number> {
  const from = performance.now();
  const { code, stderr } = await deno(args).output();
  if (code !== 0) throw new Error(`${args.join(" ")} exits with ${code}: ${new TextDecoder().decode(stderr)}`);
  return performance.now() - from;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Runs two commands in turns, and prints their medians and the ratio. */
async function compare(what: string, ours: readonly string[], bare: readonly string[], rounds: number): Promise<void> {
  // The first run of each fills caches.
  await timed(ours);
  await timed(bare);
  const times = { ours: [] as number[], bare: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    times.bare.push(await timed(bare));
    times.ours.push(await timed(ours));
  }
  const [a, b] = [median(times.ours), median(times.bare)];
  console.log(`${what}: wsproof ${a.toFixed(0)} ms, bare ${b.toFixed(0)} ms, ${(a / b).toFixed(2)} times as long`);
}

/** The peak memory of a process so far, in MiB; Linux only. */
async function peakMebibytes(pid: number): Promise<string> {
  // Reading below /proc would need every permission.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`], stderr: "null" }).output();
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout)) ?? [];
  return kibibytes === undefined ? "not known" : `${(Number(kibibytes) / 1024).toFixed(0)} MiB`;
}

const server = deno(SERVER).spawn();
const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
const [, url = ""] = /^Listening on (\S+)/.exec((await reader.read()).value ?? "") ?? [];
try {
  const split = [...CLIENT, "--size", `${TOTAL_BYTES}`, "--split", `${PART_BYTES}`, url];
  const loop = ["run", "--allow-net", "perf/bare_loop.ts", url, `${TOTAL_BYTES}`, `${PART_BYTES}`];
  await compare("1 GiB in parts of 1 MiB", split, loop, 3);

  const client = deno(split).spawn();
  const output = client.output();
  let peak = "not known";
  const watch = setInterval(async () => {
    const now = await peakMebibytes(client.pid);
    if (now !== "not known") peak = now;
  }, 20);
  await output;
  clearInterval(watch);
  console.log(`Peak memory with 1 GiB in parts of 1 MiB: client ${peak}, server ${await peakMebibytes(server.pid)}`);
} finally {
  server.kill();
  await reader.cancel();
  await server.stderr.cancel();
  await server.status;
}
