/**
 * The echo server over the runtime's WebSocket: a `Request` in, a `Response` out.
 *
 * @module
 */

import { STATUS_CODE } from "@std/http/status";
import {
  DEFAULT_IDLE_TIMEOUT_SECONDS,
  DEFAULT_MAX_BUFFERED_TOTAL_BYTES,
  type EchoPolicy,
  type EchoStats,
  type TroubleKind,
} from "./policy.ts";
import { EchoConnection, type EchoConnectionOptions } from "./echo_connection.ts";
import { Gatekeeper } from "./gatekeeper.ts";
import { Members } from "../net/members.ts";
import { messageOf } from "../protocol/error.ts";
import { MemoryBudget } from "./budget.ts";
import { Standstill } from "../net/standstill.ts";

/** Interval of the clock that looks at all deadlines, in milliseconds: a deadline is up to this much late. */
const TICK_MS = 250;

/** Echo server as a handler. */
export interface Echo {
  /** Answers a request: with the upgrade, a page or a refusal. */
  fetch(request: Request, info: Deno.ServeHandlerInfo): Response | Promise<Response>;
  /** The counts so far. */
  stats(): EchoStats;
  /** Counts and reports trouble that is no connection's fault. */
  troubled(kind: TroubleKind, error: string): void;
  /**
   * Closes every connection, and answers new ones with 503 from now on.
   *
   * @returns The open connections; `closed` resolves at the end of each.
   */
  closeAll(code: number, reason: string): readonly { readonly closed: Promise<unknown> }[];
  /** Reports every open connection as ended. */
  giveUp(): void;
}

/**
 * Makes an echo server without a listener: every message comes back with the same kind, bytes and order, on any path.
 *
 * The server answers requests that are not a correct opening handshake (RFC 6455 section 4.2.1) before the upgrade:
 * plain HTTP and other versions with 426, other methods with 405, a missing or malformed field with 400. The policy
 * refuses with 401, 403, 421 and 503. `GET /healthz` gets 200, or 503 during a shutdown.
 *
 * @param policy The policy.
 * @returns The handler.
 *
 * @example
 * ```ts
 * import { createEcho } from "./builtin_echo.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const echo = createEcho();
 * const info = { remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 1 }, completed: Promise.resolve() } as const;
 * const response = await echo.fetch(new Request("http://127.0.0.1/"), info);
 * assertEquals(response.status, 426);
 * ```
 */
export function createEcho(policy: EchoPolicy = {}): Echo {
  const { idleTimeoutSeconds = DEFAULT_IDLE_TIMEOUT_SECONDS } = policy;
  const gate = new Gatekeeper(policy);
  const budget = new MemoryBudget(policy.maxBufferedTotalBytes ?? DEFAULT_MAX_BUFFERED_TOTAL_BYTES);
  const connections = new Members<EchoConnection>();
  let clock: ReturnType<typeof setInterval> | undefined;

  /** One clock for all connections, while there are any. */
  function watch(connection: EchoConnection): void {
    connection.place = connections.add(connection);
    if (clock === undefined) {
      const standstill = new Standstill(performance.now());
      clock = setInterval(() => {
        const now = performance.now();
        if (standstill.isOver(now)) { for (const each of connections) each.tick(now); }
      }, TICK_MS);
    }
    // A connection that the runtime still holds must not keep a finished process alive.
    Deno.unrefTimer(clock);
  }

  function onGone(connection: EchoConnection): void {
    connections.remove(connection.place, connection);
    if (connections.size > 0) return;
    clearInterval(clock);
    clock = undefined;
  }

  const options: EchoConnectionOptions = { ...policy, gate, budget, onGone };
  return {
    stats: () => gate.stats(),
    troubled: (kind, error) => gate.troubled(kind, error),
    closeAll(code, reason) {
      gate.drain();
      const open = [...connections].filter(({ isOver }) => !isOver);
      for (const connection of open) connection.close(code, reason, { timeoutMs: Infinity });
      return open;
    },
    giveUp() {
      for (const connection of connections) connection.giveUp();
    },
    fetch(request, { remoteAddr }) {
      if (isGone(remoteAddr)) return new Response(null, { status: STATUS_CODE.BadRequest });
      const admission = gate.admit(request, remoteAddr);
      if (admission.type === "answered") return admission.response;
      const { opened } = admission;
      try {
        const { socket, response } = Deno.upgradeWebSocket(request, { idleTimeout: idleTimeoutSeconds });
        const connection = new EchoConnection(socket, opened, options);
        watch(connection);
        if (opened.protocol !== "") response.headers.set("sec-websocket-protocol", opened.protocol);
        return response;
      } catch (error) {
        // The client is gone, or the runtime does not upgrade the request after all.
        gate.gone(opened);
        return new Response(`${messageOf(error)}\n`, { status: STATUS_CODE.BadRequest });
      }
    },
  };
}

/** The runtime has no address of a peer that has reset the connection; an upgrade would leak a descriptor for ever. */
function isGone(addr: Deno.Addr): boolean {
  return addr.transport === "tcp" && addr.port === 0;
}
