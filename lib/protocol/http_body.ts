/**
 * The body of a response (RFC 9112 section 6).
 *
 * @module
 */

import { type HttpHead, listOf, parseStatusLine } from "./http_lines.ts";

/** The end of the body of a response (RFC 9112 section 6.3). */
export type BodyLength =
  /** The last chunk ends it. */
  | { readonly type: "chunked" }
  /** This many bytes end it. */
  | { readonly type: "length"; readonly bytes: number }
  /** The connection ends it. */
  | { readonly type: "until-end" };

/**
 * Finds the end of the body of a response to a GET (RFC 9112 section 6.3).
 *
 * @param head The head of the response.
 * @returns The end. An invalid length counts as none.
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
 * Collects the body of a response up to a limit: joins chunks, decompresses nothing.
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
  /** Bytes of the current chunk that have not arrived. */
  #left = 0;
  /** The line between two chunks, as far as it has arrived. */
  #line = "";
  #isBehindChunk = false;
  #isDone = false;

  /**
   * Starts after the head.
   *
   * @param length The end of the body.
   * @param maxBytes The limit of the body, in bytes.
   */
  constructor(length: BodyLength, maxBytes: number) {
    this.#length = length;
    this.#body = new Uint8Array(maxBytes);
    if (length.type === "length") this.#left = length.bytes;
    this.#isDone = this.#length.type === "length" && this.#left === 0;
  }

  /** The body so far, at most `maxBytes`. */
  get body(): Uint8Array<ArrayBuffer> {
    return this.#body.subarray(0, this.#filled);
  }

  /**
   * Takes the next bytes.
   *
   * @param bytes The bytes.
   * @returns Whether the reader is done: the body has ended, the limit is reached, or a chunk is malformed.
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

  /** Reads the line with the length of the next chunk (RFC 9112 section 7.1), or the empty one after a chunk. */
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
    // The empty chunk is the last; an invalid length ends the body as well.
    if (this.#left === 0) this.#isDone = true;
  }
}

/** The longest line with the length of a chunk, in characters: 1,024. */
const MAX_CHUNK_LINE_CHARS = 1024;

const LF = 10;
