/**
 * What the echo server does: a `Request` in, a `Response` out, and the echo loop of one socket.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";
import { STATUS_CODE } from "@std/http/status";
import { DEFAULT_MAX_MESSAGE_BYTES } from "./protocol/assembler.ts";
import type { CloseFrame } from "./protocol/close.ts";
import { exceeds, type Message } from "./protocol/message.ts";
import { isToken } from "./protocol/token.ts";
import { within } from "./transport/deadline.ts";

/** A connection without traffic for this long is closed with 1001 unless told otherwise, in seconds: 120. */
export const DEFAULT_IDLE_TIMEOUT_SECONDS = 120;

/** How long an accepted upgrade may take to become an open connection, in milliseconds: 10 s. */
const OPEN_TIMEOUT_MS = 10_000;

/** From this size on, the memory of a message is given back as soon as it is echoed, in bytes: 64 KiB. */
const RELEASE_BYTES = 64 * 1024;

/** What happened to a connection of the echo server. */
export type EchoEvent = EchoOpened | EchoClosed;

/** A client's upgrade was accepted and the connection is open. */
export interface EchoOpened {
  /** What happened. */
  readonly type: "opened";
  /** The number of the connection, counted from 1. */
  readonly id: number;
  /** The address of the peer. */
  readonly peer: string;
  /** The path and query that it asked for. */
  readonly path: string;
  /** The subprotocol that was selected; empty if none. */
  readonly protocol: string;
}

/** A connection has ended. */
export interface EchoClosed {
  /** What happened. */
  readonly type: "closed";
  /** The number of the connection. */
  readonly id: number;
  /** The address of the peer. */
  readonly peer: string;
  /** The close frame of the peer, or `null` if the connection ended without one that is known. */
  readonly received: CloseFrame | null;
  /** The close frame with which the server began, or `null` if the peer began. */
  readonly sent: CloseFrame | null;
  /** What the runtime says of an abnormal end; empty if nothing. */
  readonly error: string;
  /** How many messages were echoed. */
  readonly messages: number;
  /** How many payload bytes were echoed. */
  readonly bytes: number;
  /** How long the connection was open, in milliseconds. */
  readonly ms: number;
}

/** What the echo server accepts. */
export interface EchoPolicy {
  /** The longest message in bytes; a longer one closes the connection with 1009. 16 MiB by default. */
  maxMessageBytes?: number;
  /**
   * How long a connection may be without traffic, in seconds, before it is pinged and closed with 1001; 0 for ever.
   * 120 by default.
   */
  idleTimeoutSeconds?: number;
  /** Told of every connection that opens or closes. If it throws, that connection is closed with 1011. */
  onEvent?: (event: EchoEvent) => void;
}

/** The echo server's answers. */
export interface Echo {
  /** Answers a request: with the upgrade, or with what is wrong about it. */
  fetch(request: Request, info: Deno.ServeHandlerInfo): Response;
  /**
   * Closes every connection, and from now on answers new ones with 503.
   *
   * @returns The connections that were open, each of which says when it has ended.
   */
  closeAll(code: number, reason: string): EchoConnection[];
}

/**
 * Makes an echo server without a listener: every message comes back unchanged, same kind, same bytes, same order, on
 * any path.
 *
 * Requests that are not a correct opening handshake (RFC 6455 section 4.2.1) are answered before the upgrade: 426 for
 * plain HTTP and other versions, 405 for other methods, 400 for a missing or malformed field. Of the subprotocols that
 * a client offers, the first is selected.
 *
 * @param policy What it accepts.
 * @returns The handler, and the way to end what it began.
 *
 * @example
 * ```ts
 * import { createEcho } from "./echo.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const echo = createEcho();
 * const info = { remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 1 }, completed: Promise.resolve() } as const;
 * const response = echo.fetch(new Request("http://127.0.0.1/"), info);
 * assertEquals(response.status, 426);
 * ```
 */
export function createEcho(policy: EchoPolicy = {}): Echo {
  const connections = new Set<EchoConnection>();
  let count = 0;
  let isClosing = false;
  return {
    closeAll(code, reason) {
      isClosing = true;
      for (const connection of connections) connection.close(code, reason);
      return [...connections];
    },
    fetch(request, info) {
      const refusal = refusalOf(request, isClosing);
      if (refusal) return refusal;
      // Copied before the upgrade: afterwards the request's headers and the remote address cannot be read.
      const { pathname, search } = new URL(request.url);
      const opened: EchoOpened = {
        type: "opened",
        id: ++count,
        peer: describeAddr(info.remoteAddr),
        path: pathname + search,
        protocol: subprotocolOf(request),
      };
      const { idleTimeoutSeconds = DEFAULT_IDLE_TIMEOUT_SECONDS } = policy;
      const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: idleTimeoutSeconds });
      if (opened.protocol !== "") response.headers.set("sec-websocket-protocol", opened.protocol);
      const connection = new EchoConnection(socket, opened, policy);
      connections.add(connection);
      connection.closed.then(() => connections.delete(connection));
      return response;
    },
  };
}

