/**
 * The connection below a WebSocket: TCP, TLS over it, a unix socket, or a tunnel through an HTTP proxy.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { messageOf } from "../protocol/error.ts";
import { basicCredentials, endOfHead, type HttpHead, MAX_HEAD_BYTES, parseHead } from "../protocol/handshake.ts";
import { withoutToken } from "../protocol/message.ts";
import { VERSION } from "./version.ts";
import { assertCertificates, awaitAlert, lookAtCertificate } from "./certificate.ts";
import type { DialOptions } from "./dial_options.ts";
import { type HandshakeRefusal, OpenError, OptionError } from "./open_error.ts";
import { connectionError, type Destination, isTlsAlert } from "./failure.ts";
import { nameOf, routeTo } from "./proxy.ts";

/** The field User-Agent of what goes out over wire. */
export const USER_AGENT = `wsproof/${VERSION}`;

/**
 * Makes the connection that an opening handshake goes over, without waiting for small writes to be joined (Nagle).
 *
 * @param url Where to, with the scheme `ws:` or `wss:`.
 * @param options TLS, proxy and unix socket.
 * @param onProgress Told of a connection before it is ready, for those who give up meanwhile and have to close it.
 * @returns The connection; closing it is up to the caller.
 * @throws {OpenError} If there is no connection to be had.
 * @throws {OptionError} If an option cannot be used.
 *
 * @example
 * ```ts
 * import { dial } from "./dial.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const connection = await dial(new URL(`ws://127.0.0.1:${listener.addr.port}/`), {});
 * assertEquals(connection.remoteAddr, listener.addr);
 * connection.close();
 * (await listener.accept()).close();
 * listener.close();
 * ```
 */
export async function dial(
  url: URL,
  options: DialOptions,
  onProgress: (connection: Deno.Conn) => void = () => {},
): Promise<Deno.Conn> {
  const { unixPath, clientCertificate } = options;
  const { proxy } = routeTo(url, options, "wire");
  const isSecure = url.protocol === "wss:";
  if (clientCertificate && isSecure && (proxy !== undefined || unixPath !== undefined)) {
    throw new OptionError("Cannot present a client certificate through a proxy or a unix socket over wire");
  }
  if (unixPath !== undefined && isSecure) throw new OptionError("Cannot use TLS over a unix socket over wire");
  assertCertificates(options);
  const target = targetOf(url);
  try {
    if (unixPath !== undefined) return await Deno.connect({ transport: "unix", path: unixPath });
    if (proxy) return await secured(await tunnel(proxy, url, onProgress), url, options, onProgress);
    if (clientCertificate && isSecure) return await presenting(target, options, clientCertificate, onProgress);
    return await secured(await connectTcp(target, onProgress), url, options, onProgress);
  } catch (error) {
    if (error instanceof OpenError || error instanceof OptionError) throw error;
    if (error instanceof Deno.errors.NotCapable) {
      throw new OptionError(`Cannot open the connection: ${messageOf(error)}`);
    }
    throw await failureOf(error, options, {
      url,
      proxy,
      unixPath,
      presentsCertificate: clientCertificate !== undefined,
    });
  }
}

/**
 * Makes the error for a connection that could not be made. A certificate that nobody trusted has signed is looked at.
 *
 * @param error What the runtime threw or said.
 * @param options The authorities.
 * @param destination Where the connection was to go.
 * @returns The error.
 */
export async function failureOf(
  error: unknown,
  { caCerts }: DialOptions,
  destination: Destination,
): Promise<OpenError> {
  const words = messageOf(error);
  const certificate = /UnknownIssuer/.test(words) && isDirectTls(destination)
    ? await lookAtCertificate(targetOf(destination.url), caCerts)
    : undefined;
  return connectionError(words, destination, { cause: error, certificate });
}

/** Whether TLS goes straight to the server, so that another look at it is one connection away. */
function isDirectTls({ url, proxy, unixPath }: Destination): boolean {
  return url.protocol === "wss:" && proxy === undefined && unixPath === undefined;
}

/**
 * Looks again where a server ended TLS: it may have refused the client with an alert that did not arrive.
 *
 * @param error What is known.
 * @param options The authorities and the client certificate.
 * @param destination Where the connection was to go.
 * @returns The error that names the alert, or the one that was given.
 */
export async function refusedByTls(
  error: OpenError,
  options: DialOptions,
  destination: Destination,
): Promise<OpenError> {
  if (isTlsAlert(error.detail)) return await failureOf(error.detail, options, destination);
  if (error.failure !== "connection-lost" || !isDirectTls(destination)) return error;
  const words = await awaitAlert(targetOf(destination.url), options);
  return isTlsAlert(words) ? await failureOf(words, options, destination) : error;
}

interface Target {
  readonly hostname: string;
  readonly port: number;
}

