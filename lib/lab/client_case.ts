/**
 * A case for clients, as data: the lab's answer to the opening handshake, its frames, and the allowed replies.
 *
 * @module
 */

import type { Case, Judgement } from "../check/case.ts";
import type { ScriptFrame } from "../peer/script.ts";

/** Changes to the answer to the opening handshake. */
export interface AnswerEdit {
  /** The status line; of a 101 by default. */
  readonly startLine?: string;
  /** Field values that replace any of the same name: none, or a line for each. */
  readonly fields?: Readonly<Record<string, readonly string[]>>;
  /** Whether field names are in lower case. */
  readonly isLowerCase?: boolean;
  /** Bytes of each write; one write by default. */
  readonly chopBytes?: number;
  /** Frames to append to the same write. */
  readonly behind?: readonly ScriptFrame[];
  /** Whether this is no upgrade: only the end of TCP follows. */
  readonly isRefusal?: boolean;
}

/** Traits of a client beyond the connection of the case. */
export interface AgentTraits {
  /** Masking keys of its first connections, in order, at most 8,192. */
  readonly masks: readonly number[];
  /** Masking keys of the case's connection, in order, at most 8,192. */
  readonly ownMasks: readonly number[];
  /** Values of Sec-WebSocket-Key, in order, at most 1,024. */
  readonly keys: readonly string[];
  /** Fault of the handshake request on the case's connection, if any. */
  readonly requestProblem: string | undefined;
  /** Times of the last 16 visits to this case, in milliseconds. */
  readonly visits: readonly number[];
}

/** The sets of cases that a harness may count. */
export const CASE_SETS = ["all", "autobahn"] as const;

/** The name of a set. */
export type CaseSet = typeof CASE_SETS[number];

/** One case for clients. */
export interface ClientCase {
  /** Autobahn's number if there is one, else the id. Clients choose a case by this, or by position in the list. */
  readonly number: string;
  /** The rule, script and judge, as for servers; the lab plays the server. */
  readonly test: Case;
  /** Changes to the answer to the opening handshake. */
  readonly answer?: AnswerEdit;
  /** Judges traits beyond one connection; `undefined` if all are right. */
  readonly judgeAgent?: (traits: AgentTraits) => Judgement | undefined;
}
