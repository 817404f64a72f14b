/**
 * A report in the form that its reader wants: lines for a person, one JSON object for a program.
 *
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";
import { describe } from "./diagnosis.ts";
import type { ExchangeEvent, ExchangeReport, Stage } from "./exchange_report.ts";
import { describeCloseFrame, describeEnd } from "../protocol/close.ts";
import { escapeUnprintable, formatMs, withoutTokens } from "../protocol/message.ts";
import { EXIT_CODES, type Failure, type Verdict } from "./verdict.ts";

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
    const text = fit(printable(detail), room);
    const gap = " ".repeat(Math.max(0, room - widthOf(text)));
    return `  ${paint(MARKS[`${stage.ok}`])} ${name.padEnd(NAME_COLUMNS)} ${text}${gap} ${time}`.trimEnd();
  });
  return { steps, verdict: verdictOf(report, paint) };
}

/**
 * Puts a report into one line of JSON.
 *
 * @param report The report.
 * @returns JSON without a line break; times are rounded to microseconds, control and direction characters are escaped.
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
  const json = JSON.stringify(
    report,
    (_, value) => typeof value === "number" && !Number.isInteger(value) ? Number(value.toFixed(3)) : value,
  );
  return printable(json);
}

/**
 * Makes text fit to be printed, whoever wrote it: on one line, without what could steer a terminal, without tokens.
 *
 * @param text The text; JSON stays JSON.
 * @returns The text with escapes instead of control and direction characters, and asterisks instead of tokens.
 *
 * @example
 * ```ts
 * import { printable } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(printable("wsproof.bearer.b3Blbg\u001b[2J"), "wsproof.bearer.***\\u001b[2J");
 * ```
 */
export function printable(text: string): string {
  return escapeUnprintable(withoutTokens(text));
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
  return `${formatMs(event.atMs).padStart(11)}  ${printable(describeEvent(event))}`;
}

function describeEvent(event: ExchangeEvent): string {
  switch (event.type) {
    case "connecting":
      return `connecting to ${event.url}${event.proxy && event.proxy !== "not-known" ? ` through ${event.proxy}` : ""}`;
    case "connected":
      return "connected";
    case "upgraded":
      return ["upgraded", event.protocol && `subprotocol ${event.protocol}`, event.extensions].filter(Boolean).join(
        ", ",
      );
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
      const judgement = shortOf(stage, report);
      const isWhole = stage.ok === false && judgement === stage.detail;
      const detail = isWhole ? stage.detail : [received?.detail, judgement].filter(Boolean).join(", ");
      const judged = received?.stage.ok === false ? received.stage : stage;
      steps.push({ name: "received", stage: judged, ms: received?.ms ?? stage.ms, detail });
      continue;
    }
    steps.push({
      name: STEP_NAMES[stage.name],
      stage,
      ms: stage.ms,
      detail: shortOf(stage, report) || "not finished",
    });
  }
  return steps;
}

/** The detail of a stage; in few words if it is the problem, which the last line says as a whole. */
function shortOf({ name, ok, detail }: Stage, { problem, verdict, url }: ExchangeReport): string {
  if (ok !== false || detail !== problem) return detail;
  return name === "connect" || name === "upgrade" ? url : SHORT_PROBLEMS[verdict];
}

const SHORT_PROBLEMS: Record<Verdict, string> = {
  "proven": "",
  "internal-error": "failed",
  "usage": "the input cannot be sent",
  "no-connection": "no connection",
  "handshake-refused": "handshake refused",
  "no-reply": "no complete message in time",
  "wrong-reply": "not as expected",
  "connection-lost": "connection lost",
  "close-not-confirmed": "not confirmed",
  "not-conformant": "a case failed",
  "interrupted": "interrupted",
};

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
  if (!report.ok) return failureLines(report, paint);
  const verdict = paint({ text: "proven", color: "\x1b[1;32m" });
  return [`${verdict} in ${formatMs(report.ms)}: ${printable(provenText(report))}`, ...compressionLines(report)];
}

/** What compression has saved of the bytes of the messages, or cost. */
function compressionLines({ extensions, wire, sent, received }: ExchangeReport): string[] {
  const bytes = sent.bytes + received.bytes;
  if (extensions === "" || wire === null || bytes === 0) return [];
  const onWire = wire.sent + wire.received;
  const percent = Math.round(100 * Math.abs(1 - onWire / bytes));
  const saving = `  compressed: ${onWire} bytes on the wire for ${bytes}, ${percent} % ${
    onWire > bytes ? "more" : "saved"
  }`;
  // The line of the upgrade has no room for all parameters.
  const [, parameters] = /^[^;]*; (.*)$/.exec(extensions) ?? [];
  return parameters === undefined ? [saving] : [saving, `  as negotiated: ${printable(parameters)}`];
}

/**
 * Puts a failure into lines for a person.
 *
 * @param failure The failure.
 * @param options Whether to mark with colours.
 * @returns One line with verdict, exit code and problem, and one for the hint if there is one.
 *
 * @example
 * ```ts
 * import { formatFailure } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const failure = { verdict: "no-reply", problem: "No complete message within 1 s", hint: "" } as const;
 * assertEquals(formatFailure(failure), ["no-reply (exit 5): No complete message within 1 s"]);
 * ```
 */
export function formatFailure(failure: Failure, { color = false }: Pick<FormatOptions, "color"> = {}): string[] {
  return failureLines(failure, color ? painted : plain);
}

function failureLines({ verdict, problem, hint }: Failure, paint: (mark: Mark) => string): string[] {
  const line = `${paint({ text: verdict, color: "\x1b[1;31m" })} (exit ${EXIT_CODES[verdict]}): ${printable(problem)}`;
  return hint === "" ? [line] : [line, `  ${printable(hint)}`];
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
