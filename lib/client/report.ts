/**
 * A report as lines for a person, or as one JSON object for a program.
 *
 * @module
 */

import { describe } from "./diagnosis.ts";
import { claimText, type ExchangeEvent, type ExchangeReport, type Stage } from "./exchange_report.ts";
import { type CloseRecord, describeCloseFrame, describeEnd } from "../protocol/close.ts";
import { escapeUnprintable, formatMs, formatSize, harmlessValue, withoutTokens } from "../protocol/message.ts";
import { EXIT_CODES, type Failure, type Verdict } from "./verdict.ts";
import { DEFAULT_COLUMNS, widthOf, wrap } from "./wrap.ts";

/** Options of {@linkcode formatReport}. */
export interface FormatOptions {
  /** Whether to use colours; `false` by default. */
  color?: boolean;
  /** The longest line, in columns; by default 80 for a step, and no limit for the verdict. */
  columns?: number;
}

/** The lines of a report. */
export interface ReportLines {
  /** The steps upgraded, sent, received and closed, if reached: a line each, or more if it is too long. */
  readonly steps: readonly string[];
  /** The proof, or the failure and its cause. */
  readonly verdict: readonly string[];
}

/**
 * Formats a report as lines for a person: the four steps that the user of a WebSocket knows, then the verdict.
 *
 * @param report The report.
 * @param options The form of the lines.
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
  const { color = false, columns } = options;
  const paint = color ? painted : plain;
  const steps = stepsOf(report).flatMap((step) => stepLines(step, paint, columns ?? DEFAULT_COLUMNS));
  return { steps, verdict: verdictOf(report, paint).flatMap((line) => wrapLine(line, columns)) };
}

function stepLines({ name, stage, ms, detail }: Step, paint: (mark: Mark) => string, columns: number): string[] {
  const time = ms === null ? "" : formatMs(ms);
  const rest = columns - MARK_COLUMNS;
  const room = rest - (time === "" ? 0 : time.length + 1);
  const text = printable(detail).replace(/\s+/g, " ").trim();
  const [first = "", ...others] = wrap(text, { first: room, rest });
  const gap = " ".repeat(Math.max(0, room - widthOf(first)));
  const head = `  ${paint(MARKS[`${stage.ok}`])} ${name.padEnd(NAME_COLUMNS)} ${first}${gap} ${time}`.trimEnd();
  return [head, ...others.map((line) => " ".repeat(MARK_COLUMNS) + line)];
}

/**
 * Wraps a line that is longer than the terminal, and indents the lines that follow.
 *
 * @param line The line, which may be indented itself.
 * @param columns The columns of the terminal; `undefined` without one: then the line stays whole.
 * @param hang The indent of the lines that follow, in columns; 2 by default.
 * @returns The lines.
 *
 * @example
 * ```ts
 * import { wrapLine } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(wrapLine("proven: close confirmed", 16), ["proven: close", "  confirmed"]);
 * assertEquals(wrapLine("proven: close confirmed", undefined), ["proven: close confirmed"]);
 * ```
 */
export function wrapLine(line: string, columns: number | undefined, hang = 2): string[] {
  if (columns === undefined) return [line];
  const [indent = ""] = /^ */.exec(line) ?? [];
  const [first = "", ...others] = wrap(line.slice(indent.length), {
    first: columns - indent.length,
    rest: columns - hang,
  });
  return [indent + first, ...others.map((each) => " ".repeat(hang) + each)];
}

/**
 * Formats a report as one line of JSON.
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
    (key, value) => {
      if (key === "refusal") return value && { ...value, fields: value.fields.map(harmlessField) };
      return typeof value === "number" && !Number.isInteger(value) ? Number(value.toFixed(3)) : value;
    },
  );
  return printable(json);
}

function harmlessField([name, value]: Field): Field {
  return [name, harmlessValue([name, value])];
}

type Field = readonly [name: string, value: string];

/**
 * Makes foreign text safe to print: on one line, without tokens or anything that could steer a terminal.
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

/** The column where the text of an event begins, behind its time. */
export const EVENT_COLUMNS = 13;

