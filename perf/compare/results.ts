/** The results of a comparison, as `perf/results.json` keeps them: every round, so that the medians can be looked at. */

import { median } from "../support.ts";
import type { Numbers } from "./rows.ts";
import type { ServerName } from "./servers.ts";

/** Where, when and of what the numbers are. */
export interface Environment {
  /** The day of the last measurement. */
  readonly date: string;
  readonly machine: string;
  readonly versions: Readonly<Record<string, string>>;
  /** The commit of the tree that was measured. */
  readonly commit: string;
  readonly seconds: number;
  readonly rounds: number;
}

/** Of each server the numbers of each round; of the row with workers, by their number. */
export type RowResults = Readonly<Partial<Record<string, readonly Numbers[]>>>;

/** All that was measured. */
export interface Results {
  readonly environment: Environment;
  readonly rows: Readonly<Record<string, RowResults>>;
}

/** The median of one number over the rounds; undefined if it was not measured in each. */
export function medianOf(results: Results, row: string, server: ServerName, name: string): number | undefined {
  const values = results.rows[row]?.[server]?.map((numbers) => numbers[name]) ?? [];
  const known = values.filter((value) => value !== undefined);
  return known.length === 0 || known.length < values.length ? undefined : median(known);
}

/**
 * Adds the rows of another run.
 *
 * @throws {Error} if the runs are not of the same machine, versions and commit: such numbers do not stand in one table.
 */
export function merge(old: Results, more: Results): Results {
  const { date: _old, ...before } = old.environment;
  const { date: _more, ...now } = more.environment;
  if (JSON.stringify(before) !== JSON.stringify(now)) {
    throw new Error("The other rows are of another machine, version, commit or length: measure all rows with --write");
  }
  return { environment: more.environment, rows: { ...old.rows, ...more.rows } };
}

/** So many digits of a number are kept. */
const DIGITS = 4;

/** The results as JSON, with a line for each measurement. */
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
