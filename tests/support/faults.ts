/** Faults of a peer as scripts, and tests of the client's report on each. */

import { assertEquals, assertMatch } from "@std/assert";
import { EXIT_CODES, type Verdict } from "../../lib/client/verdict.ts";
import { client, reportOf } from "./command.ts";
import { rawPeer, type Script, TEXT } from "./raw_peer.ts";

/** Upgrades, answers one message, then the close frame. */
export const replying = (opcode: number, reply: string | Uint8Array, ...more: string[]): Script => async (socket) => {
  await socket.upgrade();
  await socket.readFrame();
  await socket.frame(opcode, reply);
  for (const text of more) await socket.frame(TEXT, text);
  await socket.answerClose();
};

/** Upgrades, echoes, then answers the close frame in its own way. */
export const closing = (end: Script): Script => async (socket) => {
  await socket.upgrade();
  await socket.echoOne();
  await socket.readFrame();
  await end(socket);
};

/** A peer, the options of the client, and the expected report. */
export interface Case {
  readonly does: string;
  readonly script: Script;
  readonly args?: readonly string[];
  readonly verdict: Verdict;
  /** The failed stage. */
  readonly stage?: string;
  readonly problem?: RegExp;
  readonly hint?: RegExp;
}

/** Registers the tests. */
export function testCases(cases: readonly Case[]): void {
  for (const { does, script, args = [], verdict, stage, problem, hint } of cases) {
    Deno.test(`client says ${verdict} when the peer ${does}`, async () => {
      await using peer = rawPeer(script);
      const outcome = await client(["--json", ...args, peer.url]);
      const report = reportOf(outcome);
      assertEquals(
        [report.verdict, outcome.code],
        [verdict, EXIT_CODES[verdict]],
        `${report.problem}\n${outcome.stderr}`,
      );
      assertEquals([report.ok, report.exitCode], [verdict === "proven", outcome.code]);
      const failed = report.stages.filter((one: { ok: boolean | null }) => one.ok === false);
      if (verdict === "proven") assertEquals(failed, []);
      if (stage !== undefined) assertEquals(failed[0]?.name, stage);
      if (problem) assertMatch(report.problem, problem);
      if (hint) assertMatch(report.hint, hint);
      // Lines for people go to standard error, and only after a failure.
      assertEquals(outcome.stderr === "", verdict === "proven");
    });
  }
}
