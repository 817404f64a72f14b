/**
 * The echo server on a port: the runtime's WebSocket, or our own frames, behind the same policy.
 *
 * @module
 */

import { createEcho } from "./builtin_echo.ts";
import {
  type ConnectionPlaces,
  DEFAULT_IDLE_TIMEOUT_SECONDS,
  DEFAULT_MAX_BUFFERED_TOTAL_BYTES,
  DEFAULT_SHUTDOWN_TIMEOUT_MS,
  type EchoOpened,
  type EchoPolicy,
  type EchoStats,
  type TroubleKind,
} from "./policy.ts";
import { describeAddr, type EchoCounts, Gatekeeper } from "./gatekeeper.ts";
import { NO_ANSWER } from "./guard.ts";
import { isLoopback, LOOPBACK_HOSTS } from "./allowed_host.ts";
import { bindable, inUrl, ListenError, LOOPBACK_ADDRESSES } from "../net/host.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "../protocol/assembler.ts";
import { messageOf } from "../protocol/error.ts";
import { MemoryBudget } from "./budget.ts";
import { DEFAULT_PORT, type TransportName } from "../connection/connection.ts";
import { pairProblem } from "../net/certificate.ts";
import { within } from "../net/deadline.ts";
import { type EchoHandler, echoing, type WireFollower } from "./echo_handler.ts";
import type { WireEnd } from "./wire_limits.ts";
import { untilEvents } from "../net/turns.ts";
import { WireServer } from "../net/wire_server.ts";

export { addressesOf, ListenError } from "../net/host.ts";

/** Options of {@linkcode serveEcho}. */
export interface ServeEchoOptions extends EchoPolicy {
  /** The host name or address to listen on; 127.0.0.1 by default. `localhost` is both 127.0.0.1 and ::1. */
  hostname?: string;
  /**
   * The addresses of the host name, from {@linkcode addressesOf}: the server listens on all of them, with the same
   * port. Without this, a name other than `localhost` stands for its first address only. An address that the machine
   * lacks is left out, unless it is the only one.
   */
  addresses?: readonly string[];
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
  /** The transport: the runtime's WebSocket (the default), or our own frames, which are strict and bounded. */
  transport?: TransportName;
  /** The certificate chain of a `wss:` server, as PEM text; `key` belongs to it. */
  cert?: string;
  /** The private key of the certificate, as PEM text. */
  key?: string;
  /**
   * How many connections may be before their upgrade at once, over our own frames. One more drops the longest waiting
   * one, after at least 2 s, or less in a flood of silent ones. 1,024 by default.
   */
  maxHeads?: number;
}

/** The share of one of several servers on one port, over our own frames. */
export interface ServerPart {
  /** The shared places. */
  readonly places: ConnectionPlaces;
  /** The shared memory. */
  readonly budget: MemoryBudget;
}

/** Options of {@linkcode ListeningServer.shutdown}. */
export interface ShutdownOptions {
  /** Deadline for the whole shutdown, in which peers answer the close frame, in milliseconds; 5 s by default. */
  timeoutMs?: number;
}

/** A server that listens. */
export interface ListeningServer {
  /** Its `ws:` or `wss:` URL, with the bound address and port. */
  readonly url: string;
  /** The URLs of all bound addresses; the first is {@linkcode ListeningServer.url}. */
  readonly urls: readonly string[];
  /**
   * Closes every connection with 1001 (going away), waits for the answers, and stops listening.
   *
   * @returns How many peers had not answered in time. With the built-in transport they keep the process alive: a
   * program that has to end calls `Deno.exit`. With `wire` they are dropped.
   */
  shutdown(options?: ShutdownOptions): Promise<number>;
}

/** An echo server that listens. */
export interface EchoServer extends ListeningServer {
  /** The counts so far. */
  stats(): EchoStats;
  /** Counts and reports trouble that is no connection's fault. */
  troubled(kind: TroubleKind, error: string): void;
}

/**
 * Starts an echo server.
 *
 * @param options Where to listen and what to accept.
 * @returns The server, already listening.
 * @throws {ListenError} If it cannot listen there, as when the port is taken.
 * @throws {CertificateError} If it cannot use the certificate and the key.
 * @throws {Deno.errors.NotCapable} If it has no permission for the address.
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
  return servePart(options);
}

/**
 * Starts an echo server, alone or as one of several that share a port.
 *
 * @param options Where to listen and what to accept.
 * @param part Its share; a server alone by default.
 * @returns The server, already listening.
 * @throws {Error} As {@linkcode serveEcho} does.
 */
