/**
 * How a reply is wrong, and what may help where no connection came about, in words.
 *
 * @module
 */

import { byteLengthOf, kindOf, type Message, quote, withoutPassword } from "../protocol/message.ts";
import type {
  HandshakeRefusal,
  OpenError,
  OpenReason,
  ServerCertificate,
  TransportName,
} from "../connection/connection.ts";

/** What a reply should be. */
export type Expectation =
  /** The message that was sent, unchanged. */
  | { readonly type: "echo" }
  /** A text message with these characters. */
  | { readonly type: "text"; readonly text: string }
  /** A text message that matches the pattern. */
  | { readonly type: "match"; readonly pattern: RegExp }
  /** Any complete message. */
  | { readonly type: "any" }
  /** No message at all. */
  | { readonly type: "none" };

/** How a reply differs from what it should be. */
export interface Difference {
  /** Kinds, lengths, and the offset of the first byte that differs. */
  readonly text: string;
  /** The likely cause, where one is plain; else empty. */
  readonly cause: string;
}

/** The longest piece of a message that is quoted, in characters. */
const MAX_QUOTED_CHARS = 32;

/**
 * Compares a reply with what it should be.
 *
 * @param expectation What the reply should be.
 * @param sent The message that it answers.
 * @param reply The reply.
 * @returns How it differs, or `undefined` if it is right.
 *
 * @example
 * ```ts
 * import { differenceOf } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(differenceOf({ type: "echo" }, "Hello world", "Hello world"), undefined);
 * assertEquals(differenceOf({ type: "echo" }, "Hello world", "Hello World"), {
 *   text: 'text, 11 bytes, instead of text, 11 bytes; the first difference is at byte 6: "World" instead of "world"',
 *   cause: "",
 * });
 * ```
 */
export function differenceOf(expectation: Expectation, sent: Message, reply: Message): Difference | undefined {
  switch (expectation.type) {
    case "any":
      return undefined;
    case "none":
      return { text: `${describe(reply)}, where no message was expected`, cause: "" };
    case "match":
      if (typeof reply === "string" && matches(expectation.pattern, reply)) return undefined;
      return { text: `${describe(reply)}, which does not match ${expectation.pattern}`, cause: binaryCause(reply) };
    case "text": {
      const found = difference(expectation.text, reply);
      return found && { text: found.text, cause: expectation.text === sent ? found.cause : binaryCause(reply) };
    }
    case "echo":
      return difference(sent, reply);
  }
}

/**
 * Puts a message into words: kind, size, and for text how it begins.
 *
 * @param message The message.
 * @returns One clause.
 *
 * @example
 * ```ts
 * import { describe } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describe("Hello world"), 'text, 11 bytes: "Hello world"');
 * assertEquals(describe(new Uint8Array(3)), "binary, 3 bytes");
 * ```
 */
export function describe(message: Message): string {
  const text = typeof message === "string" && message !== "" ? `: ${quote(message, MAX_QUOTED_CHARS)}` : "";
  return `${describeSize(message)}${text}`;
}

