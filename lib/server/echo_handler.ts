/**
 * The echo as what a wire server serves: each connection is a {@linkcode WireEcho} that somebody follows.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import type { HeadRequest } from "../net/request.ts";
import type { WireHandler } from "../net/wire_server.ts";
import { WireEcho, type WireEnd, type WireLimits } from "./wire_echo.ts";

/** Told of one connection. If it throws, the connection is closed with 1011. */
export interface WireFollower {
  /** The connection is open; what it has echoed can be read at any time. */
  onOpen(counts: Pick<WireEcho, "messages" | "bytes">): void;
  /** The connection has ended; told exactly once, whatever `onOpen` did. */
  onEnd(end: WireEnd): void;
  /** Nothing is left of it, its descriptor neither; told exactly once, up to 2 s after its end. */
  onGone?(): void;
}

/** Decides on requests, and follows the connections. A request that is let through has exactly one end: `onEnd` or `abandoned`. */
export interface EchoHandler extends Omit<WireHandler, "serve" | "answersItself"> {
  /**
   * Follows a connection that is upgraded. If it throws, the connection is dropped, and `abandoned` is told.
   *
   * @param request The request.
   * @param protocol The subprotocol.
   * @param addr The address of the peer.
   * @returns What is told of it.
   */
  follow(request: HeadRequest, protocol: string, addr: Deno.Addr): WireFollower;
}

/**
 * Makes the handler of a wire server that echoes.
 *
 * @param limits What each connection accepts.
 * @param handler Decides on requests, and follows the connections.
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
export function echoing(limits: WireLimits, handler: EchoHandler): WireHandler {
  return {
    decide: (request, addr, target, version) => handler.decide(request, addr, target, version),
    serve({ stream, request, protocol, addr, turns }) {
      const follower = handler.follow(request, protocol, addr);
      const echo = new FollowedEcho(follower, stream, limits, turns);
      echo.ended.then((end) => tellEnd(follower, end));
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

function tellEnd(follower: WireFollower, end: WireEnd): void {
  try {
    follower.onEnd(end);
  } catch {
    // It is over: there is nobody to tell of an exception.
  }
}

class FollowedEcho extends WireEcho {
  readonly #follower: WireFollower;

  constructor(follower: WireFollower, ...args: ConstructorParameters<typeof WireEcho>) {
    super(...args);
    this.#follower = follower;
  }

  /** What came early is not held here as long as the connection lives: so this is no async method. */
  override run(early: Uint8Array): Promise<void> {
    return super.run(early).then(() => this.#follower.onGone?.());
  }
}
