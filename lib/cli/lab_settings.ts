/**
 * Options of the lab alone, and their settings.
 *
 * @module
 */

import { DEFAULT_RUN_TIMEOUT_MS, type Harness } from "./harness.ts";
import { choice, defined, flag, seconds, type Source, text } from "./options.ts";
import { CASE_SETS, type CaseSet } from "../lab/client_case.ts";

/** `deno serve` has no lab. */
const PLACE = { notWith: ["deno serve"] };

/** The options of the lab that the echo server does not have. */
export const LAB_ONLY = {
  lab: flag({
    name: "lab",
    help: ["Be a peer that misbehaves on request, to test", "clients with; GET / lists what its paths do"],
    ...PLACE,
  }),
  labPublic: flag({
    name: "lab-public",
    help: ["Let --lab listen on an address that is not", "a loopback address"],
    ...PLACE,
  }),
  cases: choice({
    name: "cases",
    value: "SET",
    help: ["Cases for harnesses: all (default), or autobahn:", "its 301, whose handshakes all succeed"],
    choices: CASE_SETS,
    ...PLACE,
  }),
  reports: text({
    name: "reports",
    value: "DIR",
    help: [
      "Write reports on clients: index.json, and one of",
      "HTML, JSON and JUnit's XML for each; when a client",
      "asks for updateReports, and when --run ends",
    ],
    ...PLACE,
  }),
  run: text({
    name: "run",
    value: "COMMAND",
    help: [
      "Start a client's harness against the lab, with",
      "the lab's URL in WSPROOF_LAB_URL; exit with its",
      "code, or 9 if a case failed",
    ],
    variable: "none",
    ...PLACE,
  }),
  runTimeout: seconds({
    name: "run-timeout",
    value: "S",
    help: ["Seconds that the harness may take (default 600)"],
    ...PLACE,
  }),
};

/** Settings of the lab alone. */
export interface LabSettings {
  /** The cases that harnesses count. */
  readonly cases: CaseSet;
  /** The folder for reports on clients, if any. */
  readonly reports?: string;
  /** The harness, if any. */
  readonly harness?: Harness;
}

/**
 * Reads the options of the lab alone.
 *
 * @param source The options.
 * @returns The settings.
 * @throws {UsageError} If an option lacks the one that it belongs to.
 */
export function readLabSettings(source: Source): LabSettings {
  const command = source.value(LAB_ONLY.run);
  const timeoutMs = source.value(LAB_ONLY.runTimeout);
  if (command === undefined && timeoutMs !== undefined) {
    throw source.error(LAB_ONLY.runTimeout, "belongs to --run: give both");
  }
  const reports = source.value(LAB_ONLY.reports);
  if (reports === "") throw source.error(LAB_ONLY.reports, "names no folder: give one, as in --reports reports");
  return {
    cases: source.value(LAB_ONLY.cases) ?? "all",
    ...defined({ reports }),
    ...(command !== undefined && { harness: { command, timeoutMs: timeoutMs ?? DEFAULT_RUN_TIMEOUT_MS } }),
  };
}
