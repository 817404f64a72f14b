/**
 * Attacks the real server with faulty clients, over each transport in turn. The server must then answer a clean
 * exchange, have a complete log, and end on request. Prints the server's memory meanwhile. Linux only.
 *
 * `faults.ts [SECONDS]`: the duration, 60 by default. `faults.ts memory`: memory before, at most and after, with many
 * peers of one kind; needs `ulimit -n` above 1,000. `faults.ts bombs`: the latency of others, see `bombs.ts`.
 */

import type { TransportName } from "../lib/connection/connection.ts";
import { faultedServer } from "../tests/support/faulted_server.ts";
import { runFaults } from "../tests/support/faulty_clients.ts";
import { openWire } from "../lib/connection/wire.ts";
import { createAuthority } from "../tests/support/certificates.ts";
import { measureBombs } from "./bombs.ts";
import {
  deno,
  median,
  POLICY_FIELDS,
  readMebibytes,
  readStandIns,
  start,
  startWithPolicy,
  V8_FLAGS,
} from "./support.ts";

const TRANSPORTS: readonly TransportName[] = ["builtin", "wire"];
const EXCHANGES = 7;
const SETTLE_MS = 5000;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function meetFaults(transport: TransportName, seconds: number): Promise<void> {
  await using server = await faultedServer(transport);
  const exchange = async () => {
    const times: number[] = [];
    for (let count = 0; count < EXCHANGES; count++) times.push(await server.proveExchange());
    return median(times);
  };
  const look = async () => ({ mib: await server.residentMib(), descriptors: await server.descriptors() });
  const beforeMs = await exchange();
  const before = await look();
  const line = ({ mib, descriptors }: typeof before) => `${mib.toFixed(0)} MiB, ${descriptors} descriptors`;
  console.log(`\n${transport}\nbefore: ${line(before)}, a clean exchange takes ${beforeMs.toFixed(1)} ms`);

  const stop = new AbortController();
  const running = runFaults(server.url, stop.signal);
  for (let at = 0; at < seconds; at += 5) {
    await sleep(Math.min(5, seconds - at) * 1000);
    console.log(`after ${Math.min(at + 5, seconds)} s: ${line(await look())}`);
  }
  stop.abort();
  await running;

  const from = performance.now();
  await server.proveExchange();
  const firstMs = performance.now() - from;
  await server.untilDescriptors(before.descriptors);
  await sleep(SETTLE_MS);
  const afterMs = await exchange();
  console.log(
    `after: ${line(await look())}; the first exchange is proven ${firstMs.toFixed(0)} ms after the last fault,`,
  );
  console.log(
    `a clean exchange takes ${afterMs.toFixed(1)} ms, ${(afterMs / beforeMs).toFixed(2)} times as long as before`,
  );
  const { opened, closed, refused } = await server.end();
  const causes = [...refused].map(([cause, count]) => `${cause} ${count}`).join(", ");
  console.log(`log: ${opened} opened, ${closed} closed; refused: ${causes}`);
  console.log("no word on the standard error output, SIGTERM ended it with 0");
}

const KINDS = [
  { name: "1,000 that send 1 KiB messages and never read", args: ["messages", "1024", "1000"], seconds: 10 },
  { name: "1,000 that send 1 MiB messages and never read", args: ["messages", "1048576", "1000"], seconds: 20 },
  { name: "1,000 that send half a head", args: ["heads", "0", "1000"], seconds: 40 },
  {
    name: "10 that send fragments without end, up to 128 MiB each",
    args: ["fragments", "134217728", "10"],
    seconds: 10,
  },
];

async function measureMemory(): Promise<void> {
  const standIns = await readStandIns();
  console.log("| peers | server | before, MiB | at most | after | dropped by the server |");
  console.log("| :--- | :--- | ---: | ---: | ---: | :--- |");
  for (const { name, args, seconds } of KINDS) {
    for (const transport of TRANSPORTS) {
      await using server = await startWithPolicy(transport, standIns);
      await sleep(1000);
      const before = await readMebibytes(server.pid, "VmRSS");
      const peers = new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "--quiet",
          "--allow-ffi",
          "perf/flood_load.ts",
          server.url,
          ...args,
          `${seconds}`,
          ...POLICY_FIELDS,
        ],
        stdout: "piped",
      });
      const dropped = new TextDecoder().decode((await peers.output()).stdout).trim();
      const peak = await readMebibytes(server.pid, "VmHWM");
      await sleep(SETTLE_MS);
      const after = await readMebibytes(server.pid, "VmRSS");
      const cells = [name, transport, ...[before, peak, after].map((mib) => mib.toFixed(0)), dropped];
      console.log(`| ${cells.join(" | ")} |`);
    }
  }
}

