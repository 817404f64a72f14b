/**
 * Measures how long a server keeps a silent connection, whether client pings keep it, and how the server ends it.
 *
 * @module
 */

import type { Case, Judgement } from "./case.ts";
import { make, ping, plan } from "./cases/parts.ts";
import { closeCodeOf } from "./judge.ts";
import { type CaseResult, type CheckTarget, runCase } from "./run_case.ts";
import type { Seen } from "../peer/player.ts";
import type { Step } from "../peer/script.ts";
import { describeCloseCode } from "../protocol/close.ts";
import { OPCODE } from "../protocol/frame.ts";

/** Longest silence of a case, in milliseconds: 150 s. */
export const MAX_IDLE_MS = 150_000;

function idleCase(word: string, title: string, steps: readonly Step[]): Case {
  return make({
    id: `6455/5.5.2/${word}`,
    group: "idle",
    option: "idle",
    title,
    rule: "A peer decides how long it keeps a silent connection.",
    level: "info",
    profile: "full",
    plan: () => plan(steps, [], { type: "any" }, { judge: (seen) => describeIdle(seen, steps.length) }),
  });
}

function describeIdle(seen: Seen, steps: number): Judgement {
  const pings = seen.frames.filter(({ opcode }) => opcode === OPCODE.ping);
  const [first] = pings;
  const asked = first === undefined
    ? "Server sent no ping"
    : `Server sent ${pings.length} pings that were not answered, the first after ${seconds(first.atMs)}`;
  if (seen.endStep >= steps) return { grade: "pass", reason: `${asked}, and kept the connection` };
  const code = closeCodeOf(seen);
  const how = code === undefined ? "ended TCP" : `closed with ${code === 1005 ? "no code" : describeCloseCode(code)}`;
  return { grade: "pass", reason: `${asked}; it ${how} after ${seconds(seen.endMs)}` };
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}

const SILENT: Case = idleCase("idle", "Stay silent, and answer no ping", [{ do: "settle", ms: MAX_IDLE_MS }]);

/** The cases of `--idle`. */
export const IDLE: readonly Case[] = [SILENT, pinging(MAX_IDLE_MS)];

/** A ping at each third of the time that the server kept a silent connection, for twice that time. */
function pinging(keptMs: number): Case {
  const steps = Array.from({ length: 6 }, (): Step[] => [
    { do: "send", frames: [ping("idle")] },
    { do: "settle", ms: keptMs / 3 },
  ]);
  return idleCase("idle-with-pings", "Send pings at intervals, and answer none", steps.flat());
}

/**
 * Runs the cases of `--idle`.
 *
 * @param target The server.
 * @param onResult Receives each result.
 * @param maxIdleMs Longest silence on the first connection, in milliseconds.
 * @returns The results, with the findings as reasons; the second only if the server ended the first connection.
 */
export async function runIdle(
  target: CheckTarget,
  onResult: (result: CaseResult) => void = () => {},
  maxIdleMs: number = MAX_IDLE_MS,
): Promise<CaseResult[]> {
  const silent = maxIdleMs === MAX_IDLE_MS ? SILENT : idleCase("idle", SILENT.title, [{ do: "settle", ms: maxIdleMs }]);
  const first = await runCase(silent, { ...target, caseTimeoutMs: maxIdleMs + target.caseTimeoutMs });
  onResult(first);
  const { endMs: keptMs = Infinity, endStep = Infinity } = first.seen ?? {};
  if (endStep > 0) return [first];
  const second = await runCase(pinging(keptMs), { ...target, caseTimeoutMs: 2 * keptMs + target.caseTimeoutMs });
  onResult(second);
  return [first, second];
}