const DEFAULT_PORTS: Record<string, number> = { "ws:": 80, "wss:": 443, "http:": 80, "https:": 443 };

function targetOf(url: URL): Target {
  return {
    hostname: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? DEFAULT_PORTS[url.protocol] ?? 80 : Number(url.port),
  };
}

type OnProgress = (connection: Deno.Conn) => void;

async function connectTcp(target: Target, onProgress: OnProgress): Promise<Deno.TcpConn> {
  const connection = await Deno.connect(target);
  onProgress(connection);
  connection.setNoDelay(true);
  return connection;
}

async function secured(
  connection: Deno.TcpConn,
  url: URL,
  { caCerts }: DialOptions,
  onProgress: OnProgress,
): Promise<Deno.Conn> {
  if (url.protocol !== "wss:") return connection;
  const { hostname } = targetOf(url);
  const ca = caCerts && { caCerts: [...caCerts] };
  return await handshaken(
    await Deno.startTls(connection, { hostname, alpnProtocols: ["http/1.1"], ...ca }),
    onProgress,
  );
}

async function presenting(
  target: Target,
  { caCerts }: DialOptions,
  certificate: { cert: string; key: string },
  onProgress: OnProgress,
): Promise<Deno.Conn> {
  const ca = caCerts && { caCerts: [...caCerts] };
  const tls = await Deno.connectTls({ ...target, alpnProtocols: ["http/1.1"], ...ca, ...certificate });
  return await handshaken(tls, onProgress);
}

async function handshaken(tls: Deno.TlsConn, onProgress: OnProgress): Promise<Deno.TlsConn> {
  onProgress(tls);
  try {
    await tls.handshake();
    return tls;
  } catch (error) {
    tls.close();
    throw error;
  }
}

/** Asks a proxy for a tunnel (RFC 9110 section 9.3.6), as RFC 6455 section 4.1 wants it for both schemes. */
async function tunnel(proxy: URL, url: URL, onProgress: OnProgress): Promise<Deno.TcpConn> {
  const connection = await connectTcp(targetOf(proxy), onProgress);
  try {
    const { hostname, port } = targetOf(url);
    const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    const lines = [`CONNECT ${host} HTTP/1.1`, `Host: ${host}`];
    if (proxy.username + proxy.password !== "") lines.push(`Proxy-Authorization: ${basicCredentials(proxy)}`);
    lines.push(`User-Agent: ${USER_AGENT}`);
    await writeAll(connection, new TextEncoder().encode([...lines, "", ""].join("\r\n")));
    const answer = await readHead(connection);
    const head = parseHead(answer.bytes.subarray(0, answer.bodyAt));
    const status = Number(/^HTTP\/1\.\d (\d{3})/.exec(head.startLine)?.[1] ?? 0);
    // Any 2xx opens the tunnel.
    if (status >= 200 && status < 300) return connection;
    throw new OpenError(
      "no-connection",
      `Proxy ${nameOf(proxy)} answered with ${statusText(status)} instead of a tunnel`,
      {
        refusal: refusalOf(answer, head, status, [`status ${status} instead of a tunnel`], "proxy"),
        reason: "proxy",
      },
    );
  } catch (error) {
    try {
      connection.close();
    } catch {
      // Whoever gave up meanwhile has closed it.
    }
    if (error instanceof OpenError && error.reason === "proxy") throw error;
    throw proxyError(error, proxy);
  }
}

/** A proxy that does not answer as HTTP wants it: it drops, is cut off, or speaks another protocol. */
function proxyError(error: unknown, proxy: URL): OpenError {
  const { refusal, detail = messageOf(error) } = error instanceof OpenError ? error : { refusal: undefined };
  const problem = refusal?.problems[0] ?? "it ended the connection";
  return new OpenError("no-connection", `Proxy ${nameOf(proxy)} opened no tunnel: ${problem.replace(/: try .*/, "")}`, {
    ...(refusal && { refusal: { ...refusal, from: "proxy" } }),
    reason: "proxy",
    detail,
    cause: error,
  });
}

/**
 * Puts a status into words.
 *
 * @param status The status.
 * @returns "status 403 (Forbidden)"; without the text for a status that has none.
 *
 * @example
 * ```ts
 * import { statusText } from "./dial.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(statusText(403), "status 403 (Forbidden)");
 * ```
 */
export function statusText(status: number): string {
  return `status ${status}${isStatus(status) ? ` (${STATUS_TEXT[status]})` : ""}`;
}

/**
 * Makes the record of an answer that is not what was asked for.
 *
 * @param answer The answer.
 * @param head Its head; `undefined` if it cannot be read.
 * @param status Its status; 0 if it is not HTTP.
 * @param problems What is wrong about it.
 * @param from Who gave it.
 * @returns The record.
 */
