/**
 * Measures the echo server beside the ten lines of `bare_echo.ts`, in turns within one run, and prints a table in Markdown:
 * messages/s and latencies of both, and their ratios. Linux only; about four minutes.
 *
 * `echo.ts [SECONDS [BYTES [CONNECTIONS]]]`: how long each measurement takes (1.5 s), and the only size and number of
 * connections to measure. `echo.ts policy ...`: both transports, with the whole policy on; about eight minutes.
 * `echo.ts peers`: with 64 connections, beside npm ws on Node and bun, which it fetches from npm.
 */

import {
  deno,
  median,
  POLICY_FIELDS,
  readMebibytes,
  readStandIns,
  type Server,
  start,
  startCommand,
  startWithPolicy,
} from "./support.ts";

const SIZES = [20, 1024, 16 * 1024, 1024 * 1024];
const CONNECTIONS = [1, 64, 500];
/** Each server is measured this often at each point; the median counts. */
const ROUNDS = 3;

interface Load {
  readonly messagesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly cpuShare: number;
}

async function measure(
  server: Server,
  size: number,
  connections: number,
  seconds: number,
  fields: readonly string[] = [],
): Promise<Load> {
  const args = [server.url, size, connections, seconds, ...fields].map(String);
  const { code, stdout } = await deno(["run", "--quiet", "--allow-ffi", "perf/echo_load.ts", ...args]).output();
  if (code !== 0) throw new Error(`The load of ${args.join(" ")} failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

function medians(loads: readonly Load[]): Load {
  return {
    messagesPerSecond: median(loads.map((load) => load.messagesPerSecond)),
    p50Ms: median(loads.map((load) => load.p50Ms)),
    p99Ms: median(loads.map((load) => load.p99Ms)),
    cpuShare: median(loads.map((load) => load.cpuShare)),
  };
}

function nameOf(bytes: number): string {
  const units = [[1024 ** 2, "MiB"], [1024, "KiB"], [1, "B"]] as const;
  const [unit, name] = units.find(([unit]) => bytes >= unit) ?? [1, "B"];
  return `${bytes / unit} ${name}`;
}

/** What npm has of the peers; bun is the executable for Linux on x64. */
const PEER_PACKAGES = ["ws@8.23.0", "bufferutil@4.1.0", "@oven/bun-linux-x64@1.4.5"];
const PEER_CONNECTIONS = 64;

/** Installs the peers into a folder of their own, and gives its path. */
async function installPeers(): Promise<string> {
  const output = async (command: string, args: readonly string[]) => {
    const { success, stdout } = await new Deno.Command(command, { args: [...args], stderr: "null" }).output();
    if (!success) throw new Error(`${command} ${args.join(" ")} failed`);
    return new TextDecoder().decode(stdout).trim();
  };
  const folder = await output("mktemp", ["-d"]);
  await output("npm", ["install", "--silent", "--prefix", folder, ...PEER_PACKAGES]);
  return folder;
}

async function comparePeers(standIns: readonly string[], seconds: number): Promise<void> {
  const folder = await installPeers();
  const bunPath = `${folder}/node_modules/@oven/bun-linux-x64/bin/bun`;
  await using wire = await start([...standIns, "server.ts", "--transport", "wire", "--quiet", "--port", "0"]);
  await using bare = await start(["perf/bare_echo.ts"]);
  await using ws = await startCommand("node", ["perf/ws_echo.mjs", folder]);
  await using bun = await startCommand(bunPath, ["perf/bun_echo.mjs"]);
  const servers = { wire, bare, ws, bun };
  console.log(`| message, ${PEER_CONNECTIONS} connections | wire | bare | ws on Node | bun |`);
  console.log("| ---: | ---: | ---: | ---: | ---: |");
  for (const size of SIZES) {
    const loads: Record<string, Load[]> = { wire: [], bare: [], ws: [], bun: [] };
    for (let round = 0; round < ROUNDS; round++) {
      for (const [name, server] of Object.entries(servers)) {
        loads[name]?.push(await measure(server, size, PEER_CONNECTIONS, seconds));
      }
    }
    const cells = Object.keys(servers).map((name) => {
      const { messagesPerSecond, p99Ms } = medians(loads[name] ?? []);
      return `${messagesPerSecond.toFixed(0)} (p99 ${p99Ms.toFixed(2)} ms)`;
    });
    console.log(`| ${[nameOf(size), ...cells].join(" | ")} |`);
  }
}

/** A server that is measured beside the bare one. */
interface Door {
  readonly name: string;
  readonly server: Server;
  /** What its handshake needs. */
  readonly fields: readonly string[];
}

async function compareWithBare(doors: readonly Door[], args: readonly string[]): Promise<void> {
  const [seconds = 1.5, onlySize, onlyConnections] = args.map(Number);
  await using bare = await start(["perf/bare_echo.ts"]);
  console.log(
    "| message | connections | server | messages/s | bare | ratio | p50 / p99 ms | bare | p99 ratio | load's CPU |",
  );
  console.log("| ---: | ---: | :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
  const points = SIZES.filter((size) => onlySize === undefined || size === onlySize).flatMap((size) =>
    CONNECTIONS.filter((count) => onlyConnections === undefined || count === onlyConnections).map((count) =>
      [size, count] as const
    )
  );
  for (const [size, connections] of points) {
    const loads = { bare: [] as Load[], doors: doors.map((): Load[] => []) };
    for (let round = 0; round < ROUNDS; round++) {
      loads.bare.push(await measure(bare, size, connections, seconds));
      for (const [index, { server, fields }] of doors.entries()) {
        loads.doors[index]?.push(await measure(server, size, connections, seconds, fields));
      }
    }
    const theirs = medians(loads.bare);
    for (const [index, { name }] of doors.entries()) {
      const ours = medians(loads.doors[index] ?? []);
      const latencies = ({ p50Ms, p99Ms }: Load) => `${p50Ms.toFixed(2)} / ${p99Ms.toFixed(2)}`;
      const cells = [
        nameOf(size),
        connections,
        name,
        ours.messagesPerSecond.toFixed(0),
        theirs.messagesPerSecond.toFixed(0),
        (ours.messagesPerSecond / theirs.messagesPerSecond).toFixed(2),
        latencies(ours),
        latencies(theirs),
        (ours.p99Ms / theirs.p99Ms).toFixed(2),
        `${(ours.cpuShare * 100).toFixed(0)} %`,
      ];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
  const servers = [...doors, { name: "bare", server: bare }];
  const peaks = await Promise.all(
    servers.map(async ({ name, server }) => `${name} ${(await readMebibytes(server.pid, "VmHWM")).toFixed(0)} MiB`),
  );
  console.log(`\nPeak memory: ${peaks.join(", ")}`);
}

const standIns = await readStandIns();
const [mode = "", ...rest] = Deno.args;
if (mode === "peers") await comparePeers(standIns, 1);
else if (mode === "policy") {
  await using builtin = await startWithPolicy("builtin", standIns);
  await using wire = await startWithPolicy("wire", standIns);
  const fields = POLICY_FIELDS;
  await compareWithBare([{ name: "builtin", server: builtin, fields }, { name: "wire", server: wire, fields }], rest);
} else {
  await using wire = await start([...standIns, "server.ts", "--transport", "wire", "--quiet", "--port", "0"]);
  await compareWithBare([{ name: "wire", server: wire, fields: [] }], Deno.args);
}
