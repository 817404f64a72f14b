/**
 * A WebSocket echo server over our own frames: a listener, the heads of the requests, and a clock for all connections.
 *
 * @module
 */

import { STATUS_TEXT } from "@std/http/status";
import { encodeClosePayload } from "../protocol/close.ts";
import {
  acceptKeyFor,
  endOfHead,
  type HttpHead,
  isHost,
  listOf,
  MAX_HEAD_BYTES,
  parseHead,
} from "../protocol/handshake.ts";
import { messageOf } from "../protocol/error.ts";
import { TlsError } from "./client_hello.ts";
import { writeAll } from "./dial.ts";
import { type ByteStream, contextOf, SecureConn } from "./tls.ts";
import { Turns } from "./turns.ts";
import { WireEcho, type WireEnd, type WireLimits } from "./wire_echo.ts";

/**
 * How long the head of a request may take with the TLS handshake before it and the decision on it, and then the answer to one
 * that is refused, in milliseconds: 10 s.
 */
export const HEAD_TIMEOUT_MS = 10_000;

/** How many connections may be before their upgrade at once unless told otherwise: 1,024. */
export const DEFAULT_MAX_HEADS = 1024;

/** The longest body of an answer, in bytes: 1 MiB. A longer one is answered with 500 instead. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

/** The room for a head before any of it has come, in bytes: it grows up to {@linkcode MAX_HEAD_BYTES}. */
const MIN_HEAD_BYTES = 2048;

/** How much of what comes behind a request that is refused is read and forgotten at once, in bytes: 16 KiB. */
const FORGOTTEN_BYTES = 16 * 1024;

/** Behind so many bytes, 64 KiB, it is read no faster than once a tick: whoever sends for ever costs nearly nothing. */
const MAX_FAST_FORGOTTEN_BYTES = 64 * 1024;

/** How often the deadlines of all connections are looked at, in milliseconds: a deadline is up to this much late. */
const TICK_MS = 100;

/** How long to wait before the next connection is taken when one could not be, as without free descriptors, in ms. */
const ACCEPT_RETRY_MS = 100;

/** What a {@linkcode WireServer} does with a request, and tells of its connections. */
export interface WireHandler {
  /**
   * Decides on a request. A request that it lets through has exactly one end: `onEnd` of its follower, or `abandoned`. If it
   * throws or rejects, the answer is 500; if it takes longer than the rest of the time for the head, there is none.
   *
   * @param request The request, without its body.
   * @param addr The address of the peer.
   * @param target The target as the peer wrote it (RFC 9112 section 3.2): the URL of the request has it in its normal form.
   * @returns A response that refuses it, or the subprotocol with which it is upgraded, empty for none.
   */
  decide(request: Request, addr: Deno.Addr, target: string): Decision | Promise<Decision>;
  /**
   * Follows a connection that is upgraded. If it throws, the connection is dropped, and `abandoned` is told.
   *
   * @param request The request.
   * @param protocol The subprotocol.
   * @param addr The address of the peer.
   * @returns What is told of it.
   */
  follow(request: Request, protocol: string, addr: Deno.Addr): WireFollower;
  /**
   * Told of a request that `decide` let through and that nobody follows: the peer was gone before its upgrade was written, the
   * server has stopped, there were too many others, or `follow` has thrown.
   *
   * @param request The request.
   * @param addr The address of the peer.
   */
  abandoned?(request: Request, addr: Deno.Addr): void;
  /**
   * Told of a connection that `decide` was never asked about.
   *
   * @param addr The address of the peer.
   * @param status The HTTP status of the answer; 0 if there was none.
   * @param cause Why.
   */
  onRefused?(addr: Deno.Addr, status: number, cause: HeadRefusal): void;
  /**
   * Told when connections cannot be taken, as without free descriptors; it goes on trying.
   *
   * @param reason Why.
   */
  onTrouble?(reason: string): void;
}

/** A response that refuses a request, or the subprotocol with which it is upgraded, empty for none. */
export type Decision = Response | string;

/**
 * Why a connection was refused before there was a request: its head is none (400, also plain HTTP where TLS is spoken), its
 * TLS handshake is none or over 64 KiB (0), its head is over 16 KiB (431), was not there in time (408, or 0 if nothing came),
 * or it had waited longest of too many (0).
 */
