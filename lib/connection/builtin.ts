/**
 * A connection over the runtime's own `WebSocket`. This is the one place that turns its events into a close record:
 * they cannot be believed as they are.
 *
 * What cannot be had here: the frames, the accept key, who began the close once `close()` was called, and whether an answer
 * to our close was an empty close frame, an invalid one or a dropped connection. A peer that never answers a close frame leaves its socket behind, as the API cannot drop it; a
 * program that has to end then calls `Deno.exit`.
 *
 * @module
 */

import { MessageAssembler } from "../protocol/assembler.ts";
import { assertSendableClose, type CloseEnd, type CloseFrame, type CloseRecord } from "../protocol/close.ts";
import { messageOf, ProtocolError } from "../protocol/error.ts";
import { basicCredentials } from "../protocol/handshake.ts";
import { kindOf, type Message, quote, withoutToken } from "../protocol/message.ts";
import { assertCertificates } from "../net/certificate.ts";
import {
  type CloseOptions,
  type Connection,
  ConnectionClosedError,
  DEFAULT_MAX_BUFFERED_BYTES,
  DEFAULT_TIMEOUT_MS,
  OpenError,
  type OpenOptions,
  type OpenReason,
  OptionError,
} from "./connection.ts";
import { TimeoutError, type WaitOptions, within } from "../net/deadline.ts";
import { failureOf, statusText } from "../net/dial.ts";
import { connectionError, type Destination, endWordsOf, OPEN_FAILURE_TEXT, placeOf } from "../net/failure.ts";
import { Inbox } from "./inbox.ts";
import { isLoopback, mayNameProxy, nameOf, type Route, routeTo, withoutEnvironmentProxies } from "../net/proxy.ts";

/** The longest frame that the runtime accepts, in bytes: one less than 64 MiB. */
export const MAX_BUILTIN_FRAME_BYTES = 64 * 1024 * 1024 - 1;

// A browser-style WebSocket may close with 1000 or 3000-4999 only; 4000 plus the last digits of what it cannot send.
const PROTOCOL_ERROR = 4002;
const POLICY_VIOLATION = 4008;
const MESSAGE_TOO_BIG = 4009;

/** How long a connection that failed its handshake or its cancelling may take to be gone, in milliseconds. */
const CLEAN_UP_MS = 1000;

/** The longest pause before looking again whether the buffer has gone out, in milliseconds. */
const MAX_POLL_MS = 16;

/**
 * Opens a connection with the runtime's `WebSocket`.
 *
 * @param url The URL, with the scheme `ws:` or `wss:`; a user name and password in it become Basic authentication.
 * @param options What to ask for, whom to trust and how long to wait.
 * @returns The open connection.
 * @throws {OpenError} If no connection was made, the upgrade was refused, or not all was done within
 * `connectTimeoutMs`; also if the subprotocol is not one of those that were offered (RFC 6455 section 4.1).
 * @throws {OptionError} If an option cannot be used; nothing was sent then.
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
  const target = parsed(url);
  const route = routeTo(target, options, "builtin");
  const destination: Destination = {
    url: target,
    proxy: route.proxy,
    unixPath: options.unixPath,
    presentsCertificate: options.clientCertificate !== undefined,
  };
  assertCertificates(options);
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
    const timeoutMs = Math.max(1, Math.min(ASK_TIMEOUT_MS, deadline - performance.now()));
    throw await explained(error, target, { ...options, connectTimeoutMs: timeoutMs }, destination);
  }
  return connection;
}

/** How long a second question to a server whose answer the runtime hides may take, in milliseconds: 2 s. */
const ASK_TIMEOUT_MS = 2000;

/**
 * Finds out about a failure that the runtime does not tell. When an opening over TLS fails, the runtime tries once more over
 * HTTP/2 and tells of the second failure only; of an answer that is no HTTP, or of a proxy's, it shows nothing. The same
 * question over our own frames tells.
 */