function describeSize(message: Message): string {
  const bytes = byteLengthOf(message);
  return `${kindOf(message)}, ${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
}

/** A pattern with the flag g or y would remember where it was. */
function matches(pattern: RegExp, text: string): boolean {
  pattern.lastIndex = 0;
  return pattern.test(text);
}

function difference(expected: Message, reply: Message): Difference | undefined {
  if (typeof expected === "string" && typeof reply === "string" && expected === reply) return undefined;
  const [expectedBytes, replyBytes] = [bytesOf(expected), bytesOf(reply)];
  const offset = firstDifference(expectedBytes, replyBytes);
  if (offset === -1 && kindOf(expected) === kindOf(reply)) return undefined;
  const sizes = `${describeSize(reply)}, instead of ${describeSize(expected)}`;
  if (offset === -1) {
    return { text: sizes, cause: `the same bytes came back as ${kindOf(reply)}: the kind was not kept` };
  }
  const where = `the first difference is at byte ${offset}`;
  const shown = `${excerpt(replyBytes, reply, offset)} instead of ${excerpt(expectedBytes, expected, offset)}`;
  return { text: `${sizes}; ${where}: ${shown}`, cause: causeOf(expected, expectedBytes, reply, replyBytes, offset) };
}

function bytesOf(message: Message): Uint8Array {
  return typeof message === "string" ? new TextEncoder().encode(message) : message;
}

/**
 * Finds the first byte in which two byte strings differ.
 *
 * @param a One.
 * @param b The other.
 * @returns Its offset; the shorter length if one begins the other; -1 if they are equal.
 *
 * @example
 * ```ts
 * import { firstDifference } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(firstDifference(Uint8Array.of(1, 2, 3), Uint8Array.of(1, 2, 4)), 2);
 * ```
 */
export function firstDifference(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.byteLength, b.byteLength);
  let at = 0;
  if (a.byteOffset % 8 === 0 && b.byteOffset % 8 === 0) {
    // Eight bytes at a time: several times faster for the megabytes of a split payload.
    const words = length >> 3;
    const aWords = new BigInt64Array(a.buffer, a.byteOffset, words);
    const bWords = new BigInt64Array(b.buffer, b.byteOffset, words);
    let word = 0;
    while (word < words && aWords[word] === bWords[word]) word++;
    at = word * 8;
  }
  while (at < length && a[at] === b[at]) at++;
  return at === length && a.byteLength === b.byteLength ? -1 : at;
}

/** What stands at an offset: characters of text, else bytes in hexadecimal. */
function excerpt(bytes: Uint8Array, message: Message, offset: number): string {
  const rest = bytes.subarray(offset);
  if (rest.byteLength === 0) return "the end";
  if (typeof message === "string") return quote(textAround(bytes, offset));
  return [...rest.subarray(0, 4)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

/** The characters from the one that has an offset in it, as many as fit 16 bytes. */
function textAround(bytes: Uint8Array, offset: number): string {
  let start = offset;
  while (start > 0 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start--;
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  return decoder.decode(bytes.subarray(start, start + 16), { stream: true });
}

function causeOf(
  expected: Message,
  expectedBytes: Uint8Array,
  reply: Message,
  replyBytes: Uint8Array,
  offset: number,
): string {
  const [expectedLength, length] = [expectedBytes.byteLength, replyBytes.byteLength];
  if (offset === length && length < expectedLength) {
    if (length === 0) return "the reply is empty";
    if (isPowerOfTwo(length) && length >= 64) {
      return `cut at ${length} bytes, a power of two: a buffer of the server is full`;
    }
    if (isLineEnd(expectedBytes.subarray(length))) return "the line end of the message was removed";
    return "the reply is cut off";
  }
  if (offset === expectedLength && length > expectedLength) {
    if (isLineEnd(replyBytes.subarray(expectedLength))) return "the server added a line end";
    return "the server added something to the message";
  }
  if (typeof expected === "string" && typeof reply === "string" && expected !== "" && reply.includes(expected)) {
    return "the reply has the message in it: for a server that does not echo use --reply or --reply-match";
  }
  return kindOf(expected) === "text" ? binaryCause(reply) : "";
}

function binaryCause(reply: Message): string {
  return kindOf(reply) === "binary" ? "text was expected and binary came" : "";
}

function isLineEnd(bytes: Uint8Array): boolean {
  const [first, second] = bytes;
  return (bytes.byteLength === 1 && first === 0x0a) || (bytes.byteLength === 2 && first === 0x0d && second === 0x0a);
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}

/** How a connection was tried that could not be opened. */
export interface OpenAttempt {
  /** What was to move the bytes. */
  readonly transport: TransportName;
  /** The proxy on the way, without credentials; `null` if there was none, `"not-known"` if only the runtime knows. */
  readonly proxy: string | null;
  /** Whether the scheme was `wss:`. */
  readonly isSecure?: boolean;
  /** Whether an option named the proxy, and not the environment. */
  readonly isProxyGiven?: boolean;
  /** Whether authorities were given to trust besides the system's. */
  readonly hasAuthorities?: boolean;
}

/**
 * Says what may help where a connection could not be opened.
 *
 * @param error Why not.
 * @param attempt How it was tried.
 * @returns One clause or more; empty if nothing is plain.
 *
 * @example
 * ```ts
 * import { hintForOpening } from "./diagnosis.ts";
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
    status === undefined || reason === "proxy" || reason === "proxy-or-server" ? "" : hintForStatus(status, refusal),
    refusal && reason !== "tls-server" ? hintForRest(refusal) : "",
    mayBePlainToTls(error, attempt) ? "if this port is for TLS, try wss:// instead of ws://" : "",
    status !== undefined && refusal === undefined && attempt.transport === "builtin" && reason === "other"
      ? "--transport wire shows all of the answer"
      : "",
    proxy !== null && error.failure === "no-connection" && !attempt.isProxyGiven
      ? "the environment names this proxy: --proxy none goes without"
      : "",
    attempt.proxy === "not-known" && error.failure === "no-connection" ? UNKNOWN_PROXY_HINT : "",
  ];
  return parts.filter((part) => part !== "").join("; ");
}

