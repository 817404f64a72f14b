/**
 * Problems and hints for connections that could not be opened.
 *
 * @module
 */

import { quote, withoutPassword } from "../protocol/message.ts";
import type {
  HandshakeRefusal,
  OpenError,
  OpenReason,
  ServerCertificate,
  TransportName,
} from "../connection/connection.ts";

/** A failed attempt to open a connection. */
export interface OpenAttempt {
  /** The transport. */
  readonly transport: TransportName;
  /** The proxy, without credentials; `null` without one, `"not-known"` if only the runtime knows. */
  readonly proxy: string | null;
  /** Whether the scheme was `wss:`. */
  readonly isSecure?: boolean;
  /** The URL. */
  readonly url?: URL | null;
  /** The Origin field of the request. */
  readonly origin?: string | undefined;
  /** Whether the way is a Unix socket. */
  readonly isUnix?: boolean;
  /** Whether an option, not the environment, named the proxy. */
  readonly isProxyGiven?: boolean;
  /** Whether an option added authorities to those of the system. */
  readonly hasAuthorities?: boolean;
}

/**
 * Returns a hint for a connection that could not be opened.
 *
 * @param error The cause.
 * @param attempt The attempt.
 * @returns One clause or more; empty if nothing is plain.
 *
 * @example
 * ```ts
 * import { hintForOpening } from "./opening.ts";
 * import { OpenError } from "../connection/connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new OpenError("no-connection", "No connection", { reason: "plain-server" });
 * assertEquals(hintForOpening(error, { transport: "wire", proxy: null }), "try ws:// instead of wss://");
 * ```
 */
export function hintForOpening(error: OpenError, attempt: OpenAttempt): string {
  const { reason, status, refusal, certificate } = error;
  const proxy = attempt.proxy === "not-known" ? null : attempt.proxy;
  const parts = [
    reason === "unknown-issuer" ? hintForIssuer(certificate, attempt) : hintForReason(reason, proxy, status),
    status === undefined || reason === "proxy" || reason === "proxy-or-server"
      ? ""
      : hintForStatus(status, refusal, attempt),
    refusal && reason !== "tls-server" ? hintForRest(refusal) : "",
    mayBePlainToTls(error, attempt) ? "if this port is for TLS, try wss:// instead of ws://" : "",
    mayBeTlsToPlain(error, attempt) ? "if this port is not for TLS, try ws:// instead of wss://" : "",
    attempt.isUnix && attempt.transport === "builtin" && error.stage === "upgrade" ? ABSOLUTE_URL_HINT : "",
    status !== undefined && refusal === undefined && attempt.transport === "builtin" && reason === "other"
      ? "--transport wire shows the whole answer"
      : "",
    proxy !== null && error.failure === "no-connection" && !attempt.isProxyGiven
      ? "the environment names this proxy: use --proxy none to connect without it"
      : "",
    attempt.proxy === "not-known" && error.failure === "no-connection" ? UNKNOWN_PROXY_HINT : "",
  ];
  return parts.filter((part) => part !== "").join("; ");
}

/**
 * Describes why a connection could not be opened, and through which proxy.
 *
 * @param error The cause.
 * @param attempt The attempt.
 * @returns The message of the error, with the proxy unless it names the proxy.
 *
 * @example
 * ```ts
 * import { problemOfOpening } from "./opening.ts";
 * import { OpenError } from "../connection/connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new OpenError("handshake-refused", "Server answered with status 403");
 * const attempt = { transport: "wire", proxy: "http://proxy:3128" } as const;
 * assertEquals(problemOfOpening(error, attempt), "Server answered with status 403, through http://proxy:3128");
 * ```
 */
export function problemOfOpening({ message, stage, reason }: OpenError, { proxy }: OpenAttempt): string {
  // An error of the stage "connect" already names the destination and the proxy.
  const isNamed = proxy === null || proxy === "not-known" || (stage === "connect" && reason !== "runtime");
  return isNamed ? message : `${message}, through ${proxy}`;
}

