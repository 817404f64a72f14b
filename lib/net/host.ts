/**
 * Addresses that a host name stands for, for a server that listens and a client that looks for it.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import { within } from "./deadline.ts";

/** Addresses of `localhost` (RFC 6761 section 6.3); a client without a URL tries both, in this order. */
export const LOOPBACK_ADDRESSES: readonly string[] = ["127.0.0.1", "::1"];

/** How long an address may take to answer whoever looks for a server, in milliseconds: 1 s. */
const FIND_TIMEOUT_MS = 1000;

/**
 * Writes an address as it stands in a URL.
 *
 * @param address An address, or a name.
 * @returns The same, with brackets around an IPv6 address (RFC 3986 section 3.2.2).
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
 * Resolves a host to every address that it stands for: `localhost` and what ends in `.localhost` to
 * {@linkcode LOOPBACK_ADDRESSES}, another name as the system does, an address to itself.
 *
 * @param host A name or an address, an IPv6 address without brackets.
 * @returns The addresses, each once, in the order of the system; the name itself if it cannot be looked up: whoever listens
 * on it then says why.
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
 * @returns The first of {@linkcode LOOPBACK_ADDRESSES} that takes a connection within 1 s; `undefined` if none does.
 * @throws {Deno.errors.NotCapable} If the runtime may not connect to one of them.
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
      // One that comes too late is not wanted any more.
      connecting.then((late) => late.close(), () => {});
    }
  }
  return undefined;
}

/**
 * Finds out on which of several addresses one can listen, with the same port for all.
 *
 * @param addresses The addresses.
 * @param port The port, 0 for any that is free on all of them.
 * @returns The port, and the addresses without those that this machine does not have.
 * @throws {ListenError} If the port is taken on one of them, as a client of the name could meet the other server, or if the
 * machine has none of them.
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
      // The port that one address had free is taken on another.
      if (port !== 0 || !isTaken || attempt === MAX_PORT_ATTEMPTS) throw error;
    }
  }
}

/** How many free ports of one address are tried on the others: 10. */
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

/** Whether the machine has no such address, or nothing of its family. */
function isMissing(error: unknown): boolean {
  return error instanceof Deno.errors.AddrNotAvailable || /address family not supported/i.test(messageOf(error));
}

/** Thrown when a server cannot listen where it should; the message says where and why. */
export class ListenError extends Error {
  /** The name of the class. */
  override readonly name = "ListenError";

  /**
   * Makes the error.
   *
   * @param hostname Where it should listen.
   * @param port The port there.
   * @param cause What the runtime has thrown, or what Node's sockets have.
   */
  constructor(hostname: string, port: number, cause: unknown) {
    const message = messageOf(cause);
    const isTaken = cause instanceof Deno.errors.AddrInUse || /EADDRINUSE|address already in use/i.test(message);
    const reason = isTaken ? "it is taken; use --port with another, or 0" : `${message}; use --host with another`;
    super(`Cannot listen on host "${hostname}", port ${port}: ${reason}`, { cause });
  }
}
