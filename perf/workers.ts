/**
 * The worth of a server of two workers, in servers of one, over our own frames. Linux only; needs a C compiler.
 *
 *     deno task perf:workers [ROUNDS [SECONDS]]
 *
 * With a load beside it on two cores, a server of one worker proves little: both take turns on one core, which is
 * cheaper than two that wait for each other. So two workers are compared with two servers of one worker each, which
 * share nothing: by definition twice one worker. Both get the same load (two processes of 32 connections, text of 16
 * KiB, four pending messages on each) at the same time. So other work of the machine slows both, and the CPU is the
 * limit of both: servers and loads keep all cores busy.
 *
 * The ratio is 2 times the CPU time of a message with two servers, divided by that with two workers: the messages of
 * two workers per message of one, if the server is the limit. The messages a second are shown too: the kernel shares
 * the cores between threads, so that both agree roughly.
 */

import { median, readStandIns, type Server, start } from "./support.ts";

const CONNECTIONS = 32;
const BYTES = 16 * 1024;

/** The relevant output of the load generator. */
interface Load {
  readonly messages: number;
  readonly perSecond: number;
  readonly cpuSeconds: number;
  readonly seconds: number;
  readonly loadShare: number;
  readonly peakMebibytes: number;
}

/** One run with two loads. */
interface Run {
  readonly perSecond: number;
  /** CPU time of the servers per message, in microseconds. */
  readonly cpuMicros: number;
  /** The cores used by the servers and by the loads. */
  readonly serverCores: number;
  readonly loadCores: number;
  readonly peakMebibytes: number;
}

const [rounds = "5", seconds = "3"] = Deno.args;
const standIns = await readStandIns();
const server = (workers: number): Promise<Server> =>
  start([
    ...standIns,
    ...["--allow-read", "--allow-env=WSPROOF_*", "--ignore-env", "server.ts"],
    ...["--port", "0", "--transport", "wire", "--log", "none", "--workers", `${workers}`],
  ]);

const path = new URL("load.ts", import.meta.url).pathname;

async function load({ url, pid }: Server): Promise<Load> {
  const what = ["echo", url, `${CONNECTIONS}x${BYTES}x4`, "--kind", "text", "--seconds", seconds, "--pid", `${pid}`];
  const { success, stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--allow-run", "--allow-read", "--allow-write", path, ...what],
    stdin: "null",
    stderr: "inherit",
  }).output();
  if (!success) throw new Error("The load has failed");
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Loads two servers, or one twice, whose CPU time then counts in both. */
async function run(first: Server, second: Server): Promise<Run> {
  const loads = await Promise.all([load(first), load(second)]);
  const sum = (read: (load: Load) => number) => loads.reduce((total, load) => total + read(load), 0);
  const share = first === second ? 1 / 2 : 1;
  return {
    perSecond: sum(({ perSecond }) => perSecond),
    cpuMicros: share * sum(({ cpuSeconds }) => cpuSeconds) / sum(({ messages }) => messages) * 1e6,
    serverCores: share * sum(({ cpuSeconds, seconds }) => cpuSeconds / seconds),
    loadCores: sum(({ loadShare }) => loadShare),
    peakMebibytes: share * sum(({ peakMebibytes }) => peakMebibytes),
  };
}

await using one = await server(1);
await using other = await server(1);
await using both = await server(2);
const runs: { readonly servers: Run; readonly workers: Run }[] = [];
for (let round = Number(rounds); round > 0; round--) {
  const [servers, workers] = await Promise.all([run(one, other), run(both, both)]);
  runs.push({ servers, workers });
}

console.log(`text of 16 KiB, 2 x ${CONNECTIONS} connections, ${rounds} rounds of ${seconds} s, medians\n`);
console.log("| | messages/s | server CPU a message, µs | cores of the server | cores of the load | peak memory, MiB |");
console.log("| --- | ---: | ---: | ---: | ---: | ---: |");
for (const [name, which] of [["two servers", "servers"], ["two workers", "workers"]] as const) {
  const of = (read: (run: Run) => number, digits: number) =>
    median(runs.map((each) => read(each[which]))).toFixed(digits);
  const cells = [
    of(({ perSecond }) => perSecond, 0),
    of(({ cpuMicros }) => cpuMicros, 1),
    of(({ serverCores }) => serverCores, 2),
    of(({ loadCores }) => loadCores, 2),
    of(({ peakMebibytes }) => peakMebibytes, 0),
  ];
  console.log(`| ${[name, ...cells].join(" | ")} |`);
}
const byCpu = runs.map(({ servers, workers }) => 2 * servers.cpuMicros / workers.cpuMicros);
const byMessages = runs.map(({ servers, workers }) => 2 * workers.perSecond / servers.perSecond);
const shown = (ratios: readonly number[]) =>
  `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)})`;
console.log(
  `\nTwo workers carry ${shown(byCpu)} times as much as one by CPU time, ${shown(byMessages)} by messages a second`,
);
