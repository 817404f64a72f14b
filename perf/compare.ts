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
import { merge, type Results, type RowResults } from "./compare/results.ts";
import { type Numbers, ROWS } from "./compare/rows.ts";
import { isServerName, knowsOption, prepareServers, readOutput, SERVER_NAMES } from "./compare/servers.ts";
import { reportOf } from "./compare/tables.ts";
import { measureWorkers, WORKERS } from "./compare/workers.ts";
import { compileLoad } from "./load.ts";

const RESULTS = "perf/results.json";
const PLOT = "perf/results.svg";
const README = "perf/README.md";
/** What stands between the two in the README is made from the results. */
const MARKERS = ["<!-- results -->\n", "<!-- end of the results -->\n"] as const;

const ROW_IDS = [...ROWS.map(({ id }) => id), ...await knowsOption("--workers") ? [WORKERS] : []];

/** What the command line asks for. */
const { values: asked } = parseArgs({
  args: Deno.args,
  options: {
    rows: { type: "string", default: ROW_IDS.join() },
    servers: { type: "string", default: SERVER_NAMES.join() },
    seconds: { type: "string", default: "2" },
    rounds: { type: "string", default: "3" },
    "server-core": { type: "string", default: "0" },
    "load-core": { type: "string", default: "1" },
    write: { type: "boolean", default: false },
    draw: { type: "boolean", default: false },
  },
});

async function readResults(): Promise<Results | undefined> {
  try {
    return JSON.parse(await Deno.readTextFile(RESULTS));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function write(results: Results): Promise<void> {
  await Deno.writeTextFile(RESULTS, `${JSON.stringify(results, undefined, 2)}\n`);
  await Deno.writeTextFile(PLOT, plotOf(results));
  const readme = await Deno.readTextFile(README);
  const [before = "", rest = ""] = readme.split(MARKERS[0]);
  const after = rest.split(MARKERS[1])[1];
  if (after === undefined) throw new Error(`${README} has no markers for the results`);
  await Deno.writeTextFile(README, `${before}${MARKERS[0]}\n${reportOf(results)}\n\n${MARKERS[1]}${after}`);
}

/** The processor, as Linux calls it. */
async function readMachine(): Promise<string> {
  const model = /^model name\s*: (.*)$/m.exec(await readOutput("cat", ["/proc/cpuinfo"]))?.[1] ?? Deno.build.arch;
  return `${model}, ${navigator.hardwareConcurrency} cores, Linux ${Deno.osRelease()}`;
}

/** The last commit that changed what is measured. */
function readCommit(): Promise<string> {
  return readOutput("git", ["log", "-1", "--format=%h", "--", "lib", "server.ts"]);
}

async function measure(): Promise<Results> {
  const ids = asked.rows.split(",");
  for (const id of ids) if (!ROW_IDS.includes(id)) throw new Error(`${id} is no row: ${ROW_IDS.join()}`);
  const names = asked.servers.split(",").map((name) => {
    if (!isServerName(name)) throw new Error(`${name} is no server: ${SERVER_NAMES.join()}`);
    return name;
  });
  const [seconds, rounds] = [Number(asked.seconds), Number(asked.rounds)];
  await using load = await compileLoad();
  await using servers = await prepareServers(names);
  const cores = [asked["server-core"], asked["load-core"]] as const;
  const results: Record<string, RowResults> = {};
  for (const row of ROWS.filter(({ id }) => ids.includes(id))) {
    console.error(`${row.id}: ${row.title}`);
    const found: Record<string, Numbers[]> = Object.fromEntries(names.map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const name of names) {
        await using server = await servers.start(name, cores[0]);
        found[name]?.push(await row.measure(load.pinnedTo(cores[1]), server, seconds));
      }
    }
    results[row.id] = found;
  }
  if (ids.includes(WORKERS)) results[WORKERS] = await measureWorkers(servers, load, cores, seconds, rounds);
  const date = new Date().toISOString().slice(0, 10);
  const environment = {
    date,
    machine: await readMachine(),
    versions: servers.versions,
    commit: await readCommit(),
    seconds,
    rounds,
  };
  return { environment, rows: results };
}

if (asked.draw) {
  const results = await readResults();
  if (results === undefined) throw new Error(`There is no ${RESULTS}`);
  await write(results);
} else {
  const results = await measure();
  console.log(reportOf(results));
  if (asked.write) {
    const isWhole = ROW_IDS.every((id) => id in results.rows);
    const old = isWhole ? undefined : await readResults();
    await write(old === undefined ? results : merge(old, results));
  }
}
