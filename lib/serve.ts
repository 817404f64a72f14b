/**
 * The echo server on a port: `Deno.serve` in front of the echo policy.
 *
 * @module
 */

import { createEcho, type Echo, type EchoPolicy } from "./echo.ts";
import { DEFAULT_PORT } from "./transport/connection.ts";
import { within } from "./transport/deadline.ts";

/** How long a shutdown waits for the peers unless told otherwise, in milliseconds: 4 s. */
export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 4000;

/** Options of {@linkcode serveEcho}. */
export interface ServeEchoOptions extends EchoPolicy {
  /** The host name or address to listen on; 127.0.0.1 by default. */
  hostname?: string;
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
}

/** Options of {@linkcode EchoServer.shutdown}. */
export interface ShutdownOptions {
  /** How long the peers may take to answer the close frame, in milliseconds; 4 s by default. */
  timeoutMs?: number;
}

/** An echo server that listens. */
export interface EchoServer {
  /** Where it listens, as a `ws:` URL with the real port. */
  readonly url: string;
  /**
   * Closes every connection with 1001 (going away), waits for the answers, and stops listening.
   *
   * @returns How many peers had not answered in time. They keep the process alive: a program that has to end then
   * calls `Deno.exit`.
   */
  shutdown(options?: ShutdownOptions): Promise<number>;
}

/**
 * Starts an echo server.
 *
 * @param options Where to listen and what to accept.
 * @returns The server, which listens already.
 * @throws {ListenError} If it cannot listen there, as when the port is taken.
 *
 * @example
 * ```ts
 * import { serveEcho } from "./serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const answer = await fetch(server.url.replace("ws:", "http:"));
 * assertEquals(answer.status, 426);
 * await answer.body?.cancel();
 * await server.shutdown();
 * ```
 */
export function serveEcho(options: ServeEchoOptions = {}): EchoServer {
  const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
  const echo = createEcho(options);
  const server = listen(hostname, port, echo);
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `ws://${host}:${server.addr.port}/`,
    async shutdown({ timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = {}) {
      let left = 0;
      const gone = echo.closeAll(1001, "server shutting down").map(async (connection) => {
        left++;
        await connection.closed;
        left--;
      });
      // The runtime's own shutdown would wait for ever for a peer that does not read.
      await within(Promise.all(gone), "answers to the close frames", { timeoutMs }).catch(() => {});
      const unanswered = left;
      await within(server.shutdown(), "shutdown", { timeoutMs: SHUTDOWN_GRACE_MS }).catch(() => {});
      return unanswered;
    },
  };
}

function listen(hostname: string, port: number, echo: Echo): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname, port, onListen() {} }, echo.fetch);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    const isTaken = error instanceof Deno.errors.AddrInUse;
    const reason = isTaken
      ? "it is taken; use --port with another, or 0"
      : error instanceof Error
      ? error.message
      : error;
    throw new ListenError(`Cannot listen on host "${hostname}", port ${port}: ${reason}`);
  }
}

/** Thrown when a server cannot listen where it should; the message says where and why. */
export class ListenError extends Error {
  /** The name of the class. */
  override readonly name = "ListenError";
}

/** How long the runtime's shutdown may take once the peers are gone, in milliseconds. */
const SHUTDOWN_GRACE_MS = 500;