export function servePart(options: ServeEchoOptions, part?: ServerPart): EchoServer {
  const { transport = "builtin", cert } = options;
  const door = listen(options, part === undefined, (place) => {
    const policy = place.addresses.every(isLoopback) ? { allowHosts: LOOPBACK_HOSTS, ...options } : options;
    return transport === "wire" ? openWire(place, policy, part) : openBuiltin(place, policy);
  });
  const urls = door.bound.map(({ hostname, port }) =>
    `${cert === undefined ? "ws" : "wss"}://${inUrl(hostname)}:${port}/`
  );
  const [url = ""] = urls;
  return {
    url,
    urls,
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

/** The listeners of a server, and their connections. */
interface Door {
  /** Their addresses, at least one. */
  readonly bound: readonly Deno.NetAddr[];
  stats(): EchoStats;
  troubled(kind: TroubleKind, error: string): void;
  /** Closes every connection and refuses new ones; each promise resolves when its connection has ended. */
  closeAll(code: number, reason: string): Promise<unknown>[];
  stop(graceMs: number): Promise<void>;
}

/** Where to listen. */
interface Place {
  readonly addresses: readonly string[];
  readonly port: number;
}

/** Opens a listener for each address; if one fails, stops the others. */
function openEach<Listener extends { stop(): Promise<unknown> }>(
  { addresses, port }: Place,
  open: (hostname: string, port: number) => Listener,
): Listener[] {
  const opened: Listener[] = [];
  try {
    for (const hostname of addresses) opened.push(open(hostname, port));
    return opened;
  } catch (error) {
    for (const listener of opened) listener.stop().catch(() => {});
    throw error;
  }
}

function openBuiltin(place: Place, options: ServeEchoOptions): Door {
  const echo = createEcho(options);
  const listeners = openEach(
    place,
    (hostname, port) =>
      keepListening(
        (at) => Deno.serve({ hostname, port: at ?? port, ...tlsOf(options), onListen() {} }, echo.fetch),
        (error) => echo.troubled("accept", messageOf(error)),
      ),
  );
  return {
    bound: listeners.map(({ addr }) => addr),
    stats: () => echo.stats(),
    troubled: (kind, error) => echo.troubled(kind, error),
    closeAll: (code, reason) => echo.closeAll(code, reason).map(({ closed }) => closed),
    async stop(graceMs) {
      echo.giveUp();
      // The runtime's own shutdown answers only requests whose handler it has called. One ask of the system brings a
      // connection, and the next one its head.
      await untilEvents();
      await untilEvents();
      // It also waits for ever for a peer that does not read.
      const stopped = Promise.all(listeners.map((listener) => listener.stop()));
      await within<unknown>(stopped, "shutdown", { timeoutMs: graceMs }).catch(() => {});
    },
  };
}

/**
 * Listens, and listens again when the runtime gives up, as without free descriptors: the process would end, although
 * its connections live on.
 */
function keepListening(
  open: (port?: number) => Deno.HttpServer<Deno.NetAddr>,
  onTrouble: (error: unknown) => void,
): { readonly addr: Deno.NetAddr; stop(): Promise<void> } {
  let server = open();
  const { addr } = server;
  let isListening = true;
  let isStopped = false;

  async function untilFinished(): Promise<void> {
    while (!isStopped) {
      try {
        await server.finished;
        return;
      } catch (error) {
        isListening = false;
        onTrouble(error);
      }
      await listenAgain();
    }
  }

  async function listenAgain(): Promise<void> {
    while (!isStopped) {
      await new Promise((resolve) => setTimeout(resolve, LISTEN_RETRY_MS));
      if (isStopped) return;
      try {
        server = open(addr.port);
        isListening = true;
        return;
      } catch {
        // There is still no descriptor.
      }
    }
  }

  const finished = untilFinished();
  return {
    addr,
    async stop() {
      isStopped = true;
      if (isListening) await server.shutdown();
      await finished;
    },
  };
}

function openWire(place: Place, options: ServeEchoOptions, part?: ServerPart): Door {
  const {
    maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES,
    idleTimeoutSeconds = DEFAULT_IDLE_TIMEOUT_SECONDS,
    maxBufferedTotalBytes = DEFAULT_MAX_BUFFERED_TOTAL_BYTES,
    room,
    maxHeads = room && ((heads: number) => room.maxHeads(heads)),
    rate,
    deflate = {},
  } = options;
  const gate = new Gatekeeper(options, part?.places);
  const handler: EchoHandler = {
    decide(request, addr, target, version) {
      const admission = gate.admit(request, addr, target, version);
      if (admission.type === "answered") return admission.response;
      request.note = new Visit(gate, admission.opened);
      return admission.opened.protocol;
    },
    follow(request, _protocol, _addr, extensions, now) {
      if (!(request.note instanceof Visit)) throw new Error("Not admitted");
      return request.note.upgraded(extensions, now);
    },
    onTrouble: (error) => gate.troubled("accept", error),
    abandoned(request) {
      if (request.note instanceof Visit) gate.gone(request.note.opened);
    },
    onRefused: (addr, refusal) => gate.refused({ peer: describeAddr(addr), path: "", ...refusal }),
  };
  const limits = {
    maxMessageBytes,
    idleTimeoutMs: idleTimeoutSeconds * 1000,
    budget: part?.budget ?? new MemoryBudget(maxBufferedTotalBytes),
    ...(rate && { rate }),
  };
  const servers = openEach(
    place,
    (hostname, port) =>
      new WireServer(
        { hostname, port, reusePort: part !== undefined, maxHeads, ...tlsOf(options) },
        echoing(limits, handler, deflate),
      ),
  );
  return {
    bound: servers.map(({ addr }) => addr),
    stats: () => gate.stats(),
    troubled: (kind, error) => gate.troubled(kind, error),
    closeAll(code, reason) {
      gate.drain();
      return servers.flatMap((server) => server.closeAll(code, reason)).map(({ ended }) => ended);
    },
    async stop(graceMs) {
      await Promise.all(servers.map((server) => server.stop(NO_ANSWER, graceMs)));
    },
  };
}

/** The note on a request that was let in, and then the follower of its connection: one object, as every connection has one. */
class Visit implements WireFollower {
  readonly #gate: Gatekeeper;
  opened: EchoOpened;
  #since = 0;

  constructor(gate: Gatekeeper, opened: EchoOpened) {
    this.#gate = gate;
    this.opened = opened;
  }

  upgraded(extensions: string, now: number): this {
    this.#since = now;
    if (extensions !== "") this.opened = { ...this.opened, extensions };
    return this;
  }

  onOpen(counts: EchoCounts): void {
    this.#gate.opened(this.opened, counts);
  }

  onEnd(end: WireEnd): void {
    const { id, peer } = this.opened;
    // The spread comes first: the runtime then copies the end several times as fast.
    this.#gate.closed({ ...end, type: "closed", id, peer, ms: performance.now() - this.#since });
  }

  onGone(): void {
    this.#gate.leave(this.opened.id);
  }
}

/** A certificate without its key, or the reverse, is an error, not plain TCP. */
function tlsOf({ cert, key }: ServeEchoOptions): { cert: string; key: string } | undefined {
  if (cert === undefined && key === undefined) return undefined;
  const pair = { cert: cert ?? "", key: key ?? "" };
  const problem = pairProblem(pair);
  if (problem !== undefined) throw new CertificateError(problem);
  return pair;
}

function listen(options: ServeEchoOptions, isAlone: boolean, open: (place: Place) => Door): Door {
  const { hostname = "127.0.0.1", port = DEFAULT_PORT } = options;
  const { addresses = hostname === "localhost" ? LOOPBACK_ADDRESSES : [hostname] } = options;
  try {
    return open(addresses.length > 1 && isAlone ? bindable(addresses, port) : { addresses, port });
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable || error instanceof CertificateError) throw error;
    throw error instanceof ListenError ? error : new ListenError(hostname, port, error);
  }
}

/** Thrown when a server cannot use its certificate and key. */
export class CertificateError extends Error {
  /** The name of the class. */
  override readonly name = "CertificateError";
}

/** Delay before listening again after the runtime gave up, in milliseconds: 200. */
const LISTEN_RETRY_MS = 200;

/** Part of a shutdown's deadline for the runtime's own, at most, in milliseconds: 500, or half of it. */
const MAX_GRACE_MS = 500;