/**
 * Says why a connection could not be opened, and through which proxy.
 *
 * @param error Why not.
 * @param attempt How it was tried.
 * @returns The message of the error, with the proxy where it does not name it.
 *
 * @example
 * ```ts
 * import { problemOfOpening } from "./diagnosis.ts";
 * import { OpenError } from "../connection/connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new OpenError("handshake-refused", "Server answered with status 403");
 * const attempt = { transport: "wire", proxy: "http://proxy:3128" } as const;
 * assertEquals(problemOfOpening(error, attempt), "Server answered with status 403, through http://proxy:3128");
 * ```
 */
export function problemOfOpening({ message }: OpenError, { proxy }: OpenAttempt): string {
  const isNamed = proxy === null || proxy === "not-known" || message.includes(proxy);
  return isNamed ? message : `${message}, through ${proxy}`;
}

/** Whether a server for TLS may have been asked without it, as far as the failure does not tell. */
function mayBePlainToTls({ failure, status, refusal }: OpenError, { isSecure = false }: OpenAttempt): boolean {
  return !isSecure && (failure === "connection-lost" || (status === 400 && refusal === undefined));
}

const UNKNOWN_PROXY_HINT =
  "the built-in WebSocket may have used a proxy of the environment, which cannot be read without --allow-env";

const REASON_HINTS: Partial<Record<OpenReason, string>> = {
  "refused": "nothing listens there, or a firewall is in between: check host and port",
  "no-socket": "nothing listens there: check the path of --unix",
  "unknown-name": "the name does not exist: check the host",
  "unreachable": "check the host, and the network",
  "proxy-or-server":
    "the built-in WebSocket cannot tell who that was: --transport wire asks the proxy for a tunnel, and tells",
  "plain-server": "try ws:// instead of wss://",
  "not-http": "if the server speaks TLS, try wss:// instead of ws://; --transport wire shows the answer",
  "authority-certificate":
    "a certificate with CA:TRUE cannot be a server's, even with --ca: make one with CA:FALSE, signed by itself or by that authority",
  "wrong-name": "use a name that the certificate is for, or give the server a certificate for this host",
  "expired": "renew the certificate, or check the clock of this machine",
  "not-yet-valid": "check the clock of this machine, or the certificate",
  "client-certificate-wanted": "give it with --cert and --key",
  "client-certificate-refused":
    "check --cert: its authority may not be one that the server trusts, or its time may be over",
  "tls-handshake":
    "the server may want a client certificate (--cert and --key), share no cipher with this client, or not speak TLS at this port",
  "reset": "the server may want a client certificate (--cert and --key), or a firewall is in between",
  "tls-version": "this client speaks TLS 1.2 and 1.3",
  "connection-field":
    'the built-in WebSocket takes nothing besides "Upgrade" there, though a server may send more: --transport wire does',
  "runtime": "the runtime has limits of its own: use --transport wire",
  "hidden": "--transport wire shows the answer",
};

function hintForReason(reason: OpenReason, proxy: string | null, status: number | undefined): string {
  if (proxy !== null && reason === "refused") {
    return `nothing listens at the proxy ${proxy}, or a firewall is in between`;
  }
  if (proxy !== null && reason === "unknown-name") return `the name of the proxy ${proxy} does not exist`;
  if (reason !== "proxy") return REASON_HINTS[reason] ?? "";
  const name = proxy ?? "http://host:port";
  if (status === 407) {
    return `the proxy wants credentials: use --proxy ${name.replace("://", "://user:password@")}`;
  }
  return `check that ${name} is an HTTP proxy that lets this client through to this host and port`;
}

