/**
 * Origins of allowed pages, exact or with a wildcard for the host (RFC 6454, RFC 6455 section 10.2).
 *
 * @module
 */

/**
 * Says whether a list allows an origin.
 *
 * @param origin The value of the field Origin.
 * @param allowed The list: `https://app.example`, `https://*.app.example` for every host below that one, `null` for
 * pages without an origin of their own, `*` for all. Case and the scheme's default port make no difference.
 * @returns Whether it does. An invalid entry allows nothing: see {@linkcode isOriginPattern}.
 *
 * @example
 * ```ts
 * import { isAllowedOrigin } from "./origin.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isAllowedOrigin("https://chat.app.example", ["https://*.app.example"]), true);
 * assertEquals(isAllowedOrigin("https://app.example.evil.example", ["https://*.app.example"]), false);
 * ```
 */
export function isAllowedOrigin(origin: string, allowed: readonly string[]): boolean {
  return allowed.some((pattern) => matches(origin, pattern));
}

/**
 * Says whether a text can stand in a list of allowed origins.
 *
 * @param text The text.
 * @returns Whether it is an origin, one with a wildcard as its first label, `null` or `*`.
 *
 * @example
 * ```ts
 * import { isOriginPattern } from "./origin.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["https://*.app.example", "app.example"].map(isOriginPattern), [true, false]);
 * ```
 */
export function isOriginPattern(text: string): boolean {
  return text === "*" || text === "null" || originOf(text.replace("://*.", "://")) !== undefined;
}

function matches(origin: string, pattern: string): boolean {
  if (pattern === "*") return true;
  if (pattern === "null" || origin === "null") return origin === pattern;
  const [asked, wanted] = [originOf(origin), originOf(pattern.replace("://*.", "://"))];
  if (asked === undefined || wanted === undefined) return false;
  if (!pattern.includes("://*.")) return asked.scheme === wanted.scheme && asked.host === wanted.host;
  return asked.scheme === wanted.scheme && asked.host.endsWith(`.${wanted.host}`);
}

/** Scheme and host, with a port other than the scheme's; `undefined` for an invalid origin. */
function originOf(text: string): { scheme: string; host: string } | undefined {
  if (!/^[a-z][a-z0-9+.-]*:\/\/[^/?#@*\\\s]+$/i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, host } = new URL(text);
  // For schemes outside of the web, URL keeps the case of the host.
  return host === "" ? undefined : { scheme: protocol, host: host.toLowerCase() };
}
