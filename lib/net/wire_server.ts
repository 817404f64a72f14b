/**
 * A server of upgraded connections: listener, TLS, request heads, and clock. A handler decides on requests and runs
 * connections.
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
import { Standstill } from "./standstill.ts";
import { Turns, untilEvents } from "./turns.ts";
import type { Decision, WireConnection, WireHandler } from "./wire_handler.ts";

export { HEAD_TIMEOUT_MS, type HeadRefusal, type HeadRefusalCause, MAX_ANSWER_BYTES } from "./reception.ts";

/** Default limit of connections before their upgrade: 1,024. */
export const DEFAULT_MAX_HEADS = 1024;

/**
 * Connections that the system may queue until accepted: 4,096, or as many as allowed. Beyond this, the system forgets
 * the last step of their TCP handshake, and their heads come seconds later.
 */
const BACKLOG = 4096;

/** Interval of the clock that checks all deadlines, in milliseconds: a deadline is up to this much late. */
const TICK_MS = 100;

/** Pause after a failed accept, as without free descriptors, in milliseconds. */
const ACCEPT_RETRY_MS = 100;

/** Options of {@linkcode WireServer}. */
export interface WireServerOptions {
  /** The listener; by default the runtime's, on the host name and port. */
  readonly listener?: StreamListener | undefined;
  /** Host name or address to listen on. */
  readonly hostname: string;
  /** Port to listen on, 0 for any free one. */
  readonly port: number;
  /** Whether other listeners of this user share port and connections (`SO_REUSEPORT`); needs `--unstable-net`. */
  readonly reusePort?: boolean | undefined;
  /**
   * Deadline for TLS, request head and decision together, in milliseconds; a refusal gets as long again. 10 s by default.
   */
  readonly headTimeoutMs?: number | undefined;
  /**
   * Limit of connections before their upgrade: in the TLS handshake, without a complete head, or being answered. One
   * more drops the longest waiter after 2 s, or, in a flood of hundreds of silent ones, after 250 ms if the server only
   * waits for the peer. A function receives the present number. 1,024 by default.
   */
  readonly maxHeads?: number | ((heads: number) => number) | undefined;
  /** Certificate chain for TLS as PEM text, with {@linkcode WireServerOptions.key}; no TLS without both. */
  readonly cert?: string | undefined;
  /** Private key for TLS as PEM text. */
  readonly key?: string | undefined;
}

