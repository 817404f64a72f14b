/** Requests for the lab's client cases, right and wrong, on the paths of Autobahn's fuzzing server. */

import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import type { Random } from "./random.ts";

/** A request for a case, with its expected result. */
export interface MirrorPlan {
  /** Path and query. */
  readonly target: string;
  /** The allowed statuses. */
  readonly statuses: readonly number[];
  /** Whether the lab sends one message, and closes: a case may send any frames. */
  readonly isMessage: boolean;
}

const WRONG = [
  "runCase",
  "runCase?case=1",
  "runCase?agent=a",
  "runCase?case=0&agent=a",
  `runCase?case=${MIRROR_CASES.length + 1}&agent=a`,
  "runCase?case=1e1&agent=a",
  "runCase?casetuple=&agent=a",
  "runCase?casetuple=__proto__&agent=a",
  `runCase?case=1&agent=${"x".repeat(2000)}`,
  "getCaseInfo",
  "getCaseInfo?case=%ff",
  "getCaseStatus?case=1",
  "updateReports",
  "updateReports?agent=",
  "getcasecount",
  "runCase/1",
] as const;

/** The name of an agent: more than the lab keeps, some of them hostile. */
function agentOf(random: Random): string {
  return random.pick([`agent${random.whole(1, 40)}`, "<script>", "%C3%A9%F0%9F%98%80", "%00", "..%2f..", "__proto__"]);
}

/** Makes a request. */
export function mirrorPlanOf(random: Random): MirrorPlan {
  if (random.chance(0.3)) return { target: `/${random.pick(WRONG)}`, statuses: [404], isMessage: false };
  const number = random.whole(1, MIRROR_CASES.length);
  const agent = agentOf(random);
  const name = encodeURIComponent(MIRROR_CASES[number - 1]?.number ?? "");
  const place = random.chance(0.5) ? `case=${number}` : `casetuple=${name}`;
  if (random.chance(0.5)) {
    const path = random.pick([
      "getCaseCount",
      `getCaseInfo?${place}`,
      `getCaseStatus?${place}&agent=${agent}`,
      `updateReports?agent=${agent}`,
    ]);
    return { target: `/${path}`, statuses: [101], isMessage: true };
  }
  const edit = MIRROR_CASES[number - 1]?.answer;
  const [, status = "0"] = /^HTTP\/1\.1 (\d{3})/.exec(edit?.startLine ?? "HTTP/1.1 101") ?? [];
  // The lab refuses too many cases at once.
  return { target: `/runCase?${place}&agent=${agent}`, statuses: [Number(status), 503], isMessage: false };
}
