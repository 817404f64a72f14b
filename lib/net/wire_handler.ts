/**
 * The two sides of a wire server: what its handler decides and is told, and what runs a connection.
 *
 * @module
 */

import type { HeadRefusal } from "./reception.ts";
import type { HeadRequest } from "./request.ts";
import type { ByteStream } from "./tls.ts";
import type { Turns } from "./turns.ts";

/** A request that was let through, and its connection. */
export interface WireUpgrade {
  /** Where its frames come from and go to. Nobody else reads or writes it. */
  readonly stream: ByteStream;
  /** The request, without its body. */
  readonly request: HeadRequest;
  /** The target as the peer wrote it (RFC 9112 section 3.2). */
  readonly target: string;
  /** The subprotocol, as `decide` gave it; empty for none. */
  readonly protocol: string;
  /** The address of the peer. */
  readonly addr: Deno.Addr;
  /** The queue of all connections of the server: whoever reads much takes turns. */
  readonly turns: Turns;
}

/** A connection behind its upgrade. */
export interface WireConnection {
  /** Resolves when the connection has ended, as far as its peer can tell. It never rejects. */
  readonly ended: Promise<unknown>;
  /**
   * Runs until nothing is left of the connection, its descriptor neither. Called once, and first.
   *
   * @param early What came behind the head of the request.
   */
  run(early: Uint8Array): Promise<void>;
  /**
   * Looks at its deadlines: called ten times a second.
   *
   * @param now The time, in milliseconds, as of `performance.now()`.
   */
  tick(now: number): void;
  /**
   * Begins to close. It may be called before {@linkcode WireConnection.run}.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options How long the peer may take to answer, in milliseconds.
   */
  close(code: number, reason: string, options?: { timeoutMs?: number }): void;
  /**
   * Drops the connection at once; what is under way fails.
   *
   * @param error Why.
   */
  destroy(error?: string): void;
}

/** Decides on requests of a {@linkcode WireServer}, and serves its connections. */
export interface WireHandler {
  /**
   * Whether the handler writes the answer to the opening handshake itself, in {@linkcode WireConnection.run}. By default the
   * server writes it, before it calls {@linkcode WireHandler.serve}.
   */
  readonly answersItself?: boolean;
  /**
   * Decides on a connection of which nothing has been read. By default every connection is taken.
   *
   * @returns The refusal, which is the answer; with the status 0 the connection is dropped without one.
   */
  onAccept?(): HeadRefusal | undefined;
  /**
   * Decides on a request. A request that it lets through is given to `serve`, or `abandoned` is told of it. If it throws or
   * rejects, the answer is 500; if it takes longer than the rest of the time for the head, there is none.
   *
   * @param request The request, without its body.
   * @param addr The address of the peer.
   * @param target The target as the peer wrote it (RFC 9112 section 3.2): the URL of the request has it in its normal form.
   * @param version The version of HTTP: `1.0` or `1.1`. The upgrade needs 1.1 (RFC 6455 section 4.2.1).
   * @returns A response that refuses it, or the subprotocol with which it is upgraded, empty for none.
   */
  decide(request: HeadRequest, addr: Deno.Addr, target: string, version: string): Decision | Promise<Decision>;
  /**
   * Says which extensions are accepted of a request that `decide` let through, where the server writes the answer.
   *
   * @param request The request.
   * @returns The value of the field Sec-WebSocket-Extensions; empty, as by default, for none.
   */
  extensions?(request: HeadRequest): string;
  /**
   * Takes over a connection that is upgraded. If it throws, the connection is dropped, and `abandoned` is told.
   *
   * @param upgrade The connection.
   * @returns What runs it.
   */
  serve(upgrade: WireUpgrade): WireConnection;
  /**
   * Told of a request that `decide` let through and that nobody serves: the peer was gone before its upgrade was written, the
   * server has stopped, there were too many others, or `serve` has thrown.
   *
   * @param request The request.
   * @param addr The address of the peer.
   */
  abandoned?(request: HeadRequest, addr: Deno.Addr): void;
  /**
   * Told of a connection that `decide` was never asked about.
   *
   * @param addr The address of the peer.
   * @param refusal How it was answered, and why.
   */
  onRefused?(addr: Deno.Addr, refusal: HeadRefusal): void;
  /**
   * Told when connections cannot be taken, as without free descriptors; it goes on trying.
   *
   * @param reason Why.
   */
  onTrouble?(reason: string): void;
}

/** A response that refuses a request, or the subprotocol with which it is upgraded, empty for none. */
export type Decision = Response | string;
