/**
 * Classifies the runtime's words for a failed connection: a sentence for people, and a stable word for programs.
 *
 * @module
 */

import { quote, withoutCredentials } from "../protocol/message.ts";
import type { DialOptions } from "./dial_options.ts";
import { OpenError, type OpenErrorDetails, type OpenFailure, type OpenReason } from "./open_error.ts";
import { nameOf } from "./proxy.ts";

/** Destination of a connection. */
export interface Destination {
  /** The URL. */
  readonly url: URL;
  /** The proxy on the way. */
  readonly proxy?: URL | undefined;
  /** The unix socket, in place of the URL's host. */
  readonly unixPath?: string | undefined;
  /** Whether the client presents a certificate. */
  readonly presentsCertificate?: boolean;
}

/**
 * Describes the destination of a connection.
 *
 * @param url The URL.
 * @param proxy The proxy on the way, if any.
 * @param options The options of the connection.
 * @returns The destination.
 *
 * @example
 * ```ts
 * import { destinationOf } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const url = new URL("ws://127.0.0.1/");
 * assertEquals(destinationOf(url, undefined, { unixPath: "/run/ws" }).unixPath, "/run/ws");
 * ```
 */
export function destinationOf(url: URL, proxy: URL | undefined, options: DialOptions): Destination {
  const { unixPath, clientCertificate } = options;
  return { url, proxy, unixPath, presentsCertificate: clientCertificate !== undefined };
}

/**
 * Names the destination of a failed connection, always with the port, even a default one (RFC 6455 section 3).
 *
 * @param destination The destination.
 * @returns Words to follow "No connection".
 *
 * @example
 * ```ts
 * import { placeOf } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const url = new URL("ws://user:secret@host:81/path");
 * assertEquals(placeOf({ url, proxy: new URL("http://u:p@proxy:3128") }), " to host:81 through http://proxy:3128");
 * assertEquals(placeOf({ url: new URL("wss://host/") }), " to host:443");
 * ```
 */
export function placeOf({ url, proxy, unixPath }: Destination): string {
  if (unixPath !== undefined) return ` to ${withoutCredentials(unixPath)}`;
  const port = url.port || (url.protocol === "wss:" ? "443" : "80");
  return ` to ${url.hostname}:${port}${proxy ? ` through ${nameOf(proxy)}` : ""}`;
}

/**
 * Describes a connection that was not ready in time.
 *
 * @param destination Destination of the connection.
 * @param isConnected Whether TCP was connected: without a proxy, the answer to TLS is missing then.
 * @returns Words to precede "within 10 s".
 *
 * @example
 * ```ts
 * import { unfinishedText } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const url = new URL("wss://host/");
 * assertEquals(unfinishedText({ url }, true), "Connected to host:443, but no answer to the TLS handshake");
 * assertEquals(unfinishedText({ url }, false), "No connection to host:443");
 * ```
 */
export function unfinishedText(destination: Destination, isConnected: boolean): string {
  const isTls = isConnected && destination.proxy === undefined;
  return isTls
    ? `Connected${placeOf(destination)}, but no answer to the TLS handshake`
    : `No connection${placeOf(destination)}`;
}

/**
 * Makes the error for a failed connection.
 *
 * @param words The runtime's words.
 * @param destination Destination of the connection.
 * @param details Further details.
 * @returns The error, `no-connection`, with the runtime's words as its detail.
 *
 * @example
 * ```ts
 * import { connectionError } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = connectionError("Connection refused (os error 111)", { url: new URL("ws://127.0.0.1:1/") });
 * assertEquals([error.message, error.reason], ["No connection to 127.0.0.1:1: connection refused", "refused"]);
 * ```
 */
export function connectionError(words: string, destination: Destination, details: OpenErrorDetails = {}): OpenError {
  const [found, text] = explained(words, destination.presentsCertificate ?? false);
  const reason = found === "refused" && destination.unixPath !== undefined ? "no-socket" : found;
  const message = `No connection${placeOf(destination)}: ${text}`;
  return new OpenError("no-connection", message, { reason, detail: words, stage: "connect", ...details });
}

/**
 * Makes the error for a connection that ended before the answer to the handshake. With TLS 1.3, the alert of a server
 * that refuses the client arrives only then.
 *
 * @param words The runtime's words; empty for an end without an error.
 * @param cause The underlying error.
 * @returns The error, `connection-lost`, with the reason `tls-alert` where the words name an alert.
 *
 * @example
 * ```ts
 * import { lostError } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(lostError("received fatal alert: CertificateRequired").reason, "tls-alert");
 * ```
 */
export function lostError(words: string, cause?: unknown): OpenError {
  const reason = /received fatal alert/.test(words) ? "tls-alert" : "other";
  return new OpenError("connection-lost", OPEN_FAILURE_TEXT["connection-lost"], { reason, detail: words, cause });
}

/**
 * Shortens the runtime's words for the end of a connection: without numbers and links.
 *
 * @param words The runtime's words.
 * @returns A few words; "Unexpected EOF" for a plain end of TCP.
 *
 * @example
 * ```ts
 * import { endWordsOf } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(endWordsOf("Connection reset by peer (os error 104)"), "Connection reset by peer");
 * ```
 */
export function endWordsOf(words: string): string {
  if (isEndWithoutNotice(words)) return "Unexpected EOF";
  return words.replace(/:? *https?:\/\/\S+/g, "").replace(/ *\(os error \d+\)/g, "");
}

