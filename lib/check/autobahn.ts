/**
 * The index of reports as Autobahn's test suite writes it, for tools that read it.
 *
 * @module
 */

import type { Grade } from "./case.ts";
import type { CaseResult } from "./run_case.ts";
import { OPCODE } from "../protocol/frame.ts";

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
  /** The name of a report: there is none. */
  readonly reportfile: string;
}

/**
 * Makes the index of those cases that have a number of Autobahn's.
 *
 * @param results The results.
 * @param agent The name of the peer.
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
): Record<string, Record<string, AutobahnEntry>> {
  const entries = results.flatMap((result) => (result.test.autobahn ?? []).map((number) => [number, entryOf(result)]));
  return { [agent]: Object.fromEntries(entries) };
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

function entryOf(result: CaseResult): AutobahnEntry {
  const { ms, seen } = result;
  const [behavior, behaviorClose] = behaviorOf(result);
  const close = seen?.frames.find(({ opcode }) => opcode === OPCODE.close)?.payload;
  return {
    behavior,
    behaviorClose,
    duration: Math.round(ms),
    remoteCloseCode: close && close.byteLength >= 2 ? (close[0] ?? 0) * 256 + (close[1] ?? 0) : null,
    reportfile: "",
  };
}