/** Whether we may have sent plain HTTP to a TLS port, if the failure itself does not say so. */
function mayBePlainToTls({ failure, status, refusal }: OpenError, attempt: OpenAttempt): boolean {
  const { isSecure = false, isUnix = false } = attempt;
  return !isSecure && !isUnix && (failure === "connection-lost" || (status === 400 && refusal === undefined));
}

/** Whether we may have sent TLS to a port of plain HTTP, where a server waits for the end of a line. */
function mayBeTlsToPlain({ reason, stage }: OpenError, { isSecure = false }: OpenAttempt): boolean {
  return isSecure && reason === "silent" && stage === "connect";
}

const ABSOLUTE_URL_HINT =
  "the built-in WebSocket asks a Unix socket for an absolute URL, which not every server takes: --transport wire asks for the path";

const UNKNOWN_PROXY_HINT =
  "the built-in WebSocket may have used a proxy of the environment, which cannot be read without --allow-env";

const REASON_HINTS: Partial<Record<OpenReason, string>> = {
  "refused": "nothing listens there, or a firewall blocks the way: check host and port",
  "no-socket": "nothing listens there: check the path of --unix",
  "unknown-name": "the name does not exist: check the host",
  "unreachable": "check the host, and the network",
  "proxy-or-server":
    "the built-in WebSocket cannot tell which of the two: --transport wire asks the proxy for a tunnel, and can",
  "plain-server": "try ws:// instead of wss://",
  "not-http": "if the server speaks TLS, try wss:// instead of ws://; --transport wire shows the answer",
  "authority-certificate":
    "a server's certificate cannot have CA:TRUE, even with --ca: make one with CA:FALSE, self-signed or signed by that authority",
  "wrong-name": "use a name that the certificate covers, or give the server a certificate for this host",
  "expired": "renew the certificate, or check the clock of this machine",
  "not-yet-valid": "check the clock of this machine, or the certificate",
  "client-certificate-wanted": "give one with --cert and --key",
  "client-certificate-refused": "check --cert: the server may not trust its authority, or it may have expired",
  "tls-handshake":
    "the server may require a client certificate (--cert and --key), share no cipher with this client, or not speak TLS on this port",
  "reset":
    "the server may require a client certificate (--cert and --key) or reject the one it got, or a firewall blocks the way",
  "tls-version": "this client speaks TLS 1.2 and 1.3",
  "connection-field":
    'the built-in WebSocket accepts only "Upgrade" there, though a server may send more: use --transport wire',
  "runtime": "the runtime has limits of its own: use --transport wire",
  "hidden": "--transport wire shows the answer",
  "silent": "check host and port, or wait longer with --connect-timeout",
  "subprotocol": "give --protocol a subprotocol that the server speaks, or leave it out",
};

function hintForReason(reason: OpenReason, proxy: string | null, status: number | undefined): string {
  if (proxy !== null && reason === "refused") {
    return `nothing listens at the proxy ${proxy}, or a firewall blocks the way`;
  }
  if (proxy !== null && reason === "unknown-name") return `the name of the proxy ${proxy} does not exist`;
  // Wire speaks to HTTP proxies only.
  const isOther = reason === "proxy-or-server" && proxy !== null && !proxy.startsWith("http:");
  if (reason !== "proxy" && !isOther) return REASON_HINTS[reason] ?? "";
  const name = proxy ?? "http://host:port";
  if (status === 407) {
    return `the proxy requires credentials: use --proxy ${name.replace("://", "://user:password@")}`;
  }
  const kind = name.startsWith("socks") ? "a SOCKS5 proxy" : "an HTTP proxy";
  return `check that ${name} is ${kind} that lets this client connect to this host and port`;
}

