/**
 * Answers to a wrong opening handshake, the same for both front doors and the lab.
 *
 * @module
 */

import { STATUS_CODE } from "@std/http/status";
import { Known } from "../net/known.ts";
import { plainResponse } from "../net/plain_response.ts";
import type { RequestLike } from "../net/request.ts";
import { isHost } from "../protocol/authority.ts";
import {
  offeredProtocols,
  type RequestProblem,
  type RequestView,
  selectProtocol,
  verifyRequest,
} from "../protocol/handshake_server.ts";
import type { RefusalCause } from "./policy.ts";
import { isTokenProtocol } from "./token.ts";

/** A refusal of a request: the cause, and the answer. */
export interface Refusal {
  /** The cause. */
  readonly cause: RefusalCause;
  /** The HTTP status of the answer. */
  readonly status: number;
  /** One sentence for the sender. */
  readonly text: string;
  /** Fields of the answer. */
  readonly fields?: Record<string, string>;
}

/** Fields of an answer that asks for the upgrade (RFC 9110 section 15.5.22, RFC 6455 section 4.4). */
export const UPGRADE = { upgrade: "websocket", connection: "Upgrade", "sec-websocket-version": "13" };

/** The answer to a request with an ambiguous host or path. */
export const NO_ROUTE: Refusal = {
  cause: "bad-handshake",
  status: STATUS_CODE.BadRequest,
  text: "The host or the path is not valid.",
};

/** Answers to a wrong opening handshake, by cause (RFC 6455 sections 4.2.2 and 4.4). */
const HANDSHAKE_ANSWERS: Readonly<Record<RequestProblem["cause"], Pick<Refusal, "status" | "fields">>> = {
  "method": { status: STATUS_CODE.MethodNotAllowed, fields: { allow: "GET" } },
  "plain-http": { status: STATUS_CODE.UpgradeRequired, fields: UPGRADE },
  "version": { status: STATUS_CODE.UpgradeRequired, fields: UPGRADE },
  "bad-handshake": { status: STATUS_CODE.BadRequest },
};

/**
 * Verifies an opening handshake.
 *
 * @param view The request, from {@linkcode viewOf}.
 * @returns The refusal, or `undefined` if the request can be upgraded.
 *
 * @example
 * ```ts
 * import { handshakeRefusal, viewOf } from "./handshake_refusal.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const request = new Request("http://127.0.0.1/", { method: "POST" });
 * assertEquals(handshakeRefusal(viewOf(request))?.cause, "method");
 * ```
 */
export function handshakeRefusal(view: RequestView): Refusal | undefined {
  const problem = verifyRequest(view);
  if (problem === undefined) return undefined;
  const { cause } = problem;
  const text = cause === "plain-http" ? "This is a WebSocket echo server: ask for the upgrade." : problem.text;
  return { cause, text, ...HANDSHAKE_ANSWERS[cause] };
}

/**
 * Adapts a request to the opening handshake. Fields are read with get() only: has() makes the runtime keep the list of
 * all fields, 2 KiB, as long as the connection.
 *
 * @param request The request.
 * @param version The version of HTTP, such as `1.1`, where it is known.
 * @returns The view.
 *
 * @example
 * ```ts
 * import { viewOf } from "./handshake_refusal.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(viewOf(new Request("http://127.0.0.1/", { headers: { upgrade: "h2c" } })).field("upgrade"), "h2c");
 * ```
 */
export function viewOf(request: RequestLike, version?: string): RequestView {
  return { method: request.method, version, field: (name) => request.headers.get(name) };
}

/** Answers a refused request in the form that its client accepts. */
export function answerTo(request: RequestLike, { status, text, fields }: Refusal): Response {
  return plainResponse(status, text, { accept: request.headers.get("accept"), fields });
}

/** A request's target. */
export interface Place {
  /** Hosts in its URL and in the field Host. */
  readonly hosts: readonly string[];
  /** The path. */
  readonly path: string;
  /** The query with its question mark; empty if there is none. */
  readonly search: string;
  /** Whether this is the peer's spelling. */
  readonly isAsWritten: boolean;
}

/**
 * Finds the target of a request: a path that does not depend on its field Host, and that all read alike. A URL takes a
 * backslash for a slash, and drops all after a number sign.
 *
 * @param request The request.
 * @param target The target as the peer wrote it, a path or an absolute URL.
 * @returns The target; `undefined` if it is ambiguous.
 */
export function placeOf(request: RequestLike, target: string): Place | undefined {
  const host = request.headers.get("host");
  if (host !== null && HOSTS.has(host)) {
    // Most targets need no URL, which takes as long as all the rest of a decision.
    const scheme = target.startsWith("/")
      ? undefined
      : SCHEMES.find((scheme) => target.startsWith(host, scheme.length) && target.startsWith(scheme));
    const local = scheme === undefined ? target : target.slice(scheme.length + host.length);
    if (PLAIN_TARGET.test(local)) {
      const query = local.indexOf("?");
      const end = query === -1 ? local.length : query;
      return { hosts: [host], path: local.slice(0, end), search: local.slice(end), isAsWritten: true };
    }
  }
  const asked = pathOf(target);
  if (!URL.canParse(request.url) || !HOSTS.has(host ?? "localhost") || /[\\#]/.test(asked)) return undefined;
  const url = new URL(request.url);
  const { pathname: path, search } = url;
  return { hosts: [url.host, host ?? url.host], path, search, isAsWritten: path === asked };
}

const HOSTS = new Known(isHost);
const SCHEMES = ["http://", "https://"];

/** A path and a query that a URL leaves unchanged: no segments of dots, no percent-encoding. */
const PLAIN_TARGET = /^(?:\/(?!\.)[\w~!$&()*+,;=:@.-]*)+(?:\?[\w~!$&()*+,;=:@./?-]+)?$/;

/** Path of a target as the peer wrote it, with a fragment that should not be there. */
function pathOf(target: string): string {
  return target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?#\\]*/i, "").replace(/\?.*$/s, "");
}

/**
 * Selects a subprotocol (RFC 6455 section 4.2.2).
 *
 * @param request The request.
 * @param protocols The server's subprotocols, best first; by default the client's first is selected.
 * @returns The subprotocol; empty if none fits. One with a token is never selected.
 *
 * @example
 * ```ts
 * import { subprotocolOf } from "./handshake_refusal.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const request = new Request("http://127.0.0.1/", { headers: { "sec-websocket-protocol": "chat, superchat" } });
 * assertEquals(subprotocolOf(request), "chat");
 * assertEquals(subprotocolOf(request, ["superchat", "chat"]), "superchat");
 * ```
 */
export function subprotocolOf(request: RequestLike, protocols?: readonly string[]): string {
  const offered = offeredProtocols(viewOf(request));
  return selectProtocol(
    offered.some(isTokenProtocol) ? offered.filter((name) => !isTokenProtocol(name)) : offered,
    protocols,
  );
}