/** One socket of the echo server. */
export class EchoConnection {
  /** Resolves when the connection has ended. */
  readonly closed: Promise<EchoClosed>;

  readonly #socket: WebSocket;
  readonly #opened: EchoOpened;
  readonly #maxMessageBytes: number;
  readonly #onEvent: (event: EchoEvent) => void;
  readonly #opening = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<EchoClosed>();
  readonly #since = performance.now();
  #messages = 0;
  #bytes = 0;
  #error = "";
  #sent: CloseFrame | null = null;
  #isOver = false;

  /**
   * Begins to echo.
   *
   * @param socket The socket, as the upgrade gave it.
   * @param opened What is known of the connection.
   * @param policy What it accepts.
   */
  constructor(socket: WebSocket, opened: EchoOpened, policy: EchoPolicy) {
    const { maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES, onEvent = () => {} } = policy;
    this.closed = this.#end.promise;
    this.#socket = socket;
    this.#opened = opened;
    this.#maxMessageBytes = maxMessageBytes;
    this.#onEvent = onEvent;
    socket.binaryType = "arraybuffer";
    // An exception that leaves a handler would end the process.
    socket.onopen = () => this.#guard(() => this.#onOpen());
    socket.onmessage = (event) => this.#guard(() => this.#echo(event.data));
    socket.onerror = (event) => this.#error ||= event instanceof ErrorEvent ? event.message : "";
    socket.onclose = (event) => this.#onClose(event);
    // Of a peer that is gone before the socket is open the runtime tells nothing at all.
    within(this.#opening.promise, "open socket", { timeoutMs: OPEN_TIMEOUT_MS }).catch(() => this.#neverOpened());
  }

  /**
   * Begins to close the connection: from now on messages are neither read nor answered.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   */
  close(code: number, reason: string): void {
    if (this.#sent || this.#isOver) return;
    this.#sent = { code, reason };
    if (this.#socket.readyState === WebSocket.CONNECTING) this.#neverOpened();
    else this.#socket.close(code, reason);
  }

  #neverOpened(): void {
    this.#error ||= "gone before the connection was open";
    this.#onClose({ code: 0, reason: "" });
  }

  #onOpen(): void {
    this.#opening.resolve();
    // A close that was asked for before the socket was open had no effect.
    if (this.#sent) this.#socket.close(this.#sent.code, this.#sent.reason);
    if (!this.#isOver) this.#onEvent(this.#opened);
  }

  #guard(handle: () => void): void {
    try {
      handle();
    } catch (error) {
      this.#error ||= error instanceof Error ? error.message : String(error);
      this.close(1011, "internal error");
    }
  }

  #echo(data: string | ArrayBuffer): void {
    // While the peer's close frame is answered, what would be sent is dropped, and does not count as echoed.
    if (this.#sent || this.#socket.readyState !== WebSocket.OPEN) return;
    const message: Message = typeof data === "string" ? data : new Uint8Array(data);
    if (exceeds(message, this.#maxMessageBytes)) {
      this.close(1009, `at most ${this.#maxMessageBytes} bytes`);
      return;
    }
    // What send() adds to the buffer is the size in bytes, which for text would take a second pass to count.
    const before = this.#socket.bufferedAmount;
    this.#socket.send(data);
    this.#bytes += this.#socket.bufferedAmount - before;
    this.#messages++;
    // send() has copied the bytes. Given back at once, large ones do not pile up until the garbage is collected.
    if (typeof data !== "string" && data.byteLength >= RELEASE_BYTES) data.transfer(0);
  }

  /** The runtime can report one end twice, the first report is the true one; abnormal ends have code 0. */
  #onClose({ code, reason }: Pick<CloseEvent, "code" | "reason">): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#opening.resolve();
    // 1005 after our own close is an empty close frame or a dropped connection: not known, so not claimed.
    const isKnown = code !== 0 && !(code === 1005 && this.#sent) && this.#error === "";
    const closed: EchoClosed = {
      type: "closed",
      id: this.#opened.id,
      peer: this.#opened.peer,
      received: isKnown ? { code, reason } : null,
      sent: this.#sent,
      error: this.#error,
      messages: this.#messages,
      bytes: this.#bytes,
      ms: performance.now() - this.#since,
    };
    this.#guard(() => this.#onEvent(closed));
    this.#end.resolve(closed);
  }
}

/**
 * Says what is wrong about an opening handshake, as an answer (RFC 6455 sections 4.2.1 and 4.4).
 *
 * @param request The request.
 * @param isClosing Whether the server takes no new connections; everything is answered with 503 then.
 * @returns The answer, or `undefined` if the request can be upgraded.
 *
 * @example
 * ```ts
 * import { refusalOf } from "./echo.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(refusalOf(new Request("http://127.0.0.1/", { method: "POST" }))?.status, 405);
 * ```
 */
export function refusalOf(request: Request, isClosing = false): Response | undefined {
  if (isClosing) return refuse(request, STATUS_CODE.ServiceUnavailable, "The server is shutting down.");
  if (!URL.canParse(request.url)) return refuse(request, STATUS_CODE.BadRequest, "The host or the path is not valid.");
  const { headers } = request;
  const wantsUpgrade = tokensOf(request, "upgrade").includes("websocket");
  if (request.method !== "GET" && (wantsUpgrade || request.method !== "HEAD")) {
    return refuse(request, STATUS_CODE.MethodNotAllowed, "A WebSocket begins with the method GET.", { allow: "GET" });
  }
  if (!wantsUpgrade) {
    return refuse(
      request,
      STATUS_CODE.UpgradeRequired,
      "This is a WebSocket echo server: ask for the upgrade.",
      UPGRADE,
    );
  }
  if (!headers.has("host")) return refuse(request, STATUS_CODE.BadRequest, "The field Host is missing.");
  if (!tokensOf(request, "connection").includes("upgrade")) {
    return refuse(request, STATUS_CODE.BadRequest, 'The field Connection does not have the token "Upgrade".');
  }
  if (headers.get("sec-websocket-version") !== "13") {
    return refuse(request, STATUS_CODE.UpgradeRequired, "The only Sec-WebSocket-Version here is 13.", UPGRADE);
  }
  if (!isHandshakeKey(headers.get("sec-websocket-key"))) {
    return refuse(request, STATUS_CODE.BadRequest, "The field Sec-WebSocket-Key is not 16 bytes in Base64.");
  }
  if (!tokensOf(request, "sec-websocket-protocol").every((name) => isToken(name))) {
    return refuse(request, STATUS_CODE.BadRequest, "The field Sec-WebSocket-Protocol has a name that is not a token.");
  }
  return undefined;
}

const UPGRADE = { upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13" };

function refuse(request: Request, status: number, text: string, fields: Record<string, string> = {}): Response {
  const headers = new Headers({ ...fields, "cache-control": "no-store" });
  if (accepts(request, "text/plain", "application/json") === "application/json") {
    headers.set("content-type", "application/json");
    return new Response(`${JSON.stringify({ status, error: text })}\n`, { status, headers });
  }
  headers.set("content-type", "text/plain; charset=utf-8");
  return new Response(`${text}\n`, { status, headers });
}

/** A nonce of 16 bytes in Base64 has 22 characters, of which the last carries two bits, and two of padding. */
function isHandshakeKey(key: string | null): boolean {
  return key !== null && /^[A-Za-z0-9+/]{21}[AQgw]==$/.test(key);
}

/** The tokens of a list field, without case where the field has none (RFC 9110 section 5.6.1). */
function tokensOf(request: Request, field: string): string[] {
  const value = request.headers.get(field) ?? "";
  const tokens = value.split(",").map((token) => token.trim()).filter((token) => token !== "");
  return field === "sec-websocket-protocol" ? tokens : tokens.map((token) => token.toLowerCase());
}

/**
 * Selects a subprotocol: the first that the client offers (RFC 6455 section 4.2.2).
 *
 * @param request The request.
 * @returns The subprotocol; empty if none is offered.
 *
 * @example
 * ```ts
 * import { subprotocolOf } from "./echo.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const headers = { "sec-websocket-protocol": "chat, superchat" };
 * assertEquals(subprotocolOf(new Request("http://127.0.0.1/", { headers })), "chat");
 * ```
 */
export function subprotocolOf(request: Request): string {
  return tokensOf(request, "sec-websocket-protocol")[0] ?? "";
}

/**
 * Puts the address of a peer into words.
 *
 * @param addr The address.
 * @returns Host and port, or the kind of the transport where it has none.
 *
 * @example
 * ```ts
 * import { describeAddr } from "./echo.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeAddr({ transport: "tcp", hostname: "127.0.0.1", port: 6455 }), "127.0.0.1:6455");
 * ```
 */
export function describeAddr(addr: Deno.Addr): string {
  return "hostname" in addr ? `${addr.hostname}:${addr.port}` : addr.transport;
}
