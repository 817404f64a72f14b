/**
 * A report in the form that its reader wants: lines for a person, one JSON object for a program.
 *
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";
import { describe } from "./diagnosis.ts";
import type { ExchangeEvent, ExchangeReport, Stage } from "./exchange.ts";
import { describeCloseFrame, describeEnd } from "./protocol/close.ts";

/** Options of {@linkcode formatReport}. */
export interface FormatOptions {
  /** Whether to mark with colours; `false` by default. */
  color?: boolean;
  /** How long the line of a step may be, in columns; 80 by default. */
  columns?: number;
}

/** The lines of a report. */
export interface ReportLines {
  /** One line for each of the steps upgraded, sent, received and closed that was reached. */
  readonly steps: readonly string[];
  /** What was proven, or what failed and why. */
  readonly verdict: readonly string[];
}

/**
 * Puts a report into lines for a person: the four steps that the user of a WebSocket knows, then the verdict.
 *
 * @param report The report.
 * @param options How the lines may look.
 * @returns The lines.
 *
 * @example
 * ```ts
 * import { exchange } from "./exchange.ts";
 * import { formatReport } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const report = await exchange("ws://127.0.0.1:1/");
 * const [verdict] = formatReport(report).verdict;
 * assertEquals(verdict, "no-connection (exit 3): No connection to 127.0.0.1:1: nothing answered there");
 * ```
 */
export function formatReport(report: ExchangeReport, options: FormatOptions = {}): ReportLines {
  const { color = false, columns = 80 } = options;
  const paint = color ? painted : plain;
  const steps = stepsOf(report).map(({ name, stage, ms, detail }) => {
    const time = ms === null ? "" : formatMs(ms);
    const room = columns - MARK_COLUMNS - time.length - 1;
    const text = fit(detail, room);
    const gap = " ".repeat(Math.max(0, room - widthOf(text)));
    return `  ${paint(MARKS[`${stage.ok}`])} ${name.padEnd(NAME_COLUMNS)} ${text}${gap} ${time}`.trimEnd();
  });
  return { steps, verdict: verdictOf(report, paint) };
}

/**
 * Puts a report into one line of JSON.
 *
 * @param report The report.
 * @returns JSON without a line break; times are rounded to microseconds.
 *
 * @example
 * ```ts
 * import { exchange } from "./exchange.ts";
 * import { formatJson } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const report = await exchange("ws://127.0.0.1:1/");
 * assertEquals(JSON.parse(formatJson(report)).exitCode, 3);
 * ```
 */
export function formatJson(report: ExchangeReport): string {
  return JSON.stringify(
    report,
    (_, value) => typeof value === "number" && !Number.isInteger(value) ? Number(value.toFixed(3)) : value,
  );
}

/**
 * Puts an event of an exchange into a line.
 *
 * @param event The event.
 * @returns The time in milliseconds since the start, and what happened.
 *
 * @example
 * ```ts
 * import { formatEvent } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const event = { atMs: 1.5, type: "upgraded", protocol: "chat" } as const;
 * assertEquals(formatEvent(event), "    1.50 ms  upgraded, subprotocol chat");
 * ```
 */
export function formatEvent(event: ExchangeEvent): string {
  return `${formatMs(event.atMs).padStart(11)}  ${describeEvent(event)}`;
}

function describeEvent(event: ExchangeEvent): string {
  switch (event.type) {
    case "connecting":
      return `connecting to ${event.url}${event.proxy && event.proxy !== "not-known" ? ` through ${event.proxy}` : ""}`;
    case "connected":
      return "connected";
    case "upgraded":
      return event.protocol === "" ? "upgraded" : `upgraded, subprotocol ${event.protocol}`;
    case "sent":
      return `sent ${describe(event.message)}`;
    case "received":
      return `received ${describe(event.message)}`;
    case "closing":
      return `closing with ${describeCloseFrame(event.frame)}`;
    case "closed":
      return `ended: ${describeEnd(event.record)}`;
    case "failed":
      return `${event.stage} failed: ${event.problem}${event.detail ? ` (the runtime says: ${event.detail})` : ""}`;
  }
}

