/**
 * The choice between the two transports.
 *
 * @module
 */

import { openBuiltin } from "./builtin.ts";
import type { Connection, OpenOptions, TransportName } from "./connection.ts";

/**
 * Opens a connection over one of the transports.
 *
 * @param url The URL: `ws:` or `wss:`, or `http:` or `https:` in their place.
 * @param transport The transport.
 * @param options Subprotocols, fields, TLS, proxy and deadlines.
 * @returns The open connection.
 * @throws {OpenError} If the connection cannot be opened.
 * @throws {OptionError} If an option cannot be used, before anything is sent.
 *
 * @example
 * ```ts
 * import { openConnection } from "./open.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const connection = await openConnection(server.url, "wire");
 * assertEquals(connection.transport, "wire");
 * await connection.close({ timeoutMs: 5000 });
 * await server.shutdown();
 * ```
 */
export async function openConnection(
  url: string | URL,
  transport: TransportName,
  options: OpenOptions = {},
): Promise<Connection> {
  if (transport === "builtin") return await openBuiltin(url, options);
  // Loaded on demand: the default does not wait for the module.
  const { openWire } = await import("./wire.ts");
  return await openWire(url, options);
}
