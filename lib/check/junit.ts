/**
 * The JUnit XML report, for CI.
 *
 * @module
 */

import { sectionOf } from "./case.ts";
import { printable } from "../client/report.ts";
import { type CheckReport, wireLines } from "./report.ts";
import type { CaseResult } from "./run_case.ts";

/**
 * Formats a report as JUnit XML, one suite a group. New failures are failures; known failures and skipped cases are
 * skipped.
 *
 * @param report The report.
 * @returns The document.
 */
export function formatJunit(report: CheckReport): string {
  const groups = Map.groupBy(report.results, ({ test }) => test.group);
  const suites = [...groups].flatMap(([group, results]) => suiteOf(group, results, report));
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites name="wsproof check" time="${secondsOf(report.ms)}">`,
    ...suites,
    "</testsuites>",
    "",
  ].join("\n");
}

function suiteOf(group: string, results: readonly CaseResult[], report: CheckReport): string[] {
  const { unexpected } = report.comparison;
  const failures = results.filter(({ test }) => unexpected.includes(test.id)).length;
  const skipped = results.filter((result) => isSkipped(result, report)).length;
  const seconds = secondsOf(results.reduce((sum, { ms }) => sum + ms, 0));
  return [
    `  <testsuite name="${escape(group)}" tests="${results.length}" failures="${failures}" skipped="${skipped}" ` +
    `time="${seconds}" timestamp="${escape(report.startedAt)}" hostname="${
      escape(URL.parse(report.url)?.host ?? report.url)
    }">`,
    ...results.flatMap((result) => caseLines(result, report)),
    "  </testsuite>",
  ];
}

function isSkipped({ test, grade }: CaseResult, { comparison }: CheckReport): boolean {
  return grade === "skipped" || comparison.known.includes(test.id);
}

function caseLines(result: CaseResult, report: CheckReport): string[] {
  const { test, grade, reason, ms } = result;
  const open = `    <testcase classname="${escape(sectionOf(test.id))}" name="${escape(test.id)}" time="${
    secondsOf(ms)
  }"`;
  if (report.comparison.unexpected.includes(test.id)) {
    const text = [test.rule, test.title, ...wireLines(result)].join("\n");
    return [
      `${open}>`,
      `      <failure type="${grade}" message="${escape(reason)}">${escape(text)}</failure>`,
      "    </testcase>",
    ];
  }
  if (isSkipped(result, report)) {
    const why = grade === "skipped" ? reason : `known failure: ${reason}`;
    return [`${open}>`, `      <skipped message="${escape(why)}"/>`, "    </testcase>"];
  }
  if (grade === "pass") return [`${open}/>`];
  return [`${open}>`, `      <system-out>${escape(`${grade}: ${reason}`)}</system-out>`, "    </testcase>"];
}

function secondsOf(ms: number): string {
  return (ms / 1000).toFixed(3);
}

/** XML cannot express most control characters, U+FFFE and U+FFFF. */
function escape(text: string): string {
  return text.split("\n").map(printable).join("\n")
    .replace(/[\ufffe\uffff]/g, "\ufffd")
    .replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
}
