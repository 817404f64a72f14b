/** The optional probes of `check`: sizes, silence, stress. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { Case } from "../../lib/check/case.ts";
import { CASES } from "../../lib/check/cases/mod.ts";
import { formatHtml } from "../../lib/check/html.ts";
import { runIdle } from "../../lib/check/idle.ts";
import { conclude, formatCheck } from "../../lib/check/report.ts";
import { type CheckTarget, runCase } from "../../lib/check/run_case.ts";
import { runStress } from "../../lib/check/stress.ts";
import { runSweep, SWEEP } from "../../lib/check/sweep.ts";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { type Fault, serveMutant } from "../support/mutant_server.ts";

function targetOf(url: string, caseTimeoutMs = 30_000): CheckTarget {
  return { url: new URL(url), caseTimeoutMs, echoes: true };
}

async function sweep(fault: Fault): Promise<Map<string, readonly [grade: string, reason: string]>> {
  await using server = serveMutant(fault);
  const results = await runSweep(targetOf(server.url), 4);
  assertEquals(results.map(({ test }) => test.id), SWEEP.map(({ id }) => id));
  return new Map(results.map(({ test, grade, reason }) => [test.id, [grade, reason]]));
}

Deno.test("runSweep() finds the longest message to the byte, and how the server refuses the next", async () => {
  const found = await sweep({ maxBytes: 100_000 });
  const [grade, reason] = found.get("6455/10.4/largest-message") ?? [];
  assertEquals(grade, "pass");
  assertMatch(reason ?? "", /^The longest message that came back has 100000 bytes; the next: .*1009/);
  assertEquals(found.get("6455/5.4/sweep-65537")?.[0], "pass");
  assertEquals(found.get("6455/5.4/sweep-1048575")?.[0], "not-strict");
});

Deno.test("runIdle() reports when the server pings, how it ends a silent connection, and whether pings keep it open", async () => {
  const server = serveEcho({ port: 0, transport: "wire", idleTimeoutSeconds: 1 });
  const results = await runIdle(targetOf(server.url), () => {}, 30_000);
  await server.shutdown();
  assertEquals(results.map(({ test, grade }) => [test.id, grade]), [
    ["6455/5.5.2/idle", "pass"],
    ["6455/5.5.2/idle-with-pings", "pass"],
  ]);
  assertMatch(
    results[0]?.reason ?? "",
    /^Server sent \d pings? that .* the first after [\d.]+ s; it closed with 1\d{3} .* after [\d.]+ s$/,
  );
  assertMatch(results[1]?.reason ?? "", /and kept the connection$/);
});

Deno.test("runIdle() says so, when the server keeps a silent connection", async () => {
  await using server = serveMutant({});
  const results = await runIdle(targetOf(server.url), () => {}, 200);
  assertEquals(results.map(({ reason }) => reason), ["Server sent no ping, and kept the connection"]);
});

Deno.test("runStress() proves that the wire server answers others meanwhile", async () => {
  const server = serveEcho({ port: 0, transport: "wire" });
  const results = await runStress(targetOf(server.url, 60_000));
  await server.shutdown();
  for (const { grade, reason, test } of results) {
    if (grade !== "skipped") assertEquals([test.id, grade], [test.id, "pass"], reason);
  }
  assert(results.length >= 7);
});

Deno.test("runStress() catches a server that serves one connection at a time", async () => {
  await using server = serveMutant({ ignores: ["others"] });
  const results = await runStress(targetOf(server.url, 2000));
  const grades = new Map(results.map(({ test, grade }) => [test.id, grade]));
  assertEquals(grades.get("6455/10.4/stress-slow-heads"), "fail");
  assertEquals(grades.get("6455/10.4/stress-not-reading"), "fail");
});

Deno.test("runStress() throws the signal's reason and no other error, when the signal ends it", async () => {
  await using server = serveMutant({});
  const controller = new AbortController();
  const reason = new Error("enough");
  // The first frame shows that the attack and its witness run.
  const onFrame = () => controller.abort(reason);
  const target = { ...targetOf(server.url), signal: controller.signal, onFrame };
  assertEquals(await assertRejects(() => runStress(target), Error), reason);
});

Deno.test("formatCheck() and formatHtml() name no command for a case that cannot run alone", () => {
  const result = (test: Case) =>
    ({ test, grade: "fail", reason: "", ms: 1, request: "", answer: "", seen: undefined }) as const;
  const [swept, named] = [SWEEP[0], CASES[0]].map((test) => {
    if (test === undefined) throw new Error("There is no case");
    const report = conclude({
      ...{ url: "", profile: "quick", strict: false, startedAt: "", ms: 1, allIds: [] },
      results: [result(test)],
    });
    return [formatCheck(report, { color: false, command: "again" }).failures.join("\n"), formatHtml(report, "again")]
      .map((text) => text.includes(`again ${test.id}`));
  });
  assertEquals([swept, named], [[false, false], [true, true]]);
});

Deno.test("runCase() keeps no message payload after the case", async () => {
  await using server = serveMutant({});
  const test = CASES.find(({ id }) => id === "6455/5.2/length-126-text");
  if (test === undefined) throw new Error("The case is gone");
  const { grade, seen } = await runCase(test, targetOf(server.url));
  assertEquals([grade, seen?.frames.map(({ opcode }) => opcode), seen?.wire.length], ["pass", [OPCODE.close], 4]);
});
