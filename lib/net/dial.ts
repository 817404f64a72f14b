/**
 * The connection below a WebSocket: TCP, TLS, a unix socket, or a tunnel through an HTTP proxy.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { basicCredentials } from "../protocol/authority.ts";
import { type Answer, readAnswer, refusalOf, statusText } from "./answer.ts";
import { VERSION } from "./version.ts";
import { assertCertificates, awaitAlert, lookAtCertificate } from "./certificate.ts";
import type { DialOptions } from "./dial_options.ts";
import { OpenError, OptionError } from "./open_error.ts";
import { connectionError, type Destination, destinationOf, lostError } from "./failure.ts";
import { inUrl } from "./host.ts";
import { nameOf, routeTo } from "./proxy.ts";

/** User-Agent of requests over wire. */
export const USER_AGENT = `wsproof/${VERSION}`;

/**
 * Opens the connection for an opening handshake, with Nagle's algorithm off.
 *
 * @param url The server, `ws:` or `wss:`.
 * @param options TLS, proxy and unix socket.
 * @param onProgress Receives a connection before it is ready, so that a caller who gives up can close it.
 * @returns The connection; the caller closes it.
 * @throws {OpenError} If no connection can be made.
 * @throws {OptionError} If an option is unusable.
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
  const { unixPath, clientCertificate, connectTimeoutMs = Infinity } = options;
  const deadline = performance.now() + connectTimeoutMs;
  const { proxy } = routeTo(url, options, "wire");
  const isSecure = url.protocol === "wss:";
  if (clientCertificate && isSecure && proxy !== undefined) {
    throw new OptionError("Cannot present a client certificate through a proxy over wire");
  }
  assertCertificates(options);
  const target = targetOf(url);
  try {
    if (unixPath !== undefined) return await Deno.connect({ transport: "unix", path: unixPath });
    if (proxy) return await secured(await tunnel(proxy, url, deadline, onProgress), url, options, onProgress);
    if (clientCertificate && isSecure) return await presenting(target, options, clientCertificate, onProgress);
    return await secured(await connectTcp(target, onProgress), url, options, onProgress);
  } catch (error) {
    if (error instanceof OpenError || error instanceof OptionError) throw error;
    if (error instanceof Deno.errors.NotCapable) {
      throw new OptionError(`Cannot open the connection: ${messageOf(error)}`);
    }
    const destination = destinationOf(url, proxy, options);
    throw await refusedByTls(await failureOf(error, options, destination), options, destination);
  }
}

/**
 * Makes the error for a failed connection, with a look at a certificate of an unknown issuer.
 *
 * @param error The runtime's error or words.
 * @param options The authorities.
 * @param destination Destination of the connection.
 * @returns The error.
 */
export async function failureOf(error: unknown, options: DialOptions, destination: Destination): Promise<OpenError> {
  return await withCertificate(connectionError(messageOf(error), destination, { cause: error }), options, destination);
}

/**
 * Looks at the certificate of an unknown issuer that made a connection fail, over one more connection.
 *
 * @param error The error of the connection.
 * @param options The authorities.
 * @param destination Destination of the connection.
 * @returns The error with the certificate, or `error` itself.
 */
export async function withCertificate(
  error: OpenError,
  { caCerts }: DialOptions,
  destination: Destination,
): Promise<OpenError> {
  if (error.reason !== "unknown-issuer" || !isDirectTls(destination)) return error;
  const certificate = await lookAtCertificate(targetOf(destination.url), caCerts);
  const { failure, message, reason, stage, detail, cause } = error;
  return new OpenError(failure, message, { reason, stage, detail, cause, certificate });
}

/** Whether TLS goes straight to the server, so that one more connection reaches it. */
function isDirectTls({ url, proxy, unixPath }: Destination): boolean {
  return url.protocol === "wss:" && proxy === undefined && unixPath === undefined;
}

