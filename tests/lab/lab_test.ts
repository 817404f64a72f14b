/** Every step of the lab, byte by byte, seen by a client written by hand. */

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { EchoClosed, EchoEvent } from "../../lib/server/policy.ts";
import { fuzzLab } from "../../perf/fuzz/lab.ts";
import { describeAddr } from "../../lib/server/gatekeeper.ts";
import { handshakeRefusal, viewOf } from "../../lib/server/handshake_refusal.ts";
import { serveLab } from "../../lib/lab/lab.ts";
import { isLoopback } from "../../lib/server/allowed_host.ts";
import { LabLimitError, MessageTally } from "../../lib/lab/load.ts";
import { LAB_STEPS, MAX_STEPS, parseLabPath } from "../../lib/lab/program.ts";
import { usageOf } from "../../lib/lab/step.ts";
import { within } from "../../lib/net/deadline.ts";
import { outcomeOf, serverProcess, serverProcessWith, start } from "../support/command.ts";
import { handshake, startLab } from "../support/lab.ts";
import { BINARY, CLOSE, connectRaw, rawClient, type RawSocket, requestHead, TEXT } from "../support/raw_peer.ts";

const PING = 9;
const NORMAL = Uint8Array.of(0x03, 0xe8);
const HELLO = "Hello";

/** The echo of "Hello", and the answer to the client's close frame, as they should be. */
const ECHO = "8105 48656c6c6f";
const CLOSED = "8802 03e8";

/** A path, what the client sends besides its close frame, and all that comes back. */
interface Case {
  readonly path: string;
  /** Text messages; one by default. */
  readonly sends?: readonly string[];
  /** Whether the client closes; `true` by default. */
  readonly closes?: boolean;
  /** The bytes after the handshake, in hexadecimal. */
  readonly reads: string | RegExp;
}

