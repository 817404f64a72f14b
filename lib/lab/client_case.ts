/**
 * A case that holds a client, as data: what the lab answers to the opening handshake, what it sends, what may come back.
 *
 * @module
 */

import type { Case, Judgement } from "../check/case.ts";
import type { ScriptFrame } from "../peer/script.ts";

/** Changes to the answer of the opening handshake. */
export interface AnswerEdit {
  /** The first line; that of a 101 by default. */
  readonly startLine?: string;
  /** The values of fields, which replace those of the same name: none, one, or a line for each. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /** Whether the names of fields go out in small letters. */
  readonly isLowerCase?: boolean;
  /** Whether it goes out in writes of so many bytes. */
  readonly chopBytes?: number;
  /** Frames in the same write. */
  readonly behind?: readonly ScriptFrame[];
  /** Whether it is no upgrade: nothing follows but the end of TCP. */
  readonly isRefusal?: boolean;
}

/** What is known of a client besides the connection of the case. */
export interface AgentTraits {
  /** The masking keys of its frames, in order: those of the first connections, at most 8,192. */
  readonly masks: readonly number[];
  /** The masking keys of the connection of the case, in order, at most 8,192. */
  readonly ownMasks: readonly number[];
  /** The values of Sec-WebSocket-Key, in order: at most 1,024. */
  readonly keys: readonly string[];
  /** What is wrong about the request of the case's connection; `undefined` if nothing is. */
  readonly requestProblem: string | undefined;
  /** When it came for this case, in milliseconds: the last 16 times. */
  readonly visits: readonly number[];
}

/** The sets of cases that a harness can count. */
export const CASE_SETS = ["all", "autobahn"] as const;

/** The name of a set. */
export type CaseSet = typeof CASE_SETS[number];

/** One case for clients. */
export interface ClientCase {
  /** The number in Autobahn's order where there is one, else the name. Clients choose by it, or by the place in the list. */
  readonly number: string;
  /** The sentence, the script and the judge: the same as for servers, but the lab plays the server. */
  readonly test: Case;
  /** What is different about the answer to the opening handshake. */
  readonly answer?: AnswerEdit;
  /** Judges what one connection does not tell; `undefined` if nothing is wrong. */
  readonly judgeAgent?: (traits: AgentTraits) => Judgement | undefined;
}
