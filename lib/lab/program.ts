/**
 * A URL path as a program of the lab: steps with their values, from left to right.
 *
 * @module
 */

import { DEFAULT_COLUMNS, wrap } from "../client/wrap.ts";
import { byteLengthOf, quote } from "../protocol/message.ts";
import { DEFLATE_HANDSHAKE_STEPS, DEFLATE_STEPS } from "./deflate_steps.ts";
import { END_STEPS } from "./end_steps.ts";
import { FAULT_STEPS } from "./fault_steps.ts";
import { HANDSHAKE_STEPS } from "./handshake_steps.ts";
import { ProgramLoad } from "./load.ts";
import { MESSAGE_STEPS } from "./message_steps.ts";
import { type LabStep, type NumberParameter, type StepArguments, type StepGroup, usageOf } from "./step.ts";

/** The most steps in a path. */
export const MAX_STEPS = 32;

/** Every step of the lab, by group. */
export const LAB_STEPS: Readonly<Record<StepGroup, readonly LabStep[]>> = {
  handshake: [...HANDSHAKE_STEPS, ...DEFLATE_HANDSHAKE_STEPS],
  messages: MESSAGE_STEPS,
  faults: FAULT_STEPS,
  compression: DEFLATE_STEPS,
  end: END_STEPS,
};

/** Titles of the groups. */
export const GROUP_TITLES: Readonly<Record<StepGroup, string>> = {
  handshake: "The handshake (these come first in a path)",
  messages: "Messages",
  faults: "Faults in the frames of the messages that follow",
  compression: "Compression (RFC 7692), after the step deflate",
  end: "The end",
};

const STEPS: ReadonlyMap<string, LabStep> = new Map(
  Object.values(LAB_STEPS).flat().map((step) => [step.name, step]),
);

/** A step of a path, with its values. */
export interface PlannedStep {
  /** The step. */
  readonly step: LabStep;
  /** Its values. */
  readonly values: StepArguments;
}

/**
 * Thrown for a path that is no program; the message names the wrong segment and the reason.
 *
 * @example
 * ```ts
 * import { parseLabPath } from "./program.ts";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => parseLabPath("/refuse/99"), Error, 'Segment 2, "99", is not the STATUS of refuse/STATUS');
 * ```
 */
export class LabPathError extends Error {
  /** The name of the class. */
  override readonly name = "LabPathError";
}

/**
 * Parses a path.
 *
 * @param path The path, without the query. Its segments are percent-decoded; an empty last one is ignored.
 * @returns The steps.
 * @throws {LabPathError} If the path has an unknown step, a missing value or one out of range, a misplaced step, more
 * than 32 steps, or steps that are certain to pass a bound of `load.ts`.
 *
 * @example
 * ```ts
 * import { parseLabPath } from "./program.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const steps = parseLabPath("/greet/hello%20there/echo/2");
 * assertEquals(steps.map(({ step, values }) => [step.name, values]), [
 *   ["greet", { number: 0, text: "hello there" }],
 *   ["echo", { number: 2, text: "" }],
 * ]);
 * ```
 */
