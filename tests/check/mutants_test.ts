/**
 * The table of cases and faults: a correct server passes every case, and exactly the cases of its rule catch each
 * fault. In the end every case has caught a fault.
 */

import { assertEquals } from "@std/assert";
import type { Case } from "../../lib/check/case.ts";
import { GRADES } from "../../lib/check/case.ts";
import { CASES } from "../../lib/check/cases/mod.ts";
import { STRESS } from "../../lib/check/cases/stress.ts";
import { IDLE, runIdle } from "../../lib/check/idle.ts";
import { runCases } from "../../lib/check/runner.ts";
import { runStress } from "../../lib/check/stress.ts";
import { runSweep, SWEEP } from "../../lib/check/sweep.ts";
import { type Fault, serveMutant, type Stun } from "../support/mutant_server.ts";
import { MUTATIONS } from "../support/mutants.ts";
import { DEFLATE_MUTATIONS } from "../support/mutants_deflate.ts";

/** Long messages are slow, and come last; the tests' server checks text once its frame is complete. */
const SLOW = /fail-fast-inside-frame/;
const SHORT = CASES.filter(({ id, group }) => group !== "sizes" && group !== "deflate" && !SLOW.test(id));

/** The deadline for all other cases, on a loaded machine too, in milliseconds. */
const CASE_TIMEOUT_MS = 60_000;

/** The deadline for late cases, in milliseconds: a peer that is silent for half of it is late. */
const SILENT_CASE_TIMEOUT_MS = 4000;

/** The ids of the cases that a server fails. */
async function caughtBy(fault: Fault, cases: readonly Case[], caseTimeoutMs = CASE_TIMEOUT_MS): Promise<string[]> {
  await using server = serveMutant(fault);
  const target = { url: new URL(server.url), caseTimeoutMs, echoes: true };
  const results = await runCases(cases, target, { jobs: 48 });
  return results.filter(({ grade }) => GRADES.indexOf(grade) > 0).map(({ test }) => test.id);
}

const caught = new Set<string>();

Deno.test("a server that keeps every rule passes every case", async () => {
  assertEquals(await caughtBy({}, SHORT), []);
});

for (const { name, cases: ran = /./, caughtBy: cases, isSilent, ...fault } of MUTATIONS) {
  Deno.test(`a server that ${name} is caught by the cases of that rule only`, async () => {
    const tried = SHORT.filter(({ id }) => ran.test(id));
    const found = await caughtBy(fault, tried, isSilent ? SILENT_CASE_TIMEOUT_MS : CASE_TIMEOUT_MS);
    for (const id of found) caught.add(id);
    assertEquals(found, tried.map(({ id }) => id).filter((id) => cases.test(id)));
  });
}

const SIZES = CASES.filter(({ group }) => group === "sizes");

Deno.test("every case of sizes catches a server that adds a byte", async () => {
  const { frame } = MUTATIONS.find(({ name }) => name === "adds a byte") ?? {};
  const found = await caughtBy(frame ? { frame } : {}, SIZES);
  for (const id of found) caught.add(id);
  assertEquals(found, SIZES.map(({ id }) => id));
});

Deno.test("cases of sizes catch a server that swallows empty messages", async () => {
  const mutation = MUTATIONS.find(({ name }) => name === "swallows empty messages");
  assertEquals(
    await caughtBy(mutation ?? {}, SIZES.filter(({ id }) => /1000-of-(0|16)-/.test(id)), SILENT_CASE_TIMEOUT_MS),
    [
      "6455/5.4/1000-of-0-text",
      "6455/5.4/1000-of-0-binary",
    ],
  );
});

Deno.test("cases of sizes grade a limit with 1009 as not strict", async () => {
  await using server = serveMutant({ maxBytes: 100_000 });
  const target = { url: new URL(server.url), caseTimeoutMs: CASE_TIMEOUT_MS, echoes: true };
  const results = await runCases(SIZES, target, { jobs: 8 });
  const grades = Object.groupBy(results, ({ grade }) => grade);
  assertEquals(Object.keys(grades).sort(), ["not-strict", "pass"]);
  const passed = (grades.pass ?? []).map(({ test }) => test.id);
  assertEquals(passed, SIZES.map(({ id }) => id).filter((id) => /1000-of|whole-64kib/.test(id)));
});

Deno.test("cases of text inside a frame grade a server that checks whole frames as not strict", async () => {
  const cases = CASES.filter(({ id }) => SLOW.test(id));
  const found = await caughtBy({}, cases);
  for (const id of found) caught.add(id);
  assertEquals(found, cases.map(({ id }) => id));
});

const DEFLATE = CASES.filter(({ group }) => group === "deflate");

Deno.test("a server that keeps every rule of permessage-deflate passes every case of its group", async () => {
  assertEquals(await caughtBy({ deflate: {} }, DEFLATE), []);
});

for (const { name, caughtBy: cases, ...fault } of DEFLATE_MUTATIONS) {
  Deno.test(`a server that ${name} is caught by the cases of that compression rule only`, async () => {
    const found = await caughtBy(fault, DEFLATE);
    for (const id of found) caught.add(id);
    assertEquals(found, DEFLATE.map(({ id }) => id).filter((id) => cases.test(id)));
  });
}

const SIZE_OF_SWEEP = /sweep-(\d+)$/;

