/**
 * The connection below a WebSocket: TCP, TLS over it, a unix socket, or a tunnel through an HTTP proxy.
 *
 * @module
 */

import { endOfHead, MAX_HEAD_BYTES, parseHead } from "../protocol/handshake.ts";
import { OpenError, type OpenOptions, OptionError, placeOf } from "./connection.ts";
import { messageOf } from "../protocol/error.ts";

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
  options: OpenOptions,
  onProgress: (connection: Deno.Conn) => void = () => {},
): Promise<Deno.Conn> {
  const { proxy, unixPath, clientCertificate } = options;
  const isSecure = url.protocol === "wss:";
  if (clientCertificate && isSecure && (proxy !== undefined || unixPath !== undefined)) {
    throw new OptionError("Cannot present a client certificate through a proxy or a unix socket over wire");
  }
  if (unixPath !== undefined && isSecure) throw new OptionError("Cannot use TLS over a unix socket over wire");
  const target = targetOf(url);
  try {
    if (unixPath !== undefined) return await Deno.connect({ transport: "unix", path: unixPath });
    if (proxy !== undefined) {
      return await secured(await tunnel(new URL(proxy), target, onProgress), url, options, onProgress);
    }
    if (clientCertificate && isSecure) return await presenting(target, options, clientCertificate, onProgress);
    return await secured(await connectTcp(target, onProgress), url, options, onProgress);
  } catch (error) {
    if (error instanceof OpenError || error instanceof OptionError) throw error;
    const reason = messageOf(error);
    if (error instanceof Deno.errors.NotCapable) throw new OptionError(`Cannot open the connection: ${reason}`);
    throw new OpenError("no-connection", `No connection${placeOf(url, options)}: ${reason}`, { cause: error });
  }
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
  { caCerts }: OpenOptions,
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
  { caCerts }: OpenOptions,
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
async function tunnel(proxy: URL, { hostname, port }: Target, onProgress: OnProgress): Promise<Deno.TcpConn> {
  if (proxy.protocol !== "http:") {
    throw new OptionError(`Cannot use the proxy "${proxy.protocol}//${proxy.host}" over wire: give an http: URL`);
  }
  const connection = await connectTcp(targetOf(proxy), onProgress);
  try {
    const host = `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
    const lines = [`CONNECT ${host} HTTP/1.1`, `Host: ${host}`];
    if (proxy.username !== "") {
      const credentials = new TextEncoder().encode(`${decoded(proxy.username)}:${decoded(proxy.password)}`);
      lines.push(`Proxy-Authorization: Basic ${credentials.toBase64()}`);
    }
    await writeAll(connection, new TextEncoder().encode([...lines, "", ""].join("\r\n")));
    const { bytes, bodyAt } = await readHead(connection);
    const { startLine } = parseHead(bytes.subarray(0, bodyAt));
    const status = Number(/^HTTP\/1\.\d (\d{3})/.exec(startLine)?.[1] ?? 0);
    if (status >= 200 && status < 300) return connection;
    const message = `Proxy answered with status ${status} instead of a tunnel`;
    throw new OpenError("handshake-refused", message, { status, stage: "connect" });
  } catch (error) {
    try {
      connection.close();
    } catch {
      // Whoever gave up meanwhile has closed it.
    }
    if (!(error instanceof OpenError) || error.stage === "connect") throw error;
    const message = `Proxy did not answer with a tunnel: ${error.message}`;
    throw new OpenError(error.failure, message, { stage: "connect", cause: error });
  }
}

/** A percent sign that escapes nothing stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
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
 * import { OpenError } from "./connection.ts";
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
        refusal: { status: 0, problems: [problem], fields: [], body: excerpt(buffer.subarray(0, length)) },
      });
    }
    const bodyAt = endOfHead(buffer.subarray(0, length), from);
    if (bodyAt !== -1) return { bytes: buffer.subarray(0, length), bodyAt };
  }
  const problem = `its head is longer than ${MAX_HEAD_BYTES} bytes`;
  throw new OpenError("handshake-refused", `Answer is not a valid upgrade: ${problem}`, {
    refusal: { status: 0, problems: [problem], fields: [], body: excerpt(buffer) },
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
    throw new OpenError("connection-lost", `${lost}: ${messageOf(error)}`, {
      cause: error,
    });
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
