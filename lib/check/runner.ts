/**
 * Runs cases against a server, several at a time.
 *
 * @module
 */

import { type Case, type Profile, PROFILES } from "./case.ts";
import { brokenCase, type CaseResult, type CheckTarget, runCase } from "./run_case.ts";

/** Most cases to repeat alone that are late again: 3. Beyond, the server is slow, or silent, whatever runs beside. */
const MAX_LATE_ALONE = 3;

/** Settings of a run. */
export interface RunOptions {
  /** Number of cases at a time; 1 or more. */
  readonly jobs: number;
  /** Receives each result, in order of completion. */
  readonly onResult?: (result: CaseResult) => void;
}

/**
 * Runs cases. A case that failed by a deadline beside others runs again alone, as a busy server or machine is no fault:
 * the second result counts.
 *
 * @param cases The cases.
 * @param target The server.
 * @param options Settings of the run.
 * @returns The results, in the order of the cases.
 * @throws {Error} If a case itself is broken; also the reason of the target's signal, once aborted.
 *
 * @example
 * ```ts
 * import { CASES } from "./cases/mod.ts";
 * import { runCases } from "./runner.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0, transport: "wire" });
 * const cases = CASES.filter(({ id }) => id === "6455/5.4/restart");
 * const target = { url: new URL(server.url), caseTimeoutMs: 10_000, echoes: true };
 * const [result] = await runCases(cases, target, { jobs: 1 });
 * assertEquals(result?.grade, "pass");
 * await server.shutdown();
 * ```
 */
export async function runCases(
  cases: readonly Case[],
  target: CheckTarget,
  { jobs, onResult }: RunOptions,
): Promise<CaseResult[]> {
  const results: (CaseResult | undefined)[] = cases.map(() => undefined);
  const late: { readonly index: number; readonly result: CaseResult }[] = [];
  const finish = (index: number, result: CaseResult) => {
    results[index] = result;
    onResult?.(result);
  };
  const queue = cases.entries();
  const work = async () => {
    for (const [index, test] of queue) {
      const result = await runOne(test, target);
      if (jobs > 1 && isFailedByDeadline(result)) late.push({ index, result });
      else finish(index, result);
    }
  };
  await Promise.all(Array.from({ length: Math.min(jobs, cases.length) }, work));
  // A slow server is likelier to be busy with the other cases than a silent one.
  late.sort((a, b) => Number(b.result.late === "slow") - Number(a.result.late === "slow"));
  let lateAlone = 0;
  for (const { index, result } of late) {
    const again = lateAlone < MAX_LATE_ALONE ? await runOne(result.test, target) : result;
    if (again.late) lateAlone++;
    finish(index, again);
  }
  return results.filter((result) => result !== undefined);
}

async function runOne(test: Case, target: CheckTarget): Promise<CaseResult> {
  target.signal?.throwIfAborted();
  try {
    return await runCase(test, target);
  } catch (error) {
    target.signal?.throwIfAborted();
    throw brokenCase(test, error);
  }
}

/** Some cases pass by a silence. */
function isFailedByDeadline({ late, grade }: CaseResult): boolean {
  return late !== undefined && grade !== "pass" && grade !== "skipped";
}

/**
 * Selects cases.
 *
 * @param cases All cases.
 * @param names Groups, names of cases, or prefixes of names up to a slash; if empty, all cases of the profile.
 * @param profile The profile; ignored for cases that are named.
 * @returns The cases, and the names without a match.
 *
 * @example
 * ```ts
 * import { CASES } from "./cases/mod.ts";
 * import { selectCases } from "./runner.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { cases, unknown } = selectCases(CASES, ["6455/5.4/restart", "frisbee"], "quick");
 * assertEquals(cases.map(({ id }) => id), ["6455/5.4/restart"]);
 * assertEquals(unknown, ["frisbee"]);
 * ```
 */
export function selectCases(
  cases: readonly Case[],
  names: readonly string[],
  profile: Profile,
): { readonly cases: readonly Case[]; readonly unknown: readonly string[] } {
  const height = PROFILES.indexOf(profile);
  const inProfile = (test: Case) => PROFILES.indexOf(test.profile) <= height;
  const isNamed = ({ id }: Case, name: string) => id === name || id.startsWith(`${name.replace(/\/$/, "")}/`);
  const fits = (test: Case, name: string) =>
    isNamed(test, name) || (test.group === name && inProfile(test)) || (test.autobahn?.includes(name) ?? false);
  return {
    cases: names.length === 0
      ? cases.filter(inProfile)
      : cases.filter((test) => names.some((name) => fits(test, name))),
    unknown: names.filter((name) => !cases.some((test) => fits(test, name))),
  };
}
