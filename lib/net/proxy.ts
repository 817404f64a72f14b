/**
 * The route to a server: direct, or through a proxy that an option or the environment names. Both transports follow it.
 *
 * The environment variables count as for curl, but never for a loopback host, and an option overrides `NO_PROXY`. With
 * permission to read and write the variables, this module suppresses the runtime's own rules.
 *
 * @module
 */

import type { DialOptions, TransportName } from "./dial_options.ts";
import { OptionError } from "./open_error.ts";

/** Variables that name a proxy, or the hosts without one. */
export const PROXY_VARIABLES = [
  "ws_proxy",
  "WS_PROXY",
  "wss_proxy",
  "WSS_PROXY",
  "http_proxy",
  "HTTP_PROXY",
  "https_proxy",
  "HTTPS_PROXY",
  "all_proxy",
  "ALL_PROXY",
  "no_proxy",
  "NO_PROXY",
] as const;

/** The schemes of a server, and those that stand for them (WebSockets Standard, `new WebSocket(url)`). */
const SCHEMES: Readonly<Record<string, string>> = { "ws:": "ws:", "wss:": "wss:", "http:": "ws:", "https:": "wss:" };

/**
 * Parses the URL of a server, as the runtime's own errors would quote a password.
 *
 * @param url The URL: `ws:` or `wss:`, or `http:` or `https:` in their place.
 * @returns The URL, always with the scheme `ws:` or `wss:`.
 * @throws {OptionError} If the URL is not valid, or has another scheme.
 *
 * @example
 * ```ts
 * import { serverUrlOf } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(serverUrlOf("https://example.com/socket").href, "wss://example.com/socket");
 * ```
 */
export function serverUrlOf(url: string | URL): URL {
  const server = URL.parse(url);
  if (server === null) throw new OptionError("Cannot open the connection: the URL is not valid");
  const scheme = SCHEMES[server.protocol];
  if (scheme === undefined) {
    throw new OptionError(
      `Cannot open the connection: the scheme of the URL is ${server.protocol} instead of ws: or wss:`,
    );
  }
  server.protocol = scheme;
  return server;
}

/** One of these variables. */
export type ProxyVariable = typeof PROXY_VARIABLES[number];

/** Reads an environment variable. */
export type ReadVariable = (name: ProxyVariable) => string | undefined;

/** Value of `DialOptions.proxy` for no proxy, whatever the environment says. */
export const NO_PROXY = "none";

/** The route to a server. */
export interface Route {
  /** The proxy with its credentials; `undefined` for a direct route. */
  readonly proxy: URL | undefined;
  /** Source of the proxy: the option, or the variable of that name. */
  readonly source: "option" | ProxyVariable;
  /** Whether the runtime keeps to this route. */
  readonly isKnown: boolean;
}

/**
 * Chooses the route to a server, by the option or else by the environment.
 *
 * @param url The server, `ws:` or `wss:`.
 * @param options Proxy or unix socket.
 * @param transport The transport; `builtin` may follow the runtime's rules if the environment is closed to us.
 * @returns The route.
 * @throws {OptionError} If the proxy is no URL, or of a scheme that the transport does not support, or if the server on a
 * unix socket is to speak TLS.
 *
 * @example
 * ```ts
 * import { routeTo } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { proxy } = routeTo(new URL("ws://example.com/"), { proxy: "http://127.0.0.1:3128" }, "wire");
 * assertEquals(proxy?.port, "3128");
 * ```
 */
export function routeTo(
  url: URL,
  { proxy, unixPath }: Pick<DialOptions, "proxy" | "unixPath">,
  transport: TransportName,
): Route {
  // The runtime would leave TLS out without a word.
  if (unixPath !== undefined && url.protocol === "wss:") {
    throw new OptionError("Cannot use TLS over a Unix socket: give the URL as ws://");
  }
  const isOpen = isEnvironmentOpen();
  const isKnown = transport === "wire" || isOpen;
  if (unixPath !== undefined || proxy === NO_PROXY) return { proxy: undefined, source: "option", isKnown };
  if (proxy !== undefined) return { proxy: usable(proxy, "option", transport), source: "option", isKnown };
  const found = isOpen ? environmentProxy(url, (name) => Deno.env.get(name)) : undefined;
  if (found === undefined) return { proxy: undefined, source: "option", isKnown };
  return { proxy: usable(found.value, found.variable, transport), source: found.variable, isKnown };
}

/**
 * Names the proxy of a connection, for a report.
 *
 * @param url The server.
 * @param options Proxy or unix socket.
 * @param transport The transport.
 * @returns The proxy's URL without credentials; `null` without a proxy; `"not-known"` if the runtime decides by
 * variables that this program has no permission to read.
 * @throws {OptionError} As {@linkcode routeTo}.
 *
 * @example
 * ```ts
 * import { proxyNameFor } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const options = { proxy: "http://user:secret@127.0.0.1:3128" };
 * assertEquals(proxyNameFor("ws://example.com/", options, "wire"), "http://127.0.0.1:3128");
 * ```
 */
