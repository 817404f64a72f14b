/**
 * A conformance case as data: the sentence of an RFC, the frames to send, and the replies that may come back.
 *
 * @module
 */

import type { Seen } from "../peer/player.ts";
import type { ScriptFrame, Step } from "../peer/script.ts";
import type { HttpHead } from "../protocol/http_lines.ts";
import type { MessageKind } from "../protocol/message.ts";

/** Level of the sentence: a MUST, a SHOULD, or for information only. */
export type Level = "must" | "should" | "info";

/** Abilities that a case needs of the peer: echo, permessage-deflate, text or binary messages. */
export type Need = "echo" | "deflate" | "text" | "binary";

/** The groups of cases. */
export const GROUPS = [
  "handshake",
  "framing",
  "control",
  "fragments",
  "utf8",
  "close",
  "sizes",
  "deflate",
  "idle",
  "stress",
] as const;

/** The name of a group. */
export type Group = typeof GROUPS[number];

/** Profiles, from small to large; each contains the one before. */
export const PROFILES = ["quick", "standard", "full"] as const;

/** The name of a profile. */
export type Profile = typeof PROFILES[number];

/** The beginning of the reason for a message that answers nothing. */
export const EXTRA_MESSAGE = "sent an extra message";

/**
 * Grades, from good to bad. `not-strict`: the peer kept the rule, but not as recommended. `unclean`: the peer kept the
 * rule, but ended the connection wrongly.
 */
export const GRADES = ["pass", "skipped", "not-strict", "unclean", "fail"] as const;

/** The name of a grade. */
export type Grade = typeof GRADES[number];

/** A grade with its reason. */
export interface Judgement {
  /** The grade. */
  readonly grade: Grade;
  /** The reason in one line; empty for a plain pass. */
  readonly reason: string;
}

/** A required reply: an echoed message, or a pong. */
export interface Reply {
  /** Kind of message, or a pong. */
  readonly kind: MessageKind | "pong";
  /** Bytes of the message or the pong. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Required end of the connection. */
export type Ending =
  /** A closing handshake. We begin, with 1000 unless a step has sent a close frame; the answer has one of the codes. */
  | { readonly type: "close"; readonly codes: readonly number[] }
  /** The peer fails the connection, with a close frame of one of the codes or the end of TCP. */
  | {
    readonly type: "failure";
    readonly codes: readonly number[];
    /** First step that breaks the rule; the peer must not fail earlier. */
    readonly fromStep?: number;
    /** Last step in which a strict peer fails. */
    readonly byStep?: number;
    /** Whether a close frame is required. */
    readonly needsFrame?: boolean;
  }
  /** Any end. */
  | { readonly type: "any" };

/** Changes to the usual opening request. */
export interface RequestEdit {
  /** The method; GET by default. */
  readonly method?: string;
  /** The HTTP version; 1.1 by default. */
  readonly version?: string;
  /** Field values, one line each, that replace those of the same name; an empty list drops the field. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /** Size of each write in bytes; by default one write. */
  readonly chopBytes?: number;
  /** Pause after each write in milliseconds; 0 by default. */
  readonly pauseMs?: number;
  /** Frames right after the request, in the same write. */
  readonly behind?: readonly ScriptFrame[];
}

/** The opening handshake of a case, and the required answer. */
export interface Handshake {
  /** Changes to the usual request. */
  readonly request: RequestEdit;
  /** Required kind of answer. */
  readonly answer: "upgrade" | "refusal" | "any";
  /** Finds a fault of the answer besides its kind; `undefined` without one. */
  readonly problemOf?: (answer: HandshakeAnswer) => string | undefined;
}

/** The answer to the opening handshake. */
export interface HandshakeAnswer {
  /** The status; 0 without an answer. */
  readonly status: number;
  /** The head; without fields if no head came. */
  readonly head: HttpHead;
  /** Accept key for the request's key. */
  readonly acceptKey: string;
  /** Why the status is 0, unless the connection just ended. */
  readonly problem?: string;
}

/**
 * Explains a missing answer to the opening handshake.
 *
 * @param answer An answer of status 0.
 * @returns One line.
 */
export function noAnswer({ problem }: Pick<HandshakeAnswer, "problem">): string {
  return problem ?? "Server ended TCP without an HTTP answer";
}

/** Steps of a case, and the replies and the end that they require. */
export interface Plan {
  /** The opening handshake, if other than usual. */
  readonly handshake?: Handshake;
  /** Steps after the opening handshake. */
  readonly steps: readonly Step[];
  /** Required replies, in order. */
  readonly replies: readonly Reply[];
  /** Required end of the connection. */
  readonly end: Ending;
  /** Whether a wrong or missing close code fails the case; otherwise the end is unclean. */
  readonly isAboutClose?: boolean;
  /** Whether the peer may refuse the message as too big (RFC 6455 section 10.4). */
  readonly mayRefuse?: boolean;
  /** Judges what the other fields leave open; `undefined` without a finding. */
  readonly judge?: (seen: Seen) => Judgement | undefined;
  /** Inflation of replies, where permessage-deflate was offered. */
  readonly deflate?: DeflateReading;
  /** Why the case makes no sense after this answer; `undefined` if it does. */
  readonly skipReason?: (answer: HandshakeAnswer) => string | undefined;
}

/** Settings for inflating the peer's messages. */
export interface DeflateReading {
  /** Whether each message needs a fresh context; `false` by default: messages may refer back. */
  readonly isFresh?: boolean;
  /** Window size as a power of two, 9 to 15; 15 by default. */
  readonly windowBits?: number;
}

/** One case. */
export interface Case {
  /** Name: RFC, section and a word, such as `6455/5.4/restart`. */
  readonly id: string;
  /** Group of the case. */
  readonly group: Group;
  /** Numbers of the corresponding Autobahn cases. */
  readonly autobahn?: readonly string[];
  /** The action, in one line. */
  readonly title: string;
  /** The sentence of the RFC, in our words. */
  readonly rule: string;
  /** Level of the sentence. */
  readonly level: Level;
  /** Abilities that the peer needs. */
  readonly needs: readonly Need[];
  /** Role that the sentence binds; the lab plays cases for both to clients. */
  readonly holds: "server" | "both";
  /** Smallest profile with the case. */
  readonly profile: Profile;
  /** Option that runs the case: no name on the command line does. */
  readonly option?: "sweep" | "idle" | "stress";
  /** Makes the plan, so that large payloads exist only while the case runs. */
  plan(): Plan;
}

/**
 * Names the section of a case.
 *
 * @param id The name of the case.
 * @returns "RFC 6455 section 5.4".
 *
 * @example
 * ```ts
 * import { sectionOf } from "./case.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(sectionOf("6455/5.4/restart"), "RFC 6455 section 5.4");
 * ```
 */
export function sectionOf(id: string): string {
  const [rfc, section] = id.split("/");
  return `RFC ${rfc} section ${section}`;
}
