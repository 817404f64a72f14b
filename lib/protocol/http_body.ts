/**
 * Where the body of a response ends (RFC 9112 section 6), and what is in it.
 *
 * @module
 */

import { type HttpHead, listOf, parseStatusLine } from "./http_lines.ts";

/** Where the body of a response ends (RFC 9112 section 6.3). */
export type BodyLength =
  /** In chunks, the last of which says that it is. */
  | { readonly type: "chunked" }
  /** After so many bytes. */
  | { readonly type: "length"; readonly bytes: number }
  /** With the connection. */
  | { readonly type: "until-end" };

/**
 * Says where the body of a response to a GET ends (RFC 9112 section 6.3).
 *
 * @param head The head of the response.
 * @returns How its end is known. A length that is none counts as not given.
 *
 * @example
 * ```ts
 * import { bodyLengthOf } from "./http_body.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = { startLine: "HTTP/1.1 403 Forbidden", fields: [["Content-Length", "5"]] } as const;
 * assertEquals(bodyLengthOf(head), { type: "length", bytes: 5 });
 * ```
 */
export function bodyLengthOf(head: HttpHead): BodyLength {
  const { status = 0 } = parseStatusLine(head.startLine) ?? {};
  if (status < 200 || status === 204 || status === 304) return { type: "length", bytes: 0 };
  if (listOf(head, "transfer-encoding").at(-1)?.toLowerCase() === "chunked") return { type: "chunked" };
  const lengths = new Set(listOf(head, "content-length"));
  const [length = ""] = lengths;
  return lengths.size === 1 && /^\d{1,15}$/.test(length)
    ? { type: "length", bytes: Number(length) }
    : { type: "until-end" };
}

/**
 * Takes the body of a response out of what comes behind its head, up to a bound: chunks are put together, and nothing is
 * decompressed.
 *
 * @example
 * ```ts
 * import { BodyReader } from "./http_body.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const reader = new BodyReader({ type: "chunked" }, 100);
 * assertEquals(reader.push(new TextEncoder().encode("5\r\nHello\r\n6\r\n wor")), false);
 * assertEquals(reader.push(new TextEncoder().encode("ld\r\n0\r\n\r\n")), true);
 * assertEquals(new TextDecoder().decode(reader.body), "Hello world");
 * ```
 */
export class BodyReader {
  readonly #length: BodyLength;
  readonly #body: Uint8Array<ArrayBuffer>;
  #filled = 0;
  /** How much of the chunk that has begun is still to come. */
  #left = 0;
  /** The line between two chunks, as far as it has come. */
  #line = "";
  #isBehindChunk = false;
  #isDone = false;

  /**
   * Begins behind the head.
   *
   * @param length Where the body ends.
   * @param maxBytes How much of it is wanted, in bytes.
   */
  constructor(length: BodyLength, maxBytes: number) {
    this.#length = length;
    this.#body = new Uint8Array(maxBytes);
    if (length.type === "length") this.#left = length.bytes;
    this.#isDone = this.#length.type === "length" && this.#left === 0;
  }

  /** What has come of the body, at most `maxBytes`. */
  get body(): Uint8Array<ArrayBuffer> {
    return this.#body.subarray(0, this.#filled);
  }

  /**
   * Takes the next bytes.
   *
   * @param bytes The bytes.
   * @returns Whether all is there that is wanted: the body has ended, or the bound is reached, or what comes are no chunks.
   */
  push(bytes: Uint8Array): boolean {
    for (let at = 0; at < bytes.byteLength && !this.#isDone;) {
      if (this.#length.type === "chunked" && this.#left === 0) {
        this.#readLine(bytes[at] ?? 0);
        at++;
        continue;
      }
      const most = this.#length.type === "until-end" ? Infinity : this.#left;
      const piece = bytes.subarray(at, at + Math.min(most, bytes.byteLength));
      this.#take(piece);
      at += piece.byteLength;
      if (this.#length.type === "until-end") continue;
      this.#left -= piece.byteLength;
      if (this.#left > 0) continue;
      if (this.#length.type === "length") this.#isDone = true;
      else this.#isBehindChunk = true;
    }
    return this.#isDone;
  }

  #take(piece: Uint8Array): void {
    const wanted = piece.subarray(0, this.#body.byteLength - this.#filled);
    this.#body.set(wanted, this.#filled);
    this.#filled += wanted.byteLength;
    if (this.#filled === this.#body.byteLength) this.#isDone = true;
  }

  /** A line with the length of the next chunk (RFC 9112 section 7.1), or the empty one behind a chunk. */
  #readLine(byte: number): void {
    if (byte !== LF) {
      this.#line += String.fromCharCode(byte);
      if (this.#line.length > MAX_CHUNK_LINE_CHARS) this.#isDone = true;
      return;
    }
    const line = this.#line.replace(/\r$/, "");
    this.#line = "";
    if (this.#isBehindChunk && line === "") {
      this.#isBehindChunk = false;
      return;
    }
    const [, digits] = /^([0-9A-Fa-f]{1,12})[ \t]*(?:;.*)?$/.exec(line) ?? [];
    this.#left = parseInt(digits ?? "0", 16);
    // The last chunk is empty, and what is no length ends it as well.
    if (this.#left === 0) this.#isDone = true;
  }
}

/** The longest line with the length of a chunk, in characters: 1,024. */
const MAX_CHUNK_LINE_CHARS = 1024;

const LF = 10;
