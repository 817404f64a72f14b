/**
 * A connection before its upgrade: TLS, request head, and answer.
 *
 * @module
 */

import { STATUS_TEXT } from "@std/http/status";
import { writeSwitching } from "../protocol/handshake_server.ts";
import { HeadReader, HttpHeadError } from "../protocol/http.ts";
import { encodeHead } from "../protocol/http_lines.ts";
import { MIN_HEAD_MS } from "./patience.ts";
import { plainResponse } from "./plain_response.ts";
import { TlsError } from "./client_hello.ts";
import { writeAll } from "./dial.ts";
import { type HeadRequest, type ParsedRequest, parseRequest } from "./request.ts";
import type { AcceptedStream, ByteStream, SecureConn } from "./tls.ts";
import { untilEvents } from "./turns.ts";

/**
 * Deadline for TLS, request head and decision together, in milliseconds: 10 s. A refusal gets as long again.
 */
export const HEAD_TIMEOUT_MS = 10_000;

/** Longest body of an answer, in bytes: 1 MiB. A longer one becomes status 500. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

/** Size of each read of a head, in bytes: 2 KiB. */
const READ_BYTES = 2048;

/**
 * Spare buffers for reading heads and writing answers. Fresh buffers would be most of the garbage that a connection
 * leaves.
 */
const SPARE: Uint8Array<ArrayBuffer>[] = [];

/** Most spare buffers: 64, together 128 KiB. */
const MAX_SPARE = 64;

function takeSpare(): Uint8Array<ArrayBuffer> {
  return SPARE.pop() ?? new Uint8Array(READ_BYTES);
}

/** Returns a buffer that nobody uses any more, including the runtime. */
function giveSpare(spare: Uint8Array<ArrayBuffer>): void {
  if (SPARE.length < MAX_SPARE) SPARE.push(spare);
}

/** Size of each read that drops bytes after a refused request: 16 KiB. */
const FORGOTTEN_BYTES = 16 * 1024;

/** Above this many dropped bytes, 64 KiB, read only once a tick: an endless sender costs nearly nothing. */
const MAX_FAST_FORGOTTEN_BYTES = 64 * 1024;

/**
 * Cause of a refusal before a complete request: a malformed head (400, also for plain HTTP to a TLS port), a malformed
 * TLS handshake or one over 64 KiB (0), a head over 64 KiB (431) or past its deadline (408, or 0 if nothing came), the
 * longest wait among too many connections (0), or a handler that accepts no more connections.
 */
export type HeadRefusalCause = "bad-handshake" | "head-too-long" | "head-timeout" | "head-limit" | "connections";

/** A refusal before a complete request. */
export interface HeadRefusal {
  /** HTTP status of the answer; 0 without an answer. */
  readonly status: number;
  /** The cause. */
  readonly cause: HeadRefusalCause;
  /** The cause as a sentence, also in the answer: names the faulty line, but quotes none. */
  readonly reason: string;
}

/** A complete request. */
export interface Received extends ParsedRequest {
  /** Bytes after the head. */
  readonly early: Uint8Array;
  /** The time of the last of it, as of `performance.now()`. */
  readonly now: number;
}

/** Refusal of bytes that are no request. */
export interface Unreadable extends HeadRefusal {
  /** The field Accept, if received. */
  readonly accept?: string | undefined;
}

/** A connection before the upgrade. */
export class Reception {
  readonly addr: Deno.Addr;
  /** Time of arrival, as of `performance.now()`. */
  readonly #since = performance.now();
  /** Place among the connections before their upgrade. */
  place = -1;
  readonly #conn: AcceptedStream;
  readonly #secure: SecureConn | undefined;
  #stream: ByteStream;
  readonly #timeoutMs: number;
  /** Made on demand: most decisions are synchronous. */
  #leave: PromiseWithResolvers<undefined> | undefined;
  readonly #received = Promise.withResolvers<Received | Unreadable>();
  #dueAt: number;
  /** Resolves with the next tick. */
  #ticked: PromiseWithResolvers<void> | undefined;
  readonly #reader = new HeadReader("request");
  #isWaiting = true;
  #isAnswered = false;
  #isGone = false;

  constructor(conn: AcceptedStream, secure: SecureConn | undefined, timeoutMs: number) {
    this.#conn = conn;
    this.#stream = secure ?? conn;
    this.#secure = secure;
    this.addr = conn.remoteAddr;
    this.#timeoutMs = timeoutMs;
    this.#dueAt = this.#since + timeoutMs;
  }

  /** The connection, or TLS over the connection. */
  get stream(): ByteStream {
    return this.#stream;
  }

  /** Whether the head is incomplete. */
  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** Whether the head is complete, and its answer not yet written. */
  get isAnswering(): boolean {
    return !this.#isWaiting && !this.#isAnswered;
  }

  /** Whether the server waits only for the peer. */
  get isUpToPeer(): boolean {
    return this.#isWaiting && !this.#secure?.hasBegun;
  }

  /**
   * Tells when the connection may first be dropped for another.
   *
   * @param patienceMs Allowed silence of a peer while the server waits only for it, in milliseconds.
   * @returns The time, as of `performance.now()`.
   */
  safeUntil(patienceMs: number): number {
    return this.#since + (this.isUpToPeer ? patienceMs : MIN_HEAD_MS);
  }

