/**
 * The report of an exchange, as programs read it: the stages, the messages, and what was proven.
 *
 * @module
 */

import { describe, type Expectation } from "./diagnosis.ts";
import type { CloseFrame, CloseRecord } from "../protocol/close.ts";
import { formatBytes, type Message, type MessageKind } from "../protocol/message.ts";
import type { HandshakeRefusal, TransportName, WireTotals } from "../connection/connection.ts";
import type { Verdict } from "./verdict.ts";

/** The steps of an exchange, in their order. */
export type StageName = "connect" | "upgrade" | "send" | "receive" | "verify" | "close";

/** How a step went. */
export interface Stage {
  /** Which step. */
  readonly name: StageName;
  /** Whether it passed; `null` if it was not reached or not finished. */
  ok: boolean | null;
  /** How long it took, in milliseconds; `null` if it was not reached, or is part of the stage after it. */
  ms: number | null;
  /** What happened, in one line; empty if it was not reached. */
  detail: string;
}

/** A message as the report lists it. */
export interface MessageRecord {
  /** Text or binary. */
  readonly kind: MessageKind;
  /** The payload, in bytes. */
  readonly bytes: number;
  /** The SHA-256 of the payload in hexadecimal; `null` if it was not asked for. */
  readonly sha256: string | null;
  /** When it was handed over for sending, in milliseconds since the start. */
  readonly sentAt?: number;
  /** When it was received, in milliseconds since the start. */
  readonly receivedAt?: number;
}

/** How many messages went one way, and how many payload bytes they had. */
export interface Totals {
  /** The number of messages. */
  messages: number;
  /** The number of payload bytes. */
  bytes: number;
}

/** What an exchange proved. */
export interface ExchangeReport {
  /** The version of this form; within it fields are added, never changed. */
  readonly schema: "wsproof.exchange/1";
  /** The URL, without a password. */
  readonly url: string;
  /** Which transport was used. */
  readonly transport: TransportName;
  /**
   * The proxy on the way, without credentials; `null` if there is none; `"not-known"` if the runtime may have used one of the
   * environment, which this program may not read.
   */
  readonly proxy: string | null;
  /** The subprotocol that was selected, without a token that is part of it; empty if none. */
  readonly protocol: string;
  /** The extensions that were negotiated, as the server wrote them; empty if none, as always over the built-in WebSocket. */
  readonly extensions: string;
  /** Whether every stage passed. */
  readonly ok: boolean;
  /** What was proven, or the kind of failure. */
  readonly verdict: Verdict;
  /** The exit code of the verdict. */
  readonly exitCode: number;
  /** What went wrong, in one line; empty if nothing did. */
  readonly problem: string;
  /** The likely cause, or what to do about it; empty if none is plain. */
  readonly hint: string;
  /** All six stages, in their order. */
  readonly stages: readonly Stage[];
  /** The answer that is not a valid upgrade; `null` if there was none, or the transport hides it. */
  readonly refusal: HandshakeRefusal | null;
  /** The first 1000 messages in the order in which they went over the connection. */
  readonly messages: readonly MessageRecord[];
  /** How many messages are not listed. */
  readonly messagesOmitted: number;
  /** All that was sent. */
  readonly sent: Totals;
  /** All that was received. */
  readonly received: Totals;
  /** What the messages took on the wire, with the headers of their frames; `null` where that is not known. */
  readonly wire: WireTotals | null;
  /** How the connection ended; `null` if there was none. */
  readonly close: CloseRecord | null;
  /** How long all of it took, in milliseconds. */
  readonly ms: number;
}

/** Something that happened in an exchange, `atMs` milliseconds after its start. */
export type ExchangeEvent = { readonly atMs: number } & ExchangeEventKind;

/** What can happen in an exchange. */
export type ExchangeEventKind =
  | { readonly type: "connecting"; readonly url: string; readonly proxy?: string | null }
  | { readonly type: "connected" }
  | { readonly type: "upgraded"; readonly protocol: string; readonly extensions?: string }
  | { readonly type: "sent"; readonly message: Message; readonly total: Totals }
  /** With `windowBytes`, the message is good only until the next one is received. */
  | { readonly type: "received"; readonly message: Message; readonly total: Totals }
  | { readonly type: "closing"; readonly frame: CloseFrame }
  | { readonly type: "closed"; readonly record: CloseRecord }
  /** With what the runtime said in its own words, where that is more than the problem. */
  | { readonly type: "failed"; readonly stage: StageName; readonly problem: string; readonly detail?: string };

/** What a reply that is right proves, in words. */
export const VERIFIED_TEXT: Record<Expectation["type"], string> = {
  echo: "the same as sent",
  text: "as expected",
  match: "as the pattern wants",
  any: "where any will do",
  none: "none expected",
};

/** Puts what went one way into words; a single message is shown. */
export function totalsText({ messages, bytes }: Totals, only: Message | undefined): string {
  if (only !== undefined) return describe(only);
  return messages === 0
    ? "no message"
    : `${messages} ${messages === 1 ? "message" : "messages"}, ${formatBytes(bytes)}`;
}
