/**
 * Measures the echo server over our own frames beside the ten lines of `bare_echo.ts`, in turns within one run, and prints a
 * table in Markdown: messages/s and latencies of both, and their ratios. Linux only; about four minutes.
 *
 * `echo.ts [SECONDS [BYTES [CONNECTIONS]]]`: how long each measurement takes (1.5 s), and the only size and number of
 * connections to measure. `echo.ts peers`: with 64 connections, beside npm ws on Node and bun, which it fetches from npm.
 */

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

interface Server extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
}

const deno = (args: readonly string[]) =>
  new Deno.Command(Deno.execPath(), { args: [...args], stdin: "null", stdout: "piped", stderr: "inherit" });

/** Starts a server on Deno. */
function start(args: readonly string[]): Promise<Server> {
  return startCommand(Deno.execPath(), ["run", "--no-prompt", "--allow-net", ...args]);
}

/** Starts a server that says where it listens. */
async function startCommand(command: string, args: readonly string[]): Promise<Server> {
  const child = new Deno.Command(command, { args: [...args], stdin: "null", stdout: "piped", stderr: "inherit" })
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

async function measure(server: Server, size: number, connections: number, seconds: number): Promise<Load> {
  const args = [server.url, size, connections, seconds].map(String);
  const { code, stdout } = await deno(["run", "--quiet", "--allow-ffi", "bench/echo_load.ts", ...args]).output();
  if (code !== 0) throw new Error(`The load of ${args.join(" ")} failed`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

function medians(loads: readonly Load[]): Load {
  const median = (pick: (load: Load) => number) => loads.map(pick).sort((a, b) => a - b)[loads.length >> 1] ?? NaN;
  return {
    messagesPerSecond: median((load) => load.messagesPerSecond),
    p50Ms: median((load) => load.p50Ms),
    p99Ms: median((load) => load.p99Ms),
    cpuShare: median((load) => load.cpuShare),
  };
}

/** The most memory that a process has had so far, in MiB. */
async function peakMebibytes(pid: number): Promise<string> {
  // Reading below /proc would need every permission there is.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`], stderr: "null" }).output();
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout)) ?? [];
  return (Number(kibibytes) / 1024).toFixed(0);
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
  await using bare = await start(["bench/bare_echo.ts"]);
  await using ws = await startCommand("node", ["bench/ws_echo.mjs", folder]);
  await using bun = await startCommand(bunPath, ["bench/bun_echo.mjs"]);
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

async function compareWithBare(standIns: readonly string[], args: readonly string[]): Promise<void> {
  const [seconds = 1.5, onlySize, onlyConnections] = args.map(Number);

  await using bare = await start(["bench/bare_echo.ts"]);
  await using wire = await start([...standIns, "server.ts", "--transport", "wire", "--quiet", "--port", "0"]);
  console.log(
    "| message | connections | wire, messages/s | bare | ratio | wire, p50 / p99 ms | bare | p99 ratio | load's CPU |",
  );
  console.log("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
  for (const size of SIZES.filter((size) => onlySize === undefined || size === onlySize)) {
    for (
      const connections of CONNECTIONS.filter((count) => onlyConnections === undefined || count === onlyConnections)
    ) {
      const loads: { bare: Load[]; wire: Load[] } = { bare: [], wire: [] };
      for (let round = 0; round < ROUNDS; round++) {
        loads.bare.push(await measure(bare, size, connections, seconds));
        loads.wire.push(await measure(wire, size, connections, seconds));
      }
      const [ours, theirs] = [medians(loads.wire), medians(loads.bare)];
      const latencies = ({ p50Ms, p99Ms }: Load) => `${p50Ms.toFixed(2)} / ${p99Ms.toFixed(2)}`;
      const cells = [
        nameOf(size),
        connections,
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
  console.log(`\nPeak memory: wire ${await peakMebibytes(wire.pid)} MiB, bare ${await peakMebibytes(bare.pid)} MiB`);
}

const standIns = new TextDecoder().decode((await deno(["task", "-q", "std"]).output()).stdout).trim().split(/\s+/)
  .filter((word) => word !== "");
if (Deno.args[0] === "peers") await comparePeers(standIns, 1);
else await compareWithBare(standIns, Deno.args);
