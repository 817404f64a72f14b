/**
 * A reader for heads of HTTP messages (RFC 9112 sections 2 to 5).
 *
 * Client, server and lab share the reader, also for the answer of a proxy. From a server the reader accepts all that a
 * user agent must accept (folded fields, interim responses, lines that end with LF), from a client nothing ambiguous.
 *
 * @module
 */

import { type HttpHead, latin1, parseStatusLine, trimBlanks, UTF8 } from "./http_lines.ts";
import { quote } from "./message.ts";
import { isToken } from "./token.ts";

/** The longest head of a request or response, in bytes: 64 KiB, with the interim responses before it. */
export const MAX_HEAD_BYTES = 64 * 1024;

/** The most interim responses (1xx, but not 101) before a response: 16. */
export const MAX_INTERIM_RESPONSES = 16;

/** The most bytes of empty lines before the first line: 16. One empty line is common (RFC 9112 section 2.2). */
const MAX_EMPTY_BYTES = 16;

/** The first buffer for a head in pieces, in bytes; it doubles when full. */
const MIN_ROOM_BYTES = 2048;

/** The message that a head begins. */
export type HeadKind = "request" | "response";

/** A complete head. */
export interface CompleteHead {
  /** The head. */
  readonly head: HttpHead;
  /** Bytes after it, in memory of their own. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/** The error in a head, as a stable word. */
export type HttpHeadProblem =
  /** The first bytes are not HTTP. */
  | "not-http"
  /** The head passes the limit. */
  | "too-long"
  /** A line of a request ends with LF alone. */
  | "bare-lf"
  /** A line of a request has a CR that no LF follows. */
  | "bare-cr"
  /** A line is no field, or has a control character. */
  | "bad-line"
  /** A field of a request is folded over two lines. */
  | "folded-field"
  /** Too many interim responses arrive. */
  | "too-many-interim";

/**
 * Thrown when bytes are no valid head.
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
  /** The error. */
  readonly problem: HttpHeadProblem;
  /** The message without a quotation, for a log: a line of a head may be a secret. */
  readonly reason: string;
  /** The first line as far as it arrived: a 403 with a head over the limit is still a 403. */
  readonly startLine: string;

  /**
   * Makes the error.
   *
   * @param problem The error.
   * @param reason One line for a person, with the number of the line.
   * @param startLine The first line as far as it arrived.
   * @param line The bad line, which the message quotes.
   */
  constructor(problem: HttpHeadProblem, reason: string, startLine = "", line?: string) {
    super(line === undefined ? reason : `${reason}: ${quote(line, MAX_SHOWN_CHARS)}`);
    this.name = "HttpHeadError";
    this.problem = problem;
    this.reason = reason;
    this.startLine = startLine;
  }
}

