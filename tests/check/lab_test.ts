/** The lab as a server: it passes without steps, and the judge of its rule catches each step. */

import { assertEquals, assertMatch } from "@std/assert";
import { CASES } from "../../lib/check/cases/mod.ts";
import { runCases } from "../../lib/check/runner.ts";
import { serveLab } from "../../lib/lab/mod.ts";

const EXCHANGE = CASES.filter(({ id }) => id === "6455/7.1.2/message-then-close");
const CASE_TIMEOUT_MS = 20_000;

async function judgementOf(path: string, caseTimeoutMs = CASE_TIMEOUT_MS): Promise<readonly [string, string]> {
  const lab = await serveLab({ port: 0 });
  const target = { url: new URL(`${lab.url}${path}`), caseTimeoutMs, echoes: true };
  const [result] = await runCases(EXCHANGE, target, { jobs: 1 });
  await lab.shutdown();
  return [result?.grade ?? "", result?.reason ?? ""];
}

for (
  const [path, reason] of [
    ["masked", /a frame of the server is masked \(section 5\.1\)/],
    ["rsv/1", /a reserved bit is set \(section 5\.2\)/],
    ["rsv/3", /a reserved bit is set \(section 5\.2\)/],
    ["opcode/3", /opcode 3 is not defined \(section 5\.2\)/],
    ["opcode/11", /opcode 11 is not defined \(section 5\.2\)/],
    ["non-minimal", /a length takes more bytes than needed \(section 5\.2\)/],
    ["bad-utf8", /text is not UTF-8 \(section 8\.1\)/],
    ["stray-continuation", /a continuation has nothing to continue \(section 5\.4\)/],
    ["restart", /a message begins inside another \(section 5\.4\)/],
    ["big-control", /a control frame has 126 bytes \(section 5\.5\)/],
    ["fragmented-control", /a control frame is fragmented \(section 5\.5\)/],
    ["answer-close/1005", /code 1005, which must not be sent \(section 7\.4\)/],
    ["data-after-close", /a data frame follows the close frame \(section 5\.5\.1\)/],
    ["corrupt", /answered with text of 13 bytes that differs at byte 12/],
    ["truncate/3", /answered with text of 3 bytes instead of 13/],
    ["extend/3", /answered with text of 16 bytes instead of 13/],
    ["duplicate", /sent an extra message of 13 bytes/],
    ["swap-kind", /answered with binary of 13 bytes instead of text/],
    ["greet/hello", /answered with text of 5 bytes instead of 13|differs at byte 0/],
    ["answer-close/1001", /closed with 1001 \(going away\) instead of 1000/],
    ["drop-on-close", /ended TCP without a close frame/],
    ["drop", /did not answer the message of 13 bytes; it ended TCP/],
    ["close/1011", /did not answer the message of 13 bytes; it closed with 1011/],
    ["drop-mid-message", /did not answer the message of 13 bytes; it ended TCP/],
  ] as const
) {
  Deno.test(`runCases() says in the words of the rule what is wrong with the lab's ${path}`, async () => {
    const [grade, found] = await judgementOf(path);
    assertEquals(grade, "fail", found);
    assertMatch(found, reason);
  });
}

for (
  const [path, grade, reason] of [
    ["mute", "fail", /did not answer the message of 13 bytes/],
    ["ignore-close", "fail", /did not answer the close frame/],
    ["unfinished", "fail", /did not answer the message of 13 bytes/],
    ["silent", "fail", /did not answer the handshake/],
  ] as const
) {
  Deno.test(`runCases() does not wait forever for the lab's ${path}`, async () => {
    const [found, words] = await judgementOf(path, 1000);
    assertEquals(found, grade, words);
    assertMatch(words, reason);
  });
}

for (const path of ["", "fragment/3", "split-utf8", "interleave-ping", "slow/2000", "delay/20", "late-close/50"]) {
  Deno.test(`runCases() finds nothing wrong with the lab's ${path || "echo"}, which is legal`, async () => {
    assertEquals(await judgementOf(path), ["pass", ""]);
  });
}
