/**
 * A server of upgraded connections: a listener, TLS, the heads of the requests, and a clock. A handler decides on the requests
 * and says what runs a connection.
 *
 * @module
 */

import { encodeClosePayload } from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { plainResponse } from "./plain_response.ts";
import { failed, HEAD_TIMEOUT_MS, type HeadRefusal, type Received, Reception, type Unreadable } from "./reception.ts";
import { type AcceptedStream, type ByteStream, contextOf, SecureConn, type StreamListener } from "./tls.ts";
import { Turns } from "./turns.ts";

export { HEAD_TIMEOUT_MS, type HeadRefusal, type HeadRefusalCause, MAX_ANSWER_BYTES } from "./reception.ts";

/** How many connections may be before their upgrade at once unless told otherwise: 1,024. */
export const DEFAULT_MAX_HEADS = 1024;

/** How often the deadlines of all connections are looked at, in milliseconds: a deadline is up to this much late. */
const TICK_MS = 100;

/** How long to wait before the next connection is taken when one could not be, as without free descriptors, in ms. */
const ACCEPT_RETRY_MS = 100;

/** A request that was let through, and its connection. */
export interface WireUpgrade {
  /** Where its frames come from and go to. Nobody else reads or writes it. */
  readonly stream: ByteStream;
  /** The request, without its body. */
  readonly request: Request;
  /** The target as the peer wrote it (RFC 9112 section 3.2). */
  readonly target: string;
  /** The subprotocol, as `decide` gave it; empty for none. */
  readonly protocol: string;
  /** The address of the peer. */
  readonly addr: Deno.Addr;
  /** The queue of all connections of the server: whoever reads much takes turns. */
  readonly turns: Turns;
}

/** A connection behind its upgrade. */
export interface WireConnection {
  /** Resolves when the connection has ended, as far as its peer can tell. It never rejects. */
  readonly ended: Promise<unknown>;
  /**
   * Runs until nothing is left of the connection, its descriptor neither. Called once, and first.
   *
   * @param early What came behind the head of the request.
   */
  run(early: Uint8Array): Promise<void>;
  /**
   * Looks at its deadlines: called ten times a second.
   *
   * @param now The time, in milliseconds, as of `performance.now()`.
   */
  tick(now: number): void;
  /**
   * Begins to close. It may be called before {@linkcode WireConnection.run}.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options How long the peer may take to answer, in milliseconds.
   */
  close(code: number, reason: string, options?: { timeoutMs?: number }): void;
  /**
   * Drops the connection at once; what is under way fails.
   *
   * @param error Why.
   */
  destroy(error?: string): void;
}

/** Decides on requests of a {@linkcode WireServer}, and serves its connections. */
export interface WireHandler {
  /**
   * Whether the handler writes the answer to the opening handshake itself, in {@linkcode WireConnection.run}. By default the
   * server writes it, before it calls {@linkcode WireHandler.serve}.
   */
  readonly answersItself?: boolean;
  /**
   * Decides on a connection of which nothing has been read. By default every connection is taken.
   *
   * @returns The refusal, which is the answer; with the status 0 the connection is dropped without one.
   */
  onAccept?(): HeadRefusal | undefined;
  /**
   * Decides on a request. A request that it lets through is given to `serve`, or `abandoned` is told of it. If it throws or
   * rejects, the answer is 500; if it takes longer than the rest of the time for the head, there is none.
   *
   * @param request The request, without its body.
   * @param addr The address of the peer.
   * @param target The target as the peer wrote it (RFC 9112 section 3.2): the URL of the request has it in its normal form.
   * @param version The version of HTTP: `1.0` or `1.1`. The upgrade needs 1.1 (RFC 6455 section 4.2.1).
   * @returns A response that refuses it, or the subprotocol with which it is upgraded, empty for none.
   */
  decide(request: Request, addr: Deno.Addr, target: string, version: string): Decision | Promise<Decision>;
  /**
   * Says which extensions are accepted of a request that `decide` let through, where the server writes the answer.
   *
   * @param request The request.
   * @returns The value of the field Sec-WebSocket-Extensions; empty, as by default, for none.
   */
  extensions?(request: Request): string;
  /**
   * Takes over a connection that is upgraded. If it throws, the connection is dropped, and `abandoned` is told.
   *
   * @param upgrade The connection.
   * @returns What runs it.
   */
  serve(upgrade: WireUpgrade): WireConnection;
  /**
   * Told of a request that `decide` let through and that nobody serves: the peer was gone before its upgrade was written, the
   * server has stopped, there were too many others, or `serve` has thrown.
   *
   * @param request The request.
   * @param addr The address of the peer.
   */
  abandoned?(request: Request, addr: Deno.Addr): void;
  /**
   * Told of a connection that `decide` was never asked about.
   *
   * @param addr The address of the peer.
   * @param refusal How it was answered, and why.
   */
  onRefused?(addr: Deno.Addr, refusal: HeadRefusal): void;
  /**
   * Told when connections cannot be taken, as without free descriptors; it goes on trying.
   *
   * @param reason Why.
   */
  onTrouble?(reason: string): void;
}

