/**
 * A connection over the runtime's own `WebSocket`. Only this module turns its events into a close record, as they are
 * not reliable.
 *
 * The runtime hides the frames, the accept key, the initiator of a close after `close()`, and whether the answer to our
 * close frame was empty, invalid or a dropped connection. A peer that never answers a close frame leaks its socket, as
 * the API cannot drop it; a program that must end then calls `Deno.exit`.
 *
 * @module
 */

import { MessageAssembler } from "../protocol/assembler.ts";
import {
  assertSendableClose,
  type CloseEnd,
  type CloseFrame,
  type CloseRecord,
  MAX_CLOSE_REASON_BYTES,
} from "../protocol/close.ts";
import { messageOf, ProtocolError } from "../protocol/error.ts";
import { exceeds, kindOf, type Message, quote, withoutToken } from "../protocol/message.ts";
import {
  type CloseOptions,
  type Connection,
  ConnectionClosedError,
  DEFAULT_MAX_BUFFERED_BYTES,
  DEFAULT_TIMEOUT_MS,
  MAX_BUILTIN_FRAME_BYTES,
  OpenError,
  type OpenOptions,
  OptionError,
} from "./connection.ts";
import { TimeoutError, type WaitOptions, within } from "../net/deadline.ts";
import { CLEAN_UP_MS, createClient, createSocket, headersFor } from "./builtin_socket.ts";
import { type Destination, destinationOf, endWordsOf, placeOf } from "../net/failure.ts";
import { Inbox } from "./inbox.ts";
import { routeTo, serverUrlOf } from "../net/proxy.ts";

// A browser-style WebSocket may close with 1000 or 3000-4999 only: 3000 more than the code that it cannot send.
const PROTOCOL_ERROR = 4002;
const POLICY_VIOLATION = 4008;
const MESSAGE_TOO_BIG = 4009;

/** The longest pause between two looks at the send buffer, in milliseconds. */
const MAX_POLL_MS = 16;

/**
 * Opens a connection with the runtime's `WebSocket`.
 *
 * @param url The URL: `ws:` or `wss:`, or `http:` or `https:` in their place; a user name and password become Basic
 * authentication.
 * @param options Subprotocols, fields, TLS, proxy and deadlines.
 * @returns The open connection.
 * @throws {OpenError} If there is no connection, the upgrade was refused, or `connectTimeoutMs` has passed; also if the
 * server selected a subprotocol that was not offered (RFC 6455 section 4.1).
 * @throws {OptionError} If an option cannot be used, before anything is sent.
 *
 * @example
 * ```ts
 * import { openBuiltin } from "./builtin.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const connection = await openBuiltin(server.url, { connectTimeoutMs: 5000 });
 * await connection.send("Hello world");
 * assertEquals(await connection.receive({ timeoutMs: 5000 }), "Hello world");
 * const record = await connection.close({ timeoutMs: 5000 });
 * assertEquals(record.received, { code: 1000, reason: "" });
 * await server.shutdown();
 * ```
 */
export async function openBuiltin(url: string | URL, options: OpenOptions = {}): Promise<Connection> {
  options.signal?.throwIfAborted();
  const { connectTimeoutMs = DEFAULT_TIMEOUT_MS } = options;
  if (options.deflate) throw new OptionError("The built-in WebSocket cannot compress: use the wire transport");
  const target = serverUrlOf(url);
  const route = routeTo(target, options, "builtin");
  const destination = destinationOf(target, route.proxy, options);
  // Most runs need no certificate: loading the module on demand lets them start sooner.
  if (options.caCerts || options.clientCertificate) (await import("../net/certificate.ts")).assertCertificates(options);
  const headers = headersFor(target, options, route);
  const client = createClient(target, options, route, headers);
  let connection: BuiltinConnection;
  try {
    connection = new BuiltinConnection(createSocket(target, options, headers, client), client, destination, options);
  } catch (error) {
    client?.close();
    throw error;
  }
  const deadline = performance.now() + connectTimeoutMs;
  try {
    await connection.opened(options);
  } catch (error) {
    if (!(error instanceof OpenError)) throw error;
    const { ASK_TIMEOUT_MS, explained } = await import("./builtin_failure.ts");
    const timeoutMs = Math.max(1, Math.min(ASK_TIMEOUT_MS, deadline - performance.now()));
    throw await explained(error, target, { ...options, connectTimeoutMs: timeoutMs }, destination);
  }
  return connection;
}

class BuiltinConnection implements Connection {
  readonly transport = "builtin";
  readonly closed: Promise<CloseRecord>;

