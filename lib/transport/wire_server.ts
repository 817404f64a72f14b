/**
 * A WebSocket echo server over our own frames: a listener, the heads of the requests, and a clock for all connections.
 *
 * @module
 */

import { STATUS_TEXT } from "@std/http/status";
import { acceptKeyFor, endOfHead, type HttpHead, listOf, MAX_HEAD_BYTES, parseHead } from "../protocol/handshake.ts";
import { writeAll } from "./dial.ts";
import { Turns } from "./turns.ts";
import { WireEcho, type WireEnd, type WireLimits } from "./wire_echo.ts";

/** How long the head of a request may take, and the answer to one that is refused, in milliseconds: 10 s. */
export const HEAD_TIMEOUT_MS = 10_000;

/** How often the deadlines of all connections are looked at, in milliseconds: a deadline is up to this much late. */
const TICK_MS = 100;

/** How long to wait before the next connection is taken when one could not be, as without free descriptors, in ms. */
const ACCEPT_RETRY_MS = 100;

/** What a {@linkcode WireServer} does with a request, and tells of its connections. */
export interface WireHandler {
  /**
   * Decides on a request.
   *
   * @param request The request, without its body.
   * @returns A response that refuses it, or the subprotocol with which it is upgraded, empty for none.
   */
  decide(request: Request): Response | string;
  /**
   * Follows a connection that is upgraded.
   *
   * @param request The request.
   * @param protocol The subprotocol.
   * @param addr The address of the peer.
   * @returns What is told of it.
   */
  follow(request: Request, protocol: string, addr: Deno.Addr): WireFollower;
}

/** Told of one connection. If it throws, the connection is closed with 1011. */
export interface WireFollower {
  /** The connection is open. */
  onOpen(): void;
  /** The connection has ended. */
  onEnd(end: WireEnd): void;
}

/** Options of {@linkcode WireServer}. */
export interface WireServerOptions extends WireLimits {
  /** The host name or address to listen on. */
  readonly hostname: string;
  /** The port to listen on, 0 for any free one. */
  readonly port: number;
  /** How long the head of a request may take, in milliseconds; 10 s by default. */
  readonly headTimeoutMs?: number;
}

/**
 * Listens, answers plain HTTP and broken requests, and echoes on the connections that are upgraded.
 *
 * @example
 * ```ts
 * import { WireServer } from "./wire_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const limits = { maxMessageBytes: 1024, idleTimeoutMs: 0 };
 * const handler = { decide: () => new Response("no\n", { status: 403 }), follow: () => ({ onOpen() {}, onEnd() {} }) };
 * const server = new WireServer({ hostname: "127.0.0.1", port: 0, ...limits }, handler);
 * const answer = await fetch(`http://127.0.0.1:${server.port}/`);
 * assertEquals([answer.status, await answer.text()], [403, "no\n"]);
 * await server.stop();
 * ```
 */
export class WireServer {
  readonly #options: WireServerOptions;
  readonly #handler: WireHandler;
  readonly #listener: Deno.TcpListener;
  readonly #accepting: Promise<void>;
  /** Everything that has a deadline, and the promise that it is gone. */
  readonly #running = new Map<Timed, Promise<void>>();
  readonly #echoes = new Set<WireEcho>();
  #clock: ReturnType<typeof setInterval> | undefined;
  readonly #turns = new Turns();
  #closing: { code: number; reason: string } | undefined;
  #isStopped = false;