export function refusalOf(
  { bytes, bodyAt }: ReadHead,
  head: HttpHead | undefined,
  status: number,
  problems: readonly string[],
  from: HandshakeRefusal["from"],
): HandshakeRefusal {
  // A server that answers with the subprotocol of a token repeats the token.
  const fields = (head?.fields ?? []).map(([name, value]) =>
    [name, /^sec-websocket-protocol$/i.test(name) ? withoutToken(value) : value] as const
  );
  return { from, status, problems, fields, body: excerpt(bytes.subarray(bodyAt)) };
}

/**
 * Writes all of it, however many writes that takes.
 *
 * @param connection Where to.
 * @param bytes What.
 *
 * @example
 * ```ts
 * import { writeAll } from "./dial.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const written: number[] = [];
 * const onePerWrite = { write: (bytes: Uint8Array) => Promise.resolve(written.push(bytes[0] ?? 0) && 1) };
 * await writeAll(onePerWrite, Uint8Array.of(1, 2, 3));
 * assertEquals(written, [1, 2, 3]);
 * ```
 */
export async function writeAll(
  connection: { write(bytes: Uint8Array): Promise<number> },
  bytes: Uint8Array,
): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) at += await connection.write(bytes.subarray(at));
}

/** A head that has arrived, and what came with it. */
export interface ReadHead {
  /** All bytes that have arrived. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where the head ends and the rest begins. */
  readonly bodyAt: number;
}

/**
 * Reads the head of an HTTP response.
 *
 * @param connection Where it comes from.
 * @returns The head.
 * @throws {OpenError} `connection-lost` if the connection ends first; `handshake-refused` if it is not HTTP, or longer
 * than 16384 bytes.
 *
 * @example
 * ```ts
 * import { readHead } from "./dial.ts";
 * import { assertRejects } from "@std/assert";
 * import { OpenError } from "./open_error.ts";
 *
 * const ended = { read: () => Promise.resolve(null) };
 * await assertRejects(() => readHead(ended), OpenError, "ended before the handshake was answered");
 * ```
 */
export async function readHead(connection: { read(into: Uint8Array): Promise<number | null> }): Promise<ReadHead> {
  const buffer = new Uint8Array(MAX_HEAD_BYTES);
  let length = 0;
  while (length < buffer.byteLength) {
    const read = await readOrLose(connection, buffer.subarray(length));
    const from = length - 3;
    length += read;
    const start = String.fromCharCode(...buffer.subarray(0, Math.min(length, HTTP.length)));
    if (!HTTP.startsWith(start)) {
      const problem = isTls(buffer) ? "it is TLS and not HTTP: try wss://" : "it is not HTTP";
      throw new OpenError("handshake-refused", `Answer is not a valid upgrade: ${problem}`, {
        refusal: refusalOf({ bytes: buffer.subarray(0, length), bodyAt: 0 }, undefined, 0, [problem], "server"),
        ...(isTls(buffer) && { reason: "tls-server" }),
      });
    }
    const bodyAt = endOfHead(buffer.subarray(0, length), from);
    if (bodyAt !== -1) return { bytes: buffer.subarray(0, length), bodyAt };
  }
  const problem = `its head is longer than ${MAX_HEAD_BYTES} bytes`;
  throw new OpenError("handshake-refused", `Answer is not a valid upgrade: ${problem}`, {
    refusal: refusalOf({ bytes: buffer, bodyAt: 0 }, undefined, 0, [problem], "server"),
  });
}

const HTTP = "HTTP/";

/** Whether bytes begin as an alert or a handshake of TLS does (RFC 8446 section 5.1). */
function isTls(bytes: Uint8Array): boolean {
  return (bytes[0] === 21 || bytes[0] === 22) && bytes[1] === 3;
}

async function readOrLose(
  connection: { read(into: Uint8Array): Promise<number | null> },
  into: Uint8Array,
): Promise<number> {
  const lost = "Connection ended before the handshake was answered";
  try {
    const read = await connection.read(into);
    if (read !== null) return read;
  } catch (error) {
    throw new OpenError("connection-lost", lost, { detail: messageOf(error), cause: error });
  }
  throw new OpenError("connection-lost", lost);
}

/** The longest piece of a body that a report shows, in characters. */
const MAX_EXCERPT_CHARS = 512;

/**
 * Shows how bytes begin that may be anything.
 *
 * @param bytes The bytes.
 * @returns At most 512 characters; what is not UTF-8 becomes U+FFFD.
 *
 * @example
 * ```ts
 * import { excerpt } from "./dial.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(excerpt(new Uint8Array(1000).fill(65)).length, 512);
 * ```
 */
export function excerpt(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, 4 * MAX_EXCERPT_CHARS)).slice(0, MAX_EXCERPT_CHARS);
}
