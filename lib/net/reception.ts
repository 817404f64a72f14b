/**
 * A connection before its upgrade: TLS, the head of the request, and the answer.
 *
 * @module
 */

import { STATUS_TEXT } from "@std/http/status";
import { acceptKeyFor, endOfHead, isHost, MAX_HEAD_BYTES, parseHead } from "../protocol/handshake.ts";
import { type HttpHead, listOf } from "../protocol/http.ts";
import { TlsError } from "./client_hello.ts";
import { writeAll } from "./dial.ts";
import type { ByteStream, SecureConn } from "./tls.ts";

/**
 * How long the head of a request may take with the TLS handshake before it and the decision on it, and then the answer to one
 * that is refused, in milliseconds: 10 s.
 */
export const HEAD_TIMEOUT_MS = 10_000;

/** The longest body of an answer, in bytes: 1 MiB. A longer one is answered with 500 instead. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

/** The room for a head before any of it has come, in bytes: it grows up to {@linkcode MAX_HEAD_BYTES}. */
const MIN_HEAD_BYTES = 2048;

/** How much of what comes behind a request that is refused is read and forgotten at once, in bytes: 16 KiB. */
const FORGOTTEN_BYTES = 16 * 1024;

/** Behind so many bytes, 64 KiB, it is read no faster than once a tick: whoever sends for ever costs nearly nothing. */
const MAX_FAST_FORGOTTEN_BYTES = 64 * 1024;

/**
 * Why a connection was refused before there was a request: its head is none (400, also plain HTTP where TLS is spoken), its
 * TLS handshake is none or over 64 KiB (0), its head is over 16 KiB (431), was not there in time (408, or 0 if nothing came),
 * or it had waited longest of too many (0).
 */
export type HeadRefusal = "bad-handshake" | "head-too-long" | "head-timeout" | "head-limit";

/** A character of a token (RFC 9110 section 5.6.2), or of the empty line that may come before a request. */
const METHOD_START = /^[\r\n!#$%&'*+.^_`|~0-9A-Za-z-]/;

/** A request that has arrived. */
export interface Received {
  /** The request, without its body. */
  readonly request: Request;
  /** The target as the peer wrote it. */
  readonly target: string;
  /** What came behind the head. */
  readonly early: Uint8Array;
}

/** What is no request, and the answer to it. */
export interface Unreadable {
  readonly status: number;
  readonly cause: HeadRefusal;
  /** The body of the answer, if not the text of its status. */
  readonly text?: string;
}

/** A connection before the upgrade. */
export class Reception {
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

/** An answer of one line of text. */
export function plain(status: number, text = statusTextOf(status)): Response {
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
