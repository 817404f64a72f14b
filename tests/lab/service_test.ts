/** The lab as a server: its events, bounds, turns and end. */

import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import type { EchoClosed, EchoEvent } from "../../lib/server/policy.ts";
import { fuzzLab } from "../../perf/fuzz/lab.ts";
import { serveLab } from "../../lib/lab/lab.ts";
import { LabLimitError, MessageTally } from "../../lib/lab/load.ts";
import { parseLabPath } from "../../lib/lab/program.ts";
import { within } from "../../lib/net/deadline.ts";
import { serverProcessWith } from "../support/command.ts";
import { handshake, httpUrl, startLab } from "../support/lab.ts";
import { BINARY, CLOSE, connectRaw, rawClient, type RawSocket, requestHead, TEXT } from "../support/raw_peer.ts";

const NORMAL = Uint8Array.of(0x03, 0xe8);
const HELLO = "Hello";

// The lab as a server.

Deno.test("lab reports what opened and how it ended, as the echo server does", async () => {
  await using lab = await startLab();
  const socket = await connectRaw(lab.url);
  await handshake(socket, "/echo/1/close/4000/enough?x=1", { "Sec-WebSocket-Protocol": "chat" });
  await socket.frame(TEXT, HELLO);
  // An earlier close frame of the client would be answered as usual.
  assertEquals((await socket.readFrame()).opcode, TEXT);
  assertEquals((await socket.readFrame()).opcode, CLOSE);
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

Deno.test("lab drops any connection when its time is up", async () => {
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

Deno.test("lab answers 503 to a connection beyond 256", async () => {
  await using lab = await startLab();
  const sockets = await Promise.all(Array.from({ length: 256 }, () => connectRaw(lab.url)));
  // An answer shows that its connection was accepted.
  for (const socket of sockets) await handshake(socket, "/");
  const extra = await connectRaw(lab.url);
  const answer = new TextDecoder().decode(await extra.readToEnd());
  assertMatch(answer, /^HTTP\/1\.1 503 [^]*The lab has reached its limit of 256 connections\.\n$/);
  sockets[0]?.close();
  await lab.closed;
  for (const socket of [extra, ...sockets]) socket.close();
});

// The bounds of the lab.

Deno.test("parseLabPath() accepts programs up to the limits, and no further", () => {
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

Deno.test("lab closes the largest connection with 1013 when all hold more than 128 MiB", async () => {
  const shed = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: EchoEvent) => {
    if (event.type === "closed" && event.sent?.code === 1013) shed.resolve(event);
  };
  const lab = await serveLab({ port: 0, onEvent });
  // Each message is buffered without its last byte, until the budget is spent.
  const message = new Uint8Array(14 + 15 * MIB);
  message.set([0x82, 0xff, 0, 0, 0, 0, 0x01, 0, 0, 0]);
  const sockets = [];
  for (let made = 0; made < 10; made++) {
    const socket = await rawClient(lab.url);
    sockets.push(socket);
    socket.write(message).catch(() => {});
  }
  assertMatch((await shed.promise).sent?.reason ?? "", /^The lab's connections hold too much data/);
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
  Deno.test(`lab answers others and keeps its deadlines while it is busy with ${what}`, async () => {
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

Deno.test({
  name: "server --lab accepts connections again after a lack of descriptors, and logs it",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    // The runtime reads this file in the background, and warns if it finds no descriptor.
    const env = { NODE_EXTRA_CA_CERTS: "" };
    await using server = await serverProcessWith({ descriptors: 60, env }, "--lab", "--log", "json");
    const sockets: RawSocket[] = [];
    while (sockets.length < 100) {
      const socket = await connectRaw(server.url);
      sockets.push(socket);
      // The accepted connections use every feature, so that nothing loads for the first time without a descriptor.
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
  // Peers with much to send use this very process's time.
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

Deno.test("shutdown() ends every connection of the lab, also one that does not read, and returns 0", async () => {
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
