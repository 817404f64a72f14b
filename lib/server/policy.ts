/**
 * The policy of the echo server, its events, and its counts.
 *
 * @module
 */

import type { CloseRecord } from "../protocol/close.ts";
import type { WireTotals } from "../connection/connection.ts";
import type { RateLimit } from "./rate.ts";

/**
 * A connection without traffic for this long is closed unless told otherwise, in seconds: 60. The ping at half of it goes out
 * before a proxy on the way cuts the connection: most do so after 60 s of silence.
 */
export const DEFAULT_IDLE_TIMEOUT_SECONDS = 60;

/** How long a shutdown may take unless told otherwise, in milliseconds: 5 s. */
export const DEFAULT_SHUTDOWN_TIMEOUT_MS = 5000;

/** How many connections are held at once unless told otherwise: 10,000. */
export const DEFAULT_MAX_CONNECTIONS = 10_000;

/** How much may wait for one peer that does not read unless told otherwise, in bytes: 16 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 16 * 1024 * 1024;

/** How much may wait for all peers together unless told otherwise, in bytes: 512 MiB. */
export const DEFAULT_MAX_BUFFERED_TOTAL_BYTES = 512 * 1024 * 1024;

/** The window of the compressor unless told otherwise, in bits: 12, which are 4 KiB. */
export const DEFAULT_DEFLATE_WINDOW_BITS = 12;

/** The memory level of the compressor unless told otherwise: 5. With 12 bits it takes 160 KiB. */
export const DEFAULT_DEFLATE_MEMORY_LEVEL = 5;

/** The level of zlib unless told otherwise: 3. JSON becomes nearly as small as at 6, and no data makes the search long. */
export const DEFAULT_DEFLATE_LEVEL = 3;

/** How the server compresses with permessage-deflate (RFC 7692); what is left out has its default. */
export interface DeflatePolicy {
  /** The level of zlib, 1 (fast) to 9 (small). 3 by default. */
  readonly level?: number | undefined;
  /** The memory level of zlib, 1 to 9. 5 by default. */
  readonly memoryLevel?: number | undefined;
  /** A message below this size is not compressed without takeover, in bytes; 1 KiB by default. */
  readonly thresholdBytes?: number | undefined;
  /** The largest window in bits, 9 to 15; that of the client is only asked for where its offer allows it. 12 by default. */
  readonly windowBits?: number | undefined;
  /** Whether messages may refer back to those before them, either way, as long as the connection lives. `true` by default. */
  readonly takeover?: boolean | undefined;
  /** A message over 1 MiB that inflates to more than so many times its size is closed with 1008. 256 by default. */
  readonly maxInflateRatio?: number | undefined;
}

/** Says how many connections there may be, as long as that is only found out while they come. */
export interface ConnectionRoom {
  /** How many there may be, when there are so many. */
  maxConnections(connections: number): number;
  /** How many of those before their upgrade there may be, when there are so many. */
  maxHeads(heads: number): number;
}

/** Numbers connections and gives them places, where several servers share both: the workers of one server. */
export interface ConnectionPlaces {
  /** Takes a place, and gives the number of the connection; `undefined` if there is no place left. */
  take(): number | undefined;
  /** Gives a place back. */
  leave(): void;
}