/**
 * Connects again after a server ended TLS, as an alert that refused the client may be lost. A reset, for example, makes
 * the system drop the alert before it.
 *
 * @param error The error of the connection.
 * @param options The authorities and the client certificate.
 * @param destination Destination of the connection.
 * @returns The error that names the alert, or `error` itself.
 */
export async function refusedByTls(
  error: OpenError,
  options: DialOptions,
  destination: Destination,
): Promise<OpenError> {
  if (error.reason === "tls-alert") return await failureOf(error.detail, options, destination);
  const mayHideAlert = error.failure === "connection-lost" || error.reason === "reset";
  if (!mayHideAlert || !isDirectTls(destination)) return error;
  const again = lostError(await awaitAlert(targetOf(destination.url), options));
  return again.reason === "tls-alert" ? await failureOf(again.detail, options, destination) : error;
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

/** Asks a proxy for a tunnel (RFC 9110 section 9.3.6), as RFC 6455 section 4.1 recommends for both schemes. */
async function tunnel(proxy: URL, url: URL, deadline: number, onProgress: OnProgress): Promise<Deno.TcpConn> {
  const connection = await connectTcp(targetOf(proxy), onProgress);
  try {
    const { hostname, port } = targetOf(url);
    const host = `${inUrl(hostname)}:${port}`;
    const lines = [`CONNECT ${host} HTTP/1.1`, `Host: ${host}`];
    if (proxy.username + proxy.password !== "") lines.push(`Proxy-Authorization: ${basicCredentials(proxy)}`);
    lines.push(`User-Agent: ${USER_AGENT}`);
    await writeAll(connection, new TextEncoder().encode([...lines, "", ""].join("\r\n")));
    const answer = await readAnswer(connection);
    if (isTunnel(answer)) return connection;
    throw await tunnelRefused(connection, answer, proxy, deadline);
  } catch (error) {
    try {
      connection.close();
    } catch {
      // The caller has given up, and closed the connection.
    }
    if (error instanceof OpenError && error.reason === "proxy") throw error;
    const detail = error instanceof OpenError ? error.detail : messageOf(error);
    const message = `Proxy ${nameOf(proxy)} opened no tunnel: it ended the connection`;
    throw new OpenError("no-connection", message, { reason: "proxy", detail, cause: error });
  }
}

/** Any 2xx status opens the tunnel. */
function isTunnel({ status, problem }: Answer): boolean {
  return problem === "" && status >= 200 && status < 300;
}

async function tunnelRefused(
  connection: Deno.Conn,
  answer: Answer,
  proxy: URL,
  deadline: number,
): Promise<OpenError> {
  const { status, isTls } = answer;
  // The URL's scheme is the server's, not the proxy's.
  const problem = isTls ? "it is TLS, not HTTP" : answer.problem;
  const isRefusal = status >= 300;
  const problems = [...(isRefusal ? [`status ${status} instead of a tunnel`] : []), ...(problem ? [problem] : [])];
  const message = isRefusal
    ? `Proxy ${nameOf(proxy)} answered with ${statusText(status)} instead of a tunnel${problem && `; ${problem}`}`
    : `Proxy ${nameOf(proxy)} opened no tunnel: ${problem || statusText(status)}`;
  const refusal = await refusalOf(connection, answer, { from: "proxy", problems, deadline });
  return new OpenError("no-connection", message, { refusal, reason: "proxy" });
}

/**
 * Writes all bytes, in as many writes as necessary.
 *
 * @param connection The connection.
 * @param bytes The bytes.
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

/**
 * Closes a connection, unless it is closed.
 *
 * @param conn The connection.
 *
 * @example
 * ```ts
 * import { closeQuietly } from "./dial.ts";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const conn = await Deno.connect({ hostname: "127.0.0.1", port: (listener.addr as Deno.NetAddr).port });
 * closeQuietly(conn);
 * closeQuietly(conn);
 * listener.close();
 * ```
 */
export function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // Closed already.
  }
}
