/** The results of a comparison, as in `perf/results.json`: every round, so that the medians can be checked. */

import { median } from "../support.ts";
import type { Numbers } from "./rows.ts";
import type { ServerName } from "./servers.ts";

/** The machine, date and versions of the numbers. */
export interface Environment {
  /** The day of the last measurement. */
  readonly date: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  /** The commit of the measured tree. */
  readonly commit: string;
  readonly seconds: number;
  readonly rounds: number;
}

/** For each server, the numbers of each round; in the row with workers, for each number of workers. */
export type RowResults = Readonly<Partial<Record<string, readonly Numbers[]>>>;

/** All results. */
export interface Results {
  readonly environment: Environment;
  readonly rows: Readonly<Record<string, RowResults>>;
}

/** The median of one number over the rounds; undefined unless measured in each. */
export function medianOf(results: Results, row: string, server: ServerName, name: string): number | undefined {
  const values = results.rows[row]?.[server]?.map((numbers) => numbers[name]) ?? [];
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 || known.length < values.length ? undefined : median(known);
}

/**
 * Adds the rows of another run.
 *
 * @throws {Error} if machine, versions or commit of the runs differ: their numbers do not belong in one table.
 */
export function merge(old: Results, more: Results): Results {
  const { date: _old, ...before } = old.environment;
  const { date: _more, ...now } = more.environment;
  if (JSON.stringify(before) !== JSON.stringify(now)) {
    throw new Error("The other rows are of another machine, version, commit or length: measure all rows with --write");
  }
  return { environment: more.environment, rows: { ...old.rows, ...more.rows } };
}

/** The kept digits of a number. */
const DIGITS = 4;

/** The results as JSON, a line for each measurement. */
export function textOf(results: Results): string {
  const round = (_name: string, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(DIGITS)) : value;
  const rows = Object.entries(results.rows).map(([id, row]) => {
    const servers = Object.entries(row).map(([name, rounds = []]) =>
      `"${name}": [\n${rounds.map((numbers) => `      ${JSON.stringify(numbers, round)}`).join(",\n")}\n    ]`
    );
    return `"${id}": {\n    ${servers.join(",\n    ")}\n  }`;
  });
  return `{\n"environment": ${JSON.stringify(results.environment)},\n"rows": {\n  ${rows.join(",\n  ")}\n}\n}\n`;
}
