/**
 * The echo server on a port: the runtime's WebSocket, or our own frames, in front of the same echo policy.
 *
 * @module
 */

import { createEcho } from "./echo.ts";
import {
  DEFAULT_IDLE_TIMEOUT_SECONDS,
  DEFAULT_MAX_BUFFERED_TOTAL_BYTES,
  type EchoOpened,
  type EchoPolicy,
  type EchoStats,
  type TroubleKind,
} from "./echo_policy.ts";
import { describeAddr, Gatekeeper } from "./gatekeeper.ts";
import { isLoopback, LOOPBACK_HOSTS } from "./host.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "./protocol/assembler.ts";
import { messageOf } from "./protocol/error.ts";
import { MemoryBudget } from "./transport/budget.ts";
import { DEFAULT_PORT, type TransportName } from "./transport/connection.ts";
import { within } from "./transport/deadline.ts";
import { NO_ANSWER } from "./transport/wire_echo.ts";
import { type WireHandler, WireServer } from "./transport/wire_server.ts";

/** How long a shutdown may take unless told otherwise, in milliseconds: 5 s. */
export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 5000;

/** Options of {@linkcode serveEcho}. */
export interface ServeEchoOptions extends EchoPolicy {
  /** The host name or address to listen on; 127.0.0.1 by default. */
  hostname?: string;
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
  /** What moves the bytes: the runtime's WebSocket (the default), or our own frames, which are strict and bounded. */
  transport?: TransportName;
  /** The certificate chain with which it is a `wss:` server, as PEM text; `key` belongs to it. */
  cert?: string;
  /** The private key of the certificate, as PEM text. */
  key?: string;
  /**
   * How many connections may be before their upgrade at once, over our own frames; one more drops the one that has waited
   * longest. 1,024 by default.
   */
  maxHeads?: number;
}

/** Options of {@linkcode ListeningServer.shutdown}. */
export interface ShutdownOptions {
  /** How long it may take, in milliseconds, for which the peers have to answer the close frame; 5 s by default. */
  timeoutMs?: number;
}

/** A server that listens. */
export interface ListeningServer {
  /** Where it listens, as a `ws:` or `wss:` URL with the real port. */
  readonly url: string;
  /**
   * Closes every connection with 1001 (going away), waits for the answers, and stops listening.
   *
   * @returns How many peers had not answered in time. With the built-in transport they keep the process alive: a program
   * that has to end then calls `Deno.exit`. With `wire` they are dropped.
   */
  shutdown(options?: ShutdownOptions): Promise<number>;
}