export function proxyNameFor(
  url: string | URL,
  options: Pick<DialOptions, "proxy" | "unixPath">,
  transport: TransportName,
): string | null {
  const { proxy, isKnown } = routeTo(serverUrlOf(url), options, transport);
  return proxy ? nameOf(proxy) : isKnown || options.unixPath !== undefined ? null : "not-known";
}

/**
 * Names a proxy without its credentials.
 *
 * @param proxy The proxy's URL.
 * @returns Scheme, host and port.
 *
 * @example
 * ```ts
 * import { nameOf } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(nameOf(new URL("http://user:secret@proxy:3128/")), "http://proxy:3128");
 * ```
 */
export function nameOf(proxy: URL): string {
  return `${proxy.protocol}//${proxy.host}`;
}

/**
 * Puts the route to a server into words, to follow its URL.
 *
 * @param proxy The result of {@linkcode proxyNameFor}.
 * @returns Empty for a direct connection.
 *
 * @example
 * ```ts
 * import { wayText } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([null, "http://proxy:3128"].map(wayText), ["", " through http://proxy:3128"]);
 * ```
 */
export function wayText(proxy: string | null): string {
  if (proxy === null) return "";
  return proxy === "not-known" ? ", maybe through a proxy of the environment" : ` through ${proxy}`;
}

const DEFAULT_PORTS: Record<string, number> = { "http:": 1080, "https:": 443, "socks5:": 1080, "socks5h:": 1080 };

/** Parses the URL of a proxy. A variable may omit scheme and port: then curl's defaults apply. */
function usable(value: string, source: Route["source"], transport: TransportName): URL {
  const name = source === "option" ? "the proxy" : `the proxy of the variable ${source}`;
  const proxy = URL.parse(source === "option" || value.includes("://") ? value : `http://${value}`);
  const advice = source === "option" ? "" : ", or --proxy none";
  if (proxy === null || !(proxy.protocol in DEFAULT_PORTS) || proxy.hostname === "") {
    throw new OptionError(`Cannot use ${name}: give a URL such as http://host:port${advice}`);
  }
  if (transport === "wire" && proxy.protocol !== "http:") {
    throw new OptionError(
      `Cannot use ${name}, ${
        nameOf(proxy)
      }, over wire: give an http: URL; the client speaks to others with --transport builtin${advice}`,
    );
  }
  // A parsed URL drops the scheme's default port: only the text shows it.
  const hasPort = proxy.port !== "" || /:\d+\/?$/.test(value);
  if (source !== "option" && !hasPort) proxy.port = `${DEFAULT_PORTS[proxy.protocol]}`;
  return proxy;
}

/** A proxy that the environment names. */
export interface NamedProxy {
  /** The variable that names it. */
  readonly variable: ProxyVariable;
  /** Value of the variable, with credentials. */
  readonly value: string;
}

/**
 * Finds the environment's proxy for a URL, by the rules of curl: the variable of the scheme (`ws_proxy`), then of the
 * underlying scheme (`http_proxy`), then `all_proxy`; lower case before upper case; never `HTTP_PROXY`, which a CGI
 * request can set. An empty variable counts as unset. Loopback hosts have no proxy.
 *
 * @param url The server, `ws:` or `wss:`.
 * @param read Reads a variable.
 * @returns The proxy, or `undefined` for a direct connection.
 *
 * @example
 * ```ts
 * import { environmentProxy } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const read = (name: string) => name === "http_proxy" ? "proxy:3128" : undefined;
 * assertEquals(environmentProxy(new URL("ws://example.com/"), read)?.value, "proxy:3128");
 * assertEquals(environmentProxy(new URL("ws://localhost/"), read), undefined);
 * ```
 */
export function environmentProxy(url: URL, read: ReadVariable): NamedProxy | undefined {
  if (isLoopback(url.hostname) || isExcepted(url.hostname, read("no_proxy") || read("NO_PROXY") || "")) {
    return undefined;
  }
  for (const variable of url.protocol === "wss:" ? SECURE_VARIABLES : PLAIN_VARIABLES) {
    const value = read(variable);
    if (value) return { variable, value };
  }
  return undefined;
}

