/**
 * The answer of a server or proxy to our request: the head, and the start of a refusal's body.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { messageOf } from "../protocol/error.ts";
import { HeadReader, HttpHeadError, isTlsRecord } from "../protocol/http.ts";
import { bodyLengthOf, BodyReader } from "../protocol/http_body.ts";
import { type HttpHead, listOf, parseStatusLine, valuesOf } from "../protocol/http_lines.ts";
import { concatBytes, withoutToken } from "../protocol/message.ts";
import type { HandshakeRefusal } from "./open_error.ts";
import { within } from "./deadline.ts";
import { lostError } from "./failure.ts";

/** Deadline for the body of a refusal, in milliseconds: 1 s, and at most half of the remaining connect timeout. */
export const BODY_TIMEOUT_MS = 1000;

/** Limit for the body of a refusal, compressed and decompressed, in bytes: 16 KiB each. */
export const MAX_BODY_BYTES = 16 * 1024;

/** Longest excerpt of a body in a report, in characters: 512. */
export const MAX_BODY_CHARS = 512;

/** Size of each read, in bytes: 16 KiB. */
const READ_BYTES = 16 * 1024;

type Readable = Pick<Deno.Conn, "read">;

/** An answer with its parsed head. */
export interface Answer {
  /** The head; without fields if unreadable. */
  readonly head: HttpHead;
  /** The status; 0 if the answer is not HTTP. */
  readonly status: number;
  /** The bytes after the head; all bytes if the answer is not HTTP. */
  readonly rest: Uint8Array<ArrayBuffer>;
  /** Why the head is unreadable; empty otherwise. */
  readonly problem: string;
  /** Whether the peer speaks TLS, not HTTP. */
  readonly isTls: boolean;
}

/**
 * Reads the head of an answer, past any interim responses (RFC 9110 section 15.2).
 *
 * @param connection The connection to read.
 * @returns The answer; a malformed head, or one longer than 64 KiB, sets `problem`.
 * @throws {OpenError} `connection-lost` if the connection ends first.
 *
 * @example
 * ```ts
 * import { readAnswer } from "./answer.ts";
 * import { assertRejects } from "@std/assert";
 * import { OpenError } from "./open_error.ts";
 *
 * const ended = { read: () => Promise.resolve(null) };
 * await assertRejects(() => readAnswer(ended), OpenError, "ended before the handshake was answered");
 * ```
 */
export async function readAnswer(connection: Readable): Promise<Answer> {
  const reader = new HeadReader("response");
  const buffer = new Uint8Array(READ_BYTES);
  const pieces: Uint8Array[] = [];
  while (true) {
    const piece = buffer.slice(0, await readOrLose(connection, buffer));
    pieces.push(piece);
    try {
      const complete = reader.push(piece);
      if (complete) return { ...complete, status: statusOf(complete.head.startLine), problem: "", isTls: false };
    } catch (error) {
      if (!(error instanceof HttpHeadError)) throw error;
      return unreadable(error, concatBytes(pieces, reader.length));
    }
  }
}

function statusOf(startLine: string): number {
  return parseStatusLine(startLine)?.status ?? 0;
}

/** A malformed field does not hide the status of a refusal. */
function unreadable({ message, startLine }: HttpHeadError, bytes: Uint8Array<ArrayBuffer>): Answer {
  const isTls = isTlsRecord(bytes);
  const status = statusOf(startLine);
  return {
    head: { startLine, fields: [] },
    status,
    rest: status === 0 ? bytes : new Uint8Array(0),
    problem: `${message.charAt(0).toLowerCase()}${message.slice(1)}${isTls ? ": try wss://" : ""}`,
    isTls,
  };
}

async function readOrLose(connection: Readable, into: Uint8Array): Promise<number> {
  try {
    const read = await connection.read(into);
    if (read !== null) return read;
  } catch (error) {
    throw lostError(messageOf(error), error);
  }
  throw lostError("");
}

/**
 * Puts a status into words.
 *
 * @param status The status.
 * @returns "status 403 (Forbidden)"; an unknown status has no text.
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

/** Details of a refusal, and the deadline for its body. */
export interface RefusalDetails {
  /** Sender of the answer. */
  readonly from: HandshakeRefusal["from"];
  /** All faults of the answer. */
  readonly problems: readonly string[];
  /** End of the connect timeout, on the clock of `performance.now()`. */
  readonly deadline: number;
}

