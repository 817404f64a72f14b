/**
 * The baseline: a file of known failures, so that only new ones count.
 *
 * @module
 */

import { printable } from "../client/report.ts";
import type { CaseResult } from "./run_case.ts";

/** A run compared with a baseline. */
export interface BaselineComparison {
  /** Failed cases that the baseline does not name. */
  readonly unexpected: readonly string[];
  /** Failed cases that the baseline names. */
  readonly known: readonly string[];
  /** Cases in the baseline that passed or do not exist. */
  readonly stale: readonly string[];
}

/**
 * Parses a baseline: one case per line; `#` begins a remark.
 *
 * @param text The text of the file.
 * @returns The names, in order.
 *
 * @example
 * ```ts
 * import { parseBaseline } from "./baseline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseBaseline("# ours\n6455/5.4/restart # fail: no\n\n"), ["6455/5.4/restart"]);
 * ```
 */
export function parseBaseline(text: string): string[] {
  return text.split("\n").map((line) => line.replace(/(^|\s)#.*$/, "").trim()).filter((line) => line !== "");
}

/**
 * Formats a baseline of failed cases.
 *
 * @param failed Their results.
 * @returns The text of the file.
 *
 * @example
 * ```ts
 * import { formatBaseline } from "./baseline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatBaseline([]), "# Known failures, one case per line: wsproof check --baseline FILE\n");
 * ```
 */
export function formatBaseline(failed: readonly CaseResult[]): string {
  const lines = failed.map(({ test, grade, reason }) =>
    `${test.id} # ${grade}: ${printable(reason.replaceAll(/\s+/g, " "))}`
  );
  return ["# Known failures, one case per line: wsproof check --baseline FILE", ...lines, ""].join("\n");
}

/**
 * Compares a run with a baseline.
 *
 * @param names The cases in the baseline.
 * @param results The results.
 * @param failed The results that count as failures.
 * @param allIds The names of all existing cases.
 * @returns New, known and stale cases. A named case that did not run, or was skipped, is none of them.
 *
 * @example
 * ```ts
 * import { compareBaseline } from "./baseline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(compareBaseline(["6455/0/gone"], [], [], []).stale, ["6455/0/gone"]);
 * ```
 */
export function compareBaseline(
  names: readonly string[],
  results: readonly CaseResult[],
  failed: readonly CaseResult[],
  allIds: readonly string[],
): BaselineComparison {
  const named = new Set(names);
  const failedIds = failed.map(({ test }) => test.id);
  const passedIds = results.filter((result) => result.grade !== "skipped" && !failed.includes(result))
    .map(({ test }) => test.id);
  return {
    unexpected: failedIds.filter((id) => !named.has(id)),
    known: failedIds.filter((id) => named.has(id)),
    stale: [...named].filter((name) => passedIds.includes(name) || !allIds.includes(name)),
  };
}
