/**
 * What a run of cases proved: the numbers, the verdict, and the lines for a person.
 *
 * @module
 */

import { type BaselineComparison, compareBaseline } from "./baseline.ts";
import { type Grade, GRADES, type Group, GROUPS, type Profile, sectionOf } from "./case.ts";
import type { CaseResult } from "./run_case.ts";
import { formatFrame } from "../client/trace.ts";
import { printable } from "../client/report.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { wrap } from "../client/wrap.ts";
import { formatMs, harmlessValue } from "../protocol/message.ts";

/** A run of cases. */
export interface CheckRun {
  /** The server, without its password. */
  readonly url: string;
  /** The profile. */
  readonly profile: Profile;
  /** Whether a case that is not strict counts as a failure. */
  readonly strict: boolean;
  /** When it began, in ISO 8601. */
  readonly startedAt: string;
  /** How long it took, in milliseconds. */
  readonly ms: number;
  /** The results, in the order of the cases. */
  readonly results: readonly CaseResult[];
  /** The names in the baseline; `undefined` if there is none. */
  readonly baseline?: readonly string[] | undefined;
  /** The names of all cases there are. */
  readonly allIds: readonly string[];
}

/** What a run proved. */
export interface CheckReport extends CheckRun {
  /** Whether no case failed that the baseline does not name, and none is named that passed. */
  readonly ok: boolean;
  /** The verdict. */
  readonly verdict: "proven" | "not-conformant";
  /** The exit code. */
  readonly exitCode: number;
  /** How many cases got each grade. */
  readonly counts: Readonly<Record<Grade, number>>;
  /** The results that count as failures, known ones too. */
  readonly failed: readonly CaseResult[];
  /** What the baseline says. */
  readonly comparison: BaselineComparison;
}

/**
 * Draws the conclusions of a run.
 *
 * @param run The run.
 * @returns What it proved.
 */
export function conclude(run: CheckRun): CheckReport {
  const { results, strict, baseline = [], allIds } = run;
  const isFailure = ({ grade }: CaseResult) =>
    grade === "fail" || grade === "unclean" || (strict && grade === "not-strict");
  const failed = results.filter(isFailure);
  const comparison = compareBaseline(baseline, results, failed, allIds);
  const ok = comparison.unexpected.length === 0 && comparison.stale.length === 0;
  const verdict = ok ? "proven" : "not-conformant";
  const counts = countsOf(results);
  return { ...run, ok, verdict, exitCode: EXIT_CODES[verdict], counts, failed, comparison };
}

function countsOf(results: readonly CaseResult[]): Record<Grade, number> {
  const counts: Record<Grade, number> = { "pass": 0, "skipped": 0, "not-strict": 0, "unclean": 0, "fail": 0 };
  for (const { grade } of results) counts[grade]++;
  return counts;
}

/** How a report is shown. */
export interface ShowOptions {
  /** Whether a terminal shows colours. */
  readonly color: boolean;
  /** The words that run a case again, before its name. */
  readonly command: string;
  /** The width of a terminal, in columns; lines are not wrapped without one. */
  readonly columns?: number | undefined;
}

const COLORS: Record<Grade, number> = { "pass": 32, "skipped": 90, "not-strict": 33, "unclean": 31, "fail": 31 };

function paint(text: string, code: number, color: boolean): string {
  return color ? `\x1b[${code}m${text}\x1b[0m` : text;
}

/** The words of a grade, as they stand before numbers. */
const GRADE_WORDS: Record<Grade, string> = {
  "pass": "passed",
  "skipped": "skipped",
  "not-strict": "not strict",
  "unclean": "unclean",
  "fail": "failed",
};

/**
 * Counts in words.
 *
 * @param counts How many cases got each grade.
 * @returns "387 passed, 1 not strict"; grades that no case got are left out.
 *
 * @example
 * ```ts
 * import { countsInWords } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const counts = { "pass": 3, "skipped": 0, "not-strict": 1, "unclean": 0, "fail": 0 };
 * assertEquals(countsInWords(counts), "3 passed, 1 not strict");
 * ```
 */
export function countsInWords(counts: Readonly<Record<Grade, number>>): string {
  const words = GRADES.filter((grade) => counts[grade] > 0).map((grade) => `${counts[grade]} ${GRADE_WORDS[grade]}`);
  return words.join(", ") || "no case";
}

/** The lines of a report. */
export interface CheckLines {
  /** A line for each group of cases. */
  readonly groups: readonly string[];
  /** What was not strict, unclean or failed, in full. */
  readonly failures: readonly string[];
  /** The verdict. */
  readonly verdict: readonly string[];
}

/**
 * Puts a report into lines.
 *
 * @param report The report.
 * @param options How it is shown.
 * @returns Lines: the groups, the failures with what went over the connection, and the verdict.
 */
