/**
 * The secret that lets a client in: its places in a request, and its check.
 *
 * @module
 */

import type { RequestLike } from "../net/request.ts";
import { latin1, trimBlanks } from "../protocol/http_lines.ts";

/** Prefix of the subprotocol with which a page, which cannot send the field Authorization, offers its token. */
export const TOKEN_PROTOCOL_PREFIX = "wsproof.bearer.";

/**
 * Makes the check of a secret. A request may carry it as `Authorization: Bearer TOKEN` (RFC 6750), as the password of
 * Basic authentication with any user name (RFC 7617), or as an offered subprotocol: {@linkcode TOKEN_PROTOCOL_PREFIX}
 * and the token in base64url (RFC 4648 section 5), without padding.
 *
 * @param token The secret.
 * @returns Tells whether a request carries it, in a time that does not depend on how much of it is right.
 *
 * @example
 * ```ts
 * import { createTokenCheck } from "./token.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const check = createTokenCheck("open sesame");
 * const request = (authorization: string) => new Request("http://127.0.0.1/", { headers: { authorization } });
 * assertEquals(check(request("Bearer open sesame")), true);
 * assertEquals(check(request(`Basic ${btoa("ali:open sesame")}`)), true);
 * assertEquals(check(request("Bearer open barley")), false);
 * ```
 */
export function createTokenCheck(token: string): (request: RequestLike) => boolean {
  const wanted = latin1(new TextEncoder().encode(token));
  return (request) => {
    let isRight = false;
    // Compare every candidate, even after a match.
    for (const sent of candidatesOf(request)) isRight = isSame(sent, wanted) || isRight;
    return isRight;
  };
}

/**
 * Compares all bytes. The time depends on the sent bytes only: not on how many are right, nor on the length of the
 * secret. `timingSafeEqual()` wants equal lengths, so both must be hashed first: ten times as long, and the module 14
 * ms.
 */
function isSame(sent: string, wanted: string): boolean {
  let difference = sent.length ^ wanted.length;
  let at = 0;
  for (let index = 0; index < sent.length; index++) {
    difference |= sent.charCodeAt(index) ^ wanted.charCodeAt(at);
    at = at + 1 < wanted.length ? at + 1 : 0;
  }
  return difference === 0;
}

/** The tokens of a request: each character stands for a byte, as in a field. Arrays of bytes take three times as long. */
function candidatesOf({ headers }: RequestLike): string[] {
  const candidates: string[] = [];
  // Cutting takes linear time; a pattern might let one request block the server.
  const authorization = trimBlanks(headers.get("authorization") ?? "");
  const space = authorization.indexOf(" ");
  const scheme = authorization.slice(0, Math.max(space, 0)).toLowerCase();
  const credentials = trimBlanks(authorization.slice(space + 1));
  if (scheme === "bearer") candidates.push(credentials);
  if (scheme === "basic") {
    const pair = decodeBase64(credentials, "base64");
    const colon = pair?.indexOf(":".charCodeAt(0)) ?? -1;
    if (pair && colon !== -1) candidates.push(latin1(pair.subarray(colon + 1)));
  }
  for (const protocol of (headers.get("sec-websocket-protocol") ?? "").split(",")) {
    const name = trimBlanks(protocol);
    if (!isTokenProtocol(name)) continue;
    const decoded = decodeBase64(name.slice(TOKEN_PROTOCOL_PREFIX.length), "base64url");
    if (decoded) candidates.push(latin1(decoded));
  }
  return candidates;
}

/**
 * Says whether an offered subprotocol is a token, which is neither selected nor shown. The prefix is case-insensitive:
 * a mistyped token is a secret as well.
 *
 * @param name The name of the subprotocol.
 * @returns Whether it is.
 *
 * @example
 * ```ts
 * import { isTokenProtocol } from "./token.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["wsproof.bearer.b3Blbg", "chat"].map(isTokenProtocol), [true, false]);
 * ```
 */
export function isTokenProtocol(name: string): boolean {
  return name.length >= TOKEN_PROTOCOL_PREFIX.length &&
    name.slice(0, TOKEN_PROTOCOL_PREFIX.length).toLowerCase() === TOKEN_PROTOCOL_PREFIX;
}

function decodeBase64(text: string, alphabet: "base64" | "base64url"): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(text, { alphabet });
  } catch {
    return undefined;
  }
}
