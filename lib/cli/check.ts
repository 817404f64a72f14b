/**
 * The command `check`: which server and which cases, the run, and the reports.
 *
 * @module
 */

import { CHECK_OPTIONS, checkHelp, type CheckSettings, readCheckSettings } from "./check_settings.ts";
import { parseCommandLine, UsageError } from "./command_line.ts";
import { type Screen, tellFailure } from "./output.ts";
import { formatBaseline, parseBaseline } from "../check/baseline.ts";
import type { Case } from "../check/case.ts";
import { CASES } from "../check/cases/mod.ts";
import { formatCheckJson } from "../check/json.ts";
import { type CheckReport, conclude, formatCheck } from "../check/report.ts";
import { runCases } from "../check/runner.ts";
import type { CaseResult, CheckTarget } from "../check/run_case.ts";
import { openingFailure } from "../client/failure.ts";
import { whyUnreadable } from "../client/payload.ts";
import { printable } from "../client/report.ts";
import { formatFrame } from "../client/trace.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { OpenError } from "../connection/connection.ts";
import { openWire } from "../connection/wire.ts";
import { withoutPassword } from "../protocol/message.ts";

/**
 * Runs the command.
 *
 * @param args The words behind its name.
 * @param screen Where to print.
 * @param listen Makes the signal that ends the run.
 * @returns The exit code.
 * @throws {UsageError} If the words make no sense, or a file cannot be read or written.
 */
export async function check(args: readonly string[], screen: Screen, listen: () => AbortSignal): Promise<number> {
  const line = parseCommandLine(args, CHECK_OPTIONS);
  if (line.has("help")) {
    screen.out.print(checkHelp());
    return EXIT_CODES.proven;
  }
  const settings = await readCheckSettings(line, CASES);
  if (settings.list) {
    screen.out.print(settings.cases.map(listLine).join("\n"));
    return EXIT_CODES.proven;
  }
  const baseline = await readBaseline(settings);
  const signal = listen();
  try {
    const failure = await preflight(settings, signal);
    if (failure) {
      return tellFailure(openingFailure(failure, settings.url, settings.open, "wire"), settings.output, screen);
    }
    const report = await runAll(settings, screen, signal, baseline);
    await writeReports(settings, report);
    tellCheck(settings, report, screen);
    return settings.writesBaseline ? EXIT_CODES.proven : report.exitCode;
  } catch (error) {
    if (!signal.aborted) throw error;
    if (settings.output !== "nothing") {
      screen.error.print(`interrupted (exit ${EXIT_CODES.interrupted}): nothing was proved`);
    }
    return EXIT_CODES.interrupted;
  }
}

function listLine({ id, level, profile, title, autobahn = [] }: Case): string {
  const numbers = autobahn.length > 0 ? ` (Autobahn ${autobahn.join(", ")})` : "";
  return `${id}  ${level}, ${profile}: ${title}${numbers}`;
}

async function readBaseline({ baselinePath, writesBaseline }: CheckSettings): Promise<string[] | undefined> {
  if (baselinePath === undefined || writesBaseline) return undefined;
  try {
    return parseBaseline(await Deno.readTextFile(baselinePath));
  } catch (error) {
    throw new UsageError(`Cannot read ${JSON.stringify(baselinePath)}: ${whyUnreadable(error)}`);
  }
}

/** Without a connection that is upgraded there is nothing to check. What else is wrong about the answer is for the cases. */
async function preflight({ url, open }: CheckSettings, signal: AbortSignal): Promise<OpenError | undefined> {
  try {
    const connection = await openWire(url, { ...open, signal });
    // A server that does not answer a close frame is for the cases as well.
    connection.close({ timeoutMs: 1 }).catch(() => {});
    return undefined;
  } catch (error) {
    if (!(error instanceof OpenError)) throw error;
    return error.refusal?.status === 101 ? undefined : error;
  }
}