const PLAIN_VARIABLES = ["ws_proxy", "WS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"] as const;
const SECURE_VARIABLES = ["wss_proxy", "WSS_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] as const;

/**
 * Tells whether a host is this machine, which no proxy can reach under this name.
 *
 * @param hostname The host of a parsed URL.
 * @returns Whether the host is `localhost`, a subdomain, or a loopback or unspecified address.
 *
 * @example
 * ```ts
 * import { isLoopback } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["app.localhost", "127.1.2.3", "[::1]", "localhost.example"].map(isLoopback), [true, true, true, false]);
 * ```
 */
export function isLoopback(hostname: string): boolean {
  if (/(^|\.)localhost\.?$/.test(hostname.toLowerCase())) return true;
  const address = addressOf(hostname);
  if (address === undefined) return false;
  const { bits, value } = address;
  if (bits === 128 && value <= 1n) return true;
  const isMapped = bits === 128 && value >> 32n === 0xffffn;
  return (bits === 32 || isMapped) && ((value & 0xffffffffn) >> 24n === 127n || (value & 0xffffffffn) === 0n);
}

/**
 * Tells whether `NO_PROXY` excepts a host, by the rules of curl: `*` alone excepts all; a name, with or without a
 * leading full stop, excepts itself and its subdomains; an address excepts itself, a CIDR network its addresses. Ports
 * do not count.
 *
 * @param hostname The host of a parsed URL.
 * @param list The value: entries separated by commas or blanks.
 * @returns Whether the host has no proxy.
 *
 * @example
 * ```ts
 * import { isExcepted } from "./proxy.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isExcepted("www.example.com", "10.0.0.0/8, example.com"), true);
 * assertEquals(isExcepted("nonexample.com", ".example.com"), false);
 * ```
 */
export function isExcepted(hostname: string, list: string): boolean {
  if (list.trim() === "*") return true;
  const address = addressOf(hostname);
  const name = hostname.toLowerCase().replace(/\.$/, "");
  return list.split(/[\s,]+/).some((entry) => {
    if (address !== undefined) return isInNetwork(address, entry);
    const domain = entry.toLowerCase().replace(/^\./, "").replace(/\.$/, "");
    return domain !== "" && (name === domain || name.endsWith(`.${domain}`));
  });
}

interface Address {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

function isInNetwork({ bits, value }: Address, entry: string): boolean {
  const [network = "", prefix = `${bits}`, more] = entry.split("/");
  const start = addressOf(network);
  if (start?.bits !== bits || more !== undefined || !/^\d{1,3}$/.test(prefix) || Number(prefix) > bits) return false;
  // As in curl, a prefix of 0 bits means the address itself.
  const shift = BigInt(Number(prefix) === 0 ? 0 : bits - Number(prefix));
  return start.value >> shift === value >> shift;
}

/** An address as a number; `undefined` for a name. */
function addressOf(text: string): Address | undefined {
  if (/^\d{1,3}(\.\d{1,3}){3}$/.test(text)) {
    const octets = text.split(".").map(Number);
    if (octets.some((octet) => octet > 255)) return undefined;
    return { bits: 32, value: BigInt(octets.reduce((sum, octet) => sum * 256 + octet, 0)) };
  }
  if (!text.includes(":")) return undefined;
  const hostname = URL.parse(`http://[${text.replace(/^\[(.*)\]$/, "$1")}]/`)?.hostname;
  if (hostname === undefined) return undefined;
  const [head = "", tail] = hostname.slice(1, -1).split("::");
  const before = head.split(":").filter(Boolean);
  const after = (tail ?? "").split(":").filter(Boolean);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  const groups = [...before, ...zeros, ...after];
  return { bits: 128, value: groups.reduce((sum, group) => sum << 16n | BigInt(`0x${group}`), 0n) };
}

/** Whether we may read and write every variable, and so suppress the runtime's own rules. */
function isEnvironmentOpen(): boolean {
  return PROXY_VARIABLES.every((variable) => Deno.permissions.querySync({ name: "env", variable }).state === "granted");
}

/**
 * Calls a function while the environment names no proxy: the runtime reads the variables when it makes an HTTP client,
 * and would let `NO_PROXY` override an explicit proxy. Without permission, the variables stay.
 *
 * @param make The function, which must be synchronous.
 * @returns The result of the function.
 *
 * @example
 * ```ts
 * import { withoutEnvironmentProxies } from "./proxy.ts";
 *
 * withoutEnvironmentProxies(() => Deno.createHttpClient({})).close();
 * ```
 */
export function withoutEnvironmentProxies<T>(make: () => T): T {
  if (!isEnvironmentOpen()) return make();
  const saved = PROXY_VARIABLES.flatMap((name) => {
    const value = Deno.env.get(name);
    return value === undefined ? [] : [{ name, value }];
  });
  try {
    for (const { name } of saved) Deno.env.delete(name);
    return make();
  } finally {
    for (const { name, value } of saved) Deno.env.set(name, value);
  }
}

/**
 * Tells whether any variable names a proxy: only then the runtime's rules need suppression.
 *
 * @returns Whether one is set.
 * @throws {Deno.errors.NotCapable} If a variable is not readable; a known {@linkcode Route} implies that all are.
 *
 * @example
 * ```ts
 * import { isProxyNamed, routeTo } from "./proxy.ts";
 *
 * const { isKnown } = routeTo(new URL("ws://127.0.0.1/"), {}, "builtin");
 * if (isKnown) console.log(isProxyNamed());
 * ```
 */
export function isProxyNamed(): boolean {
  return PROXY_VARIABLES.some((name) => Deno.env.get(name));
}
