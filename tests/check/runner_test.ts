/** Cases that a deadline ends: a busy server is not a faulty one. */

import { assertEquals } from "@std/assert";
import type { Case } from "../../lib/check/case.ts";
import { runCases } from "../../lib/check/runner.ts";
import { rawPeer, type RawSocket, TEXT } from "../support/raw_peer.ts";

const PING = 9;
const PAYLOAD = new TextEncoder().encode("Hello");

/** Cases of one message and its echo, or of one that fails the connection. */
function casesOf(count: number, end: "close" | "failure" = "close"): Case[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `6455/5.6/echo-${index}`,
    group: "framing",
    title: "",
    rule: "",
    level: "must",
    needs: ["echo"],
    holds: "server",
    profile: "quick",
    plan: () => ({
      steps: [{ do: "send", frames: [{ opcode: TEXT, payload: PAYLOAD }] }],
      replies: end === "close" ? [{ kind: "text", payload: PAYLOAD }] : [],
      end: { type: end, codes: [1000] },
    }),
  }));
}

/** Sends pings instead of the reply, until the client gives up. */
async function stayBusy(socket: RawSocket): Promise<void> {
  while (true) {
    await socket.frame(PING);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function echo(socket: RawSocket): Promise<void> {
  await socket.echoOne();
  await socket.answerClose();
}

Deno.test("runCases() repeats alone what a deadline failed beside others, and only that counts", async () => {
  let connections = 0;
  await using peer = rawPeer(async (socket) => {
    const isBusy = ++connections <= 2;
    await socket.upgrade();
    await (isBusy ? stayBusy(socket) : echo(socket));
  });
  const told: string[] = [];
  const target = { url: new URL(peer.url), caseTimeoutMs: 5000, echoes: true };
  const results = await runCases(casesOf(2), target, { jobs: 2, onResult: ({ test }) => told.push(test.id) });
  assertEquals(results.map(({ grade, reason }) => [grade, reason]), [["pass", ""], ["pass", ""]]);
  assertEquals(told.sort(), ["6455/5.6/echo-0", "6455/5.6/echo-1"]);
  assertEquals(connections, 4);
});

/** Servers that never reply, each with the reason that names its fault. */
const IN_VAIN = [
  [
    stayBusy,
    "Case did not finish within 3 s (--case-timeout): Server did not answer the message of 5 bytes; it kept the connection",
  ],
  [
    (socket: RawSocket) => socket.untilGone(),
    "Server did not answer the message of 5 bytes; it kept the connection",
  ],
] as const;

Deno.test("runCases() repeats at most three cases in vain with a slow server, and with a silent one, and says so", async () => {
  // At once, with time to spare: a busy machine may hold this process for a second.
  await Promise.all(IN_VAIN.map(async ([behave, reason]) => {
    let connections = 0;
    await using peer = rawPeer(async (socket) => {
      connections++;
      await socket.upgrade();
      await behave(socket);
    });
    const target = { url: new URL(peer.url), caseTimeoutMs: 3000, echoes: true };
    const results = await runCases(casesOf(5), target, { jobs: 5 });
    assertEquals(results.map(({ grade }) => grade), Array(5).fill("fail"));
    assertEquals(results[0]?.reason, reason);
    assertEquals(connections, 8);
  }));
});

Deno.test("runCases() does not repeat what ran alone, nor a silence where a server fails a connection", async () => {
  let connections = 0;
  await using peer = rawPeer(async (socket) => {
    connections++;
    await socket.upgrade();
    await (connections === 1 ? stayBusy(socket) : socket.untilGone());
  });
  const target = { url: new URL(peer.url), caseTimeoutMs: 500, echoes: true };
  await runCases(casesOf(1), target, { jobs: 1 });
  assertEquals(connections, 1);
  await runCases(casesOf(2, "failure"), { ...target, caseTimeoutMs: 2000 }, { jobs: 2 });
  assertEquals(connections, 3);
});
