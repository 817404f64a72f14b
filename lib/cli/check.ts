/**
 * The command `check`: settings, the run, and the reports.
 *
 * @module
 */

import { againCommand } from "./check_again.ts";
import { CHECK_OPTIONS, checkHelp, type CheckSettings, readCheckSettings } from "./check_settings.ts";
import { parseCommandLine, UsageError } from "./command_line.ts";
import { type Screen, tellFailure } from "./output.ts";
import { formatBaseline, parseBaseline } from "../check/baseline.ts";
import type { Case } from "../check/case.ts";
import { CASES } from "../check/cases/mod.ts";
import { formatCheckJson, formatNothingJson } from "../check/json.ts";
import { type CheckReport, type CheckRun, type CheckStart, conclude, formatCheck } from "../check/report.ts";
import { runCases, type RunOptions } from "../check/runner.ts";
import type { CaseResult, CheckTarget } from "../check/run_case.ts";
import { openingFailure } from "../client/failure.ts";
import { whyUnreadable } from "../client/payload.ts";
import { printable } from "../client/report.ts";
import { formatFrame } from "../client/trace.ts";
import { EXIT_CODES, type Failure } from "../client/verdict.ts";
import { OpenError } from "../connection/connection.ts";
import { openWire } from "../connection/wire.ts";
import { messageOf } from "../protocol/error.ts";
import { counted, withoutPassword } from "../protocol/message.ts";

/**
 * Runs the command.
 *
 * @param args The words after its name.
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
    const known = wantedOf(settings).length > 0 ? await loadExtras() : undefined;
    const extras = wantedOf(settings).flatMap((name) => known?.[name].cases ?? []);
    screen.out.print([...settings.cases, ...extras].map(listLine).join("\n"));
    return EXIT_CODES.proven;
  }
  const baseline = await readBaseline(settings);
  for (const path of await pathsOf(settings)) await assertWritable(path);
  const signal = listen();
  const { profile, strict } = settings;
  const begin: CheckStart = {
    url: withoutPassword(settings.url),
    profile,
    strict,
    startedAt: new Date().toISOString(),
  };
  const startMs = performance.now();
  const printNothing = (failure: Failure) => {
    if (settings.output === "json") screen.out.print(formatNothingJson(begin, failure, performance.now() - startMs));
  };
  try {
    const refused = await preflight(settings, signal);
    if (refused) {
      const failure = openingFailure(refused, settings.url, settings.open, "wire");
      printNothing(failure);
      return tellFailure(failure, settings.output, screen);
    }
    const report = await runAll(settings, begin, screen, signal, baseline);
    const again = againCommand(line, settings.url);
    await writeReports(settings, report, again);
    tellCheck(settings, report, screen, again);
    return report.exitCode;
  } catch (error) {
    if (signal.aborted) {
      const failure: Failure = { verdict: "interrupted", problem: "nothing was proved", hint: "" };
      printNothing(failure);
      return tellFailure(failure, settings.output, screen);
    }
    if (!(error instanceof UsageError)) {
      printNothing({ verdict: "internal-error", problem: messageOf(error), hint: "" });
    }
    throw error;
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

/** Without an upgraded connection there is nothing to check. The cases judge the rest of the answer. */
async function preflight({ url, open }: CheckSettings, signal: AbortSignal): Promise<OpenError | undefined> {
  try {
    const connection = await openWire(url, { ...open, signal });
    // A missing answer to a close frame is for the cases as well.
    connection.close({ timeoutMs: 1 }).catch(() => {});
    return undefined;
  } catch (error) {
    if (!(error instanceof OpenError)) throw error;
    return error.refusal?.status === 101 ? undefined : error;
  }
}

async function runAll(
  settings: CheckSettings,
  begin: CheckStart,
  { error }: Screen,
  signal: AbortSignal,
  baseline: readonly string[] | undefined,
): Promise<CheckReport> {
  const { url, cases, jobs, open, caseTimeoutMs, echoes, pattern, skip, trace, output } = settings;
  const { writesBaseline } = settings;
  const { onFrame: _, ...way } = open;
  const start = performance.now();
  const wanted = wantedOf(settings);
  const known = wanted.length > 0 || baseline !== undefined ? await loadExtras() : undefined;
  const count = wanted.reduce((sum, name) => sum + (known?.[name].cases.length ?? 0), cases.length);
  // A bar is for a person.
  const hasBar = output !== "nothing" && !trace && Deno.stderr.isTerminal();
  const progress = hasBar ? new (await import("./check_progress.ts")).CheckProgress(count, error.columns) : undefined;
  const onResult = (result: CaseResult) => {
    progress?.onResult();
    if (trace) error.print(`${" ".repeat(13)}= ${result.test.id}: ${result.grade} ${printable(result.reason)}`);
  };
  const target: CheckTarget = {
    ...way,
    url: new URL(url),
    caseTimeoutMs,
    echoes,
    pattern,
    skip,
    signal,
    onFrame: trace ? (frame) => error.print(formatFrame(frame, performance.now() - start)) : undefined,
    onCase: progress && ((test) => progress.onCase(test)),
    onBytes: progress && ((bytes) => progress.onBytes(bytes)),
  };
  try {
    const results = await runCases(cases, target, { jobs, onResult });
    for (const name of wanted) results.push(...await known?.[name].run(target, { jobs, onResult }) ?? []);
    const run: CheckRun = {
      ...begin,
      ms: performance.now() - start,
      results,
      baseline,
      allIds: [...CASES, ...EXTRAS.flatMap((name) => known?.[name].cases ?? [])].map(({ id }) => id),
    };
    const report = conclude(run);
    // Failures just written to the baseline count as known.
    return writesBaseline ? conclude({ ...run, baseline: report.failed.map(({ test }) => test.id) }) : report;
  } finally {
    await progress?.stop();
  }
}

