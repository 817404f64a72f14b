/** The memory of the server over our own frames under attack, each in its own process. Linux only. */

import { assert } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { within } from "../../lib/net/deadline.ts";
import { standIns } from "../support/command.ts";
import { connectRaw, type RawSocket, requestHead } from "../support/raw_peer.ts";
import { frame, joined, WAIT } from "../support/wire.ts";

const MIB = 1024 * 1024;
const PEERS = 50;
/** The memory of all peers together, in bytes. */
const BUDGET_BYTES = 16 * MIB;

const letters = (bytes: number) => new Uint8Array(bytes).fill(97);
const repeated = (bytes: Uint8Array, count: number) => joined(...Array.from({ length: count }, () => bytes));
const more = (bytes: number) => frame(OPCODE.continuation, letters(bytes), { final: false });

/** The peak memory of a process so far, in MiB. */
async function peakOf(child: Deno.ChildProcess): Promise<number> {
  // Reading below /proc would need every permission.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${child.pid}/status`] }).output();
  const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout)) ?? [];
  return Number(kibibytes) / 1024;
}

async function onServer(options: unknown, test: (url: string, child: Deno.ChildProcess) => Promise<void>) {
  const script = new URL("../support/wire_process.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...standIns, "--allow-net", script, JSON.stringify(options), `${BUDGET_BYTES}`],
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  try {
    const { value } = await within(reader.read(), "port", WAIT);
    await test(`ws://127.0.0.1:${new TextDecoder().decode(value).trim()}/`, child);
  } finally {
    child.kill("SIGKILL");
    await reader.cancel();
    await child.status;
  }
}

/** The flood of each peer: it never reads, and stops after this many bytes, or when dropped. */
const FLOODS: readonly [what: string, begin: Uint8Array, again: Uint8Array, bytes: number, mostMib: number][] = [
  ["binary messages of 1 MiB", new Uint8Array(0), frame(OPCODE.binary, letters(MIB)), 32 * MIB, 128],
  ["text messages of 1 MiB", new Uint8Array(0), frame(OPCODE.text, letters(MIB)), 32 * MIB, 256],
  ["text in fragments without end", frame(OPCODE.text, "x", { final: false }), more(65_536), 8 * MIB, 256],
  [
    "fragments of one byte without end",
    frame(OPCODE.text, "x", { final: false }),
    repeated(more(1), 1000),
    MIB / 4,
    128,
  ],
  ["pings", new Uint8Array(0), repeated(frame(OPCODE.ping, letters(125)), 1000), 16 * MIB, 128],
];

for (const [what, begin, again, bytes, mostMib] of FLOODS) {
  Deno.test({
    name: `WireServer stays below ${mostMib} MiB when ${PEERS} peers send ${what} and never read`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      await onServer({}, async (url, child) => {
        await Promise.all(Array.from({ length: PEERS }, async () => {
          const socket = await connectRaw(url);
          await socket.write(requestHead());
          await within(socket.readHead(), "upgrade", WAIT);
          try {
            await socket.write(begin);
            for (let sent = 0; sent < bytes; sent += again.byteLength) await within(socket.write(again), "room", WAIT);
          } catch {
            // Dropped, as it should be.
          }
          socket.close();
        }));
        const peak = await peakOf(child);
        assert(peak < mostMib, `${peak} MiB`);
      });
    },
  });
}

Deno.test({
  name: "WireServer stays below 96 MiB with 1,000 connections that have no head, and 96 MiB with 500 that are silent",
  ignore: Deno.build.os !== "linux",
  async fn() {
    await onServer({ idleTimeoutMs: 0 }, async (url, child) => {
      const sockets: RawSocket[] = [];
      for (let count = 0; count < 1000; count++) {
        const socket = await connectRaw(url);
        sockets.push(socket);
        await socket.write("GET / HTTP/1.1\r\n");
      }
      const last = await connectRaw(url);
      await last.write(requestHead());
      await within(last.readHead(), "upgrade", WAIT);
      const halfOpen = await peakOf(child);
      assert(halfOpen < 96, `${halfOpen} MiB half open`);
      for (const socket of sockets.splice(500)) socket.close();
      for (const socket of sockets) {
        await socket.write(requestHead().replace("GET / HTTP/1.1\r\n", ""));
        await within(socket.readHead(), "upgrade", WAIT);
      }
      const silent = await peakOf(child);
      for (const socket of [last, ...sockets]) socket.close();
      assert(silent < 96, `${silent} MiB silent`);
    });
  },
});