  readonly #socket: WebSocket;
  readonly #client: Deno.HttpClient | undefined;
  readonly #destination: Destination;
  readonly #offered: readonly string[];
  readonly #assembler: MessageAssembler;
  readonly #maxBufferedBytes: number;
  readonly #open = Promise.withResolvers<void>();
  readonly #end = Promise.withResolvers<CloseRecord>();
  readonly #inbox = new Inbox();
  #error = "";
  #sent: CloseFrame | undefined;
  #record: CloseRecord | undefined;

  constructor(socket: WebSocket, client: Deno.HttpClient | undefined, destination: Destination, options: OpenOptions) {
    const { protocols = [], maxMessageBytes = MAX_BUILTIN_FRAME_BYTES, maxBufferedBytes = DEFAULT_MAX_BUFFERED_BYTES } =
      options;
    this.closed = this.#end.promise;
    this.#socket = socket;
    this.#client = client;
    this.#destination = destination;
    this.#offered = protocols;
    this.#assembler = new MessageAssembler({ maxMessageBytes });
    this.#maxBufferedBytes = maxBufferedBytes;
    // Mark the rejection as handled: `opened()` reports it while somebody waits.
    this.#open.promise.catch(() => {});
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#open.resolve();
    socket.onmessage = (event) => this.#onMessage(event.data);
    socket.onerror = (event) => this.#error ||= event instanceof ErrorEvent ? event.message : "";
    socket.onclose = (event) => this.#onClose(event);
  }

  get protocol(): string {
    return this.#socket.protocol;
  }

