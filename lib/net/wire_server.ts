/**
 * A server of upgraded connections: a listener, TLS, the heads of the requests, and a clock. A handler decides on the requests
 * and says what runs a connection.
 *
 * @module
 */

import { encodeClosePayload } from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { Members } from "./members.ts";
import { Patience } from "./patience.ts";
import { plainResponse } from "./plain_response.ts";
import type { HeadRequest } from "./request.ts";
import { failed, HEAD_TIMEOUT_MS, type HeadRefusal, type Received, Reception, type Unreadable } from "./reception.ts";
import { type AcceptedStream, contextOf, SecureConn, type StreamListener } from "./tls.ts";
import { Turns, untilEvents } from "./turns.ts";
import type { Decision, WireConnection, WireHandler } from "./wire_handler.ts";

export { HEAD_TIMEOUT_MS, type HeadRefusal, type HeadRefusalCause, MAX_ANSWER_BYTES } from "./reception.ts";

/** How many connections may be before their upgrade at once unless told otherwise: 1,024. */
export const DEFAULT_MAX_HEADS = 1024;

/**
 * How many connections the system may hold until they are taken: 4,096, or what it allows. Of more at once it forgets the last step
 * of their TCP handshake, and their heads come seconds later.
 */
const BACKLOG = 4096;

/** How often the deadlines of all connections are looked at, in milliseconds: a deadline is up to this much late. */
const TICK_MS = 100;