export function parseLabPath(path: string): PlannedStep[] {
  const segments = path.replace(/^\//, "").replace(/\/$/, "").split("/");
  if (segments.length === 1 && segments[0] === "") return [];
  const steps: PlannedStep[] = [];
  const load = new ProgramLoad();
  for (let at = 0; at < segments.length;) {
    const step = STEPS.get(decode(segments, at));
    if (step === undefined) throw wrongSegment(segments, at, "is not a step");
    assertPlace(step, steps, segments, at);
    const start = at++;
    const number = readNumber(step, segments, at);
    if (number !== undefined) at++;
    const text = readText(step, segments, at);
    if (text !== undefined) at++;
    const left = step.number?.isOptional ? Infinity : 0;
    const values = { number: number ?? left, text: text ?? "" };
    step.load?.(load, values);
    if (load.excess !== undefined) throw wrongSegment(segments, start, load.excess);
    steps.push({ step, values });
  }
  return steps;
}

function wrongSegment(segments: readonly string[], at: number, why: string): LabPathError {
  return new LabPathError(`Segment ${at + 1}, ${quote(segments[at] ?? "", MAX_SHOWN_CHARS)}, ${why}`);
}

const MAX_SHOWN_CHARS = 100;

function decode(segments: readonly string[], at: number): string {
  try {
    return decodeURIComponent(segments[at] ?? "");
  } catch {
    throw wrongSegment(segments, at, "is not UTF-8 in percent-encoding");
  }
}

function assertPlace(step: LabStep, before: readonly PlannedStep[], segments: readonly string[], at: number): void {
  const refuse = (why: string) => wrongSegment(segments, at, why);
  if (before.length === MAX_STEPS) throw refuse(`is one step too many: a path has at most ${MAX_STEPS}`);
  if (step.on === "handshake" && before.some((one) => one.step.on !== "handshake")) {
    throw refuse("is a step of the handshake: those come first");
  }
  if (step.on === "close" && before.some((one) => one.step.on === "close")) {
    throw refuse("is the second step for the close frame: a path has at most one");
  }
  const last = before.find(endsSomething);
  if (last === undefined || (last.step.last === "messages" && step.on === "close")) return;
  throw refuse(`is never reached: it comes after ${usageOf(last.step)}, after which nothing can follow`);
}

/** An optional number, if given, says when the step is done. */
function endsSomething({ step, values }: PlannedStep): boolean {
  return step.last !== undefined && !(step.number?.isOptional && values.number !== Infinity);
}

function readNumber(step: LabStep, segments: readonly string[], at: number): number | undefined {
  const { number: parameter } = step;
  if (parameter === undefined) return undefined;
  const isThere = at < segments.length;
  const text = isThere ? decode(segments, at) : "";
  if (parameter.isOptional && !/^\d/.test(text)) return undefined;
  if (!isThere) throw new LabPathError(`The ${parameter.name} of ${usageOf(step)} is missing: ${rangeOf(parameter)}`);
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  const { min, max, except } = parameter;
  const isAllowed = value >= min && value <= max && !(except && value >= except.min && value <= except.max);
  if (isAllowed) return value;
  throw wrongSegment(segments, at, `is not the ${parameter.name} of ${usageOf(step)}: ${rangeOf(parameter)}`);
}

function rangeOf({ min, max, except }: NumberParameter): string {
  const but = except ? `, but not ${except.min} to ${except.max}` : "";
  return `a whole number from ${min} to ${max}${but}`;
}

function readText(step: LabStep, segments: readonly string[], at: number): string | undefined {
  const { text: parameter } = step;
  if (parameter === undefined) return undefined;
  if (at >= segments.length) {
    if (parameter.isOptional) return undefined;
    throw new LabPathError(`The ${parameter.name} of ${usageOf(step)} is missing`);
  }
  const text = decode(segments, at);
  const bytes = byteLengthOf(text);
  if (bytes <= parameter.maxBytes) return text;
  throw wrongSegment(segments, at, `has ${bytes} bytes: ${parameter.name} has at most ${parameter.maxBytes}`);
}

/**
 * Describes every step, for a person at a terminal of 80 columns; only a long example is wider.
 *
 * @param url The `ws:` URL of the lab, with which the examples begin.
 * @returns The lines.
 *
 * @example
 * ```ts
 * import { describeSteps } from "./program.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * assertStringIncludes(describeSteps("ws://127.0.0.1:6455/"), "ws://127.0.0.1:6455/refuse/403");
 * ```
 */
export function describeSteps(url: string): string {
  const base = url.replace(/\/$/, "");
  const groups = GROUPS.flatMap((group) => [
    "",
    GROUP_TITLES[group],
    ...LAB_STEPS[group].flatMap((step) => {
      const right = [...wrap(step.help, { first: DEFAULT_COLUMNS - USAGE_COLUMNS - 3 }), `${base}${step.example}`];
      return right.map((text, index) => `  ${(index === 0 ? usageOf(step) : "").padEnd(USAGE_COLUMNS)} ${text}`);
    }),
  ]);
  return [...INTRODUCTION, ...groups].join("\n");
}

const GROUPS: readonly StepGroup[] = ["handshake", "messages", "faults", "compression", "end"];

const USAGE_COLUMNS = 29;

const INTRODUCTION = [
  "wsproof's lab: a WebSocket peer that misbehaves on request.",
  "",
  "The path of the URL says what the lab does, step by step from left to right. A",
  "step that shapes messages holds for all messages sent after it. After the last",
  "step the lab echoes every message and answers the close frame. A connection ends",
  "60 seconds after its request.",
];

/**
 * Lists every step, for a program.
 *
 * @param url The `ws:` URL of the lab, with which the examples begin.
 * @returns One object per step.
 *
 * @example
 * ```ts
 * import { listSteps } from "./program.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(listSteps("ws://127.0.0.1:6455/")[0], {
 *   name: "refuse",
 *   usage: "refuse/STATUS",
 *   group: "handshake",
 *   help: "answers with this HTTP status (200 to 599) instead of 101",
 *   example: "ws://127.0.0.1:6455/refuse/403",
 * });
 * ```
 */
export function listSteps(url: string): StepListing[] {
  const base = url.replace(/\/$/, "");
  return GROUPS.flatMap((group) =>
    LAB_STEPS[group].map((step) => ({
      name: step.name,
      usage: usageOf(step),
      group,
      help: step.help,
      example: `${base}${step.example}`,
    }))
  );
}

/** A step, for a program. */
export interface StepListing {
  /** The segment that names the step. */
  readonly name: string;
  /** The segments, with optional ones in brackets. */
  readonly usage: string;
  /** Its group in the list. */
  readonly group: StepGroup;
  /** The effect, in one line. */
  readonly help: string;
  /** An example, as a URL. */
  readonly example: string;
}
