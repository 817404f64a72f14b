/**
 * Measures whole runs from start to end, in turns within one run, and prints ratios:
 *
 * - the client, as its task runs it, beside ten bare lines that do the same with the same deadline;
 * - `deno task client` beside the same words without the task;
 * - the server until it listens, beside ten bare lines that do;
 * - two floors: bare lines that import as many modules as the client, all of them empty; and bare lines through a task of a
 *   project that has nothing else.
 *
 *     deno task perf:start [ROUNDS]
 *
 * The machine's noise affects all alike; each median counts.
 */

import { median, readStandIns, start } from "./support.ts";

const ROUNDS = Number(Deno.args[0] ?? 61);

/** As many modules as a run of the client loads: `tests/cli/start_test.ts` checks the number. */
const MODULES = 30;

const DEADLINE_MS = "10000";

/** The words after `deno` in a task of deno.json, without the shell's part. */
async function wordsOf(task: string, standIns: readonly string[]): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile("deno.json"));
  const command: string = tasks[task].command;
  return command.replace(/^deno /, "").replace(/\$\(.*\)/, standIns.join(" ")).split(" ").filter((word) => word !== "");
}

/** Runs a command to its end; returns its duration, in milliseconds. */
async function timed(args: readonly string[], cwd?: string): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), {
    args: [...args],
    ...(cwd !== undefined && { cwd }),
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  const from = performance.now();
  const { code } = await command.output();
  const ms = performance.now() - from;
  if (code !== 0) throw new Error(`${args.join(" ")} exits with ${code}`);
  return ms;
}

/** The time until a server listens, in milliseconds. */
async function timedUntilListening(args: readonly string[]): Promise<number> {
  const from = performance.now();
  // The kill interrupts its log, which it would report.
  const child = new Deno.Command(Deno.execPath(), { args: [...args], stdin: "null", stdout: "piped", stderr: "null" })
    .spawn();
  const reader = child.stdout.getReader();
  const { done } = await reader.read();
  const ms = performance.now() - from;
  if (done) throw new Error(`${args.join(" ")} says nothing`);
  child.kill();
  await reader.cancel();
  await child.status;
  return ms;
}

/** Writes a project with bare lines that import empty modules, and a task that runs bare lines. */
async function writeFloors(folder: string): Promise<void> {
  const bare = await Deno.readTextFile("perf/bare_client.ts");
  const numbers = Array.from({ length: MODULES }, (_, index) => index);
  for (const number of numbers) await Deno.writeTextFile(`${folder}/${number}.ts`, `export const value = ${number};\n`);
  await Deno.writeTextFile(`${folder}/bare.ts`, bare);
  await Deno.writeTextFile(`${folder}/many.ts`, numbers.map((number) => `import "./${number}.ts";\n`).join("") + bare);
  await Deno.writeTextFile(`${folder}/deno.json`, JSON.stringify({ tasks: { bare: "deno run --allow-net bare.ts" } }));
}

const standIns = await readStandIns();
const folder = await Deno.makeTempDir();
try {
  await writeFloors(folder);
  await using server = await start([
    ...standIns,
    "--allow-read",
    "--allow-env=WSPROOF_*",
    "--ignore-env",
    "server.ts",
    "--port",
    "0",
    "--quiet",
  ]);
  const { url } = server;
  const client = await wordsOf("client", standIns);
  const serve = await wordsOf("server", standIns);
  const runs: Record<string, () => Promise<number>> = {
    bare: () => timed(["run", "--allow-net", "perf/bare_client.ts", url, DEADLINE_MS]),
    client: () => timed([...client, url]),
    task: () => timed(["task", "-q", "client", url]),
    "empty modules": () => timed(["run", "--allow-net", "many.ts", url, DEADLINE_MS], folder),
    "bare elsewhere": () => timed(["run", "--allow-net", "bare.ts", url, DEADLINE_MS], folder),
    "bare task": () => timed(["task", "-q", "bare", url, DEADLINE_MS], folder),
    "bare server": () => timedUntilListening(["run", "--allow-net", "--allow-env", "perf/bare_echo.ts"]),
    server: () => timedUntilListening([...serve, "--port", "0"]),
  };
  const times: Record<string, number[]> = {};
  // The first round fills caches.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const [name, run] of Object.entries(runs)) {
      const ms = await run();
      if (round > 0) (times[name] ??= []).push(ms);
    }
  }
  const tell = (what: string, ours: string, theirs: string) => {
    const [a, b] = [median(times[ours] ?? []), median(times[theirs] ?? [])];
    console.log(`${what}: ${a.toFixed(1)} ms, ${b.toFixed(1)} ms, ${(a / b).toFixed(2)} times as long`);
  };
  tell("A whole run of the client, bare lines with the same deadline", "client", "bare");
  tell("deno task client, the same without the task", "task", "client");
  tell("The server until it listens, bare lines", "server", "bare server");
  tell(`Floor: bare lines with ${MODULES} empty modules, without`, "empty modules", "bare elsewhere");
  tell("Floor: bare lines through the task of an empty project, without the task", "bare task", "bare elsewhere");
} finally {
  await Deno.remove(folder, { recursive: true });
}
