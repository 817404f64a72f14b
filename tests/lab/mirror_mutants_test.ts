/**
 * The table of cases and faults of clients: one that keeps every rule passes every case, and each fault is caught by the cases
 * of its rule, and by no others.
 */

import { assertEquals } from "@std/assert";
import { GRADES } from "../../lib/check/case.ts";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import { startLab } from "../support/lab.ts";
import { type ClientFault, visitCase } from "../support/mutant_client.ts";
import { type Mutation, MUTATIONS } from "../support/mutants.ts";
import { CASES } from "../../lib/check/cases/mod.ts";

/** Long messages take long, and the client of the tests looks at text once its frame is complete, and has no compression. */
const NUMBERS = MIRROR_CASES.filter(({ test }) =>
  test.group !== "sizes" && !test.needs.includes("deflate") && !/fail-fast-inside-frame/.test(test.id)
).map(({ number }) => number);

/** The cases that a client does not pass, by their names. */
async function caughtBy(fault: ClientFault, numbers: readonly string[] = NUMBERS): Promise<string[]> {
  await using lab = await startLab();
  const queue = numbers.values();
  await Promise.all(Array.from({ length: 24 }, async () => {
    for (const number of queue) await visitCase(lab.url, number, fault);
  }));
  const [report] = await lab.reports();
  assertEquals(report?.results.length, numbers.length);
  return (report?.results ?? []).filter(({ grade }) => GRADES.indexOf(grade) > 0).map(({ test }) => test.id);
}

function counted(bytes: number, isBigEndian: boolean): () => Uint8Array {
  let count = 0;
  return () => {
    const key = new Uint8Array(bytes);
    new DataView(key.buffer).setUint32(isBigEndian ? bytes - 4 : 0, 1_000_000 + count++, !isBigEndian);
    return key;
  };
}

function cycled(count: number): () => Uint8Array {
  const keys = Array.from({ length: count }, () => crypto.getRandomValues(new Uint8Array(4)));
  let next = 0;
  return () => keys[next++ % count] ?? new Uint8Array(4);
}

const [ascending, keys] = [counted(4, false), counted(16, true)];

function named(...words: string[]): (id: string) => boolean {
  return (id) => words.some((word) => id.endsWith(`/${word}`));
}

/** Faults of clients only. */
const FAULTS: readonly (ClientFault & { readonly name: string; readonly catches: (id: string) => boolean })[] = [
  { name: "masks with zeros", mask: () => new Uint8Array(4), catches: named("random-masks") },
  { name: "counts its masks up", mask: ascending, catches: named("random-masks") },
  { name: "has five masks", mask: cycled(5), catches: named("random-masks") },
  { name: "has one key for all handshakes", key: () => "dGhlIHNhbXBsZSBub25jZQ==", catches: named("random-keys") },
  { name: "counts its keys up", key: () => keys().toBase64(), catches: named("random-keys") },
  {
    name: "has keys of 15 bytes",
    key: () => crypto.getRandomValues(new Uint8Array(15)).toBase64(),
    catches: named("request"),
  },
  {
    name: "asks for version 8",
    request: (fields) => fields.map(([name, value]) => [name, name === "Sec-WebSocket-Version" ? "8" : value]),
    catches: named("request"),
  },
  { name: "compares no accept key", ignores: ["accept"], catches: named("bad-accept") },
  { name: "needs no accept key", ignores: ["no-accept"], catches: named("no-accept") },
  { name: "needs no Upgrade", ignores: ["upgrade"], catches: named("no-upgrade-field", "other-upgrade") },
  { name: "needs no Connection", ignores: ["connection"], catches: named("no-connection-field", "other-connection") },
  { name: "takes any subprotocol", ignores: ["protocol"], catches: named("unasked-protocol") },
  { name: "takes any extension", ignores: ["extension"], catches: named("unasked-extension") },
  { name: "takes HTTP/1.0", ignores: ["version"], catches: named("http-1.0") },
  { name: "takes any status", ignores: ["status"], catches: named("status-200", "status-403") },
];

Deno.test("a client that keeps every rule passes every case", async () => {
  assertEquals(await caughtBy({}), []);
});

for (const { name, catches, ...fault } of FAULTS) {
  Deno.test(`a client that ${name} is caught by the cases of that rule, and no others`, async () => {
    assertEquals(await caughtBy(fault), MIRROR_CASES.map(({ test }) => test.id).filter(catches));
  });
}

for (const id of ["6455/7.2.3/refused", "6455/7.2.3/dropped"]) {
  Deno.test(`the case ${id} fails a client that is back within 100 ms three times, and no other`, () => {
    const judged = MIRROR_CASES.find(({ test }) => test.id === id)?.judgeAgent;
    const gradeOf = (...visits: number[]) =>
      judged?.({ visits, masks: [], ownMasks: [], keys: [], requestProblem: undefined })?.grade;
    assertEquals(gradeOf(0, 99, 198, 297), "fail");
    assertEquals(gradeOf(0, 500, 501, 1000, 1001, 1002), "fail");
    assertEquals([gradeOf(0), gradeOf(0, 99, 198, 298), gradeOf(0, 100, 200, 300)], [undefined, undefined, undefined]);
  });
}

/** Faults behind the handshake are those of servers: the session of the mutants has either role. */
const HANDSHAKE =
  /upgrade|connection|head-pieces|blanks|keep-alive|field|cookie|extension|key|version|host|protocol|method|early/;

function isOfSession({ answer, refusal, ignores = [], isSilent }: Mutation): boolean {
  return !answer && !refusal && !isSilent && !ignores.some((rule) => HANDSHAKE.test(rule));
}

const SHARED = new Set(CASES.filter(({ holds }) => holds === "both").map(({ id }) => id));
const SHARED_CASES = MIRROR_CASES.filter(({ number, test }) => NUMBERS.includes(number) && SHARED.has(test.id));

for (const { name, cases: ran = /./, caughtBy: caught, ...fault } of MUTATIONS.filter(isOfSession)) {
  Deno.test(`a client that ${name} is caught by the cases that catch such a server, and no others`, async () => {
    const tried = SHARED_CASES.filter(({ test }) => ran.test(test.id));
    const found = await caughtBy(fault, tried.map(({ number }) => number));
    assertEquals(found, tried.map(({ test }) => test.id).filter((id) => caught.test(id)));
  });
}
