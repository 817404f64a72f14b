/**
 * Addresses of a host name, for a server that listens and a client that looks for one.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { within } from "./deadline.ts";

/** Addresses of `localhost` (RFC 6761 section 6.3); a client without a URL tries both, in this order. */
export const LOOPBACK_ADDRESSES: readonly string[] = ["127.0.0.1", "::1"];

/** Deadline for a connection to each candidate address, in milliseconds: 1 s. */
const FIND_TIMEOUT_MS = 1000;

/**
 * Formats an address for a URL.
 *
 * @param address An address, or a name.
 * @returns The address, with brackets around IPv6 (RFC 3986 section 3.2.2).
 *
 * @example
 * ```ts
 * import { inUrl } from "./host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["::1", "127.0.0.1"].map(inUrl), ["[::1]", "127.0.0.1"]);
 * ```
 */
export function inUrl(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/**
 * Resolves a host to all of its addresses: `localhost` and its subdomains to {@linkcode LOOPBACK_ADDRESSES}, another
 * name through the system, an address to itself.
 *
 * @param host A name, or an address (IPv6 without brackets).
 * @returns The distinct addresses, in the order of the system. A name without an address resolves to itself: listening
 * on the name then fails with the reason.
 *
 * @example
 * ```ts
 * import { addressesOf } from "./host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(await addressesOf("localhost"), ["127.0.0.1", "::1"]);
 * assertEquals(await addressesOf("0.0.0.0"), ["0.0.0.0"]);
 * ```
 */
export async function addressesOf(host: string): Promise<readonly string[]> {
  if (/(^|\.)localhost\.?$/i.test(host)) return LOOPBACK_ADDRESSES;
  if (/^\d+(\.\d+){3}$|:/.test(host)) return [host];
  // Few servers listen on a name, and the module takes a while to load.
  const { lookup } = await import("node:dns/promises");
  try {
    const found = await lookup(host, { all: true });
    return [...new Set(found.map(({ address }) => address))];
  } catch {
    return [host];
  }
}

/**
 * Looks for a server on this machine.
 *
 * @param port The port to look at.
 * @returns The first of {@linkcode LOOPBACK_ADDRESSES} that accepts a connection within 1 s; `undefined` if none does.
 * @throws {Deno.errors.NotCapable} Without permission to connect.
 *
 * @example
 * ```ts
 * import { listeningAddress } from "./host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * assertEquals(await listeningAddress(listener.addr.port), "127.0.0.1");
 * ```
 */
export async function listeningAddress(port: number): Promise<string | undefined> {
  for (const hostname of LOOPBACK_ADDRESSES) {
    const connecting = Deno.connect({ hostname, port });
    try {
      (await within(connecting, "connection", { timeoutMs: FIND_TIMEOUT_MS })).close();
      return hostname;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      // Close a late connection: nobody needs it any more.
      connecting.then((late) => late.close(), () => {});
    }
  }
  return undefined;
}

/**
 * Finds the addresses of this machine among several, and a port that is free on all of them.
 *
 * @param addresses The addresses.
 * @param port The port; 0 for any.
 * @returns The port, and the addresses of this machine.
 * @throws {ListenError} If the port is taken on one address, where a client of the name could meet the other server, or
 * if the machine has none of the addresses.
 *
 * @example
 * ```ts
 * import { bindable } from "./host.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { addresses, port } = bindable(["127.0.0.1", "2001:db8::1"], 0);
 * assertEquals([addresses, port > 0], [["127.0.0.1"], true]);
 * ```
 */
export function bindable(addresses: readonly string[], port: number): { addresses: readonly string[]; port: number } {
  for (let attempt = 1;; attempt++) {
    try {
      return bindAll(addresses, port);
    } catch (error) {
      const isTaken = error instanceof ListenError && error.cause instanceof Deno.errors.AddrInUse;
      // A port that is free on one address may be taken on another.
      if (port !== 0 || !isTaken || attempt === MAX_PORT_ATTEMPTS) throw error;
    }
  }
}

/** Number of free ports to try: 10. */
const MAX_PORT_ATTEMPTS = 10;

function bindAll(addresses: readonly string[], port: number): { addresses: readonly string[]; port: number } {
  const bound = new Map<string, Deno.TcpListener>();
  const portOf = () => [...bound.values()][0]?.addr.port ?? port;
  let missing = new Error("Cannot listen on no address");
  try {
    for (const hostname of addresses) {
      try {
        bound.set(hostname, Deno.listen({ hostname, port: portOf() }));
      } catch (error) {
        if (error instanceof Deno.errors.NotCapable) throw error;
        const failure = new ListenError(hostname, portOf(), error);
        if (!isMissing(error)) throw failure;
        missing = failure;
      }
    }
    if (bound.size === 0) throw missing;
    return { addresses: [...bound.keys()], port: portOf() };
  } finally {
    for (const listener of bound.values()) listener.close();
  }
}

/** Whether the machine lacks the address or its family. */
function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.AddrNotAvailable || /address family not supported/i.test(messageOf(error));
}

/** Thrown when a server cannot listen; the message names host, port and reason. */
export class ListenError extends Error {
  /** The name of the class. */
  override readonly name = "ListenError";

  /**
   * Makes the error.
   *
   * @param hostname The host name or address.
   * @param port The port.
   * @param cause The error of the runtime, or of Node's sockets.
   */
  constructor(hostname: string, port: number, cause: unknown) {
    const message = messageOf(cause);
    const isTaken = cause instanceof Deno.errors.AddrInUse || /EADDRINUSE|address already in use/i.test(message);
    const reason = isTaken ? "the port is in use; give another --port, or 0" : `${message}; give another --host`;
    super(`Cannot listen on host "${hostname}", port ${port}: ${reason}`, { cause });
  }
}
