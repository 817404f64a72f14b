/** The measurements: each row is one kind of load, with numbers that the tables show as ratios. */

import type { Group, Load, Times, Usage } from "../load.ts";
import { POLICY_FIELDS, type Server } from "../support.ts";

/** Numbers by name. */
export type Numbers = Readonly<Record<string, number>>;

/** One kind of load. */
export interface Row {
  readonly id: string;
  /** The description of the load. */
  readonly title: string;
  readonly measure: (load: Load, server: Server, seconds: number) => Promise<Numbers>;
}

/** Time to warm up a server, in seconds. */
const WARM_SECONDS = 1;
/** The same for new connections, in seconds: V8 optimizes a function after 3,000 calls, and each calls most of them once. */
const CONNECT_WARM_SECONDS = 3;
const STORM_CONNECTIONS = 10_000;
/** The connections of a storm arrive, are cut, and return. */
const STORM_ROUNDS = 2;

const fields = POLICY_FIELDS.flatMap((field) => ["--field", field]);

/** The options of every measurement: the process of the server, the duration, and the fields of the handshake. */
export function optionsFor(server: Server, seconds: number, warmSeconds: number = WARM_SECONDS): string[] {
  return ["--pid", `${server.pid}`, "--seconds", `${seconds}`, "--warm", `${warmSeconds}`, ...fields];
}

function usageOf({ cpuMicros = NaN, peakMebibytes = NaN, loadShare }: Usage): Numbers {
  return { cpuMicros, peakMebibytes, loadShare };
}

/** The most served connection's messages, divided by the least served one's. */
function spreadOf({ least, most }: Group): number {
  return most / Math.max(1, least);
}

/** Microseconds as milliseconds. */
function timesOf({ p50, p99, worst }: Times): { p50Ms: number; p99Ms: number; worstMs: number } {
  return { p50Ms: (p50 ?? NaN) / 1000, p99Ms: (p99 ?? NaN) / 1000, worstMs: (worst ?? NaN) / 1000 };
}

/** Measures all groups of connections. The numbers are those of the first, except for the spread. */
function echo(id: string, title: string, kind: "text" | "binary", ...groups: readonly string[]): Row {
  return {
    id,
    title,
    async measure(load, server, seconds) {
      const result = await load.echo(server.url, [...groups, "--kind", kind, ...optionsFor(server, seconds)]);
      const first = result.groups[0];
      if (first === undefined) throw new Error("The load has no groups");
      return {
        perSecond: result.perSecond,
        spread: Math.max(...result.groups.map(spreadOf)),
        ...timesOf(first),
        ...usageOf(result),
      };
    },
  };
}

/** All rows, in the order of the tables. */
export const ROWS: readonly Row[] = [
  {
    id: "connect",
    title: "connect, upgrade, one echo, close handshake; 32 at once",
    async measure(load, server, seconds) {
      const result = await load.connect(server.url, [
        "--at-once",
        "32",
        ...optionsFor(server, seconds, CONNECT_WARM_SECONDS),
      ]);
      const { perSecond, failures } = result;
      if (failures > 0) console.error(`  ${failures} have failed; the first: ${result.firstFailure}`);
      return { perSecond, failures, ...timesOf(result), ...usageOf(result) };
    },
  },
  {
    id: "storm",
    title: "10,000 connect at the same moment, are cut, and come again",
    async measure(load, server) {
      const counts = ["--connections", `${STORM_CONNECTIONS}`, "--rounds", `${STORM_ROUNDS}`];
      const result = await load.storm(server.url, [...counts, "--pid", `${server.pid}`, ...fields]);
      const last = result.rounds.at(-1);
      if (last === undefined) throw new Error("The load has no rounds");
      const lost = result.rounds.reduce((sum, round) => sum + round.lost + round.waiting, 0);
      if (lost > 0) console.error(`  ${lost} are not let in; the first: ${result.firstFailure}`);
      // A storm that is short because many were refused is not fast.
      return { lost, ...lost === 0 ? { seconds: last.seconds } : {}, ...timesOf(last), ...usageOf(result) };
    },
  },
  echo("text-20", "text of 20 B, 64 connections", "text", "64x20"),
  echo("text-1k", "text of 1 KiB, 64 connections", "text", "64x1024"),
  echo("text-16k", "text of 16 KiB, 64 connections", "text", "64x16384"),
  echo("text-1m", "text of 1 MiB, 64 connections", "text", "64x1048576"),
  echo("binary-20", "binary of 20 B, 64 connections", "binary", "64x20"),
  echo("binary-1k", "binary of 1 KiB, 64 connections", "binary", "64x1024"),
  echo("binary-16k", "binary of 16 KiB, 64 connections", "binary", "64x16384"),
  echo("binary-1m", "binary of 1 MiB, 64 connections", "binary", "64x1048576"),
  echo("fair-20", "text of 20 B, 500 connections", "text", "500x20"),
  echo("fair-1k", "text of 1 KiB, 500 connections", "text", "500x1024"),
  // The spread of one connection is 1, so this is the spread of the others.
  echo("fair-flood", "text of 20 B, 499 connections, and one with 64 under way", "text", "499x20", "1x20x64"),
  echo("fair-mixed", "text, 250 connections with 20 B, and 250 with 16 KiB", "text", "250x20", "250x16384"),
];
