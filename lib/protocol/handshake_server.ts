/**
 * The server's half of the opening handshake (RFC 6455 section 4.2): the verification of the request, and the fields of
 * the response. Errors are in words; the server decides on the answer.
 *
 * @module
 */

import { type Extension, parseExtensions } from "./extension.ts";
import { acceptKeyFor, isKey, writeAcceptKey } from "./handshake.ts";
import { encodeHead, trimBlanks } from "./http_lines.ts";
import { quote } from "./message.ts";
import { isToken } from "./token.ts";

/** The longest quotation of a method, in characters. */
const MAX_SHOWN_CHARS = 20;

/** A request as the opening handshake sees it. */
export interface RequestView {
  /** The method, unchanged. */
  readonly method: string;
  /** The version of HTTP, such as `1.1`, if known. */
  readonly version?: string | undefined;
  /**
   * Returns a field.
   *
   * @param name The name, in lower case.
   * @returns The value, several lines joined with a comma; `null` without the field.
   */
  field(name: string): string | null;
}

/** The cause of a refusal, as a stable word. */
export type RequestProblemCause =
  /** The method is not GET. */
  | "method"
  /** No WebSocket is requested. */
  | "plain-http"
  /** The version of the protocol is not 13. */
  | "version"
  /** A field is missing or malformed, or the version of HTTP has no upgrade. */
  | "bad-handshake";

/** The error in a request. */
export interface RequestProblem {
  /** The cause. */
  readonly cause: RequestProblemCause;
  /** One sentence for the sender. */
  readonly text: string;
}

/**
 * Verifies every field of the request of the opening handshake (RFC 6455 section 4.2.1).
 *
 * @param request The request.
 * @returns The first error; `undefined` if the request can be upgraded.
 *
 * @example
 * ```ts
 * import { verifyRequest } from "./handshake_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const fields = new Map([["host", "a"], ["upgrade", "websocket"], ["connection", "keep-alive"]]);
 * assertEquals(verifyRequest({ method: "GET", field: (name) => fields.get(name) ?? null }), {
 *   cause: "bad-handshake",
 *   text: 'The field Connection does not have the token "Upgrade".',
 * });
 * ```
 */
export function verifyRequest(request: RequestView): RequestProblem | undefined {
  const { method, version } = request;
  const wantsUpgrade = asksForUpgrade(request);
  if (method !== "GET" && (wantsUpgrade || method !== "HEAD")) {
    return { cause: "method", text: methodProblem(method) };
  }
  if (!wantsUpgrade) return { cause: "plain-http", text: "The request does not ask for an upgrade to WebSocket." };
  const text = versionProblem(version) ?? fieldProblem(request);
  if (text !== undefined) return { cause: "bad-handshake", text };
  if (request.field("sec-websocket-version") !== "13") {
    return { cause: "version", text: "The only supported Sec-WebSocket-Version is 13." };
  }
  const lateText = bodyProblem(request) ?? keyProblem(request) ?? offerProblem(request);
  return lateText === undefined ? undefined : { cause: "bad-handshake", text: lateText };
}

/** Methods are case-sensitive (RFC 9110 section 9.1). */
function methodProblem(method: string): string {
  return method.toUpperCase() === "GET"
    ? `The method ${quote(method, MAX_SHOWN_CHARS)} is not GET: methods are case-sensitive.`
    : "A WebSocket begins with the method GET.";
}

/** HTTP/1.0 ignores the field Upgrade (RFC 9110 section 7.8). */
function versionProblem(version: string | undefined): string | undefined {
  return version === "1.0" ? "HTTP/1.0 has no upgrade: a WebSocket needs HTTP/1.1." : undefined;
}

function fieldProblem(request: RequestView): string | undefined {
  // With another protocol before "websocket" the runtime detaches the connection from the request, and then the process
  // dies. A server may decline a choice of several protocols: this one accepts "websocket" alone.
  if (request.field("upgrade")?.toLowerCase() !== "websocket") return 'The field Upgrade is not "websocket" alone.';
  if (request.field("host") === null) return "The field Host is missing.";
  return hasToken(request, "connection", "upgrade")
    ? undefined
    : 'The field Connection does not have the token "Upgrade".';
}

function bodyProblem(request: RequestView): string | undefined {
  const length = request.field("content-length");
  const hasBody = request.field("transfer-encoding") !== null || (length !== null && !/^0+$/.test(length));
  return hasBody ? "A request for an upgrade has no body." : undefined;
}

function keyProblem(request: RequestView): string | undefined {
  return isKey(request.field("sec-websocket-key") ?? "")
    ? undefined
    : "The field Sec-WebSocket-Key is not 16 bytes in Base64.";
}

function offerProblem(request: RequestView): string | undefined {
  if (!offeredProtocols(request).every(isToken)) {
    return "The field Sec-WebSocket-Protocol has a name that is not a token.";
  }
  // A malformed offer fails the handshake; ignoring it is not allowed (RFC 6455 section 9.1).
  return offeredExtensions(request) === undefined ? "The field Sec-WebSocket-Extensions is malformed." : undefined;
}

/**
 * Tells whether a request asks for a WebSocket, validly or not.
 *
 * @param request The request.
 * @returns Whether `websocket` is among the values of its field Upgrade.
 *
 * @example
 * ```ts
 * import { asksForUpgrade } from "./handshake_server.ts";
 * import { assert } from "@std/assert";
 *
 * assert(asksForUpgrade({ method: "GET", field: () => "h2c, WebSocket" }));
 * ```
 */
