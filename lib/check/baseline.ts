/**
 * Known failures: a file that names them, so that only new ones count.
 *
 * @module
 */

import { printable } from "../client/report.ts";
import type { CaseResult } from "./run_case.ts";

/** What a baseline says about a run. */
export interface BaselineComparison {
  /** Cases that failed, and are not named. */
  readonly unexpected: readonly string[];
  /** Cases that failed, and are named. */
  readonly known: readonly string[];
  /** Cases that are named, and passed, or do not exist. */
  readonly stale: readonly string[];
}

/**
 * Reads a baseline: the name of a case a line; what stands behind `#` is a remark.
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
 * Writes a baseline of the cases that failed.
 *
 * @param failed The results of those cases.
 * @returns The text of the file.
 *
 * @example
 * ```ts
 * import { formatBaseline } from "./baseline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatBaseline([]), "# Known failures, one case a line: wsproof check --baseline FILE\n");
 * ```
 */
export function formatBaseline(failed: readonly CaseResult[]): string {
  const lines = failed.map(({ test, grade, reason }) =>
    `${test.id} # ${grade}: ${printable(reason.replaceAll(/\s+/g, " "))}`
  );
  return ["# Known failures, one case a line: wsproof check --baseline FILE", ...lines, ""].join("\n");
}

/**
 * Compares a run with a baseline.
 *
 * @param names The names in the baseline.
 * @param results The results.
 * @param failed The results that count as failures.
 * @param allIds The names of all cases there are.
 * @returns New, known and stale ones. A case that is named and did not run, or was skipped, is none of them.
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
