/**
 * Parses a head into a lazy `Request`, or into a sentence that names the faulty line and the fault.
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
   * Gets a field.
   *
   * @param name The name, in lower case.
   * @returns The value; several lines joined with commas; `null` without the field.
   */
  get(name: string): string | null;
}

/** The part of a request that a decision needs, common to `Request` and {@linkcode HeadRequest}. */
export type RequestLike = Pick<Request, "method" | "url"> & { readonly headers: RequestFields };

/**
 * A request that makes its URL and its `Request` on demand. An upgrade needs neither, and both take half as long as all
 * the rest of a new connection.
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
   * Private state of the handler. A `WeakMap` by request took a twelfth of the JavaScript of a new connection.
   */
  note: object | undefined = undefined;
  readonly #url: string;
  readonly #fields: HttpHead["fields"];

  /**
   * Makes a request.
   *
   * @param method The method.
   * @param url The URL as sent.
   * @param fields The fields.
   */
  constructor(method: string, url: string, fields: HttpHead["fields"]) {
    this.method = method;
    this.#url = url;
    this.#fields = fields;
    this.headers = new HeadFields(fields);
  }

  /** The normalized URL. */
  get url(): string {
    return new URL(this.#url).href;
  }

  /**
   * Makes a `Request`.
   *
   * @returns The request, without its body.
   * @throws {TypeError} If `Request` forbids the method.
   */
  toRequest(): Request {
    return new Request(this.#url, { method: this.method, headers: this.#fields.map(([...field]) => field) });
  }
}

/** Fields by name. For a dozen of them, a `Map` takes twice the time of a list. */
class HeadFields implements RequestFields {
  readonly #fields: HttpHead["fields"];
  readonly #names: string[] = [];

  constructor(fields: HttpHead["fields"]) {
    this.#fields = fields;
    for (const [name] of fields) this.#names.push(name.toLowerCase());
  }

  get(name: string): string | null {
    let joined: string | null = null;
    for (let at = this.#names.indexOf(name); at !== -1; at = this.#names.indexOf(name, at + 1)) {
      const value = this.#fields[at]?.[1] ?? "";
      joined = joined === null ? value : `${joined}, ${value}`;
    }
    return joined;
  }
}

/** A request, and the parts of its first line that a `Request` loses. */
export interface ParsedRequest {
  /** The request, without its body. */
  readonly request: HeadRequest;
  /** The target as sent (RFC 9112 section 3.2); the URL of the request is normalized. */
  readonly target: string;
  /** The HTTP version: `1.0` or `1.1`. */
  readonly version: string;
}

/** A fault of a head. */
export interface RequestFault {
  /** One sentence that quotes no possible secret. */
  readonly reason: string;
}

/** Longest excerpt of a method, in characters. */
const MAX_SHOWN_CHARS = 20;

/**
 * Parses a head into a request (RFC 9112 section 3).
 *
 * @param head The head.
 * @param isSecure Whether the head came over TLS.
 * @returns The request, or the fault of the head.
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
    // Methods are case-sensitive (RFC 9110 section 9.1), but `Request` changes the case of some.
    return known === method ? { request, target, version } : { reason: caseFault(method, known) };
  } catch {
    return { reason: `Line 1 has the method ${quote(method, MAX_SHOWN_CHARS)}, which this server does not allow.` };
  }
}

function startLineFault(line: string): string {
  const [, version] = /^[^ ]+ [^ ]+ (HTTP\/\d\.\d)$/.exec(line) ?? [];
  return version === undefined || /^HTTP\/1\.[01]$/.test(version)
    ? "Line 1 is not a method, a target and a version, with one space between them."
    : `Line 1 has the version ${version}: this server speaks HTTP/1.1 and HTTP/1.0.`;
}

function caseFault(method: string, known: string): string {
  return `Line 1 has the method ${quote(method, MAX_SHOWN_CHARS)}, which is not ${known}: methods are case-sensitive.`;
}

/** The field Host, optional only in HTTP/1.0 (RFC 9112 section 3.2). A malformed host would become part of the path. */
function hostOf({ fields }: HttpHead, version: string): string | RequestFault {
  const isOne = ([name]: HttpHead["fields"][number]) => name.length === 4 && name.toLowerCase() === "host";
  const first = fields.findIndex(isOne);
  const last = fields.findLastIndex(isOne);
  const host = fields[first]?.[1];
  if (host === undefined) return version === "1.0" ? "localhost" : { reason: "The field Host is missing." };
  // The first field is on line 2.
  if (last > first) {
    const second = fields.findIndex((field, at) => at > first && isOne(field));
    return { reason: `Line ${second + 2} has a second field Host.` };
  }
  return HOSTS.has(host) ? host : { reason: `Line ${first + 2} has a field Host that is not a host.` };
}

const HOSTS = new Known(isHost);

/** A path belongs to the host; an absolute URL is complete (RFC 9112 section 3.2). */
function urlOf(target: string, host: string, isSecure: boolean): string | undefined {
  // A host that is valid in a URL is valid before every path.
  if (PLAIN_PATH.test(target)) return `${isSecure ? "https" : "http"}://${host}${target}`;
  // Each character is a byte here, but a URL would encode it as Unicode.
  const escaped = target.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  const url = escaped.startsWith("/") ? `${isSecure ? "https" : "http"}://${host}${escaped}` : escaped;
  return /^https?:\/\//i.test(url) && URL.canParse(url) ? url : undefined;
}

/** A path without bytes above 7F. */
const PLAIN_PATH = /^\/[!-~]*$/;
