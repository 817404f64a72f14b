/**
 * The answer of a server or a proxy to a request of ours: its head, and of a refusal the beginning of its body.
 *
 * @module
 */

import { isStatus, STATUS_TEXT } from "@std/http/status";
import { messageOf } from "../protocol/error.ts";
import { HeadReader, HttpHeadError } from "../protocol/http.ts";
import { bodyLengthOf, BodyReader } from "../protocol/http_body.ts";
import { type HttpHead, listOf, parseStatusLine, valuesOf } from "../protocol/http_lines.ts";
import { concatBytes, withoutToken } from "../protocol/message.ts";
import type { HandshakeRefusal } from "./open_error.ts";
import { within } from "./deadline.ts";
import { lostError } from "./failure.ts";

/** How long the body of a refusal may take, in milliseconds: 1 s, and at most half of what is left of the connect timeout. */
export const BODY_TIMEOUT_MS = 1000;

/** How much of the body of a refusal is read, and of what it decompresses to, in bytes: 16 KiB each. */
export const MAX_BODY_BYTES = 16 * 1024;

/** The longest piece of a body that a report shows, in characters: 512. */
export const MAX_BODY_CHARS = 512;

/** How much is read at once, in bytes: 16 KiB. */
const READ_BYTES = 16 * 1024;

type Readable = Pick<Deno.Conn, "read">;

/** An answer, as far as its head can be read. */
export interface Answer {
  /** The head; without fields if it cannot be read. */
  readonly head: HttpHead;
  /** The status; 0 if the answer is not HTTP. */
  readonly status: number;
  /** The bytes behind the head; all bytes if the answer is not HTTP. */
  readonly rest: Uint8Array<ArrayBuffer>;
  /** Why the head cannot be read, in words; empty if it can. */
  readonly problem: string;
  /** Whether TLS came instead of HTTP. */
  readonly isTls: boolean;
}

/**
 * Reads the head of an answer, behind any interim responses (RFC 9110 section 15.2).
 *
 * @param connection Where it comes from.
 * @returns The answer; a head that is no head, or longer than 64 KiB, is an answer with a problem.
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

/** A refusal stays one, whatever its fields are like. */
function unreadable({ message, startLine }: HttpHeadError, bytes: Uint8Array<ArrayBuffer>): Answer {
  // An alert or a handshake of TLS (RFC 8446 section 5.1).
  const isTls = (bytes[0] === 21 || bytes[0] === 22) && bytes[1] === 3;
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

/** Details of a refusal, and the deadline for its body. */
export interface RefusalDetails {
  /** The giver of the answer. */
  readonly from: HandshakeRefusal["from"];
  /** Everything that is wrong about it. */
  readonly problems: readonly string[];
  /** When the connect timeout ends, on the clock of `performance.now()`. */
  readonly deadline: number;
}

/**
 * Makes the record of an answer that is not what was asked for, and reads the beginning of its body: 16 KiB at most, for 1 s
 * at most and half of the time until the deadline.
 *
 * @param connection Where the body comes from. After a body that did not come in time nothing else can be read there.
 * @param answer The answer.
 * @param details Who refuses, why, and until when.
 * @returns The record.
 */
export async function refusalOf(
  connection: Readable,
  answer: Answer,
  { from, problems, deadline }: RefusalDetails,
): Promise<HandshakeRefusal> {
  const { head, status, rest, problem } = answer;
  // A server that answers with the subprotocol of a token repeats the token.
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
  // A body that is late or cut off counts as far as it came: the status alone is the verdict.
  await within(readAll(), "body", { timeoutMs }).catch(() => {});
  return excerpt(await decompressed(reader.body, head), head);
}

/** Undoes the codings of a body (RFC 9110 section 8.4), the last one first; nothing is left of one with another coding. */
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
  // Many servers leave out the two bytes of zlib (RFC 1950 section 2.2) that deflate means in HTTP.
  const isZlib = (first & 0x0f) === 8 && ((first << 8) | second) % 31 === 0;
  return isZlib ? "deflate" : "deflate-raw";
}

/** Inflates as much as is wanted; what is cut off or damaged counts up to there. */
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
    // As far as it came.
  }
  return concatBytes(pieces, length).slice(0, MAX_BODY_BYTES);
}

/** Shows how a body begins, in whole characters; what does not fit its charset becomes U+FFFD. */
function excerpt(bytes: Uint8Array, head: HttpHead): string {
  const text = decoderFor(head).decode(bytes, { stream: true });
  return text.slice(0, MAX_BODY_CHARS).replace(/[\ud800-\udbff]$/, "");
}

/** A decoder for the charset that the body has by its head (RFC 9110 section 8.3.2); UTF-8 for none, and for an unknown one. */
function decoderFor(head: HttpHead): TextDecoder {
  const [type = ""] = valuesOf(head, "content-type");
  const [, charset = "utf-8"] = /;[ \t]*charset="?([^\s;"]+)/i.exec(type) ?? [];
  try {
    return new TextDecoder(charset);
  } catch {
    return new TextDecoder();
  }
}
