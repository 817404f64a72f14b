/**
 * Measures the client's two transports against each other, in turns within one run, against the same echo server in
 * another process: round trips of four sizes, and 1 GiB in parts of 1 MiB. Prints ratios.
 */

import { exchange } from "../lib/client/exchange.ts";
import { cut, randomBytes, SPLIT_WINDOW_BYTES } from "../lib/client/payload.ts";
import type { Message } from "../lib/protocol/message.ts";
import type { Connection, TransportName } from "../lib/connection/connection.ts";
import { openConnection } from "../lib/connection/open.ts";

const TRANSPORTS: readonly TransportName[] = ["builtin", "wire"];
const ROUNDS = 5;
const WAIT = { timeoutMs: 10_000 };

/** Sizes, and round trips per round: few of 4 KiB, as each takes the built-in WebSocket 44 ms. */
const SIZES: readonly [name: string, bytes: number, trips: number][] = [
  ["20 B", 20, 1000],
  ["4 KiB", 4096, 20],
  ["64 KiB", 65_536, 500],
  ["1 MiB", 1_048_576, 60],
];

async function msPerTrip(connection: Connection, message: Message, trips: number): Promise<number> {
  const from = performance.now();
  for (let trip = 0; trip < trips; trip++) {
    await connection.send(message, WAIT);
    await connection.receive(WAIT);
  }
  return (performance.now() - from) / trips;
}

async function msForGibibyte(url: string, transport: TransportName): Promise<number> {
  const pool: Uint8Array<ArrayBuffer>[] = [];
  const messages = cut(randomBytes(1024 ** 3), "binary", 1024 ** 2, pool);
  const onVerified = (message: Message) => void (typeof message !== "string" && pool.push(message));
  const report = await exchange(url, { transport, messages, windowBytes: SPLIT_WINDOW_BYTES, onVerified });
  if (!report.ok) throw new Error(report.problem);
  return report.ms;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** Measures both in turns, and prints the medians. */
async function compare(
  what: string,
  unit: string,
  measure: (transport: TransportName) => Promise<number>,
): Promise<void> {
  const times: Record<TransportName, number[]> = { builtin: [], wire: [] };
  for (let round = 0; round < ROUNDS; round++) {
    for (const transport of TRANSPORTS) times[transport].push(await measure(transport));
  }
  const [builtin, wire] = [median(times.builtin), median(times.wire)];
  const ratio = (builtin / wire).toFixed(2);
  console.log(
    `${what.padEnd(24)} builtin ${builtin.toFixed(3)} ${unit}, wire ${
      wire.toFixed(3)
    } ${unit}: wire ${ratio} times as fast`,
  );
}

const standIns = new TextDecoder()
  .decode(
    (await new Deno.Command(Deno.execPath(), { args: ["task", "-q", "std:flags"], stderr: "null" }).output()).stdout,
  )
  .split(/\s+/).filter(Boolean);
const server = new Deno.Command(Deno.execPath(), {
  args: ["run", ...standIns, "--allow-net", "server.ts", "--port", "0", "--quiet"],
  stdout: "piped",
}).spawn();
const reader = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
const [, url = ""] = /^Listening on (\S+)/.exec((await reader.read()).value ?? "") ?? [];
try {
  for (const [name, bytes, trips] of SIZES) {
    const open = { builtin: await openConnection(url, "builtin"), wire: await openConnection(url, "wire") };
    const message = new Uint8Array(bytes).fill(7);
    for (const transport of TRANSPORTS) await msPerTrip(open[transport], message, 5);
    await compare(`Round trip of ${name}`, "ms", (transport) => msPerTrip(open[transport], message, trips));
    for (const transport of TRANSPORTS) await open[transport].close(WAIT);
  }
  await compare("1 GiB in parts of 1 MiB", "ms", (transport) => msForGibibyte(url, transport));
} finally {
  server.kill();
  await reader.cancel();
  await server.status;
}