/** Groups that run only on demand, in this order. */
const EXTRAS = ["sweep", "idle", "stress"] as const;

function wantedOf({ extras }: CheckSettings): readonly typeof EXTRAS[number][] {
  return EXTRAS.filter((name) => extras[name]);
}

/** Cases with their own way to run. */
interface Extra {
  readonly cases: readonly Case[];
  readonly run: (target: CheckTarget, options: RunOptions) => Promise<CaseResult[]>;
}

/** Loaded on demand, or where a baseline may name their cases. */
async function loadExtras(): Promise<Record<typeof EXTRAS[number], Extra>> {
  const [{ SWEEP, runSweep }, { IDLE, runIdle }, { runStress }, { STRESS }] = await Promise.all([
    import("../check/sweep.ts"),
    import("../check/idle.ts"),
    import("../check/stress.ts"),
    import("../check/cases/stress.ts"),
  ]);
  return {
    sweep: { cases: SWEEP, run: (target, { jobs, onResult }) => runSweep(target, jobs, onResult) },
    idle: { cases: IDLE, run: (target, { onResult }) => runIdle(target, onResult) },
    stress: { cases: STRESS.map(({ test }) => test), run: (target, { onResult }) => runStress(target, onResult) },
  };
}

/** The files that the run writes. */
async function pathsOf({ reports, baselinePath, writesBaseline }: CheckSettings): Promise<string[]> {
  const { junit, html, autobahn } = reports;
  if (autobahn !== undefined) await Deno.mkdir(autobahn, { recursive: true }).catch(() => {});
  const paths = [writesBaseline ? baselinePath : undefined, junit, html, autobahn && `${autobahn}/index.json`];
  return paths.filter((path) => path !== undefined);
}

/** A run may take minutes: fail early when its reports cannot be written. Files stay as they are. */
async function assertWritable(path: string): Promise<void> {
  try {
    const info = await Deno.stat(path).catch(() => undefined);
    // Opening a pipe would wait for its reader.
    if (info && !info.isFile && !info.isDirectory) return;
    (await Deno.open(path, { write: true, create: true })).close();
    if (!info) await Deno.remove(path);
  } catch (error) {
    throw unwritable(path, error);
  }
}

function unwritable(path: string, error: unknown): UsageError {
  return new UsageError(`Cannot write ${JSON.stringify(path)}: ${whyUnreadable(error)}`);
}

async function writeReports(
  { reports, baselinePath, writesBaseline }: CheckSettings,
  report: CheckReport,
  again: string,
): Promise<void> {
  const write = async (path: string, makeText: () => Promise<string>) => {
    const text = await makeText();
    try {
      await Deno.writeTextFile(path, text);
    } catch (error) {
      throw unwritable(path, error);
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
      async () => (await import("../check/html.ts")).formatHtml(report, again),
    );
  }
  if (reports.autobahn !== undefined) {
    const { autobahnIndex, autobahnReports } = await import("../check/autobahn.ts");
    const index = autobahnIndex(report.results, report.url, { hasFiles: true });
    for (const [name, content] of [["index.json", index] as const, ...autobahnReports(report)]) {
      await write(`${reports.autobahn}/${name}`, () => Promise.resolve(`${JSON.stringify(content, null, 3)}\n`));
    }
  }
}

function tellCheck(
  { output, url, profile, baselinePath, writesBaseline }: CheckSettings,
  report: CheckReport,
  screen: Screen,
  command: string,
): void {
  if (output === "nothing") return;
  const { out, error } = screen;
  const lines = formatCheck(report, { color: out.isColored, command, columns: out.columns });
  if (output === "lines") {
    const count = report.results.length;
    out.print(
      `${printable(withoutPassword(url))}: ${counted(count, "case")} of the profile ${profile}`,
    );
    out.print([...lines.groups, "", ...lines.failures].join("\n"));
  }
  if (output === "json") out.print(formatCheckJson(report));
  const { length } = report.failed;
  if (writesBaseline) error.print(`Wrote ${counted(length, "known failure")} to ${baselinePath}`);
  if (output === "lines" && report.ok) out.print(lines.verdict.join("\n"));
  else if (!report.ok) {
    const { isColored: color, columns } = error;
    error.print(formatCheck(report, { color, command, columns }).verdict.join("\n"));
  }
}
