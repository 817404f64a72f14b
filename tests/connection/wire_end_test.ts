/** The end of a connection over our own frames while a message or a ping is on its way out. */

import { assert } from "@std/assert";
import { type Connection, ConnectionClosedError } from "../../lib/connection/connection.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { serveEcho } from "../../lib/server/serve.ts";

const WAIT = { timeoutMs: 60_000 };

/** Microtasks between the call and the close frame: more than either call takes. */
const MAX_STEPS = 12;

const CALLS: Record<string, (connection: Connection) => Promise<unknown>> = {
  "send()": (connection) => connection.send("hello", WAIT),
  "ping()": (connection) => connection.ping?.(WAIT) ?? Promise.reject(new Error("No ping")),
};

for (const [name, call] of Object.entries(CALLS)) {
  for (const deflate of [undefined, {}]) {
    const how = deflate === undefined ? "" : " with compression";
    Deno.test(`${name}${how} says that the connection has closed, wherever the close frame comes in between`, async () => {
      const server = await serveEcho({ port: 0, transport: "wire" });
      for (let steps = 0; steps < MAX_STEPS; steps++) {
        const connection = await openWire(server.url, { ...WAIT, ...(deflate && { deflate }) });
        const calling = call(connection).then(() => undefined, (error: unknown) => error);
        for (let step = 0; step < steps; step++) await Promise.resolve();
        const closing = connection.close(WAIT);
        const error = await calling;
        assert(error === undefined || error instanceof ConnectionClosedError, `${steps}: ${error}`);
        await closing;
      }
      await server.shutdown();
    });
  }
}
