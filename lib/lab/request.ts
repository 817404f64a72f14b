/**
 * What the lab reads and writes of HTTP.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { endOfHead, MAX_HEAD_BYTES, parseHead } from "../protocol/handshake.ts";
import type { RawSocket } from "../peer/socket.ts";
import type { HandshakeAnswer } from "./step.ts";

/** The head of a request, and what arrived after it. */
export interface ReadRequest {
  /** The request, or `undefined` if what came is none. */
  readonly request: Request | undefined;
  /** The bytes after its head. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/**
 * Reads the head of a request.
 *
 * @param socket Where it comes from.
 * @returns The request; what is not HTTP, or longer than 16 KiB, is none.
 * @throws {PeerGoneError} If the client is gone first.
 *
 * @example
 * ```ts
 * import { serveLab } from "./lab.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lab = await serveLab({ port: 0 });
 * const answer = await fetch(lab.url.replace("ws:", "http:"), { headers: { "x-long": "x".repeat(17_000) } });
 * assertEquals(answer.status, 400);
 * await answer.body?.cancel();
 * await lab.shutdown();
 * ```
 */
export async function readRequest(socket: RawSocket): Promise<ReadRequest> {
  let bytes = new Uint8Array(0);
  while (true) {
    const chunk = await socket.read();
    const joined = new Uint8Array(bytes.byteLength + chunk.byteLength);
    joined.set(bytes);
    joined.set(chunk, bytes.byteLength);
    const end = endOfHead(joined, bytes.byteLength - 3);
    if (end > MAX_HEAD_BYTES || (end === -1 && joined.byteLength > MAX_HEAD_BYTES)) {
      return { request: undefined, rest: new Uint8Array(0) };
    }
    if (end !== -1) return { request: requestOf(joined.subarray(0, end)), rest: joined.slice(end) };
    bytes = joined;
  }
}

function requestOf(bytes: Uint8Array): Request | undefined {
  try {
    const { startLine, fields } = parseHead(bytes);
    const [, method, path] = /^(\S+) (\/\S*) HTTP\/1\.1$/.exec(startLine) ?? [];
    if (method === undefined) return undefined;
    const request = new Request(`http://lab${path}`, { method, headers: fields.map(([name, value]) => [name, value]) });
    // A method has a case (RFC 9110 section 9.1), which the request does not keep for all of them.
    return request.method === method ? request : undefined;
  } catch {
    // A line that is no field, or a method or value that a request may not have.
    return undefined;
  }
}

/**
 * Sends the answer to an opening handshake, as far and as fast as it says.
 *
 * @param socket Where it goes.
 * @param answer The answer.
 *
 * @example
 * ```ts
 * import { serveLab } from "./lab.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lab = await serveLab({ port: 0 });
 * const url = new URL("/refuse/418", lab.url.replace("ws:", "http:"));
 * const answer = await fetch(url, {
 *   headers: {
 *     "upgrade": "websocket",
 *     "connection": "upgrade",
 *     "sec-websocket-version": "13",
 *     "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
 *   },
 * });
 * assertEquals(answer.status, 418);
 * await answer.body?.cancel();
 * await lab.shutdown();
 * ```
 */
export async function sendAnswer(socket: RawSocket, answer: HandshakeAnswer): Promise<void> {
  const fields = [...answer.fields].map(([name, value]) => `${name}: ${value}`);
  const text = [answer.startLine, ...fields, "", ""].join("\r\n");
  const shown = text.slice(0, Math.floor(text.length * answer.portion));
  const pieces = answer.linePauseMs === 0 ? [shown] : shown.split(/(?<=\n)/);
  for (const piece of pieces.filter((one) => one !== "")) {
    if (answer.linePauseMs > 0) await socket.pause(answer.linePauseMs);
    await socket.write(latin1(piece));
  }
}

/**
 * Writes the first line of a response.
 *
 * @param status The status.
 * @returns The line, without its end; a status that has no text of its own has none.
 *
 * @example
 * ```ts
 * import { statusLine } from "./request.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(statusLine(403), "HTTP/1.1 403 Forbidden");
 * ```
 */
export function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${isStatus(status) ? STATUS_TEXT[status] : ""}`;
}

/** A character of a head is a byte. */
function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/**
 * Sends a response to plain HTTP; the connection ends with it.
 *
 * @param socket Where it goes.
 * @param request What it answers, if that is known: to HEAD goes no body.
 * @param response The response.
 *
 * @example
 * ```ts
 * import { serveLab } from "./lab.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lab = await serveLab({ port: 0 });
 * const answer = await fetch(lab.url.replace("ws:", "http:"), { method: "HEAD" });
 * assertEquals([answer.status, await answer.text()], [200, ""]);
 * await lab.shutdown();
 * ```
 */
export async function sendResponse(
  socket: RawSocket,
  request: Request | undefined,
  response: Response,
): Promise<void> {
  const body = new Uint8Array(await response.arrayBuffer());
  const { status, headers } = response;
  const lines = [...headers].map(([name, value]) => `${name}: ${value}`);
  // "Connection: Upgrade" belongs to 426, and to a request that is answered with a refusal the connection ends anyway.
  if (!headers.has("connection")) lines.push("connection: close");
  const head = [statusLine(status), ...lines, `content-length: ${body.byteLength}`, "", ""];
  await socket.write(latin1(head.join("\r\n")));
  if (request?.method !== "HEAD" && body.byteLength > 0) await socket.write(body);
  await socket.end();
}
