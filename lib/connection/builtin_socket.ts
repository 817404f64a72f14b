/**
 * The runtime's `WebSocket`, with the HTTP client that TLS options, proxies and unix sockets need.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { basicCredentials } from "../protocol/authority.ts";
import { isLoopback, isProxyNamed, type Route, withoutEnvironmentProxies } from "../net/proxy.ts";
import { type OpenOptions, OptionError } from "./connection.ts";

/** Deadline for a failed or cancelled connection to end, in milliseconds. */
export const CLEAN_UP_MS = 1000;

/** The fields to add, with the credentials: the runtime rejects some characters of those in a URL. */
export function headersFor(url: URL, { headers = [] }: OpenOptions, { proxy }: Route): [string, string][] {
  const fields = [...headers].map(([name, value]): [string, string] => [name, value]);
  const has = (wanted: string) => fields.some(([name]) => name.toLowerCase() === wanted);
  if (has("user-agent")) {
    throw new OptionError(
      "Cannot set User-Agent over the built-in WebSocket, which sends its own as well: use --transport wire",
    );
  }
  if (has("host") && proxy && url.protocol === "ws:" && proxy.protocol.startsWith("http")) {
    throw new OptionError(
      "Cannot set Host through an HTTP proxy over the built-in WebSocket: use --transport wire",
    );
  }
  const hasCredentials = url.username + url.password !== "";
  if (hasCredentials && !has("authorization")) fields.push(["authorization", basicCredentials(url)]);
  return fields;
}

/** Makes the HTTP client that TLS options, proxies, unix sockets and a Host need; a plain connection needs none. */
export function createClient(
  url: URL,
  options: OpenOptions,
  { proxy, isKnown }: Route,
  headers: readonly [string, string][],
): Deno.HttpClient | undefined {
  const { caCerts, clientCertificate, unixPath } = options;
  const allowHost = headers.some(([name]) => name.toLowerCase() === "host");
  // A secret for this machine must not go to a proxy that only the runtime knows. TLS hides it from every proxy, and the
  // runtime would leave TLS out on the way that it is told here.
  const isPrivate = !isKnown && url.protocol === "ws:" && isLoopback(url.hostname) &&
    headers.some(([name]) => name.toLowerCase() === "authorization");
  const isSpecial = caCerts || clientCertificate || proxy || unixPath !== undefined || allowHost || isPrivate;
  if (!isSpecial && !(isKnown && isProxyNamed())) return undefined;
  const hostname = url.hostname;
  const port = Number(url.port || 80);
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
        `Cannot use the Unix socket without permission to read and write: use "deno task -q client:unix"`,
      );
    }
    throw new OptionError("Cannot use the TLS, proxy or Unix socket options", { cause: error });
  }
}

/** Splits the credentials of a proxy from its URL, as the runtime does not decode them. */
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