/**
 * Listens, answers malformed and refused requests, and runs upgraded connections.
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
  /** Starts TLS on a connection; `undefined` without TLS. */
  readonly #secure: ((conn: AcceptedStream) => SecureConn) | undefined;
  readonly #accepting: Promise<void>;
  /** Everything with a deadline. */
  readonly #running = new Members<Reception | WireConnection>();
  /** Connections before their upgrade. */
  readonly #receptions = new Members<Reception>();
  #clock: ReturnType<typeof setInterval> | undefined;
  readonly #turns = new Turns();
  #closing: { code: number; reason: string } | undefined;
  /** Resolves when `#running` is empty. */
  #empty: PromiseWithResolvers<void> | undefined;
  readonly #patience = new Patience();
  /** Connections and heads so far. */
  #arrivals = 0;
  /** Resolves when there may be room for one more reception. */
  #change: PromiseWithResolvers<void> | undefined;
  #isStopped = false;

  /**
   * Starts to listen.
   *
   * @param options Address, limits and TLS.
   * @param handler Decides on requests, and serves connections.
   * @throws {Error} As `Deno.listen` and `Deno.listenTls`, for an unusable address, or certificate and key.
   */
  constructor(options: WireServerOptions, handler: WireHandler) {
    this.#options = options;
    this.#handler = handler;
    const { hostname, port, reusePort, cert, key } = options;
    // A certificate without its key (or the reverse) is an error, not plain TCP.
    if (cert !== undefined || key !== undefined) {
      const pair = [cert ?? "", key ?? ""] as const;
      // Only the runtime's listener names the fault of a pair; the connections do without it (see tls.ts).
      // On a shared port, this listener would take connections from others, and the pair was checked before.
      if (!reusePort) Deno.listenTls({ hostname, port, cert: pair[0], key: pair[1] }).close();
      const context = contextOf(...pair);
      this.#secure = (conn) => new SecureConn(conn, context, this.#turns);
    }
    this.#listener = options.listener ??
      Deno.listen({ hostname, port, tcpBacklog: BACKLOG, ...(reusePort && { reusePort }) });
    this.#accepting = this.#accept();
  }

  /** The address and port of the listener. */
  get addr(): Deno.NetAddr {
    return this.#listener.addr;
  }

  /** The port of the listener. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Number of connections, before and after their upgrade. */
  get connections(): number {
    return this.#running.size;
  }

  /**
   * Begins to close every connection. The server still answers new ones: the handler refuses them.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @returns The remaining connections; without {@linkcode stop}, they wait for the answer for ever.
   */
  closeAll(code: number, reason: string): WireConnection[] {
    // An invalid code or reason throws here, not in a later connection.
    encodeClosePayload(code, reason);
    this.#closing = { code, reason };
    const connections = [...this.#running].filter((each) => "close" in each);
    for (const connection of connections) connection.close(code, reason, { timeoutMs: Infinity });
    return connections;
  }

  /**
   * Stops listening, and drops every remaining connection.
   *
   * @param error The reason, for the ends of the dropped connections.
   * @param graceMs How long to answer the requests that have come, those in the system's queue too, in milliseconds.
   */
  async stop(error = "", graceMs = 0): Promise<void> {
    const until = performance.now() + graceMs;
    // One ask of the system brings up to 128 connections, a later one their heads: two asks without either are the end.
    for (let quiet = 0; quiet < 2 && !this.#isStopped && performance.now() < until;) {
      const former = this.#arrivals;
      await untilEvents();
      const isAnswering = [...this.#receptions].some((each) => each.isAnswering);
      quiet = isAnswering || this.#arrivals > former ? 0 : quiet + 1;
    }
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
          // The peer has left already.
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
        // A failed accept must not end the others.
        if (this.#isStopped) return;
        // A peer that left before the accept costs nothing, and must not delay the others.
        if (isOfPeer(error)) continue;
        if (!isInTrouble) this.#handler.onTrouble?.(messageOf(error));
        isInTrouble = true;
        await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  /** Keeps the clock running while anything has a deadline. */
  #watch(timed: Reception | WireConnection): number {
    if (this.#clock === undefined) {
      const standstill = new Standstill(performance.now());
      this.#clock = setInterval(() => this.#tick(standstill), TICK_MS);
    }
    return this.#running.add(timed);
  }

  #tick(standstill: Standstill): void {
    const now = performance.now();
    if (standstill.isOver(now)) { for (const each of this.#running) each.tick(now); }
    this.#patience.tick();
    this.#change?.resolve();
  }

  #forget(timed: Reception | WireConnection, place: number): void {
    this.#running.remove(place, timed);
    if (this.#running.size > 0) return;
    clearInterval(this.#clock);
    this.#clock = undefined;
    this.#empty?.resolve();
  }

  /** Runs an upgraded connection in the place of its reception, which is then free for collection. */
  async #run(connection: WireConnection, running: Promise<void>, place: number): Promise<void> {
    try {
      await running;
    } catch {
      // An exception of the handler ends its connection, not the process.
      connection.destroy();
    }
    this.#forget(connection, place);
  }

  #maxHeads(): number {
    const { maxHeads = DEFAULT_MAX_HEADS } = this.#options;
    return typeof maxHeads === "number" ? maxHeads : maxHeads(this.#receptions.size);
  }

  /**
   * Waits until a reception is over, or past its time. When thousands connect at once, their heads have arrived and
   * only need reading. Meanwhile the system queues the others.
   */
  async #makeRoom(): Promise<void> {
    while (!this.#isStopped && this.#receptions.size >= this.#maxHeads()) {
      this.#patience.need();
      const oldest = this.#oldest();
      if (oldest === undefined) return;
      if (performance.now() >= oldest.safeUntil(this.#patience.ms)) {
        // Read pending bytes first.
        await untilEvents();
        if (performance.now() < oldest.safeUntil(this.#patience.ms)) continue;
        if (this.#receptions.remove(oldest.place, oldest)) return this.#drop(oldest);
        continue;
      }
      this.#change = Promise.withResolvers();
      await this.#change.promise;
    }
  }

  /** The reception whose time ends first. */
  #oldest(): Reception | undefined {
    const patienceMs = this.#patience.ms;
    let oldest: Reception | undefined;
    for (const each of this.#receptions) {
      if (oldest === undefined || each.safeUntil(patienceMs) < oldest.safeUntil(patienceMs)) oldest = each;
    }
    return oldest;
  }

  /** Drops the oldest reception, so that silent connections cannot keep others out. */
  #drop(oldest: Reception): void {
    if (oldest.isUpToPeer) this.#patience.wear();
    if (oldest.isWaiting) this.#tellRefused(oldest, TOO_MANY);
    oldest.destroy();
  }

  #tellRefused(reception: Reception, { status, cause, reason }: HeadRefusal): void {
    try {
      this.#handler.onRefused?.(reception.addr, { status, cause, reason });
    } catch {
      // Nobody can receive the exception.
    }
  }

  #tellAbandoned(reception: Reception, request: HeadRequest): void {
    try {
      this.#handler.abandoned?.(request, reception.addr);
    } catch {
      // Nobody can receive the exception.
    }
  }

  /** One function for all steps before the upgrade: a chain of async ones would cost as much as reading the head. */
  async #receive(reception: Reception, refusal?: Unreadable): Promise<void> {
    this.#arrivals++;
    const place = this.#watch(reception);
    reception.place = this.#receptions.add(reception);
    let isUpgraded = false;
    try {
      const received = refusal ?? await reception.read();
      this.#arrivals++;
      if ("cause" in received) {
        this.#tellRefused(reception, received);
        const { status, reason, accept } = received;
        if (status > 0) await reception.refuse(plainResponse(status, reason, { accept }), false);
      } else {
        const { request } = received;
        const deciding = this.#decide(reception, received);
        const decision = deciding instanceof Promise ? await this.#decided(reception, request, deciding) : deciding;
        if (typeof decision === "string") {
          try {
            if (!this.#handler.answersItself) {
              await reception.accept(request, decision, this.#handler.extensions?.(request));
            }
            this.#upgrade(reception, received, decision, place);
            isUpgraded = true;
          } catch {
            this.#tellAbandoned(reception, request);
          }
        } else if (decision !== undefined) {
          await reception.refuse(decision, request.method === "HEAD");
        }
      }
    } catch {
      // A peer that has left, or is too slow, gets no answer.
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

  /** Waits for a decision; `undefined` if the peer leaves meanwhile. */
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

  /** Starts the connection in the place of its reception; throws on failure. */
  #upgrade(reception: Reception, { request, target, early, now }: Received, protocol: string, place: number): void {
    if (this.#isStopped) throw new Error("Server has stopped");
    const { stream, addr } = reception;
    const connection = this.#handler.serve({ stream, request, target, protocol, addr, now, turns: this.#turns });
    // The upgrade was pending during closeAll().
    if (this.#closing) connection.close(this.#closing.code, this.#closing.reason, { timeoutMs: Infinity });
    const running = connection.run(early);
    this.#running.replace(place, connection);
    this.#run(connection, running, place);
  }
}

const TOO_MANY: HeadRefusal = {
  status: 0,
  cause: "head-limit",
  reason: "Too many connections waited for their upgrade, and this one had waited longest.",
};

function isOfPeer(error: unknown): boolean {
  const { ConnectionAborted, ConnectionReset, NotConnected } = Deno.errors;
  return [ConnectionAborted, ConnectionReset, NotConnected].some((kind) => error instanceof kind);
}