const CASES: readonly Case[] = [
  // Without steps, and messages.
  { path: "/", reads: ECHO + CLOSED },
  { path: "/echo", sends: ["a", "b"], reads: "8101 61 8101 62" + CLOSED },
  { path: "/echo/1/greet/b", sends: ["a", "c"], reads: "8101 61 8101 62 8101 63" + CLOSED },
  { path: "/echo/1/mute", sends: ["a", "b"], reads: "8101 61" + CLOSED },
  { path: "/greet/%C3%A9%2Fx", sends: [], reads: "8104 c3a92f78" + CLOSED },
  { path: "/mute", sends: ["a", "b"], reads: CLOSED },
  { path: "/delay/1", sends: ["a", "b"], reads: "8101 61 8101 62" + CLOSED },
  { path: "/slow/1000", reads: ECHO + CLOSED },
  { path: "/unfinished", reads: "0105 48656c6c6f" + CLOSED },
  { path: "/fragment/2", reads: "0102 4865 0002 6c6c 8001 6f" + CLOSED },
  { path: "/fragment/5", reads: ECHO + CLOSED },
  { path: "/fragment/2", sends: [""], reads: "8100" + CLOSED },
  { path: "/split-utf8", sends: ["aé€"], reads: "0102 61c3 0002 a9e2 0001 82 8001 ac" + CLOSED },
  { path: "/interleave-ping", reads: "0103 48656c 8903 6c6162 8002 6c6f" + CLOSED },
  {
    path: "/fragment/2/interleave-ping",
    reads: "0102 4865 8903 6c6162 0002 6c6c 8903 6c6162 8001 6f" + CLOSED,
  },
  { path: "/corrupt", reads: "8105 48656c6c6e" + CLOSED },
  { path: "/corrupt", sends: ["é"], reads: "8102 c3a8" + CLOSED },
  { path: "/corrupt", sends: [""], reads: "8100" + CLOSED },
  { path: "/truncate/2", reads: "8102 4865" + CLOSED },
  { path: "/truncate/0", reads: "8100" + CLOSED },
  { path: "/extend/2", reads: "8107 48656c6c6f 7878" + CLOSED },
  { path: "/duplicate", reads: ECHO + ECHO + CLOSED },
  { path: "/swap-kind", reads: "8205 48656c6c6f" + CLOSED },
  { path: "/reorder", sends: ["a", "b", "c"], reads: "8101 62 8101 61" + CLOSED },
  { path: "/flood/2", sends: [], reads: `827e0400 ${"00".repeat(1024)}`.repeat(2) + CLOSED },

  // Shapes hold for what is sent after them, the payload first and then the frames, and go together.
  { path: "/echo/1/corrupt", sends: ["a", "a"], reads: "8101 61 8101 60" + CLOSED },
  { path: "/fragment/1/greet/ab", sends: [], reads: "0101 61 8001 62" + CLOSED },
  { path: "/fragment/1/truncate/2/duplicate", reads: "0101 48 8001 65".repeat(2) + CLOSED },

  // Faults in frames.
  { path: "/masked", reads: /^8185[0-9a-f]{18}88020?3e8$/ },
  { path: "/rsv/1", reads: "c105 48656c6c6f" + CLOSED },
  { path: "/rsv/2", reads: "a105 48656c6c6f" + CLOSED },
  { path: "/rsv/3", reads: "9105 48656c6c6f" + CLOSED },
  { path: "/opcode/3", reads: "8305 48656c6c6f" + CLOSED },
  { path: "/opcode/15/fragment/3", reads: "8f05 48656c6c6f" + CLOSED },
  { path: "/non-minimal", reads: "817e0005 48656c6c6f" + CLOSED },
  { path: "/extend/121/non-minimal", reads: `817f000000000000007e 48656c6c6f ${"78".repeat(121)}` + CLOSED },
  { path: "/bad-utf8", reads: "8106 48656c6c6f ff" + CLOSED },
  { path: "/stray-continuation", reads: "8005 48656c6c6f" + CLOSED },
  { path: "/restart", reads: "0102 4865 8105 48656c6c6f" + CLOSED },
  { path: "/big-control", reads: `897e007e ${"00".repeat(126)}` + ECHO + CLOSED },
  { path: "/fragmented-control", reads: "0902 0000" + ECHO + CLOSED },
  { path: "/ping-flood/3", reads: "8901 31 8901 32 8901 33" + ECHO + CLOSED },
  // They go together with the other shapes, and leave alone what they do not mean.
  { path: "/fragment/3/opcode/4", reads: "0403 48656c 8002 6c6f" + CLOSED },
  { path: "/fragment/3/restart", reads: "0101 48 0103 48656c 8002 6c6f" + CLOSED },
  { path: "/interleave-ping/stray-continuation", reads: "0003 48656c 8903 6c6162 8002 6c6f" + CLOSED },
  { path: "/interleave-ping/unfinished", reads: "0103 48656c 8903 6c6162 0002 6c6f" + CLOSED },
  { path: "/fragmented-control/interleave-ping", reads: "0902 0000 0103 48656c 8903 6c6162 8002 6c6f" + CLOSED },
  { path: "/extend/65535/non-minimal", sends: ["a"], reads: `817f0000000000010000 61${"78".repeat(65_535)}` + CLOSED },

  // The end.
  { path: "/close/1001/by%20e", sends: [], reads: "8806 03e9 62792065" },
  { path: "/close/1005", sends: [], reads: "8802 03ed" },
  { path: "/echo/1/close/1000/", reads: ECHO + CLOSED },
  { path: "/close-empty", sends: [], reads: "8800" },
  { path: "/close-byte", sends: [], reads: "8801 03" },
  { path: "/close-bad-utf8", sends: [], reads: "8803 03e8 ff" },
  { path: "/close-long", sends: [], reads: `887e007e 03e8 ${"78".repeat(124)}` },
  { path: "/answer-close/1011/oops", reads: ECHO + "8806 03f3 6f6f7073" },
  { path: "/echo/answer-close/65535", reads: ECHO + "8802 ffff" },
  { path: "/ignore-close", closes: false, reads: ECHO },
  { path: "/drop-on-close", reads: ECHO },
  { path: "/late-close/1", reads: ECHO + CLOSED },
  { path: "/data-after-close", reads: ECHO + CLOSED + "810f 61667465722074686520636c6f7365" },
  { path: "/drop", sends: [], closes: false, reads: "" },
  { path: "/echo/1/drop", closes: false, reads: ECHO },
  { path: "/drop-mid-message", closes: false, reads: "8105 4865" },
];

