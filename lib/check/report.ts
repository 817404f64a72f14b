/**
 * The report of a run: numbers, verdict, and lines for a person.
 *
 * @module
 */

import { type BaselineComparison, compareBaseline } from "./baseline.ts";
import { type Case, EXTRA_MESSAGE, type Grade, GRADES, type Group, GROUPS, type Profile, sectionOf } from "./case.ts";
import type { CaseResult } from "./run_case.ts";
import { formatFrame } from "../client/trace.ts";
import { printable } from "../client/report.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { wrap } from "../client/wrap.ts";
import { counted, formatMs, harmlessValue } from "../protocol/message.ts";

/** A run before its first case. */
export interface CheckStart {
  /** URL of the server, without the password. */
  readonly url: string;
  /** The profile. */
  readonly profile: Profile;
  /** Whether `not-strict` counts as a failure. */
  readonly strict: boolean;
  /** Start time in ISO 8601. */
  readonly startedAt: string;
}

/** A finished run. */
export interface CheckRun extends CheckStart {
  /** Duration in milliseconds. */
  readonly ms: number;
  /** Results in the order of the cases. */
  readonly results: readonly CaseResult[];
  /** Cases in the baseline; `undefined` without one. */
  readonly baseline?: readonly string[] | undefined;
  /** Names of all existing cases. */
  readonly allIds: readonly string[];
}

/** A run with its conclusions. */
export interface CheckReport extends CheckRun {
  /** Whether the run has neither new failures nor stale names in the baseline. */
  readonly ok: boolean;
  /** The verdict. */
  readonly verdict: "proven" | "not-conformant";
  /** The exit code. */
  readonly exitCode: number;
  /** Number of cases by grade. */
  readonly counts: Readonly<Record<Grade, number>>;
  /** Failures, known ones included. */
  readonly failed: readonly CaseResult[];
  /** Comparison with the baseline. */
  readonly comparison: BaselineComparison;
}

/**
 * Concludes a run.
 *
 * @param run The run.
 * @returns The run with its verdict.
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
 * @returns The number of cases by grade.
 */
export function countsOf(results: readonly CaseResult[]): Record<Grade, number> {
  const counts: Record<Grade, number> = { "pass": 0, "skipped": 0, "not-strict": 0, "unclean": 0, "fail": 0 };
  for (const { grade } of results) counts[grade]++;
  return counts;
}

/** Display of a report. */
export interface ShowOptions {
  /** Whether a terminal shows colours. */
  readonly color: boolean;
  /** Command that runs a case again, before the case's name. */
  readonly command: string;
  /** Width of the terminal in columns; without one, lines do not wrap. */
  readonly columns?: number | undefined;
}

const COLORS: Record<Grade, number> = { "pass": 32, "skipped": 90, "not-strict": 33, "unclean": 31, "fail": 31 };

function paint(text: string, code: number, color: boolean): string {
  return color ? `\x1b[${code}m${text}\x1b[0m` : text;
}

/** Word for each grade, after a number. */
const GRADE_WORDS: Record<Grade, string> = {
  "pass": "passed",
  "skipped": "skipped",
  "not-strict": "not strict",
  "unclean": "unclean",
  "fail": "failed",
};

/**
 * Puts counts into words.
 *
 * @param counts Number of cases by grade.
 * @returns "387 passed, 1 not strict"; omits grades without a case.
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
  /** Findings, skipped cases and failures, in full. */
  readonly failures: readonly string[];
  /** The verdict. */
  readonly verdict: readonly string[];
}

/**
 * Formats a report as lines.
 *
 * @param report The report.
 * @param options Display settings.
 * @returns Lines: the groups, the failures with their frames, and the verdict.
 */
export function formatCheck(report: CheckReport, options: ShowOptions): CheckLines {
  const { results, failed, comparison, ok, verdict, exitCode, counts, strict } = report;
  const lax = results.filter((result) => result.grade === "not-strict" && !failed.includes(result));
  const shown = failed.filter(({ test }) => comparison.unexpected.includes(test.id));
  const unreachable = shown.filter(({ isUnreachable = false }) => isUnreachable);
  // After a server has gone, every case fails the same way: show only the first.
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
      title("In the baseline, but passed or gone: remove them"),
      ...comparison.stale.map((id) => `  ${printable(id)}`),
      "",
    ],
  ];
  const summary = `${countsInWords(counts)}, in ${formatMs(report.ms)}`;
  const words = paint(`${verdict} (exit ${exitCode})`, ok ? 32 : 31, options.color);
  return {
    groups: GROUPS.flatMap((group) => groupLine(group, results, options)),
    failures,
    verdict: ok ? [`${words}: ${summary}`] : [`${words}: ${problemOf(report)}`, ...hintLines(report, options), summary],
  };
}

