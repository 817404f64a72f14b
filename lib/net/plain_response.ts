/**
 * Answers to plain HTTP that say what is wrong, in the form that the client takes.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";

/** Options of {@linkcode plainResponse}. */
export interface PlainResponseOptions {
  /** The field Accept of the request; `null` or nothing if there is none. */
  readonly accept?: string | null | undefined;
  /** Fields to add. */
  readonly fields?: Readonly<Record<string, string>> | undefined;
}

/**
 * Makes an answer of one sentence: text for people, or JSON for a client that would rather have it.
 *
 * @param status The status.
 * @param text The sentence.
 * @param options What the client takes, and fields to add.
 * @returns The answer, which no cache keeps.
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
