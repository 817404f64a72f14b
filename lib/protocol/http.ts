/**
 * Heads of HTTP messages (RFC 9112 sections 2 to 5), read from a stream of bytes and written; and where a body ends (section 6).
 *
 * One reader serves the client, the server, the lab and what a proxy answers. It takes from a server what a user agent must take
 * (folded fields, interim responses, lines that end with LF), and from a client what is certain to mean one thing only.
 *
 * @module
 */

import { quote } from "./message.ts";
import { isToken } from "./token.ts";

/** The longest head of a request or response, in bytes: 64 KiB, with the interim responses before it. */
export const MAX_HEAD_BYTES = 64 * 1024;

/** How many interim responses (1xx, but not 101) may come before a response: 16. */
export const MAX_INTERIM_RESPONSES = 16;

/** How many bytes of empty lines may come before the first line: 16. One empty line is no rarity (RFC 9112 section 2.2). */
const MAX_EMPTY_BYTES = 16;

/** The room for a head that comes in pieces, to begin with, in bytes: it doubles as it fills. */
const MIN_ROOM_BYTES = 2048;

/** The head of an HTTP message: its first line and its fields, in order. */
export interface HttpHead {
  /** The first line. */
  readonly startLine: string;
  /** Name and value of each field; a character stands for a byte (ISO 8859-1). */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** Which of the two messages a head begins. */
export type HeadKind = "request" | "response";

/** A head that is complete. */
export interface CompleteHead {
  /** The head. */
  readonly head: HttpHead;
  /** What came behind it, in memory of its own. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/** What is wrong about a head, as a stable word. */
export type HttpHeadProblem =
  /** It does not begin as HTTP does. */
  | "not-http"
  /** It passes the limit. */
  | "too-long"
  /** A line of a request ends with LF alone. */
  | "bare-lf"
  /** A line is no field, or has a control character. */
  | "bad-line"
  /** A field of a request is folded over two lines. */
  | "folded-field"
  /** Interim responses come without end. */
  | "too-many-interim";

/**
 * Thrown when bytes are no head.
 *
 * @example
 * ```ts
 * import { HttpHeadError } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new HttpHeadError("not-http", "It is not HTTP").problem, "not-http");
 * ```
 */
export class HttpHeadError extends Error {
  /** What is wrong. */
  readonly problem: HttpHeadProblem;
  /** The first line, as far as it came; a 403 with a head over the limit is still a 403. */
  readonly startLine: string;

  /**
   * Makes the error.
   *
   * @param problem What is wrong.
   * @param message One line for a person, which says which line it is.
   * @param startLine The first line, as far as it came.
   */
  constructor(problem: HttpHeadProblem, message: string, startLine = "") {
    super(message);
    this.name = "HttpHeadError";
    this.problem = problem;
    this.startLine = startLine;
  }
}

/**
 * Reads one head from bytes that come in pieces of any size.
 *
 * Of a request, an empty line before it is skipped, and every line ends with CR LF. Of a response, an empty line before it and
 * interim responses (RFC 9110 section 15.2) are skipped, folded fields are unfolded (RFC 9112 section 5.2), and LF alone ends a
 * line as well (section 2.2).
 *
 * @example
 * ```ts
 * import { HeadReader } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const reader = new HeadReader("response");
 * const bytes = new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nServer: a\r\n b\r\n\r\nbody");
 * assertEquals(reader.push(bytes.slice(0, 30)), undefined);
 * const { head, rest } = reader.push(bytes.slice(30)) ?? { head: undefined, rest: undefined };
 * assertEquals(head, { startLine: "HTTP/1.1 200 OK", fields: [["Server", "a b"]] });
 * assertEquals(new TextDecoder().decode(rest), "body");
 * ```
 */
export class HeadReader {
  readonly #kind: HeadKind;
  readonly #maxBytes: number;
  #bytes = new Uint8Array(0);
  #length = 0;
  /** Where the first line begins, behind empty lines and interim responses. */
  #start = 0;
  /** What was looked at already for the end. */
  #seen = 0;
  #interim = 0;

