/**
 * Broken TLS streams against the server over our own frames. None may be wrongly accepted, end or hang the server, fail
 * an honest exchange, or make memory grow. Each stream has its own seed, which a finding names: `--count 1 --seed SEED`
 * repeats it.
 *
 *     deno task perf:fuzz:tls --count 3000
 */

import { messageOf } from "../../lib/protocol/error.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { sendTlsStream } from "../../tests/support/tls_streams.ts";
import { conclude, FLAGS, makePair, MAX_FINDINGS, readSettings, startTarget } from "./harness.ts";

const WAIT = { timeoutMs: 20_000 };
/** Concurrent streams. */
const AT_ONCE = 16;
/** Streams between two honest exchanges, with a look at the memory. */
const ROUND = 250;
/** The largest growth of memory after the first quarter. */
const MAX_GROWTH_MIB = 64;

/** An honest exchange; returns its fault. */
async function exchange(url: string, caCerts: string[]): Promise<string | undefined> {
  try {
    const connection = await openWire(url, { caCerts, ...WAIT });
    await connection.send("honest");
    const reply = await connection.receive(WAIT);
    const { received } = await connection.close(WAIT);
    if (reply !== "honest") return "another reply";
    return received?.code === 1000 ? undefined : "not closed with 1000";
  } catch (error) {
    return messageOf(error);
  }
}

async function main(args: readonly string[]): Promise<number> {
  const { count, seed } = readSettings(args, 3000);
  const pair = await makePair();
  const options = ["--transport", "wire", "--port", "0", "--log", "none", ...pair.args];
  const server = await startTarget("wire", ["run", ...FLAGS, "server.ts", ...options]);
  await pair.remove();
  const since = performance.now();
  const found: string[] = [];
  const memory: number[] = [];
  let next = seed;
  const sendSome = async (until: number) => {
    while (next < until && found.length < MAX_FINDINGS) {
      const number = next++;
      const problem = await sendTlsStream(server.port, number);
      if (problem !== undefined) found.push(`seed ${number}: ${problem}`);
    }
  };
  while (next < seed + count && found.length < MAX_FINDINGS && server.isAlive()) {
    const until = Math.min(seed + count, next + ROUND);
    await Promise.all(Array.from({ length: AT_ONCE }, () => sendSome(until)));
    const problem = await exchange(`wss://${server.hostname}:${server.port}/`, [pair.caCert]);
    if (problem !== undefined) found.push(`behind seed ${next - 1} the honest exchange fails: ${problem}`);
    if (server.isAlive()) memory.push(await server.residentMib());
  }
  const [atQuarter = 0, atEnd = 0] = [memory[memory.length >> 2], memory.at(-1)];
  console.log(`memory ${memory.map(Math.round).join(", ")} MiB`);
  if (atEnd > atQuarter + MAX_GROWTH_MIB) found.push("its memory grows");
  found.push(...await server.stop());
  return conclude("TLS streams", next - seed, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
