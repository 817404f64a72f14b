/**
 * The opening handshake (RFC 6455 section 4): the request, and every field of the response.
 *
 * @module
 */

/** The longest head of a request or response, in bytes: 16 KiB. */
export const MAX_HEAD_BYTES = 16 * 1024;

/** What a key is joined with to make the accept key (RFC 6455 section 1.3). */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The head of an HTTP message: its first line and its fields, in order. */
export interface HttpHead {
  /** The first line. */
  readonly startLine: string;
  /** Name and value of each field. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/**
 * Finds the end of a head.
 *
 * @param bytes What has arrived.
 * @param from Where to begin to look.
 * @returns Where the body begins, or -1 if the head is not complete.
 *
 * @example
 * ```ts
 * import { endOfHead } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(endOfHead(new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\nbody")), 19);
 * ```
 */
export function endOfHead(bytes: Uint8Array, from = 0): number {
  for (let at = Math.max(0, from); at + 3 < bytes.byteLength; at++) {
    if (bytes[at] === 13 && bytes[at + 1] === 10 && bytes[at + 2] === 13 && bytes[at + 3] === 10) return at + 4;
  }
  return -1;
}

/**
 * Reads a head (RFC 9112 sections 2 to 5).
 *
 * @param bytes The head, with or without its empty line.
 * @returns Its first line and fields.
 * @throws {SyntaxError} If a line is not a field.
 *
 * @example
 * ```ts
 * import { parseHead } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = parseHead(new TextEncoder().encode("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"));
 * assertEquals(head.fields, [["Upgrade", "websocket"]]);
 * ```
 */
export function parseHead(bytes: Uint8Array): HttpHead {
  const [startLine = "", ...lines] = latin1(bytes).replace(/(\r\n)+$/, "").split("\r\n");
  const fields = lines.map((line) => {
    const [, name, value] = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new SyntaxError(`Line is not a header field: ${line}`);
    return [name, value] as const;
  });
  return { startLine, fields };
}

/** Header fields are bytes: one character each. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

/**
 * Gives every value of a field that is a list, in order, over all its lines (RFC 9110 section 5.6.1).
 *
 * @param head The head.
 * @param name The name of the field, in any case.
 * @returns The values, without the spaces around them; none is empty.
 *
 * @example
 * ```ts
 * import { listOf } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(listOf({ startLine: "", fields: [["Connection", "keep-alive, Upgrade"]] }, "connection"), [
 *   "keep-alive",
 *   "Upgrade",
 * ]);
 * ```
 */
export function listOf(head: HttpHead, name: string): string[] {
  const values = head.fields.filter(([field]) => field.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  return values.flatMap((value) => value.split(",")).map((value) => value.trim()).filter((value) => value !== "");
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

function base64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
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
 * assertEquals(await acceptKeyFor("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
 * ```
 */
export async function acceptKeyFor(key: string): Promise<string> {
  return base64(new Uint8Array(await crypto.subtle.digest("SHA-1", new TextEncoder().encode(key + GUID))));
}

/** What a client asks for. */
export interface UpgradeRequest {
  /** Where to; a user name and password become Basic authentication. */
  readonly url: URL;
  /** The key, from {@linkcode createKey}. */
  readonly key: string;
  /** The subprotocols to offer, in the order of preference. */
  readonly protocols?: readonly string[];
  /** Fields to add; those of the handshake itself cannot be replaced. */
  readonly headers?: Headers;
}

/**
 * Writes the request of the opening handshake (RFC 6455 section 4.1).
 *
 * @param request What is asked for.
 * @returns The head, to be sent as it is.
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
  const { url, key, protocols = [], headers = new Headers() } = request;
  const lines = [
    `GET ${url.pathname}${url.search} HTTP/1.1`,
    `Host: ${headers.get("host") ?? url.host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${key}`,
  ];
  if (protocols.length > 0) lines.push(`Sec-WebSocket-Protocol: ${protocols.join(", ")}`);
  if (url.username !== "" && !headers.has("authorization")) {
    const credentials = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    lines.push(`Authorization: Basic ${base64(new TextEncoder().encode(credentials))}`);
  }
  for (const [name, value] of headers) {
    if (!HANDSHAKE_FIELD.test(name)) lines.push(`${name}: ${value}`);
  }
  return [...lines, "", ""].join("\r\n");
}

const HANDSHAKE_FIELD = /^(host|upgrade|connection|sec-websocket-(key|version|protocol|extensions|accept))$/i;

/** What a response has to agree with. */
export interface ExpectedResponse {
  /** The accept key for the key that was sent. */
  readonly acceptKey: string;
  /** The subprotocols that were offered. */
  readonly protocols: readonly string[];
}

/** What a response says. */
export interface UpgradeResponse {
  /** The status. */
  readonly status: number;
  /** The subprotocol that was selected; empty if none. */
  readonly protocol: string;
  /** Everything that is wrong, in the order of RFC 6455 section 4.1; empty if the upgrade is valid. */
  readonly problems: readonly string[];
}

/**
 * Verifies the response of the opening handshake, every field of it (RFC 6455 section 4.1).
 *
 * @param head The head of the response.
 * @param expected What it has to agree with.
 * @returns What it says, and everything that is wrong about it.
 *
 * @example
 * ```ts
 * import { parseHead, verifyResponse } from "./handshake.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = parseHead(new TextEncoder().encode("HTTP/1.1 200 OK\r\n\r\n"));
 * const { problems } = verifyResponse(head, { acceptKey: "", protocols: [] });
 * assertEquals(problems, ["status 200 instead of 101"]);
 * ```
 */
export function verifyResponse(head: HttpHead, expected: ExpectedResponse): UpgradeResponse {
  const [, version, digits] = /^HTTP\/(\d\.\d) (\d{3})(?: |$)/.exec(head.startLine) ?? [];
  const status = Number(digits ?? 0);
  if (version === undefined) {
    return { status, protocol: "", problems: ["the first line is not that of an HTTP response"] };
  }
  if (status !== 101) return { status, protocol: "", problems: [`status ${status} instead of 101`] };
  const problems: string[] = [];
  if (version !== "1.1") problems.push(`HTTP/${version} instead of HTTP/1.1`);
  if (!hasToken(head, "upgrade", "websocket")) problems.push('the field Upgrade is not "websocket"');
  if (!hasToken(head, "connection", "upgrade")) problems.push('the field Connection does not have "Upgrade"');
  problems.push(...acceptProblems(head, expected.acceptKey));
  const [extension] = listOf(head, "sec-websocket-extensions");
  if (extension !== undefined) problems.push(`the extension "${extension}" was not asked for`);
  const selected = listOf(head, "sec-websocket-protocol");
  problems.push(...protocolProblems(selected, expected.protocols));
  return { status, protocol: selected[0] ?? "", problems };
}

function hasToken(head: HttpHead, name: string, token: string): boolean {
  return listOf(head, name).some((value) => value.toLowerCase() === token);
}

function acceptProblems(head: HttpHead, acceptKey: string): string[] {
  const values = listOf(head, "sec-websocket-accept");
  if (values.length === 0) return ["the field Sec-WebSocket-Accept is missing"];
  if (values.length > 1) return ["the field Sec-WebSocket-Accept is there more than once"];
  return values[0] === acceptKey ? [] : ["the field Sec-WebSocket-Accept does not fit the key that was sent"];
}

function protocolProblems(selected: readonly string[], offered: readonly string[]): string[] {
  const names = offered.map((name) => `"${name}"`).join(", ");
  const [protocol, second] = selected;
  if (second !== undefined) return ["more than one subprotocol is selected"];
  if (protocol === undefined) {
    return offered.length === 0 ? [] : [`none of the subprotocols that were offered is selected: ${names}`];
  }
  return offered.includes(protocol) ? [] : [`the subprotocol "${protocol}" was not offered${names && `: ${names}`}`];
}
