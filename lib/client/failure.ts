/**
 * The one map from errors to verdict, problem and hint, for exchanges and conversations.
 *
 * @module
 */

import { PayloadError, UsageError } from "./usage.ts";
import { describe, type Difference, differenceOf, type Expectation, hintForLength } from "./diagnosis.ts";
import { hintForOpening, type OpenAttempt, problemOfOpening } from "./opening.ts";
import {
  CLOSE_CODES,
  type CloseOutcome,
  type CloseRecord,
  describeCloseFrame,
  describeEnd,
  type ExpectedClose,
} from "../protocol/close.ts";
import { ProtocolError } from "../protocol/error.ts";
import type { Message } from "../protocol/message.ts";
import {
  ConnectionClosedError,
  type OpenError,
  type OpenOptions,
  type TransportName,
} from "../connection/connection.ts";
import { TimeoutError } from "../net/deadline.ts";
import { proxyNameFor } from "../net/proxy.ts";
import type { Failure } from "./verdict.ts";

/**
 * Describes a failed opening.
 *
 * @param error The cause.
 * @param url The URL.
 * @param options The options of the attempt.
 * @param transport The transport of the attempt.
 * @returns The failure, with a hint.
 *
 * @example
 * ```ts
 * import { openingFailure } from "./failure.ts";
 * import { OpenError } from "../connection/connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new OpenError("no-connection", "No connection", { reason: "plain-server" });
 * const { verdict, hint } = openingFailure(error, "wss://127.0.0.1:1/", {}, "wire");
 * assertEquals([verdict, hint], ["no-connection", "try ws:// instead of wss://"]);
 * ```
 */
export function openingFailure(error: OpenError, url: string, options: OpenOptions, transport: TransportName): Failure {
  const attempt: OpenAttempt = {
    transport,
    proxy: proxyNameFor(url, options, transport),
    isSecure: /^(wss|https):/i.test(url),
    url: URL.parse(url),
    origin: [...options.headers ?? []].find(([name]) => /^origin$/i.test(name))?.[1],
    isUnix: options.unixPath !== undefined,
    isProxyGiven: options.proxy !== undefined,
    hasAuthorities: options.caCerts !== undefined,
  };
  return {
    verdict: error.failure,
    problem: problemOfOpening(error, attempt),
    hint: hintForOpening(error, attempt),
  };
}

/**
 * Sorts an error that was thrown during the exchange of messages.
 *
 * @param error The thrown value.
 * @param transport The transport.
 * @param options Whether the run waits for replies; `true` by default.
 * @returns The failure; an unexpected error shows its class, message and place in one line.
 *
 * @example
 * ```ts
 * import { failureOf } from "./failure.ts";
 * import { TimeoutError } from "../net/deadline.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { verdict, problem } = failureOf(new TimeoutError("complete message", 1000), "wire");
 * assertEquals([verdict, problem], ["no-reply", "No complete message within 1 s"]);
 * ```
 */
export function failureOf(
  error: unknown,
  transport: TransportName,
  { awaitsReplies = true }: { readonly awaitsReplies?: boolean } = {},
): Failure {
  if (error instanceof ConnectionClosedError) {
    const code = error.record.received?.code;
    const hint = code === undefined ? "" : hintForCode(code, awaitsReplies);
    return { verdict: "connection-lost", problem: error.message, hint };
  }
  if (error instanceof TimeoutError) {
    const isReply = error.awaited === REPLY;
    return { verdict: "no-reply", problem: error.message, hint: isReply ? NO_REPLY_HINT : "" };
  }
  if (error instanceof ProtocolError) {
    const hint = error.code === "message-too-big"
      ? hintForLength(transport)
      : error.code === "length-too-large"
      ? "use --transport wire with --max-message to accept longer messages"
      : "";
    return { verdict: "wrong-reply", problem: error.message, hint };
  }
  if (error instanceof PayloadError || error instanceof UsageError) {
    return { verdict: "usage", problem: error.message, hint: "" };
  }
  const at = error instanceof Error ? /^\s+at .*$/m.exec(error.stack ?? "")?.[0].trim() : undefined;
  const problem = `${error}${at === undefined ? "" : `, ${at}`}`.replace(/\s+/g, " ");
  return { verdict: "internal-error", problem, hint: "" };
}

/** The name of the wait for a reply, as both inboxes use it. */
const REPLY = "complete message";

const NO_REPLY_HINT = "use --reply-none for a server that does not reply, --reply-timeout for a slow one";