export type HeadRefusal = "bad-handshake" | "head-too-long" | "head-timeout" | "head-limit";

/** Told of one connection. If it throws, the connection is closed with 1011. */
export interface WireFollower {
  /** The connection is open; what it has echoed can be read at any time. */
  onOpen(counts: Pick<WireEcho, "messages" | "bytes">): void;
  /** The connection has ended; told exactly once, whatever `onOpen` did. */
  onEnd(end: WireEnd): void;
  /** Nothing is left of it, its descriptor neither; told exactly once, up to 2 s after its end. */
  onGone?(): void;
}

/** Options of {@linkcode WireServer}. */
export interface WireServerOptions extends WireLimits {
  /** The host name or address to listen on. */
  readonly hostname: string;
  /** The port to listen on, 0 for any free one. */
  readonly port: number;
  /**
   * How long the head of a request may take with the TLS handshake before it and the decision on it, and then the answer to
   * one that is refused, in milliseconds; 10 s by default.
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
  /** How TLS begins on a connection, if there is TLS. */
  readonly #secure: ((conn: Deno.TcpConn) => SecureConn) | undefined;
  readonly #accepting: Promise<void>;
  /** Everything that has a deadline, and the promise that it is gone. */
  readonly #running = new Map<Timed, Promise<void>>();
  readonly #echoes = new Set<WireEcho>();
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
   * @param handler Decides on requests, and is told of connections.
   * @throws {Error} If it cannot listen there, or use the certificate and key, as `Deno.listen` and `Deno.listenTls` say it.
   */
  constructor(options: WireServerOptions, handler: WireHandler) {
    this.#options = options;
    this.#handler = handler;
    const { hostname, port, cert, key } = options;
    // One of the two without the other is not taken for no TLS.
    if (cert !== undefined || key !== undefined) {
      const pair = [cert ?? "", key ?? ""] as const;
      // What is wrong with them is said by the runtime's own listener, which is not used otherwise: see tls.ts.
      Deno.listenTls({ hostname, port, cert: pair[0], key: pair[1] }).close();
      const context = contextOf(...pair);
      this.#secure = (conn) => new SecureConn(conn, context, this.#turns);
    }
    this.#listener = Deno.listen({ hostname, port });
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

  /**
   * Begins to close every connection. Others that come are still answered: it is the handler that refuses them.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @returns The connections that were open; without {@linkcode stop} they wait for the answer for ever.
   */
  closeAll(code: number, reason: string): WireEcho[] {
    // What cannot be sent is found out here, and not by a connection that comes later.
    encodeClosePayload(code, reason);
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
    let isInTrouble = false;
    while (!this.#isStopped) {
      try {
        const conn = await this.#listener.accept();
        isInTrouble = false;
        try {
          conn.setNoDelay(true);
        } catch {
          // A peer that is gone already.
          conn.close();
          continue;
        }
        if (this.#receptions.size >= this.#maxHeads()) this.#dropOldest();
        const reception = new Reception(conn, this.#secure?.(conn), this.#options.headTimeoutMs ?? HEAD_TIMEOUT_MS);
        this.#receptions.add(reception);
        this.#run(reception, this.#receive(reception).finally(() => this.#receptions.delete(reception)));
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

  #maxHeads(): number {
    const { maxHeads = DEFAULT_MAX_HEADS } = this.#options;
    return typeof maxHeads === "number" ? maxHeads : maxHeads(this.#receptions.size);
  }

  /** Whoever holds connections open without a word cannot keep others out. */
  #dropOldest(): void {
    const [oldest] = this.#receptions;
    if (oldest === undefined) return;
    this.#receptions.delete(oldest);
    if (oldest.isWaiting) this.#tellRefused(oldest, 0, "head-limit");
    oldest.destroy();
  }

  #tellRefused(reception: Reception, status: number, cause: HeadRefusal): void {
    try {
      this.#handler.onRefused?.(reception.addr, status, cause);
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

  async #receive(reception: Reception): Promise<void> {
    try {
      const received = await reception.read();
      if ("cause" in received) {
        this.#tellRefused(reception, received.status, received.cause);
        if (received.status > 0) await reception.refuse(plain(received.status, received.text), false);
        return reception.destroy();
      }
      const { request } = received;
      const decision = await this.#decide(reception, received);
      if (decision instanceof Response) {
        await reception.refuse(decision, request.method === "HEAD");
      } else if (decision !== undefined) {
        return await this.#upgrade(reception, { ...received, protocol: decision });
      }
    } catch {
      // A peer that is gone, or too slow, needs no answer.
    }
    reception.destroy();
  }

  /** Asks the handler; nothing comes of it if the peer is gone meanwhile. */
  async #decide(reception: Reception, { request, target }: Received): Promise<Decision | undefined> {
    const deciding = (async () => await this.#handler.decide(request, reception.addr, target))().catch(() =>
      plain(500)
    );
    const decision = await Promise.race([deciding, reception.gone]);
    if (decision === undefined) {
      deciding.then((late) => typeof late === "string" && this.#tellAbandoned(reception, request));
    }
    return decision;
  }

  async #upgrade(reception: Reception, upgrade: Upgrade): Promise<void> {
    const { request, protocol } = upgrade;
    try {
      await reception.accept(request, protocol);
      if (this.#isStopped) throw new Error("Server has stopped");
      const echo = new WireEcho(reception.stream, this.#options, this.#turns);
      const follower = this.#handler.follow(request, protocol, reception.addr);
      this.#run(echo, this.#echo(echo, follower, upgrade.early));
    } catch {
      reception.destroy();
      this.#tellAbandoned(reception, request);
    }
  }

  async #echo(echo: WireEcho, follower: WireFollower, early: Uint8Array): Promise<void> {
    this.#echoes.add(echo);
    echo.ended.then((end) => {
      this.#echoes.delete(echo);
      // It is over: there is nobody to tell of an exception.
      follower.onEnd(end);
    }).catch(() => {});
    try {
      follower.onOpen(echo);
    } catch (error) {
      echo.close(1011, "internal error", { error: messageOf(error) });
    }
    // One whose upgrade was under way when all were closed.
    if (this.#closing) echo.close(this.#closing.code, this.#closing.reason, { timeoutMs: Infinity });
    const running = echo.run(early);
    // What runs as long as the connection would keep it as long.
    early = new Uint8Array(0);
    try {
      await running;
    } finally {
      follower.onGone?.();
    }
  }
}

function isOfPeer(error: unknown): boolean {
  const { ConnectionAborted, ConnectionReset, NotConnected } = Deno.errors;
  return [ConnectionAborted, ConnectionReset, NotConnected].some((kind) => error instanceof kind);
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
  /** The target as the peer wrote it. */
  readonly target: string;
  /** What came behind the head. */
  readonly early: Uint8Array;
}

interface Upgrade extends Received {
  readonly protocol: string;
}

/** What is no request, and the answer to it. */
interface Unreadable {
  readonly status: number;
  readonly cause: HeadRefusal;
  /** The body of the answer, if not the text of its status. */
  readonly text?: string;
}

/** A connection before the upgrade. */
class Reception {
  readonly addr: Deno.Addr;
  /** Resolves when it is destroyed. */
  readonly gone: Promise<undefined>;
  readonly #conn: Deno.TcpConn;
  readonly #secure: SecureConn | undefined;
  #stream: ByteStream;
  readonly #timeoutMs: number;
  readonly #leave = Promise.withResolvers<undefined>();
  readonly #late = Promise.withResolvers<Unreadable>();
  #dueAt: number;
  /** Resolves with the next tick. */
  #ticked: PromiseWithResolvers<void> | undefined;
  #length = 0;
  #isWaiting = true;
  #isGone = false;

  constructor(conn: Deno.TcpConn, secure: SecureConn | undefined, timeoutMs: number) {
    this.#conn = conn;
    this.#stream = secure ?? conn;
    this.#secure = secure;
    this.addr = conn.remoteAddr;
    this.gone = this.#leave.promise;
    this.#timeoutMs = timeoutMs;
    this.#dueAt = performance.now() + timeoutMs;
  }

  /** The connection, or the TLS over it. */
  get stream(): ByteStream {
    return this.#stream;
  }

  /** Whether its head is not complete. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Reads the head; rejects if the peer goes before it has ended. */
  async read(): Promise<Received | Unreadable> {
    const received = await Promise.race([this.#late.promise, this.#readHead()]);
    this.#isWaiting = false;
    return received;
  }

  async #readHead(): Promise<Received | Unreadable> {
    try {
      await this.#secure?.handshake();
    } catch (error) {
      // A peer that has gone is not told of.
      if (!(error instanceof TlsError)) throw error;
      if (!error.isText) return { status: 0, cause: "bad-handshake" };
      // Whoever speaks plain HTTP is answered in it.
      this.#stream = this.#conn;
      return NO_TLS;
    }
    let buffer = new Uint8Array(MIN_HEAD_BYTES);
    // One that is late is answered, and whoever answers reads on.
    while (this.#length < MAX_HEAD_BYTES && this.#isWaiting) {
      if (this.#length === buffer.byteLength) {
        const larger = new Uint8Array(2 * this.#length);
        larger.set(buffer);
        buffer = larger;
      }
      const count = await this.stream.read(buffer.subarray(this.#length));
      if (count === null) throw new Error("Unexpected EOF");
      // The empty line may have begun in the read before.
      const end = endOfHead(buffer.subarray(0, this.#length + count), this.#length - 3);
      this.#length += count;
      // Whoever keeps the event loop busy does not put off its own deadline.
      this.tick(performance.now());
      // What cannot be the beginning of a method is not HTTP, as a rule TLS, and no empty line will come.
      if (!METHOD_START.test(String.fromCharCode(buffer[0] ?? 0))) return BAD_REQUEST;
      if (end === -1) continue;
      const read = requestOf(buffer.subarray(0, end), this.#secure !== undefined);
      // A copy, as the connection keeps what came early for as long as it lives.
      return read ? { ...read, early: buffer.slice(end, this.#length) } : BAD_REQUEST;
    }
    return { status: 431, cause: "head-too-long" };
  }

  async accept(request: Request, protocol: string): Promise<void> {
    const key = request.headers.get("sec-websocket-key") ?? "";
    const fields = [["Upgrade", "websocket"], ["Connection", "Upgrade"], [
      "Sec-WebSocket-Accept",
      await acceptKeyFor(key),
    ]];
    if (protocol !== "") fields.push(["Sec-WebSocket-Protocol", protocol]);
    await writeAll(this.stream, headOf("101 Switching Protocols", fields));
  }

  /** Answers, and waits for the peer's end of the connection. */
  async refuse(response: Response, isHead: boolean): Promise<void> {
    this.#dueAt = performance.now() + this.#timeoutMs;
    const body = await this.#bodyOf(response);
    if (body === undefined) return this.refuse(plain(500), isHead);
    const { status, headers } = response;
    const fields = [...headers].filter(([name]) => !OWN_FIELDS.has(name));
    const connection = [headers.get("connection"), "close"].filter((token) => token !== null).join(", ");
    fields.push(["connection", connection]);
    // An answer that never has a body has no length either (RFC 9110 section 8.6).
    if (status !== 204 && status !== 304) {
      const isUnknown = isHead && response.body === null;
      fields.push(["content-length", (isUnknown && headers.get("content-length")) || `${body.byteLength}`]);
    }
    fields.push(["date", new Date().toUTCString()]);
    const head = headOf(`${status} ${statusTextOf(status)}`, fields);
    const answer = new Uint8Array(head.byteLength + body.byteLength);
    answer.set(head);
    answer.set(body, head.byteLength);
    await writeAll(this.stream, isHead ? head : answer);
    // A socket that is closed with something unread takes the answer back.
    await this.stream.closeWrite();
    await this.#forget();
  }

  /** Reads what still comes, to the end of the connection. */
  async #forget(): Promise<void> {
    const into = new Uint8Array(FORGOTTEN_BYTES);
    let forgotten = 0;
    while (true) {
      const count = await this.stream.read(into);
      if (count === null) return;
      forgotten += count;
      if (forgotten < MAX_FAST_FORGOTTEN_BYTES) continue;
      this.#ticked = Promise.withResolvers();
      await this.#ticked.promise;
    }
  }

  /** Reads a body to its end, as long as the peer is there; `undefined` if it is too long. */
  async #bodyOf({ body }: Response): Promise<Uint8Array | undefined> {
    if (body === null) return new Uint8Array(0);
    const reader = body.getReader();
    this.gone.then(() => reader.cancel()).catch(() => {});
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    let length = 0;
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      pieces.push(piece.value);
      length += piece.value.byteLength;
      if (length <= MAX_ANSWER_BYTES) continue;
      reader.cancel().catch(() => {});
      return undefined;
    }
    return new Uint8Array(await new Blob(pieces).arrayBuffer());
  }

  tick(now: number): void {
    this.#ticked?.resolve();
    if (now < this.#dueAt) return;
    if (!this.#isWaiting) return this.destroy();
    this.#isWaiting = false;
    this.#late.resolve({ status: this.#length > 0 ? 408 : 0, cause: "head-timeout" });
  }

  destroy(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.stream.close();
    this.#ticked?.resolve();
    this.#leave.resolve(undefined);
  }
}

const BAD_REQUEST: Unreadable = { status: 400, cause: "bad-handshake" };

/** In the words that clients know of other servers. */
const NO_TLS: Unreadable = {
  ...BAD_REQUEST,
  text: "The plain HTTP request was sent to HTTPS port: use wss:// or https://",
};

/** The fields that the server writes itself. */
const OWN_FIELDS = new Set(["connection", "content-length", "date", "transfer-encoding"]);

function statusTextOf(status: number): string {
  const texts: Record<number, string> = STATUS_TEXT;
  return texts[status] ?? "";
}

function plain(status: number, text = statusTextOf(status)): Response {
  const headers = { "cache-control": "no-store", "content-type": "text/plain; charset=utf-8" };
  return new Response(`${text}\n`, { status, headers });
}

function headOf(status: string, fields: readonly (readonly string[])[]): Uint8Array {
  const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`);
  return Uint8Array.from(`HTTP/1.1 ${status}\r\n${lines.join("")}\r\n`, (char) => char.charCodeAt(0));
}

/** Makes a request of a head (RFC 9112 section 3); `undefined` if it is none. */
function requestOf(bytes: Uint8Array, isSecure: boolean): Pick<Received, "request" | "target"> | undefined {
  try {
    const head = parseHead(bytes);
    const [, method = "", target = "", minor] = /^(\S+) (\S+) HTTP\/1\.([01])$/.exec(head.startLine) ?? [];
    // The upgrade needs HTTP/1.1 (RFC 6455 section 4.2.1).
    if (minor === "0" && listOf(head, "upgrade").length > 0) return undefined;
    const url = urlOf(target, hostOf(head, minor === "0"), isSecure);
    if (url === undefined) return undefined;
    const request = new Request(url, { method, headers: head.fields.map(([...field]) => field) });
    // A method has a case (RFC 9110 section 9.1), which the request does not keep for all of them.
    return request.method === method ? { request, target } : undefined;
  } catch {
    // A line that is no field, a URL that is none, or a method that a request may not have.
    return undefined;
  }
}

/** The field Host, which only HTTP/1.0 can do without (RFC 9112 section 3.2). What is not a host would become part of the path. */
function hostOf(head: HttpHead, mayLack: boolean): string | undefined {
  const hosts = head.fields.filter(([name]) => name.toLowerCase() === "host").map(([, value]) => value);
  if (hosts.length === 0 && mayLack) return "localhost";
  const [host = ""] = hosts;
  return hosts.length === 1 && isHost(host) ? host : undefined;
}

/** A path belongs to the host, an absolute URL stands for itself (RFC 9112 section 3.2). */
function urlOf(target: string, host: string | undefined, isSecure: boolean): string | undefined {
  if (host === undefined) return undefined;
  // A byte stands as a character here, which a URL would take for one of Unicode.
  const escaped = target.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  if (escaped.startsWith("/")) return `${isSecure ? "https" : "http"}://${host}${escaped}`;
  return /^https?:\/\//i.test(escaped) ? escaped : undefined;
}