async function explained(
  error: OpenError,
  url: URL,
  options: OpenOptions,
  destination: Destination,
): Promise<OpenError> {
  const isSecure = url.protocol === "wss:";
  const isHidden = HIDDEN_REASONS.includes(error.reason) || (error.reason === "proxy" && isSecure);
  if (!isHidden) {
    return error.reason === "unknown-issuer" ? await failureOf(error.detail, options, destination) : error;
  }
  // Over wire, only an HTTP proxy is spoken to, and without a client certificate.
  const { proxy, unixPath } = destination;
  const isAskable = (proxy === undefined || (isSecure && proxy.protocol === "http:" && !options.clientCertificate)) &&
    (unixPath === undefined || !isSecure);
  if (!isAskable) return error;
  const { openWire } = await import("./wire.ts");
  const question = { ...options, proxy: proxy?.href ?? "none", onFrame: () => {}, onConnected: () => {} };
  try {
    const connection = await openWire(url, question);
    await connection.close({ timeoutMs: CLEAN_UP_MS });
  } catch (told) {
    if (options.signal?.aborted) throw told;
    // Who does not answer a second time leaves it at what is known.
    if (!(told instanceof OpenError) || told.detail === "" && told.refusal === undefined) return error;
    const { failure, message, status, stage, refusal, reason, certificate } = told;
    const asked = stage === "upgrade" && isSecure ? `${message}; ${ASKED_AGAIN_TEXT}` : message;
    const details = { stage, reason, certificate, detail: error.detail, cause: told };
    return new OpenError(failure, asked, {
      ...details,
      ...(refusal && { refusal }),
      ...(status !== undefined && { status }),
    });
  }
  return new OpenError(error.failure, RUNTIME_TEXT, { stage: error.stage, reason: "runtime", detail: error.detail });
}

const HIDDEN_REASONS: readonly OpenReason[] = ["hidden", "not-http", "connection-field"];

const ASKED_AGAIN_TEXT = "asked again over wire, as over TLS the built-in WebSocket hides the answer";

const RUNTIME_TEXT = "The built-in WebSocket failed, where the same handshake over wire passes";

/** The URL as the runtime will read it; its words for another would quote a password. */
function parsed(url: string | URL): URL {
  const target = URL.parse(url);
  if (target === null) throw new OptionError("Cannot open the connection: the URL is not valid");
  return target;
}

/** The fields to add, among them the credentials: the runtime does not take every character in those of a URL. */
function headersFor(url: URL, { headers = [] }: OpenOptions, { proxy }: Route): [string, string][] {
  const fields = [...headers].map(([name, value]): [string, string] => [name, value]);
  const has = (wanted: string) => fields.some(([name]) => name.toLowerCase() === wanted);
  if (has("user-agent")) {
    throw new OptionError(
      "Cannot send a User-Agent of yours over the built-in WebSocket, as it sends its own beside it: use --transport wire",
    );
  }
  if (has("host") && proxy && url.protocol === "ws:" && proxy.protocol.startsWith("http")) {
    throw new OptionError(
      "Cannot send a Host of yours through an HTTP proxy over the built-in WebSocket: use --transport wire",
    );
  }
  const hasCredentials = url.username + url.password !== "";
  if (hasCredentials && !has("authorization")) fields.push(["authorization", basicCredentials(url)]);
  return fields;
}

/** TLS options, proxies, unix sockets and a Host need a client of their own; a plain connection does not. */
function createClient(
  url: URL,
  options: OpenOptions,
  { proxy, isKnown }: Route,
  headers: readonly [string, string][],
): Deno.HttpClient | undefined {
  const { caCerts, clientCertificate, unixPath } = options;
  const allowHost = headers.some(([name]) => name.toLowerCase() === "host");
  // A secret that is meant for this machine must not go to a proxy that the runtime alone knows.
  const isPrivate = !isKnown && isLoopback(url.hostname) &&
    headers.some(([name]) => name.toLowerCase() === "authorization");
  const isSpecial = caCerts || clientCertificate || proxy || unixPath !== undefined || allowHost || isPrivate;
  if (!isSpecial && !(isKnown && mayNameProxy())) return undefined;
  const hostname = url.hostname;
  const port = Number(url.port || (url.protocol === "wss:" ? 443 : 80));
  try {
    return withoutEnvironmentProxies(() =>
      Deno.createHttpClient({
        ...(caCerts && { caCerts: [...caCerts] }),
        ...clientCertificate,
        ...(proxy && { proxy: proxyOption(proxy) }),
        ...(!proxy && isPrivate && { proxy: { transport: "tcp", hostname, port } }),
        ...(unixPath !== undefined && { proxy: { transport: "unix", path: unixPath } }),
        ...(allowHost && { allowHost }),
      })
    );
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw new OptionError(
        `Cannot use the unix socket without permission to read and write: use "deno task client:unix"`,
      );
    }
    throw new OptionError("Cannot use the TLS, proxy or unix socket options", { cause: error });
  }
}

