/**
 * Judges a peer's behavior in a case. Pure: recorded frames in, a grade out.
 *
 * @module
 */

import {
  type Case,
  type Ending,
  EXTRA_MESSAGE,
  type HandshakeAnswer,
  type Judgement,
  noAnswer,
  type Plan,
  type Reply,
} from "./case.ts";
import { breachOf } from "./breach.ts";
import { differenceBetween, messagesOf, type SeenReply } from "./replies.ts";
import { describeCloseCode } from "../protocol/close.ts";
import { OPCODE } from "../protocol/frame.ts";
import { closeCodeOf as codeOf } from "../peer/frame.ts";
import type { Seen } from "../peer/player.ts";
import { counted } from "../protocol/message.ts";

/** Expected behavior of the peer. */
export interface Rules {
  /** The role of the peer. */
  readonly peer: "server" | "client";
  /** Whether the peer echoes messages. */
  readonly echoes: boolean;
  /** Pattern that text replies match, in place of an echo. */
  readonly pattern?: RegExp | undefined;
  /** Number of unsolicited messages at the start. */
  readonly skip?: number | undefined;
}

const PASS: Judgement = { grade: "pass", reason: "" };

/**
 * Judges a case after its opening handshake.
 *
 * @param test The case.
 * @param plan Steps and required replies.
 * @param seen The recorded connection.
 * @param rules Expected behavior of the peer.
 * @returns The grade. A failure at level `should` is `not-strict`; a case at level `info` always passes.
 *
 * @example
 * ```ts
 * import { judge } from "./judge.ts";
 * import type { Case, Plan } from "./case.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const plan: Plan = { steps: [], replies: [], end: { type: "close", codes: [1000] } };
 * const test: Case = {
 *   id: "6455/7.1.1/close", group: "close", title: "", rule: "", level: "must", needs: [], holds: "both", profile: "quick",
 *   plan: () => plan,
 * };
 * const seen = {
 *   frames: [], wire: [], omitted: 0, end: "fin", endStep: 0, endMs: 0, isTooLong: false, sentClose: 1000,
 *   wentOn: false, isLate: false,
 * } as const;
 * assertEquals(judge(test, plan, seen, { peer: "server", echoes: true }), {
 *   grade: "unclean",
 *   reason: "Server ended TCP without a close frame",
 * });
 * ```
 */
export function judge(test: Pick<Case, "level">, plan: Plan, seen: Seen, rules: Rules): Judgement {
  return leveled(test, judgeFrames(plan, seen, rules));
}

/**
 * Judges the answer to the opening handshake.
 *
 * @param test The case.
 * @param plan The plan, with the required answer.
 * @param answer The answer.
 * @returns The grade; `undefined` for a right answer.
 */
export function judgeHandshake(test: Pick<Case, "level">, plan: Plan, answer: HandshakeAnswer): Judgement | undefined {
  const found = handshakeProblem(plan, answer);
  return found && leveled(test, found);
}

function handshakeProblem({ handshake }: Plan, answer: HandshakeAnswer): Judgement | undefined {
  const { status } = answer;
  const wanted = handshake?.answer ?? "upgrade";
  if (wanted === "upgrade" && status !== 101) {
    return fail(status === 0 ? noAnswer(answer) : `Server answered with status ${status}, not 101`);
  }
  if (wanted === "refusal") {
    if (status === 101) return fail("Server answered with 101 instead of refusing");
    if (status === 0) {
      return { grade: answer.problem === undefined ? "unclean" : "fail", reason: noAnswer(answer) };
    }
    if (status < 300) return fail(`Server answered with status ${status} instead of refusing`);
  }
  const problem = handshake?.problemOf?.(answer);
  return problem === undefined ? undefined : fail(problem);
}

/**
 * Adjusts a grade to the level of its case.
 *
 * @param test The case.
 * @param judgement The grade as found.
 * @returns The grade: a failure is `not-strict` at level `should`, and a pass at level `info`.
 */
export function leveled({ level }: Pick<Case, "level">, judgement: Judgement): Judgement {
  const isBad = judgement.grade === "fail" || judgement.grade === "unclean";
  if (!isBad || level === "must") return judgement;
  return { grade: level === "should" ? "not-strict" : "pass", reason: judgement.reason };
}

