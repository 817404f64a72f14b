/**
 * Runs stress cases, while a second connection checks that the server still answers.
 *
 * @module
 */

import type { Judgement } from "./case.ts";
import { CASES } from "./cases/mod.ts";
import { STRESS, type StressCase } from "./cases/stress.ts";
import { type CaseResult, type CheckTarget, runCase } from "./run_case.ts";

/** Longest attack, in milliseconds: 5 s. */
const ATTACK_MS = 5000;

/** Pause between two exchanges of the witness, in milliseconds: 100. */
const BEAT_MS = 100;

/** Cases of the witness: an echo, or a ping for a server without an echo. */
const WITNESSES = ["6455/4.2.2/usable", "6455/5.5.3/pong-to-text"];

/**
 * Runs the stress cases, one after the other.
 *
 * @param target The server.
 * @param onResult Receives each result.
 * @param cases The cases; all by default.
 * @returns The results. A case fails if the server does not answer the witness during the attack, or right after.
 */
export async function runStress(
  target: CheckTarget,
  onResult: (result: CaseResult) => void = () => {},
  cases: readonly StressCase[] = STRESS,
): Promise<CaseResult[]> {
  const results: CaseResult[] = [];
  for (const { test, copies } of cases) {
    target.signal?.throwIfAborted();
    let isOver = false;
    const attackTarget = { ...target, caseTimeoutMs: ATTACK_MS };
    const attack = Promise.all(Array.from({ length: copies }, () => runCase(test, attackTarget)));
    const ended = attack.finally(() => isOver = true);
    // If the signal ends the witness first, nobody awaits the attack.
    ended.catch(() => {});
    const judgement = await witness(target, () => isOver);
    const [first] = await ended;
    if (first === undefined) continue;
    const isSkipped = first.grade === "skipped";
    const result = { ...first, ...isSkipped ? {} : judgement, seen: isSkipped ? undefined : first.seen };
    results.push(result);
    onResult(result);
  }
  return results;
}

/** Probes the server until the attack is over, and once more. */
async function witness(target: CheckTarget, isOver: () => boolean): Promise<Judgement> {
  const test = CASES.find(({ id }) => id === WITNESSES[target.echoes && !target.pattern ? 0 : 1]);
  if (test === undefined) throw new Error("The case of the witness is gone");
  let worstMs = 0;
  for (let isLast = false; !isLast;) {
    isLast = isOver();
    const { grade, reason, ms } = await runCase(test, { ...target, onFrame: undefined });
    worstMs = Math.max(worstMs, ms);
    if (grade !== "pass") return { grade: "fail", reason: `Another connection was not answered: ${reason}` };
    if (!isLast) await new Promise((resolve) => setTimeout(resolve, BEAT_MS));
  }
  return { grade: "pass", reason: `Another connection was answered within ${worstMs.toFixed(0)} ms` };
}