/**
 * Puts a duration into words.
 *
 * @param ms The duration in milliseconds.
 * @returns Milliseconds below a second, with as many decimals as make three digits, two at most; else seconds with two.
 *
 * @example
 * ```ts
 * import { formatMs } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([0.1234, 12.34, 123.4, 1234].map(formatMs), ["0.12 ms", "12.3 ms", "123 ms", "1.23 s"]);
 * ```
 */
export function formatMs(ms: number): string {
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0)} ms`;
}

interface Step {
  readonly name: string;
  readonly stage: Stage;
  readonly ms: number | null;
  readonly detail: string;
}

/** The six stages as the four steps that a person knows. */
function stepsOf(report: ExchangeReport): Step[] {
  const steps: Step[] = [];
  for (const stage of report.stages) {
    const isReached = stage.ok !== null || stage.ms !== null;
    if (!isReached) continue;
    if (stage.name === "connect" && stage.ok) continue;
    if (stage.name === "verify") {
      // What was received and what that proves stand in one line.
      const received = steps.pop();
      const detail = stage.ok === false ? stage.detail : [received?.detail, stage.detail].filter(Boolean).join(", ");
      const judged = received?.stage.ok === false ? received.stage : stage;
      steps.push({ name: "received", stage: judged, ms: received?.ms ?? stage.ms, detail });
      continue;
    }
    steps.push({ name: STEP_NAMES[stage.name], stage, ms: stage.ms, detail: stage.detail || "not finished" });
  }
  return steps;
}

const STEP_NAMES = { connect: "connected", upgrade: "upgraded", send: "sent", receive: "received", close: "closed" };
const NAME_COLUMNS = 9;
const MARK_COLUMNS = 4 + NAME_COLUMNS + 1;

type Mark = { readonly text: string; readonly color: string };
const MARKS: Record<`${Stage["ok"]}`, Mark> = {
  true: { text: "✓", color: "\x1b[32m" },
  false: { text: "✗", color: "\x1b[31m" },
  null: { text: "-", color: "\x1b[90m" },
};

function plain({ text }: Mark): string {
  return text;
}

function painted({ text, color }: Mark): string {
  return `${color}${text}\x1b[0m`;
}

function verdictOf(report: ExchangeReport, paint: (mark: Mark) => string): string[] {
  if (report.ok) {
    const verdict = paint({ text: "proven", color: "\x1b[1;32m" });
    return [`${verdict} in ${formatMs(report.ms)}: ${provenText(report)}`];
  }
  const verdict = paint({ text: report.verdict, color: "\x1b[1;31m" });
  const lines = [`${verdict} (exit ${report.exitCode}): ${report.problem}`];
  if (report.hint !== "") lines.push(`  ${report.hint}`);
  return lines;
}

function provenText(report: ExchangeReport): string {
  const verify = report.stages.find((stage) => stage.name === "verify")?.detail ?? "";
  const { messages } = report.sent;
  if (messages === 0) return "upgraded; nothing sent; close confirmed";
  if (verify === "none expected") return "upgraded; sent, no reply expected; close confirmed";
  return `upgraded; ${messages === 1 ? "reply" : `${messages} replies`} ${verify}; close confirmed`;
}

/** Brings text onto one line; cuts what does not fit, and says so. */
function fit(detail: string, columns: number): string {
  const text = detail.replace(/\s+/g, " ").trim();
  if (widthOf(text) <= columns) return text;
  let shown = "";
  for (const char of text) {
    if (widthOf(shown + char) > columns - 3) break;
    shown += char;
  }
  return `${shown}...`;
}

/** ASCII, which most reports are, needs no table. */
function widthOf(text: string): number {
  return /^[ -~]*$/.test(text) ? text.length : unicodeWidth(text);
}