const TLS_KINDS = [
  { name: "64 that send 64 KiB messages over TLS and never read", kind: "unread" },
  {
    name: "64 that announce a ClientHello of 65,520 bytes, and send it in records of one byte without end",
    kind: "hello",
  },
];
const TLS_PEERS = 64;
const TLS_SECONDS = 30;
/** Deadline of an exchange, in milliseconds; a later one counts as this long. */
const EXCHANGE_WAIT = { timeoutMs: 20_000 };

/** Opens a TLS connection, echoes three messages of 100 KiB, and closes; returns the time in ms. */
async function exchangeOverTls(url: string, caCerts: readonly string[]): Promise<number> {
  const from = performance.now();
  const connection = await openWire(url, { caCerts, ...EXCHANGE_WAIT });
  const message = new Uint8Array(100 * 1024).fill(7);
  for (let count = 0; count < 3; count++) {
    await connection.send(message);
    const reply = await connection.receive(EXCHANGE_WAIT);
    if (typeof reply === "string" || reply.byteLength !== message.byteLength) throw new Error("Another reply");
  }
  await connection.close(EXCHANGE_WAIT);
  return performance.now() - from;
}

async function measureTls(): Promise<void> {
  const standIns = await readStandIns();
  const authority = await createAuthority();
  const { cert, key } = await authority.sign("wsproof perf");
  const directory = await Deno.makeTempDir();
  const caFile = `${directory}/ca.pem`;
  for (const [name, text] of Object.entries({ ca: authority.cert, cert, key })) {
    await Deno.writeTextFile(`${directory}/${name}.pem`, text);
  }
  const pair = ["--cert", `${directory}/cert.pem`, "--key", `${directory}/key.pem`];
  const place = ["--transport", "wire", "--quiet", "--port", "0"];
  const exchange = (url: string) => exchangeOverTls(url, [authority.cert]);
  console.log("| peers | before, MiB | at most | after | exchange before, ms | meanwhile | worst | times | dropped |");
  console.log("| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | :--- |");
  for (const { name, kind } of TLS_KINDS) {
    await using server = await start([...standIns, "--allow-read", "--allow-env", "server.ts", ...place, ...pair]);
    for (let count = 0; count < EXCHANGES; count++) await exchange(server.url);
    const times: number[] = [];
    for (let count = 0; count < EXCHANGES; count++) times.push(await exchange(server.url));
    const before = await readMebibytes(server.pid, "VmRSS");
    const args = [server.url, kind, `${TLS_PEERS}`, `${TLS_SECONDS}`, caFile];
    const peers = deno(["run", "--quiet", "--allow-net", "--allow-read", "perf/tls_load.ts", ...args]).output();
    const until = performance.now() + (TLS_SECONDS - 1) * 1000;
    const meanwhile: number[] = [];
    while (performance.now() < until) {
      meanwhile.push(await exchange(server.url));
      await sleep(100);
    }
    const dropped = new TextDecoder().decode((await peers).stdout).trim();
    const peak = await readMebibytes(server.pid, "VmHWM");
    await sleep(SETTLE_MS);
    const after = await readMebibytes(server.pid, "VmRSS");
    const [beforeMs, meanwhileMs] = [median(times), median(meanwhile)];
    const sizes = [before, peak, after].map((mib) => mib.toFixed(0));
    const waits = [beforeMs, meanwhileMs, Math.max(...meanwhile)].map((ms) => ms.toFixed(1));
    console.log(`| ${[name, ...sizes, ...waits, (meanwhileMs / beforeMs).toFixed(2), dropped].join(" | ")} |`);
  }
  await Deno.remove(directory, { recursive: true });
}

async function meetBombs(words: readonly string[]): Promise<void> {
  const standIns = await readStandIns();
  const place = ["--transport", "wire", "--quiet", "--port", "0", "--rate", "100000000,1000GiB"];
  const permissions = ["--allow-read", "--allow-env=WSPROOF_*"];
  const all = [V8_FLAGS, ...standIns, ...permissions, "server.ts", ...place];
  // The server has the first core to itself.
  await measureBombs((options) => start([...all, ...options], {}, "0"), words);
}

if (Deno.args[0] === "bombs") {
  await meetBombs(Deno.args.slice(1));
} else if (Deno.args[0] === "memory") {
  if (Deno.args[1] !== "tls") await measureMemory();
  await measureTls();
} else for (const transport of TRANSPORTS) await meetFaults(transport, Number(Deno.args[0] ?? 60));
