/**
 * The messages to send, made on demand to bound the memory.
 *
 * @module
 */

import { PayloadError } from "./usage.ts";
import { byteLengthOf, concatBytes, type Message, type MessageKind, withoutCredentials } from "../protocol/message.ts";
import { messageOf } from "../protocol/error.ts";
import { decodeUtf8 } from "../protocol/utf8.ts";

/** The longest character in bytes of UTF-8: 4. No character is cut. */
export const LONGEST_CHARACTER_BYTES = 4;

/**
 * Cuts a stream of bytes into messages of one size, text between characters.
 *
 * @param chunks The bytes, in pieces of any size.
 * @param kind The kind of the messages.
 * @param partBytes The size of each message but the last, in bytes; for text, up to three bytes less so that no
 * character is cut. At least 1, for text 4.
 * @param pool Used parts to fill again: fresh memory costs more than copying.
 * @returns The messages; one empty message if there are no bytes.
 * @throws {PayloadError} If `kind` is text and the bytes are not UTF-8.
 * @throws {RangeError} If `partBytes` is below the least.
 *
 * @example
 * ```ts
 * import { cut } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const chunks = [new TextEncoder().encode("Hello world")];
 * assertEquals(await Array.fromAsync(cut(chunks, "text", 4)), ["Hell", "o wo", "rld"]);
 * ```
 */
export async function* cut(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  kind: MessageKind,
  partBytes: number,
  pool: Uint8Array<ArrayBuffer>[] = [],
): AsyncGenerator<Message> {
  const least = kind === "text" ? LONGEST_CHARACTER_BYTES : 1;
  if (partBytes < least) throw new RangeError(`Cannot cut ${kind} into parts of ${partBytes} bytes: at least ${least}`);
  const empty = () => pool.pop() ?? new Uint8Array(partBytes);
  let part = empty();
  let filled = 0;
  let offset = 0;
  let isEmpty = true;
  for await (const chunk of chunks) {
    for (let taken = 0; taken < chunk.byteLength;) {
      const piece = chunk.subarray(taken, taken + partBytes - filled);
      part.set(piece, filled);
      filled += piece.byteLength;
      taken += piece.byteLength;
      if (filled < partBytes) continue;
      const end = kind === "text" ? wholeCharacters(part) : partBytes;
      yield messageFrom(part.subarray(0, end), kind, offset);
      isEmpty = false;
      const rest = part.subarray(end);
      part = empty();
      part.set(rest);
      filled = rest.byteLength;
      offset += end;
    }
  }
  if (filled > 0 || isEmpty) yield messageFrom(part.subarray(0, filled), kind, offset);
}

/**
 * Makes one message from bytes.
 *
 * @param bytes The bytes, which are sent unchanged.
 * @param kind The kind of the message.
 * @param offset The offset of the bytes in the input, for the error; 0 by default.
 * @returns The message.
 * @throws {PayloadError} If `kind` is text and the bytes are not UTF-8.
 *
 * @example
 * ```ts
 * import { messageFrom } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(messageFrom(Uint8Array.of(104, 105), "text"), "hi");
 * ```
 */
export function messageFrom(bytes: Uint8Array<ArrayBuffer>, kind: MessageKind, offset = 0): Message {
  if (kind === "binary") return bytes;
  const text = decodeUtf8(bytes);
  if (text !== undefined) return text;
  const at = offset + validPrefix(bytes);
  throw new PayloadError(`Input is not UTF-8 at byte ${at}, so it cannot be sent as text: use --binary`);
}

/** Counts the bytes of UTF-8 before the first error. */
function validPrefix(bytes: Uint8Array): number {
  let at = 0;
  for (const char of new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes)) {
    // U+FFFD stands for an error, unless its own bytes are there.
    if (char === "\ufffd" && !(bytes[at] === 0xef && bytes[at + 1] === 0xbf && bytes[at + 2] === 0xbd)) return at;
    at += byteLengthOf(char);
  }
  return at;
}