function hintForCode(code: number, awaitsReplies: boolean): string {
  if (code === 1000) {
    return awaitsReplies ? "the server closed before all replies came: use --reply-none if it does not reply" : "";
  }
  if (code === 1009) return "the server accepts only shorter messages: send less, or use --split";
  return CLOSE_CODES.get(code)?.meaning ?? "";
}

/**
 * Describes a wrong reply.
 *
 * @param difference Its difference from the expected one.
 * @param cause The likely cause, if more is known than the difference shows.
 * @returns The failure.
 *
 * @example
 * ```ts
 * import { replyFailure } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { problem, hint } = replyFailure({ text: "binary, 3 bytes", cause: "the server changed the kind" });
 * assertEquals([problem, hint], ["Wrong reply: binary, 3 bytes", "the server changed the kind"]);
 * ```
 */
export function replyFailure({ text, cause: plain }: Difference, cause = ""): Failure {
  return { verdict: "wrong-reply", problem: `Wrong reply: ${text}`, hint: cause || plain };
}

/**
 * Describes an interrupt by the signal.
 *
 * @param when The interrupted activity, as in " while closing"; empty by default.
 * @returns The failure.
 *
 * @example
 * ```ts
 * import { interruption } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(interruption(" while closing").problem, "Interrupted while closing");
 * ```
 */
export function interruption(when = ""): Failure {
  return { verdict: "interrupted", problem: `Interrupted${when}`, hint: "" };
}

/**
 * Describes unsolicited messages.
 *
 * @param first The first of them.
 * @param count Their number.
 * @param expectation The expected replies.
 * @param previous The last message sent, if any.
 * @returns The failure: a wrong reply.
 *
 * @example
 * ```ts
 * import { surplusFailure } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { problem, hint } = surplusFailure("one", 1, { type: "echo" }, "one");
 * assertEquals(problem, 'A message came unasked: text, 3 bytes: "one"');
 * assertEquals(hint, "the reply came twice");
 * ```
 */
export function surplusFailure(
  first: Message,
  count: number,
  expectation: Expectation,
  previous: Message | undefined,
): Failure {
  const number = count === 1 ? "A message" : `${count} messages`;
  const problem = `${number} came unasked: ${describe(first)}`;
  const isTwin = expectation.type === "echo" && previous !== undefined &&
    differenceOf(expectation, previous, first) === undefined;
  return { verdict: "wrong-reply", problem, hint: isTwin ? "the reply came twice" : "" };
}

/**
 * Explains a wrong reply that the right one followed.
 *
 * @param received The number of messages received, with both of them.
 * @returns The cause, as a hint.
 *
 * @example
 * ```ts
 * import { lateReplyHint } from "./failure.ts";
 * import { assert } from "@std/assert";
 *
 * assert(lateReplyHint(2).endsWith("use --skip 1"));
 * ```
 */
export function lateReplyHint(received: number): string {
  return received === 2
    ? "an extra message came before the right one: if it is a greeting, use --skip 1"
    : "an extra message came before the right one";
}

/**
 * Describes a close that was not confirmed.
 *
 * @param outcome The cause.
 * @param record The end of the connection.
 * @param expected The expected close frame of the peer.
 * @returns The failure.
 *
 * @example
 * ```ts
 * import { closeFailure } from "./failure.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const received = { code: 1001, reason: "" };
 * const record = { sent: null, received, initiator: "peer", end: "close-frame", tcp: "peer", detail: "" } as const;
 * const { problem } = closeFailure("other-code", record, { code: 1000 });
 * assertEquals(problem, "Peer closed with 1001 (going away), instead of 1000 (normal closure)");
 * ```
 */
export function closeFailure(outcome: CloseOutcome, record: CloseRecord, expected: ExpectedClose): Failure {
  const isOther = outcome === "other-code" || outcome === "other-reason";
  const isEmpty = outcome === "other-code" && record.received?.code === 1005;
  const instead = isOther ? `, instead of ${describeCloseFrame({ reason: "", ...expected })}` : "";
  return {
    verdict: "close-not-confirmed",
    problem: `${describeEnd(record)}${instead}`,
    hint: outcome === "not-known" ? NOT_KNOWN_HINT : isEmpty ? EMPTY_HINT : "",
  };
}

const EMPTY_HINT = "an empty close frame is legal: use --expect-close none to accept it";

const NOT_KNOWN_HINT =
  "the built-in WebSocket cannot tell an empty or invalid close frame from a drop, so nothing is confirmed: --transport wire can";