Deno.test("each case of --sweep catches a server that cuts messages of that size only", async () => {
  const sizes = SWEEP.map(({ id }) => Number(SIZE_OF_SWEEP.exec(id)?.[1])).filter((size) => size > 0);
  assertEquals(sizes.length, SWEEP.length - 1);
  for (const size of sizes) {
    const near = SWEEP.filter(({ id }) => Math.abs(Number(SIZE_OF_SWEEP.exec(id)?.[1]) - size) <= 1);
    const cut: Fault["frame"] = (frame) => {
      const isIt = frame.opcode === 2 && frame.payload.byteLength === size;
      return [isIt ? { ...frame, payload: frame.payload.slice(1) } : frame];
    };
    const found = await caughtBy({ frame: cut }, near);
    for (const id of found) caught.add(id);
    assertEquals(found, [`6455/5.4/sweep-${size}`]);
  }
});

Deno.test("the search for the longest message catches a server that drops connections from 1009 bytes up without the code 1009", async () => {
  await using server = serveMutant({ maxBytes: 1008, failureCode: () => undefined });
  const target = { url: new URL(server.url), caseTimeoutMs: CASE_TIMEOUT_MS, echoes: true };
  const largest = (await runSweep(target, 8)).at(-1);
  if (largest?.grade === "not-strict") caught.add(largest.test.id);
  assertEquals(largest?.test.id, "6455/10.4/largest-message");
  const limit = "The longest message that came back has 1008 bytes";
  assertEquals(
    largest?.reason,
    `${limit}; the next: Server did not answer the message of 1009 bytes; it ended TCP`,
  );
});

/** The trigger that stuns a server in each stress case. */
const STUNS: Readonly<Record<string, Omit<Stun, "isStunned">>> = {
  "pings": { frame: ({ opcode }) => opcode === 9 },
  "empty-messages": { frame: ({ opcode, length }) => opcode === 1 && length === 0 },
  "empty-fragments": { frame: ({ opcode, length }) => opcode === 0 && length === 0 },
  "fragments": { frame: ({ opcode, length }) => opcode === 0 && length === 1 },
  "slow-heads": { isSlowHead: true },
  "not-reading": { frame: ({ opcode, reserved }) => opcode === 2 && reserved === 0 },
  "bomb": { frame: ({ reserved }) => reserved === 4 },
};

Deno.test("each case of --stress catches a server that answers nobody afterwards", async () => {
  const grades = await Promise.all(STRESS.map(async (stress) => {
    const word = stress.test.id.replace("6455/10.4/stress-", "");
    await using server = serveMutant({ deflate: {}, stun: { isStunned: false, ...STUNS[word] } });
    const target = { url: new URL(server.url), caseTimeoutMs: SILENT_CASE_TIMEOUT_MS, echoes: true };
    const [result] = await runStress(target, () => {}, [stress]);
    if (result?.grade === "fail") caught.add(result.test.id);
    return [word, result?.grade] as const;
  }));
  assertEquals(Object.fromEntries(grades), Object.fromEntries(Object.keys(STUNS).map((word) => [word, "fail"])));
});

/** Cases of level info always pass: each reports a server's choice. */
const INFO: Readonly<Record<string, Fault>> = {
  "6455/4.2.1/upgrade-list": { ignores: ["upgrade-list"] },
  "6455/4.1/frames-behind-request": { frame: (frame) => frame.opcode <= 2 ? [{ ...frame, opcode: 2 }] : [frame] },
  "6455/4.4/version-8": { refusal: (status) => [status, []] },
  "6455/4.2.2/version-426": { refusal: () => [400, [["Sec-WebSocket-Version", "13"]]] },
  "6455/5.5.1/long-message-then-close": { maxBytes: 100_000 },
  "6455/7.1.1/half-close": { closeAnswer: () => undefined },
  "6455/7.4/undefined-code-5000": { closeAnswer: () => undefined, isCode: () => true },
  "6455/7.4/undefined-code-65535": { closeAnswer: () => undefined, isCode: () => true },
};

Deno.test("each case of level info passes a server that does something else, and reports it", async () => {
  for (const [id, fault] of Object.entries(INFO)) {
    const cases = CASES.filter((test) => test.id === id);
    const results = await Promise.all([{}, fault].map(async (each) => {
      await using server = serveMutant(each);
      const target = { url: new URL(server.url), caseTimeoutMs: CASE_TIMEOUT_MS, echoes: true };
      return (await runCases(cases, target, { jobs: 1 })).map(({ grade, reason }) => ({ grade, reason }))[0];
    }));
    const [usual, other] = results;
    assertEquals([usual?.grade, other?.grade, usual?.reason !== other?.reason], ["pass", "pass", true], id);
    if (usual && other && usual.reason !== other.reason) caught.add(id);
  }
});

Deno.test("the cases of --idle report a server that ends a silent connection", async () => {
  await using server = serveMutant({ isImpatient: true });
  const target = { url: new URL(server.url), caseTimeoutMs: CASE_TIMEOUT_MS, echoes: true };
  const results = await runIdle(target, () => {}, CASE_TIMEOUT_MS);
  for (const { test, reason } of results) if (/it closed with 1001/.test(reason)) caught.add(test.id);
  assertEquals(results.map(({ test }) => test.id), IDLE.map(({ id }) => id));
});

Deno.test("every case has caught a faulty server", () => {
  const all = [...CASES, ...SWEEP, ...IDLE, ...STRESS.map(({ test }) => test)].map(({ id }) => id);
  assertEquals(all.filter((id) => !caught.has(id)), []);
  assertEquals(CASES.filter(({ level }) => level === "info").map(({ id }) => id).sort(), Object.keys(INFO).sort());
});
