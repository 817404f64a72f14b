/**
 * The report of an exchange for programs: stages, messages, verdict.
 *
 * @module
 */

import { describe, type Expectation } from "./diagnosis.ts";
import type { CloseFrame, CloseRecord } from "../protocol/close.ts";
import type { DeflateParameters } from "../protocol/deflate.ts";
import { counted, formatBytes, type Message, type MessageKind, withoutToken } from "../protocol/message.ts";
import type { Connection, HandshakeRefusal, TransportName, WireTotals } from "../connection/connection.ts";
import type { Verdict } from "./verdict.ts";

/** The stages of an exchange, in order. */
export type StageName = "connect" | "upgrade" | "send" | "receive" | "verify" | "close";

/** The outcome of a stage. */
export interface Stage {
  /** The stage. */
  readonly name: StageName;
  /** Whether the stage passed; `null` if it was not reached or not finished. */
  ok: boolean | null;
  /** Its duration, in milliseconds; `null` if it was not reached, or is part of the next stage. */
  ms: number | null;
  /** The details in one line; empty if it was not reached. */
  detail: string;
}

/** A message in the report. */
export interface MessageRecord {
  /** Text or binary. */
  readonly kind: MessageKind;
  /** Payload length, in bytes. */
  readonly bytes: number;
  /** The SHA-256 of the payload in hexadecimal; `null` without the option `digest`. */
  readonly sha256: string | null;
  /** Time of queueing, in milliseconds since the start. */
  readonly sentAt?: number;
  /** Time of arrival, in milliseconds since the start. */
  readonly receivedAt?: number;
}

/** The messages and payload bytes of one direction. */
export interface Totals {
  /** The number of messages. */
  messages: number;
  /** The number of payload bytes. */
  bytes: number;
}

/** The report of an exchange. */
export interface ExchangeReport {
  /** The version of this schema, which gets new fields but never changes one. */
  readonly schema: "wsproof.exchange/1";
  /** The URL, without a password. */
  readonly url: string;
  /** The transport. */
  readonly transport: TransportName;
  /**
   * The proxy, without credentials; `null` without one; `"not-known"` if the runtime may have used one of the
   * environment, which this program has no permission to read.
   */
  readonly proxy: string | null;
  /** The selected subprotocol, without a token in it; empty if none. */
  readonly protocol: string;
  /** The negotiated extensions, as the server wrote them; empty if none, as always over the built-in WebSocket. */
  readonly extensions: string;
  /** Whether every stage passed. */
  readonly ok: boolean;
  /** The verdict. */
  readonly verdict: Verdict;
  /** The exit code of the verdict. */
  readonly exitCode: number;
  /** The problem in one line; empty if there is none. */
  readonly problem: string;
  /** The likely cause or a remedy; empty if none is plain. */
  readonly hint: string;
  /** All six stages, in order. */
  readonly stages: readonly Stage[];
  /** The answer without a valid upgrade; `null` if there was none, or the transport hides it. */
  readonly refusal: HandshakeRefusal | null;
  /** The first 1000 messages, in the order of the wire. */
  readonly messages: readonly MessageRecord[];
  /** The number of unlisted messages. */
  readonly messagesOmitted: number;
  /** Totals sent. */
  readonly sent: Totals;
  /** Totals received. */
  readonly received: Totals;
  /** Bytes of the messages on the wire, with frame headers; `null` if not known. */
  readonly wire: WireTotals | null;
  /** The close record; `null` without a connection. */
  readonly close: CloseRecord | null;
  /** The whole duration, in milliseconds. */
  readonly ms: number;
}

/** An event of an exchange, `atMs` milliseconds after its start. */
export type ExchangeEvent = { readonly atMs: number } & ExchangeEventKind;

/** The kinds of event. */
export type ExchangeEventKind =
  | { readonly type: "connecting"; readonly url: string; readonly proxy?: string | null }
  | { readonly type: "connected" }
  | { readonly type: "upgraded"; readonly protocol: string; readonly extensions?: string }
  | { readonly type: "sent"; readonly message: Message; readonly total: Totals }
  /** With `windowBytes`, the message is valid only until the next one is received. */
  | { readonly type: "received"; readonly message: Message; readonly total: Totals }
  | { readonly type: "closing"; readonly frame: CloseFrame }
  | { readonly type: "closed"; readonly record: CloseRecord }
  /** With the runtime's error text, if it says more than the problem. */
  | { readonly type: "failed"; readonly stage: StageName; readonly problem: string; readonly detail?: string };

/** The proof of a right reply, in words. */
export const VERIFIED_TEXT: Record<Expectation["type"], string> = {
  echo: "the same as sent",
  text: "as expected",
  match: "matching the pattern",
  any: "not compared",
  none: "none expected",
};

/** Describes what was proved of the replies, at their speed where one is given. */
export function claimText(sent: number, proof: string, speed = ""): string {
  if (sent === 0) return "nothing sent";
  if (proof === VERIFIED_TEXT.none) return "sent, no reply expected";
  return `${sent === 1 ? "reply" : `${sent} replies`} ${proof}${speed}`;
}

/** Describes what the opening handshake agreed on besides the upgrade: subprotocol and extensions. */
export function agreementText(
  { protocol, extensions }: Pick<Connection, "protocol" | "extensions">,
  offer: DeflateParameters | undefined,
): string {
  const subprotocol = protocol === "" ? "" : `, subprotocol ${withoutToken(protocol)}`;
  const declined = offer ? ", permessage-deflate declined" : "";
  return `${subprotocol}${extensions ? `, ${extensions}` : declined}`;
}

/** Describes the totals of one direction; a single message is shown. */
export function totalsText({ messages, bytes }: Totals, only: Message | undefined): string {
  if (only !== undefined) return describe(only);
  return messages === 0 ? "no message" : `${counted(messages, "message")}, ${formatBytes(bytes)}`;
}