for (const { path, sends = [HELLO], closes = true, reads } of CASES) {
  const sent = [...sends.map((text) => `"${text}"`), ...(closes ? ["a close frame"] : [])].join(", ") || "nothing";
  Deno.test(`lab answers ${sent} at ${path} with the bytes that it should`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [status] = await handshake(socket, path);
    assertEquals(status, "HTTP/1.1 101 Switching Protocols");
    for (const text of sends) await socket.frame(TEXT, text);
    // A connection that neither side closes ends when the client ends it.
    if (closes) await socket.frame(CLOSE, NORMAL);
    else await socket.closeWrite();
    const bytes = (await socket.readToEnd()).toHex();
    if (typeof reads === "string") assertEquals(bytes, reads.replaceAll(" ", ""));
    else assertMatch(bytes, reads);
    socket.close();
  });
}

Deno.test("lab at /masked masks with the key that it sends", async () => {
  await using lab = await startLab();
  const socket = await rawClient(`${lab.url}masked`);
  await socket.frame(TEXT, HELLO);
  assertEquals(new TextDecoder().decode((await socket.readFrame()).payload), HELLO);
  socket.close();
});

Deno.test("lab at /ignore-close keeps the connection after the client's close frame", async () => {
  await using lab = await startLab();
  const socket = await rawClient(`${lab.url}ignore-close`);
  await socket.frame(CLOSE, NORMAL);
  await socket.frame(TEXT, HELLO);
  await socket.closeWrite();
  assertEquals((await socket.readToEnd()).byteLength, 0);
  assertEquals((await lab.closed).received, { code: 1000, reason: "" });
  socket.close();
});

Deno.test("lab at /reset resets the connection when the client sends something", async () => {
  await using lab = await startLab();
  const socket = await rawClient(`${lab.url}reset`);
  await socket.frame(TEXT, HELLO);
  await assertRejects(() => socket.readToEnd(), Deno.errors.ConnectionReset);
  socket.close();
});

Deno.test("lab echoes binary as binary, and fragments as one message", async () => {
  await using lab = await startLab();
  const socket = await rawClient(lab.url);
  await socket.frame(BINARY, "ab", 0);
  await socket.frame(PING, "x");
  await socket.frame(0, "c");
  await socket.frame(CLOSE);
  // The pong comes first: the message was not complete when the ping came.
  assertEquals((await socket.readToEnd()).toHex(), "8a0178" + "8203616263" + "8800");
  socket.close();
});

// The handshake.

const ANSWER = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
const ACCEPT = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

for (
  const [path, fields, head] of [
    ["/", {}, [...ANSWER, ACCEPT]],
    ["/", { "Sec-WebSocket-Protocol": "chat, soap" }, [...ANSWER, ACCEPT, "Sec-WebSocket-Protocol: chat"]],
    ["/refuse/403", {}, ["HTTP/1.1 403 Forbidden", "Content-Length: 0", "Connection: close"]],
    ["/refuse/599", {}, ["HTTP/1.1 599 ", "Content-Length: 0", "Connection: close"]],
    ["/garbage", {}, ["\0\u{fffd} garbage"]],
    ["/bad-accept", {}, [...ANSWER, "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="]],
    ["/no-accept", {}, ANSWER],
    ["/wrong-protocol", { "Sec-WebSocket-Protocol": "chat" }, [...ANSWER, ACCEPT, "Sec-WebSocket-Protocol: wrong"]],
    ["/unasked-protocol", {}, [...ANSWER, ACCEPT, "Sec-WebSocket-Protocol: unasked"]],
    ["/unasked-extension", {}, [...ANSWER, ACCEPT, "Sec-WebSocket-Extensions: x-unasked"]],
    ["/slow-head/1", {}, [...ANSWER, ACCEPT]],
    ["/no-accept/slow-head/1/wrong-protocol", {}, [...ANSWER, "Sec-WebSocket-Protocol: wrong"]],
  ] as const
) {
  Deno.test(`lab answers the handshake at ${path} ${JSON.stringify(fields)} as its steps say`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    assertEquals(await handshake(socket, path, fields), [...head]);
    if (head[0]?.includes(" 101 ")) await socket.frame(CLOSE, NORMAL);
    const rest = (await socket.readToEnd()).toHex();
    assertEquals(rest, head[0]?.includes(" 101 ") ? CLOSED.replace(" ", "") : "");
    socket.close();
  });
}

