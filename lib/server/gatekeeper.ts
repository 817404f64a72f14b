/**
 * The gatekeeper decides before an upgrade who gets in, the same for both front doors, and counts.
 *
 * @module
 */

import { STATUS_CODE } from "@std/http/status";
import {
  type ConnectionPlaces,
  DEFAULT_MAX_CONNECTIONS,
  type EchoClosed,
  type EchoEvent,
  type EchoOpened,
  type EchoPolicy,
  type EchoRefused,
  type EchoStats,
  type RefusalCause,
  type Route,
  type TroubleKind,
} from "./policy.ts";
import type { WireTotals } from "../connection/connection.ts";
import { isAllowedHost } from "./allowed_host.ts";
import {
  answerTo,
  handshakeRefusal,
  NO_ROUTE,
  type Place,
  placeOf,
  type Refusal,
  subprotocolOf,
  viewOf,
} from "./handshake_refusal.ts";
import { isAllowedOrigin } from "./origin.ts";
import { Known } from "../net/known.ts";
import type { RequestLike } from "../net/request.ts";
import { firstCloseFrameOf } from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { asksForUpgrade } from "../protocol/handshake_server.ts";
import { createTokenCheck } from "./token.ts";

/** When a client that was refused for now may come again, as `Retry-After`, in seconds: 5. */
export const RETRY_AFTER_SECONDS = 5;

/** How much of a path is kept and logged, in characters: 1,024. */
export const MAX_PATH_CHARS = 1024;

/** The close code that stands for an end without a close frame (RFC 6455 section 7.4.1). */
const ABNORMAL = 1006;

/** Counts of a connection so far. */
export interface EchoCounts {
  /** Messages. */
  readonly messages: number;
  /** Payload bytes. */
  readonly bytes: number;
  /** The bytes of the frames, where they are known. */
  readonly wire?: WireTotals;
}

/** What a decision needs of a request that is no `Request` yet. */
export interface AskedRequest {
  /** The method. */
  readonly method: string;
  /** The URL in its normal form. */
  readonly url: string;
  /** The fields; a name is in small letters. */
  readonly headers: { get(name: string): string | null };
  /** Makes a `Request`, for a page. */
  toRequest(): Request;
}

/** The decision on a request. */
export type Admission =
  /** It is upgraded: the connection has a place until {@linkcode Gatekeeper.leave}. */
  | { readonly type: "admitted"; readonly opened: EchoOpened }
  /** It gets a page, or is refused. */
  | { readonly type: "answered"; readonly response: Response | Promise<Response> };

/** The policy of an echo server at its door. */
export class Gatekeeper {
  readonly #policy: EchoPolicy;
  readonly #shared: ConnectionPlaces | undefined;
  readonly #hasToken: ((request: RequestLike) => boolean) | undefined;
  readonly #hosts: Known;
  readonly #origins: Known;
  readonly #onEvent: (event: EchoEvent) => void;
  /**
   * The connections that have a place, by their numbers; without counts as long as they are not open. Not the counts themselves: a
   * `Map` would keep those of connections that are gone (see `Members`).
   */
  readonly #places = new Map<number, { counts: EchoCounts | undefined }>();
  readonly #refusals = new Map<RefusalCause, number>();
  readonly #troubles = new Map<TroubleKind, number>();
  readonly #closes = new Map<string, number>();
  #accepted = 0;
  #messages = 0;
  #bytes = 0;
  #wire: WireTotals = { received: 0, sent: 0 };
  #deflated = 0;
  #isDraining = false;

  /**
   * Lets in nobody so far.
   *
   * @param policy What it lets in.
   * @param shared The places that several servers share, in place of the policy's `maxConnections` and `room`.
   */
  constructor(policy: EchoPolicy, shared?: ConnectionPlaces) {
    this.#policy = policy;
    this.#shared = shared;
    this.#hasToken = policy.token === undefined ? undefined : createTokenCheck(policy.token);
    this.#onEvent = policy.onEvent ?? (() => {});
    const { allowHosts = ["*"], allowOrigins = ["*"] } = policy;
    this.#hosts = new Known((host) => isAllowedHost(host, allowHosts));
    this.#origins = new Known((origin) => isAllowedOrigin(origin, allowOrigins));
  }

