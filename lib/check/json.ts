/**
 * The report for a program: one JSON object, `wsproof.check/1`.
 *
 * @module
 */

import { sectionOf } from "./case.ts";
import { type CheckReport, wireLines } from "./report.ts";
import type { CaseResult } from "./run_case.ts";
import { printable } from "../client/report.ts";

/**
 * Puts a report into one line of JSON.
 *
 * @param report The report.
 * @returns JSON without a line break; times are rounded to microseconds.
 */
export function formatCheckJson(report: CheckReport): string {
  const { url, profile, strict, startedAt, ms, ok, verdict, exitCode, counts, comparison, results } = report;
  const { unexpected, known, stale } = comparison;
  const json = {
    schema: "wsproof.check/1",
    url,
    ok,
    verdict,
    exitCode,
    profile,
    strict,
    startedAt,
    counts,
    unexpected,
    known,
    stale,
    cases: results.map(caseOf),
    ms,
  };
  return printable(
    JSON.stringify(
      json,
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
