/**
 * Pings that keep a silent connection alive through proxies.
 *
 * @module
 */

import type { Connection } from "./connection.ts";

/** The default interval of pings, in milliseconds: 30 s. Most proxies cut a connection after 60 s of silence. */
export const KEEP_ALIVE_INTERVAL_MS = 30_000;

/**
 * Pings at intervals (RFC 6455 section 5.5.2) until the connection ends; nobody waits for the pongs, which keep proxies
 * from cutting it. Does nothing over the built-in WebSocket, which cannot ping.
 *
 * @param connection The connection.
 * @param intervalMs The interval in milliseconds; 30 s by default.
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
    // A missing pong is no error here: a wait for a message has its own deadline.
    connection.ping?.({ timeoutMs: intervalMs }).catch(() => {});
  }, intervalMs);
  connection.closed.then(() => clearInterval(timer));
}