  /**
   * Decides on a request. What asks for the upgrade is decided at once: a peer that is gone by the time of the runtime's upgrade
   * would leave a descriptor behind.
   *
   * @param request The request.
   * @param addr Who asks.
   * @param target Its target as the peer wrote it, a path or an absolute URL; by default the URL of the request, which has it so
   * only as the runtime's server makes it: `new Request()` writes it anew.
   * @param version The version of HTTP, such as `1.1`, where it is known.
   * @returns What becomes of it.
   */
  admit(request: Request | AskedRequest, addr: Deno.Addr, target = request.url, version?: string): Admission {
    const place = placeOf(request, target);
    const path = place ? place.path + place.search : "";
    const who = { peer: describeAddr(addr), path: path.slice(0, MAX_PATH_CHARS) };
    const view = viewOf(request, version);
    // A proxy that keeps others from a page compares the path that it was sent, and so is a page found by that only.
    const page = place?.isAsWritten && !asksForUpgrade(view) ? this.#pageFor(request, place) : undefined;
    if (page instanceof Response || page instanceof Promise) return { type: "answered", response: page };
    const refusal = page ?? (place && this.#refusalOfHost(place)) ??
      (this.#isDraining ? DRAINING : place === undefined ? NO_ROUTE : handshakeRefusal(view)) ??
      this.#refusalOfStranger(request);
    const id = refusal ? undefined : this.#takePlace();
    if (id === undefined) {
      const { status, cause, text } = refusal ?? FULL;
      this.refused({ ...who, status, cause, reason: text });
      return { type: "answered", response: answerTo(request, refusal ?? FULL) };
    }
    this.#accepted++;
    this.#places.set(id, { counts: undefined });
    const protocol = subprotocolOf(request, this.#policy.protocols);
    return { type: "admitted", opened: { type: "opened", id, ...who, protocol } };
  }

  /**
   * A connection is open. What the policy's `onEvent` throws then is thrown on; of other events it is caught.
   *
   * @param opened What {@linkcode admit} said of it.
   * @param counts What it has echoed, at any time.
   */
  opened(opened: EchoOpened, counts: EchoCounts): void {
    this.#count(opened.id, counts);
    if (opened.extensions !== undefined) this.#deflated++;
    this.#onEvent(opened);
  }

  /**
   * A connection has ended.
   *
   * @param closed How.
   */
  closed(closed: EchoClosed): void {
    this.#messages += closed.messages;
    this.#bytes += closed.bytes;
    this.#wire = sumOf(this.#wire, closed.wire);
    this.#count(closed.id, undefined);
    const { initiator } = closed;
    const code = firstCloseFrameOf(closed)?.code ?? ABNORMAL;
    const key = `${code} ${initiator === null ? "none" : initiator === "peer" ? "peer" : "server"}`;
    this.#closes.set(key, (this.#closes.get(key) ?? 0) + 1);
    this.#tell(closed);
  }

  /**
   * A connection holds nothing any more: its place is free.
   *
   * @param id Its number.
   */
  leave(id: number): void {
    if (this.#places.delete(id)) this.#shared?.leave();
  }

  /**
   * A request was refused.
   *
   * @param refused Whose, how and why.
   */
  refused(refused: Omit<EchoRefused, "type">): void {
    this.#refusals.set(refused.cause, (this.#refusals.get(refused.cause) ?? 0) + 1);
    this.#tell({ type: "refused", ...refused });
  }

  /**
   * A peer that was let in had gone before its upgrade was through: its place is free.
   *
   * @param opened What {@linkcode admit} said of it.
   */
  gone({ id, peer, path }: EchoOpened): void {
    this.leave(id);
    this.refused({ peer, path, status: 0, cause: "gone", reason: "The peer was gone before its upgrade was through." });
  }

  /**
   * Something has gone wrong that is no connection's fault.
   *
   * @param kind What.
   * @param error What the runtime says of it.
   */
  troubled(kind: TroubleKind, error: string): void {
    this.#troubles.set(kind, (this.#troubles.get(kind) ?? 0) + 1);
    this.#tell({ type: "trouble", kind, error });
  }

  /** From now on nobody is let in. */
  drain(): void {
    this.#isDraining = true;
  }

  /** The counts so far. */
  stats(): EchoStats {
    let [messages, bytes, wire] = [this.#messages, this.#bytes, this.#wire];
    for (const { counts } of this.#places.values()) {
      messages += counts?.messages ?? 0;
      bytes += counts?.bytes ?? 0;
      wire = sumOf(wire, counts?.wire);
    }
    return {
      connections: this.#places.size,
      accepted: this.#accepted,
      messages,
      bytes,
      wire,
      deflated: this.#deflated,
      closes: [...this.#closes].map(([key, count]) => {
        const [code, initiator] = key.split(" ");
        return {
          code: Number(code),
          initiator: initiator === "server" || initiator === "peer" ? initiator : "none",
          count,
        };
      }),
      refusals: [...this.#refusals].map(([cause, count]) => ({ cause, count })),
      troubles: [...this.#troubles].map(([kind, count]) => ({ kind, count })),
    };
  }

  #count(id: number, counts: EchoCounts | undefined): void {
    const place = this.#places.get(id);
    if (place) place.counts = counts;
  }

  /** Tells of what is no beginning of a connection: if that throws, there is none to be closed for it. */
  #tell(event: Exclude<EchoEvent, EchoOpened>): void {
    try {
      this.#onEvent(event);
    } catch {
      // The server goes on as if it had been told.
    }
  }

  /** The number of a connection that may come in. */
  #takePlace(): number | undefined {
    if (this.#shared) return this.#shared.take();
    const { room, maxConnections = DEFAULT_MAX_CONNECTIONS } = this.#policy;
    const { size } = this.#places;
    return size < (room?.maxConnections(size) ?? maxConnections) ? this.#accepted + 1 : undefined;
  }

  /** Answers a plain request with a page or a refusal; `undefined` leaves it to the handshake. */
  #pageFor(request: Request | AskedRequest, place: Place): Response | Promise<Response> | Refusal | undefined {
    if (request.method !== "GET" && request.method !== "HEAD") return undefined;
    const { path } = place;
    // A probe names what it likes, as a rule an address.
    if (path === "/healthz") return health(this.#isDraining);
    const { routes = {} } = this.#policy;
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (route === undefined) return undefined;
    return this.#refusalOfHost(place) ?? (path === "/" ? undefined : this.#refusalOfStranger(request)) ??
      answerOf(route, request);
  }

  /** The host of an absolute target counts, and so does the field Host beside it (RFC 9112 section 3.2.2). */
  #refusalOfHost({ hosts }: Place): Refusal | undefined {
    return hosts.every((host) => this.#hosts.has(host)) ? undefined : FOREIGN_HOST;
  }

  #refusalOfStranger(request: RequestLike): Refusal | undefined {
    const { requireOrigin = false } = this.#policy;
    const origin = request.headers.get("origin");
    // A page that is asked for like any other has no Origin.
    if (origin === null && requireOrigin && asksForUpgrade(viewOf(request))) return NO_ORIGIN;
    if (origin !== null && !this.#origins.has(origin)) return FOREIGN_ORIGIN;
    return this.#hasToken && !this.#hasToken(request) ? NO_TOKEN : undefined;
  }
}

function sumOf(sum: WireTotals, more?: WireTotals): WireTotals {
  return more === undefined ? sum : { received: sum.received + more.received, sent: sum.sent + more.sent };
}

async function answerOf(route: Route, request: Request | AskedRequest): Promise<Response> {
  try {
    return await route(request instanceof Request ? request : request.toRequest());
  } catch (error) {
    const status = STATUS_CODE.InternalServerError;
    return new Response(`${messageOf(error)}\n`, { status, headers: PLAIN });
  }
}

const PLAIN = { "cache-control": "no-store", "content-type": "text/plain; charset=utf-8" };
const RETRY_AFTER = { "retry-after": `${RETRY_AFTER_SECONDS}` };
const DRAINING: Refusal = {
  cause: "draining",
  status: STATUS_CODE.ServiceUnavailable,
  text: "The server is shutting down.",
  fields: RETRY_AFTER,
};
const FULL: Refusal = {
  cause: "connections",
  status: STATUS_CODE.ServiceUnavailable,
  text: "The server has as many connections as it takes.",
  fields: RETRY_AFTER,
};
const FOREIGN_HOST: Refusal = {
  cause: "host",
  status: STATUS_CODE.MisdirectedRequest,
  text: "This server does not answer for that host: the option --allow-host names those that it does.",
};
const FOREIGN_ORIGIN: Refusal = {
  cause: "origin",
  status: STATUS_CODE.Forbidden,
  text: "Pages of this origin may not connect.",
};
const NO_ORIGIN: Refusal = {
  cause: "origin",
  status: STATUS_CODE.Forbidden,
  text: "The field Origin is missing, which is wanted here.",
};
const NO_TOKEN: Refusal = {
  cause: "token",
  status: STATUS_CODE.Unauthorized,
  text: "The token is missing or wrong.",
  fields: { "www-authenticate": 'Bearer realm="wsproof", Basic realm="wsproof", charset="UTF-8"' },
};

/** Tells a health probe whether new connections are welcome. */
function health(isDraining: boolean): Response {
  return isDraining
    ? new Response("draining\n", { status: STATUS_CODE.ServiceUnavailable, headers: { ...PLAIN, ...RETRY_AFTER } })
    : new Response("ok\n", { headers: PLAIN });
}

/**
 * Puts the address of a peer into words.
 *
 * @param addr The address.
 * @returns Host and port, an IPv6 address in brackets (RFC 3986 section 3.2.2), one of IPv4 that the system has mapped to IPv6
 * (RFC 4291 section 2.5.5.2) as that of IPv4; or the kind of the transport where it has none.
 *
 * @example
 * ```ts
 * import { describeAddr } from "./gatekeeper.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeAddr({ transport: "tcp", hostname: "127.0.0.1", port: 6455 }), "127.0.0.1:6455");
 * assertEquals(describeAddr({ transport: "tcp", hostname: "::1", port: 6455 }), "[::1]:6455");
 * assertEquals(describeAddr({ transport: "tcp", hostname: "::ffff:127.0.0.1", port: 6455 }), "127.0.0.1:6455");
 * ```
 */
export function describeAddr(addr: Deno.Addr): string {
  if (!("hostname" in addr)) return addr.transport;
  if (!addr.hostname.includes(":")) return `${addr.hostname}:${addr.port}`;
  const hostname = addr.hostname.replace(/^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i, "");
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${addr.port}`;
}