export function formatCheck(report: CheckReport, options: ShowOptions): CheckLines {
  const { results, failed, comparison, ok, verdict, exitCode, counts, strict } = report;
  const lax = results.filter((result) => result.grade === "not-strict" && !failed.includes(result));
  const shown = failed.filter(({ test }) => comparison.unexpected.includes(test.id));
  const title = (text: string) => paint(text, 1, options.color);
  const found = results.filter(({ grade, reason, test }) =>
    grade === "pass" && reason !== "" && FINDINGS.has(test.group)
  );
  const failures = [
    ...found.length === 0 ? [] : [title("Found"), ...found.flatMap((result) => shortLines(result, options)), ""],
    ...lax.length === 0 ? [] : [
      title(`Not strict${strict ? "" : " (counts with --strict)"}`),
      ...lax.flatMap((result) => shortLines(result, options)),
      "",
    ],
    ...comparison.known.length === 0 ? [] : [title("Known failures"), ...comparison.known.map((id) => `  ${id}`), ""],
    ...shown.flatMap((result) => [...formatFailure(result, options), ""]),
    ...comparison.stale.length === 0 ? [] : [
      title("In the baseline, and passed or gone: take them out"),
      ...comparison.stale.map((id) => `  ${printable(id)}`),
      "",
    ],
  ];
  const problem = [
    ...comparison.unexpected.length === 0 ? [] : [`${comparison.unexpected.length} of ${results.length} cases failed`],
    ...comparison.stale.length === 0 ? [] : [staleInWords(comparison.stale.length)],
  ].join(", and ");
  const summary = `${countsInWords(counts)}, in ${formatMs(report.ms)}`;
  const words = paint(`${verdict} (exit ${exitCode})`, ok ? 32 : 31, options.color);
  return {
    groups: GROUPS.flatMap((group) => groupLine(group, results, options)),
    failures,
    verdict: [ok ? `${words}: ${summary}` : `${words}: ${problem}`, ...ok ? [] : [summary]],
  };
}

function staleInWords(count: number): string {
  return count === 1 ? "1 known failure is none any more" : `${count} known failures are none any more`;
}

/** Groups whose cases tell something when they pass. */
const FINDINGS: ReadonlySet<Group> = new Set(["sizes", "idle", "stress"]);

function groupLine(group: Group, results: readonly CaseResult[], { color }: ShowOptions): string[] {
  const own = results.filter(({ test }) => test.group === group);
  if (own.length === 0) return [];
  const counts = countsOf(own);
  const worst = GRADES.findLast((grade) => counts[grade] > 0) ?? "pass";
  return [`  ${group.padEnd(11)}${paint(countsInWords(counts), COLORS[worst], color)}`];
}

function shortLines({ test, reason }: CaseResult, { columns }: ShowOptions): string[] {
  return wrapped(printable(`${test.id}: ${reason}`), columns, 4).map((line, index) =>
    (index === 0 ? "  " : "    ") + line
  );
}

/** The columns before the text of a row. */
const INDENT = 10;

/** Breaks a text, so that it fits beside what stands before it. */
function wrapped(text: string, columns = Infinity, before = INDENT): string[] {
  return wrap(text, { first: Math.max(20, columns - before) });
}

/** Bytes are not wrapped, but cut: they are for a glance. */
function cut(text: string, columns = Infinity): string {
  const width = Math.max(20, columns - INDENT);
  return text.length > width ? `${text.slice(0, width - 3)}...` : text;
}

/** Puts a failure into lines: the rule, the case, the reason, the frames, and how to run it alone. */
function formatFailure(result: CaseResult, { color, command, columns }: ShowOptions): string[] {
  const { test, grade, reason } = result;
  const numbers = test.autobahn ? `, Autobahn ${test.autobahn.join(", ")}` : "";
  const rows: readonly (readonly [name: string, lines: readonly string[]])[] = [
    ["rule", wrapped(`${test.rule} (${sectionOf(test.id)}, ${test.level}${numbers})`, columns)],
    ["case", wrapped(test.title, columns)],
    ["result", wrapped(printable(reason), columns)],
    ["bytes", wireLines(result).map((line) => cut(line, columns))],
    ["alone", test.option === undefined ? [`${command} ${test.id}`] : []],
  ];
  return [
    `${paint(grade === "fail" ? "FAIL" : grade.toUpperCase(), COLORS[grade], color)} ${test.id}`,
    ...rows.flatMap(([name, lines]) =>
      lines.map((line, index) => `  ${(index === 0 ? name : "").padEnd(INDENT - 2)}${line}`)
    ),
  ];
}

/**
 * Puts what went over the connection into lines: the heads of the opening handshake where the case is about it, and the frames.
 *
 * @param result The result of a case.
 * @returns Lines; `>` went out, `<` came in.
 */
export function wireLines({ test, request, answer, seen, isClient = false }: CaseResult): string[] {
  const heads = test.group === "handshake" || seen === undefined
    ? [...headLines(isClient ? "<" : ">", request), ...headLines(isClient ? ">" : "<", answer)]
    : [];
  const { wire = [], omitted = 0, end = "none" } = seen ?? {};
  const frames = wire.map((entry) => formatFrame(entry, 0).replace(/^ *0\.00 ms {2}/, ""));
  if (omitted > 0) frames.splice(frames.length / 2, 0, `  (${omitted} more)`);
  if (seen) frames.push(end === "fin" ? "< end of TCP" : end === "reset" ? "< reset of TCP" : "  (TCP stays open)");
  return [...heads, ...frames];
}

const MAX_LINE = 100;

function headLines(direction: string, head: string): string[] {
  return head.split("\r\n").filter((line) => line !== "").map((line) => {
    const [, name, value = ""] = /^([^ :]+): (.*)$/.exec(line) ?? [];
    const shown = printable(name === undefined ? line : `${name}: ${harmlessValue([name, value])}`);
    return `${direction} ${shown.length > MAX_LINE ? `${shown.slice(0, MAX_LINE)}...` : shown}`;
  });
}
