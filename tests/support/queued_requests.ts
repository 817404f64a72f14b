/** Requests in the system's queue: another thread sends them while the thread of the server stands still. */

import { parentPort, Worker, workerData } from "node:worker_threads";
import { within } from "../../lib/net/deadline.ts";

const WAIT = { timeoutMs: 60_000 };

/** An order to send. The place becomes 1 when all of it is in the queue. */
interface SendOrder {
  readonly url: string;
  readonly count: number;
  readonly sent: Int32Array<SharedArrayBuffer>;
}

/**
 * Sends requests for `/healthz`, each on a connection of its own. The calling thread stands still meanwhile.
 *
 * @param url The URL of a server in this thread.
 * @param count How many.
 * @returns The first lines of the answers; empty for a connection without one.
 */
export async function queueRequests(url: string, count: number): Promise<{ answers: Promise<readonly string[]> }> {
  const order: SendOrder = { url, count, sent: new Int32Array(new SharedArrayBuffer(4)) };
  const thread = new Worker(new URL(import.meta.url), { workerData: "queued requests" });
  const hear = () => new Promise<unknown>((resolve) => thread.once("message", resolve));
  await within(hear(), "thread", WAIT);
  const answers = hear().then((lines) => Array.isArray(lines) ? lines.map(String) : []).finally(() =>
    thread.terminate()
  );
  thread.postMessage(order);
  if (Atomics.wait(order.sent, 0, 0, WAIT.timeoutMs) === "timed-out") throw new Error("The requests were not sent");
  return { answers };
}

async function answerTo(conn: Deno.Conn): Promise<string> {
  const into = new Uint8Array(64);
  const count = await conn.read(into).catch(() => null);
  conn.close();
  return new TextDecoder().decode(into.subarray(0, count ?? 0)).split("\r\n", 1)[0] ?? "";
}

if (workerData === "queued requests") {
  parentPort?.once("message", async ({ url, count, sent }: SendOrder) => {
    const { hostname, host, port } = new URL(url);
    const conns: Deno.Conn[] = [];
    for (let left = count; left > 0; left--) {
      const conn = await Deno.connect({ hostname, port: Number(port) });
      await conn.write(new TextEncoder().encode(`GET /healthz HTTP/1.1\r\nHost: ${host}\r\n\r\n`));
      conns.push(conn);
    }
    Atomics.store(sent, 0, 1);
    Atomics.notify(sent, 0);
    parentPort?.postMessage(await Promise.all(conns.map(answerTo)));
  });
  parentPort?.postMessage("ready");
}
