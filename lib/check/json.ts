/**
 * The JSON report: one object, `wsproof.check/1`.
 *
 * @module
 */

import { sectionOf } from "./case.ts";
import { type CheckReport, type CheckStart, countsOf, hintOf, problemOf, wireLines } from "./report.ts";
import type { CaseResult } from "./run_case.ts";
import { printable } from "../client/report.ts";
import { EXIT_CODES, type Failure } from "../client/verdict.ts";

/**
 * Formats a report as one line of JSON.
 *
 * @param report The report.
 * @returns JSON without a line break; times are rounded to microseconds.
 */
export function formatCheckJson(report: CheckReport): string {
  const { ok, verdict, exitCode, counts, comparison, results, ms } = report;
  const { unexpected, known, stale } = comparison;
  const ending = { verdict, exitCode, problem: problemOf(report), hint: ok ? "" : hintOf(report) };
  return jsonOf(report, ending, { counts, unexpected, known, stale, cases: results.map(caseOf), ms });
}

/**
 * Formats a run without a result as one line of JSON: no connection, no upgrade, Ctrl-C, a broken case.
 *
 * @param start The run.
 * @param failure Why the run has no result.
 * @param ms Duration in milliseconds.
 * @returns JSON of the same form, without a case.
 */
export function formatNothingJson(start: CheckStart, failure: Failure, ms: number): string {
  const ending = { ...failure, exitCode: EXIT_CODES[failure.verdict] };
  return jsonOf(start, ending, { counts: countsOf([]), unexpected: [], known: [], stale: [], cases: [], ms });
}

type Ending = Failure & { readonly exitCode: number };

function jsonOf({ url, profile, strict, startedAt }: CheckStart, ending: Ending, results: object): string {
  const { verdict, exitCode, problem, hint } = ending;
  const head = { schema: "wsproof.check/1", url, ok: exitCode === 0, verdict, exitCode, problem, hint };
  return printable(
    JSON.stringify(
      { ...head, profile, strict, startedAt, ...results },
      (_, value) => typeof value === "number" && !Number.isInteger(value) ? Number(value.toFixed(3)) : value,
    ),
  );
}

function caseOf(result: CaseResult) {
  const { test, grade, reason, ms } = result;
  return {
    id: test.id,
    group: test.group,
    autobahn: test.autobahn ?? [],
    section: sectionOf(test.id),
    rule: test.rule,
    title: test.title,
    level: test.level,
    grade,
    reason,
    wire: grade === "pass" || grade === "skipped" ? [] : wireLines(result),
    ms,
  };
}