/** The credentials of a proxy apart from its URL, which the runtime does not decode. */
function proxyOption(proxy: URL): Deno.Proxy {
  const url = new URL(proxy);
  url.username = url.password = "";
  if (proxy.username + proxy.password === "") return { url: url.href };
  return { url: url.href, basicAuth: { username: decoded(proxy.username), password: decoded(proxy.password) } };
}

/** A percent sign that begins no escape stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replace(/%(?![0-9a-f]{2})/gi, "%25"));
  } catch {
    return text;
  }
}

function createSocket(
  url: URL,
  { protocols = [] }: OpenOptions,
  headers: [string, string][],
  client: Deno.HttpClient | undefined,
): WebSocket {
  const target = new URL(url);
  target.username = target.password = "";
  try {
    return new WebSocket(target, {
      protocols: [...protocols],
      ...(headers.length > 0 && { headers }),
      ...(client && { client }),
    });
  } catch (error) {
    throw new OptionError(`Cannot open the connection: ${messageOf(error)}`, { cause: error });
  }
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
    // Whoever waits for the opening sees its failure; if nobody does any more, nobody has to.
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

  /** Waits until the handshake is through and checks what the runtime leaves unchecked of it. */
  async opened(options: OpenOptions): Promise<void> {
    const { connectTimeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    try {
      await within(this.#open.promise, "answer", { timeoutMs: connectTimeoutMs, signal });
    } catch (error) {
      // Closing while connecting cancels; without it the runtime would wait for ever.
      this.#socket.close();
      await this.#gone();
      if (error instanceof TimeoutError) {
        const { proxy } = this.#destination;
        const silent = proxy ? "no connection, or a proxy or server that stays silent" : SILENT_TEXT;
        const message = `${error.message}${
          proxy ? placeOf(this.#destination).replace(/^ to/, " from") : ""
        }: ${silent}`;
        throw new OpenError("no-connection", message, proxy ? { reason: "proxy-or-server" } : {});
      }
      throw error;
    }
    const mismatch = this.#subprotocolMismatch();
    if (mismatch === undefined) return;
    await this.close({ code: PROTOCOL_ERROR, reason: "subprotocol mismatch", timeoutMs: CLEAN_UP_MS });
    throw new OpenError("handshake-refused", mismatch, { status: 101 });
  }

  async send(message: Message, options: WaitOptions = {}): Promise<void> {
    if (this.#socket.bufferedAmount > this.#maxBufferedBytes) await this.#flushed(options);
    if (this.#inbox.fault) throw this.#inbox.fault;
    // After close() the runtime drops silently what is sent.
    if (this.#record || this.#sent) throw new ConnectionClosedError(await within(this.closed, "end", options));
    this.#socket.send(message);
  }

  receive(options: WaitOptions = {}): Promise<Message> {
    return this.#inbox.receive(options);
  }

  recycle(message: Uint8Array<ArrayBuffer>): void {
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
    // The runtime reports every abnormal end with code 0, a failed handshake among them.
    this.#open.reject(openErrorOf(this.#error, this.#destination));
    if (code === 0) this.#settle(this.#recordOf(endOf(this.#error), null, endWordsOf(this.#error)));
    else if (code === 1005 && this.#sent) this.#settle(this.#recordOf("not-known", null, ""));
    else this.#settle(this.#recordOf("close-frame", { code, reason }, this.#error));
  }

  #recordOf(end: CloseEnd, received: CloseFrame | null, detail: string): CloseRecord {
    const ours = this.#sent;
    // Without a close() of ours the peer began, and the runtime answered with the same code and reason.
    let sent = ours ?? received;
    let initiator: CloseRecord["initiator"] = ours ? "local" : received ? "peer" : null;
    if (ours && (end === "close-frame" || end === "not-known")) {
      // The runtime may have answered a close frame of the peer that it tells of later: then close() sends nothing.
      initiator = "not-known";
      if (received?.code !== ours.code || received.reason !== ours.reason) sent = null;
    }
    return { sent, received, initiator, end, tcp: "not-known", detail };
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

  /** There is no drain event: look again, less and less often. */
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

  /** Waits for the end of a connection that was cancelled, so that nothing of it is left behind. */
  async #gone(): Promise<void> {
    await within(this.closed, "end", { timeoutMs: CLEAN_UP_MS }).catch(() => {});
  }

  #subprotocolMismatch(): string | undefined {
    const selected = this.#socket.protocol;
    const offered = this.#offered.map((name) => quote(withoutToken(name))).join(", ");
    if (selected === "" && offered !== "") {
      return `Server selected none of the subprotocols that were offered: ${offered}`;
    }
    if (selected === "" || this.#offered.includes(selected)) return undefined;
    return `Server selected the subprotocol ${quote(withoutToken(selected))}, which was not offered${
      offered && `: ${offered}`
    }`;
  }
}

const SILENT_TEXT = "no connection, or a server that stays silent";

const CONNECT_PREFIX = "NetworkError: failed to connect to WebSocket: ";

/** Sorts the runtime's words for a failed opening; what is not known to be an answer was no connection. */
function openErrorOf(error: string, destination: Destination): OpenError {
  const words = error.startsWith(CONNECT_PREFIX) ? error.slice(CONNECT_PREFIX.length) : error;
  const { url, proxy } = destination;
  const status = Number(/^Invalid status code: (\d{3})/.exec(words)?.[1]);
  if (proxy?.protocol.startsWith("http") && url.protocol === "ws:") {
    const failed = forwardErrorOf(words, status, proxy);
    if (failed) return failed;
  }
  if (status) {
    const message = `Server answered with ${statusText(status)} instead of 101`;
    return new OpenError("handshake-refused", message, { status, detail: words });
  }
  if (HIDDEN_ANSWER.test(words)) {
    return new OpenError("handshake-refused", HIDDEN_ANSWER_TEXT, { reason: "hidden", detail: words });
  }
  const problem = ANSWER_PROBLEMS.find(([pattern]) => pattern.test(words));
  if (problem) {
    const [, text, reason] = problem;
    const message = `${OPEN_FAILURE_TEXT["handshake-refused"]}: ${text}`;
    return new OpenError("handshake-refused", message, { reason, detail: words });
  }
  if (LOST.test(words)) {
    return new OpenError("connection-lost", OPEN_FAILURE_TEXT["connection-lost"], { detail: words });
  }
  return connectionError(words, destination);
}

/** Over a `ws:` URL the runtime asks an HTTP proxy with the whole URL, and does not tell whose answer it gets. */
function forwardErrorOf(words: string, status: number, proxy: URL): OpenError | undefined {
  const isProxy = status === 407;
  const who = `Proxy ${nameOf(proxy)}${isProxy ? "" : ", or the server behind it,"}`;
  const reason = isProxy ? "proxy" as const : "proxy-or-server" as const;
  const from = isProxy ? "proxy" as const : "not-known" as const;
  if (status) {
    const problems = [`status ${status} instead of 101`];
    const refusal = { from, status, problems, fields: [], body: "" };
    const message = `${who} answered with ${statusText(status)} instead of 101`;
    return new OpenError("no-connection", message, { reason, refusal, stage: "connect", detail: words });
  }
  if (/invalid HTTP/i.test(words)) {
    const refusal = { from, status: 0, problems: ["it is not HTTP"], fields: [], body: "" };
    const message = `${who} gave an answer that is not HTTP`;
    return new OpenError("no-connection", message, { reason, refusal, stage: "connect", detail: words });
  }
  if (LOST.test(words)) {
    const message = `${who} ended the connection without an answer`;
    return new OpenError("no-connection", message, { reason, stage: "connect", detail: words });
  }
  return undefined;
}

/**
 * What the second attempt of a failed opening over TLS says of a server without HTTP/2, and of one that has it: it hides
 * whether the certificate or the answer was the matter.
 */
const HIDDEN_ANSWER = /^Didn't receive h2 alpn|^stream error received|NoApplicationProtocol/;

const HIDDEN_ANSWER_TEXT = "Server refused the client or its upgrade; over TLS the built-in WebSocket hides the answer";

/** The runtime's words for an answer that it does not take. */
const ANSWER_PROBLEMS: readonly (readonly [RegExp, string, OpenReason])[] = [
  [/^Invalid upgrade header/i, 'the field Upgrade is not "websocket"', "other"],
  [/^Invalid connection header/i, 'the field Connection is not "Upgrade"', "connection-field"],
  [/^invalid HTTP/i, "it is not HTTP", "not-http"],
  [/message head/i, "its head is too long for the built-in WebSocket", "runtime"],
];

const LOST = /connection closed before message completed|connection reset|broken pipe/i;

/** An abnormal end is a drop if the runtime's words speak of the connection, else the peer broke the protocol. */
function endOf(error: string): CloseEnd {
  return error === "" || /EOF|os error|close_notify|connection|timed out/i.test(error)
    ? "no-close-frame"
    : "protocol-error";
}