/**
 * Formats an event of an exchange as a line.
 *
 * @param event The event.
 * @returns The time in milliseconds since the start, and the event in words.
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
  return `${formatMs(event.atMs).padStart(EVENT_COLUMNS - 2)}  ${printable(describeEvent(event))}`;
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
      return `ended: ${describeEnd(event.record)}${describeEnders(event.record)}`;
    case "failed":
      // The report shows the problem, so the event does not.
      return `${event.stage} failed${event.detail ? ` (the runtime says: ${event.detail})` : ""}`;
  }
}

/** The side that closed first, and the side that ended TCP, if known. */
function describeEnders({ initiator, tcp }: CloseRecord): string {
  const began = { local: "we closed first", peer: "the peer closed first", "not-known": "" }[initiator ?? "not-known"];
  const ended = { local: "we ended TCP", peer: "the peer ended TCP", reset: "TCP was reset", "not-known": "" }[tcp];
  return [began, ended].filter((words) => words !== "").map((words) => `; ${words}`).join("");
}

interface Step {
  readonly name: string;
  readonly stage: Stage;
  readonly ms: number | null;
  readonly detail: string;
}

/** Turns the six stages into the four steps that a person knows. */
function stepsOf(report: ExchangeReport): Step[] {
  const steps: Step[] = [];
  for (const stage of report.stages) {
    const isReached = stage.ok !== null || stage.ms !== null;
    if (!isReached) continue;
    if (stage.name === "connect" && stage.ok) continue;
    if (stage.name === "verify") {
      // The reply and its proof share one line.
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

/** The detail of a stage; the problem is shortened, as the last line shows all of it. */
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
  return [provenLine(provenText(report), report.ms, paint), ...compressionLines(report)];
}

/** Describes the bytes that compression saved, or cost. */
function compressionLines({ extensions, wire, sent, received }: ExchangeReport): string[] {
  const bytes = sent.bytes + received.bytes;
  if (extensions === "" || wire === null || bytes === 0) return [];
  const onWire = wire.sent + wire.received;
  const percent = Math.round(100 * Math.abs(1 - onWire / bytes));
  const saving = `  compressed: ${onWire} bytes on the wire for ${bytes}, ${percent} % ${
    onWire > bytes ? "more" : "saved"
  }`;
  // The upgrade line has no room for all parameters.
  const [, parameters] = /^[^;]*; (.*)$/.exec(extensions) ?? [];
  return parameters === undefined ? [saving] : [saving, `  as negotiated: ${printable(parameters)}`];
}

function provenLine(claims: string, ms: number, paint: (mark: Mark) => string): string {
  return `${paint({ text: "proven", color: "\x1b[1;32m" })} in ${formatMs(ms)}: ${printable(claims)}`;
}

/**
 * Formats a proof as lines for a person.
 *
 * @param claims The proof.
 * @param ms The duration, in milliseconds.
 * @param options The form of the lines.
 * @returns The lines.
 *
 * @example
 * ```ts
 * import { formatProven } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatProven("close confirmed", 12.34), ["proven in 12.3 ms: close confirmed"]);
 * ```
 */
export function formatProven(claims: string, ms: number, { color = false, columns }: FormatOptions = {}): string[] {
  return wrapLine(provenLine(claims, ms, color ? painted : plain), columns);
}

/**
 * Formats a failure as lines for a person.
 *
 * @param failure The failure.
 * @param options The form of the lines.
 * @returns A line with verdict, exit code and problem, and one for the hint if any; more if they are too long.
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
export function formatFailure(failure: Failure, { color = false, columns }: FormatOptions = {}): string[] {
  return failureLines(failure, color ? painted : plain).flatMap((line) => wrapLine(line, columns));
}

function failureLines({ verdict, problem, hint }: Failure, paint: (mark: Mark) => string): string[] {
  const line = `${paint({ text: verdict, color: "\x1b[1;31m" })} (exit ${EXIT_CODES[verdict]}): ${printable(problem)}`;
  return hint === "" ? [line] : [line, `  ${printable(hint)}`];
}

function provenText(report: ExchangeReport): string {
  const verify = report.stages.find((stage) => stage.name === "verify")?.detail ?? "";
  return `upgraded; ${claimText(report.sent.messages, verify, rateText(report))}; close confirmed`;
}

/** The speed of a payload of at least 1 MiB, in the direction that moved more. */
function rateText({ sent, received, stages }: ExchangeReport): string {
  const bytes = Math.max(sent.bytes, received.bytes);
  const ms = stages.reduce((sum, stage) => sum + (MOVING_STAGES.has(stage.name) ? stage.ms ?? 0 : 0), 0);
  return bytes < 1024 ** 2 || ms === 0 ? "" : `, at ${formatSize(bytes / ms * 1000)}/s`;
}

const MOVING_STAGES: ReadonlySet<string> = new Set(["send", "receive", "verify"]);
