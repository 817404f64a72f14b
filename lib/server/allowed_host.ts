/**
 * Allowed hosts of a request, against DNS rebinding: a page of another site reaches a server of this machine under its
 * own name, and so within its own origin.
 *
 * @module
 */

/**
 * Loopback names, which no DNS server of others decides on (RFC 6761 section 6.3): `localhost`, `*.localhost`,
 * 127.0.0.0/8 and `[::1]`.
 */
export const LOOPBACK_HOSTS: readonly string[] = ["localhost", "*.localhost", "127.0.0.0/8", "[::1]"];

/**
 * Says whether a list allows a host.
 *
 * @param host The host, with or without a port, as in the field Host.
 * @param allowed The list: `app.example`, `*.app.example` for every host below that one, an address (IPv6 in brackets),
 * `127.0.0.0/8`, `*` for all. Case, port and a final full stop make no difference.
 * @returns Whether it does; `false` for a malformed host.
 *
 * @example
 * ```ts
 * import { isAllowedHost, LOOPBACK_HOSTS } from "./allowed_host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isAllowedHost("127.0.0.1:6455", LOOPBACK_HOSTS), true);
 * assertEquals(isAllowedHost("rebound.example:6455", LOOPBACK_HOSTS), false);
 * ```
 */
export function isAllowedHost(host: string, allowed: readonly string[]): boolean {
  // A URL takes "127.0.0\u00b2.1" for a number, and decodes percent-encoding: a field Host has neither.
  const name = /^[!-~]+$/.test(host) && !host.includes("%") ? nameOf(host) : undefined;
  return name !== undefined && allowed.some((pattern) => matches(name, pattern));
}

/**
 * Says whether a text can stand in a list of allowed hosts.
 *
 * @param text The text.
 * @returns Whether it is a host without a port, one with a wildcard as its first label, `127.0.0.0/8` or `*`.
 *
 * @example
 * ```ts
 * import { isHostPattern } from "./allowed_host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["*.app.example", "[::1]", "app.example:80", "http://app.example"].map(isHostPattern), [
 *   true,
 *   true,
 *   false,
 *   false,
 * ]);
 * ```
 */
export function isHostPattern(text: string): boolean {
  if (text === "*" || text === LOOPBACK_NETWORK) return true;
  const host = text.replace(/^\*\./, "");
  return !/:\d*$/.test(host.replace(/^\[.*\]/, "")) && nameOf(host) !== undefined;
}

/**
 * Says whether only this machine can reach an address.
 *
 * @param hostname The host name or address to listen on, IPv6 without brackets.
 * @returns Whether it is `localhost`, in 127.0.0.0/8 or `::1`.
 *
 * @example
 * ```ts
 * import { isLoopback } from "./allowed_host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["127.0.0.1", "localhost", "::1", "0.0.0.0"].map(isLoopback), [true, true, true, false]);
 * ```
 */
export function isLoopback(hostname: string): boolean {
  return isAllowedHost(hostname.includes(":") ? `[${hostname}]` : hostname, ["localhost", LOOPBACK_NETWORK, "[::1]"]);
}

const LOOPBACK_NETWORK = "127.0.0.0/8";

function matches(name: string, pattern: string): boolean {
  if (pattern === "*") return true;
  if (pattern === LOOPBACK_NETWORK) return /^127(\.\d{1,3}){3}$/.test(name);
  const wanted = nameOf(pattern.replace(/^\*\./, ""));
  if (wanted === undefined) return false;
  return pattern.startsWith("*.") ? name.endsWith(`.${wanted}`) : name === wanted;
}

/** Normal form of a host without its port; `undefined` if the host is malformed. */
function nameOf(host: string): string | undefined {
  const url = `http://${host}/`;
  // A slash or a user name would make more than a host.
  if (!/^[^\s/?#@\\*]+$/.test(host) || !URL.canParse(url)) return undefined;
  return new URL(url).hostname.replace(/\.$/, "");
}
