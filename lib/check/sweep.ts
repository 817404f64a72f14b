/**
 * Looks for message sizes that break a server: around usual buffer sizes, and up to the longest echoed message.
 *
 * @module
 */

import type { Case } from "./case.ts";
import { binary, filler, make, NORMAL, plan, reply, send } from "./cases/parts.ts";
import { closeCodeOf } from "./judge.ts";
import { type CaseResult, type CheckTarget, runCase } from "./run_case.ts";
import { runCases } from "./runner.ts";

const KIB = 1024;
const MIB = 1024 ** 2;

/** Buffer sizes in bytes; the sweep also tries one byte less and one more. */
export const SWEEP_SIZES: readonly number[] = [125, 4 * KIB, 16 * KIB, 32 * KIB, 64 * KIB, MIB, 16 * MIB];

/** Longest message of the sweep, in bytes: 64 MiB. */
export const MAX_SWEEP_BYTES = 64 * MIB;

function sizeCase(bytes: number): Case {
  return make({
    id: `6455/5.4/sweep-${bytes}`,
    group: "sizes",
    option: "sweep",
    title: `Send a binary message of ${bytes} bytes; expect its echo`,
    rule: "A message of any length comes back unchanged.",
    needs: ["echo", "binary"],
    profile: "full",
    plan: () => {
      const payload = filler("binary", bytes);
      return plan([send(binary(payload))], [reply("binary", payload)], NORMAL, { mayRefuse: true });
    },
  });
}

const LARGEST: Case = make({
  id: "6455/10.4/largest-message",
  group: "sizes",
  option: "sweep",
  title: "Find the longest message that comes back, and how the server refuses the next",
  rule: "A peer reports a limit of length with the close code 1009.",
  level: "should",
  needs: ["echo", "binary"],
  profile: "full",
  plan: () => sizeCase(0).plan(),
});

/** The cases of `--sweep`. */
export const SWEEP: readonly Case[] = [
  ...SWEEP_SIZES.flatMap((bytes) => [bytes - 1, bytes, bytes + 1]).map(sizeCase),
  LARGEST,
];

/**
 * Runs the cases of `--sweep`.
 *
 * @param target The server.
 * @param jobs Number of cases at a time.
 * @param onResult Receives each result.
 * @returns The results. The reason of the last names the longest message, and the refusal of a longer one.
 */
export async function runSweep(
  target: CheckTarget,
  jobs: number,
  onResult: (result: CaseResult) => void = () => {},
): Promise<CaseResult[]> {
  const results = await runCases(SWEEP.filter((test) => test !== LARGEST), target, { jobs, onResult });
  const largest = await findLargest(target);
  onResult(largest);
  return [...results, largest];
}

/** Doubles the size until a message is not echoed, then bisects. */
async function findLargest(target: CheckTarget): Promise<CaseResult> {
  const attempt = (bytes: number) => runCase(sizeCase(bytes), target);
  const start = performance.now();
  let good = 0;
  let bad = MAX_SWEEP_BYTES + 1;
  let refusal: CaseResult | undefined;
  for (let size = KIB; good < MAX_SWEEP_BYTES && bad - good > 1;) {
    const result = await attempt(size);
    if (result.grade === "skipped") return { ...result, test: LARGEST };
    if (result.grade === "pass") good = size;
    else {
      bad = size;
      refusal = result;
    }
    size = refusal === undefined ? Math.min(2 * size, MAX_SWEEP_BYTES) : Math.floor((good + bad) / 2);
  }
  const found = refusal ?? await attempt(good);
  const limit = `The longest message that came back has ${good} bytes`;
  return {
    ...found,
    test: LARGEST,
    ms: performance.now() - start,
    ...refusal === undefined
      ? { grade: "pass", reason: `${limit}; a longer one was not tried` }
      : { grade: isTold(refusal) ? "pass" : "not-strict", reason: `${limit}; the next: ${refusal.reason}` },
  };
}

function isTold({ seen }: CaseResult): boolean {
  return seen !== undefined && closeCodeOf(seen) === TOO_BIG;
}

/** Close code for a message that is too long (RFC 6455 section 7.4.1). */
const TOO_BIG = 1009;
