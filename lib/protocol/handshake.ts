/**
 * The client's half of the opening handshake (RFC 6455 section 4.1): the request, and every field of the response.
 * `handshake_server.ts` is the server's half.
 *
 * @module
 */

import { base64, basicCredentials, writeBase64 } from "./authority.ts";
import { type DeflateAgreement, type DeflateParameters, verifyDeflate } from "./deflate.ts";
import { bytesOf, type HttpHead, isLine, listOf, parseStatusLine, trimBlanks, valuesOf } from "./http_lines.ts";
import { quote, withoutToken } from "./message.ts";
import { sha1 } from "./sha1.ts";
import { isToken } from "./token.ts";

/** The suffix of a key that makes the accept key (RFC 6455 section 1.3). */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The length of a key: 16 bytes in Base64. */
const KEY_CHARS = 24;

/** Scratch memory: a key, and the GUID. */
const KEY_INPUT = bytesOf(" ".repeat(KEY_CHARS) + GUID);

function quoteLine(line: string): string {
  return quote(line, 80);
}

/**
 * Makes a key for the request: 16 random bytes in Base64 (RFC 6455 section 4.1).
 *
 * @returns The key, 24 characters.
 *
 * @example
 * ```ts
 * import { createKey } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(createKey().length, 24);
 * ```
 */
export function createKey(): string {
  return base64(crypto.getRandomValues(new Uint8Array(16)));
}

/**
 * Tells whether text is a key: 16 bytes in Base64. The last of its 22 characters has two bits; two of padding follow.
 *
 * @param text The text.
 * @returns Whether the text is a key.
 *
 * @example
 * ```ts
 * import { createKey, isKey } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([createKey(), "short"].map(isKey), [true, false]);
 * ```
 */
export function isKey(text: string): boolean {
  return /^[A-Za-z0-9+/]{21}[AQgw]==$/.test(text);
}

/**
 * Computes the accept key that proves that a server has read the key (RFC 6455 section 4.2.2).
 *
 * @param key The key of the request.
 * @returns The accept key.
 *
 * @example
 * ```ts
 * import { acceptKeyFor } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(acceptKeyFor("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
 * ```
 */
export function acceptKeyFor(key: string): string {
  return base64(digestOf(key));
}

/**
 * Writes the accept key to memory that is there.
 *
 * @param key The key of the request.
 * @param into Takes the 28 characters of the accept key.
 * @param at The offset in `into`.
 */
export function writeAcceptKey(key: string, into: Uint8Array, at: number): void {
  writeBase64(digestOf(key), into, at);
}

function digestOf(key: string): Uint8Array {
  if (key.length !== KEY_CHARS) return sha1(bytesOf(key + GUID));
  // Joined strings take as long as a third of the digest.
  for (let at = 0; at < KEY_CHARS; at++) KEY_INPUT[at] = key.charCodeAt(at);
  return sha1(KEY_INPUT);
}

/** The request of a client. */
export interface UpgradeRequest {
  /** The URL; a user name and password become Basic authentication. */
  readonly url: URL;
  /** The key, from {@linkcode createKey}. */
  readonly key: string;
  /** The subprotocols to offer, in the order of preference. */
  readonly protocols?: readonly string[];
  /** The extensions to offer, as a value of Sec-WebSocket-Extensions; none by default. */
  readonly extensions?: string | undefined;
  /** Fields to add, in order and unchanged; of the handshake's own fields only Host can be replaced. */
  readonly headers?: Iterable<readonly [name: string, value: string]>;
}

/**
 * Writes the request of the opening handshake (RFC 6455 section 4.1).
 *
 * @param request The request.
 * @returns The head; each character is one byte (ISO 8859-1).
 * @throws {RangeError} If a subprotocol is no token or repeated, the key is invalid (section 4.1), or a field cannot be
 * sent unchanged.
 *
 * @example
 * ```ts
 * import { encodeRequest } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = encodeRequest({ url: new URL("ws://example.com/chat?x=1"), key: "dGhlIHNhbXBsZSBub25jZQ==" });
 * assertEquals(head.split("\r\n").slice(0, 2), ["GET /chat?x=1 HTTP/1.1", "Host: example.com"]);
 * ```
 */
export function encodeRequest(request: UpgradeRequest): string {
  const { url, key, protocols = [], extensions = "", headers = [] } = request;
  const fields = [...headers];
  assertKey(key);
  assertProtocols(protocols);
  fields.forEach(assertField);
  const valueOf = (name: string) => fields.find(([field]) => field.toLowerCase() === name)?.[1];
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${valueOf("host") ?? url.host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
  ];
  if (protocols.length > 0) lines.push(`Sec-WebSocket-Protocol: ${protocols.join(", ")}`);
  if (extensions !== "") lines.push(`Sec-WebSocket-Extensions: ${extensions}`);
  if (url.username + url.password !== "" && valueOf("authorization") === undefined) {
    lines.push(`Authorization: ${basicCredentials(url)}`);
  }
  for (const [name, value] of fields) {
    if (!HANDSHAKE_FIELD.test(name)) lines.push(`${name}: ${value}`);
  }
  return [...lines, "", ""].join("\r\n");
}