/** Finds the end of the last complete character. Bytes that are not UTF-8 stay, for the decoder to reject. */
function wholeCharacters(bytes: Uint8Array): number {
  const end = bytes.byteLength;
  for (let back = 1; back <= 3 && back <= end; back++) {
    const byte = bytes[end - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return length > back ? end - back : end;
  }
  return end;
}

/** The size of one piece of {@linkcode randomBytes}, in bytes: 64 KiB, the most that one call of the runtime gives. */
const RANDOM_CHUNK_BYTES = 65536;

/** The fresh random bytes behind {@linkcode randomBytes}: 1 MiB. */
const RANDOM_POOL_BYTES = 16 * RANDOM_CHUNK_BYTES;

/**
 * Makes random bytes in pieces. Only the first 1 MiB is fresh; later pieces are slices of it at random offsets, which
 * is fast enough not to disturb a measurement, and still shows compression and a wrong order.
 *
 * @param bytes The number of bytes in all.
 * @returns Pieces of at most 64 KiB (65536 bytes).
 *
 * @example
 * ```ts
 * import { randomBytes } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const pieces = [...randomBytes(70_000)];
 * assertEquals(pieces.map((piece) => piece.byteLength), [65536, 4464]);
 * ```
 */
export function* randomBytes(bytes: number): Generator<Uint8Array<ArrayBuffer>> {
  const pool = new Uint8Array(Math.min(bytes, RANDOM_POOL_BYTES));
  for (let at = 0; at < bytes; at += RANDOM_CHUNK_BYTES) {
    const length = Math.min(bytes - at, RANDOM_CHUNK_BYTES);
    const isFresh = at < pool.byteLength;
    const from = isFresh ? at : Math.trunc(Math.random() * (pool.byteLength - length));
    const piece = pool.subarray(from, from + length);
    yield isFresh ? crypto.getRandomValues(piece) : piece;
  }
}

/** The most bytes of a split payload without a reply: 4 MiB, which bounds the memory. */
export const SPLIT_WINDOW_BYTES = 4 * 1024 * 1024;

/** The size of one read from a file, in bytes: 256 KiB. */
const READ_BYTES = 256 * 1024;

/**
 * Reads a file, or the standard input, in pieces.
 *
 * @param path The path; `-` is the standard input.
 * @returns Pieces of at most 256 KiB (262144 bytes).
 * @throws {PayloadError} If the file cannot be read.
 * @example
 * ```ts
 * import { readFile } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * await Deno.writeTextFile(path, "Hello world");
 * const pieces = await Array.fromAsync(readFile(path));
 * assertEquals(pieces.map((piece) => piece.byteLength), [11]);
 * await Deno.remove(path);
 * ```
 */
export async function* readFile(path: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  try {
    if (path === "-") {
      yield* pieces(Deno.stdin);
    } else {
      using file = await Deno.open(path);
      yield* pieces(file);
    }
  } catch (error) {
    throw unreadable(path, error);
  }
}

/**
 * Describes why a file cannot be read.
 *
 * @param path The path; `-` is the standard input.
 * @param error The runtime's error.
 * @returns The error to throw.
 *
 * @example
 * ```ts
 * import { unreadable } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = unreadable("a.txt", new Deno.errors.NotFound("No such file or directory (os error 2)"));
 * assertEquals(error.message, 'Cannot read "a.txt": no such file; check the path');
 * ```
 */
export function unreadable(path: string, error: unknown): PayloadError {
  const advice = error instanceof Deno.errors.NotFound ? "; check the path" : "";
  const name = path === "-" ? "standard input" : `"${withoutCredentials(path)}"`;
  return new PayloadError(`Cannot read ${name}: ${whyUnreadable(error)}${advice}`);
}

/**
 * Describes why a file cannot be read, without its name.
 *
 * @param error The runtime's error.
 * @returns The reason.
 *
 * @example
 * ```ts
 * import { whyUnreadable } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(whyUnreadable(new Deno.errors.NotFound("No such file or directory (os error 2)")), "no such file");
 * ```
 */
export function whyUnreadable(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "no such file";
  if (error instanceof Deno.errors.IsADirectory) return "it is a directory";
  // Behind the cause the runtime names its number and the call.
  return messageOf(error).replace(/ \(os error \d+\).*$/s, "");
}

async function* pieces(source: { read(into: Uint8Array): Promise<number | null> }) {
  while (true) {
    const buffer = new Uint8Array(READ_BYTES);
    const length = await source.read(buffer);
    if (length === null) return;
    yield buffer.subarray(0, length);
  }
}

/**
 * Collects pieces into one message.
 *
 * @param chunks The bytes, in pieces of any size.
 * @param kind The kind of the message.
 * @param maxBytes The longest message, in bytes.
 * @returns The message.
 * @throws {PayloadError} If there are more bytes than `maxBytes`, or `kind` is text and the bytes are not UTF-8.
 *
 * @example
 * ```ts
 * import { collect } from "./payload.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await collect([Uint8Array.of(104), Uint8Array.of(105)], "text", 2), "hi");
 * ```
 */
export async function collect(
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  kind: MessageKind,
  maxBytes: number,
): Promise<Message> {
  const kept: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of chunks) {
    length += chunk.byteLength;
    if (length > maxBytes) {
      throw new PayloadError(
        `Input is longer than ${maxBytes} bytes, the limit of one message: use --split or --max-message`,
      );
    }
    kept.push(chunk);
  }
  return messageFrom(concatBytes(kept, length), kind);
}
