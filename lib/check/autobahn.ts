/**
 * The reports as Autobahn's test suite writes them, for tools that read them: the index, and one of each case.
 *
 * @module
 */

import { type Grade, sectionOf } from "./case.ts";
import { closeCodeOf } from "./judge.ts";
import { type CheckReport, wireLines } from "./report.ts";
import type { CaseResult } from "./run_case.ts";

/** What Autobahn calls a grade, for the behavior and for the end. */
const BEHAVIORS: Record<Grade, readonly [behavior: string, close: string]> = {
  "pass": ["OK", "OK"],
  "skipped": ["UNIMPLEMENTED", "UNIMPLEMENTED"],
  "not-strict": ["NON-STRICT", "OK"],
  "unclean": ["OK", "UNCLEAN"],
  "fail": ["FAILED", "OK"],
};

/** What Autobahn says of a case. */
export interface AutobahnEntry {
  /** OK, NON-STRICT, FAILED, INFORMATIONAL or UNIMPLEMENTED. */
  readonly behavior: string;
  /** The same for the end of the connection. */
  readonly behaviorClose: string;
  /** How long it took, in milliseconds. */
  readonly duration: number;
  /** The close code of the peer; `null` if there was none. */
  readonly remoteCloseCode: number | null;
  /** The name of the file with the report of the case; empty if there is none. */
  readonly reportfile: string;
}

/**
 * Makes the index of those cases that have a number of Autobahn's.
 *
 * @param results The results.
 * @param agent The name of the peer.
 * @param hasFiles Whether a file stands beside the index for each case; `false` by default.
 * @returns The index, as `index.json` has it.
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
  hasFiles = false,
): Record<string, Record<string, AutobahnEntry>> {
  const entries = numbered(results).map(({ number, result }) => {
    const entry = { ...entryOf(result), reportfile: hasFiles ? reportFileOf(agent, number) : "" };
    return [number, entry] as const;
  });
  return { [agent]: Object.fromEntries(entries) };
}

/**
 * Makes the reports of those cases that have a number of Autobahn's, with its names of fields.
 *
 * @param report The report of the run.
 * @returns The content of each file, by the name that the index has for it. `wire` is ours: what went over the connection, a
 * line a frame, without secrets.
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

/** Letters, digits and underscores, as Autobahn names its files. */
function reportFileOf(agent: string, number: string): string {
  const words = agent.toLowerCase().replaceAll(/[^a-z0-9]/g, " ").trim().replaceAll(" ", "_");
  return `${words}_case_${number.replaceAll(".", "_")}.json`;
}

/**
 * Puts a grade into Autobahn's words.
 *
 * @param result The result of a case.
 * @returns The words for the behavior and for the end.
 */
export function behaviorOf({ test, grade }: Pick<CaseResult, "test" | "grade">): readonly [string, string] {
  return test.level === "info" ? ["INFORMATIONAL", "INFORMATIONAL"] : BEHAVIORS[grade];
}

function entryOf(result: CaseResult): Omit<AutobahnEntry, "reportfile"> {
  const { ms, seen } = result;
  const [behavior, behaviorClose] = behaviorOf(result);
  const code = seen && closeCodeOf(seen);
  // 1005 stands for a close frame without a code.
  const remoteCloseCode = code === undefined || code === 1005 ? null : code;
  return { behavior, behaviorClose, duration: Math.round(ms), remoteCloseCode };
}