for (
  const [path, seen] of [
    ["/silent", ""],
    ["/half", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection"],
  ] as const
) {
  Deno.test(`lab at ${path} sends ${JSON.stringify(seen)} and waits`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    await socket.write(requestHead({}, `GET ${path} HTTP/1.1`));
    assertEquals((await lab.opened).path, path);
    // It waits until the client gives up.
    await socket.closeWrite();
    assertEquals(new TextDecoder().decode(await socket.readToEnd()), seen);
    socket.close();
  });
}

// What the lab is strict about.

for (
  const [does, firstByte, opcode, payload, closes] of [
    ["sends text that is not UTF-8", 0x80, TEXT, Uint8Array.of(0xff), "03ef"],
    ["sets a reserved bit", 0xc0, TEXT, HELLO, "03ea"],
    ["uses an opcode that is not defined", 0x80, 3, HELLO, "03ea"],
    ["continues what has not begun", 0x80, 0, HELLO, "03ea"],
    ["closes with a code that must not be sent", 0x80, CLOSE, Uint8Array.of(0x03, 0xee), "03ea"],
  ] as const
) {
  Deno.test(`lab closes with the code for it when the client ${does}`, async () => {
    await using lab = await startLab();
    const socket = await rawClient(lab.url);
    await socket.frame(opcode, payload, firstByte);
    const frame = await socket.readFrame();
    assertEquals([frame.opcode, frame.payload.slice(0, 2).toHex()], [CLOSE, closes]);
    socket.close();
    const closed = await lab.closed;
    assertEquals(closed.sent?.code, parseInt(closes, 16));
    assert(closed.detail !== "");
  });
}

Deno.test("lab closes with 1002 when the client does not mask", async () => {
  await using lab = await startLab();
  const socket = await rawClient(lab.url);
  await socket.write(Uint8Array.of(0x81, 0x01, 0x61));
  assertEquals((await socket.readFrame()).payload.slice(0, 2).toHex(), "03ea");
  socket.close();
});

Deno.test("lab closes with 1009 at a message over 16 MiB, before it has come", async () => {
  await using lab = await startLab();
  const socket = await rawClient(lab.url);
  await socket.write(Uint8Array.of(0x82, 0xff, 0, 0, 0, 0, 0x01, 0, 0, 0x01, 0, 0, 0, 0));
  assertEquals((await socket.readFrame()).payload.slice(0, 2).toHex(), "03f1");
  socket.close();
});

// Paths that are no program.

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
    ["/late-close/1/ignore-close", 'Segment 3, "ignore-close", is the second step that meets the close frame'],
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

function httpUrl(url: string, path = "/"): URL {
  return new URL(path, url.replace("ws:", "http:"));
}

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
});

