/**
 * Interfaces of a wire server: the handler that decides, and the connection that it runs.
 *
 * @module
 */

import type { HeadRefusal } from "./reception.ts";
import type { HeadRequest } from "./request.ts";
import type { ByteStream } from "./tls.ts";
import type { Turns } from "./turns.ts";

/** An accepted request, and its connection. */
export interface WireUpgrade {
  /** The stream of frames, for exclusive use. */
  readonly stream: ByteStream;
  /** The request, without its body. */
  readonly request: HeadRequest;
  /** The target as sent (RFC 9112 section 3.2). */
  readonly target: string;
  /** The subprotocol from `decide`; empty for none. */
  readonly protocol: string;
  /** The address of the peer. */
  readonly addr: Deno.Addr;
  /** The time of the request, in milliseconds as of `performance.now()`. */
  readonly now: number;
  /** Queue of all connections of the server: heavy readers take turns. */
  readonly turns: Turns;
}

/** A connection after its upgrade. */
export interface WireConnection {
  /** Resolves when the connection has ended for its peer; never rejects. */
  readonly ended: Promise<unknown>;
  /**
   * Runs until the connection has released everything, including its descriptor. Called once, and first.
   *
   * @param early Bytes after the head of the request.
   */
  run(early: Uint8Array): Promise<void>;
  /**
   * Checks the deadlines, ten times a second.
   *
   * @param now The time in milliseconds, as of `performance.now()`.
   */
  tick(now: number): void;
  /**
   * Begins to close, possibly before {@linkcode WireConnection.run}.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options Deadline for the peer's answer, in milliseconds.
   */
  close(code: number, reason: string, options?: { timeoutMs?: number }): void;
  /**
   * Drops the connection at once; pending operations fail.
   *
   * @param error The reason.
   */
  destroy(error?: string): void;
}

/** Decides on requests of a {@linkcode WireServer}, and serves its connections. */
export interface WireHandler {
  /**
   * Whether the handler answers the opening handshake itself, in {@linkcode WireConnection.run}. By default the server
   * answers, before it calls {@linkcode WireHandler.serve}.
   */
  readonly answersItself?: boolean;
  /**
   * Decides on a connection before its first read. By default, the server accepts every connection.
   *
   * @returns The refusal to answer with; with status 0, the server drops the connection without an answer.
   */
  onAccept?(): HeadRefusal | undefined;
  /**
   * Decides on a request. An accepted request goes to `serve` or to `abandoned`. An exception or a rejection becomes
   * status 500; a decision after the deadline for the head gets no answer.
   *
   * @param request The request, without its body.
   * @param addr The address of the peer.
   * @param target The target as sent (RFC 9112 section 3.2); the URL of the request is normalized.
   * @param version The HTTP version: `1.0` or `1.1`. An upgrade needs 1.1 (RFC 6455 section 4.2.1).
   * @returns A response that refuses, or the subprotocol of the upgrade, empty for none.
   */
  decide(request: HeadRequest, addr: Deno.Addr, target: string, version: string): Decision | Promise<Decision>;
  /**
   * Selects the extensions for an accepted request, where the server writes the answer.
   *
   * @param request The request.
   * @returns Value of the field Sec-WebSocket-Extensions; empty, as by default, for none.
   */
  extensions?(request: HeadRequest): string;
  /**
   * Takes over an upgraded connection. After an exception, the server drops the connection and calls `abandoned`.
   *
   * @param upgrade The request and its connection.
   * @returns The running connection.
   */
  serve(upgrade: WireUpgrade): WireConnection;
  /**
   * Called for an accepted request that nobody serves: the peer left before the upgrade, the server stopped, there were
   * too many others, or `serve` threw.
   *
   * @param request The request.
   * @param addr The address of the peer.
   */
  abandoned?(request: HeadRequest, addr: Deno.Addr): void;
  /**
   * Called for a connection that never reached `decide`.
   *
   * @param addr The address of the peer.
   * @param refusal The answer and the cause.
   */
  onRefused?(addr: Deno.Addr, refusal: HeadRefusal): void;
  /**
   * Called when the server cannot accept connections, as without free descriptors, and keeps trying.
   *
   * @param reason The reason.
   */
  onTrouble?(reason: string): void;
}

/** A response that refuses a request, or the subprotocol of its upgrade, empty for none. */
export type Decision = Response | string;
