/**
 * Error answers to plain HTTP, in the form that the client accepts.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";

/** Options of {@linkcode plainResponse}. */
export interface PlainResponseOptions {
  /** The request's field Accept; `null` or `undefined` without one. */
  readonly accept?: string | null | undefined;
  /** Fields to add. */
  readonly fields?: Readonly<Record<string, string>> | undefined;
}

/**
 * Makes an answer of one sentence: text, or JSON for a client that prefers it.
 *
 * @param status The status.
 * @param text The sentence.
 * @param options The field Accept, and fields to add.
 * @returns The answer, closed to caches.
 *
 * @example
 * ```ts
 * import { plainResponse } from "./plain_response.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await plainResponse(403, "No.").text(), "No.\n");
 * const json = plainResponse(403, "No.", { accept: "application/json" });
 * assertEquals(await json.json(), { status: 403, error: "No." });
 * ```
 */
export function plainResponse(status: number, text: string, { accept, fields }: PlainResponseOptions = {}): Response {
  const headers = new Headers({ ...fields, "cache-control": "no-store" });
  const request = { headers: new Headers(typeof accept === "string" ? { accept } : {}) };
  if (accepts(request, "text/plain", "application/json") === "application/json") {
    headers.set("content-type", "application/json");
    return new Response(`${JSON.stringify({ status, error: text })}\n`, { status, headers });
  }
  headers.set("content-type", "text/plain; charset=utf-8");
  return new Response(`${text}\n`, { status, headers });
}