  /**
   * Begins before the first byte.
   *
   * @param kind Whether it is a request or a response.
   * @param maxBytes The longest head in bytes; exactly this many pass. 64 KiB by default.
   */
  constructor(kind: HeadKind, maxBytes: number = MAX_HEAD_BYTES) {
    this.#kind = kind;
    this.#maxBytes = maxBytes;
  }

  /** How many bytes have come so far. */
  get length(): number {
    return this.#length;
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk The bytes; they are copied.
   * @returns The head once it is complete, else `undefined`. Nothing may be pushed behind it.
   * @throws {HttpHeadError} At the first byte that proves that there is no such head.
   */
  push(chunk: Uint8Array): CompleteHead | undefined {
    this.#append(chunk);
    while (true) {
      this.#skipEmptyLines();
      this.#checkStart();
      const end = this.#findEnd();
      if (end === -1) {
        if (this.#length > this.#maxBytes) throw this.#tooLong();
        return undefined;
      }
      if (end > this.#maxBytes) throw this.#tooLong();
      const head = this.#parse(latin1(this.#bytes.subarray(this.#start, end)));
      if (this.#kind === "request" || !isInterim(head)) return { head, rest: this.#bytes.slice(end, this.#length) };
      if (++this.#interim > MAX_INTERIM_RESPONSES) {
        throw new HttpHeadError(
          "too-many-interim",
          `More than ${MAX_INTERIM_RESPONSES} interim responses come before the answer`,
          head.startLine,
        );
      }
      this.#start = this.#seen = end;
    }
  }

  #append(chunk: Uint8Array): void {
    const length = this.#length + chunk.byteLength;
    if (length > this.#bytes.byteLength) {
      const larger = new Uint8Array(Math.max(length, MIN_ROOM_BYTES, 2 * this.#bytes.byteLength));
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(chunk, this.#length);
    this.#length = length;
  }

  /** Empty lines come before the first line only, where nothing of it has been seen. */
  #skipEmptyLines(): void {
    if (this.#seen > this.#start) return;
    const first = this.#start;
    while (this.#start < this.#length && (this.#bytes[this.#start] === CR || this.#bytes[this.#start] === LF)) {
      if (this.#start - first >= MAX_EMPTY_BYTES) throw this.#notHttp();
      this.#start++;
    }
    this.#seen = this.#start;
  }

  /** What cannot be the beginning of the first line has no end to wait for: as a rule it is TLS. */
  #checkStart(): void {
    if (this.#start === this.#length) return;
    if (this.#kind === "request") {
      if (!isToken(String.fromCharCode(this.#bytes[this.#start] ?? 0))) throw this.#notHttp();
      return;
    }
    const start = latin1(this.#bytes.subarray(this.#start, Math.min(this.#length, this.#start + HTTP.length)));
    if (!HTTP.startsWith(start)) throw this.#notHttp();
  }

  /** Finds where the body begins; -1 if the empty line has not come. */
  #findEnd(): number {
    const bytes = this.#bytes;
    for (let at = this.#seen; at < this.#length; at++) {
      if (bytes[at] !== LF) continue;
      const isAlone = bytes[at - 1] !== CR;
      if (isAlone && this.#kind === "request") {
        const line = countLines(bytes, this.#start, at);
        const message = `Line ${line} ends with LF alone: lines of a request end with CR LF`;
        throw new HttpHeadError("bare-lf", message, this.#startLine());
      }
      const before = isAlone ? at - 1 : at - 2;
      if (before >= this.#start && bytes[before] === LF) {
        this.#seen = at + 1;
        return at + 1;
      }
    }
    this.#seen = this.#length;
    return -1;
  }

  #parse(text: string): HttpHead {
    const [startLine = "", ...lines] = text.replace(/(\r?\n)+$/, "").split(/\r?\n/);
    if (CONTROL.test(startLine)) {
      throw new HttpHeadError("bad-line", `First line has a control character: ${quoteLine(startLine)}`, startLine);
    }
    const fields: [name: string, ...parts: string[]][] = [];
    for (const [index, line] of lines.entries()) {
      const number = index + 2;
      if (!line.startsWith(" ") && !line.startsWith("\t")) {
        fields.push(parseField(line, number, startLine));
        continue;
      }
      const last = fields.at(-1);
      if (this.#kind === "request" || last === undefined) {
        throw new HttpHeadError("folded-field", `Line ${number} begins with a blank: ${quoteLine(line)}`, startLine);
      }
      if (CONTROL.test(line)) throw badLine(line, number, startLine);
      last.push(trimBlanks(line));
    }
    // A fold stands for one space (RFC 9112 section 5.2).
    return { startLine, fields: fields.map(([name, ...parts]) => [name, trimBlanks(parts.join(" "))]) };
  }

  #startLine(): string {
    const text = latin1(this.#bytes.subarray(this.#start, Math.min(this.#length, this.#start + MAX_SHOWN_CHARS)));
    return text.split(/\r?\n/, 1)[0] ?? "";
  }

  #tooLong(): HttpHeadError {
    return new HttpHeadError("too-long", `Head is longer than ${this.#maxBytes} bytes`, this.#startLine());
  }

  #notHttp(): HttpHeadError {
    const bytes = this.#bytes.subarray(this.#start);
    // An alert or a handshake of TLS (RFC 8446 section 5.1).
    const isTls = (bytes[0] === 21 || bytes[0] === 22) && bytes[1] === 3;
    return new HttpHeadError("not-http", isTls ? "It is TLS and not HTTP" : "It is not HTTP");
  }
}

const HTTP = "HTTP/";
const CR = 13;
const LF = 10;

/** How much of a line a message shows, in characters. */
const MAX_SHOWN_CHARS = 80;

// deno-lint-ignore no-control-regex -- they are what is looked for; a tab is allowed
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

function parseField(line: string, number: number, startLine: string): [name: string, value: string] {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(0, colon));
  if (!isToken(name) || CONTROL.test(line)) throw badLine(line, number, startLine);
  return [name, trimBlanks(line.slice(colon + 1))];
}

function badLine(line: string, number: number, startLine: string): HttpHeadError {
  return new HttpHeadError("bad-line", `Line ${number} is not a header field: ${quoteLine(line)}`, startLine);
}

function countLines(bytes: Uint8Array, from: number, to: number): number {
  let lines = 1;
  for (let at = from; at < to; at++) if (bytes[at] === LF) lines++;
  return lines;
}

/** Whether a response is interim (RFC 9110 section 15.2); 101 is the answer itself. */
function isInterim({ startLine }: HttpHead): boolean {
  return /^HTTP\/\d\.\d 1(?!01)\d\d(?: |$)/.test(startLine);
}

/** Header fields are bytes: one character each. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function quoteLine(line: string): string {
  return quote(line, MAX_SHOWN_CHARS);
}

/**
 * Takes spaces and tabs off both ends of a value, and only those. No pattern does it in linear time.
 *
 * @param text The text.
 * @returns The text without them.
 *
 * @example
 * ```ts
 * import { trimBlanks } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(trimBlanks(" a\u00a0\t"), "a\u00a0");
 * ```
 */
export function trimBlanks(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(unit: number): boolean {
  return unit === 0x20 || unit === 0x09;
}

/**
 * Gives the value of each line with a field.
 *
 * @param head The head.
 * @param name The name of the field, in any case.
 * @returns The values, in order.
 *
 * @example
 * ```ts
 * import { valuesOf } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(valuesOf({ startLine: "", fields: [["Host", "a"], ["host", "b"]] }, "host"), ["a", "b"]);
 * ```
 */
export function valuesOf(head: HttpHead, name: string): string[] {
  return head.fields.filter(([field]) => field.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
}

/**
 * Gives every value of a field that is a list, in order, over all its lines (RFC 9110 section 5.6.1).
 *
 * @param head The head.
 * @param name The name of the field, in any case.
 * @returns The values, without the blanks around them; none is empty.
 *
 * @example
 * ```ts
 * import { listOf } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = { startLine: "", fields: [["Connection", "keep-alive, Upgrade"]] } as const;
 * assertEquals(listOf(head, "connection"), ["keep-alive", "Upgrade"]);
 * ```
 */
export function listOf(head: HttpHead, name: string): string[] {
  return valuesOf(head, name).flatMap((value) => value.split(",")).map(trimBlanks).filter((value) => value !== "");
}

/** The first line of a request. */
export interface RequestLine {
  /** The method, in the case in which it came: methods have case (RFC 9110 section 9.1). */
  readonly method: string;
  /** The target, as it came. */
  readonly target: string;
  /** The version: `1.0` or `1.1`. */
  readonly version: string;
}

/**
 * Reads the first line of a request (RFC 9112 section 3).
 *
 * @param line The line.
 * @returns Its parts; `undefined` if it is no such line, or of another version than 1.0 and 1.1.
 *
 * @example
 * ```ts
 * import { parseRequestLine } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseRequestLine("GET /chat HTTP/1.1"), { method: "GET", target: "/chat", version: "1.1" });
 * assertEquals(parseRequestLine("GET /a b HTTP/1.1"), undefined);
 * ```
 */
export function parseRequestLine(line: string): RequestLine | undefined {
  const [, method = "", target = "", version = ""] = /^([^ ]+) ([^ \t]+) HTTP\/(1\.[01])$/.exec(line) ?? [];
  return isToken(method) ? { method, target, version } : undefined;
}

/** The first line of a response. */
export interface StatusLine {
  /** The version, such as `1.1`. */
  readonly version: string;
  /** The status. */
  readonly status: number;
  /** What stands behind the status; empty if nothing does. */
  readonly text: string;
}

/**
 * Reads the first line of a response (RFC 9112 section 4).
 *
 * @param line The line.
 * @returns Its parts; `undefined` if it is no such line.
 *
 * @example
 * ```ts
 * import { parseStatusLine } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseStatusLine("HTTP/1.1 403 Forbidden"), { version: "1.1", status: 403, text: "Forbidden" });
 * ```
 */
export function parseStatusLine(line: string): StatusLine | undefined {
  const [, version, digits, text = ""] = /^HTTP\/(\d\.\d) (\d{3})(?: (.*))?$/.exec(line) ?? [];
  return version === undefined ? undefined : { version, status: Number(digits), text };
}

/**
 * Writes a head.
 *
 * @param startLine The first line.
 * @param fields Name and value of each field; each character is a byte (ISO 8859-1).
 * @returns The head with its empty line.
 * @throws {RangeError} If a part has a line end, NUL, or a character above U+00FF: it would become something else.
 *
 * @example
 * ```ts
 * import { encodeHead } from "./http.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new TextDecoder().decode(encodeHead("HTTP/1.1 200 OK", [["Server", "x"]])), "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n");
 * ```
 */
export function encodeHead(
  startLine: string,
  fields: Iterable<readonly [name: string, value: string]>,
): Uint8Array<ArrayBuffer> {
  const lines = [startLine, ...Array.from(fields, ([name, value]) => `${name}: ${value}`)];
  for (const line of lines) {
    // The line may hold a secret, so that only its name is told.
    if (!LINE.test(line)) {
      throw new RangeError(`Cannot write the line "${line.split(":", 1)[0]}": it is not one line of bytes`);
    }
  }
  return Uint8Array.from(`${lines.join("\r\n")}\r\n\r\n`, (char) => char.charCodeAt(0));
}

const LINE = /^[^\0\r\n\u0100-\uffff]*$/;

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
 * import { bodyLengthOf } from "./http.ts";
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
 * import { BodyReader } from "./http.ts";
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
