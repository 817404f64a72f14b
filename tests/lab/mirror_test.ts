/** The paths of Autobahn's fuzzing server, and the reports. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { CaseResult } from "../../lib/check/run_case.ts";
import { MAX_RUNS } from "../../lib/lab/lab.ts";
import { MAX_SEEN_FRAMES, Player, type Seen } from "../../lib/peer/player.ts";
import { openConnection } from "../../lib/connection/open.ts";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import { keyProblem, maskProblem } from "../../lib/lab/randomness.ts";
import { Agent, MAX_AGENTS, MAX_DETAIL_BYTES, Scoreboard } from "../../lib/lab/scoreboard.ts";
import { handshake, httpUrl, startLab } from "../support/lab.ts";
import { visitCase } from "../support/mutant_client.ts";
import { connectRaw } from "../support/raw_peer.ts";

const TIMEOUT = { timeoutMs: 20_000 };

async function said(url: string, path: string): Promise<{ text: string; code: number | undefined }> {
  const connection = await openConnection(`${url}${path}`, "wire");
  const text = String(await connection.receive(TIMEOUT));
  const { received } = await connection.closed;
  return { text, code: received?.code };
}

Deno.test("mirror cases begin in Autobahn's order, and no number appears twice", () => {
  const numbers = MIRROR_CASES.map(({ number }) => number);
  assertEquals(new Set(numbers).size, numbers.length);
  const numbered = numbers.filter((number) => /^\d+\.\d+\.?\d*$/.test(number));
  assertEquals(numbered.length, 301);
  assertEquals(numbers.slice(0, 2), ["1.1.1", "1.1.2"]);
  assertEquals(numbers[300], "10.1.1");
});

Deno.test("getCaseCount says how many cases there are, and closes with 1000", async () => {
  await using lab = await startLab();
  assertEquals(await said(lab.url, "getCaseCount"), { text: `${MIRROR_CASES.length}`, code: 1000 });
});

Deno.test("getCaseCount counts Autobahn's 301 cases, when the lab is told so", async () => {
  await using lab = await startLab({ cases: "autobahn" });
  assertEquals((await said(lab.url, "getCaseCount")).text, "301");
});

Deno.test("updateReports hands out the results of the client before it closes", async () => {
  const results: unknown[] = [];
  await using lab = await startLab({
    onReports: (reports) => Promise.resolve(void results.push(...reports.map(({ counts }) => counts.pass))),
  });
  await visitCase(lab.url, "1.1.1", {});
  await (await openConnection(`${lab.url}updateReports?agent=mutant`, "wire")).closed;
  assertEquals(results, [1]);
});

Deno.test("getCaseInfo names a case, by its place or its name", async () => {
  await using lab = await startLab();
  const { text } = await said(lab.url, "getCaseInfo?case=1");
  assertEquals(JSON.parse(text).id, "1.1.1");
  const { text: own } = await said(lab.url, "getCaseInfo?casetuple=6455/5.3/random-masks");
  assertMatch(JSON.parse(own).description, /masking keys.*\(6455\/5\.3\/random-masks\): Each frame/);
});

Deno.test("getCaseStatus returns the result of a case, and MISSING if it has not run", async () => {
  await using lab = await startLab();
  const path = "getCaseStatus?casetuple=1.1.2&agent=mutant";
  assertEquals(JSON.parse((await said(lab.url, path)).text), { behavior: "MISSING", behaviorClose: "MISSING" });
  await visitCase(lab.url, "1.1.2", {});
  assertEquals(JSON.parse((await said(lab.url, path)).text), { behavior: "OK", behaviorClose: "OK" });
  await visitCase(lab.url, "1.1.2", { frame: (frame) => [{ ...frame, reserved: 1 }] });
  assertEquals(JSON.parse((await said(lab.url, path)).text), { behavior: "FAILED", behaviorClose: "OK" });
});

Deno.test("updateReports says nothing, and closes with 1000", async () => {
  await using lab = await startLab();
  const connection = await openConnection(`${lab.url}updateReports?agent=x`, "wire");
  assertEquals((await connection.closed).received?.code, 1000);
});

for (
  const [path, text] of [
    ["/getCaseInfo", "The query names no case: add case=1"],
    ["/getCaseInfo?case=0", `There is no case "0": give 1 to ${MIRROR_CASES.length}`],
    ["/getCaseInfo?case=99999", `There is no case "99999": give 1 to ${MIRROR_CASES.length}`],
    ["/runCase?casetuple=11.1.1&agent=x", 'There is no case "11.1.1": /getCaseInfo?case=1 gives names'],
    ["/runCase?case=1", "The query names no agent: add agent=NAME"],
    [`/updateReports?agent=${"x".repeat(101)}`, "The name of the agent has 101 characters: give at most 100"],
  ] as const
) {
  Deno.test(`the lab answers 404 to ${path.slice(0, 40)}, and says what is missing`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [line = ""] = await handshake(socket, path);
    assertMatch(line, /^HTTP\/1\.1 404 /);
    socket.close();
    assertStringIncludes((await lab.refused).reason, text);
  });
}

Deno.test("reports have the agent's name escaped, its grades, and Autobahn's index", async () => {
  await using lab = await startLab();
  const agent = encodeURIComponent("<b>\u202e&");
  const connection = await openConnection(`${lab.url}runCase?case=1&agent=${agent}`, "wire");
  await connection.send(await connection.receive(TIMEOUT));
  await connection.closed;
  const get = async (path: string) => await (await fetch(httpUrl(lab.url, path))).text();
  const [report] = await lab.reports();
  assertEquals([report?.url, report?.counts.pass], ["<b>\u202e&", 1]);
  for (const path of ["/reports/", `/reports/?agent=${agent}`]) {
    const page = await get(path);
    assertStringIncludes(page, "&#60;b&#62;");
    assert(!page.includes("<b>") && !page.includes("\u202e"));
  }
  const index = JSON.parse(await get("/reports/index.json"));
  assertEquals(index["<b>\u202e&"]["1.1.1"].behavior, "OK");
  const json = JSON.parse(await get(`/reports/agent.json?agent=${agent}`));
  assertEquals([json.schema, json.cases.length, json.cases[0].grade], ["wsproof.check/1", 1, "pass"]);
});

Deno.test("reports answer 404 for a missing report, and 403 to other machines", async () => {
  await using lab = await startLab();
  const statusOf = async (path: string, headers = {}, method = "GET") => {
    const answer = await fetch(httpUrl(lab.url, path), { headers, method });
    await answer.body?.cancel();
    return answer.status;
  };
  assertEquals(await statusOf("/reports/x"), 404);
  assertEquals(await statusOf("/reports/?agent=nobody"), 404);
  assertEquals(await statusOf("/reports/agent.json"), 400);
  assertEquals(await statusOf("/reports/", { origin: "http://evil.example" }), 403);
  assertEquals(await statusOf("/reports/", {}, "HEAD"), 200);
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) assertEquals(await statusOf("/reports/", {}, method), 405);
  for (const path of ["/reports/%2e%2e/x", "/reports/..%2fx", "/reports/index.json/x", "/reports//"]) {
    assertEquals(await statusOf(path), 404);
  }
});

Deno.test("Scoreboard keeps the last 16 agents", () => {
  const board = new Scoreboard();
  for (let index = 0; index < MAX_AGENTS; index++) board.visit(`${index}`);
  board.visit("0");
  board.visit("one more");
  assertEquals([board.agents.length, board.find("0")?.name, board.find("1")], [16, "0", undefined]);
});

Deno.test("Agent keeps at most 1,024 keys, 8,192 masks and 16 visits", () => {
  const agent = new Agent("x");
  for (let index = 0; index < 2000; index++) agent.came("1.1.1", `${index}`, Promise.resolve());
  agent.masked(Array.from({ length: 9000 }, (_, index) => index));
  const { keys, masks, visits } = agent.traits("1.1.1");
  assertEquals([keys.length, masks.length, visits.length], [1024, 8192, 16]);
});

function resultOf(start: Uint8Array<ArrayBuffer>): CaseResult {
  const test = MIRROR_CASES[0]?.test;
  assert(test);
  const header = { final: true, reserved: 0, opcode: 1, isMasked: true, length: start.byteLength };
  const seen: Seen = {
    frames: [],
    wire: [{ direction: "in", header, start }],
    omitted: 0,
    end: "fin",
    endStep: 0,
    endMs: 0,
    isTooLong: false,
    sentClose: null,
    wentOn: false,
    isLate: false,
  };
  return { test, grade: "fail", reason: "wrong", ms: 1, request: "", answer: "", seen };
}

Deno.test("Scoreboard keeps 16 MiB of the connections' traffic, and only the grades beyond", () => {
  const board = new Scoreboard();
  const agent = board.visit("x");
  const [first, second, third] = MIRROR_CASES;
  assert(first && second && third);
  board.keep(agent, first, resultOf(new Uint8Array(MAX_DETAIL_BYTES - 500)));
  board.keep(agent, second, resultOf(new Uint8Array(500)));
  assertEquals([first, second].map(({ number }) => agent.result(number)?.seen?.wire.length), [1, 0]);
  assertEquals(agent.result(second.number)?.grade, "fail");
  // A result replaces the previous one.
  board.keep(agent, first, resultOf(new Uint8Array(10)));
  board.keep(agent, third, resultOf(new Uint8Array(500)));
  assertEquals(agent.result(third.number)?.seen?.wire.length, 1);
});

Deno.test("the lab runs 64 cases at once, and refuses one more with 503", async () => {
  await using lab = await startLab();
  const sockets: Awaited<ReturnType<typeof connectRaw>>[] = [];
  const lines: string[] = [];
  for (let index = 0; index <= MAX_RUNS; index++) {
    const socket = await connectRaw(lab.url);
    sockets.push(socket);
    lines.push((await handshake(socket, "/runCase?case=1&agent=x"))[0]?.slice(0, 12) ?? "");
  }
  for (const socket of sockets) socket.close();
  assertEquals(lines.filter((line) => line === "HTTP/1.1 101").length, 64);
  assertEquals(lines.at(-1), "HTTP/1.1 503");
});

Deno.test("the lab counts empty frames as memory of the connections, and ends those that hold the most", async () => {
  // 5 times 120,000 frames count 219 MiB, above the budget of 128 MiB.
  await using lab = await startLab({ silenceMs: 60_000, maxConnectionMs: 30_000 });
  const pongs = new Uint8Array(6 * 1000).map((_, index) => index % 6 === 0 ? 0x8a : index % 6 === 1 ? 0x80 : 0);
  const ended = Promise.withResolvers<void>();
  const sockets = await Promise.all([1, 2, 3, 4, 5].map(async (number) => {
    const socket = await connectRaw(lab.url);
    await handshake(socket, `/runCase?case=${number}&agent=flood`);
    socket.untilGone().then(ended.resolve, ended.resolve);
    return socket;
  }));
  for (const socket of sockets) {
    for (let sent = 0; sent < 120; sent++) await socket.write(pongs).catch(() => {});
  }
  await ended.promise;
  for (const socket of sockets) socket.close();
  const [report] = await lab.reports();
  const shed = report?.results.filter(({ reason }) => reason === "Connections hold more than the lab's budget");
  assert(shed && shed.length > 0);
});

Deno.test("Player keeps 131,072 frames, and ends the connection of a peer that sends more", async () => {
  const frames = new Uint8Array(2 * (MAX_SEEN_FRAMES + 5)).map((_, index) => index % 2 === 0 ? 0x8a : 0);
  let isClosed = false;
  let at = 0;
  const player = new Player({
    read: (into) => {
      if (isClosed || at >= frames.byteLength) return Promise.resolve(null);
      const piece = frames.subarray(at, at + into.byteLength);
      into.set(piece);
      at += piece.byteLength;
      return Promise.resolve(piece.byteLength);
    },
    write: () => Promise.resolve(),
    closeWrite: () => Promise.resolve(),
    close: () => isClosed = true,
  }, { role: "server", silenceMs: 20_000 });
  player.begin(new Uint8Array(0));
  await player.play([{ do: "settle", ms: 20_000 }]);
  assertEquals([isClosed, player.seen().frames.length], [true, 131_072]);
});

Deno.test("maskProblem() finds nothing in random keys, and reports three or more repeated ones", () => {
  const random = [...crypto.getRandomValues(new Uint32Array(32))];
  assertEquals(maskProblem(random, random), undefined);
  assertEquals(maskProblem(random, [...random, ...random.slice(0, 2)]), undefined);
  assertEquals(
    maskProblem(random, [...random, ...random.slice(0, 3)]),
    "3 of 35 masking keys have appeared before",
  );
  assertEquals(maskProblem([9, 9, 9], []), undefined);
  assertEquals(maskProblem([10, 17, 20, 90], []), "the masking keys count up by at most 70");
});

Deno.test("keyProblem() finds nothing in random keys, and counters", () => {
  const keyOf = (last: number) => Uint8Array.from({ length: 16 }, (_, index) => index === 15 ? last : 7).toBase64();
  assertEquals(
    keyProblem(Array.from({ length: 9 }, () => crypto.getRandomValues(new Uint8Array(16)).toBase64())),
    undefined,
  );
  assertEquals(keyProblem([1, 2, 3, 4].map(keyOf)), "the keys count up by 1");
});