  /** Resolves on `destroy()`. */
  get gone(): Promise<undefined> {
    this.#leave ??= Promise.withResolvers();
    if (this.#isGone) this.#leave.resolve(undefined);
    return this.#leave.promise;
  }

  /** Reads the head; rejects if the peer leaves first. */
  read(): Promise<Received | Unreadable> {
    this.#readHead();
    return this.#received.promise;
  }

  async #readHead(): Promise<void> {
    const into = takeSpare();
    try {
      if (this.#secure) await this.#handshake(this.#secure);
      // After a timeout, the refusal takes over reading.
      while (this.#isWaiting) {
        const count = await this.#stream.read(into);
        if (count === null) throw new Error("Unexpected EOF");
        this.#take(into.subarray(0, count));
        // A peer that keeps the event loop busy must not keep the clock from its deadline.
        if (this.#isWaiting && performance.now() >= this.#dueAt) await untilEvents();
      }
    } catch (error) {
      this.#received.reject(error);
    } finally {
      giveSpare(into);
    }
  }

  async #handshake(secure: SecureConn): Promise<void> {
    try {
      await secure.handshake();
    } catch (error) {
      // Report no peer that has left.
      if (!(error instanceof TlsError)) throw error;
      // Answer plain HTTP in plain HTTP.
      if (error.isText) this.#stream = this.#conn;
      this.#settle(error.isText ? NO_TLS : NO_HANDSHAKE);
    }
  }

  #take(bytes: Uint8Array): void {
    try {
      const complete = this.#reader.push(bytes);
      if (complete === undefined) return;
      const parsed = parseRequest(complete.head, this.#secure !== undefined);
      this.#settle(
        "reason" in parsed
          ? this.#unreadable("bad-handshake", parsed.reason)
          : { ...parsed, early: complete.rest, now: performance.now() },
      );
    } catch (error) {
      if (!(error instanceof HttpHeadError)) throw error;
      const cause = error.problem === "too-long" ? "head-too-long" : "bad-handshake";
      this.#settle(this.#unreadable(cause, `${error.reason}.`));
    }
  }

  /** Only the first call counts: a head that is complete after its refusal is late. */
  #settle(received: Received | Unreadable): void {
    this.#isWaiting = false;
    this.#received.resolve(received);
  }

  #unreadable(cause: HeadRefusalCause, reason: string): Unreadable {
    const [, accept] = this.#reader.fieldsSoFar().find(([name]) => name.toLowerCase() === "accept") ?? [];
    return { status: cause === "head-too-long" ? 431 : 400, cause, reason, accept };
  }

  #tooLate(): Unreadable {
    const reason = `No complete request within ${this.#timeoutMs / 1000} s.`;
    return { status: this.#reader.length > 0 ? 408 : 0, cause: "head-timeout", reason };
  }

  /** Answers with the upgrade; rejects if the peer has left. */
  async accept(request: HeadRequest, protocol: string, extensions = ""): Promise<void> {
    const room = takeSpare();
    try {
      const answer = writeSwitching(room, request.headers.get("sec-websocket-key") ?? "", protocol, extensions);
      const written = await this.#stream.write(answer);
      if (written < answer.byteLength) await writeAll(this.#stream, answer.subarray(written));
    } finally {
      giveSpare(room);
    }
  }

  /** Answers, and waits until the peer ends the connection. */
  async refuse(response: Response, isHead: boolean): Promise<void> {
    this.#isWaiting = false;
    this.#dueAt = performance.now() + this.#timeoutMs;
    const body = await this.#bodyOf(response);
    if (body === undefined) return this.refuse(failed(), isHead);
    const { status, headers } = response;
    const fields = [...headers].filter(([name]) => !OWN_FIELDS.has(name));
    const connection = [headers.get("connection"), "close"].filter((token) => token !== null).join(", ");
    fields.push(["connection", connection]);
    // A status without a body has no length either (RFC 9110 section 8.6).
    if (status !== 204 && status !== 304) {
      const isUnknown = isHead && response.body === null;
      fields.push(["content-length", (isUnknown && headers.get("content-length")) || `${body.byteLength}`]);
    }
    fields.push(["date", new Date().toUTCString()]);
    const head = encodeHead(`HTTP/1.1 ${status} ${statusTextOf(status)}`, fields);
    const answer = new Uint8Array(head.byteLength + body.byteLength);
    answer.set(head);
    answer.set(body, head.byteLength);
    await writeAll(this.stream, isHead ? head : answer);
    // Closing a socket with unread bytes would discard the answer.
    await this.stream.closeWrite();
    this.#isAnswered = true;
    await this.#forget();
  }

  /** Drains the connection to its end. */
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

  /** Reads a body to its end while the peer stays; `undefined` if too long. */
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
    this.#settle(this.#tooLate());
  }

  destroy(): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.stream.close();
    this.#ticked?.resolve();
    this.#leave?.resolve(undefined);
  }
}

const NO_HANDSHAKE: Unreadable = {
  status: 0,
  cause: "bad-handshake",
  reason: "The TLS handshake is invalid or incomplete.",
};

/** The wording that clients know from other servers. */
const NO_TLS: Unreadable = {
  status: 400,
  cause: "bad-handshake",
  reason: "The plain HTTP request was sent to HTTPS port: use wss:// or https://",
};

/** Fields that the server writes itself. */
const OWN_FIELDS = new Set(["connection", "content-length", "date", "transfer-encoding"]);

function statusTextOf(status: number): string {
  const texts: Record<number, string> = STATUS_TEXT;
  return texts[status] ?? "";
}

/** The answer after a failure of ours. */
export function failed(): Response {
  return plainResponse(500, statusTextOf(500));
}
