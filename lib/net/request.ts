/**
 * From the head of a request to what one asks of a `Request`, or to the sentence that says which line is wrong and why.
 *
 * @module
 */

import { isHost } from "../protocol/authority.ts";
import { type HttpHead, parseRequestLine } from "../protocol/http_lines.ts";
import { quote } from "../protocol/message.ts";
import { Known } from "./known.ts";

/** The fields of a request. */
export interface RequestFields {
  /**
   * Gives a field.
   *
   * @param name The name, in small letters.
   * @returns The value; those of several lines joined with a comma; `null` without the field.
   */
  get(name: string): string | null;
}

/** What a decision needs of a request: a `Request` has it, and so has a {@linkcode HeadRequest}. */
export type RequestLike = Pick<Request, "method" | "url"> & { readonly headers: RequestFields };

/**
 * A request whose URL and whose `Request` are made when somebody asks. An upgrade needs neither of them, and they take half as long
 * as all the rest of a new connection.
 *
 * @example
 * ```ts
 * import { HeadRequest } from "./request.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const request = new HeadRequest("GET", "http://a/./b", [["Accept", "text/plain"], ["accept", "text/html"]]);
 * assertEquals([request.url, request.headers.get("accept")], ["http://a/b", "text/plain, text/html"]);
 * assertEquals(request.toRequest().headers.get("accept"), "text/plain, text/html");
 * ```
 */
export class HeadRequest implements RequestLike {
  /** The method. */
  readonly method: string;
  /** The fields. */
  readonly headers: RequestFields;
  /**
   * What the one who decides on it has to know of it later; nobody else looks at it. In a `WeakMap` by request it took a twelfth of
   * the JavaScript of a new connection.
   */
  note: object | undefined = undefined;
  readonly #url: string;
  readonly #fields: HttpHead["fields"];

  /**
   * Makes a request of its parts.
   *
   * @param method The method.
   * @param url The URL, as the peer wrote it.
   * @param fields The fields.
   */
  constructor(method: string, url: string, fields: HttpHead["fields"]) {
    this.method = method;
    this.#url = url;
    this.#fields = fields;
    const values = new Map<string, string>();
    for (const [name, value] of fields) {
      const key = name.toLowerCase();
      const former = values.get(key);
      values.set(key, former === undefined ? value : `${former}, ${value}`);
    }
    this.headers = { get: (name) => values.get(name) ?? null };
  }

  /** The URL in its normal form. */
  get url(): string {
    return new URL(this.#url).href;
  }

  /**
   * Makes a `Request`.
   *
   * @returns The request, without its body.
   * @throws {TypeError} If no `Request` may have its method.
   */
  toRequest(): Request {
    return new Request(this.#url, { method: this.method, headers: this.#fields.map(([...field]) => field) });
  }
}

/** A request, and what of its first line a `Request` does not keep. */
export interface ParsedRequest {
  /** The request, without its body. */
  readonly request: HeadRequest;
  /** The target as the peer wrote it (RFC 9112 section 3.2); the URL of the request has it in its normal form. */
  readonly target: string;
  /** The version of HTTP: `1.0` or `1.1`. */
  readonly version: string;
}

/** A fault of a head. */
export interface RequestFault {
  /** One sentence, which quotes nothing that may be a secret. */
  readonly reason: string;
}

/** How much of a method is shown, in characters. */
const MAX_SHOWN_CHARS = 20;

/**
 * Makes a request of a head (RFC 9112 section 3).
 *
 * @param head The head.
 * @param isSecure Whether it came over TLS.
 * @returns The request, or what is wrong about the head.
 *
 * @example
 * ```ts
 * import { parseRequest } from "./request.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const head = { startLine: "GET /chat HTTP/1.1", fields: [["Host", "a"], ["Host", "b"]] } as const;
 * assertEquals(parseRequest(head, false), { reason: "Line 3 has a second field Host." });
 * ```
 */
export function parseRequest(head: HttpHead, isSecure: boolean): ParsedRequest | RequestFault {
  const line = parseRequestLine(head.startLine);
  if (line === undefined) return { reason: startLineFault(head.startLine) };
  const { method, target, version } = line;
  const host = hostOf(head, version);
  if (typeof host !== "string") return host;
  const url = urlOf(target, host, isSecure);
  if (url === undefined) return { reason: "Line 1 has a target that is neither a path nor an http URL." };
  const request = new HeadRequest(method, url, head.fields);
  if (method === "GET") return { request, target, version };
  try {
    const known = request.toRequest().method;
    // A method has a case (RFC 9110 section 9.1), which a `Request` does not keep for all of them.
    return known === method ? { request, target, version } : { reason: caseFault(method, known) };
  } catch {
    return { reason: `Line 1 has the method ${quote(method, MAX_SHOWN_CHARS)}, which no request here may have.` };
  }
}

function startLineFault(line: string): string {
  const [, version] = /^[^ ]+ [^ ]+ (HTTP\/\d\.\d)$/.exec(line) ?? [];
  return version === undefined || /^HTTP\/1\.[01]$/.test(version)
    ? "Line 1 is not a method, a target and a version, with one space between them."
    : `Line 1 has the version ${version}: HTTP/1.1 and HTTP/1.0 are spoken here.`;
}

function caseFault(method: string, known: string): string {
  return `Line 1 has the method ${quote(method, MAX_SHOWN_CHARS)}, which is not ${known}: methods have case.`;
}

/** The field Host, which only HTTP/1.0 can do without (RFC 9112 section 3.2). What is not a host would become part of the path. */
function hostOf({ fields }: HttpHead, version: string): string | RequestFault {
  const isOne = ([name]: HttpHead["fields"][number]) => name.length === 4 && name.toLowerCase() === "host";
  const first = fields.findIndex(isOne);
  const last = fields.findLastIndex(isOne);
  const host = fields[first]?.[1];
  if (host === undefined) return version === "1.0" ? "localhost" : { reason: "The field Host is missing." };
  // The first field is in line 2.
  if (last > first) {
    const second = fields.findIndex((field, at) => at > first && isOne(field));
    return { reason: `Line ${second + 2} has a second field Host.` };
  }
  return HOSTS.has(host) ? host : { reason: `Line ${first + 2} has a field Host that is not a host.` };
}

const HOSTS = new Known(isHost);

/** A path belongs to the host, an absolute URL stands for itself (RFC 9112 section 3.2). */
function urlOf(target: string, host: string, isSecure: boolean): string | undefined {
  // A host that can stand in a URL can do so before every path.
  if (PLAIN_PATH.test(target)) return `${isSecure ? "https" : "http"}://${host}${target}`;
  // A byte stands as a character here, which a URL would take for one of Unicode.
  const escaped = target.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  const url = escaped.startsWith("/") ? `${isSecure ? "https" : "http"}://${host}${escaped}` : escaped;
  return /^https?:\/\//i.test(url) && URL.canParse(url) ? url : undefined;
}

/** A path without bytes above 7F. */
const PLAIN_PATH = /^\/[!-~]*$/;
