/**
 * The cause of a failed `WebSocket`: the runtime's error text, which only this module reads, or a second request over
 * our own frames if the runtime hides the answer.
 *
 * @module
 */

import { statusText } from "../net/answer.ts";
import { withCertificate } from "../net/dial.ts";
import { connectionError, type Destination, lostError, OPEN_FAILURE_TEXT } from "../net/failure.ts";
import { nameOf } from "../net/proxy.ts";
import { CLEAN_UP_MS } from "./builtin_socket.ts";
import { type HandshakeRefusal, OpenError, type OpenOptions, type OpenReason } from "./connection.ts";

const CONNECT_PREFIX = "NetworkError: failed to connect to WebSocket: ";

/** Sorts the runtime's errors for a failed opening; an unknown one counts as no connection. */
export function openErrorOf(error: string, destination: Destination): OpenError {
  const words = error.startsWith(CONNECT_PREFIX) ? error.slice(CONNECT_PREFIX.length) : error;
  const { url, proxy } = destination;
  const status = Number(/^Invalid status code: (\d{3})/.exec(words)?.[1]);
  const failed = proxy && proxyErrorOf(words, status, proxy, url.protocol === "wss:");
  if (failed) return failed;
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
  if (LOST.test(words)) return lostError(words);
  return connectionError(words, destination);
}

function proxyErrorOf(words: string, status: number, proxy: URL, isSecure: boolean): OpenError | undefined {
  const name = nameOf(proxy);
  if (!proxy.protocol.startsWith("http")) {
    if (/^proxy server unreachable/i.test(words)) {
      const message = `No connection to the proxy ${name}: nothing answered there`;
      return new OpenError("no-connection", message, { reason: "refused", detail: words });
    }
    const [, refusal] = SOCKS_REFUSALS.find(([pattern]) => pattern.test(words)) ?? [];
    if (refusal !== undefined) return proxyError(`Proxy ${name} opened no tunnel: ${refusal}`, "proxy", words);
  } else if (isSecure && /^proxy authenti?[cz]ation required/i.test(words)) {
    return proxyError(`Proxy ${name} answered with ${statusText(407)} instead of a tunnel`, "proxy", words, {
      from: "proxy",
      status: 407,
      problems: ["status 407 instead of a tunnel"],
    });
  } else if (!isSecure && (status || /invalid HTTP/i.test(words))) {
    return forwardError(words, status, proxy);
  }
  if (!LOST.test(words)) return undefined;
  return proxyError(
    `Proxy ${name}, or the server behind it, ended the connection without an answer`,
    "proxy-or-server",
    words,
  );
}

/** For a `ws:` URL the runtime sends an HTTP proxy the whole URL, and hides whose answer it gets. */
function forwardError(words: string, status: number, proxy: URL): OpenError {
  const isProxy = status === 407;
  const who = `Proxy ${nameOf(proxy)}${isProxy ? "" : ", or the server behind it,"}`;
  const did = status ? `answered with ${statusText(status)} instead of 101` : "gave an answer that is not HTTP";
  return proxyError(`${who} ${did}`, isProxy ? "proxy" : "proxy-or-server", words, {
    from: isProxy ? "proxy" : "not-known",
    status: status || 0,
    problems: [status ? `status ${status} instead of 101` : "it is not HTTP"],
  });
}

function proxyError(
  message: string,
  reason: OpenReason,
  detail: string,
  refusal?: Pick<HandshakeRefusal, "from" | "status" | "problems">,
): OpenError {
  return new OpenError("no-connection", message, {
    reason,
    detail,
    ...(refusal && { refusal: { ...refusal, fields: [], body: "" } }),
  });
}

/** The runtime's errors for the refusals of a SOCKS5 proxy (RFC 1928 sections 3 and 6, RFC 1929 section 2). */
const SOCKS_REFUSALS: readonly (readonly [RegExp, string])[] = [
  [/^General SOCKS server failure/i, "it failed"],
  [/^Connection not allowed/i, "its rules forbid the connection"],
  [/^(Network|Host) unreachable/i, "it has no route to the server"],
  [/^Connection refused/i, "nothing listens at the port of the server"],
  [/^TTL expired/i, "the server is too far away"],
  [/^(Command|Address type) not supported/i, "it does not support connections of this kind"],
  [/^No acceptable auth/i, "it requires credentials"],
  [/^Password auth/i, "it rejects the credentials"],
  [/^Invalid response version|^Invalid (reserved|address)/i, "it does not speak SOCKS5"],
  [/^unexpected end of file/i, "it ended the connection"],
];

