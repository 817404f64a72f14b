/**
 * The command `check`: settings, the run, and the reports.
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
import { type CheckReport, type CheckRun, conclude, formatCheck } from "../check/report.ts";
import { runCases, type RunOptions } from "../check/runner.ts";
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
    screen.out.print(settings.cases.map(listLine).join("\n"));
    return EXIT_CODES.proven;
  }
  const baseline = await readBaseline(settings);
  for (const path of await pathsOf(settings)) await assertWritable(path);
  const signal = listen();
  try {
    const failure = await preflight(settings, signal);
    if (failure) {
      return tellFailure(openingFailure(failure, settings.url, settings.open, "wire"), settings.output, screen);
    }
    const report = await runAll(settings, screen, signal, baseline);
    await writeReports(settings, report);
    tellCheck(settings, report, screen);
    return report.exitCode;
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
  { error }: Screen,
  signal: AbortSignal,
  baseline: readonly string[] | undefined,
): Promise<CheckReport> {
  const { url, cases, jobs, open, profile, strict, caseTimeoutMs, echoes, pattern, skip, trace, output } = settings;
  const { extras, writesBaseline } = settings;
  const { onFrame: _, ...way } = open;
  const startedAt = new Date().toISOString();
  const start = performance.now();
  const target: CheckTarget = { ...way, url: new URL(url), caseTimeoutMs, echoes, pattern, skip, signal };
  const wanted = EXTRAS.filter((name) => extras[name]);
  const known = wanted.length > 0 || baseline !== undefined ? await loadExtras() : undefined;
  const count = wanted.reduce((sum, name) => sum + (known?.[name].cases.length ?? 0), cases.length);
  const bar = await progressOf(count, output !== "nothing" && !trace);
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
    for (const name of wanted) results.push(...await known?.[name].run(traced, { jobs, onResult }) ?? []);
    const run: CheckRun = {
      url: withoutPassword(url),
      profile,
      strict,
      startedAt,
      ms: performance.now() - start,
      results,
      baseline,
      allIds: [...CASES, ...EXTRAS.flatMap((name) => known?.[name].cases ?? [])].map(({ id }) => id),
    };
    const report = conclude(run);
    // Failures just written to the baseline count as known.
    return writesBaseline ? conclude({ ...run, baseline: report.failed.map(({ test }) => test.id) }) : report;
  } finally {
    await bar?.stop();
  }
}

/** Groups that run only on demand, in this order. */
const EXTRAS = ["sweep", "idle", "stress"] as const;

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

/** Bars are for people. */
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

/** The files that the run writes. */
async function pathsOf({ reports, baselinePath, writesBaseline }: CheckSettings): Promise<string[]> {
  const { junit, html, autobahn } = reports;
  if (autobahn !== undefined) await Deno.mkdir(autobahn, { recursive: true }).catch(() => {});
  const paths = [writesBaseline ? baselinePath : undefined, junit, html, autobahn && indexIn(autobahn)];
  return paths.filter((path) => path !== undefined);
}

function indexIn(folder: string): string {
  return `${folder}/index.json`;
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
      async () => (await import("../check/html.ts")).formatHtml(report, commandFor(report.url)),
    );
  }
  if (reports.autobahn !== undefined) {
    const { autobahnIndex } = await import("../check/autobahn.ts");
    const index = autobahnIndex(report.results, report.url);
    await write(indexIn(reports.autobahn), () => Promise.resolve(`${JSON.stringify(index, null, 3)}\n`));
  }
}

/** The words that run a case again, before its name; they need no quotes in a shell. */
function commandFor(url: string): string {
  return `wsproof check --trace ${/^[\w@%+=:,./-]+$/.test(url) ? url : `'${url.replaceAll("'", "%27")}'`}`;
}

function tellCheck(
  { output, url, profile, baselinePath, writesBaseline }: CheckSettings,
  report: CheckReport,
  screen: Screen,
): void {
  if (output === "nothing") return;
  const { out, error } = screen;
  const command = commandFor(withoutPassword(url));
  const lines = formatCheck(report, { color: out.isColored, command, columns: out.columns });
  if (output === "lines") {
    const count = report.results.length;
    out.print(
      `${printable(withoutPassword(url))}: ${count} ${count === 1 ? "case" : "cases"} of the profile ${profile}`,
    );
    out.print([...lines.groups, "", ...lines.failures].join("\n"));
  }
  if (output === "json") out.print(formatCheckJson(report));
  const { length } = report.failed;
  if (writesBaseline) error.print(`Wrote ${length} known ${length === 1 ? "failure" : "failures"} to ${baselinePath}`);
  if (output === "lines" && report.ok) out.print(lines.verdict.join("\n"));
  else if (!report.ok) error.print(formatCheck(report, { color: error.isColored, command }).verdict.join("\n"));
}
