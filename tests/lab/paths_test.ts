/** Invalid paths of the lab, and its plain HTTP. */

import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { LAB_STEPS, MAX_STEPS, parseLabPath } from "../../lib/lab/program.ts";
import { usageOf } from "../../lib/lab/step.ts";
import { httpUrl, startLab } from "../support/lab.ts";
import { connectRaw, requestHead } from "../support/raw_peer.ts";

// Invalid paths.

for (
  const [path, problem] of [
    ["/echo/corupt", 'Segment 2, "corupt", is not a step'],
    ["/Echo", 'Segment 1, "Echo", is not a step'],
    ["//echo", 'Segment 1, "", is not a step'],
    ["/%ff", 'Segment 1, "%ff", is not UTF-8 in percent-encoding'],
    ["/refuse", "The STATUS of refuse/STATUS is missing: a whole number from 200 to 599"],
    ["/refuse/101", 'Segment 2, "101", is not the STATUS of refuse/STATUS: a whole number from 200 to 599'],
    ["/opcode/9", 'Segment 2, "9", is not the N of opcode/N: a whole number from 3 to 15, but not 8 to 10'],
    ["/fragment/0", 'Segment 2, "0", is not the BYTES of fragment/BYTES: a whole number from 1 to 16777216'],
    ["/echo/0", 'Segment 2, "0", is not the N of echo[/N]: a whole number from 1 to 1000000'],
    ["/echo/1x", 'Segment 2, "1x", is not the N of echo[/N]: a whole number from 1 to 1000000'],
    ["/close/x", 'Segment 2, "x", is not the CODE of close/CODE[/REASON]: a whole number from 0 to 65535'],
    ["/greet", "The TEXT of greet/TEXT is missing"],
    [`/close/1000/${"x".repeat(124)}`, "..., has 124 bytes: REASON has at most 123"],
    ["/echo/1/silent", 'Segment 3, "silent", is a step of the handshake: those come first'],
    ["/silent/echo", 'Segment 2, "echo", is never reached: it comes after silent'],
    ["/echo/close/1000", 'Segment 2, "close", is never reached: it comes after echo[/N]'],
    ["/drop/ignore-close", 'Segment 2, "ignore-close", is never reached: it comes after drop'],
    ["/late-close/1/ignore-close", 'Segment 3, "ignore-close", is the second step for the close frame'],
    ["/duplicate".repeat(21), 'Segment 21, "duplicate", makes more than 1048576 frames of one message'],
    ["/restart".repeat(21), 'Segment 21, "restart", makes more than 1048576 frames of one message'],
    ["/truncate/0" + "/duplicate".repeat(30), 'Segment 23, "duplicate", makes more than 1048576 frames of one message'],
    ["/duplicate".repeat(10) + "/restart".repeat(11), '"restart", makes more than 1048576 frames of one message'],
    [
      "/extend/1048576/fragment/1/greet/x",
      'Segment 5, "greet", makes more than 1048576 frames of one message',
    ],
    ["/extend/1048576/extend/1", 'Segment 3, "extend", makes a message longer by more than 1048576 bytes'],
    [
      "/extend/1048576/duplicate/duplicate/duplicate/duplicate/duplicate/duplicate/greet/x",
      '"greet", makes more than 67108864 bytes of one message',
    ],
    ["/ping-flood/100000".repeat(11), 'Segment 21, "ping-flood", sends more than 1048576 frames unasked'],
    ["/flood/1000000/flood/1000000", 'Segment 3, "flood", sends more than 1048576 frames unasked'],
    ["/corrupt".repeat(MAX_STEPS + 1), 'Segment 33, "corrupt", is one step too many: a path has at most 32'],
  ] as const
) {
  Deno.test(`lab answers 404 with the list, and what is wrong with ${path.slice(0, 40)}`, async () => {
    assertThrows(() => parseLabPath(path), Error, problem.replace(/^\.\.\./, ""));
    await using lab = await startLab();
    const answer = await upgradeByFetch(lab.url, path);
    assertEquals(answer.status, 404);
    assertStringIncludes(answer.text, problem.replace(/^\.\.\./, ""));
    assertStringIncludes(answer.text, "echo[/N]");
  });
}

async function upgradeByFetch(url: string, path: string): Promise<{ status: number; text: string }> {
  const socket = await connectRaw(url);
  await socket.write(requestHead({}, `GET ${path} HTTP/1.1`));
  const text = new TextDecoder().decode(await socket.readToEnd());
  socket.close();
  return { status: Number(text.split(" ")[1]), text };
}

// Plain HTTP.

Deno.test("lab lists every step with an example that is a path, as text", async () => {
  await using lab = await startLab();
  const answer = await fetch(httpUrl(lab.url));
  assertEquals([answer.status, answer.headers.get("content-type")], [200, "text/plain; charset=utf-8"]);
  const text = await answer.text();
  for (const step of Object.values(LAB_STEPS).flat()) {
    assertStringIncludes(text, `  ${usageOf(step)} `);
    assertStringIncludes(text, `${lab.url.slice(0, -1)}${step.example}\n`);
    assertEquals(parseLabPath(step.example).some((planned) => planned.step === step), true, step.example);
  }
  assertEquals(text.split("\n").filter((line) => line.length > 80 && !line.includes("ws://")), []);
});

Deno.test("lab lists every step as JSON on request, also with 404", async () => {
  await using lab = await startLab();
  const headers = { accept: "application/json" };
  const listed = await (await fetch(httpUrl(lab.url), { headers })).json();
  const steps = Object.values(LAB_STEPS).flat();
  assertEquals(listed.steps.map(({ name }: { name: string }) => name), steps.map(({ name }) => name));
  const missing = await (await fetch(httpUrl(lab.url, "/nothing"), { headers })).json();
  assertEquals([missing.status, missing.error], [404, 'Segment 1, "nothing", is not a step']);
  assertEquals(missing.steps, listed.steps);
});

for (
  const [line, fields, status] of [
    ["GET /echo HTTP/1.1", { Upgrade: undefined }, 426],
    ["GET /echo HTTP/1.1", { "Sec-WebSocket-Version": "8" }, 426],
    ["GET / HTTP/1.1", { "Sec-WebSocket-Key": "short" }, 400],
    ["POST / HTTP/1.1", {}, 405],
    ["HEAD / HTTP/1.1", { Upgrade: undefined }, 200],
    ["GET / HTTP/1.0", {}, 400],
    ["GET / HTTP/1.1", { "X-Long": "x".repeat(17_000), Upgrade: undefined }, 200],
    ["not HTTP", {}, 400],
    ["GET / HTTP/1.1", { "no field": "" }, 400],
    ["GET / HTTP/1.1", { "X-Endless": "x".repeat(70_000) }, 431],
  ] as const
) {
  Deno.test(`lab answers ${line} with ${JSON.stringify(fields).slice(0, 40)} with ${status}`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    await socket.write(requestHead(fields, line));
    const [startLine] = new TextDecoder().decode(await socket.readToEnd()).split("\r\n");
    assertMatch(startLine ?? "", new RegExp(`^HTTP/1.1 ${status} `));
    socket.close();
  });
}
