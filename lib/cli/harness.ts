/**
 * Runs a client's own harness against the lab, and reports its cases.
 *
 * @module
 */

import { type CheckReport, countsInWords } from "../check/report.ts";
import { within } from "../net/deadline.ts";
import { printable } from "../client/report.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { counted } from "../protocol/message.ts";

/** Environment variable with the lab's WebSocket URL, which ends with a slash. */
export const LAB_URL_VARIABLE = "WSPROOF_LAB_URL";

/** Default deadline of a harness, in milliseconds: 10 minutes. */
export const DEFAULT_RUN_TIMEOUT_MS = 600_000;

/** Time between SIGTERM and SIGKILL for a harness, in milliseconds: 2 s. */
const KILL_MS = 2000;

const IS_WINDOWS = Deno.build.os === "windows";

/** The shell that runs a harness. */
export const SHELL = IS_WINDOWS ? "cmd" : "sh";

/** A harness. */
export interface Harness {
  /** The command, for `sh`. */
  readonly command: string;
  /** Its deadline, in milliseconds. */
  readonly timeoutMs: number;
}

/** End of a harness. */
export interface HarnessEnd {
  /** Exit code; `undefined` if killed. */
  readonly code: number | undefined;
  /** Whether the deadline killed it, not a signal to us. */
  readonly isLate: boolean;
}

/**
 * Runs a harness, with our own output.
 *
 * @param harness The harness.
 * @param url The lab's URL.
 * @param signal Ends it.
 * @returns Its end.
 * @throws {Deno.errors.NotCapable} Without the permission to run `sh`.
 */
export async function runHarness(harness: Harness, url: string, signal: AbortSignal): Promise<HarnessEnd> {
  const { command, timeoutMs } = harness;
  const child = new Deno.Command(SHELL, {
    args: [IS_WINDOWS ? "/c" : "-c", command],
    env: { [LAB_URL_VARIABLE]: url },
    // In a process group of its own, the harness ends with all its children.
    detached: !IS_WINDOWS,
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  }).spawn();
  try {
    const { code } = await within(child.status, "end of the harness", { timeoutMs, signal });
    return { code, isLate: false };
  } catch {
    await kill(child, "TERM");
    await within(child.status, "end of the harness", { timeoutMs: KILL_MS }).catch(() => kill(child, "KILL"));
    return { code: undefined, isLate: !signal.aborted };
  }
}

/** Kills a harness with its children. Deno needs permission to run anything to signal a group. */
async function kill(child: Deno.ChildProcess, name: "TERM" | "KILL"): Promise<void> {
  if (Deno.build.os !== "windows") {
    const args = ["-c", `kill -${name} -${child.pid}`];
    await new Deno.Command("sh", { args, stdin: "null", stdout: "null", stderr: "null" }).output();
    return;
  }
  try {
    child.kill(`SIG${name}`);
  } catch (error) {
    // Already ended.
    if (!(error instanceof TypeError)) throw error;
  }
}

/** The verdict on a run. */
export interface HarnessVerdict {
  /** The exit code. */
  readonly exitCode: number;
  /** Lines to print; the last is the verdict. */
  readonly lines: readonly string[];
}

/** Inputs of a verdict besides the clients. */
export interface HarnessRun {
  /** The deadline of the harness, in milliseconds. */
  readonly timeoutMs: number;
  /** Number of cases in the harness's set. */
  readonly caseCount: number;
  /** The folder with the reports, if any. */
  readonly reports?: string;
}

/**
 * Judges a harness and its cases.
 *
 * @param end How the harness ended.
 * @param reports Its clients' reports.
 * @param run The deadline, the cases and the folder.
 * @returns The harness's own code if it failed, 9 if a case failed, 3 if no case ran, 5 if its deadline passed.
 *
 * @example
 * ```ts
 * import { concludeHarness } from "./harness.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const run = { timeoutMs: 1000, caseCount: 301 };
 * assertEquals(concludeHarness({ code: 2, isLate: false }, [], run).exitCode, 2);
 * assertEquals(concludeHarness({ code: 0, isLate: false }, [], run).exitCode, 3);
 * assertEquals(concludeHarness({ code: undefined, isLate: true }, [], run).exitCode, 5);
 * ```
 */
export function concludeHarness(
  end: HarnessEnd,
  reports: readonly CheckReport[],
  { timeoutMs, caseCount, reports: folder }: HarnessRun,
): HarnessVerdict {
  const lines = reports.flatMap((report) => reportLines(report, caseCount));
  if (folder !== undefined) lines.push(`Reports are in ${folder}`);
  const done = (exitCode: number, words: string) => ({ exitCode, lines: [...lines, words] });
  if (end.code === undefined && !end.isLate) return done(EXIT_CODES.interrupted, "interrupted (exit 130)");
  if (end.code === undefined) {
    return done(EXIT_CODES["no-reply"], `Harness did not end within ${timeoutMs / 1000} s (exit 5)`);
  }
  if (end.code !== 0) return done(end.code, `Harness failed (exit ${end.code})`);
  if (reports.every(({ results }) => results.length === 0)) {
    return done(EXIT_CODES["no-connection"], `Harness ran no case: does it read ${LAB_URL_VARIABLE}? (exit 3)`);
  }
  const failed = reports.reduce((sum, report) => sum + report.failed.length, 0);
  if (failed === 0) return done(EXIT_CODES.proven, "proven (exit 0)");
  return done(
    EXIT_CODES["not-conformant"],
    `not-conformant (exit 9): ${counted(failed, "case")} failed${folder === undefined ? FRAMES : ""}`,
  );
}

const FRAMES = "; add --reports DIR to see the frames";

function reportLines({ url, counts, results }: CheckReport, total: number): string[] {
  const bad = results.filter(({ grade }) => grade !== "pass" && grade !== "skipped");
  return [
    `${printable(url)}: ${countsInWords(counts)}${results.length < total ? `, ${total - results.length} not run` : ""}`,
    ...bad.map(({ test, grade, reason }) => {
      const [number] = test.autobahn ?? [];
      return `  ${grade.padEnd(10)} ${number === undefined ? "" : `${number} `}${test.id}: ${printable(reason)}`;
    }),
  ];
}
