/**
 * The echo as the service of a wire server: each connection is a {@linkcode WireEcho} with a follower.
 *
 * @module
 */

import { DEFAULT_MAX_INFLATE_RATIO, type MessageDeflateOptions } from "../net/deflate_limits.ts";
import { canCompress, MessageDeflate } from "../net/zlib.ts";
import { chooseDeflate, type DeflateAgreement } from "../protocol/deflate.ts";
import { messageOf } from "../protocol/error.ts";
import type { HeadRequest } from "../net/request.ts";
import type { ByteStream } from "../net/tls.ts";
import type { Turns } from "../net/turns.ts";
import { offeredExtensions } from "../protocol/handshake_server.ts";
import type { WireHandler } from "../net/wire_handler.ts";
import { viewOf } from "./handshake_refusal.ts";
import {
  DEFAULT_DEFLATE_LEVEL,
  DEFAULT_DEFLATE_MEMORY_LEVEL,
  DEFAULT_DEFLATE_WINDOW_BITS,
  type DeflatePolicy,
} from "./policy.ts";
import type { WireEnd, WireLimits } from "./wire_limits.ts";
import { WireEcho } from "./wire_echo.ts";

/** Follows one connection. A throw closes the connection with 1011. */
export interface WireFollower {
  /** The connection is open; the counts can be read at any time. */
  onOpen(counts: Pick<WireEcho, "messages" | "bytes" | "wire">): void;
  /** Called exactly once at the end, whatever `onOpen` did. */
  onEnd(end: WireEnd): void;
  /** All is freed, the descriptor too; called exactly once, up to 2 s after the end. */
  onGone?(): void;
}

/** Decides on requests, and follows connections. An admitted request ends exactly once: in `onEnd` or `abandoned`. */
export interface EchoHandler extends Omit<WireHandler, "serve" | "answersItself"> {
  /**
   * Follows an upgraded connection. A throw drops the connection, and `abandoned` is told.
   *
   * @param request The request.
   * @param protocol The subprotocol.
   * @param addr The address of the peer.
   * @param extensions The accepted extensions, as in the answer; empty for none.
   * @param now The time of the request, in milliseconds as of `performance.now()`.
   * @returns The follower.
   */
  follow(request: HeadRequest, protocol: string, addr: Deno.Addr, extensions: string, now: number): WireFollower;
}

/**
 * Makes the handler of a wire server that echoes.
 *
 * @param limits Limits of each connection.
 * @param handler Decides on requests, and follows connections.
 * @param deflate How to compress where a client offers that; `false`, as by default, for not at all.
 * @returns The handler.
 *
 * @example
 * ```ts
 * import { echoing } from "./echo_handler.ts";
 * import { WireServer } from "../net/wire_server.ts";
 * import { openConnection } from "../connection/open.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const handler = { decide: () => "", follow: () => ({ onOpen() {}, onEnd() {} }) };
 * const server = new WireServer(
 *   { hostname: "127.0.0.1", port: 0 },
 *   echoing({ maxMessageBytes: 1024, idleTimeoutMs: 0 }, handler),
 * );
 * const connection = await openConnection(`ws://127.0.0.1:${server.port}/`, "wire");
 * await connection.send("hello");
 * assertEquals(await connection.receive(), "hello");
 * await connection.close();
 * await server.stop();
 * ```
 */
export function echoing(
  limits: WireLimits,
  handler: EchoHandler,
  deflate: DeflatePolicy | false = false,
): WireHandler {
  const agreements = new WeakMap<HeadRequest, DeflateAgreement>();
  /** Options by agreement, shared by connections: agreements have few forms. */
  const codecs = new Map<string, MessageDeflateOptions>();
  const accepts = deflate !== false && canCompress();
  return {
    extensions(request) {
      if (!accepts || request.headers.get("sec-websocket-extensions") === null) return "";
      const { windowBits = DEFAULT_DEFLATE_WINDOW_BITS, takeover = true } = deflate;
      const { agreement } = chooseDeflate(offeredExtensions(viewOf(request)) ?? [], { windowBits, takeover });
      if (agreement) agreements.set(request, agreement);
      return agreement?.text ?? "";
    },
    decide: (request, addr, target, version) => handler.decide(request, addr, target, version),
    serve({ stream, request, protocol, addr, now, turns }) {
      const agreement = accepts ? agreements.get(request) : undefined;
      const follower = handler.follow(request, protocol, addr, agreement?.text ?? "", now);
      const shared = agreement && deflate && (codecs.get(agreement.text) ?? codecOptions(agreement, deflate, limits));
      if (agreement && shared) codecs.set(agreement.text, shared);
      const codec = shared && new MessageDeflate(shared);
      const echo = new FollowedEcho(follower, now, stream, limits, turns, codec || undefined);
      try {
        follower.onOpen(echo);
      } catch (error) {
        echo.close(1011, "internal error", { error: messageOf(error) });
      }
      return echo;
    },
    abandoned: (request, addr) => handler.abandoned?.(request, addr),
    onRefused: (addr, refusal) => handler.onRefused?.(addr, refusal),
    onTrouble: (reason) => handler.onTrouble?.(reason),
  };
}

function codecOptions(agreement: DeflateAgreement, policy: DeflatePolicy, limits: WireLimits): MessageDeflateOptions {
  const {
    level = DEFAULT_DEFLATE_LEVEL,
    memoryLevel = DEFAULT_DEFLATE_MEMORY_LEVEL,
    maxInflateRatio = DEFAULT_MAX_INFLATE_RATIO,
  } = policy;
  const { maxMessageBytes, budget } = limits;
  const directions = { own: agreement.server, peer: agreement.client };
  return { ...policy, ...directions, level, memoryLevel, maxInflateRatio, maxMessageBytes, budget };
}

class FollowedEcho extends WireEcho {
  readonly #follower: WireFollower;

  constructor(
    follower: WireFollower,
    now: number,
    stream: ByteStream,
    limits: WireLimits,
    turns: Turns,
    codec?: MessageDeflate,
  ) {
    super(stream, limits, turns, codec, now);
    this.#follower = follower;
  }

  protected override onEnd(end: WireEnd): void {
    try {
      this.#follower.onEnd(end);
    } catch {
      // After the end there is nobody to tell.
    }
  }

  protected override onGone(): void {
    this.#follower.onGone?.();
  }
}
