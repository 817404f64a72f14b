/**
 * From the head of a request to a `Request`, or to the sentence that says which line is wrong and why.
 *
 * @module
 */

import { isHost } from "../protocol/handshake.ts";
import { type HttpHead, parseRequestLine } from "../protocol/http_lines.ts";
import { quote } from "../protocol/message.ts";

/** A request, and what of its first line a `Request` does not keep. */
export interface ParsedRequest {
  /** The request, without its body. */
  readonly request: Request;
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
  try {
    const request = new Request(url, { method, headers: head.fields.map(([...field]) => field) });
    // A method has a case (RFC 9110 section 9.1), which a `Request` does not keep for all of them.
    return request.method === method ? { request, target, version } : { reason: caseFault(method, request.method) };
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
  // The first field is in line 2.
  const hosts = fields.flatMap(([name, value], at) => name.toLowerCase() === "host" ? [{ value, line: at + 2 }] : []);
  const [first, second] = hosts;
  if (first === undefined) return version === "1.0" ? "localhost" : { reason: "The field Host is missing." };
  if (second !== undefined) return { reason: `Line ${second.line} has a second field Host.` };
  return isHost(first.value) ? first.value : { reason: `Line ${first.line} has a field Host that is not a host.` };
}

/** A path belongs to the host, an absolute URL stands for itself (RFC 9112 section 3.2). */
function urlOf(target: string, host: string, isSecure: boolean): string | undefined {
  // A byte stands as a character here, which a URL would take for one of Unicode.
  const escaped = target.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  const url = escaped.startsWith("/") ? `${isSecure ? "https" : "http"}://${host}${escaped}` : escaped;
  return /^https?:\/\//i.test(url) && URL.canParse(url) ? url : undefined;
}