/**
 * Errors of the runtime's second attempt after a failure over TLS, for a server without HTTP/2 and with it. Both hide
 * whether the certificate or the answer was wrong.
 */
const HIDDEN_ANSWER = /^Didn't receive h2 alpn|^stream error received|NoApplicationProtocol/;

const HIDDEN_ANSWER_TEXT = "Server refused the client or its upgrade; over TLS the built-in WebSocket hides the answer";

/** The runtime's errors for an answer that it rejects. */
const ANSWER_PROBLEMS: readonly (readonly [RegExp, string, OpenReason])[] = [
  [/^Invalid upgrade header/i, 'the field Upgrade is not "websocket"', "other"],
  [/^Invalid connection header/i, 'the field Connection is not "Upgrade"', "connection-field"],
  [/^invalid HTTP/i, "it is not HTTP", "not-http"],
  [/message head/i, "its head is too long for the built-in WebSocket", "runtime"],
];

// "canceled": the connection ended before the request was written.
const LOST =
  /connection closed before message completed|connection reset|broken pipe|operation was canceled|^connection error/i;

/** The runtime's error for a server that closes or speaks before the request is written, as SSH and mail servers do. */
const SPOKE_FIRST = /operation was canceled/i;

/** Deadline for the second request where the runtime hides the answer, in milliseconds: 5 s, within the first deadline. */
export const ASK_TIMEOUT_MS = 5000;

/**
 * Finds the cause of a failure that the runtime hides, by the same request over our own frames. After a failure over
 * TLS the runtime tries again over HTTP/2, and reports only the second failure; it shows nothing of an answer that is
 * no HTTP, or a proxy's.
 */
export async function explained(
  error: OpenError,
  url: URL,
  options: OpenOptions,
  destination: Destination,
): Promise<OpenError> {
  const isSecure = url.protocol === "wss:";
  const isProxy = error.reason === "proxy" || error.reason === "proxy-or-server";
  const isHidden = HIDDEN_REASONS.includes(error.reason) || (isProxy && isSecure && error.status === undefined) ||
    isAsked(error.status) || SPOKE_FIRST.test(error.detail);
  if (!isHidden) {
    return await withCertificate(error, options, destination);
  }
  // Wire supports only HTTP proxies, without a client certificate.
  const { proxy, unixPath } = destination;
  const isAskable = (proxy === undefined || (isSecure && proxy.protocol === "http:" && !options.clientCertificate)) &&
    (unixPath === undefined || !isSecure);
  if (!isAskable) return error;
  const { openWire } = await import("./wire.ts");
  const question = { ...options, proxy: proxy?.href ?? "none", onFrame: () => {}, onConnected: () => {} };
  try {
    const connection = await openWire(url, question);
    await connection.close({ timeoutMs: CLEAN_UP_MS });
    // A server that accepts one request and refuses another is no limit of the runtime.
    if (error.status !== undefined) return error;
  } catch (told) {
    if (options.signal?.aborted) throw told;
    // Without a second answer the first error stays.
    if (!(told instanceof OpenError) || told.detail === "" && told.refusal === undefined) return error;
    if (error.status !== undefined && told.status !== error.status) return error;
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

/**
 * Whether to ask again for the text of a refusal: not if that may count as a second failed login, or if the server asks for
 * fewer requests.
 */
function isAsked(status = 0): boolean {
  return status >= 400 && status < 500 && ![401, 407, 429].includes(status);
}

const HIDDEN_REASONS: readonly OpenReason[] = ["hidden", "not-http", "connection-field"];

const ASKED_AGAIN_TEXT = "asked again over wire: over TLS the built-in WebSocket hides the answer";

const RUNTIME_TEXT = "The built-in WebSocket failed; the same handshake over wire passes";