async function runAll(
  settings: CheckSettings,
  { error }: Screen,
  signal: AbortSignal,
  baseline: readonly string[] | undefined,
): Promise<CheckReport> {
  const { url, cases, jobs, open, profile, strict, caseTimeoutMs, echoes, pattern, skip, trace, output, extras } =
    settings;
  const { onFrame: _, ...way } = open;
  const startedAt = new Date().toISOString();
  const start = performance.now();
  const target: CheckTarget = { ...way, url: new URL(url), caseTimeoutMs, echoes, pattern, skip, signal };
  const bar = await progressOf(cases.length, output !== "nothing" && !trace);
  let done = 0;
  const onResult = (result: CaseResult) => {
    bar?.set(++done);
    if (trace) error.print(`${" ".repeat(13)}= ${result.test.id}: ${result.grade} ${printable(result.reason)}`);
  };
  const onFrame: CheckTarget["onFrame"] = trace
    ? (frame) => error.print(formatFrame(frame, performance.now() - start))
    : undefined;
  try {
    const traced = { ...target, onFrame };
    const results = await runCases(cases, traced, { jobs, onResult });
    if (extras.sweep) results.push(...await (await import("../check/sweep.ts")).runSweep(traced, jobs, onResult));
    if (extras.idle) results.push(...await (await import("../check/idle.ts")).runIdle(traced, onResult));
    if (extras.stress) results.push(...await (await import("../check/stress.ts")).runStress(traced, onResult));
    return conclude({
      url: withoutPassword(url),
      profile,
      strict,
      startedAt,
      ms: performance.now() - start,
      results,
      baseline,
      allIds: [...CASES.map(({ id }) => id), ...results.map(({ test }) => test.id)],
    });
  } finally {
    await bar?.stop();
  }
}

/** A bar is for a person. */
async function progressOf(max: number, isWanted: boolean) {
  if (!isWanted || max < 2 || !Deno.stderr.isTerminal()) return undefined;
  const { ProgressBar } = await import("@std/cli/unstable-progress-bar");
  const bar = new ProgressBar({
    max,
    barLength: 40,
    clear: true,
    formatter: ({ styledTime, progressBar, value }) => `${styledTime} [${progressBar}] ${value} of ${max} cases`,
  });
  return {
    set: (value: number) => void (bar.value = value),
    stop: () => bar.stop(),
  };
}

async function writeReports(
  { reports, baselinePath, writesBaseline }: CheckSettings,
  report: CheckReport,
): Promise<void> {
  const write = async (path: string, makeText: () => Promise<string>) => {
    const text = await makeText();
    try {
      await Deno.writeTextFile(path, text);
    } catch (error) {
      throw new UsageError(`Cannot write ${JSON.stringify(path)}: ${whyUnreadable(error)}`);
    }
  };
  if (writesBaseline && baselinePath !== undefined) {
    await write(baselinePath, () => Promise.resolve(formatBaseline(report.failed)));
  }
  if (reports.junit !== undefined) {
    await write(reports.junit, async () => (await import("../check/junit.ts")).formatJunit(report));
  }
  if (reports.html !== undefined) {
    await write(
      reports.html,
      async () => (await import("../check/html.ts")).formatHtml(report, commandFor(report.url)),
    );
  }
  if (reports.autobahn !== undefined) {
    const { autobahnIndex } = await import("../check/autobahn.ts");
    await Deno.mkdir(reports.autobahn, { recursive: true }).catch(() => {});
    const index = autobahnIndex(report.results, report.url);
    await write(`${reports.autobahn}/index.json`, () => Promise.resolve(`${JSON.stringify(index, null, 3)}\n`));
  }
}

/** The words that run a case again, before its name. */
function commandFor(url: string): string {
  return `wsproof check --trace ${url}`;
}

function columnsOf(): number | undefined {
  return Deno.stdout.isTerminal() ? Deno.consoleSize().columns : undefined;
}

function tellCheck(
  { output, url, profile, baselinePath, writesBaseline }: CheckSettings,
  report: CheckReport,
  screen: Screen,
): void {
  if (output === "nothing") return;
  const { out, error } = screen;
  const command = commandFor(withoutPassword(url));
  const lines = formatCheck(report, { color: out.isColored, command, columns: columnsOf() });
  if (output === "lines") {
    const count = report.results.length;
    out.print(
      `${printable(withoutPassword(url))}: ${count} ${count === 1 ? "case" : "cases"} of the profile ${profile}`,
    );
    out.print([...lines.groups, "", ...lines.failures].join("\n"));
  }
  if (output === "json") out.print(formatCheckJson(report));
  if (writesBaseline) error.print(`Wrote ${report.failed.length} known failures to ${baselinePath}`);
  if (output === "lines" && report.ok) out.print(lines.verdict.join("\n"));
  else if (!report.ok) error.print(formatCheck(report, { color: error.isColored, command }).verdict.join("\n"));
}
