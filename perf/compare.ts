/**
 * Measures our echo server over both transports beside the bare runtime, npm ws on Node, and Bun: `deno task perf:compare`.
 * Linux, two cores, a C compiler; about 15 minutes.
 *
 *     --rows ID,ID         only these rows
 *     --servers NAME,NAME  only these servers
 *     --seconds S          how long a measurement takes (2)
 *     --rounds N           how often each server is measured (3); the median counts
 *     --server-core N      where the server runs (0)
 *     --load-core N        where the load runs (1)
 *     --write              keep the results in perf/results.json, perf/results.svg and perf/README.md
 *     --draw               do the same with the results that are kept, and measure nothing
 */

import { parseArgs } from "node:util";
import { plotOf } from "./compare/plot.ts";
import { merge, type Results, textOf } from "./compare/results.ts";
import { type Numbers, ROWS } from "./compare/rows.ts";
import {
  isServerName,
  knowsOption,
  prepareServers,
  readOutput,
  SERVER_NAMES,
  type ServerName,
} from "./compare/servers.ts";
import { reportOf } from "./compare/tables.ts";
import { measureWorkers, WORKERS } from "./compare/workers.ts";
import { compileLoad } from "./load.ts";

const RESULTS = "perf/results.json";
const PLOT = "perf/results.svg";
const README = "perf/README.md";
/** The README's part between the two is generated from the results. */
const MARKERS = ["<!-- deno-fmt-ignore-start -->\n", "<!-- deno-fmt-ignore-end -->\n"] as const;

/** The request of the command line. */
interface Asked {
  readonly rows: readonly string[];
  readonly servers: readonly ServerName[];
  readonly seconds: number;
  readonly rounds: number;
  /** The core of the server, and the core of the load. */
  readonly cores: readonly [string, string];
  /** Whether to measure every row of every server. */
  readonly isWhole: boolean;
  readonly write: boolean;
  readonly draw: boolean;
}

/** @throws {Error} if an option, a row or a server is unknown, or the results of a few servers are to be kept. */
async function readAsked(): Promise<Asked> {
  const rowIds = [...ROWS.map(({ id }) => id), ...await knowsOption("--workers") ? [WORKERS] : []];
  const { values } = parseArgs({
    args: Deno.args,
    options: {
      rows: { type: "string", default: rowIds.join() },
      servers: { type: "string", default: SERVER_NAMES.join() },
      seconds: { type: "string", default: "2" },
      rounds: { type: "string", default: "3" },
      "server-core": { type: "string", default: "0" },
      "load-core": { type: "string", default: "1" },
      write: { type: "boolean", default: false },
      draw: { type: "boolean", default: false },
    },
  });
  const rows = values.rows.split(",");
  for (const id of rows) if (!rowIds.includes(id)) throw new Error(`${id} is no row: ${rowIds.join()}`);
  const servers = values.servers.split(",").map((name) => {
    if (!isServerName(name)) throw new Error(`${name} is no server: ${SERVER_NAMES.join()}`);
    return name;
  });
  if (values.write && servers.length < SERVER_NAMES.length) throw new Error("--write is for all servers");
  const [seconds, rounds] = [Number(values.seconds), Number(values.rounds)];
  if (!(seconds > 0 && rounds > 0)) throw new Error("--seconds and --rounds are numbers above 0");
  const { write, draw } = values;
  const cores = [values["server-core"], values["load-core"]] as const;
  return { rows, servers, seconds, rounds, cores, isWhole: rowIds.every((id) => rows.includes(id)), write, draw };
}

async function readResults(): Promise<Results | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(RESULTS));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function write(measured: Results): Promise<void> {
  const text = textOf(measured);
  await Deno.writeTextFile(RESULTS, text);
  // The tables show the kept results, to the last digit.
  const results: Results = JSON.parse(text);
  await Deno.writeTextFile(PLOT, plotOf(results));
  const readme = await Deno.readTextFile(README);
  const [before = "", rest = ""] = readme.split(MARKERS[0]);
  const after = rest.split(MARKERS[1])[1];
  if (after === undefined) throw new Error(`${README} has no markers for the results`);
  await Deno.writeTextFile(README, `${before}${MARKERS[0]}\n${reportOf(results)}\n\n${MARKERS[1]}${after}`);
}

/** Linux's name for the processor. */
async function readMachine(): Promise<string> {
  const model = /^model name\s*: (.*)$/m.exec(await readOutput("cat", ["/proc/cpuinfo"]))?.[1] ?? Deno.build.arch;
  return `${model}, ${navigator.hardwareConcurrency} cores, Linux ${Deno.osRelease()}`;
}

/** The last commit that changed the measured code, with a "+" after later changes. */
async function readCommit(): Promise<string> {
  const measured = ["--", "lib", "server.ts"];
  const commit = await readOutput("git", ["log", "-1", "--format=%h", ...measured]);
  return `${commit}${await readOutput("git", ["status", "--porcelain", ...measured]) === "" ? "" : "+"}`;
}

/** Measures row by row; yields all results before the first and after each. */
async function* measure({ rows, servers: names, seconds, rounds, cores }: Asked): AsyncGenerator<Results> {
  await using load = await compileLoad();
  await using servers = await prepareServers(names);
  const date = new Date().toISOString().slice(0, 10);
  const [machine, commit, { versions }] = [await readMachine(), await readCommit(), servers];
  const environment = { date, machine, versions, commit, seconds, rounds };
  let found: Results["rows"] = {};
  yield { environment, rows: found };
  for (const row of ROWS.filter(({ id }) => rows.includes(id))) {
    console.error(`${row.id}: ${row.title}`);
    const results: Record<string, Numbers[]> = Object.fromEntries(names.map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        await using server = await servers.start(name, cores[0]);
        results[name]?.push(await row.measure(load.pinnedTo(cores[1]), server, seconds));
      }
    }
    found = { ...found, [row.id]: results };
    yield { environment, rows: found };
  }
  if (!rows.includes(WORKERS)) return;
  console.error(WORKERS);
  yield { environment, rows: { ...found, [WORKERS]: await measureWorkers(servers, load, cores, seconds, rounds) } };
}

async function main(): Promise<void> {
  const asked = await readAsked();
  const kept = await readResults();
  if (asked.draw) {
    if (kept === undefined) throw new Error(`There is no ${RESULTS}`);
    await write(kept);
    return;
  }
  let measured: Results | undefined;
  for await (measured of measure(asked)) {
    // Keeps partial results: --rows can measure the rest if this run breaks off.
    if (!asked.write) continue;
    const results = asked.isWhole || kept === undefined ? measured : merge(kept, measured);
    if (Object.keys(measured.rows).length > 0) await write(results);
  }
  if (measured !== undefined) console.log(reportOf(measured));
}

try {
  await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}