Deno.test("lab lists every step as JSON where that is wanted, also with 404", async () => {
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

// The lab as a server.

Deno.test("lab reports what opened and how it ended, as the echo server does", async () => {
  await using lab = await startLab();
  const socket = await connectRaw(lab.url);
  await handshake(socket, "/echo/1/close/4000/enough?x=1", { "Sec-WebSocket-Protocol": "chat" });
  await socket.frame(TEXT, HELLO);
  await socket.frame(CLOSE, NORMAL);
  await socket.readToEnd();
  const { peer, ...opened } = await lab.opened;
  assertMatch(peer, /^127\.0\.0\.1:\d+$/);
  assertEquals(opened, { type: "opened", id: 1, path: "/echo/1/close/4000/enough?x=1", protocol: "chat" });
  const { received, sent, messages, bytes, detail } = await lab.closed;
  assertEquals({ received, sent, messages, bytes, detail }, {
    received: { code: 1000, reason: "" },
    sent: { code: 4000, reason: "enough" },
    messages: 1,
    bytes: 5,
    detail: "",
  });
  socket.close();
});

Deno.test("lab says when the client vanishes", async () => {
  await using lab = await startLab();
  const socket = await rawClient(lab.url);
  socket.close();
  const { received, detail } = await lab.closed;
  assertEquals(received, null);
  assertMatch(detail, /^Client /);
});

Deno.test("lab drops a connection when its time is up, whatever it does", async () => {
  await using lab = await startLab({ maxConnectionMs: 1000 });
  const sockets = [];
  for (const path of ["silent", "mute", "delay/60000", "flood/1000000", "slow/1"]) {
    const socket = await connectRaw(lab.url);
    // On a busy machine the time may be up by then.
    await socket.write(requestHead({}, `GET /${path} HTTP/1.1`)).catch(() => {});
    await socket.frame(TEXT, HELLO).catch(() => {});
    sockets.push(socket);
  }
  assertEquals((await lab.closed).detail, "Connection is 1 s old");
  for (const socket of sockets) {
    await socket.readToEnd().catch(() => {});
    socket.close();
  }
});

Deno.test("lab answers 503 to a connection that comes while there are 256", async () => {
  await using lab = await startLab();
  const sockets = await Promise.all(Array.from({ length: 256 }, () => connectRaw(lab.url)));
  // Each of them has been taken once its answer is there.
  for (const socket of sockets) await handshake(socket, "/");
  const extra = await connectRaw(lab.url);
  const answer = new TextDecoder().decode(await extra.readToEnd());
  assertMatch(answer, /^HTTP\/1\.1 503 [^]*The lab has as many connections as it takes: 256\.\n$/);
  sockets[0]?.close();
  await lab.closed;
  for (const socket of [extra, ...sockets]) socket.close();
});

// The bounds of the lab.

Deno.test("parseLabPath() takes programs that reach the bounds and do not pass them", () => {
  for (
    const path of [
      "/duplicate".repeat(20) + "/greet/x",
      "/restart".repeat(20) + "/greet/x",
      "/extend/1048576/greet/x",
      "/extend/524288/extend/524288",
      "/ping-flood/100000".repeat(10),
      "/flood/1000000/greet/x/mute",
      "/fragment/1/greet/x",
      "/opcode/11/extend/1048576/fragment/1/greet/x",
      "/stray-continuation" + "/restart".repeat(31),
    ]
  ) parseLabPath(path);
});

Deno.test("MessageTally counts 2^20 frames and 64 MiB, and refuses one more", () => {
  const [frames, bytes] = [new MessageTally(), new MessageTally()];
  for (let made = 0; made < 1_048_576; made++) frames.add(0);
  assertThrows(() => frames.add(0), LabLimitError, "Steps make more than 1048576 frames of one message");
  bytes.add(64 * MIB);
  bytes.add(0);
  assertThrows(() => bytes.add(1), LabLimitError, "Steps make more than 67108864 bytes of one message");
});

Deno.test("lab closes with 1009 when the steps would make more than 64 MiB of a message", async () => {
  await using lab = await startLab();
  const socket = await connectRaw(lab.url);
  await handshake(socket, "/duplicate/duplicate/duplicate");
  const forgotten = discard(socket);
  await socket.frame(BINARY, new Uint8Array(9 * MIB));
  assertEquals((await lab.closed).sent, { code: 1009, reason: "Steps make more than 67108864 bytes of one message" });
  socket.close();
  await forgotten;
});

const MIB = 1024 * 1024;

async function discard(socket: RawSocket): Promise<void> {
  await socket.forget().catch(() => {});
}

Deno.test("lab closes the connection that holds the most with 1013 when all hold more than 128 MiB", async () => {
  const shed = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: EchoEvent) => {
    if (event.type === "closed" && event.sent?.code === 1013) shed.resolve(event);
  };
  const lab = await serveLab({ port: 0, onEvent });
  // Each message but the last byte is held, until the budget is spent.
  const message = new Uint8Array(14 + 15 * MIB);
  message.set([0x82, 0xff, 0, 0, 0, 0, 0x01, 0, 0, 0]);
  const sockets = [];
  for (let made = 0; made < 10; made++) {
    const socket = await rawClient(lab.url);
    sockets.push(socket);
    socket.write(message).catch(() => {});
  }
  assertMatch((await shed.promise).sent?.reason ?? "", /^Connections of the lab hold too much together/);
  await lab.shutdown();
  for (const socket of sockets) socket.close();
});

for (
  const [what, path, bytes] of [
    ["a flood of empty messages to /echo", "/echo", "828012345678"],
    ["a flood of empty messages to /mute", "/mute", "828012345678"],
    ["a flood of pings", "/echo", "898012345678"],
    ["a flood of one-byte fragments", "/mute", "02811234567800" + "008112345678ff" + "808012345678"],
    ["many copies of a message", `/truncate/0/${"duplicate/".repeat(20)}greet/x`, ""],
    ["many beginnings of a message", `/${"restart/".repeat(19)}greet/x`, ""],
    ["a flood of the lab's own", "/flood/1000000", ""],
    ["pings of the lab's own", "/ping-flood/100000".repeat(10), ""],
  ] as const
) {
  Deno.test(`lab answers others and sees the time, whatever ${what} it is busy with`, async () => {
    await using lab = await startLab({ maxConnectionMs: 1000 });
    const socket = await connectRaw(lab.url);
    await handshake(socket, path);
    const forgotten = discard(socket);
    const unit = Uint8Array.fromHex(bytes);
    const flood = new Uint8Array(20_000 * unit.byteLength);
    for (let at = 0; at < flood.byteLength; at += unit.byteLength) flood.set(unit, at);
    const sending = (async () => {
      while (flood.byteLength > 0) await socket.write(flood);
    })().catch(() => {});
    const answer = await fetch(httpUrl(lab.url), { signal: AbortSignal.timeout(20_000) });
    assertEquals(answer.status, 200);
    await answer.body?.cancel();
    const { detail } = await lab.closed;
    if (bytes !== "") assertEquals(detail, "Connection is 1 s old");
    socket.close();
    await Promise.all([forgotten, sending]);
  });
}

// Who may come.

for (
  const [fields, status] of [
    [{ Host: "localhost:6455" }, 101],
    [{ Host: "127.9.9.9" }, 101],
    [{ Host: "[::1]:80" }, 101],
    [{ Host: "example.com" }, 403],
    [{ Host: "127.0.0.1.example" }, 403],
    [{ Host: "localhost.example:80" }, 403],
    [{ Host: "192.168.0.1" }, 403],
    [{ Host: "[::1" }, 400],
    [{ Host: "a:99999" }, 400],
    [{ Host: "<script>" }, 400],
    [{ Host: "" }, 400],
    [{ Host: undefined }, 400],
    [{ Origin: "http://localhost:3000" }, 101],
    [{ Origin: "https://127.0.0.1" }, 101],
    [{ Origin: "http://[::1]:8000" }, 101],
    [{ Origin: "https://app.example" }, 403],
    [{ Origin: "https://localhost.app.example" }, 403],
    [{ Origin: "null" }, 403],
    [{ Origin: "" }, 403],
  ] as const
) {
  Deno.test(`lab answers a request with ${JSON.stringify(fields)} with ${status}`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [startLine] = await handshake(socket, "/", fields);
    assertMatch(startLine ?? "", new RegExp(`^HTTP/1.1 ${status} `));
    await socket.closeWrite();
    const rest = new TextDecoder().decode(await socket.readToEnd());
    if (status === 403) assertMatch(rest, /^The field (Host|Origin) does not name this machine: .* --lab-public\.\n$/);
    socket.close();
  });
}

