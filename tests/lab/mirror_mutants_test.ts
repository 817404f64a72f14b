/**
 * The table of lab cases and client faults: a correct client passes every case, and exactly the cases of its rule catch
 * each fault. In the end every case has caught a fault.
 */

import { assertEquals } from "@std/assert";
import { GRADES } from "../../lib/check/case.ts";
import type { ClientCase } from "../../lib/lab/client_case.ts";

import { MAX_RUNS } from "../../lib/lab/lab.ts";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import type { EchoEvent } from "../../lib/server/policy.ts";
import { startLab } from "../support/lab.ts";
import { type ClientFault, visitCase } from "../support/mutant_client.ts";
import { CLIENT_MUTATIONS, INFORMATIVE, RIGHT_CASES } from "../support/mutants_client.ts";

/** Concurrent faults, each in its own lab: most of the time is silence. */
const FAULTS_AT_ONCE = 12;

/** Concurrent cases of each fault. */
const CASES_AT_ONCE = 8;

/** Lab deadlines that a busy machine meets. */
const PATIENT = { maxConnectionMs: 600_000, headTimeoutMs: 60_000 };

/** A silence longer than any pause of a busy machine, in milliseconds. */
const SILENCE_MS = 10_000;

/** The ids of the cases that a client fails. */
async function caughtBy(
  fault: ClientFault,
  cases: readonly ClientCase[],
  isSilent = false,
  casesAtOnce = CASES_AT_ONCE,
): Promise<string[]> {
  // The lab may see the end of a connection later than the client.
  let running = 0;
  let onEnd = Promise.withResolvers<void>();
  const onEvent = ({ type }: EchoEvent) => {
    if (type === "opened") running++;
    if (type !== "closed") return;
    running--;
    onEnd.resolve();
    onEnd = Promise.withResolvers();
  };
  await using lab = await startLab({ ...PATIENT, onEvent, ...!isSilent && { silenceMs: SILENCE_MS } });
  await eachOf(cases, casesAtOnce, async ({ number }) => {
    while (running > MAX_RUNS / 2) await onEnd.promise;
    await visitCase(lab.url, number, fault);
  });
  const [report] = await lab.reports();
  assertEquals(report?.results.length, cases.length);
  return (report?.results ?? []).filter(({ grade }) => GRADES.indexOf(grade) > 0).map(({ test }) => test.id);
}

/** Works through a list, `atOnce` items at a time. */
async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  await Promise.all(Array.from({ length: atOnce }, async () => {
    for (const item of queue) await work(item);
  }));
}

Deno.test("a client that keeps every rule passes every case", async () => {
  assertEquals(await caughtBy({}, RIGHT_CASES, false, 2 * CASES_AT_ONCE), []);
});

/** Cases that judge the backoff of a client: the tests below supply the times, independent of the machine. */
const RETURN_CASES = ["6455/7.2.3/refused", "6455/7.2.3/dropped"];

for (const id of RETURN_CASES) {
  Deno.test(`the case ${id} fails only a client that reconnects within 100 ms three times`, () => {
    const judged = MIRROR_CASES.find(({ test }) => test.id === id)?.judgeAgent;
    const gradeOf = (...visits: number[]) =>
      judged?.({ visits, masks: [], ownMasks: [], keys: [], requestProblem: undefined })?.grade;
    assertEquals(gradeOf(0, 99, 198, 297), "fail");
    assertEquals(gradeOf(0, 500, 501, 1000, 1001, 1002), "fail");
    assertEquals([gradeOf(0), gradeOf(0, 99, 198, 298), gradeOf(0, 100, 200, 300)], [undefined, undefined, undefined]);
  });
}

Deno.test("each fault of a client is caught by the cases of its rule only; and every case catches one", async (t) => {
  const found = new Map<string, readonly string[]>();
  // Silent faults take longest: start them first.
  const faults = CLIENT_MUTATIONS.toSorted((a, b) => Number(b.isSilent ?? false) - Number(a.isSilent ?? false));
  await eachOf(faults, FAULTS_AT_ONCE, async ({ name, cases, catches: _, isSilent, ...fault }) => {
    found.set(name, await caughtBy(fault, cases, isSilent));
  });
  await writeTable(found);
  for (const { name, cases, catches } of CLIENT_MUTATIONS) {
    await t.step(`a client that ${name}`, () => {
      const wanted = cases.map(({ test }) => test.id).filter(catches);
      assertEquals(found.get(name), wanted);
      assertEquals(wanted.length > 0, true, "The fault is caught by no case at all");
    });
  }
  await t.step("every case that can fail has caught a fault", () => {
    const caught = new Set([...found.values(), RETURN_CASES].flat());
    const idle = MIRROR_CASES.map(({ test }) => test.id).filter((id) => !caught.has(id));
    assertEquals(new Set(idle), INFORMATIVE);
    assertEquals(MIRROR_CASES.filter(({ test }) => test.level === "info").length, INFORMATIVE.size);
  });
});

const ARTEFACTS = new URL("../artefacts/", import.meta.url);

/** Writes the table: one line a case, with its caught faults. */
async function writeTable(found: ReadonlyMap<string, readonly string[]>): Promise<void> {
  const lines = MIRROR_CASES.map(({ number, test }) => {
    const faults = [...found].filter(([, ids]) => ids.includes(test.id)).map(([name]) => name).sort();
    return [number, test.id, faults.length, faults.join("; ")].join("\t");
  });
  await Deno.mkdir(ARTEFACTS, { recursive: true });
  await Deno.writeTextFile(new URL("clients-and-faults.tsv", ARTEFACTS), `${lines.join("\n")}\n`);
}
