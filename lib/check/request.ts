/**
 * The opening request of a case, with its intended faults.
 *
 * @module
 */

import type { RequestEdit } from "./case.ts";
import { USER_AGENT } from "../net/dial.ts";
import { basicCredentials } from "../protocol/authority.ts";
import { encodeHead } from "../protocol/http_lines.ts";

/** Target, and the fields of every request in a run. */
export interface RequestTarget {
  /** The URL; user name and password become Basic authentication. */
  readonly url: URL;
  /** The Sec-WebSocket-Key. */
  readonly key: string;
  /** Subprotocols that every case offers. */
  readonly protocols?: readonly string[];
  /** The user's own fields. */
  readonly headers?: Iterable<readonly [name: string, value: string]>;
}

/**
 * Encodes a request.
 *
 * @param target Target and common fields.
 * @param edit Changes to the usual request.
 * @returns The bytes.
 *
 * @example
 * ```ts
 * import { requestBytes } from "./request.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const url = new URL("ws://example.com/chat");
 * const bytes = requestBytes({ url, key: "" }, { method: "POST", fields: { Upgrade: ["WebSocket"] } });
 * assertStringIncludes(new TextDecoder().decode(bytes), "POST /chat HTTP/1.1\r\nHost: example.com\r\nUpgrade: WebSocket\r\n");
 * ```
 */
export function requestBytes(
  { url, key, protocols = [], headers = [] }: RequestTarget,
  { method = "GET", version = "1.1", fields = {} }: RequestEdit,
): Uint8Array<ArrayBuffer> {
  const own: [string, readonly string[]][] = [
    ["Host", [url.host]],
    ["Upgrade", ["websocket"]],
    ["Connection", ["Upgrade"]],
    ["Sec-WebSocket-Version", ["13"]],
    ["Sec-WebSocket-Key", [key]],
    ["Sec-WebSocket-Protocol", protocols.length > 0 ? [protocols.join(", ")] : []],
    ["User-Agent", [USER_AGENT]],
    ["Authorization", url.username + url.password === "" ? [] : [basicCredentials(url)]],
  ];
  const replaced = new Map(Object.entries(fields).map(([name, values]) => [name.toLowerCase(), values]));
  const lines = own.map(([name, values]) => [name, replaced.get(name.toLowerCase()) ?? values] as const);
  for (const [name, value] of headers) {
    const index = lines.findIndex(([field]) => field.toLowerCase() === name.toLowerCase());
    if (index === -1) lines.push([name, [value]]);
    else if (!replaced.has(name.toLowerCase())) lines[index] = [name, [value]];
  }
  for (const [name, values] of Object.entries(fields)) {
    if (!own.some(([field]) => field.toLowerCase() === name.toLowerCase())) lines.push([name, values]);
  }
  const all = lines.flatMap(([name, values]) => values.map((value) => [name, value] as const));
  return encodeHead(`${method} ${url.pathname}${url.search} HTTP/${version}`, all);
}
