/** Every step of the lab, byte by byte, seen by a client written by hand. */

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import type { EchoClosed, EchoEvent, EchoOpened } from "../lib/echo_policy.ts";
import { isLoopback, serveLab, type ServeLabOptions } from "../lib/lab.ts";
import { LAB_STEPS, MAX_STEPS, parseLabPath } from "../lib/lab/program.ts";
import { usageOf } from "../lib/lab/step.ts";
import { outcomeOf, serverProcess, start } from "./support/command.ts";
import { BINARY, CLOSE, connectRaw, rawClient, type RawSocket, requestHead, TEXT } from "./support/raw_peer.ts";

const PING = 9;
const NORMAL = Uint8Array.of(0x03, 0xe8);
const HELLO = "Hello";

/** The echo of "Hello", and the answer to the client's close frame, as they should be. */
const ECHO = "8105 48656c6c6f";
const CLOSED = "8802 03e8";

/** A lab that notes what happens; dispose of it to stop it. */
async function startLab(options: ServeLabOptions = {}) {
  const opened = Promise.withResolvers<EchoOpened>();
  const closed = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: EchoEvent) => {
    if (event.type === "opened") opened.resolve(event);
    if (event.type === "closed") closed.resolve(event);
  };
  const lab = await serveLab({ port: 0, onEvent, ...options });
  return {
    ...lab,
    opened: opened.promise,
    closed: closed.promise,
    [Symbol.asyncDispose]: async () => void await lab.shutdown(),
  };
}

/** Asks for the upgrade at a path and gives the head of the answer. */
async function handshake(socket: RawSocket, path: string, fields: Record<string, string> = {}): Promise<string[]> {
  await socket.write(requestHead(fields, `GET ${path} HTTP/1.1`));
  return (await socket.readHead()).split("\r\n");
}

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
    assert(closed.error !== "");
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
    ["GET / HTTP/1.1", { "X-Long": "x".repeat(17_000) }, 400],
    ["not HTTP", {}, 400],
    ["GET / HTTP/1.1", { "no field": "" }, 400],
    ["GET / HTTP/1.1", { "X-Endless": "x".repeat(70_000) }, 400],
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
  const { received, sent, messages, bytes, error } = await lab.closed;
  assertEquals({ received, sent, messages, bytes, error }, {
    received: { code: 1000, reason: "" },
    sent: { code: 4000, reason: "enough" },
    messages: 1,
    bytes: 5,
    error: "",
  });
  socket.close();
});

Deno.test("lab says when the client vanishes", async () => {
  await using lab = await startLab();
  const socket = await rawClient(lab.url);
  socket.close();
  const { received, error } = await lab.closed;
  assertEquals(received, null);
  assertMatch(error, /^Client /);
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
  assertEquals((await lab.closed).error, "Connection is 1 s old");
  for (const socket of sockets) {
    await socket.readToEnd().catch(() => {});
    socket.close();
  }
});

Deno.test("lab drops a connection that comes while there are 256", async () => {
  await using lab = await startLab();
  const sockets = await Promise.all(Array.from({ length: 256 }, () => connectRaw(lab.url)));
  // Each of them has been taken once its answer is there.
  for (const socket of sockets) await handshake(socket, "/");
  const extra = await connectRaw(lab.url);
  assertEquals((await extra.readToEnd()).byteLength, 0);
  sockets[0]?.close();
  await lab.closed;
  for (const socket of [extra, ...sockets]) socket.close();
});

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
  const hosts = ["127.0.0.1", "127.255.0.9", "localhost", "::1", "0.0.0.0", "::", "192.168.0.1", "127.0.0.1.example"];
  assertEquals(hosts.map(isLoopback), [true, true, true, true, false, false, false, false]);
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
