/** Pings before a proxy cuts a silent connection, mostly after 60 s. */

import { assert, assertEquals } from "@std/assert";
import { DEFAULT_IDLE_TIMEOUT_SECONDS } from "../../lib/server/policy.ts";
import { KEEP_ALIVE_INTERVAL_MS, keepAlive } from "../../lib/connection/keep_alive.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { outcomeOf, start } from "../support/command.ts";
import { rawPeer } from "../support/raw_peer.ts";

const PING = 9;
const PONG = 10;

/** Deadline of a test, in milliseconds. */
const WAIT = { timeoutMs: 10_000 };

/** A process whose intervals are a thousandth as long. */
const HURRIED = { permissions: ["--preload=tests/support/hurry.ts"] };

Deno.test("both ends ping within 30 s of silence by default", () => {
  assert(KEEP_ALIVE_INTERVAL_MS <= 30_000);
  // A server pings after half of the idle timeout.
  assert(DEFAULT_IDLE_TIMEOUT_SECONDS / 2 <= 30);
});

Deno.test("keepAlive() pings again and again by default", async () => {
  const opcodes: number[] = [];
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    while (opcodes.length < 3) {
      const { opcode, payload } = await socket.readFrame();
      if (opcodes.length > 0) await socket.frame(PONG, payload);
      opcodes.push(opcode);
    }
    await socket.closeFrame(1000);
    await socket.readFrame();
  });
  const connection = await openWire(peer.url);
  keepAlive(connection, 20);
  await peer.done;
  await connection.close(WAIT);
  // The first ping gets no answer.
  assertEquals(opcodes, [PING, PING, PING]);
});

Deno.test("keepAlive() does nothing, when the transport cannot ping", async () => {
  const opcodes: number[] = [];
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    opcodes.push((await socket.readFrame()).opcode);
    await socket.answerClose();
  });
  const connection = await openBuiltin(peer.url);
  keepAlive(connection, 1);
  await connection.send("x");
  await connection.close(WAIT);
  assertEquals(opcodes, [1]);
});

Deno.test("client -i pings over wire, when nobody sends a message", async () => {
  const opcodes: number[] = [];
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    opcodes.push((await socket.readFrame()).opcode);
    await child.stdin.close();
    for (let frame = await socket.readFrame(); frame.opcode !== 8; frame = await socket.readFrame());
    await socket.frame(8, Uint8Array.of(3, 232));
  });
  const child = start("main.ts", ["-i", "--transport", "wire", peer.url], { stdin: "piped", ...HURRIED });
  const { code, stderr } = await outcomeOf(child);
  assertEquals([opcodes, code], [[PING], 0], stderr);
});
