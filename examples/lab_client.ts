/**
 * A harness for Autobahn's fuzzing server, or the lab: runs every case over this project's client, and echoes.
 *
 *   wsproof lab --port 0 --run "deno run -A examples/lab_client.ts"
 */

import { type Connection, ConnectionClosedError, openConnection, OpenError } from "../mod.ts";
import { ProtocolError } from "../lib/protocol/mod.ts";

const base = new URL(Deno.env.get("WSPROOF_LAB_URL") ?? "ws://127.0.0.1:9001/");
const agent = Deno.env.get("AGENT") ?? "wsproof-wire";

function open(path: string): Promise<Connection> {
  return openConnection(new URL(path, base), "wire", { deflate: { clientMaxWindowBits: true } });
}

async function ask(path: string): Promise<unknown> {
  const connection = await open(path);
  const answer = await connection.receive({ timeoutMs: 10_000 });
  await connection.close();
  return JSON.parse(String(answer));
}

async function runCase(number: number): Promise<void> {
  try {
    const connection = await open(`/runCase?case=${number}&agent=${agent}`);
    // Echoes until the server closes, or breaks a rule.
    while (true) await connection.send(await connection.receive({ timeoutMs: 60_000 }));
  } catch (error) {
    if (![ConnectionClosedError, OpenError, ProtocolError].some((kind) => error instanceof kind)) throw error;
  }
}

const count = Number(await ask("/getCaseCount"));
for (let number = 1; number <= count; number++) await runCase(number);
await (await open(`/updateReports?agent=${agent}`)).close();
