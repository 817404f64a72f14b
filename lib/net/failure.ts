/**
 * The runtime's words for a connection that could not be made, sorted: what a person reads, and a stable word for programs.
 *
 * @module
 */

import { quote, withoutCredentials } from "../protocol/message.ts";
import { OpenError, type OpenErrorDetails, type OpenFailure, type OpenReason } from "./open_error.ts";
import { nameOf } from "./proxy.ts";

/** Where a connection was to go. */
export interface Destination {
  /** The URL. */
  readonly url: URL;
  /** The proxy on the way. */
  readonly proxy?: URL | undefined;
  /** The unix socket instead of the URL's host. */
  readonly unixPath?: string | undefined;
  /** Whether a client certificate is presented. */
  readonly presentsCertificate?: boolean;
}

/**
 * Says where a connection should have gone, for the error that it did not: with the port, also where the URL leaves it to the
 * scheme (RFC 6455 section 3).
 *
 * @param destination Where to.
 * @returns Words that follow "No connection".
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
 * Makes the error for a connection that could not be made.
 *
 * @param words What the runtime said.
 * @param destination Where the connection was to go.
 * @param details What is known besides.
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
 * Makes the error for a connection that ended before the handshake was answered. With TLS 1.3 the alert of a server that
 * refuses the client comes only then.
 *
 * @param words What the runtime said; empty for an end without an error.
 * @param cause The error behind it.
 * @returns The error, `connection-lost`, with the reason `tls-alert` where the runtime speaks of one.
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
 * Puts the end of a connection into words, without the runtime's numbers and links.
 *
 * @param words What the runtime said.
 * @returns A few words; those for an end of TCP without more are the runtime's "Unexpected EOF".
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
 * Tells whether TCP ended without the close_notify of TLS (RFC 8446 section 6.1), as many servers do: that is no reset.
 *
 * @param words What the runtime said.
 * @returns Whether it is.
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

/** Words of the runtime, what they mean, and how to say it; the first that fits counts. */
const CAUSES: readonly (readonly [RegExp, OpenReason, string])[] = [
  [/connection refused|os error (111|61|10061)\b/i, "refused", "connection refused"],
  [/tcp connect error/, "refused", "nothing answered there"],
  [/no such file|os error 2\b/i, "refused", "no such socket"],
  [
    /dns error|failed to lookup|name or service not known|no address associated|^invalid host/i,
    "unknown-name",
    "unknown host name",
  ],
  // An address of one link only (fe80::/10) needs its interface, which no URL names.
  [/unreachable|no route to host|invalid argument/i, "unreachable", "no way leads there"],
  [/unsuccessful tunnel|proxy authentication|while tunneling/, "proxy", "the proxy opened no tunnel"],
  [/socks/i, "proxy", "the SOCKS proxy refused"],
  [/InvalidContentType/, "plain-server", "the server does not speak TLS"],
  [/UnknownIssuer/, "unknown-issuer", "no trusted authority has signed the server's certificate"],
  [/CaUsedAsEndEntity/, "authority-certificate", "the server's certificate is that of an authority"],
  [/not valid for name|NotValidForName/, "wrong-name", "the server's certificate is for another name"],
  [/certificate expired|Expired/, "expired", "the server's certificate has expired"],
  [/not valid yet|NotValidYet/, "not-yet-valid", "the server's certificate is not valid yet"],
  [
    /invalid peer certificate/,
    "bad-certificate",
    "the server's certificate is damaged or of a kind that is not supported",
  ],
  [/alert: CertificateRequired/, "client-certificate-wanted", "the server wants a client certificate"],
  [/alert: ProtocolVersion|PeerIncompatible/, "tls-version", "the server speaks other versions of TLS only"],
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

/** The alerts with which a server refuses a client certificate, or that none came where it wants one. */
const CERTIFICATE_ALERT =
  /alert: (BadCertificate|UnknownCA|Certificate(Unknown|Expired|Revoked)|UnsupportedCertificate|AccessDenied|DecryptError)/;

function explained(words: string, presentsCertificate: boolean): readonly [OpenReason, string] {
  if (CERTIFICATE_ALERT.test(words)) {
    return presentsCertificate
      ? ["client-certificate-refused", "the server refused the client certificate"]
      : ["client-certificate-wanted", "the server wants a client certificate"];
  }
  const found = CAUSES.find(([pattern]) => pattern.test(words));
  if (found === undefined) return ["other", quoted(words)];
  const [, reason, text] = found;
  if (reason === "wrong-name") return [reason, `${text}${namesIn(words)}`];
  if (reason === "expired" || reason === "not-yet-valid") return [reason, `${text}${dateIn(words)}`];
  return [reason, text];
}

/** Words that nothing is known of stay, on one line. */
function quoted(words: string): string {
  return endWordsOf(quote(words).slice(1, -1)) || "no cause given";
}

/** How many of the names of a certificate a message shows. */
const MAX_SHOWN_NAMES = 3;

/** The names that a certificate is for; whoever made it wrote them. */
function namesIn(words: string): string {
  const names = [...words.matchAll(/(?:DnsName\("([^"]*)"\)|IpAddress\(([^)]*)\))/g)].map(([, dns, ip]) =>
    dns ?? ip ?? ""
  );
  if (names.length === 0) return "";
  const shown = names.slice(0, MAX_SHOWN_NAMES).map((name) => quote(name, 64)).join(", ");
  return `, ${shown}${names.length > MAX_SHOWN_NAMES ? " and others" : ""}`;
}

/** The date in the runtime's seconds since 1970: the last of the times that it names, but for a span in brackets. */
function dateIn(words: string): string {
  const [, seconds] = /not valid (?:after|before) (\d+)/.exec(words) ?? [];
  const date = new Date(Number(seconds) * 1000);
  return Number.isNaN(date.getTime()) ? "" : ` (${date.toISOString().slice(0, 10)})`;
}

/** The beginning of a message, by failure. */
export const OPEN_FAILURE_TEXT: Record<OpenFailure, string> = {
  "no-connection": "No connection",
  "handshake-refused": "Answer is not a valid upgrade",
  "connection-lost": "Connection ended before the handshake was answered",
};