Deno.test("lab with isPublic takes any Host and Origin", async () => {
  await using lab = await startLab({ isPublic: true });
  const socket = await connectRaw(lab.url);
  const [startLine] = await handshake(socket, "/", { Host: "lab.example", Origin: "https://app.example" });
  assertEquals(startLine, "HTTP/1.1 101 Switching Protocols");
  socket.close();
});

for (const length of ["0x0", "-0", "+0", "", "0, 0", "1", "0"]) {
  Deno.test(`lab judges the Content-Length ${JSON.stringify(length)} of an upgrade as the gatekeeper does`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [startLine] = await handshake(socket, "/", { "Content-Length": length });
    const headers = [...requestHead({ "Content-Length": length }).matchAll(/^([\w-]+): (.*)$/gm)];
    const request = new Request("http://lab/", {
      headers: headers.map(([, name = "", value = ""]) => [name, value.trim()]),
    });
    assertMatch(startLine ?? "", new RegExp(`^HTTP/1.1 ${handshakeRefusal(viewOf(request))?.status ?? 101} `));
    socket.close();
  });
}

Deno.test({
  name: "lab tells the address of an IPv6 peer as the echo server does",
  ignore: !await hasIpv6(),
  fn: async () => {
    await using lab = await startLab({ hostname: "::1" });
    const connection = await Deno.connect({ hostname: "::1", port: Number(new URL(lab.url).port) });
    await connection.write(new TextEncoder().encode(requestHead({ Host: "[::1]" })));
    assertEquals((await lab.opened).peer, describeAddr(connection.localAddr));
    connection.close();
  },
});