  /** Waits for the handshake, and makes the checks that the runtime omits. */
  async opened(options: OpenOptions): Promise<void> {
    const { connectTimeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    try {
      await within(this.#open.promise, "answer", { timeoutMs: connectTimeoutMs, signal });
    } catch (error) {
      // Closing while connecting cancels; otherwise the runtime waits for ever.
      this.#socket.close();
      await this.#gone();
      if (error === NOT_OPENED) {
        throw (await import("./builtin_failure.ts")).openErrorOf(this.#error, this.#destination);
      }
      if (error instanceof TimeoutError) {
        const { proxy } = this.#destination;
        const silent = proxy ? "no connection, or a silent proxy or server" : SILENT_TEXT;
        const message = `${error.message}${placeOf(this.#destination).replace(/^ to/, " from")}: ${silent}`;
        throw new OpenError("no-connection", message, { reason: proxy ? "proxy-or-server" : "silent" });
      }
      throw error;
    }
    const mismatch = this.#subprotocolMismatch();
    if (mismatch === undefined) return;
    await this.close({ code: PROTOCOL_ERROR, reason: "subprotocol mismatch", timeoutMs: CLEAN_UP_MS });
    throw new OpenError("handshake-refused", mismatch, { status: 101, reason: "subprotocol" });
  }

  async send(message: Message, options: WaitOptions = {}): Promise<void> {
    if (this.#socket.bufferedAmount > this.#maxBufferedBytes) await this.#flushed(options);
    if (this.#inbox.fault) throw this.#inbox.fault;
    // After close() the runtime drops messages silently.
    if (this.#record || this.#sent) throw new ConnectionClosedError(await within(this.closed, "end", options));
    this.#socket.send(message);
  }

  receive(options: WaitOptions = {}): Promise<Message> {
    return this.#inbox.receive(options);
  }

  release(message: Uint8Array<ArrayBuffer>): void {
    message.buffer.transfer(0);
  }

  drain(): Message[] {
    return this.#inbox.drain();
  }

  async close(options: CloseOptions = {}): Promise<CloseRecord> {
    const { code = 1000, reason = "", timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    assertSendableClose(code, reason);
    this.#sendClose(code, reason);
    try {
      return await within(this.closed, "answer to the close frame", { timeoutMs, signal });
    } catch (error) {
      this.#settle(this.#recordOf("no-answer", null, messageOf(error)));
      return this.closed;
    }
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.#inbox[Symbol.asyncIterator]();
  }

  #sendClose(code: number, reason: string): void {
    if (this.#sent || this.#record) return;
    try {
      this.#socket.close(code, reason);
    } catch {
      throw new RangeError(`Cannot close with code ${code}: the built-in WebSocket sends 1000 and 3000-4999 only`);
    }
    this.#sent = { code, reason };
  }

  #onMessage(data: unknown): void {
    if (this.#inbox.fault) return;
    const payload = data instanceof ArrayBuffer ? new Uint8Array(data) : String(data);
    try {
      const message = this.#assembler.push({ kind: kindOf(payload), payload, final: true });
      if (message === undefined) return;
      if (this.#sent) this.#inbox.addSurplus(message);
      else this.#inbox.add(message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#inbox.fail(error);
      const isUnread = error.code === "too-much-unread";
      this.#sendClose(isUnread ? POLICY_VIOLATION : MESSAGE_TOO_BIG, isUnread ? "too much unread" : "message too big");
    }
  }

  #onClose({ code, reason }: CloseEvent): void {
    // The runtime reports every abnormal end with code 0, also a failed handshake.
    this.#open.reject(NOT_OPENED);
    if (code === 0 && this.#error === LONG_FRAME_WORDS) {
      // The runtime's limit, and no breach by the peer.
      this.#inbox.fail(new ProtocolError("length-too-large", LONG_FRAME_TEXT));
      this.#settle(this.#recordOf("no-close-frame", null, LONG_FRAME_TEXT));
    } else if (code === 0) this.#settle(this.#recordOf(endOf(this.#error), null, endWordsOf(this.#error)));
    else if (code === 1005 && this.#sent) this.#settle(this.#recordOf("not-known", null, ""));
    // The runtime accepts a control frame of more than 125 bytes (RFC 6455 section 5.5).
    else if (exceeds(reason, MAX_CLOSE_REASON_BYTES)) {
      this.#settle(this.#recordOf("protocol-error", null, LONG_CONTROL_TEXT));
    } else this.#settle(this.#recordOf("close-frame", { code, reason }, this.#error));
  }

  #recordOf(end: CloseEnd, received: CloseFrame | null, detail: string): CloseRecord {
    const ours = this.#sent;
    // Without our close() the peer began, and the runtime answered with the same code and reason.
    let sent = ours ?? received;
    let initiator: CloseRecord["initiator"] = ours ? "local" : received ? "peer" : null;
    if (ours && (end === "close-frame" || end === "not-known")) {
      // The runtime may have answered a close frame of the peer that it reports later: then close() sends nothing.
      initiator = "not-known";
      if (received?.code !== ours.code || received.reason !== ours.reason) sent = null;
    }
    return { sent, received, initiator, end, tcp: "not-known", detail, incomplete: "not-known" };
  }

  #settle(record: CloseRecord): void {
    if (this.#record) return;
    this.#record = record;
    const socket = this.#socket;
    socket.onopen =
      socket.onmessage =
      socket.onerror =
      socket.onclose =
        null;
    this.#client?.close();
    this.#inbox.end(record);
    this.#end.resolve(record);
  }

  /** Polls at growing intervals, as there is no drain event. */
  async #flushed({ timeoutMs, signal }: WaitOptions): Promise<void> {
    const deadline = timeoutMs === undefined ? Infinity : performance.now() + timeoutMs;
    let pauseMs = 0;
    while (this.#socket.bufferedAmount > this.#maxBufferedBytes && !this.#record) {
      signal?.throwIfAborted();
      if (performance.now() > deadline) throw new TimeoutError("room to send", timeoutMs ?? 0);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
      pauseMs = Math.min(pauseMs + 1, MAX_POLL_MS);
    }
  }

  /** Waits for the end of a cancelled connection, so that it leaves nothing behind. */
  async #gone(): Promise<void> {
    await within(this.closed, "end", { timeoutMs: CLEAN_UP_MS }).catch(() => {});
  }

  #subprotocolMismatch(): string | undefined {
    const selected = this.#socket.protocol;
    const offered = this.#offered.map((name) => quote(withoutToken(name))).join(", ");
    if (selected === "" && offered !== "") {
      return `Server selected none of the offered subprotocols: ${offered}`;
    }
    if (selected === "" || this.#offered.includes(selected)) return undefined;
    if (selected.includes(",")) return `Server selected more than one subprotocol: ${quote(withoutToken(selected))}`;
    return `Server selected the subprotocol ${quote(withoutToken(selected))}, which was not offered${
      offered && `: ${offered}`
    }`;
  }
}

/** An abnormal end is a drop if the runtime's error names the connection, else a breach of the protocol. */
function endOf(error: string): CloseEnd {
  return error === "" || /EOF|os error|close_notify|connection|timed out/i.test(error)
    ? "no-close-frame"
    : "protocol-error";
}

/** The end came before the opening; `opened()` finds the cause. */
const NOT_OPENED = new Error("Not opened");

/** The runtime's words for a data frame over its limit, and ours. */
const LONG_FRAME_WORDS = "Frame too large";
const LONG_FRAME_TEXT = `Frame is longer than ${MAX_BUILTIN_FRAME_BYTES} bytes, the limit of the built-in WebSocket`;

/** The same text as over wire. */
const LONG_CONTROL_TEXT = "Control frame is longer than 125 bytes";

const SILENT_TEXT = "no connection, or a silent server";
