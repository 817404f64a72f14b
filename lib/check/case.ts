/**
 * A case of conformance as data: the sentence of an RFC that it holds the peer to, what is sent, and what may come back.
 *
 * @module
 */

import type { Seen } from "../peer/player.ts";
import type { ScriptFrame, Step } from "../peer/script.ts";
import type { HttpHead } from "../protocol/http_lines.ts";
import type { MessageKind } from "../protocol/message.ts";

/** How binding the sentence is: a MUST, a SHOULD, or something that is good to know. */
export type Level = "must" | "should" | "info";

/** What a case needs of the peer: that it echoes, that it negotiates permessage-deflate, that it takes text or binary messages. */
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

/** How many cases run: each profile has those of the one before. */
export const PROFILES = ["quick", "standard", "full"] as const;

/** The name of a profile. */
export type Profile = typeof PROFILES[number];

/**
 * What a case showed, from good to bad: `not-strict` kept the rule, but not as it should; `unclean` kept it, and ended the
 * connection in another way than it should.
 */
export const GRADES = ["pass", "skipped", "not-strict", "unclean", "fail"] as const;

/** The name of a grade. */
export type Grade = typeof GRADES[number];

/** A grade with its reason. */
export interface Judgement {
  /** The grade. */
  readonly grade: Grade;
  /** Why, in one line; empty for a plain pass. */
  readonly reason: string;
}

/** A reply that has to come: the message itself, or the pong. */
export interface Reply {
  /** A message of either kind, or a pong. */
  readonly kind: MessageKind | "pong";
  /** Its bytes. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** How the connection has to end. */
export type Ending =
  /** With a closing handshake. Ours begins, with 1000 unless a step has sent a close frame; the answer has one of the codes. */
  | { readonly type: "close"; readonly codes: readonly number[] }
  /** The peer fails the connection: with a close frame of one of the codes, or the end of TCP. */
  | {
    readonly type: "failure";
    readonly codes: readonly number[];
    /** The first step that breaks the rule; a failure before it is wrong. */
    readonly fromStep?: number;
    /** The last step during which it has to fail, to be strict. */
    readonly byStep?: number;
    /** Whether a close frame has to come. */
    readonly needsFrame?: boolean;
  }
  /** In any way. */
  | { readonly type: "any" };

/** Changes to the request of the opening handshake. */
export interface RequestEdit {
  /** The method; GET by default. */
  readonly method?: string;
  /** The version of HTTP; 1.1 by default. */
  readonly version?: string;
  /** The values of fields, which replace those of the same name: none, one, or a line for each. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /** Whether it goes out in writes of so many bytes. */
  readonly chopBytes?: number;
  /** How long each of those writes waits, in milliseconds; 0 by default. */
  readonly pauseMs?: number;
  /** Frames in the same write. */
  readonly behind?: readonly ScriptFrame[];
}

/** The opening handshake of a case, and the answer that it has to get. */
export interface Handshake {
  /** What is different about the request. */
  readonly request: RequestEdit;
  /** What has to come. */
  readonly answer: "upgrade" | "refusal" | "any";
  /** Finds what is wrong about the answer, besides that it is an upgrade or none; `undefined` if nothing is. */
  readonly problemOf?: (answer: HandshakeAnswer) => string | undefined;
}

/** The answer to the opening handshake. */
export interface HandshakeAnswer {
  /** The status; 0 without an answer. */
  readonly status: number;
  /** The head; without fields if there is none. */
  readonly head: HttpHead;
  /** The accept key that fits the request. */
  readonly acceptKey: string;
  /** Why there is no status, where the connection did not just end. */
  readonly problem?: string;
}

/**
 * Says why there is no answer to the opening handshake.
 *
 * @param answer The answer, of status 0.
 * @returns One line.
 */
export function noAnswer({ problem }: Pick<HandshakeAnswer, "problem">): string {
  return problem ?? "Server ended TCP without an HTTP answer";
}

/** What is sent, and what may come back. */
export interface Plan {
  /** The opening handshake, where the case is about it, or needs a special one. */
  readonly handshake?: Handshake;
  /** What is sent behind it. */
  readonly steps: readonly Step[];
  /** The replies that have to come, in this order. */
  readonly replies: readonly Reply[];
  /** How the connection has to end. */
  readonly end: Ending;
  /** Whether a wrong close code, or none, breaks the very rule of the case; else the end is unclean. */
  readonly isAboutClose?: boolean;
  /** Whether the peer may refuse the message as too big (RFC 6455 section 10.4). */
  readonly mayRefuse?: boolean;
  /** Judges what the rest leaves open; `undefined` if nothing is wrong. */
  readonly judge?: (seen: Seen) => Judgement | undefined;
  /** How replies are inflated, where permessage-deflate was offered. */
  readonly deflate?: DeflateReading;
  /** Says why the case makes no sense after this answer; `undefined` if it does. */
  readonly skipReason?: (answer: HandshakeAnswer) => string | undefined;
}

/** How compressed messages of the peer are read. */
export interface DeflateReading {
  /** Whether each message has to stand for itself; `false` by default: it may refer to those before. */
  readonly isFresh?: boolean;
  /** The size of the window as a power of two, 9 to 15; 15 by default. */
  readonly windowBits?: number;
}

/** One case. */
export interface Case {
  /** Its name: the RFC, the section, and a word: `6455/5.4/restart`. */
  readonly id: string;
  /** Its group. */
  readonly group: Group;
  /** The numbers of Autobahn's cases that it corresponds to. */
  readonly autobahn?: readonly string[];
  /** What is done, in one line. */
  readonly title: string;
  /** The sentence that the peer is held to, in our words. */
  readonly rule: string;
  /** How binding the sentence is. */
  readonly level: Level;
  /** What it needs of the peer. */
  readonly needs: readonly Need[];
  /** Whom the sentence holds; the lab plays what holds both to clients. */
  readonly holds: "server" | "both";
  /** The smallest profile that has it. */
  readonly profile: Profile;
  /** The option that it runs with: no name on the command line chooses it. */
  readonly option?: "sweep" | "idle" | "stress";
  /** Makes the plan: large payloads are there only as long as the case runs. */
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
