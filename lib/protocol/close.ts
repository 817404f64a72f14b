/**
 * The end of a connection: close codes, the close payload, and whether the close was confirmed (RFC 6455 section 7).
 *
 * @module
 */

import type { IncompleteMessage } from "./assembler.ts";
import { ProtocolError } from "./error.ts";
import { byteLengthOf, counted, quote } from "./message.ts";
import { decodeUtf8 } from "./utf8.ts";

/** The longest close reason in bytes of UTF-8: a control frame holds 125, the code takes 2 (RFC 6455 section 5.5). */
export const MAX_CLOSE_REASON_BYTES = 123;

/** The meaning of a close code. */
export interface CloseCodeInfo {
  /** Its name, as the definition has it. */
  readonly name: string;
  /** Its use, in one sentence. */
  readonly meaning: string;
  /** Its RFC section or registry. */
  readonly source: string;
}

const SECTION = "RFC 6455 section 7.4.1";
const REGISTRY = "IANA WebSocket Close Code Number Registry";

/** Every close code with a name of its own, from RFC 6455 and the IANA registry. */
export const CLOSE_CODES: ReadonlyMap<number, CloseCodeInfo> = new Map<number, CloseCodeInfo>([
  [1000, { name: "normal closure", meaning: "The purpose of the connection is fulfilled.", source: SECTION }],
  [1001, {
    name: "going away",
    meaning: "The server is shutting down, or the browser left the page.",
    source: SECTION,
  }],
  [1002, { name: "protocol error", meaning: "The other side broke the WebSocket protocol.", source: SECTION }],
  [1003, {
    name: "unsupported data",
    meaning: "The other side does not accept this kind of message.",
    source: SECTION,
  }],
  [1004, { name: "reserved", meaning: "No meaning is defined; it is never sent.", source: SECTION }],
  [1005, {
    name: "no status received",
    meaning: "The close frame was empty; the code itself is never sent.",
    source: SECTION,
  }],
  [1006, {
    name: "abnormal closure",
    meaning: "The connection ended without a close frame; never sent.",
    source: SECTION,
  }],
  [1007, {
    name: "invalid payload data",
    meaning: "A message did not fit its kind, such as text that is not UTF-8.",
    source: SECTION,
  }],
  [1008, { name: "policy violation", meaning: "A message broke a rule of the other side.", source: SECTION }],
  [1009, { name: "message too big", meaning: "A message is longer than the other side accepts.", source: SECTION }],
  [1010, {
    name: "mandatory extension",
    meaning: "The client needs an extension that the server did not select.",
    source: SECTION,
  }],
  [1011, { name: "internal error", meaning: "The server met an unexpected condition.", source: SECTION }],
  [1012, { name: "service restart", meaning: "The service restarts; reconnect after a while.", source: REGISTRY }],
  [1013, { name: "try again later", meaning: "The service is overloaded; reconnect later.", source: REGISTRY }],
  [1014, {
    name: "bad gateway",
    meaning: "A gateway got an invalid answer from the server behind it.",
    source: REGISTRY,
  }],
  [1015, { name: "TLS handshake", meaning: "The TLS handshake failed; never sent.", source: SECTION }],
  [3000, { name: "unauthorized", meaning: "The endpoint needs authorization.", source: REGISTRY }],
  [3003, { name: "forbidden", meaning: "The client may not use the endpoint.", source: REGISTRY }],
  [3008, { name: "timeout", meaning: "The other side took too long.", source: REGISTRY }],
]);

/**
 * Tells whether a close code may stand in a close frame: 1000 to 1003, 1007 to 1014 and 3000 to 4999
 * (RFC 6455 section 7.4).
 *
 * @param code The close code.
 * @returns Whether it may be sent.
 *
 * @example
 * ```ts
 * import { isSendableCloseCode } from "./close.ts";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assert(isSendableCloseCode(1000));
 * assertFalse(isSendableCloseCode(1006));
 * ```
 */
