/**
 * The gatekeeper of both front doors: decides before an upgrade who gets in, and counts.
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

/** `Retry-After` of a temporary refusal, in seconds: 5. */
export const RETRY_AFTER_SECONDS = 5;

/** Longest path that is kept and logged, in characters: 1,024. */
export const MAX_PATH_CHARS = 1024;

/** Sides that begin a close. */
const INITIATORS = ["peer", "server", "none"] as const;

/** Close code of an end without a close frame (RFC 6455 section 7.4.1). */
const ABNORMAL = 1006;

/** Counts of a connection so far. */
export interface EchoCounts {
  /** Messages. */
  readonly messages: number;
  /** Payload bytes. */
  readonly bytes: number;
  /** Bytes of the frames, where they are known. */
  readonly wire?: WireTotals;
}

/** A request that is not a `Request` yet. */
export interface AskedRequest {
  /** The method. */
  readonly method: string;
  /** The URL in its normal form. */
  readonly url: string;
  /** The fields; names are in lower case. */
  readonly headers: { get(name: string): string | null };
  /** Makes a `Request`, for a page. */
  toRequest(): Request;
}

/** The decision on a request. */
export type Admission =
  /** An upgrade: the connection has a place until {@linkcode Gatekeeper.leave}. */
  | { readonly type: "admitted"; readonly opened: EchoOpened }
  /** A page or a refusal. */
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
   * Connections with a place, by number; without counts until they are open. A `Map` of the counts themselves would
   * keep those of past connections (see `Members`).
   */
  readonly #places = new Map<number, { counts: EchoCounts | undefined }>();
  readonly #refusals = new Map<RefusalCause, number>();
  readonly #troubles = new Map<TroubleKind, number>();
  /** Counts of the close codes, by the side that began. */
  readonly #closes = {
    peer: new Map<number, number>(),
    server: new Map<number, number>(),
    none: new Map<number, number>(),
  };
  #accepted = 0;
  #messages = 0;
  #bytes = 0;
  #wire: WireTotals = { received: 0, sent: 0 };
  #deflated = 0;
  #isDraining = false;

  /**
   * Begins without connections.
   *
   * @param policy The rules.
   * @param shared Places shared by several servers, instead of `maxConnections` and `room` of the policy.
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
   * Decides on a request. An upgrade is decided synchronously: a peer that leaves before the runtime's upgrade would
   * leak a descriptor.
   *
   * @param request The request.
   * @param addr The peer.
   * @param target The target as the peer wrote it, a path or an absolute URL. The default, the URL of the request, is
   * that only from the runtime's server: `new Request()` normalises it.
   * @param version The version of HTTP, such as `1.1`, where it is known.
   * @returns The decision.
   */
  admit(request: Request | AskedRequest, addr: Deno.Addr, target = request.url, version?: string): Admission {
    const place = placeOf(request, target);
    const path = place ? place.path + place.search : "";
    const peer = describeAddr(addr);
    const shownPath = path.length > MAX_PATH_CHARS ? path.slice(0, MAX_PATH_CHARS) : path;
    const view = viewOf(request, version);
    // A proxy that guards a page compares the path as sent, so no other spelling finds the page.
    const page = place?.isAsWritten && !asksForUpgrade(view) ? this.#pageFor(request, place) : undefined;
    if (page !== undefined && !("cause" in page)) return { type: "answered", response: page };
    const refusal = page ?? (place && this.#refusalOfHost(place)) ??
      (this.#isDraining ? DRAINING : place === undefined ? NO_ROUTE : handshakeRefusal(view)) ??
      this.#refusalOfStranger(request);
    const id = refusal ? undefined : this.#takePlace();
    if (id === undefined) {
      const { status, cause, text } = refusal ?? FULL;
      this.refused({ peer, path: shownPath, status, cause, reason: text });
      return { type: "answered", response: answerTo(request, refusal ?? FULL) };
    }
    this.#accepted++;
    this.#places.set(id, { counts: undefined });
    const protocol = subprotocolOf(request, this.#policy.protocols);
    return { type: "admitted", opened: { type: "opened", id, peer, path: shownPath, protocol } };
  }

  /**
   * A connection is open. A throw of `onEvent` passes on here; for other events it is caught.
   *
   * @param opened The event from {@linkcode admit}.
   * @param counts Its counts, at any time.
   */
  opened(opened: EchoOpened, counts: EchoCounts): void {
    this.#count(opened.id, counts);
    if (opened.extensions !== undefined) this.#deflated++;
    this.#onEvent(opened);
  }

  /**
   * A connection has ended.
   *
   * @param closed The end.
   */
  closed(closed: EchoClosed): void {
    this.#messages += closed.messages;
    this.#bytes += closed.bytes;
    this.#wire = sumOf(this.#wire, closed.wire);
    this.#count(closed.id, undefined);
    const { initiator } = closed;
    const code = firstCloseFrameOf(closed)?.code ?? ABNORMAL;
    const counts = this.#closes[initiator === null ? "none" : initiator === "peer" ? "peer" : "server"];
    counts.set(code, (counts.get(code) ?? 0) + 1);
    this.#tell(closed);
  }

  /**
   * A connection is freed: its place too.
   *
   * @param id Its number.
   */
  leave(id: number): void {
    if (this.#places.delete(id)) this.#shared?.leave();
  }

  /**
   * A request was refused.
   *
   * @param refused The event.
   */
  refused(refused: Omit<EchoRefused, "type">): void {
    this.#refusals.set(refused.cause, (this.#refusals.get(refused.cause) ?? 0) + 1);
    this.#tell({ type: "refused", ...refused });
  }

  /**
   * An admitted peer left before its upgrade was through: its place is free.
   *
   * @param opened The event from {@linkcode admit}.
   */
  gone({ id, peer, path }: EchoOpened): void {
    this.leave(id);
    this.refused({ peer, path, status: 0, cause: "gone", reason: "The peer left before its upgrade was complete." });
  }

  /**
   * Counts and reports trouble that is no connection's fault.
   *
   * @param kind The kind.
   * @param error The runtime's message.
   */
  troubled(kind: TroubleKind, error: string): void {
    this.#troubles.set(kind, (this.#troubles.get(kind) ?? 0) + 1);
    this.#tell({ type: "trouble", kind, error });
  }

  /** Refuses all from now on. */
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
      closes: INITIATORS.flatMap((initiator) =>
        Array.from(this.#closes[initiator], ([code, count]) => ({ code, initiator, count }))
      ),
      refusals: [...this.#refusals].map(([cause, count]) => ({ cause, count })),
      troubles: [...this.#troubles].map(([kind, count]) => ({ kind, count })),
    };
  }

  #count(id: number, counts: EchoCounts | undefined): void {
    const place = this.#places.get(id);
    if (place) place.counts = counts;
  }

  /** Reports an event other than `opened`: a throw has no connection to close. */
  #tell(event: Exclude<EchoEvent, EchoOpened>): void {
    try {
      this.#onEvent(event);
    } catch {
      // The server goes on regardless.
    }
  }

  /** Number of a new connection, if one fits. */
  #takePlace(): number | undefined {
    if (this.#shared) return this.#shared.take();
    const { room, maxConnections = DEFAULT_MAX_CONNECTIONS } = this.#policy;
    const { size } = this.#places;
    return size < (room?.maxConnections(size) ?? maxConnections) ? this.#accepted + 1 : undefined;
  }

  /** Answers a plain request with a page or a refusal; `undefined` means a handshake. */
  #pageFor(request: Request | AskedRequest, place: Place): Response | Promise<Response> | Refusal | undefined {
    if (request.method !== "GET" && request.method !== "HEAD") return undefined;
    const { path } = place;
    // A probe names any host, usually an address.
    if (path === "/healthz") return health(this.#isDraining);
    const { routes = {} } = this.#policy;
    const route = Object.hasOwn(routes, path) ? routes[path] : undefined;
    if (route === undefined) return undefined;
    return this.#refusalOfHost(place) ?? (path === "/" ? undefined : this.#refusalOfStranger(request)) ??
      answerOf(route, request);
  }

  /** The host of an absolute target counts, and the field Host beside it too (RFC 9112 section 3.2.2). */
  #refusalOfHost({ hosts }: Place): Refusal | undefined {
    return hosts.every((host) => this.#hosts.has(host)) ? undefined : FOREIGN_HOST;
  }

  #refusalOfStranger(request: RequestLike): Refusal | undefined {
    const { requireOrigin = false } = this.#policy;
    const origin = request.headers.get("origin");
    // A browser sends no Origin when it just opens a page.
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
  text: "The server has reached its limit of connections.",
  fields: RETRY_AFTER,
};
const FOREIGN_HOST: Refusal = {
  cause: "host",
  status: STATUS_CODE.MisdirectedRequest,
  text: "This server does not answer for that host: --allow-host names those that it answers for.",
};
const FOREIGN_ORIGIN: Refusal = {
  cause: "origin",
  status: STATUS_CODE.Forbidden,
  text: "Pages of this origin may not connect.",
};
const NO_ORIGIN: Refusal = {
  cause: "origin",
  status: STATUS_CODE.Forbidden,
  text: "The field Origin is missing, and this server requires it.",
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
 * Formats the address of a peer.
 *
 * @param addr The address.
 * @returns Host and port, an IPv6 address in brackets (RFC 3986 section 3.2.2), an IPv4-mapped IPv6 one (RFC 4291
 * section 2.5.5.2) as IPv4; or the kind of the transport where there is none.
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
