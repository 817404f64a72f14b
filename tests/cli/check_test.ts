/** The command check, where a case itself is broken: a bug of ours is never a failure of the server. */

import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CASES } from "../../lib/check/cases/mod.ts";
import { check } from "../../lib/cli/check.ts";
import { tellError } from "../../lib/cli/output.ts";
import { serveMutant } from "../support/mutant_server.ts";

const BROKEN = "6455/5.4/restart";

/** Runs the command with a case that throws; gives what it printed and what it threw. */
async function brokenRun(...options: string[]): Promise<{ out: string[]; error: string[]; thrown: Error }> {
  await using server = serveMutant({});
  const test = CASES.find(({ id }) => id === BROKEN);
  if (test === undefined) throw new Error("The case is gone");
  const { plan } = test;
  const [out, error]: string[][] = [[], []];
  const screen = {
    out: { isColored: false, print: (text: string) => void out?.push(text) },
    error: { isColored: false, print: (text: string) => void error?.push(text) },
  };
  const listen = () => new AbortController().signal;
  try {
    test.plan = () => {
      throw new TypeError("no such frame");
    };
    const run = () => check([...options, server.url, "fragments"], screen, listen);
    return { out: out ?? [], error: error ?? [], thrown: await assertRejects(run, Error) };
  } finally {
    test.plan = plan;
  }
}

Deno.test("check() throws a broken case as a bug of wsproof, exit 1, and grades no server by it", async () => {
  const { out, error, thrown } = await brokenRun();
  assertEquals([out, error], [[], []]);
  assertEquals(thrown.message, `Case ${BROKEN} is broken: no such frame`);
  const lines: string[] = [];
  const stream = { isColored: false, print: (text: string) => void lines.push(text) };
  assertEquals(tellError(thrown, { out: stream, error: stream }), 1);
  assertStringIncludes(lines.join("\n"), "This is a bug in wsproof");
});

Deno.test("check() prints an object with the verdict internal-error for a broken case, with --json", async () => {
  const { out } = await brokenRun("--json");
  const { ok, verdict, exitCode, problem, cases, counts } = JSON.parse(out.join());
  assertEquals([ok, verdict, exitCode, problem], [
    false,
    "internal-error",
    1,
    `Case ${BROKEN} is broken: no such frame`,
  ]);
  assertEquals([cases, counts.fail], [[], 0]);
});
