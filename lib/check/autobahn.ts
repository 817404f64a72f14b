/**
 * Reports in the format of Autobahn's test suite, for tools that read it: the index, and a file for each case.
 *
 * @module
 */

import { type Grade, sectionOf } from "./case.ts";
import { closeCodeOf } from "./judge.ts";
import { type CheckReport, wireLines } from "./report.ts";
import type { CaseResult } from "./run_case.ts";

/** Autobahn's words for a grade: behavior and close. */
const BEHAVIORS: Record<Grade, readonly [behavior: string, close: string]> = {
  "pass": ["OK", "OK"],
  "skipped": ["UNIMPLEMENTED", "UNIMPLEMENTED"],
  "not-strict": ["NON-STRICT", "OK"],
  "unclean": ["OK", "UNCLEAN"],
  "fail": ["FAILED", "OK"],
};

/** One case in the index. */
export interface AutobahnEntry {
  /** OK, NON-STRICT, FAILED, INFORMATIONAL or UNIMPLEMENTED. */
  readonly behavior: string;
  /** Close behavior, in the same words. */
  readonly behaviorClose: string;
  /** Duration in milliseconds. */
  readonly duration: number;
  /** Close code of the peer; `null` without one. */
  readonly remoteCloseCode: number | null;
  /** File name of the case's report; empty without one. */
  readonly reportfile: string;
}

/**
 * Makes the index of the cases with an Autobahn number.
 *
 * @param results The results.
 * @param agent The name of the peer.
 * @param options Whether each case has a file beside the index; `false` by default.
 * @returns The content of `index.json`.
 *
 * @example
 * ```ts
 * import { autobahnIndex } from "./autobahn.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(autobahnIndex([], "my server"), { "my server": {} });
 * ```
 */
export function autobahnIndex(
  results: readonly CaseResult[],
  agent: string,
  { hasFiles = false }: { readonly hasFiles?: boolean } = {},
): Record<string, Record<string, AutobahnEntry>> {
  const entries = numbered(results).map(({ number, result }) => {
    const entry = { ...entryOf(result), reportfile: hasFiles ? reportFileOf(agent, number) : "" };
    return [number, entry] as const;
  });
  return { [agent]: Object.fromEntries(entries) };
}

/**
 * Makes the reports of the cases with an Autobahn number, with Autobahn's field names.
 *
 * @param report The report of the run.
 * @returns The content of each file, by its name in the index. The field `wire` is ours: one line a frame, without
 * secrets.
 *
 * @example
 * ```ts
 * import { autobahnReports } from "./autobahn.ts";
 * import { conclude } from "./report.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const run = { url: "ws://127.0.0.1/", profile: "quick", strict: false, startedAt: "", ms: 1, allIds: [] } as const;
 * assertEquals(autobahnReports(conclude({ ...run, results: [] })), new Map());
 * ```
 */
export function autobahnReports({ results, url: agent, startedAt }: CheckReport): Map<string, Record<string, unknown>> {
  return new Map(
    numbered(results).map(({ number, result }) => {
      const { test, reason, grade } = result;
      const content = {
        id: number,
        agent,
        description: test.title,
        expectation: `${test.rule} (${sectionOf(test.id)})`,
        started: startedAt,
        ...entryOf(result),
        result: reason,
        resultClose: grade === "unclean" ? reason : "",
        isServer: false,
        wire: wireLines(result),
      };
      return [reportFileOf(agent, number), content];
    }),
  );
}

function numbered(results: readonly CaseResult[]): { readonly number: string; readonly result: CaseResult }[] {
  return results.flatMap((result) => (result.test.autobahn ?? []).map((number) => ({ number, result })));
}

/** Autobahn's file names have letters, digits and underscores only. */
function reportFileOf(agent: string, number: string): string {
  const words = agent.toLowerCase().replaceAll(/[^a-z0-9]/g, " ").trim().replaceAll(" ", "_");
  return `${words}_case_${number.replaceAll(".", "_")}.json`;
}

/**
 * Translates a grade into Autobahn's words.
 *
 * @param result The result of a case.
 * @returns Behavior and close.
 */
export function behaviorOf({ test, grade }: Pick<CaseResult, "test" | "grade">): readonly [string, string] {
  return test.level === "info" ? ["INFORMATIONAL", "INFORMATIONAL"] : BEHAVIORS[grade];
}

function entryOf(result: CaseResult): Omit<AutobahnEntry, "reportfile"> {
  const { ms, seen } = result;
  const [behavior, behaviorClose] = behaviorOf(result);
  const code = seen && closeCodeOf(seen);
  // 1005 means a close frame without a code.
  const remoteCloseCode = code === undefined || code === 1005 ? null : code;
  return { behavior, behaviorClose, duration: Math.round(ms), remoteCloseCode };
}