/**
 * Records an unwanted answer, and reads the start of the body: at most 16 KiB, for at most 1 s and half of the time
 * until the deadline.
 *
 * @param connection The connection to read. It is unusable after a late body.
 * @param answer The answer.
 * @param details Sender, faults and deadline.
 * @returns The record.
 */
export async function refusalOf(
  connection: Readable,
  answer: Answer,
  { from, problems, deadline }: RefusalDetails,
): Promise<HandshakeRefusal> {
  const { head, status, rest, problem } = answer;
  // A server that selects the subprotocol of a token repeats the token.
  const fields = head.fields.map(([name, value]) =>
    [name, /^sec-websocket-protocol$/i.test(name) ? withoutToken(value) : value] as const
  );
  const body = problem === "" ? await readBody(connection, answer, deadline) : excerpt(rest, head);
  return { from, status, problems, fields, body };
}

async function readBody(connection: Readable, { head, rest }: Answer, deadline: number): Promise<string> {
  const reader = new BodyReader(bodyLengthOf(head), MAX_BODY_BYTES);
  const readAll = async () => {
    const buffer = new Uint8Array(READ_BYTES);
    let isComplete = reader.push(rest);
    while (!isComplete) {
      const read = await connection.read(buffer);
      if (read === null) return;
      isComplete = reader.push(buffer.subarray(0, read));
    }
  };
  const timeoutMs = Math.max(0, Math.min(BODY_TIMEOUT_MS, (deadline - performance.now()) / 2));
  // Keep the received part of a late or truncated body: the status alone is the verdict.
  await within(readAll(), "body", { timeoutMs }).catch(() => {});
  return excerpt(await decompressed(reader.body, head), head);
}

/** Undoes the codings of a body (RFC 9110 section 8.4), the last one first; empty for an unknown coding. */
async function decompressed(body: Uint8Array<ArrayBuffer>, head: HttpHead): Promise<Uint8Array<ArrayBuffer>> {
  let bytes = body;
  for (const coding of listOf(head, "content-encoding").reverse()) {
    const format = formatOf(coding.toLowerCase(), bytes);
    if (format === "identity") continue;
    bytes = format === undefined ? new Uint8Array(0) : await inflated(bytes, format);
  }
  return bytes;
}

function formatOf(coding: string, [first = 0, second = 0]: Uint8Array): CompressionFormat | "identity" | undefined {
  if (coding === "gzip" || coding === "x-gzip") return "gzip";
  if (coding !== "deflate") return coding === "identity" ? "identity" : undefined;
  // Many servers omit the two bytes of zlib (RFC 1950 section 2.2) that HTTP's deflate requires.
  const isZlib = (first & 0x0f) === 8 && ((first << 8) | second) % 31 === 0;
  return isZlib ? "deflate" : "deflate-raw";
}

/** Inflates up to the limit, or up to the first damage. */
async function inflated(bytes: Uint8Array<ArrayBuffer>, format: CompressionFormat): Promise<Uint8Array<ArrayBuffer>> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  try {
    for await (const piece of new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format))) {
      pieces.push(piece);
      length += piece.byteLength;
      if (length >= MAX_BODY_BYTES) break;
    }
  } catch {
    // Keep the intact part.
  }
  return concatBytes(pieces, length).slice(0, MAX_BODY_BYTES);
}

/** Decodes the start of a body, in whole characters; malformed bytes become U+FFFD. */
function excerpt(bytes: Uint8Array, head: HttpHead): string {
  const text = decoderFor(head).decode(bytes, { stream: true });
  return text.slice(0, MAX_BODY_CHARS).replace(/[\ud800-\udbff]$/, "");
}

/** Decoder for the charset in the head (RFC 9110 section 8.3.2); UTF-8 if missing or unknown. */
function decoderFor(head: HttpHead): TextDecoder {
  const [type = ""] = valuesOf(head, "content-type");
  const [, charset = "utf-8"] = /;[ \t]*charset="?([^\s;"]+)/i.exec(type) ?? [];
  try {
    return new TextDecoder(charset);
  } catch {
    return new TextDecoder();
  }
}
