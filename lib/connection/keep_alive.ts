/**
 * Pings that keep a silent connection alive through proxies.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/**
 * How often a client pings unless told otherwise, in milliseconds: 30 s. Most proxies cut a connection after 60 s of silence.
 */
export const KEEP_ALIVE_INTERVAL_MS = 30_000;

/**
 * Pings in intervals (RFC 6455 section 5.5.2) until the connection ends; the answer resets the silence for proxies, and nobody
 * waits for it. Over the built-in WebSocket, which cannot ping, this does nothing.
 *
 * @param connection The connection.
 * @param intervalMs How often, in milliseconds; 30 s by default.
 *
 * @example
 * ```ts
 * import { keepAlive } from "./keep_alive.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { openWire } from "./wire.ts";
 *
 * const server = serveEcho({ port: 0 });
 * const connection = await openWire(server.url);
 * keepAlive(connection, 25_000);
 * await connection.close();
 * await server.shutdown();
 * ```
 */
export function keepAlive(connection: Connection, intervalMs: number = KEEP_ALIVE_INTERVAL_MS): void {
  if (connection.ping === undefined) return;
  const timer = setInterval(() => {
    // One without an answer is forgotten: what it means is for whoever waits for a message.
    connection.ping?.({ timeoutMs: intervalMs }).catch(() => {});
  }, intervalMs);
  connection.closed.then(() => clearInterval(timer));
}
