/**
 * The policy of the echo server, its events, and its counts.
 *
 * @module
 */

import type { CloseRecord } from "../protocol/close.ts";
import type { WireTotals } from "../connection/connection.ts";
import type { RateLimit } from "./rate.ts";

/**
 * Default idle timeout, in seconds: 60. The ping at half of it goes out before a proxy on the way cuts the connection:
 * most do so after 60 s of silence.
 */
export const DEFAULT_IDLE_TIMEOUT_SECONDS = 60;

/** Default limit of open connections: 10,000. */
export const DEFAULT_MAX_CONNECTIONS = 10_000;

/** Default limit of bytes pending for one peer that does not read: 16 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 16 * 1024 * 1024;

/** Default limit of bytes pending for all peers together: 512 MiB. */
export const DEFAULT_MAX_BUFFERED_TOTAL_BYTES = 512 * 1024 * 1024;

/** Default window of the compressor, in bits: 12, which are 4 KiB. */
export const DEFAULT_DEFLATE_WINDOW_BITS = 12;

/** Default memory level of the compressor: 5. With 12 bits it takes 160 KiB. */
export const DEFAULT_DEFLATE_MEMORY_LEVEL = 5;

/** Default level of zlib: 3. JSON becomes nearly as small as at 6, and no data makes the search long. */
export const DEFAULT_DEFLATE_LEVEL = 3;

/** Compression with permessage-deflate (RFC 7692); an absent field has its default. */
export interface DeflatePolicy {
  /** The level of zlib, 1 (fast) to 9 (small). 3 by default. */
  readonly level?: number | undefined;
  /** The memory level of zlib, 1 to 9. 5 by default. */
  readonly memoryLevel?: number | undefined;
  /** Without takeover, smaller messages stay uncompressed, in bytes; 1 KiB by default. */
  readonly thresholdBytes?: number | undefined;
  /** The largest window in bits, 9 to 15; the client's is limited only where its offer allows that. 12 by default. */
  readonly windowBits?: number | undefined;
  /** Whether messages may refer back to earlier ones, either way, for the whole connection. `true` by default. */
  readonly takeover?: boolean | undefined;
  /** A message over 1 MiB that inflates to over this many times its size is closed with 1008. 256 by default. */
  readonly maxInflateRatio?: number | undefined;
}

/** Limits of connections that become known only while connections come. */
export interface ConnectionRoom {
  /** Limit of connections, given their number. */
  maxConnections(connections: number): number;
  /** Limit of connections before their upgrade, given their number. */
  maxHeads(heads: number): number;
}

/** Numbers and places of connections, shared by several servers: the workers of one server. */
export interface ConnectionPlaces {
  /** Takes a place; returns the number of the connection, or `undefined` if none is left. */
  take(): number | undefined;
  /** Returns a place. */
  leave(): void;
}

/** Limits and rules of an echo server; each has a default. */
export interface EchoPolicy {
  /** The longest message in bytes; a longer one closes the connection with 1009. 16 MiB by default. */
  maxMessageBytes?: number;
  /** Idle timeout in whole seconds: pings at half of it, closes with 1001 at its end; 0 for never. 60 by default. */
  idleTimeoutSeconds?: number;
  /** Limit of open connections; more are answered with 503 and `Retry-After`. 10,000 by default. */
  maxConnections?: number;
  /** Limits open connections instead of `maxConnections`, given their present number. */
  room?: ConnectionRoom;
  /**
   * How many bytes may be pending for a peer before its next message; more close it with 1008. 16 MiB by default. Over
   * our own frames this never happens: the server does not read from a peer that does not read.
   */
  maxBufferedBytes?: number;
  /**
   * How many bytes of messages may be pending for all peers together. More close one with 1013: over our own frames the
   * largest holder, over the runtime's WebSocket, which frees nothing, the one that asks for more. 512 MiB by default.
   */
  maxBufferedTotalBytes?: number;
  /** How fast one peer may send; a faster one is closed with 1008. Without limit by default. */
  rate?: RateLimit;
  /**
   * Compression where the client offers permessage-deflate, over our own frames; `false` for none. A compressed message
   * is echoed compressed.
   */
  deflate?: DeflatePolicy | false;
  /**
   * The origins of pages that may connect: `https://app.example`, `https://*.app.example` for every host below, `null`,
   * or `*`; others get 403. All by default. Case and the scheme's default port make no difference.
   */
  allowOrigins?: readonly string[];
  /**
   * The hosts that the field Host and an absolute target may name, without the port: `app.example`, `*.app.example` for
   * every host below, an address, `127.0.0.0/8`, or `*`; others get 421, except for `/healthz`. This keeps out pages
   * whose own name was pointed at this server (DNS rebinding). All by default; where `serveEcho()` listens on a
   * loopback address `localhost`, `*.localhost`, 127.0.0.0/8 and `[::1]`.
   */
  allowHosts?: readonly string[];
  /** Whether a request without an Origin, which no browser makes, gets 403 as well. */
  requireOrigin?: boolean;
  /**
   * The secret, without which a request gets 401: as `Authorization: Bearer`, as the password of Basic authentication,
   * or from a browser as a subprotocol, `wsproof.bearer.` and its base64url form without padding.
   */
  token?: string;
  /** The subprotocols to select from, best first; by default the client's first offer is selected. */
  protocols?: readonly string[];
  /** Answers to plain GET and HEAD requests, by path; a token is required for all but `/`. */
  routes?: Readonly<Record<string, Route>>;
  /**
   * Called for every opened or closed connection, refused request and trouble. A throw at `opened` closes that
   * connection with 1011; any other throw is ignored.
   */
  onEvent?: (event: EchoEvent) => void;
}

