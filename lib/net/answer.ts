/**
 * The answer of a server or a proxy, read from a connection.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { messageOf } from "../protocol/error.ts";
import { endOfHead, type HttpHead, MAX_HEAD_BYTES } from "../protocol/handshake.ts";
import { withoutToken } from "../protocol/message.ts";
import { type HandshakeRefusal, OpenError } from "../connection/connection.ts";

/**
 * Puts a status into words.
 *
 * @param status The status.
 * @returns "status 403 (Forbidden)"; without the text for a status that has none.
 *
 * @example
 * ```ts
 * import { statusText } from "./answer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(statusText(403), "status 403 (Forbidden)");
 * ```
 */
export function statusText(status: number): string {
  return `status ${status}${isStatus(status) ? ` (${STATUS_TEXT[status]})` : ""}`;
}

/**
 * Makes the record of an answer that is not what was asked for.
 *
 * @param answer The answer.
 * @param head Its head; `undefined` if it cannot be read.
 * @param status Its status; 0 if it is not HTTP.
 * @param problems What is wrong about it.
 * @param from Who gave it.
 * @returns The record.
 */
export function refusalOf(
  { bytes, bodyAt }: ReadHead,
  head: HttpHead | undefined,
  status: number,
  problems: readonly string[],
  from: HandshakeRefusal["from"],
): HandshakeRefusal {
  // A server that answers with the subprotocol of a token repeats the token.
  const fields = (head?.fields ?? []).map(([name, value]) =>
    [name, /^sec-websocket-protocol$/i.test(name) ? withoutToken(value) : value] as const
  );
  return { from, status, problems, fields, body: excerpt(bytes.subarray(bodyAt)) };
}

/** A head that has arrived, and what came with it. */
export interface ReadHead {
  /** All bytes that have arrived. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Where the head ends and the rest begins. */
  readonly bodyAt: number;
}

/**
 * Reads the head of an HTTP response.
 *
 * @param connection Where it comes from.
 * @returns The head.
 * @throws {OpenError} `connection-lost` if the connection ends first; `handshake-refused` if it is not HTTP, or longer
 * than 16384 bytes.
 *
 * @example
 * ```ts
 * import { readHead } from "./answer.ts";
 * import { assertRejects } from "@std/assert";
 * import { OpenError } from "../connection/connection.ts";
 *
 * const ended = { read: () => Promise.resolve(null) };
 * await assertRejects(() => readHead(ended), OpenError, "ended before the handshake was answered");
 * ```
 */
export async function readHead(connection: { read(into: Uint8Array): Promise<number | null> }): Promise<ReadHead> {
  const buffer = new Uint8Array(MAX_HEAD_BYTES);
  let length = 0;
  while (length < buffer.byteLength) {
    const read = await readOrLose(connection, buffer.subarray(length));
    const from = length - 3;
    length += read;
    const start = String.fromCharCode(...buffer.subarray(0, Math.min(length, HTTP.length)));
    if (!HTTP.startsWith(start)) {
      const problem = isTls(buffer) ? "it is TLS and not HTTP: try wss://" : "it is not HTTP";
      throw new OpenError("handshake-refused", `Answer is not a valid upgrade: ${problem}`, {
        refusal: refusalOf({ bytes: buffer.subarray(0, length), bodyAt: 0 }, undefined, 0, [problem], "server"),
        ...(isTls(buffer) && { reason: "tls-server" }),
      });
    }
    const bodyAt = endOfHead(buffer.subarray(0, length), from);
    if (bodyAt !== -1) return { bytes: buffer.subarray(0, length), bodyAt };
  }
  const problem = `its head is longer than ${MAX_HEAD_BYTES} bytes`;
  throw new OpenError("handshake-refused", `Answer is not a valid upgrade: ${problem}`, {
    refusal: refusalOf({ bytes: buffer, bodyAt: 0 }, undefined, 0, [problem], "server"),
  });
}

const HTTP = "HTTP/";

/** Whether bytes begin as an alert or a handshake of TLS does (RFC 8446 section 5.1). */
function isTls(bytes: Uint8Array): boolean {
  return (bytes[0] === 21 || bytes[0] === 22) && bytes[1] === 3;
}

async function readOrLose(
  connection: { read(into: Uint8Array): Promise<number | null> },
  into: Uint8Array,
): Promise<number> {
  const lost = "Connection ended before the handshake was answered";
  try {
    const read = await connection.read(into);
    if (read !== null) return read;
  } catch (error) {
    throw new OpenError("connection-lost", lost, { detail: messageOf(error), cause: error });
  }
  throw new OpenError("connection-lost", lost);
}

/** The longest piece of a body that a report shows, in characters. */
const MAX_EXCERPT_CHARS = 512;

/**
 * Shows how bytes begin that may be anything.
 *
 * @param bytes The bytes.
 * @returns At most 512 characters; what is not UTF-8 becomes U+FFFD.
 *
 * @example
 * ```ts
 * import { excerpt } from "./answer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(excerpt(new Uint8Array(1000).fill(65)).length, 512);
 * ```
 */
export function excerpt(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes.subarray(0, 4 * MAX_EXCERPT_CHARS)).slice(0, MAX_EXCERPT_CHARS);
}