/**
 * Puts the failures into one line.
 *
 * @param report The report.
 * @returns "1 of 2 cases failed"; empty without a failure.
 */
export function problemOf({ comparison, results }: Pick<CheckReport, "comparison" | "results">): string {
  const { unexpected, stale } = comparison;
  return [
    ...unexpected.length === 0 ? [] : [`${unexpected.length} of ${results.length} cases failed`],
    ...stale.length === 0 ? [] : [staleInWords(stale.length)],
  ].join(", and ");
}

/**
 * Tells what the options should have said about a server that does not just echo.
 *
 * @param report The report.
 * @returns One clause or two; empty if the failures do not look like it.
 */
export function hintOf({ results, failed }: Pick<CheckReport, "results" | "failed">): string {
  const needsEcho = ({ test, grade }: CaseResult) => test.needs.includes("echo") && grade !== "skipped";
  const echoing = results.filter(needsEcho);
  const unechoed = failed.filter(needsEcho);
  // Some cases that need an echo pass by a close frame alone.
  const hasNoEcho = unechoed.length > 1 && 4 * unechoed.length > 3 * echoing.length;
  const others = failed.filter((result) => !needsEcho(result));
  const speaking = others.filter(({ reason }) => reason.includes(EXTRA_MESSAGE));
  const speaks = speaking.length > 1 && 2 * speaking.length > others.length;
  return [
    ...hasNoEcho
      ? [
        `${unechoed.length} of the ${echoing.length} cases that need an echo failed: if the server does not echo, use --no-echo`,
      ]
      : [],
    ...speaks ? ["the server sends unasked messages: if they are a greeting, use --skip 1"] : [],
  ].join("; ");
}

function hintLines(report: CheckReport, { columns }: ShowOptions): string[] {
  const hint = hintOf(report);
  return hint === "" ? [] : indented(hint, columns);
}

function staleInWords(count: number): string {
  return count === 1 ? "1 known failure no longer fails" : `${count} known failures no longer fail`;
}

/** Groups whose passes report a finding. */
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

/** One line a reason: without an echo, a hundred cases share one. */
function skippedLines(results: readonly CaseResult[], { columns }: ShowOptions): string[] {
  const skipped = results.filter(({ grade }) => grade === "skipped");
  return [...Map.groupBy(skipped, ({ reason }) => reason)].flatMap(([reason, { length }]) => {
    const words = `${counted(length, "case")}: ${reason}`;
    return indented(words, columns);
  });
}

/** Columns before the text of a row. */
const INDENT = 10;

/** Wraps a text to the columns that the indent leaves. */
function wrapped(text: string, columns = Infinity, before = INDENT): string[] {
  return wrap(text, { first: Math.max(20, columns - before) });
}

/** Cuts a line of bytes: a glance is enough. */
function cut(text: string, columns = Infinity): string {
  const width = Math.max(20, columns - INDENT);
  return text.length > width ? `${text.slice(0, width - 3)}...` : text;
}

/** Formats a failure: rule, case, reason, frames, and the command to run the case alone. */
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
 * Gives the command that runs a case alone.
 *
 * @param test The case.
 * @param command Command that runs a case again, before the case's name; a final `=` takes no blank.
 * @returns The command, with a note about removed secrets; no line for a case that only an option runs.
 */
export function aloneLines({ option, id }: Pick<Case, "option" | "id">, command: string): string[] {
  if (option !== undefined) return [];
  const note = command.includes("***") ? ["(*** stands for a secret: fill it in)"] : [];
  return [printable(`${command}${command.endsWith("=") ? "" : " "}${id}`), ...note];
}

/**
 * Formats the traffic of a case: the frames, and the heads of the opening handshake where the case is about them.
 *
 * @param result The result of a case.
 * @returns Lines: `>` for sent, `<` for received.
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

/** Groups whose cases are about the heads of the opening handshake. */
const WITH_HEADS: ReadonlySet<Group> = new Set(["handshake", "deflate"]);

const MAX_LINE = 100;

function headLines(direction: string, head: string): string[] {
  return head.split("\r\n").filter((line) => line !== "").map((line) => {
    const [, name, value = ""] = /^([^ :]+): (.*)$/.exec(line) ?? [];
    const shown = printable(name === undefined ? line : `${name}: ${harmlessValue([name, value])}`);
    return `${direction} ${shown.length > MAX_LINE ? `${shown.slice(0, MAX_LINE)}...` : shown}`;
  });
}