/** How long to wait before the next connection is taken when one could not be, as without free descriptors, in ms. */
const ACCEPT_RETRY_MS = 100;

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
   * answered. One more drops the one that has waited longest, once that has had 2 s; after hundreds of silent ones, 250 ms
   * where the server only waits for the peer. A function is asked with how many there are. 1,024 by default.
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
  /** Everything that has a deadline. */
  readonly #running = new Members<Reception | WireConnection>();
  /** Those before their upgrade. */
  readonly #receptions = new Members<Reception>();
  #clock: ReturnType<typeof setInterval> | undefined;
  readonly #turns = new Turns();
  #closing: { code: number; reason: string } | undefined;
  /** Resolves when nothing has a deadline any more. */
  #empty: PromiseWithResolvers<void> | undefined;
  readonly #patience = new Patience();
  /** Resolves when there may be room for one more before its upgrade. */
  #change: PromiseWithResolvers<void> | undefined;
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
    this.#listener = options.listener ??
      Deno.listen({ hostname, port, tcpBacklog: BACKLOG, ...(reusePort && { reusePort }) });
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
   * @returns The connections of which something is left; without {@linkcode stop} they wait for the answer for ever.
   */
  closeAll(code: number, reason: string): WireConnection[] {
    // A code or reason that cannot be sent throws here, and not in a connection that comes later.
    encodeClosePayload(code, reason);
    this.#closing = { code, reason };
    const connections = [...this.#running].filter((each) => "close" in each);
    for (const connection of connections) connection.close(code, reason, { timeoutMs: Infinity });
    return connections;
  }

  /**
   * Stops listening, and drops every connection that is left.
   *
   * @param error Why, for the ends of those that had not ended.
   */
  async stop(error = ""): Promise<void> {
    if (!this.#isStopped) this.#listener.close();
    this.#isStopped = true;
    this.#change?.resolve();
    for (const timed of this.#running) timed.destroy(error);
    if (this.#running.size > 0) await (this.#empty ??= Promise.withResolvers()).promise;
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
        if (this.#receptions.size >= this.#maxHeads()) await this.#makeRoom();
        if (this.#isStopped) return conn.close();
        this.#receive(
          new Reception(conn, this.#secure?.(conn), this.#options.headTimeoutMs ?? HEAD_TIMEOUT_MS),
          refusal,
        );
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
  #watch(timed: Reception | WireConnection): number {
    this.#clock ??= setInterval(() => {
      const now = performance.now();
      for (const each of this.#running) each.tick(now);
      this.#patience.tick();
      this.#change?.resolve();
    }, TICK_MS);
    return this.#running.add(timed);
  }

  #forget(timed: Reception | WireConnection, place: number): void {
    this.#running.remove(place, timed);
    if (this.#running.size > 0) return;
    clearInterval(this.#clock);
    this.#clock = undefined;
    this.#empty?.resolve();
  }

  /** Runs a connection behind its upgrade. It has the place of its reception, of which nothing is held any more. */
  async #run(connection: WireConnection, running: Promise<void>, place: number): Promise<void> {
    try {
      await running;
    } catch {
      // What a handler throws ends its connection, and not the process.
      connection.destroy();
    }
    this.#forget(connection, place);
  }

  #maxHeads(): number {
    const { maxHeads = DEFAULT_MAX_HEADS } = this.#options;
    return typeof maxHeads === "number" ? maxHeads : maxHeads(this.#receptions.size);
  }

  /**
   * Waits until one of those before their upgrade is through, or has had its time: when thousands connect at once, their heads
   * are there and only have to be read. Meanwhile the system holds the others.
   */
  async #makeRoom(): Promise<void> {
    while (!this.#isStopped && this.#receptions.size >= this.#maxHeads()) {
      this.#patience.need();
      const oldest = this.#oldest();
      if (oldest === undefined) return;
      if (performance.now() >= oldest.safeUntil(this.#patience.ms)) {
        // What has arrived meanwhile is read first.
        await untilEvents();
        if (performance.now() < oldest.safeUntil(this.#patience.ms)) continue;
        if (this.#receptions.remove(oldest.place, oldest)) return this.#drop(oldest);
        continue;
      }
      this.#change = Promise.withResolvers();
      await this.#change.promise;
    }
  }

  /** The one whose time is up first. */
  #oldest(): Reception | undefined {
    const patienceMs = this.#patience.ms;
    let oldest: Reception | undefined;
    for (const each of this.#receptions) {
      if (oldest === undefined || each.safeUntil(patienceMs) < oldest.safeUntil(patienceMs)) oldest = each;
    }
    return oldest;
  }

  /** Drops the oldest, so that silent connections cannot keep others out. */
  #drop(oldest: Reception): void {
    if (oldest.isUpToPeer) this.#patience.wear();
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

  #tellAbandoned(reception: Reception, request: HeadRequest): void {
    try {
      this.#handler.abandoned?.(request, reception.addr);
    } catch {
      // There is nobody to tell of an exception.
    }
  }

  /** All that comes before the upgrade is one function: several that wait for each other take as long as to read the head does. */
  async #receive(reception: Reception, refusal?: Unreadable): Promise<void> {
    const place = this.#watch(reception);
    reception.place = this.#receptions.add(reception);
    let isUpgraded = false;
    try {
      const received = refusal ?? await reception.read();
      if ("cause" in received) {
        this.#tellRefused(reception, received);
        const { status, reason, accept } = received;
        if (status > 0) await reception.refuse(plainResponse(status, reason, { accept }), false);
      } else {
        const { request } = received;
        const deciding = this.#decide(reception, received);
        const decision = deciding instanceof Promise ? await this.#decided(reception, request, deciding) : deciding;
        if (decision instanceof Response) {
          await reception.refuse(decision, request.method === "HEAD");
        } else if (decision !== undefined) {
          try {
            if (!this.#handler.answersItself) {
              await reception.accept(request, decision, this.#handler.extensions?.(request));
            }
            this.#upgrade(reception, received, decision, place);
            isUpgraded = true;
          } catch {
            this.#tellAbandoned(reception, request);
          }
        }
      }
    } catch {
      // A peer that is gone, or too slow, needs no answer.
    }
    this.#receptions.remove(reception.place, reception);
    this.#change?.resolve();
    if (isUpgraded) return;
    reception.destroy();
    this.#forget(reception, place);
  }

  #decide(reception: Reception, { request, target, version }: Received): Decision | Promise<Decision> {
    try {
      return this.#handler.decide(request, reception.addr, target, version);
    } catch {
      return failed();
    }
  }

  /** Waits for a decision; nothing comes of it if the peer is gone meanwhile. */
  async #decided(
    reception: Reception,
    request: HeadRequest,
    decision: Promise<Decision>,
  ): Promise<Decision | undefined> {
    const deciding = decision.catch(failed);
    const decided = await Promise.race([deciding, reception.gone]);
    if (decided === undefined) {
      deciding.then((late) => typeof late === "string" && this.#tellAbandoned(reception, request));
    }
    return decided;
  }

  /** Begins the connection, which has the place of its reception from then on; throws if it cannot. */
  #upgrade(reception: Reception, { request, target, early }: Received, protocol: string, place: number): void {
    if (this.#isStopped) throw new Error("Server has stopped");
    const { stream, addr } = reception;
    const connection = this.#handler.serve({ stream, request, target, protocol, addr, turns: this.#turns });
    // One whose upgrade was under way when all were closed.
    if (this.#closing) connection.close(this.#closing.code, this.#closing.reason, { timeoutMs: Infinity });
    const running = connection.run(early);
    this.#running.replace(place, connection);
    this.#run(connection, running, place);
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
