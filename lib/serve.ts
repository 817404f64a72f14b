/**
 * The echo server on a port: the runtime's WebSocket, or our own frames, in front of the same echo policy.
 *
 * @module
 */

import {
  createEcho,
  DEFAULT_IDLE_TIMEOUT_SECONDS,
  describeAddr,
  type EchoOpened,
  type EchoPolicy,
  refusalOf,
  subprotocolOf,
} from "./echo.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "./protocol/assembler.ts";
import { DEFAULT_PORT, type TransportName } from "./transport/connection.ts";
import { within } from "./transport/deadline.ts";
import { NO_ANSWER } from "./transport/wire_echo.ts";
import { type WireHandler, WireServer } from "./transport/wire_server.ts";

/** How long a shutdown waits for the peers unless told otherwise, in milliseconds: 4 s. */
export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 4000;

/** Options of {@linkcode serveEcho}. */
export interface ServeEchoOptions extends EchoPolicy {
  /** The host name or address to listen on; 127.0.0.1 by default. */
  hostname?: string;
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
  /** What moves the bytes: the runtime's WebSocket (the default), or our own frames, which are strict and bounded. */
  transport?: TransportName;
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
   * @returns How many peers had not answered in time. With the built-in transport they keep the process alive: a program
   * that has to end then calls `Deno.exit`. With `wire` they are dropped.
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
  const { hostname = "127.0.0.1", port = DEFAULT_PORT, transport = "builtin" } = options;
  const door = listen(hostname, port, () => (transport === "wire" ? openWire : openBuiltin)(hostname, port, options));
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `ws://${host}:${door.port}/`,
    async shutdown({ timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = {}) {
      let left = 0;
      const gone = door.closeAll(1001, "server shutting down").map(async (ended) => {
        left++;
        await ended;
        left--;
      });
      await within(Promise.all(gone), "answers to the close frames", { timeoutMs }).catch(() => {});
      const unanswered = left;
      await door.stop();
      return unanswered;
    },
  };
}

/** What a shutdown needs of a listener. */
interface Door {
  readonly port: number;
  /** Closes every connection and refuses new ones; each promise resolves when its connection has ended. */
  closeAll(code: number, reason: string): Promise<unknown>[];
  stop(): Promise<void>;
}

function openBuiltin(hostname: string, port: number, policy: EchoPolicy): Door {
  const echo = createEcho(policy);
  const server = Deno.serve({ hostname, port, onListen() {} }, echo.fetch);
  return {
    port: server.addr.port,
    closeAll: (code, reason) => echo.closeAll(code, reason).map(({ closed }) => closed),
    async stop() {
      // The runtime's own shutdown would wait for ever for a peer that does not read.
      await within(server.shutdown(), "shutdown", { timeoutMs: SHUTDOWN_GRACE_MS }).catch(() => {});
    },
  };
}

function openWire(hostname: string, port: number, policy: EchoPolicy): Door {
  const {
    maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES,
    idleTimeoutSeconds = DEFAULT_IDLE_TIMEOUT_SECONDS,
    onEvent = () => {},
  } = policy;
  let count = 0;
  let isClosing = false;
  const handler: WireHandler = {
    decide: (request) => refusalOf(request, isClosing) ?? subprotocolOf(request),
    follow(request, protocol, addr) {
      const { pathname, search } = new URL(request.url);
      const since = performance.now();
      const [id, peer] = [++count, describeAddr(addr)];
      const opened: EchoOpened = { type: "opened", id, peer, path: pathname + search, protocol };
      return {
        onOpen: () => onEvent(opened),
        onEnd: (end) => onEvent({ type: "closed", id, peer, ...end, ms: performance.now() - since }),
      };
    },
  };
  const limits = { maxMessageBytes, idleTimeoutMs: idleTimeoutSeconds * 1000 };
  const server = new WireServer({ hostname, port, ...limits }, handler);
  return {
    port: server.port,
    closeAll(code, reason) {
      isClosing = true;
      return server.closeAll(code, reason).map(({ ended }) => ended);
    },
    stop: () => server.stop(NO_ANSWER),
  };
}

function listen(hostname: string, port: number, open: () => Door): Door {
  try {
    return open();
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
