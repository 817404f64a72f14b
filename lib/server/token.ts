/**
 * The secret that lets a client in: where a request carries it, and whether it is the right one.
 *
 * @module
 */

import { trimBlanks } from "../protocol/http_lines.ts";

/** The subprotocol with which a page, which cannot send the field Authorization, offers its token begins so. */
export const TOKEN_PROTOCOL_PREFIX = "wsproof.bearer.";

/**
 * Makes the check of a secret. A request may carry it as `Authorization: Bearer TOKEN` (RFC 6750), as the password of
 * Basic authentication with any user name (RFC 7617), or as an offered subprotocol: {@linkcode TOKEN_PROTOCOL_PREFIX} and the
 * base64url form (RFC 4648 section 5) of the token, without padding.
 *
 * @param token The secret.
 * @returns Says whether a request carries it, in a time that does not depend on how much of it is right.
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
export function createTokenCheck(token: string): (request: Request) => boolean {
  // Loaded here, as it takes the runtime 14 ms and most servers have no token.
  const { createHash, timingSafeEqual } = process.getBuiltinModule("node:crypto");
  const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest();
  const wanted = digest(new TextEncoder().encode(token));
  // Digests have one length, whatever was sent. All candidates are looked at, also behind the right one.
  return (request) => [...candidatesOf(request)].filter((bytes) => timingSafeEqual(digest(bytes), wanted)).length > 0;
}

/** The tokens that a request carries, as bytes: each byte of a field stands as one character. */
function* candidatesOf({ headers }: Request): Generator<Uint8Array<ArrayBuffer>> {
  // No pattern cuts this in linear time: one that did not would let a single request hold up the server.
  const authorization = trimBlanks(headers.get("authorization") ?? "");
  const space = authorization.indexOf(" ");
  const scheme = authorization.slice(0, Math.max(space, 0));
  const credentials = trimBlanks(authorization.slice(space + 1));
  if (scheme.toLowerCase() === "bearer") yield Uint8Array.from(credentials, (char) => char.charCodeAt(0));
  if (scheme.toLowerCase() === "basic") {
    const pair = decodeBase64(credentials, "base64");
    const colon = pair?.indexOf(":".charCodeAt(0)) ?? -1;
    if (pair && colon !== -1) yield pair.slice(colon + 1);
  }
  for (const protocol of (headers.get("sec-websocket-protocol") ?? "").split(",")) {
    const name = trimBlanks(protocol);
    if (!isTokenProtocol(name)) continue;
    const decoded = decodeBase64(name.slice(TOKEN_PROTOCOL_PREFIX.length), "base64url");
    if (decoded) yield decoded;
  }
}

/**
 * Says whether an offered subprotocol is a token, which is neither selected nor shown. The case of the prefix makes no
 * difference: a token that was offered with a slip is a secret as well.
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
  return name.slice(0, TOKEN_PROTOCOL_PREFIX.length).toLowerCase() === TOKEN_PROTOCOL_PREFIX;
}

function decodeBase64(text: string, alphabet: "base64" | "base64url"): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.fromBase64(text, { alphabet });
  } catch {
    return undefined;
  }
}