/** Rejects a field that is not bytes on one line. */
function assertField([name, value]: readonly [string, string]): void {
  // Never quote the value: it may be a secret.
  if (!isToken(name)) throw new RangeError("Cannot send a header field whose name is not a token");
  if (!isLine(value)) {
    throw new RangeError(`Cannot send the field ${name}: its value is not one line of ISO 8859-1`);
  }
}

function assertKey(key: string): void {
  if (!isKey(key)) {
    throw new RangeError(`Cannot use ${quoteLine(key)} as key: it must be 16 bytes in Base64`);
  }
}

function assertProtocols(protocols: readonly string[]): void {
  const wrong = protocols.find((protocol, at) => !isToken(protocol) || protocols.indexOf(protocol) < at);
  if (wrong !== undefined) {
    throw new RangeError(
      `Cannot offer the subprotocol ${quoteLine(withoutToken(wrong))}: each must be a token, and appear once`,
    );
  }
}

const HANDSHAKE_FIELD = /^(host|upgrade|connection|sec-websocket-(key|version|protocol|extensions|accept))$/i;

/** The expected response. */
export interface ExpectedResponse {
  /** The accept key of the request's key. */
  readonly acceptKey: string;
  /** The offered subprotocols. */
  readonly protocols: readonly string[];
  /** The offer of permessage-deflate; no extension by default. */
  readonly deflate?: DeflateParameters | undefined;
}

/** The verified response. */
export interface UpgradeResponse {
  /** The status. */
  readonly status: number;
  /** The selected subprotocol; empty if none. */
  readonly protocol: string;
  /** The agreed compression; `undefined` without it. */
  readonly deflate?: DeflateAgreement | undefined;
  /** Every error, in the order of RFC 6455 section 4.1; empty if the upgrade is valid. */
  readonly problems: readonly string[];
}

/**
 * Verifies every field of the response of the opening handshake (RFC 6455 section 4.1).
 *
 * @param head The head of the response.
 * @param expected The expected response.
 * @returns The response with every error.
 *
 * @example
 * ```ts
 * import { verifyResponse } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = { startLine: "HTTP/1.1 200 OK", fields: [] };
 * const { problems } = verifyResponse(head, { acceptKey: "", protocols: [] });
 * assertEquals(problems, ["status 200 instead of 101"]);
 * ```
 */
export function verifyResponse(head: HttpHead, expected: ExpectedResponse): UpgradeResponse {
  const line = parseStatusLine(head.startLine);
  if (line === undefined) {
    return { status: 0, protocol: "", problems: ["the first line is not the status line of an HTTP response"] };
  }
  const { version, status } = line;
  if (status !== 101) return { status, protocol: "", problems: [`status ${status} instead of 101`] };
  const problems: string[] = [];
  if (version !== "1.1") problems.push(`HTTP/${version} instead of HTTP/1.1`);
  const upgrades = listOf(head, "upgrade");
  if (upgrades.length === 0 || !upgrades.every((value) => value.toLowerCase() === "websocket")) {
    problems.push('the field Upgrade is not "websocket"');
  }
  if (!listOf(head, "connection").some((value) => value.toLowerCase() === "upgrade")) {
    problems.push('the field Connection does not have "Upgrade"');
  }
  problems.push(...acceptProblems(head, expected.acceptKey));
  const deflate = verifyDeflate(valuesOf(head, "sec-websocket-extensions").join(", "), expected.deflate);
  if (deflate.problem !== undefined) problems.push(deflate.problem);
  // An empty field selects nothing, like a missing one.
  const lines = valuesOf(head, "sec-websocket-protocol");
  const isNone = lines.every((value) => value === "");
  const selected = isNone ? [] : lines.flatMap((value) => value.split(",")).map((each) => trimBlanks(each));
  problems.push(...protocolProblems(selected, expected.protocols));
  const { agreement } = deflate;
  return { status, protocol: selected[0] ?? "", ...(agreement && { deflate: agreement }), problems };
}

function acceptProblems(head: HttpHead, acceptKey: string): string[] {
  const values = valuesOf(head, "sec-websocket-accept");
  if (values.length === 0) return ["the field Sec-WebSocket-Accept is missing"];
  if (values.length > 1) return ["the field Sec-WebSocket-Accept appears more than once"];
  return values[0] === acceptKey ? [] : ["the field Sec-WebSocket-Accept does not match the key that was sent"];
}

function protocolProblems(selected: readonly string[], offered: readonly string[]): string[] {
  const names = offered.map((name) => quoteLine(withoutToken(name))).join(", ");
  const [protocol, second] = selected;
  if (second !== undefined) return ["more than one subprotocol is selected"];
  if (protocol === undefined) {
    return offered.length === 0 ? [] : [`none of the offered subprotocols is selected: ${names}`];
  }
  return offered.includes(protocol)
    ? []
    : [`the subprotocol ${quoteLine(withoutToken(protocol))} was not offered${names && `: ${names}`}`];
}