/** An echo server that listens. */
export interface EchoServer extends ListeningServer {
  /** What it has counted so far. */
  stats(): EchoStats;
  /** Tells of something that has gone wrong and is no connection's fault, and counts it. */
  troubled(kind: TroubleKind, error: string): void;
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
  const { hostname = "127.0.0.1", port = DEFAULT_PORT, transport = "builtin", cert } = options;
  const policy = isLoopback(hostname) ? { allowHosts: LOOPBACK_HOSTS, ...options } : options;
  const door = listen(hostname, port, () => (transport === "wire" ? openWire : openBuiltin)(hostname, port, policy));
  const host = hostname.includes(":") ? `[${hostname}]` : hostname;
  return {
    url: `${cert === undefined ? "ws" : "wss"}://${host}:${door.port}/`,
    stats: () => door.stats(),
    troubled: (kind, error) => door.troubled(kind, error),
    async shutdown({ timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = {}) {
      let left = 0;
      const gone = door.closeAll(1001, "server shutting down").map(async (ended) => {
        left++;
        await ended;
        left--;
      });
      const graceMs = Math.min(MAX_GRACE_MS, timeoutMs / 2);
      const patienceMs = timeoutMs - graceMs;
      await within(Promise.all(gone), "answers to the close frames", { timeoutMs: patienceMs }).catch(() => {});
      const unanswered = left;
      await door.stop(graceMs);
      return unanswered;
    },
  };
}

/** What a server needs of a listener. */
interface Door {
  readonly port: number;
  stats(): EchoStats;
  troubled(kind: TroubleKind, error: string): void;
  /** Closes every connection and refuses new ones; each promise resolves when its connection has ended. */
  closeAll(code: number, reason: string): Promise<unknown>[];
  stop(graceMs: number): Promise<void>;
}

function openBuiltin(hostname: string, port: number, options: ServeEchoOptions): Door {
  const echo = createEcho(options);
  const listen = (port: number) => Deno.serve({ hostname, port, ...tlsOf(options), onListen() {} }, echo.fetch);
  let server = listen(port);
  const bound = server.addr.port;
  let isListening = true;
  let isStopped = false;

  /** Without free descriptors the runtime gives up listening, which would end the process; its connections live on. */
  async function keepListening(): Promise<void> {
    while (!isStopped) {
      try {
        await server.finished;
        return;
      } catch (error) {
        isListening = false;
        echo.troubled("accept", messageOf(error));
      }
      await listenAgain();
    }
  }

  async function listenAgain(): Promise<void> {
    while (!isStopped) {
      await new Promise((resolve) => setTimeout(resolve, LISTEN_RETRY_MS));
      if (isStopped) return;
      try {
        server = listen(bound);
        isListening = true;
        return;
      } catch {
        // There is no descriptor for it yet.
      }
    }
  }

  const listening = keepListening();
  return {
    port: bound,
    stats: () => echo.stats(),
    troubled: (kind, error) => echo.troubled(kind, error),
    closeAll: (code, reason) => echo.closeAll(code, reason).map(({ closed }) => closed),
    async stop(graceMs) {
      isStopped = true;
      echo.giveUp();
      // The runtime's own shutdown would wait for ever for a peer that does not read.
      const stopped = isListening ? Promise.all([server.shutdown(), listening]) : listening;
      await within<unknown>(stopped, "shutdown", { timeoutMs: graceMs }).catch(() => {});
    },
  };
}

function openWire(hostname: string, port: number, options: ServeEchoOptions): Door {
  const {
    maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES,
    idleTimeoutSeconds = DEFAULT_IDLE_TIMEOUT_SECONDS,
    maxBufferedTotalBytes = DEFAULT_MAX_BUFFERED_TOTAL_BYTES,
    maxHeads,
    rate,
  } = options;
  const gate = new Gatekeeper(options);
  const admitted = new WeakMap<Request, EchoOpened>();
  const handler: WireHandler = {
    decide(request, addr, target) {
      const opened = gate.admit(request, addr, target);
      if (!("id" in opened)) return opened;
      admitted.set(request, opened);
      return opened.protocol;
    },
    follow(request) {
      const opened = admitted.get(request);
      if (opened === undefined) throw new Error("Not admitted");
      const since = performance.now();
      return {
        onOpen: (counts) => gate.opened(opened, counts),
        onEnd(end) {
          gate.closed({ type: "closed", id: opened.id, peer: opened.peer, ...end, ms: performance.now() - since });
        },
        onGone: () => gate.leave(opened.id),
      };
    },
    onTrouble: (error) => gate.troubled("accept", error),
    abandoned(request) {
      const opened = admitted.get(request);
      if (opened) gate.gone(opened);
    },
    onRefused: (addr, status, cause) => gate.refused({ peer: describeAddr(addr), path: "", status, cause }),
  };
  const limits = {
    maxMessageBytes,
    idleTimeoutMs: idleTimeoutSeconds * 1000,
    maxHeads,
    budget: new MemoryBudget(maxBufferedTotalBytes),
    ...(rate && { rate }),
  };
  const server = new WireServer({ hostname, port, ...tlsOf(options), ...limits }, handler);
  return {
    port: server.port,
    stats: () => gate.stats(),
    troubled: (kind, error) => gate.troubled(kind, error),
    closeAll(code, reason) {
      gate.drain();
      return server.closeAll(code, reason).map(({ ended }) => ended);
    },
    stop: () => server.stop(NO_ANSWER),
  };
}

/** The two belong together: one alone is refused where it is used. */
function tlsOf({ cert, key }: ServeEchoOptions): { cert: string; key: string } | undefined {
  return cert === undefined && key === undefined ? undefined : { cert: cert ?? "", key: key ?? "" };
}

function listen(hostname: string, port: number, open: () => Door): Door {
  try {
    return open();
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
    const message = messageOf(error);
    if (error instanceof Deno.errors.InvalidData || /KeyMismatch|certificate|private key|'cert'/i.test(message)) {
      const reason = message.includes("KeyMismatch") ? "the key does not belong to the certificate" : message;
      throw new CertificateError(
        `Cannot use the certificate and its key: ${reason}; give --cert and --key PEM files that belong together`,
      );
    }
    throw new ListenError(hostname, port, error);
  }
}

/** Thrown when a server cannot be a `wss:` server with the certificate and the key that it was given. */
export class CertificateError extends Error {
  /** The name of the class. */
  override readonly name = "CertificateError";
}

/** Thrown when a server cannot listen where it should; the message says where and why. */
export class ListenError extends Error {
  /** The name of the class. */
  override readonly name = "ListenError";

  /**
   * Makes the error.
   *
   * @param hostname Where it should listen.
   * @param port The port there.
   * @param cause What the runtime has thrown, or what Node's sockets have.
   */
  constructor(hostname: string, port: number, cause: unknown) {
    const message = messageOf(cause);
    const isTaken = cause instanceof Deno.errors.AddrInUse || /EADDRINUSE|address already in use/i.test(message);
    const reason = isTaken ? "it is taken; use --port with another, or 0" : `${message}; use --host with another`;
    super(`Cannot listen on host "${hostname}", port ${port}: ${reason}`);
  }
}

/** How long to wait before the runtime listens again after it gave up, in milliseconds: 200. */
const LISTEN_RETRY_MS = 200;

/** How much of the time for a shutdown is kept for the runtime's own, at most, in milliseconds: 500, or half of it. */
const MAX_GRACE_MS = 500;