/** A response that refuses a request, or the subprotocol with which it is upgraded, empty for none. */
export type Decision = Response | string;

/** Options of {@linkcode WireServer}. */
export interface WireServerOptions {
  /** Accepts the connections; a listener of the runtime on the host name and port by default. */
  readonly listener?: StreamListener | undefined;
  /** The host name or address to listen on. */
  readonly hostname: string;
  /** The port to listen on, 0 for any free one. */
  readonly port: number;
  /** Whether others of this user listen there too (`SO_REUSEPORT`), and the system deals out connections; needs `--unstable-net`. */
  readonly reusePort?: boolean | undefined;
  /**
   * Deadline for TLS, request head and decision together, in milliseconds; a refusal gets as long again. 10 s by default.
   */
  readonly headTimeoutMs?: number | undefined;
  /**
   * How many connections may be before their upgrade at once: in their TLS handshake, without a complete head, or being
   * answered. One more drops the one that has waited longest. A function is asked with how many there are. 1,024 by default.
   */
  readonly maxHeads?: number | ((heads: number) => number) | undefined;
  /** The certificate chain for TLS as PEM text, with {@linkcode WireServerOptions.key}; without both there is no TLS. */
  readonly cert?: string | undefined;
  /** The private key for TLS as PEM text. */
  readonly key?: string | undefined;
}

/**
 * Listens, answers what is no request and what the handler refuses, and runs the connections that are upgraded.
 *
 * @example
 * ```ts
 * import { WireServer } from "./wire_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = new WireServer({ hostname: "127.0.0.1", port: 0 }, {
 *   decide: () => new Response("no\n", { status: 403 }),
 *   serve: () => {
 *     throw new Error("Nobody is let through");
 *   },
 * });
 * const answer = await fetch(`http://127.0.0.1:${server.port}/`);
 * assertEquals([answer.status, await answer.text()], [403, "no\n"]);
 * await server.stop();
 * ```
 */
export class WireServer {
  readonly #options: WireServerOptions;
  readonly #handler: WireHandler;
  readonly #listener: StreamListener;
  /** How TLS begins on a connection, if there is TLS. */
  readonly #secure: ((conn: AcceptedStream) => SecureConn) | undefined;
  readonly #accepting: Promise<void>;
  /** Everything that has a deadline, and the promise that it is gone. */
  readonly #running = new Map<Timed, Promise<void>>();
  readonly #connections = new Set<WireConnection>();
  /** Those before their upgrade, the one that has waited longest first. */
  readonly #receptions = new Set<Reception>();
  #clock: ReturnType<typeof setInterval> | undefined;
  readonly #turns = new Turns();
  #closing: { code: number; reason: string } | undefined;
  #isStopped = false;

  /**
   * Listens from now on.
   *
   * @param options Where, and what is accepted.
   * @param handler Decides on requests, and serves connections.
   * @throws {Error} If it cannot listen there, or use the certificate and key, as `Deno.listen` and `Deno.listenTls` say it.
   */
  constructor(options: WireServerOptions, handler: WireHandler) {
    this.#options = options;
    this.#handler = handler;
    const { hostname, port, reusePort, cert, key } = options;
    // A certificate without its key (or the reverse) is an error, not plain TCP.
    if (cert !== undefined || key !== undefined) {
      const pair = [cert ?? "", key ?? ""] as const;
      // Only the runtime's own listener says what is wrong with the pair; the connections do without it (see tls.ts).
      // Where others listen already, it would take connections from them, and somebody has looked before.
      if (!reusePort) Deno.listenTls({ hostname, port, cert: pair[0], key: pair[1] }).close();
      const context = contextOf(...pair);
      this.#secure = (conn) => new SecureConn(conn, context, this.#turns);
    }
    this.#listener = options.listener ?? Deno.listen({ hostname, port, ...(reusePort && { reusePort }) });
    this.#accepting = this.#accept();
  }

  /** The address and the port that it listens on. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr;
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** How many connections there are, before and behind their upgrade. */
  get connections(): number {
    return this.#running.size;
  }

