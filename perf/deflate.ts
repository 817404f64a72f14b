/**
 * Measures compression: our echo server beside npm ws on Node and Bun, interleaved in one run. Prints Markdown tables:
 * messages/s and the server's CPU time per message, with JSON text over 64 connections; then the memory of
 * connections after one compressed message. Linux only; about a minute and a half.
 *
 * `deflate.ts FOLDER [SECONDS [ROUNDS]]`: the npm folder with `ws` and `@oven/bun-linux-x64`; the duration of each
 * measurement (1.5 s); the number of rounds (3), for the median. `deflate.ts FOLDER memory`: only the memory.
 */

import { deno, median, readMebibytes, readStandIns, type Server, start, startCommand } from "./support.ts";

const SIZES = [1024, 16 * 1024];
const CONNECTIONS = 64;
const HELD = 1000;
const SETTLE_MS = 2000;

const [folder = "", ...numbers] = Deno.args;
const onlyMemory = numbers[0] === "memory";
const [seconds = 1.5, rounds = 3] = onlyMemory ? [] : numbers.map(Number);
const standIns = await readStandIns();
const LOAD = ["run", "--quiet", "--no-check", ...standIns, "--allow-net", "perf/deflate_load.ts"];

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const ours = (...more: string[]) =>
  start([
    ...standIns,
    "server.ts",
    "--transport",
    "wire",
    "--quiet",
    "--port",
    "0",
    "--rate",
    "100000000,1000GiB",
    ...more,
  ]);
const ws = (options: object) => startCommand("node", ["perf/ws_deflate_echo.mjs", folder, JSON.stringify(options)]);
const bun = () =>
  startCommand(`${folder}/node_modules/@oven/bun-linux-x64/bin/bun`, ["perf/fuzz/deflate/bun_server.js"]);

/** CPU time of a process with all its threads, in seconds. */
async function cpuSeconds(pid: number): Promise<number> {
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/stat`] }).output();
  const fields = new TextDecoder().decode(stdout).replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function measure(server: Server, size: number): Promise<{ perSecond: number; cpuMicros: number }> {
  const child = deno([...LOAD, server.url, `${size}`, `${CONNECTIONS}`, `${seconds}`]).spawn();
  let before = 0;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    for (const line of text.trim().split("\n")) {
      if (line === "measuring") {
        before = await cpuSeconds(server.pid);
        continue;
      }
      const cpu = await cpuSeconds(server.pid) - before;
      const { messages, ms } = JSON.parse(line);
      await child.status;
      return { perSecond: messages / ms * 1000, cpuMicros: cpu * 1e6 / messages };
    }
  }
  throw new Error(`The load of ${server.url} failed`);
}

async function compareLoads(): Promise<void> {
  const servers = { wire: await ours(), ws: await ws({ threshold: 0 }), bun: await bun() };
  console.log(
    `| message, ${CONNECTIONS} connections | server | messages/s | times ws | CPU a message, µs | times ws |`,
  );
  console.log("| ---: | :--- | ---: | ---: | ---: | ---: |");
  for (const size of SIZES) {
    const found = new Map<string, { perSecond: number; cpuMicros: number }[]>();
    for (let round = 0; round < rounds; round++) {
      for (const [name, server] of Object.entries(servers)) {
        found.set(name, [...found.get(name) ?? [], await measure(server, size)]);
      }
    }
    const of = (name: string) => ({
      perSecond: median((found.get(name) ?? []).map(({ perSecond }) => perSecond)),
      cpuMicros: median((found.get(name) ?? []).map(({ cpuMicros }) => cpuMicros)),
    });
    const theirs = of("ws");
    for (const name of Object.keys(servers)) {
      const { perSecond, cpuMicros } = of(name);
      const cells = [
        `${size / 1024} KiB`,
        name,
        perSecond.toFixed(0),
        (perSecond / theirs.perSecond).toFixed(2),
        cpuMicros.toFixed(0),
        (cpuMicros / theirs.cpuMicros).toFixed(2),
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
  for (const server of Object.values(servers)) await server[Symbol.asyncDispose]();
}

async function holdConnections(begin: () => Promise<Server>): Promise<number> {
  await using server = await begin();
  await sleep(SETTLE_MS / 2);
  const before = await readMebibytes(server.pid, "VmRSS");
  const child = new Deno.Command(Deno.execPath(), {
    args: [...LOAD, server.url, "1024", `${HELD}`, "0"],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { messages } = JSON.parse((await reader.read()).value ?? "{}");
  if (messages !== HELD) throw new Error(`${server.url} has echoed ${messages} of ${HELD} messages`);
  await sleep(SETTLE_MS);
  const held = await readMebibytes(server.pid, "VmRSS");
  await child.stdin.close();
  await child.status;
  await reader.cancel();
  return (held - before) * 1024 / HELD;
}

async function compareMemory(): Promise<void> {
  const doors: [name: string, begin: () => Promise<Server>][] = [
    ["wire, takeover", () => ours("--max-buffered-total", "2GiB")],
    ["wire, no takeover", () => ours("--deflate", "takeover=no,threshold=1")],
    ["ws, takeover", () => ws({ threshold: 0 })],
    ["ws, no takeover", () => ws({ threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true })],
  ];
  console.log(`\n| ${HELD} connections, one message each | a connection, KiB |`);
  console.log("| :--- | ---: |");
  for (const [name, begin] of doors) {
    const kibibytes = [await holdConnections(begin), await holdConnections(begin)];
    console.log(`| ${name} | ${median(kibibytes).toFixed(0)} |`);
  }
}

if (!onlyMemory) await compareLoads();
await compareMemory();