export function asksForUpgrade(request: RequestView): boolean {
  return hasToken(request, "upgrade", "websocket");
}

/**
 * Returns the subprotocols that a request offers.
 *
 * @param request The request.
 * @returns Their names, in the order of preference.
 *
 * @example
 * ```ts
 * import { offeredProtocols } from "./handshake_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(offeredProtocols({ method: "GET", field: () => "chat,, superchat" }), ["chat", "superchat"]);
 * ```
 */
export function offeredProtocols(request: RequestView): string[] {
  return listIn(request, "sec-websocket-protocol");
}

/**
 * Returns the extensions that a request offers (RFC 6455 section 9.1).
 *
 * @param request The request.
 * @returns The extensions, in the order of preference; `undefined` if the field is malformed.
 *
 * @example
 * ```ts
 * import { offeredExtensions } from "./handshake_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(offeredExtensions({ method: "GET", field: () => "x; y=1" }), [{ name: "x", parameters: [["y", "1"]] }]);
 * ```
 */
export function offeredExtensions(request: RequestView): Extension[] | undefined {
  const value = request.field("sec-websocket-extensions");
  return value === null ? [] : parseExtensions(value);
}

/**
 * Selects a subprotocol (RFC 6455 section 4.2.2).
 *
 * @param offered The client's subprotocols, in its order.
 * @param supported The server's subprotocols, best first; without them the client's first is selected.
 * @returns The subprotocol; empty if none fits.
 *
 * @example
 * ```ts
 * import { selectProtocol } from "./handshake_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(selectProtocol(["chat", "superchat"], ["superchat", "chat"]), "superchat");
 * assertEquals(selectProtocol(["chat"], []), "");
 * ```
 */
export function selectProtocol(offered: readonly string[], supported?: readonly string[]): string {
  return (supported ? supported.find((name) => offered.includes(name)) : offered[0]) ?? "";
}

/**
 * Makes the fields of the response that upgrades (RFC 6455 section 4.2.2); its first line is {@linkcode SWITCHING}.
 *
 * @param key The field Sec-WebSocket-Key of the request.
 * @param protocol The selected subprotocol; empty for none.
 * @param extensions The accepted extensions, as a value of the field; empty for none.
 * @returns Name and value of each field, in order.
 *
 * @example
 * ```ts
 * import { responseFields } from "./handshake_server.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(responseFields("dGhlIHNhbXBsZSBub25jZQ==", "chat").slice(2), [
 *   ["Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
 *   ["Sec-WebSocket-Protocol", "chat"],
 * ]);
 * ```
 */
export function responseFields(key: string, protocol: string, extensions = ""): [name: string, value: string][] {
  const fields: [name: string, value: string][] = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", acceptKeyFor(key)],
  ];
  if (protocol !== "") fields.push(["Sec-WebSocket-Protocol", protocol]);
  if (extensions !== "") fields.push(["Sec-WebSocket-Extensions", extensions]);
  return fields;
}

/** The first line of the response that upgrades. */
export const SWITCHING = "HTTP/1.1 101 Switching Protocols";

/**
 * Writes the answer that upgrades, as `encodeHead()` does of the fields of {@linkcode responseFields}, to memory that is there: it
 * takes a tenth of the time if the answer before had the same subprotocol and extensions.
 *
 * @param into Takes the answer, if there is room for it.
 * @param key The field Sec-WebSocket-Key of the request.
 * @param protocol The subprotocol that was selected; empty for none.
 * @param extensions The extensions that were accepted, as the field has them; empty for none.
 * @returns The answer: a part of `into`, or memory of its own.
 * @throws {RangeError} If the subprotocol or the extensions are not one line of bytes.
 *
 * @example
 * ```ts
 * import { writeSwitching } from "./handshake_server.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const answer = writeSwitching(new Uint8Array(1024), "dGhlIHNhbXBsZSBub25jZQ==", "chat");
 * assertStringIncludes(new TextDecoder().decode(answer), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n");
 * ```
 */
export function writeSwitching(
  into: Uint8Array<ArrayBuffer>,
  key: string,
  protocol: string,
  extensions = "",
): Uint8Array<ArrayBuffer> {
  if (former.protocol !== protocol || former.extensions !== extensions) {
    former = { protocol, extensions, answer: encodeHead(SWITCHING, responseFields(key, protocol, extensions)) };
  }
  const { byteLength } = former.answer;
  const answer = byteLength > into.byteLength ? new Uint8Array(byteLength) : into.subarray(0, byteLength);
  answer.set(former.answer);
  writeAcceptKey(key, answer, ACCEPT_KEY_AT);
  return answer;
}

/** The answer before: those of a server differ by their accept keys, and seldom by more. */
let former = { protocol: "", extensions: "", answer: encodeHead(SWITCHING, responseFields("", "")) };
const ACCEPT_KEY_AT = `${SWITCHING}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: `.length;

/** The values of a list field (RFC 9110 section 5.6.1). */
function listIn(request: RequestView, name: string): string[] {
  const value = request.field(name);
  // As a rule there is none, or one value.
  if (value === null || isToken(value)) return value === null ? [] : [value];
  return value.split(",").map((each) => trimBlanks(each)).filter((each) => each !== "");
}

function hasToken(request: RequestView, name: string, token: string): boolean {
  // Usually the token stands alone.
  return request.field(name)?.toLowerCase() === token ||
    listIn(request, name).some((value) => value.toLowerCase() === token);
}
