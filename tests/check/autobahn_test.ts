/**
 * Comparison with Autobahn: deliberately broken servers, and the cases of the same number that each side fails.
 * Autobahn's results come from its own case definitions (25.10.1), played against the same servers.
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import type { Grade } from "../../lib/check/case.ts";
import { CASES } from "../../lib/check/cases/mod.ts";
import { runCases } from "../../lib/check/runner.ts";
import type { RawFrame } from "../../lib/peer/frame.ts";
import { type Fault, serveMutant } from "../support/mutant_server.ts";
import { type Mutation, MUTATIONS } from "../support/mutants.ts";

/** A deadline that a loaded machine meets. */
const CASE_TIMEOUT_MS = 60_000;

/** The deadline for late cases: a peer that is silent for half of it is late. */
const SILENT_CASE_TIMEOUT_MS = 8000;

const NUMBERED = CASES.filter(({ autobahn = [] }) => autobahn.length > 0);

/** A broken server. */
type Broken = Fault & Pick<Mutation, "isSilent">;

/** The failures of a server in Autobahn, and those only here. */
interface Comparison extends Broken {
  /** The fault of the server. */
  readonly name: string;
  /** The numbers to run, as the fault affects no others; all 301 by default. */
  readonly numbers?: RegExp;
  /** Failures in Autobahn: of the 54 cases of group 9, and of all others. */
  readonly autobahn: { readonly others: number; readonly group9: number };
  /** The numbers that fail only here, by the broken rule. */
  readonly only: Readonly<Record<string, RegExp>>;
}

function mutation(name: string): Broken {
  const found = MUTATIONS.find((each) => each.name === name);
  if (found === undefined) throw new Error(`There is no server that ${name}`);
  return found;
}

/** Sets the highest bit of the last byte: ASCII becomes invalid UTF-8. */
function withHighBit(frame: RawFrame): RawFrame[] {
  const { opcode, payload } = frame;
  if (opcode > 2 || payload.byteLength === 0) return [frame];
  const changed = payload.slice();
  changed[changed.byteLength - 1] = (changed.at(-1) ?? 0) ^ 0x80;
  return [{ ...frame, payload: changed }];
}

const SAME_BYTES = "A message of any length comes back unchanged (an echo; Autobahn compares only lengths)";
const NOT_UTF8 = "Text is UTF-8 (RFC 6455 section 8.1; Autobahn takes the echo for one that did not come)";

const COMPARISONS: readonly Comparison[] = [
  {
    name: "checks no UTF-8, neither of text nor of reasons",
    ignores: ["utf8", "close-utf8"],
    numbers: /^(?!9\.)/,
    autobahn: { others: 76, group9: 0 },
    only: {},
  },
  {
    name: "changes the highest bit of the last byte",
    frame: withHighBit,
    autobahn: { others: 92, group9: 26 },
    only: {
      [NOT_UTF8]: /^(3\.[234]|4\.[12]\.[345]|5\.15)$/,
      [SAME_BYTES]: /^9\.([246]\.\d|8\.[2-6])$/,
    },
  },
  {
    ...mutation("changes a bit of the last byte"),
    name: "changes the lowest bit of the last byte",
    autobahn: { others: 102, group9: 0 },
    only: { [SAME_BYTES]: /^9\.([1-6]\.\d|[78]\.[2-6])$/ },
  },
  {
    ...mutation("swaps text and binary"),
    name: "swaps text and binary",
    autobahn: { others: 106, group9: 54 },
    only: {},
  },
  {
    ...mutation("answers no ping"),
    name: "answers no ping",
    numbers: /^[25]\./,
    autobahn: { others: 13, group9: 0 },
    only: {},
  },
];

async function gradesOf(fault: Broken, numbers = /./): Promise<Map<string, Grade>> {
  await using server = serveMutant(fault);
  const caseTimeoutMs = fault.isSilent ? SILENT_CASE_TIMEOUT_MS : CASE_TIMEOUT_MS;
  const target = { url: new URL(server.url), caseTimeoutMs, echoes: true };
  const cases = NUMBERED.filter(({ autobahn = [] }) => autobahn.some((number) => numbers.test(number)));
  const results = await runCases(cases, target, { jobs: 48 });
  return new Map(results.flatMap(({ test, grade }) => (test.autobahn ?? []).map((number) => [number, grade])));
}

/** Autobahn, too, grades a server that checks text only in whole frames as not strict. */
const LAX = ["6.4.3", "6.4.4"];

for (const { name, numbers, autobahn, only, ...fault } of COMPARISONS) {
  const differing = Object.values(only);
  Deno.test(`a server that ${name} fails the cases that it fails in Autobahn, and others only by sentences that are listed`, async () => {
    const grades = await gradesOf(fault, numbers);
    const failed = [...grades].filter(([, grade]) => grade === "fail" || grade === "unclean").map(([number]) => number);
    const shared = failed.filter((number) => !differing.some((numbers) => numbers.test(number)));
    const group9 = shared.filter((number) => number.startsWith("9."));
    assertEquals({ others: shared.length - group9.length, group9: group9.length }, autobahn);
    const strange = [...grades].filter(([number, grade]) => grade === "not-strict" && !LAX.includes(number));
    assertEquals(strange, []);
    // A listed number that passes here would be wrong.
    const listed = [...grades.keys()].filter((number) => differing.some((numbers) => numbers.test(number)));
    assertEquals(listed.filter((number) => !failed.includes(number)), []);
  });
}

Deno.test("the known counts of broken servers from Autobahn cover the groups that ran", async () => {
  const failedIn = async (fault: Broken, numbers: RegExp) =>
    [...await gradesOf(fault, numbers)].filter(([, grade]) => grade === "fail").length;
  // 97: without groups 3, 4 and 9; 8: group 2 alone. 76 and 92 are from the table above.
  assertEquals(await failedIn(mutation("swaps text and binary"), /^([12567]|10)\./), 97);
  assertEquals(await failedIn(mutation("answers no ping"), /^2\./), 8);
});

Deno.test("docs/check.md shows the table of broken servers", async () => {
  const docs = await Deno.readTextFile(new URL("../../docs/check.md", import.meta.url));
  const rows = docs.replaceAll(/ +/g, " ");
  for (const { name, autobahn, only } of COMPARISONS) {
    const all = autobahn.others + autobahn.group9;
    const more = NUMBERED.flatMap(({ autobahn: numbers = [] }) => numbers)
      .filter((number) => Object.values(only).some((each) => each.test(number))).length;
    assertStringIncludes(rows, `| ${name} | ${all} | ${all + more} |`);
  }
});