async function hasIpv6(): Promise<boolean> {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return await Promise.resolve(false);
  }
}

Deno.test({
  name: "server --lab takes connections again after a lack of descriptors, and says so in the log",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    // The runtime reads this file in the background, and warns when it finds no descriptor.
    const env = { NODE_EXTRA_CA_CERTS: "" };
    await using server = await serverProcessWith({ descriptors: 60, env }, "--lab", "--log", "json");
    const sockets: RawSocket[] = [];
    while (sockets.length < 100) {
      const socket = await connectRaw(server.url);
      sockets.push(socket);
      // Those that are taken ask for all that there is, so that nothing is loaded for the first time without a descriptor.
      await socket.write(sockets.length % 2 === 0 ? "GET / HT" : requestHead({ Upgrade: undefined }, "GET / HTTP/1.1"));
    }
    const troubled = async () => {
      while (JSON.parse(await server.nextLine()).type !== "trouble");
    };
    await within(troubled(), "word of the trouble", { timeoutMs: 60_000 });
    for (const socket of sockets) socket.close();
    for (let isServed = false; !isServed;) {
      const signal = AbortSignal.timeout(20_000);
      isServed = await fetch(httpUrl(server.url), { signal }).then(async (answer) => (await answer.text()) !== "")
        .catch(() => false);
    }
    server.child.kill("SIGTERM");
    assertEquals(await server.ended(), { code: 0, stderr: "" });
  },
});

Deno.test("lab stays within its rules for 200 random programs, also with clients that flood or leave", async () => {
  let [opened, closed] = [0, 0];
  const onEvent = ({ type }: EchoEvent) => void (type === "opened" ? opened++ : type === "closed" ? closed++ : 0);
  const lab = await serveLab({ port: 0, onEvent });
  const { findings, counts } = await fuzzLab(lab.url, { count: 200, seed: 1 });
  await lab.shutdown();
  assertEquals(findings, []);
  assertEquals([...counts.values()].reduce((sum, count) => sum + count), 200);
  assertEquals(closed, opened);
});

