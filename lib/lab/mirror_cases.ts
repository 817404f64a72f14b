/**
 * The lab's cases for clients, in Autobahn's order where there is one.
 *
 * @module
 */

import type { CaseSet, ClientCase } from "./client_case.ts";
import { CLIENT_CASES } from "./client_cases.ts";
import type { Case } from "../check/case.ts";
import { CASES } from "../check/cases/mod.ts";

/** Titles and rules that differ for clients. */
const CLIENT_WORDS: Readonly<Record<string, Pick<Case, "title" | "rule">>> = {
  "7692/7.1.1.1/server-no-context": {
    title: "Request client_no_context_takeover, and send a message twice; expect the echo",
    rule: "A client that got client_no_context_takeover refers to no earlier message.",
  },
  "7692/7.1.2.1/server-window-9": {
    title: "Request a client window of 512 bytes, and send 2 KiB that repeat after 1 KiB; expect the echo",
    rule: "A client that got client_max_window_bits refers no further back than its window.",
  },
};

const SHARED: readonly Case[] = CASES.filter(({ holds, profile }) => holds === "both" && profile !== "full")
  .map((test) => ({ ...test, ...CLIENT_WORDS[test.id] }));

/** Autobahn's cases in Autobahn's order; a case with several numbers appears once for each. */
const numbered: readonly ClientCase[] = [
  ...new Map(
    SHARED.flatMap((test) =>
      (test.autobahn ?? []).map((number) => [number, { number, test: { ...test, autobahn: [number] } }] as const)
    ).reverse(),
  ).values(),
].sort((a, b) => compareNumbers(a.number, b.number));

const NUMBERED = new Set(numbered.map(({ test }) => test.id));

/** All cases. `runCase` takes the position in this list, counted from 1. */
export const MIRROR_CASES: readonly ClientCase[] = [
  ...numbered,
  ...SHARED.filter(({ id }) => !NUMBERED.has(id)).map((test) => ({ number: test.id, test })),
  ...CLIENT_CASES,
];

/**
 * Counts the cases of a set. Autobahn's cases come first.
 *
 * @param set The set.
 * @returns How many cases it has.
 */
export function caseCountOf(set: CaseSet): number {
  return set === "all" ? MIRROR_CASES.length : numbered.length;
}

/** Compares case numbers such as 9.1.2 and 10.1.1 part by part. */
function compareNumbers(a: string, b: string): number {
  const [left, right] = [a, b].map((number) => number.split(".").map(Number));
  const at = (left ?? []).findIndex((part, index) => part !== right?.[index]);
  return at === -1 ? 0 : (left?.[at] ?? 0) - (right?.[at] ?? 0);
}
