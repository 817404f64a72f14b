/**
 * Measures the memory of 10,000 idle connections: the bare echo, and our server with the whole policy on over both
 * transports, in turns, each time in a new process. Prints a table in Markdown. Then holds as many through the pings of
 * a short idle timeout. Linux only, with `ulimit -n` above the number; about three minutes.
 *
 * `idle.ts [CONNECTIONS [ROUNDS]]`
 */

import {
  BARE,
  median,
  POLICY_FIELDS,
  readMebibytes,
  readStandIns,
  type Server,
  start,
  startWithPolicy,
} from "./support.ts";

const [connections = 10_000, rounds = 3] = Deno.args.map(Number);
/** Time for a server to collect garbage before the measurement, in milliseconds. */
const SETTLE_MS = 4000;
const IDLE_SECONDS = 6;

/** The memory of a server whose clients all send the same handshake: the runtime keeps its fields. */
interface Idle {
  readonly beforeMib: number;
  readonly withMib: number;
  readonly afterMib: number;
}

/** Clients in their own process. */
interface Clients extends AsyncDisposable {
  /** Their state, after an echo on every hundredth. */
  ask(): Promise<{ open: number; pings: number; echoes: number }>;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function openClients(url: string): Promise<Clients> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-ffi", "perf/idle_load.ts", url, `${connections}`, ...POLICY_FIELDS],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const writer = child.stdin.getWriter();
  const nextLine = async () => JSON.parse((await reader.read()).value ?? "null");
  const first = await nextLine();
  if (first?.open !== connections) throw new Error(`${url} holds ${first?.open} of ${connections} connections`);
  return {
    async ask() {
      await writer.write(new Uint8Array([10]));
      return await nextLine();
    },
    async [Symbol.asyncDispose]() {
      await writer.close();
      await child.status;
      await reader.cancel();
    },
  };
}

async function measure(server: Server): Promise<Idle> {
  await sleep(1000);
  const beforeMib = await readMebibytes(server.pid, "VmRSS");
  let withMib: number;
  {
    await using clients = await openClients(server.url);
    await sleep(SETTLE_MS);
    withMib = await readMebibytes(server.pid, "VmRSS");
    const { open, echoes } = await clients.ask();
    if (open !== connections || echoes !== Math.ceil(connections / 100)) {
      throw new Error(`${server.url}: ${open} are open, ${echoes} have echoed`);
    }
  }
  await sleep(SETTLE_MS);
  return { beforeMib, withMib, afterMib: await readMebibytes(server.pid, "VmRSS") };
}

const standIns = await readStandIns();
const servers = [
  { name: "bare", begin: () => start(BARE) },
  { name: "builtin", begin: () => startWithPolicy("builtin", standIns) },
  { name: "wire", begin: () => startWithPolicy("wire", standIns) },
];
const results = servers.map((): Idle[] => []);
for (let round = 0; round < rounds; round++) {
  for (const [index, { begin }] of servers.entries()) {
    await using server = await begin();
    results[index]?.push(await measure(server));
  }
}
console.log(
  "| server | before, MiB | with them, MiB | a connection, KiB | times bare | times bare, whole | after, MiB |",
);
console.log("| :--- | ---: | ---: | ---: | ---: | ---: | ---: |");
const growth = (idle: readonly Idle[]) => median(idle.map(({ beforeMib, withMib }) => withMib - beforeMib));
const bare = results[0] ?? [];
for (const [index, { name }] of servers.entries()) {
  const own = results[index] ?? [];
  const cells = [
    name,
    median(own.map(({ beforeMib }) => beforeMib)).toFixed(0),
    median(own.map(({ withMib }) => withMib)).toFixed(0),
    (growth(own) * 1024 / connections).toFixed(1),
    (growth(own) / growth(bare)).toFixed(2),
    (median(own.map(({ withMib }) => withMib)) / median(bare.map(({ withMib }) => withMib))).toFixed(2),
    median(own.map(({ afterMib }) => afterMib)).toFixed(0),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}

console.log(`\nThrough the pings of --idle-timeout ${IDLE_SECONDS}:`);
for (const transport of ["builtin", "wire"] as const) {
  await using server = await startWithPolicy(transport, standIns, ["--idle-timeout", `${IDLE_SECONDS}`]);
  await using clients = await openClients(server.url);
  await sleep(4 * IDLE_SECONDS * 1000);
  const { open, pings, echoes } = await clients.ask();
  console.log(`${transport}: ${open} of ${connections} are open, ${pings} pings answered, ${echoes} echoes proven`);
}
