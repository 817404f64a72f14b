/** Every step of the lab, byte by byte, with a client written by hand. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { handshake, startLab } from "../support/lab.ts";
import { BINARY, CLOSE, connectRaw, rawClient, requestHead, TEXT } from "../support/raw_peer.ts";

const PING = 9;
const NORMAL = Uint8Array.of(0x03, 0xe8);
const HELLO = "Hello";

/** The correct echo of "Hello", and the correct answer to the client's close frame. */
const ECHO = "8105 48656c6c6f";
const CLOSED = "8802 03e8";

/** A path, the client's messages before its close frame, and all received bytes. */
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
  // No steps, and messages.
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

  // Changes apply to later messages, first to payloads, then to frames, and combine.
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
  // Faults combine with other changes, and leave other frames alone.
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
  Deno.test(`lab answers ${sent} at ${path} with the right bytes`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [status] = await handshake(socket, path);
    assertEquals(status, "HTTP/1.1 101 Switching Protocols");
    for (const text of sends) await socket.frame(TEXT, text);
    // A connection that neither side closes ends when the client ends TCP.
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
  // The pong comes first: the message was incomplete at the ping.
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
    // The lab waits until the client gives up.
    await socket.closeWrite();
    assertEquals(new TextDecoder().decode(await socket.readToEnd()), seen);
    socket.close();
  });
}

// Strict checks of the lab.

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