function hintForIssuer(certificate: ServerCertificate | undefined, { hasAuthorities }: OpenAttempt): string {
  if (certificate === undefined) {
    return hasAuthorities
      ? "--ca may name another authority, or the server may not send its intermediate certificates"
      : "use --ca to trust the authority that signed the server's certificate";
  }
  if (certificate.isSelfSigned) {
    return "the certificate is self-signed: use --ca with that certificate to trust it";
  }
  const issuer = quote(certificate.issuer, MAX_BODY_CHARS);
  if (certificate.isIssuerGiven) return `--ca has another authority with the name of the one that signed it, ${issuer}`;
  return hasAuthorities
    ? `it is signed by ${issuer}, which the server does not send and --ca does not have: have the server send its intermediate certificates, or add that one with --ca`
    : `it is signed by ${issuer}: use --ca to trust that authority`;
}

function hintForStatus(status: number, refusal: HandshakeRefusal | undefined, { url, origin }: OpenAttempt): string {
  const location = fieldOf(refusal, "location");
  if (isPlainToTls(refusal?.body ?? "")) return "the server speaks TLS at this port: try wss:// instead of ws://";
  switch (status) {
    case 426:
      return isVersion13(refusal)
        ? "the server saw no request for an upgrade: a proxy in between may not pass on the fields Upgrade and Connection"
        : "";
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
      if (location !== undefined) {
        const target = URL.parse(location, url?.href)?.href ?? location;
        return `redirects are not followed: use ${quote(withoutPassword(target.replace(/^http(?=s?:)/i, "ws")))}`;
      }
      return refusal?.from === "server" ? "it is not a redirect, as it names no target" : "redirects are not followed";
    case 304:
      return "that answer is for a cache, not for an upgrade";
    case 401:
      return 'it requires credentials: use ws://user:password@host/ or --header "Authorization: Bearer TOKEN"';
    case 403:
      return `it refuses this client: it may require ${
        origin === undefined ? "an --origin" : `an --origin other than ${quote(origin, MAX_BODY_CHARS)}`
      }, a --header or credentials`;
    case 200:
    case 404:
      return `no WebSocket endpoint answers at the path ${
        quote(url?.pathname ?? "/", MAX_BODY_CHARS)
      }: check the path of the URL`;
    default:
      return "";
  }
}

/** The errors of nginx, Go, Apache and Tomcat for plain HTTP at a TLS port. */
function isPlainToTls(body: string): boolean {
  return /plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|plain HTTP to an SSL-enabled|host and port requires TLS/i
    .test(body);
}

/** The longest quotation of a body, in characters. */
const MAX_BODY_CHARS = 80;

/** Returns the rest of an answer that a person wants to see. */
function hintForRest(refusal: HandshakeRefusal): string {
  const versions = fieldOf(refusal, "sec-websocket-version");
  const after = fieldOf(refusal, "retry-after");
  const words = refusal.body.replace(/<(style|script|title)\b.*?(<\/\1>|$)|<[^>]*(>|$)/gis, " ").replace(/\s+/g, " ")
    .trim();
  return [
    versions === undefined || isVersion13(refusal)
      ? ""
      : `the server speaks version ${quote(versions)} of the protocol, this client 13`,
    after === undefined ? "" : `it asks to try again after ${/^\d+$/.test(after) ? `${after} s` : quote(after)}`,
    words === "" ? "" : `the answer says ${quote(words, MAX_BODY_CHARS)}`,
  ].filter((part) => part !== "").join("; ");
}

/** Whether the versions that the server asks for, if any, have ours among them: then another thing was wrong. */
function isVersion13(refusal: HandshakeRefusal | undefined): boolean {
  const versions = fieldOf(refusal, "sec-websocket-version");
  return versions === undefined || versions.split(",").some((version) => version.trim() === "13");
}

function fieldOf(refusal: HandshakeRefusal | undefined, name: string): string | undefined {
  return refusal?.fields.find(([field]) => field.toLowerCase() === name)?.[1];
}
