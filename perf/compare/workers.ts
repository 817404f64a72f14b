/**
 * The gain of more workers: the server with one worker shares one core with the load, the server with two shares two
 * cores with the same load. CPU time is the only limit of both, so that twice the messages is the maximum.
 */

import type { Load } from "../load.ts";
import { median } from "../support.ts";
import type { Results, RowResults } from "./results.ts";
import { type Numbers, optionsFor } from "./rows.ts";
import type { Servers } from "./servers.ts";

/** The name of the row. */
export const WORKERS = "workers";

/** Enough connections for each worker, however the system distributes them. */
const GROUP = "256x16384";

/** Measures both in turns; returns the numbers by workers. */
export async function measureWorkers(
  servers: Servers,
  load: Load,
  cores: readonly [string, string],
  seconds: number,
  rounds: number,
): Promise<RowResults> {
  const found: Record<"1" | "2", Numbers[]> = { "1": [], "2": [] };
  for (let round = 0; round < rounds; round++) {
    for (const [workers, shared] of [["1", cores[0]], ["2", cores.join()]] as const) {
      await using server = await servers.start("wire", shared, ["--workers", workers]);
      const result = await load.pinnedTo(shared).echo(server.url, [GROUP, ...optionsFor(server, seconds)]);
      const { messages, cpuSeconds = NaN, loadShare, idleSeconds, seconds: took } = result;
      // None of the three includes CPU time of other processes; idle time of a worker is included.
      found[workers].push({ perCoreSecond: messages / (cpuSeconds + loadShare * took + idleSeconds) });
    }
  }
  return found;
}

/** The result as a sentence; empty if the row was not measured. */
export function workersOf(results: Results): string {
  const rateOf = (workers: string) =>
    median(results.rows[WORKERS]?.[workers]?.map(({ perCoreSecond = NaN }) => perCoreSecond) ?? []);
  const times = 2 * rateOf("2") / rateOf("1");
  if (Number.isNaN(times)) return "";
  return `Workers, \`wire\`, 256 connections, 16 KiB text: two on two cores, shared with the load, echo **${
    times.toFixed(2)
  }** times as many messages as one on one core.`;
}