/** Limits and rules of an echo server; each has a default. */
export interface EchoPolicy {
  /** The longest message in bytes; a longer one closes the connection with 1009. 16 MiB by default. */
  maxMessageBytes?: number;
  /**
   * How long a connection may be without traffic, in whole seconds, before it is closed with 1001, with a ping at half of it;
   * 0 for ever. 60 by default.
   */
  idleTimeoutSeconds?: number;
  /** How many connections are held at once; more are answered with 503 and `Retry-After`. 10,000 by default. */
  maxConnections?: number;
  /** Says how many connections are held at once in place of `maxConnections`, asked with how many there are. */
  room?: ConnectionRoom;
  /**
   * How many bytes may wait for a peer that does not read before its next message; more close it with 1008. 16 MiB by
   * default. Over our own frames so much never waits, as a peer that does not read is not listened to.
   */
  maxBufferedBytes?: number;
  /**
   * How many bytes of messages may wait for all peers together; more close one with 1013: over our own frames the one that
   * holds the most, over the runtime's WebSocket, which gives nothing back, the one that asks for more. 512 MiB by default.
   */
  maxBufferedTotalBytes?: number;
  /** How fast one peer may send; a faster one is closed with 1008. Without limit by default. */
  rate?: RateLimit;
  /**
   * How messages are compressed where the client offers permessage-deflate, over our own frames; `false` for not at all. What came
   * compressed is echoed compressed.
   */
  deflate?: DeflatePolicy | false;
  /**
   * The origins of pages that may connect: `https://app.example`, `https://*.app.example` for every host below, `null`, or
   * `*`; others are answered with 403. All by default. Compared without case, and without the port of the scheme.
   */
  allowOrigins?: readonly string[];
  /**
   * The hosts that requests may name in their field Host and in an absolute target, without the port: `app.example`,
   * `*.app.example` for every host below, an address, `127.0.0.0/8`, or `*`; others are answered with 421, except `/healthz`.
   * This keeps out pages whose own name was pointed at this server (DNS rebinding). All by default; where `serveEcho()` listens
   * on a loopback address `localhost`, `*.localhost`, 127.0.0.0/8 and `[::1]`.
   */
  allowHosts?: readonly string[];
  /** Whether a request without an Origin, which no browser makes, is answered with 403 as well. */
  requireOrigin?: boolean;
  /**
   * The secret without which there is 401: as `Authorization: Bearer`, as the password of Basic authentication, or from a
   * browser as a subprotocol, `wsproof.bearer.` and its base64url form without padding.
   */
  token?: string;
  /** The subprotocols, best first, of which one that the client offers is selected; by default the client's first. */
  protocols?: readonly string[];
  /** Answers to plain GET and HEAD requests, by path; with a token, all but `/` ask for it. */
  routes?: Readonly<Record<string, Route>>;
  /**
   * Told of every connection that opens or closes, of every request that is refused, and of trouble. If it throws when a
   * connection opens, that connection is closed with 1011; what it throws otherwise is ignored.
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
  /** The path and query that it asked for. */
  readonly path: string;
  /** The subprotocol that was selected; empty if none. */
  readonly protocol: string;
  /** The extensions that were accepted, as the answer has them; nothing if none. */
  readonly extensions?: string;
}

/** A connection has ended. Over the runtime's WebSocket, its close record says where something is not known. */
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
  /** How many bytes its frames had on the wire; over our own frames only. */
  readonly wire?: WireTotals;
}

/** A request was answered with something else than the upgrade. */
export interface EchoRefused {
  /** The kind of event. */
  readonly type: "refused";
  /** The address of the peer. */
  readonly peer: string;
  /** The path and query that it asked for; empty if there was no request that could be read. */
  readonly path: string;
  /** The HTTP status of the answer; 0 if there was none. */
  readonly status: number;
  /** Why. */
  readonly cause: RefusalCause;
  /** The same in a sentence, which the answer has too; nothing in it is a secret of the peer. */
  readonly reason: string;
}

/** Something has gone wrong that is no connection's fault; the server goes on. */
export interface EchoTrouble {
  /** The kind of event. */
  readonly type: "trouble";
  /** The kind of trouble. */
  readonly kind: TroubleKind;
  /** The runtime's words. */
  readonly error: string;
}

/**
 * The kind of trouble. `accept`: the server cannot accept connections, for example without free descriptors, and retries.
 * `runtime`: the runtime threw an error that nobody caught. `worker`: one of several workers has died, and is replaced.
 */
export type TroubleKind = "accept" | "runtime" | "worker";

/**
 * Why a request was refused: plain HTTP, the wrong method, a handshake that is wrong or of another version, its Host, its Origin,
 * its token, too many connections, a server that shuts down, a peer that was gone before its upgrade was through, or a head that
 * is too long, too slow or one of too many (the last three over our own frames only). A lab refuses a path that is no program
 * as `no-such-path`.
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
  /** The connections that have a place now: nearly always, those that are open. */
  readonly connections: number;
  /** The connections that were let in. */
  readonly accepted: number;
  /** The messages that were echoed. */
  readonly messages: number;
  /** The payload bytes that were echoed. */
  readonly bytes: number;
  /** The bytes of all frames on the wire; 0 over the runtime's WebSocket, which hides them. */
  readonly wire?: WireTotals;
  /** The connections on which permessage-deflate was negotiated. */
  readonly deflated?: number;
  /** The connections that have ended. */
  readonly closes: readonly CloseCount[];
  /** The requests that were refused. */
  readonly refusals: readonly RefusalCount[];
  /** The troubles. */
  readonly troubles: readonly TroubleCount[];
}

/** How many connections ended in one way. */
export interface CloseCount {
  /** The close code of the side that began, if its frame is known; 1006 for an end without one (RFC 6455 section 7.4.1). */
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