export function isSendableCloseCode(code: number): boolean {
  if (!Number.isInteger(code)) return false;
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/**
 * Describes a close code.
 *
 * @param code The close code.
 * @returns The code with its name, or with the range that it belongs to.
 *
 * @example
 * ```ts
 * import { describeCloseCode } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeCloseCode(1000), "1000 (normal closure)");
 * assertEquals(describeCloseCode(4321), "4321 (private use)");
 * ```
 */
export function describeCloseCode(code: number): string {
  return `${code} (${CLOSE_CODES.get(code)?.name ?? rangeOf(code)})`;
}

function rangeOf(code: number): string {
  if (code >= 4000 && code <= 4999) return "private use";
  if (code >= 3000 && code <= 3999) return "registered use";
  if (code >= 1000 && code <= 2999) return "reserved for the protocol";
  return "not a close code";
}

/** The content of a close frame. */
export interface CloseFrame {
  /** The close code; 1005 stands for a frame without one (RFC 6455 section 7.1.5). */
  readonly code: number;
  /** The reason; empty if there is none. */
  readonly reason: string;
}

/**
 * Writes the payload of a close frame (RFC 6455 section 5.5.1).
 *
 * @param code The close code; 1005 makes the empty payload.
 * @param reason The reason, at most 123 bytes of UTF-8.
 * @returns The payload, at most 125 bytes.
 * @throws {RangeError} If the code must not be sent, or the reason is too long, or there is a reason and no code.
 *
 * @example
 * ```ts
 * import { encodeClosePayload } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(encodeClosePayload(1000, "ok"), Uint8Array.of(0x03, 0xe8, 0x6f, 0x6b));
 * ```
 */
export function encodeClosePayload(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  if (code === 1005 && reason === "") return new Uint8Array(0);
  assertSendableClose(code, reason);
  const text = new TextEncoder().encode(reason);
  const payload = new Uint8Array(2 + text.byteLength);
  new DataView(payload.buffer).setUint16(0, code);
  payload.set(text, 2);
  return payload;
}

/**
 * Checks that a close code and reason may be sent.
 *
 * @param code The close code.
 * @param reason The reason.
 * @throws {RangeError} If the code must not be on the wire (RFC 6455 section 7.4) or the reason is over 123 bytes.
 *
 * @example
 * ```ts
 * import { assertSendableClose } from "./close.ts";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => assertSendableClose(1006, ""), RangeError);
 * ```
 */
export function assertSendableClose(code: number, reason: string): void {
  if (!isSendableCloseCode(code)) {
    throw new RangeError(`Cannot close with code ${code}: use 1000-1003, 1007-1014 or 3000-4999`);
  }
  const bytes = byteLengthOf(reason);
  if (bytes > MAX_CLOSE_REASON_BYTES) {
    throw new RangeError(
      `Cannot close with a reason of ${bytes} bytes: at most ${MAX_CLOSE_REASON_BYTES} bytes of UTF-8 fit`,
    );
  }
}

/**
 * Reads the payload of a close frame (RFC 6455 section 5.5.1).
 *
 * @param payload The payload.
 * @returns The code and reason; code 1005 if the payload is empty.
 * @throws {ProtocolError} `invalid-close-payload` for one byte, `invalid-close-code` for a code that must not be on the
 * wire, `invalid-utf8` for a reason that is not UTF-8.
 *
 * @example
 * ```ts
 * import { parseClosePayload } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseClosePayload(Uint8Array.of(0x03, 0xe8, 0x6f, 0x6b)), { code: 1000, reason: "ok" });
 * assertEquals(parseClosePayload(new Uint8Array(0)), { code: 1005, reason: "" });
 * ```
 */
export function parseClosePayload(payload: Uint8Array): CloseFrame {
  if (payload.byteLength === 0) return { code: 1005, reason: "" };
  if (payload.byteLength === 1) {
    throw new ProtocolError("invalid-close-payload", "Close frame has a payload of one byte");
  }
  const code = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
  if (!isSendableCloseCode(code)) {
    throw new ProtocolError("invalid-close-code", `Close frame has the code ${code}, which must not be sent`);
  }
  // Most have no reason, and a decoder takes longer than all the rest.
  if (payload.byteLength === 2) return { code, reason: "" };
  const reason = decodeUtf8(payload.subarray(2));
  if (reason === undefined) throw new ProtocolError("invalid-utf8", "Close reason is not UTF-8");
  return { code, reason };
}

/** The end of a connection, as far as it is known. */
export type CloseEnd =
  /** The peer's close frame arrived. */
  | "close-frame"
  /** The connection ended without a close frame from the peer (1006, RFC 6455 section 7.1.5). */
  | "no-close-frame"
  /** The peer had not answered our close frame when the deadline passed. */
  | "no-answer"
  /** The peer broke the protocol, and the connection was failed. */
  | "protocol-error"
  /** The transport cannot tell an empty or invalid close frame from a dropped connection. */
  | "not-known";

/** The end of the TCP connection. */
export type TcpEnd =
  /** The peer ended it. */
  | "peer"
  /** We ended it: the peer did not in time, or we failed the connection. */
  | "local"
  /** It broke: a reset, or another error of the network. */
  | "reset"
  /** The transport cannot tell. */
  | "not-known";

/** Both halves of the end of a connection. */
export interface CloseRecord {
  /** Our close frame; `null` if none went out or it is not known. */
  readonly sent: CloseFrame | null;
  /** The peer's close frame; `null` if none arrived or it is not known. */
  readonly received: CloseFrame | null;
  /** The side that closed first; `null` if neither did, `"not-known"` if the transport cannot tell. */
  readonly initiator: "local" | "peer" | "not-known" | null;
  /** The end of the connection. */
  readonly end: CloseEnd;
  /** The end of the TCP connection below it. */
  readonly tcp: TcpEnd;
  /** The transport's error text; empty if it gave none. */
  readonly detail: string;
  /** The peer's message that stayed incomplete; `null` if none was lost, `"not-known"` if the transport cannot tell. */
  readonly incomplete?: IncompleteMessage | "not-known" | null;
}

/**
 * Finds the close frame that began the closing handshake (RFC 6455 section 7.1.2).
 *
 * @param record The end of the connection.
 * @returns The frame of the side that began, ours if that is not known; `null` if neither did.
 *
 * @example
 * ```ts
 * import { firstCloseFrameOf } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const [sent, received] = [{ code: 1000, reason: "" }, { code: 1000, reason: "bye" }];
 * const record = { sent, received, initiator: "peer", end: "close-frame", tcp: "local", detail: "" } as const;
 * assertEquals(firstCloseFrameOf(record), received);
 * ```
 */
export function firstCloseFrameOf({ sent, received, initiator }: CloseRecord): CloseFrame | null {
  return initiator === "peer" ? received : sent;
}

/** The expected close frame of the peer. */
export interface ExpectedClose {
  /** The close code. */
  readonly code: number;
  /** The reason; any reason passes if it is left out. */
  readonly reason?: string;
}

/** Whether the close was confirmed, or the cause. */
export type CloseOutcome =
  | "confirmed"
  | "other-code"
  | "other-reason"
  | "no-close-frame"
  | "no-answer"
  | "protocol-error"
  | "not-known";

/**
 * Compares the end of a connection with the expected close frame (RFC 6455 section 7.1.4: a close is clean if both
 * sides exchanged close frames before the connection ended).
 *
 * @param record The end of the connection.
 * @param expected The expected close frame of the peer.
 * @returns `"confirmed"` if the peer's own close frame arrived and agrees; else why not.
 *
 * @example
 * ```ts
 * import { verifyClose } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const sent = { code: 1000, reason: "" };
 * const record = { sent, received: sent, initiator: "local", end: "close-frame", tcp: "peer", detail: "" } as const;
 * assertEquals(verifyClose(record, { code: 1000 }), "confirmed");
 * assertEquals(verifyClose(record, { code: 1001 }), "other-code");
 * ```
 */
export function verifyClose(record: CloseRecord, expected: ExpectedClose): CloseOutcome {
  if (record.end !== "close-frame") return record.end;
  if (record.received?.code !== expected.code) return "other-code";
  if (expected.reason !== undefined && record.received.reason !== expected.reason) return "other-reason";
  return "confirmed";
}

/**
 * Describes what the peer did at the end of a connection.
 *
 * @param record The end of the connection.
 * @returns One clause, without a full stop.
 *
 * @example
 * ```ts
 * import { describeEnd } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const received = { code: 1001, reason: "bye" };
 * const record = { sent: null, received, initiator: "peer", end: "close-frame", tcp: "peer", detail: "" } as const;
 * assertEquals(describeEnd(record), 'Peer closed with 1001 (going away), reason "bye"');
 * ```
 */
export function describeEnd(record: CloseRecord): string {
  return `${describeCause(record)}${describeIncomplete(record)}`;
}

function describeIncomplete({ incomplete }: CloseRecord): string {
  if (typeof incomplete !== "object" || incomplete === null) return "";
  const { kind, bytes } = incomplete;
  return `, inside a ${kind} message after ${counted(bytes, "byte")}`;
}

function describeCause(record: CloseRecord): string {
  const detail = record.detail === "" ? "" : ` (${record.detail})`;
  switch (record.end) {
    case "close-frame":
      return `Peer closed with ${describeCloseFrame(record.received ?? { code: 1005, reason: "" })}`;
    case "no-close-frame":
      return `Connection ended without a close frame${detail}`;
    case "no-answer":
      return `Peer did not answer the close frame in time${detail}`;
    case "protocol-error":
      return `Peer broke the protocol${detail}`;
    case "not-known":
      return `Connection ended with an empty or invalid close frame, or with none${detail}`;
  }
}

/**
 * Describes a confirmed close: the peer's close frame, and whether it answered ours.
 *
 * @param record The end of the connection, with a close frame of the peer.
 * @param asked The close frame that the caller asked to send.
 * @returns One clause, without a full stop.
 *
 * @example
 * ```ts
 * import { describeConfirmation } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const asked = { code: 1000, reason: "" };
 * const record = { sent: asked, received: asked, initiator: "local", end: "close-frame", tcp: "peer", detail: "" } as const;
 * assertEquals(describeConfirmation(record, asked), "1000 (normal closure), confirmed by the peer");
 * ```
 */
export function describeConfirmation(record: CloseRecord, asked: CloseFrame): string {
  const { initiator, received } = record;
  const frame = describeCloseFrame(received ?? asked);
  const lost = describeIncomplete(record);
  if (initiator === "peer") return `${frame}, begun by the peer${lost}`;
  // With another code, the frame is an answer or a close that the peer began at the same time.
  const isAnswer = initiator !== "not-known" || received?.code === asked.code;
  return `${frame}, ${isAnswer ? "confirmed" : "sent"} by the peer${lost}`;
}

/**
 * Describes a close frame.
 *
 * @param frame The close frame.
 * @returns The code with its name, and the reason in quotes if there is one.
 *
 * @example
 * ```ts
 * import { describeCloseFrame } from "./close.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(describeCloseFrame({ code: 1000, reason: "" }), "1000 (normal closure)");
 * assertEquals(describeCloseFrame({ code: 4000, reason: "bye" }), '4000 (private use), reason "bye"');
 * ```
 */
export function describeCloseFrame(frame: CloseFrame): string {
  const reason = frame.reason === "" ? "" : `, reason ${quote(frame.reason)}`;
  return `${describeCloseCode(frame.code)}${reason}`;
}