  /**
   * Listens from now on.
   *
   * @param options Where, and what is accepted.
   * @param handler Decides on requests, and is told of connections.
   * @throws {Error} If it cannot listen there, as `Deno.listen` says it.
   */
  constructor(options: WireServerOptions, handler: WireHandler) {
    this.#options = options;
    this.#handler = handler;
    this.#listener = Deno.listen({ hostname: options.hostname, port: options.port });
    this.#accepting = this.#accept();
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /**
   * Begins to close every connection. Others that come are still answered: it is the handler that refuses them.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @returns The connections that were open; without {@linkcode stop} they wait for the answer for ever.
   */
  closeAll(code: number, reason: string): WireEcho[] {
    this.#closing = { code, reason };
    for (const echo of this.#echoes) echo.close(code, reason, { timeoutMs: Infinity });
    return [...this.#echoes];
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
    while (!this.#isStopped) {
      try {
        const conn = await this.#listener.accept();
        try {
          conn.setNoDelay(true);
        } catch {
          // A peer that is gone already.
          conn.close();
          continue;
        }
        const reception = new Reception(conn, this.#options.headTimeoutMs ?? HEAD_TIMEOUT_MS);
        this.#run(reception, this.#receive(reception));
      } catch {
        // One connection that could not be taken is not the end of the others.
        if (!this.#isStopped) await new Promise((resolve) => setTimeout(resolve, ACCEPT_RETRY_MS));
      }
    }
  }

  /** Keeps the clock going as long as anything has a deadline. */
  #run(timed: Timed, running: Promise<void>): void {
    this.#running.set(
      timed,
      // What a handler throws ends its connection, and not the process.
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

  async #receive(reception: Reception): Promise<void> {
    let upgrade: Upgrade | undefined;
    try {
      const received = await reception.read();
      const answer = typeof received === "number" ? plain(received) : this.#handler.decide(received.request);
      if (answer instanceof Response) {
        await reception.refuse(answer, typeof received !== "number" && received.request.method === "HEAD");
      } else if (typeof received !== "number") {
        await reception.accept(received.request, answer);
        upgrade = { ...received, protocol: answer };
      }
    } catch {
      // A peer that is gone, or too slow, needs no answer.
    }
    if (upgrade === undefined || this.#isStopped) return reception.destroy();
    const echo = new WireEcho(reception.conn, this.#options, this.#turns);
    this.#run(echo, this.#echo(echo, upgrade, reception.conn.remoteAddr));
  }

  async #echo(echo: WireEcho, { request, protocol, early }: Upgrade, addr: Deno.Addr): Promise<void> {
    this.#echoes.add(echo);
    const follower = this.#handler.follow(request, protocol, addr);
    echo.ended.then((end) => {
      this.#echoes.delete(echo);
      // It is over: there is nobody to tell of an exception.
      follower.onEnd(end);
    }).catch(() => {});
    try {
      follower.onOpen();
    } catch (error) {
      echo.close(1011, "internal error", { error: error instanceof Error ? error.message : String(error) });
    }
    // One whose upgrade was under way when all were closed.
    if (this.#closing) echo.close(this.#closing.code, this.#closing.reason, { timeoutMs: Infinity });
    await echo.run(early);
  }
}

/** A character of a token (RFC 9110 section 5.6.2), or of the empty line that may come before a request. */
const METHOD_START = /^[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]/;

/** What has deadlines. */
interface Timed {
  tick(now: number): void;
  destroy(error?: string): void;
}

interface Received {
  readonly request: Request;
  /** What came behind the head. */
  readonly early: Uint8Array;
}

interface Upgrade extends Received {
  readonly protocol: string;
}

/** A connection before the upgrade. */
class Reception {
  readonly conn: Deno.TcpConn;
  readonly #dueAt: number;
  #isGone = false;

  constructor(conn: Deno.TcpConn, timeoutMs: number) {
    this.conn = conn;
    this.#dueAt = performance.now() + timeoutMs;
  }

  /** Reads the head, or gives the status of the answer to what is none. */
  async read(): Promise<Received | number> {
    const buffer = new Uint8Array(MAX_HEAD_BYTES);
    let length = 0;
    while (length < buffer.byteLength) {
      const count = await this.conn.read(buffer.subarray(length));
      if (count === null) throw new Error("Unexpected EOF");
      // The empty line may have begun in the read before.
      const end = endOfHead(buffer.subarray(0, length + count), length - 3);
      length += count;
      // What cannot be the beginning of a method is not HTTP, as a rule TLS, and no empty line will come.
      if (!METHOD_START.test(String.fromCharCode(buffer[0] ?? 0))) return 400;
      if (end === -1) continue;
      const request = requestOf(buffer.subarray(0, end));
      return request ? { request, early: buffer.subarray(end, length) } : 400;
    }
    return 431;
  }

  async accept(request: Request, protocol: string): Promise<void> {
    const key = request.headers.get("sec-websocket-key") ?? "";
    const fields = [["Upgrade", "websocket"], ["Connection", "Upgrade"], [
      "Sec-WebSocket-Accept",
      await acceptKeyFor(key),
    ]];
    if (protocol !== "") fields.push(["Sec-WebSocket-Protocol", protocol]);
    await writeAll(this.conn, headOf("101 Switching Protocols", fields));
  }

  async refuse(response: Response, isHead: boolean): Promise<void> {
    const body = new Uint8Array(await response.arrayBuffer());
    const text = statusTextOf(response.status);
    const fields = [...response.headers].filter(([name]) => name !== "connection");
    const connection = [response.headers.get("connection"), "close"].filter((token) => token !== null).join(", ");
    fields.push(["connection", connection], ["content-length", `${body.byteLength}`], [
      "date",
      new Date().toUTCString(),
    ]);
    const head = headOf(`${response.status} ${text}`, fields);
    const answer = new Uint8Array(head.byteLength + body.byteLength);
    answer.set(head);
    answer.set(body, head.byteLength);
    await writeAll(this.conn, isHead ? head : answer);
    // A socket that is closed with something unread takes the answer back.
    await this.conn.closeWrite();
    const forgotten = new Uint8Array(MAX_HEAD_BYTES);
    while (await this.conn.read(forgotten) !== null);
  }

  tick(now: number): void {
    if (now >= this.#dueAt) this.destroy();
  }

  destroy(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.conn.close();
  }
}

function statusTextOf(status: number): string {
  const texts: Record<number, string> = STATUS_TEXT;
  return texts[status] ?? "";
}

function plain(status: number): Response {
  const headers = { "cache-control": "no-store", "content-type": "text/plain; charset=utf-8" };
  return new Response(`${statusTextOf(status)}\n`, { status, headers });
}

function headOf(status: string, fields: readonly (readonly string[])[]): Uint8Array {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return Uint8Array.from(`HTTP/1.1 ${status}\r\n${lines.join("")}\r\n`, (char) => char.charCodeAt(0));
}

/** Makes a request of a head (RFC 9112 section 3); `undefined` if it is none. */
function requestOf(bytes: Uint8Array): Request | undefined {
  try {
    const head = parseHead(bytes);
    const [, method, target, minor] = /^(\S+) (\S+) HTTP\/1\.([01])$/.exec(head.startLine) ?? [];
    // The upgrade needs HTTP/1.1 (RFC 6455 section 4.2.1).
    if (minor === "0" && listOf(head, "upgrade").length > 0) return undefined;
    const url = target && urlOf(target, head);
    return url
      ? new Request(url, { method: method ?? "", headers: head.fields.map(([...field]) => field) })
      : undefined;
  } catch {
    // A line that is no field, a URL that is none, or a method that a request may not have.
    return undefined;
  }
}

/** A path belongs to the host of the field, an absolute URL stands for itself (RFC 9112 section 3.2). */
function urlOf(target: string, head: HttpHead): string | undefined {
  const hosts = head.fields.filter(([name]) => name.toLowerCase() === "host");
  const [host] = hosts;
  if (host === undefined || hosts.length > 1) return undefined;
  if (target.startsWith("/")) return `http://${host[1]}${target}`;
  return /^https?:\/\//i.test(target) ? target : undefined;
}