/**
 * Tells whether TCP ended without the close_notify of TLS (RFC 8446 section 6.1): common, and no reset.
 *
 * @param words The runtime's words.
 * @returns Whether close_notify was missing.
 *
 * @example
 * ```ts
 * import { isEndWithoutNotice } from "./failure.ts";
 * import { assert } from "@std/assert";
 *
 * assert(isEndWithoutNotice("peer closed connection without sending TLS close_notify: https://docs.rs/..."));
 * ```
 */
export function isEndWithoutNotice(words: string): boolean {
  return /close_notify/.test(words);
}

const BROKEN_TLS = "the server broke the rules of TLS";

/** The runtime's words, their reason, and our words; the first match counts. */
const CAUSES: readonly (readonly [RegExp, OpenReason, string])[] = [
  [/connection refused|os error (111|61|10061)\b/i, "refused", "connection refused"],
  [/tcp connect error/, "refused", "nothing answered there"],
  [/no such file|os error 2\b/i, "refused", "no such socket"],
  [
    /dns error|failed to lookup|name or service not known|no address associated|^invalid host/i,
    "unknown-name",
    "unknown host name",
  ],
  // A link-local address (fe80::/10) needs an interface, which no URL names.
  [/unreachable|no route to host|invalid argument/i, "unreachable", "there is no route to it"],
  [/unsuccessful tunnel|proxy authentication|while tunneling/, "proxy", "the proxy opened no tunnel"],
  [/socks/i, "proxy", "the SOCKS proxy refused"],
  [/InvalidContentType/, "plain-server", "the server does not speak TLS"],
  [/UnknownIssuer/, "unknown-issuer", "no trusted authority has signed the server's certificate"],
  [/CaUsedAsEndEntity/, "authority-certificate", "the server's certificate is that of a certificate authority"],
  [/not valid for name|NotValidForName/, "wrong-name", "the server's certificate is for another name"],
  [/certificate expired|Expired/, "expired", "the server's certificate has expired"],
  [/not valid yet|NotValidYet/, "not-yet-valid", "the server's certificate is not valid yet"],
  [
    /invalid peer certificate/,
    "bad-certificate",
    "the server's certificate is damaged or of a kind that is not supported",
  ],
  [/alert: CertificateRequired/, "client-certificate-wanted", "the server requires a client certificate"],
  [/alert: ProtocolVersion|PeerIncompatible/, "tls-version", "the server speaks only other versions of TLS"],
  [/alert: Unrecogni[sz]edName/, "wrong-name", "the server has no certificate for this name"],
  [/received fatal alert/, "tls-handshake", "the server refused the TLS handshake"],
  [
    /corrupt message|peer (misbehaved|sent|is incompatible)|unexpected message|cannot decrypt/i,
    "tls-handshake",
    BROKEN_TLS,
  ],
  [/handshake eof|unexpected (eof|end of file)|close_notify/i, "tls-handshake", "the TLS handshake was cut off"],
  [/connection reset|broken pipe/i, "reset", "the connection was reset"],
];

/** Alerts of a server that refuses a client certificate, or misses one. */
const CERTIFICATE_ALERT =
  /alert: (BadCertificate|UnknownCA|Certificate(Unknown|Expired|Revoked)|UnsupportedCertificate|AccessDenied|DecryptError)/;

function explained(words: string, presentsCertificate: boolean): readonly [OpenReason, string] {
  if (CERTIFICATE_ALERT.test(words)) {
    return presentsCertificate
      ? ["client-certificate-refused", "the server refused the client certificate"]
      : ["client-certificate-wanted", "the server requires a client certificate"];
  }
  const found = CAUSES.find(([pattern]) => pattern.test(words));
  if (found === undefined) return ["other", quoted(words)];
  const [, reason, text] = found;
  if (reason === "wrong-name") return [reason, `${text}${namesIn(words)}`];
  if (reason === "expired" || reason === "not-yet-valid") return [reason, `${text}${dateIn(words)}`];
  return [reason, text];
}

/** Unknown words stay, on one line. */
function quoted(words: string): string {
  return endWordsOf(quote(words).slice(1, -1)) || "no cause given";
}

/** Number of a certificate's names in a message. */
const MAX_SHOWN_NAMES = 3;

/** Names in a certificate: untrusted text. */
function namesIn(words: string): string {
  const names = [...words.matchAll(/(?:DnsName\("([^"]*)"\)|IpAddress\(([^)]*)\))/g)].map(([, dns, ip]) =>
    dns ?? ip ?? ""
  );
  if (names.length === 0) return "";
  const shown = names.slice(0, MAX_SHOWN_NAMES).map((name) => quote(name, 64)).join(", ");
  return `, ${shown}${names.length > MAX_SHOWN_NAMES ? " and others" : ""}`;
}

/** Expiry or start date, which the runtime gives in seconds since 1970. */
function dateIn(words: string): string {
  const [, seconds] = /not valid (?:after|before) (\d+)/.exec(words) ?? [];
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? "" : ` (${date.toISOString().slice(0, 10)})`;
}

/** Start of the message for each failure. */
export const OPEN_FAILURE_TEXT: Record<OpenFailure, string> = {
  "no-connection": "No connection",
  "handshake-refused": "Answer is not a valid upgrade",
  "connection-lost": "Connection ended before the handshake was answered",
};
