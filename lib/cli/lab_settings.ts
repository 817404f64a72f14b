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
    help: ["Run as the lab: a peer that misbehaves on request,", "to test clients; GET / lists its steps"],
    ...PLACE,
  }),
  labPublic: flag({
    name: "lab-public",
    help: ["Let the lab listen beyond loopback addresses"],
    ...PLACE,
  }),
  cases: choice({
    name: "cases",
    value: "SET",
    help: ["Cases for harnesses: all (default), or autobahn for", "its 301, whose handshakes all succeed"],
    choices: CASE_SETS,
    ...PLACE,
  }),
  reports: text({
    name: "reports",
    value: "DIR",
    help: [
      "Write reports on clients when one asks for",
      "updateReports, and when --run ends: index.json, and",
      "HTML, JSON and JUnit XML for each client",
    ],
    ...PLACE,
  }),
  run: text({
    name: "run",
    value: "COMMAND",
    help: [
      "Run a client's harness against the lab, with the",
      "lab's URL in WSPROOF_LAB_URL; exit with its code, or",
      "9 if a case failed",
    ],
    variable: "none",
    ...PLACE,
  }),
  runTimeout: seconds({
    name: "run-timeout",
    value: "S",
    help: ["Seconds for the harness (default 600)"],
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
    throw source.error(LAB_ONLY.runTimeout, "needs --run: give both");
  }
  const reports = source.value(LAB_ONLY.reports);
  if (reports === "") throw source.error(LAB_ONLY.reports, "names no folder: give one, as in --reports reports");
  return {
    cases: source.value(LAB_ONLY.cases) ?? "all",
    ...defined({ reports }),
    ...(command !== undefined && { harness: { command, timeoutMs: timeoutMs ?? DEFAULT_RUN_TIMEOUT_MS } }),
  };
}