function fail(reason: string): Judgement {
  return { grade: "fail", reason };
}

function judgeFrames(plan: Plan, seen: Seen, rules: Rules): Judgement {
  const who = nameOf(rules);
  const breach = breachOf(seen.frames, { peer: rules.peer, isDeflated: plan.deflate !== undefined });
  if (breach !== undefined) return fail(`${who} broke the protocol: ${breach}`);
  if (seen.isTooLong) {
    return fail(`${who} sent too much: a frame longer than 64 MiB, 128 MiB in all, or 131,072 frames`);
  }
  const special = plan.judge?.(seen);
  if (special) return special;
  const { end } = plan;
  switch (end.type) {
    case "any":
      return { grade: "pass", reason: `${who} ${describeEnd(seen)}` };
    case "failure":
      return judgeFailure(end, plan, seen, rules);
    case "close":
      return judgeClose(end, plan, seen, rules);
  }
}

function nameOf({ peer }: Rules): string {
  return peer === "server" ? "Server" : "Client";
}

function judgeFailure(
  end: Ending & { type: "failure" },
  plan: Plan,
  seen: Seen,
  rules: Rules,
): Judgement {
  const who = nameOf(rules);
  const replies = compare(plan, seen, rules);
  if (replies.grade === "fail" && !replies.isMissing) {
    return fail(`${who} did not fail the connection: it ${replies.reason}`);
  }
  if (seen.wentOn) return fail(`${who} did not fail the connection: it answered a later ping`);
  const code = closeCodeOf(seen);
  if (code === undefined && seen.end === "none") {
    return fail(`${who} did not fail the connection: it neither sent a close frame nor ended TCP`);
  }
  if (seen.endStep < (end.fromStep ?? 0)) return fail(`${who} failed the connection before the rule was broken`);
  if (code !== undefined && !end.codes.includes(code)) {
    const reason = `${who} closed with ${describeCode(code)} instead of ${end.codes.join(" or ")}`;
    return { grade: plan.isAboutClose ? "fail" : "unclean", reason };
  }
  if (end.needsFrame && code === undefined) return fail(`${who} ended TCP without a close frame`);
  if (seen.end === "none") return { grade: "unclean", reason: `${who} sent its close frame and left TCP open` };
  if (replies.grade === "fail") return { grade: "not-strict", reason: `${who} ${replies.reason}` };
  if (seen.endStep > (end.byStep ?? Infinity)) {
    return { grade: "not-strict", reason: `${who} failed the connection later than it could have` };
  }
  return PASS;
}

function judgeClose(
  end: Ending & { type: "close" },
  plan: Plan,
  seen: Seen,
  rules: Rules,
): Judgement {
  const who = nameOf(rules);
  const bad = plan.isAboutClose ? "fail" : "unclean";
  const code = closeCodeOf(seen);
  const replies = compare(plan, seen, rules);
  if (replies.grade !== "pass") {
    if (plan.mayRefuse && replies.isMissing && (code === 1009 || code === 1008)) {
      return { grade: "not-strict", reason: `${who} refused the message with ${describeCode(code)}, as a limit may` };
    }
    const isOther = code === undefined || !end.codes.includes(code);
    const ended = replies.isMissing && isOther ? `; it ${describeEnd(seen)}` : "";
    return { grade: replies.grade, reason: `${who} ${replies.reason}${ended}` };
  }
  if (code === undefined) {
    const reason = seen.end === "none" ? "did not answer the close frame" : "ended TCP without a close frame";
    return { grade: bad, reason: `${who} ${reason}` };
  }
  if (!end.codes.includes(code)) {
    return { grade: bad, reason: `${who} closed with ${describeCode(code)} instead of ${end.codes.join(" or ")}` };
  }
  if (seen.end === "none") return { grade: "unclean", reason: `${who} left TCP open after the closing handshake` };
  return PASS;
}

interface Comparison {
  readonly grade: "pass" | "not-strict" | "fail";
  readonly reason: string;
  /** Whether the only fault is that replies are missing. */
  readonly isMissing: boolean;
}