/** Answers a plain HTTP request. */
export type Route = (request: Request) => Response | Promise<Response>;

/** An event of an echo server. */
export type EchoEvent = EchoOpened | EchoClosed | EchoRefused | EchoTrouble;

/** A client's upgrade was accepted and the connection is open. */
export interface EchoOpened {
  /** The kind of event. */
  readonly type: "opened";
  /** The number of the connection, counted from 1. */
  readonly id: number;
  /** The address of the peer. */
  readonly peer: string;
  /** The path and query of its request. */
  readonly path: string;
  /** The selected subprotocol; empty if none. */
  readonly protocol: string;
  /** The accepted extensions, as in the answer; absent if none. */
  readonly extensions?: string;
}

/** A connection has ended. Over the runtime's WebSocket its close record says what is not known. */
export interface EchoClosed extends CloseRecord {
  /** The kind of event. */
  readonly type: "closed";
  /** The number of the connection. */
  readonly id: number;
  /** The address of the peer. */
  readonly peer: string;
  /** How many messages were echoed. */
  readonly messages: number;
  /** How many payload bytes were echoed. */
  readonly bytes: number;
  /** How long the connection was open, in milliseconds. */
  readonly ms: number;
  /** Bytes of its frames on the wire; over our own frames only. */
  readonly wire?: WireTotals;
}

/** A request got another answer than the upgrade. */
export interface EchoRefused {
  /** The kind of event. */
  readonly type: "refused";
  /** The address of the peer. */
  readonly peer: string;
  /** The path and query of the request; empty if it could not be read. */
  readonly path: string;
  /** The HTTP status of the answer; 0 if there was none. */
  readonly status: number;
  /** Why. */
  readonly cause: RefusalCause;
  /** The same in a sentence, as in the answer; it contains no secret of the peer. */
  readonly reason: string;
}

/** Trouble that is no connection's fault; the server goes on. */
export interface EchoTrouble {
  /** The kind of event. */
  readonly type: "trouble";
  /** The kind of trouble. */
  readonly kind: TroubleKind;
  /** The runtime's words. */
  readonly error: string;
}

/**
 * The kind of trouble. `accept`: the server cannot accept connections, for example without free descriptors, and
 * retries. `runtime`: nobody caught an error of the runtime. `worker`: a worker has died, and is replaced.
 */
export type TroubleKind = "accept" | "runtime" | "worker";

/**
 * The cause of a refusal: plain HTTP, the wrong method, a wrong handshake or version, its Host, its Origin, its token,
 * too many connections, a shutdown, a peer that left before its upgrade was through, or a head that is too long, too
 * slow or one of too many (the last three over our own frames only). A lab refuses a path without a program as
 * `no-such-path`.
 */
export type RefusalCause =
  | "plain-http"
  | "method"
  | "bad-handshake"
  | "version"
  | "host"
  | "origin"
  | "token"
  | "connections"
  | "draining"
  | "gone"
  | "head-too-long"
  | "head-timeout"
  | "head-limit"
  | "no-such-path";

/** Counts of an echo server since its start; {@linkcode EchoStats.connections} counts the open ones. */
export interface EchoStats {
  /** Connections that have a place now: nearly always the open ones. */
  readonly connections: number;
  /** Admitted connections. */
  readonly accepted: number;
  /** Echoed messages. */
  readonly messages: number;
  /** Echoed payload bytes. */
  readonly bytes: number;
  /** Bytes of all frames on the wire; 0 over the runtime's WebSocket, which hides them. */
  readonly wire?: WireTotals;
  /** Connections with permessage-deflate. */
  readonly deflated?: number;
  /** Ended connections. */
  readonly closes: readonly CloseCount[];
  /** Refused requests. */
  readonly refusals: readonly RefusalCount[];
  /** The troubles. */
  readonly troubles: readonly TroubleCount[];
}

/** How many connections ended in one way. */
export interface CloseCount {
  /** Close code of the side that began, if its frame is known; 1006 for an end without one (RFC 6455 section 7.4.1). */
  readonly code: number;
  /** The side that sent the first close frame. */
  readonly initiator: "peer" | "server" | "none";
  /** How many. */
  readonly count: number;
}

/** How many requests were refused for one cause. */
export interface RefusalCount {
  /** Why. */
  readonly cause: RefusalCause;
  /** How many. */
  readonly count: number;
}

/** How often one thing has gone wrong. */
export interface TroubleCount {
  /** What. */
  readonly kind: TroubleKind;
  /** How often. */
  readonly count: number;
}