for (
  const [what, request, floods] of [
    ["that never finish their head", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n", false],
    ["that never read", requestHead({}, "GET /flood/1000000 HTTP/1.1"), false],
    ["that never read and flood", requestHead({}, "GET /echo HTTP/1.1"), true],
    ["of messages that wait", requestHead({}, "GET /delay/60000 HTTP/1.1"), true],
    ["that flood what is not answered", requestHead({}, "GET /mute HTTP/1.1"), true],
  ] as const
) {
  // Those that have much to send take time of this very process.
  const count = floods ? 8 : request.includes("flood") ? 64 : 256;
  Deno.test(`shutdown() ends ${count} connections ${what} before its deadline`, async () => {
    const lab = await serveLab({ port: 0 });
    const sockets: RawSocket[] = [];
    const sending: Promise<void>[] = [];
    const message = Uint8Array.fromHex("82fe0400" + "12345678" + "00".repeat(1024));
    for (let made = 0; made < count; made++) {
      const socket = await connectRaw(lab.url);
      sockets.push(socket);
      await socket.write(request);
      if (request.includes("/delay") || request.includes("/echo")) await socket.readHead();
      if (floods) {
        sending.push(
          (async () => {
            while (true) await socket.write(message);
          })().catch(() => {}),
        );
      }
    }
    assertEquals(await within(lab.shutdown({ timeoutMs: 20_000 }), "shutdown", { timeoutMs: 20_000 }), 0);
    await assertRejects(() => connectRaw(lab.url), Deno.errors.ConnectionRefused);
    for (const socket of sockets) socket.close();
    await Promise.all(sending);
  });
}

Deno.test("shutdown() ends every connection of the lab, also one that does not read, and gives 0", async () => {
  const lab = await serveLab({ port: 0 });
  const sockets = [];
  for (const path of ["silent", "mute", "delay/60000", "flood/1000000"]) {
    const socket = await connectRaw(lab.url);
    await socket.write(requestHead({}, `GET /${path} HTTP/1.1`));
    if (path !== "silent") await socket.readHead();
    sockets.push(socket);
  }
  assertEquals(await lab.shutdown(), 0);
  await assertRejects(() => connectRaw(lab.url), Deno.errors.ConnectionRefused);
  for (const socket of sockets) socket.close();
});

Deno.test("isLoopback() knows the addresses that only this machine reaches", () => {
  const own = ["127.0.0.1", "127.255.0.9", "localhost", "::1"];
  const others = ["0.0.0.0", "::", "192.168.0.1", "127.0.0.1.example", "127.999.0.1", "127.0.0.256"];
  assertEquals([own.every(isLoopback), others.some(isLoopback)], [true, false]);
});

// The command line.

Deno.test("server --lab serves the lab, and logs as the echo server does", async () => {
  await using server = await serverProcess("--lab");
  const socket = await rawClient(`${server.url}close/4000/bye`);
  await socket.frame(CLOSE, NORMAL);
  await socket.readToEnd();
  socket.close();
  assertMatch(await server.nextLine(), /^\S+Z #1 opened by 127\.0\.0\.1:\d+ for "\/close\/4000\/bye"$/);
  assertMatch(
    await server.nextLine(),
    /^\S+Z #1 closed: 1000 \(normal closure\), after our 4000 \(private use\), reason "bye"; 0 messages, 0 bytes in /,
  );
  if (Deno.build.os === "windows") return;
  server.child.kill("SIGTERM");
  assertEquals(await server.ended(), { code: 0, stderr: "" });
});

for (
  const [args, code, line] of [
    [
      ["--lab", "--host", "0.0.0.0"],
      2,
      'Option --host cannot be "0.0.0.0" with --lab: it is not a loopback address; to insist add --lab-public',
    ],
    [["--lab", "--host", "127.999.0.1"], 2, 'Option --host cannot be "127.999.0.1" with --lab: it is not a loopback'],
    [["--lab", "--host", "a/b"], 2, 'Option --host cannot be "a/b" with --lab: it is not a loopback address'],
    [["--lab", "--host", ""], 2, 'Option --host cannot be "": give an address or a name'],
    [["--lab", "--port", "70000"], 2, 'Option --port cannot be "70000": give a whole number from 0 to 65535'],
    [["--lab", "--log", "x"], 2, 'Option --log cannot be "x": give text, json or none'],
    [["--lab", "--lab-public=yes"], 2, 'Option --lab-public takes no value: leave out "yes"'],
    [["--lab", "echo"], 2, 'The server takes no operand: leave out "echo"'],
    [["--lab-public"], 2, "Option --lab-public belongs to --lab: give both"],
    [["--lab", "--transport", "wire"], 2, "Option --transport does not go with --lab: leave it out"],
    [["--lab", "--max-message", "1"], 2, "Option --max-message does not go with --lab: leave it out"],
    [["--lab", "--lab-public", "--host", "192.0.2.1"], 1, 'Cannot listen on host "192.0.2.1", port 0: '],
  ] as const
) {
  Deno.test(`server says in one line what is wrong with ${args.join(" ")}, and exits with ${code}`, async () => {
    const outcome = await outcomeOf(start("server.ts", ["--port", "0", ...args]));
    assertEquals([outcome.code, outcome.stdout], [code, ""]);
    assertMatch(outcome.stderr, /^wsproof: .*\n$/);
    assertStringIncludes(outcome.stderr, `wsproof: ${line}`);
  });
}

Deno.test("serveLab() says that the port is taken", async () => {
  await using lab = await startLab();
  const port = Number(new URL(lab.url).port);
  await assertRejects(
    () => serveLab({ port }),
    Error,
    `Cannot listen on host "127.0.0.1", port ${port}: it is taken; use --port with another, or 0`,
  );
});