  /**
   * Begins to close every connection. Others that come are still answered: it is the handler that refuses them.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @returns The connections that were open; without {@linkcode stop} they wait for the answer for ever.
   */
  closeAll(code: number, reason: string): WireConnection[] {
    // A code or reason that cannot be sent throws here, and not in a connection that comes later.
    encodeClosePayload(code, reason);
    this.#closing = { code, reason };
    for (const connection of this.#connections) connection.close(code, reason, { timeoutMs: Infinity });
    return [...this.#connections];
  }

  /**
   * Stops listening, and drops every connection that is left.
   *
   * @param error Why, for the ends of those that had not ended.
   */
  async stop(error = ""): Promise<void> {
    if (!this.#isStopped) this.#listener.close();
    this.#isStopped = true;
    for (const timed of this.#running.keys()) timed.destroy(error);
    await Promise.all(this.#running.values());
    await this.#accepting;
  }

  async #accept(): Promise<void> {
    let isInTrouble = false;
    while (!this.#isStopped) {
      try {
        const conn = await this.#listener.accept();
        isInTrouble = false;
        try {
          conn.setNoDelay?.(true);
        } catch {
          // A peer that is gone already.
          conn.close();
          continue;
        }
        const refusal = this.#handler.onAccept?.();
        if (this.#receptions.size >= this.#maxHeads()) this.#dropOldest();
        const reception = new Reception(conn, this.#secure?.(conn), this.#options.headTimeoutMs ?? HEAD_TIMEOUT_MS);
        this.#receptions.add(reception);
        this.#run(reception, this.#receive(reception, refusal).finally(() => this.#receptions.delete(reception)));
      } catch (error) {
        // One connection that could not be taken is not the end of the others.
        if (this.#isStopped) return;
        // A peer that was gone before it was accepted costs nothing, and must not hold up the others.
        if (isOfPeer(error)) continue;
        if (!isInTrouble) this.#handler.onTrouble?.(messageOf(error));
        isInTrouble = true;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  /** Keeps the clock going as long as anything has a deadline. */
  #run(timed: Timed, running: Promise<void>): void {
    this.#running.set(
      timed,
      // An error of a handler ends its connection, and not the process.
      running.catch(() => timed.destroy()).finally(() => {
        this.#running.delete(timed);
        if (this.#running.size > 0) return;
        clearInterval(this.#clock);
        this.#clock = undefined;
      }),
    );
    this.#clock ??= setInterval(() => {
      const now = performance.now();
      for (const each of this.#running.keys()) each.tick(now);
    }, TICK_MS);
    if (this.#isStopped) timed.destroy();
  }

  #maxHeads(): number {
    const { maxHeads = DEFAULT_MAX_HEADS } = this.#options;
    return typeof maxHeads === "number" ? maxHeads : maxHeads(this.#receptions.size);
  }

  /** Drops the oldest, so that silent connections cannot keep others out. */
  #dropOldest(): void {
    const [oldest] = this.#receptions;
    if (oldest === undefined) return;
    this.#receptions.delete(oldest);
    if (oldest.isWaiting) this.#tellRefused(oldest, TOO_MANY);
    oldest.destroy();
  }

  #tellRefused(reception: Reception, { status, cause, reason }: HeadRefusal): void {
    try {
      this.#handler.onRefused?.(reception.addr, { status, cause, reason });
    } catch {
      // There is nobody to tell of an exception.
    }
  }

  #tellAbandoned(reception: Reception, request: Request): void {
    try {
      this.#handler.abandoned?.(request, reception.addr);
    } catch {
      // There is nobody to tell of an exception.
    }
  }

  async #receive(reception: Reception, refusal?: Unreadable): Promise<void> {
    try {
      const received = refusal ?? await reception.read();
      if ("cause" in received) {
        this.#tellRefused(reception, received);
        const { status, reason, accept } = received;
        if (status > 0) await reception.refuse(plainResponse(status, reason, { accept }), false);
        return reception.destroy();
      }
      const { request } = received;
      const decision = await this.#decide(reception, received);
      if (decision instanceof Response) {
        await reception.refuse(decision, request.method === "HEAD");
      } else if (decision !== undefined) {
        return await this.#upgrade(reception, received, decision);
      }
    } catch {
      // A peer that is gone, or too slow, needs no answer.
    }
    reception.destroy();
  }

  /** Asks the handler; nothing comes of it if the peer is gone meanwhile. */
  async #decide(reception: Reception, { request, target, version }: Received): Promise<Decision | undefined> {
    const deciding = (async () => await this.#handler.decide(request, reception.addr, target, version))().catch(() =>
      failed()
    );
    const decision = await Promise.race([deciding, reception.gone]);
    if (decision === undefined) {
      deciding.then((late) => typeof late === "string" && this.#tellAbandoned(reception, request));
    }
    return decision;
  }

  async #upgrade(reception: Reception, { request, target, early }: Received, protocol: string): Promise<void> {
    try {
      if (!this.#handler.answersItself) {
        await reception.accept(request, protocol, this.#handler.extensions?.(request));
      }
      if (this.#isStopped) throw new Error("Server has stopped");
      const { stream, addr } = reception;
      const upgrade = { stream, request, target, protocol, addr, turns: this.#turns };
      const connection = this.#handler.serve(upgrade);
      this.#connections.add(connection);
      connection.ended.then(() => this.#connections.delete(connection));
      // One whose upgrade was under way when all were closed.
      if (this.#closing) connection.close(this.#closing.code, this.#closing.reason, { timeoutMs: Infinity });
      this.#run(connection, connection.run(early));
    } catch {
      reception.destroy();
      this.#tellAbandoned(reception, request);
    }
  }
}

const TOO_MANY: HeadRefusal = {
  status: 0,
  cause: "head-limit",
  reason: "Too many connections were before their upgrade, and this one had waited longest.",
};

function isOfPeer(error: unknown): boolean {
  const { ConnectionAborted, ConnectionReset, NotConnected } = Deno.errors;
  return [ConnectionAborted, ConnectionReset, NotConnected].some((kind) => error instanceof kind);
}

/** A connection with deadlines. */
interface Timed {
  tick(now: number): void;
  destroy(error?: string): void;
}