/**
 * Reads one head from bytes in pieces of any size.
 *
 * In a request, every line ends with CR LF, and an empty line before it is skipped. In a response, folded fields are
 * unfolded (RFC 9112 section 5.2), LF alone ends a line as well (section 2.2), and an empty line or interim responses
 * (RFC 9110 section 15.2) before it are skipped.
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
  /** The bytes so far: the pushed piece itself while there is only one. */
  #bytes: Uint8Array = NOTHING;
  #length = 0;
  /** The offset of the first line, after empty lines and interim responses. */
  #start = 0;
  /** The offset where the search for the end goes on. */
  #seen = 0;
  #interim = 0;

  /**
   * Starts before the first byte.
   *
   * @param kind Request or response.
   * @param maxBytes The longest head in bytes; exactly this many pass. 64 KiB by default.
   */
  constructor(kind: HeadKind, maxBytes: number = MAX_HEAD_BYTES) {
    this.#kind = kind;
    this.#maxBytes = maxBytes;
  }

  /** The number of bytes so far. */
  get length(): number {
    return this.#length;
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk The bytes, which are copied if this returns `undefined`.
   * @returns The head once it is complete, else `undefined`. Push nothing after it.
   * @throws {HttpHeadError} At the first byte that proves an error.
   */
  push(chunk: Uint8Array): CompleteHead | undefined {
    if (this.#length === 0) {
      // Nearly every head arrives in one piece.
      this.#bytes = chunk;
      this.#length = chunk.byteLength;
      const whole = this.#kind === "request" ? requestIn(chunk, this.#maxBytes) : undefined;
      if (whole) return whole;
    } else {
      this.#append(chunk);
    }
    const complete = this.#look();
    if (complete === undefined && this.#bytes === chunk) this.#keep();
    return complete;
  }

  #look(): CompleteHead | undefined {
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
      if (this.#kind === "request" || !isInterim(head)) {
        return { head, rest: end === this.#length ? NOTHING : new Uint8Array(this.#bytes.subarray(end, this.#length)) };
      }
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

  /**
   * Returns the valid fields so far, for the answer to a bad head.
   *
   * @returns Name and value of each.
   */
  fieldsSoFar(): HttpHead["fields"] {
    const [, ...lines] = latin1(this.#bytes.subarray(this.#start, this.#length)).split(/\r?\n/);
    const fields = lines.map((line) => [line.slice(0, Math.max(0, line.indexOf(":"))), line] as const);
    return fields.filter(([name]) => isToken(name))
      .map(([name, line]) => [name, trimBlanks(line.slice(name.length + 1))]);
  }

  /** Copies the first piece into memory of our own. */
  #keep(): void {
    const first = this.#bytes;
    this.#bytes = new Uint8Array(Math.max(first.byteLength, MIN_ROOM_BYTES));
    this.#bytes.set(first);
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

  /** Skips empty lines, which may stand only before the first line. */
  #skipEmptyLines(): void {
    if (this.#seen > this.#start) return;
    const first = this.#start;
    while (this.#start < this.#length && (this.#bytes[this.#start] === CR || this.#bytes[this.#start] === LF)) {
      if (this.#start - first >= MAX_EMPTY_BYTES) throw this.#notHttp();
      this.#start++;
    }
    this.#seen = this.#start;
  }

  /** Rejects bytes that cannot begin a first line, usually TLS, as no end would follow. */
  #checkStart(): void {
    if (this.#start === this.#length) return;
    if (this.#kind === "request") {
      if (!isToken(String.fromCharCode(this.#bytes[this.#start] ?? 0))) throw this.#notHttp();
      return;
    }
    const start = latin1(this.#bytes.subarray(this.#start, Math.min(this.#length, this.#start + HTTP.length)));
    if (!HTTP.startsWith(start)) throw this.#notHttp();
  }

  /** Finds the offset of the body; -1 if the empty line has not arrived. */
  #findEnd(): number {
    const bytes = this.#bytes;
    for (let at = this.#seen; at < this.#length; at++) {
      if (bytes[at] !== LF) {
        if (this.#kind === "request" && at > this.#start && bytes[at - 1] === CR) {
          const line = countLines(bytes, this.#start, at);
          const message = `Line ${line} has CR without LF: lines of a request end with CR LF`;
          throw new HttpHeadError("bare-cr", message, this.#startLine());
        }
        continue;
      }
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
    // `#findEnd` has checked the line ends of a request.
    const lines = this.#kind === "request"
      ? text.slice(0, -4).split("\r\n")
      : text.replace(/(\r?\n)+$/, "").split(/\r?\n/);
    const [startLine = ""] = lines;
    if (CONTROL.test(startLine)) {
      throw new HttpHeadError("bad-line", "First line has a control character", startLine, startLine);
    }
    const fields: [name: string, value: string][] = [];
    for (let number = 2; number <= lines.length; number++) {
      const line = lines[number - 1] ?? "";
      if (!line.startsWith(" ") && !line.startsWith("\t")) {
        fields.push(parseField(line, number, startLine));
        continue;
      }
      const last = fields.at(-1);
      if (this.#kind === "request" || last === undefined) {
        throw new HttpHeadError("folded-field", `Line ${number} begins with a blank`, startLine, line);
      }
      if (CONTROL.test(line)) throw badLine(line, number, startLine);
      // A fold becomes one space (RFC 9112 section 5.2).
      last[1] += ` ${trimBlanks(line)}`;
    }
    if (this.#kind === "response") { for (const field of fields) field[1] = trimBlanks(field[1]); }
    return { startLine, fields };
  }

  #startLine(): string {
    const text = latin1(this.#bytes.subarray(this.#start, Math.min(this.#length, this.#start + MAX_SHOWN_CHARS)));
    return text.split(/\r?\n/, 1)[0] ?? "";
  }

  #tooLong(): HttpHeadError {
    return new HttpHeadError("too-long", `Head is longer than ${this.#maxBytes} bytes`, this.#startLine());
  }

  #notHttp(): HttpHeadError {
    const isTls = isTlsRecord(this.#bytes.subarray(this.#start));
    return new HttpHeadError("not-http", isTls ? "It is TLS, not HTTP" : "It is not HTTP");
  }
}

/**
 * Tells whether bytes begin with an alert or a handshake of TLS (RFC 8446 section 5.1).
 *
 * @param bytes The bytes.
 * @returns Whether they do.
 *
 * @example
 * ```ts
 * import { isTlsRecord } from "./http.ts";
 * import { assert } from "@std/assert";
 *
 * assert(isTlsRecord(Uint8Array.of(22, 3, 1)));
 * ```
 */
export function isTlsRecord([type, major]: Uint8Array): boolean {
  return (type === 21 || type === 22) && major === 3;
}

const NOTHING = new Uint8Array(0);
const HTTP = "HTTP/";
const CR = 13;
const LF = 10;

/** The longest quotation of a line, in characters. */
const MAX_SHOWN_CHARS = 80;

// deno-lint-ignore no-control-regex -- the pattern looks for them; a tab is allowed
const CONTROL = /[\0-\x08\x0a-\x1f\x7f]/;

/**
 * A valid request of ASCII, as all but a few are: a first line, fields, an empty line. A failure takes linear time: no
 * part can match what follows it.
 */
const REQUEST = /[!#$%&'*+.^_`|~\dA-Za-z-][\t -~]*\r\n(?:[!#$%&'*+.^_`|~\dA-Za-z-]+:[\t -~]*\r\n)*\r\n/y;

/**
 * Reads a valid request that is there as a whole, in a third of the time that the checks of each byte and line take.
 * `undefined` says nothing: these checks decide.
 */
function requestIn(bytes: Uint8Array, maxBytes: number): CompleteHead | undefined {
  // Bytes after the head need not be UTF-8: up to the end of the head, each character is a byte.
  const text = UTF8.decode(bytes);
  REQUEST.lastIndex = 0;
  if (!REQUEST.test(text) || REQUEST.lastIndex > maxBytes) return undefined;
  const end = REQUEST.lastIndex;
  const start = text.indexOf("\r");
  const fields: [name: string, value: string][] = [];
  for (let at = start + 2; at < end - 2;) {
    const colon = text.indexOf(":", at);
    const next = text.indexOf("\r", colon);
    fields.push([text.slice(at, colon), trimBlanks(text, colon + 1, next)]);
    at = next + 2;
  }
  const rest = end === bytes.byteLength ? NOTHING : new Uint8Array(bytes.subarray(end));
  return { head: { startLine: text.slice(0, start), fields }, rest };
}

function parseField(line: string, number: number, startLine: string): [name: string, value: string] {
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(0, colon));
  if (!isToken(name) || CONTROL.test(line)) throw badLine(line, number, startLine);
  return [name, trimBlanks(line.slice(colon + 1))];
}

function badLine(line: string, number: number, startLine: string): HttpHeadError {
  return new HttpHeadError("bad-line", `Line ${number} is not a header field`, startLine, line);
}

function countLines(bytes: Uint8Array, from: number, to: number): number {
  let lines = 1;
  for (let at = from; at < to; at++) if (bytes[at] === LF) lines++;
  return lines;
}

/** Whether a response is interim (RFC 9110 section 15.2); 101 is the answer itself. */
function isInterim({ startLine }: HttpHead): boolean {
  const { status = 0 } = parseStatusLine(startLine) ?? {};
  return status >= 100 && status < 200 && status !== 101;
}