function hintForIssuer(certificate: ServerCertificate | undefined, { hasAuthorities }: OpenAttempt): string {
  if (certificate === undefined) {
    return hasAuthorities
      ? "--ca may be that of another authority, or the server may not send its intermediate certificates"
      : "to trust the authority that signed the server's certificate use --ca";
  }
  if (certificate.isSelfSigned) {
    return "the certificate is signed by itself: to trust it use --ca with that certificate";
  }
  const issuer = quote(certificate.issuer, MAX_BODY_CHARS);
  if (certificate.isIssuerGiven) return `--ca has another authority with the name of the one that signed it, ${issuer}`;
  return hasAuthorities
    ? `it is signed by ${issuer}, which the server does not send and --ca does not have: let the server send its intermediate certificates, or add that one with --ca`
    : `it is signed by ${issuer}: to trust that authority use --ca`;
}

function hintForStatus(status: number, refusal: HandshakeRefusal | undefined): string {
  const location = fieldOf(refusal, "location");
  switch (status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
      if (location !== undefined) {
        return `redirects are not followed: use ${quote(withoutPassword(location.replace(/^http(?=s?:)/i, "ws")))}`;
      }
      return refusal?.from === "server"
        ? "it is no redirect, as it does not say where to"
        : "redirects are not followed: --transport wire shows where it points to";
    case 304:
      return "that is an answer for a cache, and none to an upgrade";
    case 400:
      return isPlainToTls(refusal?.body ?? "") ? "the server speaks TLS at this port: try wss:// instead of ws://" : "";
    case 401:
      return "it wants credentials: use ws://user:password@host/ or --header";
    case 403:
      return "it refuses this client: it may want an --origin, a --header or credentials";
    case 200:
    case 404:
      return "no WebSocket endpoint answers at this path";
    default:
      return "";
  }
}

/** The words of nginx, Go and Apache for HTTP without TLS at a port for TLS. */
function isPlainToTls(body: string): boolean {
  return /plain HTTP request was sent to HTTPS port|HTTP request to an HTTPS server|plain HTTP to an SSL-enabled/i
    .test(body);
}

/** How much of a body a hint shows, in characters. */
const MAX_BODY_CHARS = 80;

/** The rest of an answer that a person wants to see. */
function hintForRest(refusal: HandshakeRefusal): string {
  const versions = fieldOf(refusal, "sec-websocket-version");
  const after = fieldOf(refusal, "retry-after");
  const isChunked = /chunked/i.test(fieldOf(refusal, "transfer-encoding") ?? "");
  const body = isChunked ? refusal.body.replace(/^[0-9a-f]+[^\n]*\n/i, "") : refusal.body;
  const words = body.replace(/<(style|script|title)\b.*?(<\/\1>|$)|<[^>]*(>|$)/gis, " ").replace(/\s+/g, " ").trim();
  return [
    versions === undefined ? "" : `the server speaks version ${quote(versions)} of the protocol, and this client 13`,
    after === undefined ? "" : `it asks to try again after ${/^\d+$/.test(after) ? `${after} s` : quote(after)}`,
    words === "" ? "" : `the answer says ${quote(words, MAX_BODY_CHARS)}`,
  ].filter((part) => part !== "").join("; ");
}

function fieldOf(refusal: HandshakeRefusal | undefined, name: string): string | undefined {
  return refusal?.fields.find(([field]) => field.toLowerCase() === name)?.[1];
}

/**
 * Says what may help where a message was longer than the limit.
 *
 * @param transport What moved the bytes.
 * @returns One clause or two.
 *
 * @example
 * ```ts
 * import { hintForLength } from "./diagnosis.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(hintForLength("wire"), "to accept longer ones use --max-message");
 * ```
 */
export function hintForLength(transport: TransportName): string {
  const hint = "to accept longer ones use --max-message";
  return transport === "wire"
    ? hint
    : `${hint}; the built-in WebSocket had taken all of it into memory by then: --transport wire does not`;
}
