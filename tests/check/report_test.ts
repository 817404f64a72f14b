/** Reports on servers that do not answer, or are gone. */

import { assertEquals, assertMatch } from "@std/assert";
import { CASES } from "../../lib/check/cases/mod.ts";
import { conclude, formatCheck, hintOf } from "../../lib/check/report.ts";
import type { CaseResult } from "../../lib/check/run_case.ts";
import { runCases } from "../../lib/check/runner.ts";
import { serveLab } from "../../lib/lab/mod.ts";
import { type Fault, serveMutant } from "../support/mutant_server.ts";

async function resultsOf(fault: Fault, ids: readonly string[], caseTimeoutMs = 20_000): Promise<CaseResult[]> {
  await using server = serveMutant(fault);
  const cases = CASES.filter(({ id }) => ids.includes(id));
  return await runCases(cases, { url: new URL(server.url), caseTimeoutMs, echoes: true }, { jobs: 8 });
}

for (
  const [what, refusal, id, grade, reason] of [
    ["ends TCP", "drop", "6455/4.2.1/no-key", "unclean", "Server ended TCP without an HTTP answer"],
    ["ends TCP", "drop", "6455/4.2.1/no-upgrade", "fail", "Server ended TCP without an HTTP answer"],
    ["keeps silent", "silence", "6455/4.2.1/no-key", "fail", "Server did not answer the handshake in time"],
    ["keeps silent", "silence", "6455/4.2.1/no-upgrade", "fail", "Server did not answer the handshake in time"],
    [
      "answers with bytes that are not HTTP",
      "noise",
      "6455/4.2.1/no-key",
      "fail",
      "Server's answer to the handshake is unreadable: it is not HTTP",
    ],
  ] as const
) {
  Deno.test(`runCases() reports a server that ${what} instead of refusing, in ${id}`, async () => {
    const [result] = await resultsOf({ refusal: () => refusal }, [id], refusal === "silence" ? 500 : 20_000);
    assertEquals([result?.grade, result?.reason], [grade, reason]);
  });
}

Deno.test("formatCheck() shows the first case without a connection, and counts the others", async () => {
  const server = serveMutant({});
  await server[Symbol.asyncDispose]();
  const cases = CASES.filter(({ id }) => id.startsWith("6455/5.4/two-fragments"));
  const target = { url: new URL(server.url), caseTimeoutMs: 20_000, echoes: true };
  const results = await runCases(cases, target, { jobs: 1 });
  const run = { url: server.url, profile: "quick", strict: false, startedAt: "", ms: 1, allIds: [] } as const;
  const { failures } = formatCheck(conclude({ ...run, results }), { color: false, command: "again" });
  assertEquals(failures.filter((line) => /^FAIL|^Without|more cases/.test(line.trim())), [
    "FAIL 6455/5.4/two-fragments-together",
    "Without a connection",
    "  2 more cases: the server may have ended",
  ]);
});

/** Results of all cases: those that need an echo, and the others, with these grades and reasons. */
function resultsWith(echoing: string, others: string): CaseResult[] {
  return CASES.map((test) => {
    const reason = test.needs.includes("echo") ? echoing : others;
    return { test, grade: reason === "" ? "pass" : "fail", reason, ms: 1, request: "", answer: "", seen: undefined };
  });
}

for (
  const [what, echoing, others, hint] of [
    ["echoes", "", "", /^$/],
    ["breaks other rules", "", "Server answered with status 400, not 101", /^$/],
    ["does not echo", "Server did not answer the message of 5 bytes", "", /^\d+ of the \d+ cases .* use --no-echo$/],
    [
      "greets",
      "Server answered with text of 2 bytes instead of 5",
      "Server sent an extra message of 2 bytes",
      /--no-echo; the server sends unasked messages: if they are a greeting, use --skip 1$/,
    ],
  ] as const
) {
  Deno.test(`formatCheck() says which option is for a server that ${what}, if any`, () => {
    const run = { url: "ws://a/", profile: "quick", strict: false, startedAt: "", ms: 1, allIds: [] } as const;
    const report = conclude({ ...run, results: resultsWith(echoing, others) });
    assertMatch(hintOf(report), hint);
    const { verdict } = formatCheck(report, { color: false, command: "again" });
    assertEquals(verdict.slice(1, -1).map((line) => line.trim()), hintOf(report) === "" ? [] : [hintOf(report)]);
  });
}

Deno.test("hintOf() names --skip 1, when the judge has seen a server that greets", async () => {
  const lab = await serveLab({ port: 0 });
  const cases = CASES.filter(({ id }) => ["6455/5.4/restart", "6455/5.4/stray-empty"].includes(id));
  const target = { url: new URL(`${lab.url}greet/welcome`), caseTimeoutMs: 20_000, echoes: true };
  const results = await runCases(cases, target, { jobs: 1 });
  await lab.shutdown();
  assertEquals(
    hintOf({ results, failed: results.filter(({ grade }) => grade === "fail") }),
    "the server sends unasked messages: if they are a greeting, use --skip 1",
  );
});
