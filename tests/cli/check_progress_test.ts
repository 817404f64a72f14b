/** The progress bar of check: it moves while one long message is under way, and names what it waits for. */

import { assert, assertEquals } from "@std/assert";
import { CASES } from "../../lib/check/cases/mod.ts";
import { runCases } from "../../lib/check/runner.ts";
import { progressText } from "../../lib/cli/check_progress.ts";
import { serveMutant } from "../support/mutant_server.ts";

Deno.test("progressText() fits into 80 columns beside the bar, whichever case runs", () => {
  for (const { id } of CASES) {
    const words = progressText({ done: 425, count: 425, bytes: 999 * 1024 ** 2, id });
    assert(`00:00 [${"#".repeat(14)}] ${words}`.length < 80, words);
  }
});

Deno.test("runCases() reports the case and its bytes while one long message is under way", async () => {
  await using server = serveMutant({});
  const told: string[] = [];
  const running: string[] = [];
  let bytes = 0;
  const onBytes = (count: number) => {
    bytes += count;
    told.push(progressText({ done: 0, count: 1, bytes, id: running[0] }));
  };
  const onCase = ({ id }: { readonly id: string }) => {
    running.push(id);
    return () => void running.shift();
  };
  const target = { url: new URL(server.url), caseTimeoutMs: 60_000, echoes: true, onBytes, onCase };
  const cases = CASES.filter(({ id }) => id === "6455/5.4/whole-16mib-binary");
  await runCases(cases, target, { jobs: 1 });
  // 16 MiB each way, and the handshake.
  assert(bytes > 2 * 16 * 1024 ** 2, `${bytes}`);
  const different = new Set(told);
  assert(different.size > 10, [...different].join());
  assertEquals(
    [...different].every((words) => /^0 of 1, [\d.]+ [KM]?i?B: whole-16mib-binary$/.test(words)),
    true,
  );
  assertEquals(running, []);
});
