/**
 * What a run of cases proved: the numbers, the verdict, and the lines for a person.
 *
 * @module
 */

import { type BaselineComparison, compareBaseline } from "./baseline.ts";
import { type Case, type Grade, GRADES, type Group, GROUPS, type Profile, sectionOf } from "./case.ts";
import type { CaseResult } from "./run_case.ts";
import { formatFrame } from "../client/trace.ts";
import { printable } from "../client/report.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { wrap } from "../client/wrap.ts";
import { formatMs, harmlessValue } from "../protocol/message.ts";

/** What is known of a run before a case has run. */
export interface CheckStart {
  /** The server, without its password. */
  readonly url: string;
  /** The profile. */
  readonly profile: Profile;
  /** Whether a case that is not strict counts as a failure. */
  readonly strict: boolean;
  /** When it began, in ISO 8601. */
  readonly startedAt: string;
}

/** A run of cases. */
export interface CheckRun extends CheckStart {
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

/**
 * Counts the grades.
 *
 * @param results The results.
 * @returns How many cases got each grade.
 */
export function countsOf(results: readonly CaseResult[]): Record<Grade, number> {
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
  const unreachable = shown.filter(({ isUnreachable = false }) => isUnreachable);
  // A server that has gone fails what is left: the first of these cases tells it.
  const isRepeated = (result: CaseResult) => unreachable.indexOf(result) > 0;
  const title = (text: string) => paint(text, 1, options.color);
  const found = results.filter(({ grade, reason, test }) =>
    grade === "pass" && reason !== "" && FINDINGS.has(test.group)
  );
  const failures = [
    ...found.length === 0 ? [] : [title("Found"), ...found.flatMap((result) => shortLines(result, options)), ""],
    ...counts.skipped === 0 ? [] : [title("Skipped"), ...skippedLines(results, options), ""],
    ...lax.length === 0 ? [] : [
      title(`Not strict${strict ? "" : " (counts with --strict)"}`),
      ...lax.flatMap((result) => shortLines(result, options)),
      "",
    ],
    ...comparison.known.length === 0 ? [] : [title("Known failures"), ...comparison.known.map((id) => `  ${id}`), ""],
    ...shown.filter((result) => !isRepeated(result)).flatMap((result) => [...formatFailure(result, options), ""]),
    ...unreachable.length < 2 ? [] : [
      title("Without a connection"),
      ...indented(`${unreachable.length - 1} more cases: the server may have ended`, options.columns),
      "",
    ],
    ...comparison.stale.length === 0 ? [] : [
      title("In the baseline, and passed or gone: take them out"),
      ...comparison.stale.map((id) => `  ${printable(id)}`),
      "",
    ],
  ];
  const summary = `${countsInWords(counts)}, in ${formatMs(report.ms)}`;
  const words = paint(`${verdict} (exit ${exitCode})`, ok ? 32 : 31, options.color);
  return {
    groups: GROUPS.flatMap((group) => groupLine(group, results, options)),
    failures,
    verdict: [`${words}: ${ok ? summary : problemOf(report)}`, ...ok ? [] : [summary]],
  };
}

/**
 * Says what went wrong, in one line.
 *
 * @param report The report.
 * @returns "1 of 2 cases failed"; empty if nothing did.
 */
export function problemOf({ comparison, results }: Pick<CheckReport, "comparison" | "results">): string {
  const { unexpected, stale } = comparison;
  return [
    ...unexpected.length === 0 ? [] : [`${unexpected.length} of ${results.length} cases failed`],
    ...stale.length === 0 ? [] : [staleInWords(stale.length)],
  ].join(", and ");
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
  return indented(`${test.id}: ${reason}`, columns);
}

function indented(text: string, columns: number | undefined): string[] {
  return wrapped(printable(text), columns, 4).map((line, index) => (index === 0 ? "  " : "    ") + line);
}

/** One line for each reason: without an echo, a hundred cases have the same. */
function skippedLines(results: readonly CaseResult[], { columns }: ShowOptions): string[] {
  const skipped = results.filter(({ grade }) => grade === "skipped");
  return [...Map.groupBy(skipped, ({ reason }) => reason)].flatMap(([reason, { length }]) => {
    const words = `${length} ${length === 1 ? "case" : "cases"}: ${reason}`;
    return indented(words, columns);
  });
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
    ["alone", aloneLines(test, command)],
  ];
  return [
    `${paint(grade === "fail" ? "FAIL" : grade.toUpperCase(), COLORS[grade], color)} ${test.id}`,
    ...rows.flatMap(([name, lines]) =>
      lines.map((line, index) => `  ${(index === 0 ? name : "").padEnd(INDENT - 2)}${line}`)
    ),
  ];
}

/**
 * Says how to run a case alone.
 *
 * @param test The case.
 * @param command The words that run a case again, before its name; with `=` at their end without a blank between.
 * @returns The command, with a line about secrets that were left out; nothing for a case that only an option runs.
 */
export function aloneLines({ option, id }: Pick<Case, "option" | "id">, command: string): string[] {
  if (option !== undefined) return [];
  const note = command.includes("***") ? ["(*** stands for a secret that you gave: put it in)"] : [];
  return [printable(`${command}${command.endsWith("=") ? "" : " "}${id}`), ...note];
}

/**
 * Puts what went over the connection into lines: the heads of the opening handshake where the case is about it, and the frames.
 *
 * @param result The result of a case.
 * @returns Lines; `>` went out, `<` came in.
 */
export function wireLines({ test, request, answer, seen, isClient = false }: CaseResult): string[] {
  const heads = WITH_HEADS.has(test.group) || seen === undefined
    ? [...headLines(isClient ? "<" : ">", request), ...headLines(isClient ? ">" : "<", answer)]
    : [];
  const { wire = [], omitted = 0, end = "none" } = seen ?? {};
  const frames = wire.map((entry) => formatFrame(entry, 0).replace(/^ *0\.00 ms {2}/, ""));
  if (omitted > 0) frames.splice(frames.length / 2, 0, `  (${omitted} more)`);
  if (seen?.isTooLong) frames.push("> end of TCP");
  else if (seen) {
    frames.push(end === "fin" ? "< end of TCP" : end === "reset" ? "< reset of TCP" : "  (TCP stays open)");
  }
  return [...heads, ...frames];
}

/** Groups whose cases are about what the heads of the opening handshake say. */
const WITH_HEADS: ReadonlySet<Group> = new Set(["handshake", "deflate"]);

const MAX_LINE = 100;

function headLines(direction: string, head: string): string[] {
  return head.split("\r\n").filter((line) => line !== "").map((line) => {
    const [, name, value = ""] = /^([^ :]+): (.*)$/.exec(line) ?? [];
    const shown = printable(name === undefined ? line : `${name}: ${harmlessValue([name, value])}`);
    return `${direction} ${shown.length > MAX_LINE ? `${shown.slice(0, MAX_LINE)}...` : shown}`;
  });
}