/** Compares the replies with the required ones. */
function compare(plan: Plan, seen: Seen, rules: Rules): Comparison {
  const isJudged = ({ kind }: Pick<Reply, "kind">) => rules.echoes || kind === "pong";
  const wanted = plan.replies.filter(isJudged);
  const messages = messagesOf(seen.frames, plan.deflate);
  if (typeof messages === "string") return { grade: "fail", reason: messages, isMissing: false };
  let skip = rules.skip ?? 0;
  const all = messages.filter(({ kind }) => kind === "pong" || --skip < 0).filter(isJudged);
  // The pong to the player's own probe is no reply of the case.
  const got = seen.wentOn ? withoutProbe(all) : all;
  for (const kinds of [["text", "binary"], ["pong"]]) {
    const [these, those] = [wanted, got].map((list) => list.filter(({ kind }) => kinds.includes(kind)));
    const reason = kinds[0] === "pong"
      ? pongDifference(these ?? [], those ?? [])
      : messageDifference(these ?? [], those ?? [], rules);
    if (reason) return { grade: "fail", ...reason };
  }
  const isOrdered = wanted.every(({ kind }, index) => (kind === "pong") === (got[index]?.kind === "pong"));
  if (!isOrdered && wanted.length === got.length) {
    return { grade: "not-strict", reason: "answered a ping only after the message that followed", isMissing: false };
  }
  return { grade: "pass", reason: "", isMissing: false };
}

function withoutProbe(replies: readonly SeenReply[]): readonly SeenReply[] {
  const last = replies.findLastIndex(({ kind }) => kind === "pong");
  return replies.filter((_, index) => index !== last);
}

type Wrong = Pick<Comparison, "reason" | "isMissing"> | undefined;

function messageDifference(wanted: readonly Reply[], got: readonly Reply[], { pattern }: Rules): Wrong {
  for (const [index, reply] of got.entries()) {
    const sent = wanted[index];
    if (sent === undefined) return { reason: `${EXTRA_MESSAGE} of ${size(reply)}`, isMissing: false };
    const difference = differenceBetween(sent, reply, pattern);
    if (difference !== undefined) return { reason: `answered with ${difference}`, isMissing: false };
  }
  const missing = wanted[got.length];
  if (missing === undefined) return undefined;
  return { reason: `did not answer the message of ${size(missing)}`, isMissing: true };
}

/** A peer may answer only the last of several pings (RFC 6455 section 5.5.3). */
function pongDifference(wanted: readonly Reply[], got: readonly Reply[]): Wrong {
  let at = 0;
  for (const reply of got) {
    while (at < wanted.length && !isSame(wanted[at], reply)) at++;
    if (at === wanted.length) {
      return { reason: `sent a pong of ${size(reply)} that answers no ping`, isMissing: false };
    }
    at++;
  }
  if (at === wanted.length) return undefined;
  return { reason: `did not answer the ping of ${size(wanted[at])}`, isMissing: true };
}

function isSame(wanted: Reply | undefined, { payload }: Reply): boolean {
  return wanted !== undefined && differenceBetween(wanted, { kind: wanted.kind, payload }) === undefined;
}

function size(reply: Reply | undefined): string {
  return counted(reply?.payload.byteLength ?? 0, "byte");
}

/**
 * Finds the peer's close code.
 *
 * @param seen The peer's frames.
 * @returns The code; 1005 for a close frame without one, `undefined` without a close frame.
 *
 * @example
 * ```ts
 * import { closeCodeOf } from "./judge.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(closeCodeOf({ frames: [] }), undefined);
 * ```
 */
export function closeCodeOf({ frames }: Pick<Seen, "frames">): number | undefined {
  const close = frames.find(({ opcode }) => opcode === OPCODE.close);
  return close && codeOf(close.payload);
}

function describeCode(code: number): string {
  return code === 1005 ? "an empty close frame" : describeCloseCode(code);
}

function describeEnd(seen: Seen): string {
  const code = closeCodeOf(seen);
  const tcp = seen.end === "fin" ? "ended TCP" : seen.end === "reset" ? "reset TCP" : "kept the connection";
  return code === undefined ? tcp : `closed with ${describeCode(code)}${seen.end === "none" ? "" : `, and ${tcp}`}`;
}
