/**
 * What the lab reads and writes of HTTP: requests through the head reader of `lib/protocol/http.ts`, answers as its steps make
 * them.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { TimeoutError, within } from "../net/deadline.ts";
import type { Unreadable } from "../net/reception.ts";
import { type ParsedRequest, parseRequest } from "../net/request.ts";
import type { RawSocket } from "../peer/socket.ts";
import { encodeHead, HeadReader, HttpHeadError } from "../protocol/http.ts";
import type { HandshakeAnswer } from "./step.ts";

/** A request, and what arrived after it. */
export interface LabRequest extends Omit<ParsedRequest, "request"> {
  /** The request, without its body. */
  readonly request: Request;
  /** The path as it was sent, but bytes above 7F percent-encoded. */
  readonly path: string;
  /** The query with its question mark; empty if there is none. */
  readonly search: string;
  /** The bytes after its head. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/**
 * Reads the head of a request, at most 64 KiB.
 *
 * @param socket Where it comes from.
 * @param timeoutMs How long it may take, in milliseconds.
 * @returns The request, or what is wrong about what came: said at the first byte that proves it.
 * @throws {PeerGoneError} If the client is gone first.
 *
 * @example
 * ```ts
 * import { serveLab } from "./lab.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lab = await serveLab({ port: 0 });
 * const answer = await fetch(lab.url.replace("ws:", "http:"), { headers: { "x-long": "x".repeat(70_000) } });
 * assertEquals([answer.status, await answer.text()], [431, "Head is longer than 65536 bytes.\n"]);
 * await lab.shutdown();
 * ```
 */
export async function readRequest(socket: RawSocket, timeoutMs: number): Promise<LabRequest | Unreadable> {
  const reader = new HeadReader("request");
  const dueAt = performance.now() + timeoutMs;
  try {
    while (true) {
      const leftMs = Math.max(0, dueAt - performance.now());
      const complete = reader.push(await within(socket.read(), "request", { timeoutMs: leftMs }));
      if (complete === undefined) continue;
      const parsed = parseRequest(complete.head, false);
      if ("reason" in parsed) return { status: 400, cause: "bad-handshake", reason: parsed.reason };
      const request = parsed.request.toRequest();
      return { ...parsed, request, ...partsOf(parsed.target), rest: complete.rest };
    }
  } catch (error) {
    if (error instanceof TimeoutError) {
      const reason = `No complete request within ${timeoutMs / 1000} s.`;
      return { status: reader.length > 0 ? 408 : 0, cause: "head-timeout", reason };
    }
    if (!(error instanceof HttpHeadError)) throw error;
    const reason = `${error.reason}.`;
    return error.problem === "too-long"
      ? { status: 431, cause: "head-too-long", reason }
      : { status: 400, cause: "bad-handshake", reason };
  }
}

/** A URL would take dots, a backslash and a number sign for something else than what was sent. */
function partsOf(target: string): { path: string; search: string } {
  const escaped = target.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  const [, path = "", search = ""] = /^(?:https?:\/\/[^/?]*)?([^?]*)(.*)$/i.exec(escaped) ?? [];
  return { path: path || "/", search };
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
    // A character of a head is a byte, also where a step makes it none.
    await socket.write(Uint8Array.from(piece, (char) => char.charCodeAt(0)));
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

/**
 * Sends a response to plain HTTP; the connection ends with it.
 *
 * @param socket Where it goes.
 * @param response The response.
 * @param isHead Whether it answers HEAD, and so goes without its body.
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
export async function sendResponse(socket: RawSocket, response: Response, isHead: boolean): Promise<void> {
  const body = new Uint8Array(await response.arrayBuffer());
  const { status, headers } = response;
  const fields = [...headers];
  // "Connection: Upgrade" belongs to 426, and to a request that is answered with a refusal the connection ends anyway.
  if (!headers.has("connection")) fields.push(["connection", "close"]);
  await socket.write(encodeHead(statusLine(status), [...fields, ["content-length", `${body.byteLength}`]]));
  if (!isHead && body.byteLength > 0) await socket.write(body);
  await socket.end();
}
