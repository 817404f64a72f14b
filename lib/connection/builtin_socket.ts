/**
 * The runtime's `WebSocket`, and the client of its own that TLS options, proxies and unix sockets need.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { basicCredentials } from "../protocol/authority.ts";
import { isLoopback, isProxyNamed, type Route, withoutEnvironmentProxies } from "../net/proxy.ts";
import { type OpenOptions, OptionError } from "./connection.ts";

/** How long a connection that failed its handshake or its cancelling may take to be gone, in milliseconds. */
export const CLEAN_UP_MS = 1000;

/** The URL as the runtime will read it; its words for another would quote a password. */
export function parsed(url: string | URL): URL {
  const target = URL.parse(url);
  if (target === null) throw new OptionError("Cannot open the connection: the URL is not valid");
  return target;
}

/** The fields to add, among them the credentials: the runtime does not take every character in those of a URL. */
export function headersFor(url: URL, { headers = [] }: OpenOptions, { proxy }: Route): [string, string][] {
  const fields = [...headers].map(([name, value]): [string, string] => [name, value]);
  const has = (wanted: string) => fields.some(([name]) => name.toLowerCase() === wanted);
  if (has("user-agent")) {
    throw new OptionError(
      "Cannot send a User-Agent of yours over the built-in WebSocket, as it sends its own beside it: use --transport wire",
    );
  }
  if (has("host") && proxy && url.protocol === "ws:" && proxy.protocol.startsWith("http")) {
    throw new OptionError(
      "Cannot send a Host of yours through an HTTP proxy over the built-in WebSocket: use --transport wire",
    );
  }
  const hasCredentials = url.username + url.password !== "";
  if (hasCredentials && !has("authorization")) fields.push(["authorization", basicCredentials(url)]);
  return fields;
}

/** TLS options, proxies, unix sockets and a Host need a client of their own; a plain connection does not. */
export function createClient(
  url: URL,
  options: OpenOptions,
  { proxy, isKnown }: Route,
  headers: readonly [string, string][],
): Deno.HttpClient | undefined {
  const { caCerts, clientCertificate, unixPath } = options;
  const allowHost = headers.some(([name]) => name.toLowerCase() === "host");
  // A secret that is meant for this machine must not go to a proxy that the runtime alone knows.
  const isPrivate = !isKnown && isLoopback(url.hostname) &&
    headers.some(([name]) => name.toLowerCase() === "authorization");
  const isSpecial = caCerts || clientCertificate || proxy || unixPath !== undefined || allowHost || isPrivate;
  if (!isSpecial && !(isKnown && isProxyNamed())) return undefined;
  const hostname = url.hostname;
  const port = Number(url.port || (url.protocol === "wss:" ? 443 : 80));
  try {
    return withoutEnvironmentProxies(() =>
      Deno.createHttpClient({
        ...(caCerts && { caCerts: [...caCerts] }),
        ...clientCertificate,
        ...(proxy && { proxy: proxyOption(proxy) }),
        ...(!proxy && isPrivate && { proxy: { transport: "tcp", hostname, port } }),
        ...(unixPath !== undefined && { proxy: { transport: "unix", path: unixPath } }),
        ...(allowHost && { allowHost }),
      })
    );
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) {
      throw new OptionError(
        `Cannot use the unix socket without permission to read and write: use "deno task -q client:unix"`,
      );
    }
    throw new OptionError("Cannot use the TLS, proxy or unix socket options", { cause: error });
  }
}

/** The credentials of a proxy apart from its URL, which the runtime does not decode. */
function proxyOption(proxy: URL): Deno.Proxy {
  const url = new URL(proxy);
  url.username = url.password = "";
  if (proxy.username + proxy.password === "") return { url: url.href };
  return { url: url.href, basicAuth: { username: decoded(proxy.username), password: decoded(proxy.password) } };
}

/** A percent sign that begins no escape stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text.replace(/%(?![0-9a-f]{2})/gi, "%25"));
  } catch {
    return text;
  }
}

export function createSocket(
  url: URL,
  { protocols = [] }: OpenOptions,
  headers: [string, string][],
  client: Deno.HttpClient | undefined,
): WebSocket {
  const target = new URL(url);
  target.username = target.password = "";
  try {
    return new WebSocket(target, {
      protocols: [...protocols],
      ...(headers.length > 0 && { headers }),
      ...(client && { client }),
    });
  } catch (error) {
    throw new OptionError(`Cannot open the connection: ${messageOf(error)}`, { cause: error });
  }
}
