/**
 * The table of cases and faults: a server that keeps every rule passes every case, and each fault is caught by exactly
 * the cases of its rule. In the end every case has caught a fault.
 */

import { assertEquals } from "@std/assert";
import type { Case } from "../../lib/check/case.ts";
import { GRADES } from "../../lib/check/case.ts";
import { CASES } from "../../lib/check/cases/mod.ts";
import { runCases } from "../../lib/check/runner.ts";
import { type Fault, serveMutant } from "../support/mutant_server.ts";
import { MUTATIONS } from "../support/mutants.ts";
import { DEFLATE_MUTATIONS } from "../support/mutants_deflate.ts";

/** Long messages take long, and come last; the tests' server checks text once its frame is complete. */
const SLOW = /fail-fast-inside-frame/;
const SHORT = CASES.filter(({ id, group }) => group !== "sizes" && group !== "deflate" && !SLOW.test(id));

/** A deadline for loaded machines, where nothing must be late, in milliseconds. */
const CASE_TIMEOUT_MS = 20_000;

/** The deadline for late cases, in milliseconds: a peer that is silent for half of it is late. */
const SILENT_CASE_TIMEOUT_MS = 4000;

/** The names of the cases that a server fails. */
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
  Deno.test(`a server that ${name} is caught by the cases of that rule, and no others`, async () => {
    const tried = SHORT.filter(({ id }) => ran.test(id));
    const found = await caughtBy(fault, tried, isSilent ? SILENT_CASE_TIMEOUT_MS : CASE_TIMEOUT_MS);
    for (const id of found) caught.add(id);
    assertEquals(found, tried.map(({ id }) => id).filter((id) => cases.test(id)));
  });
}

Deno.test("every case that can fail has caught a fault", () => {
  const idle = SHORT.filter(({ id, level }) => level !== "info" && !caught.has(id));
  assertEquals(idle.map(({ id }) => id), []);
});

const SIZES = CASES.filter(({ group }) => group === "sizes");

Deno.test("cases of sizes catch a changed bit, wherever the length is not 0", async () => {
  const mutation = MUTATIONS.find(({ name }) => name === "changes a bit of the last byte");
  const found = await caughtBy(mutation ?? {}, SIZES);
  assertEquals(found, SIZES.map(({ id }) => id).filter((id) => !/1000-of-0-/.test(id)));
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

Deno.test("cases of sizes take a limit with 1009 for what is not strict", async () => {
  await using server = serveMutant({ maxBytes: 100_000 });
  const target = { url: new URL(server.url), caseTimeoutMs: CASE_TIMEOUT_MS, echoes: true };
  const results = await runCases(SIZES, target, { jobs: 8 });
  const grades = Object.groupBy(results, ({ grade }) => grade);
  assertEquals(Object.keys(grades).sort(), ["not-strict", "pass"]);
  const passed = (grades.pass ?? []).map(({ test }) => test.id);
  assertEquals(passed, SIZES.map(({ id }) => id).filter((id) => /1000-of|whole-64kib/.test(id)));
});

Deno.test("cases of text inside a frame catch a server that looks at whole frames, as not strict", async () => {
  const cases = CASES.filter(({ id }) => SLOW.test(id));
  assertEquals(await caughtBy({}, cases), cases.map(({ id }) => id));
});

const DEFLATE = CASES.filter(({ group }) => group === "deflate");
const caughtDeflated = new Set<string>();

Deno.test("a server that keeps every rule of permessage-deflate passes every case of it", async () => {
  assertEquals(await caughtBy({ deflate: {} }, DEFLATE), []);
});

for (const { name, caughtBy: cases, ...fault } of DEFLATE_MUTATIONS) {
  Deno.test(`a server that ${name} is caught by the cases of that rule of compression, and no others`, async () => {
    const found = await caughtBy(fault, DEFLATE);
    for (const id of found) caughtDeflated.add(id);
    assertEquals(found, DEFLATE.map(({ id }) => id).filter((id) => cases.test(id)));
  });
}

Deno.test("every case of permessage-deflate has caught a fault", () => {
  assertEquals(DEFLATE.map(({ id }) => id).filter((id) => !caughtDeflated.has(id)), []);
});
