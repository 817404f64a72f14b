/**
 * Sends the answer to an opening handshake, as the steps of the lab made it.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { bytesOf } from "../protocol/http_lines.ts";
import type { RawSocket } from "../peer/socket.ts";
import type { HandshakeAnswer } from "./step.ts";

/**
 * Sends the answer, cut and paced as the steps ask.
 *
 * @param socket The connection.
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
    // Sends a byte for each character, even in an invalid head.
    await socket.write(bytesOf(piece));
  }
}

/**
 * Writes the status line of a response.
 *
 * @param status The status.
 * @returns The line, without CRLF; an unknown status gets no reason phrase.
 *
 * @example
 * ```ts
 * import { statusLine } from "./answer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(statusLine(403), "HTTP/1.1 403 Forbidden");
 * ```
 */
export function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${isStatus(status) ? STATUS_TEXT[status] : ""}`;
}
