/**
 * Runs one case against a server: dials, sends the opening handshake, plays the script, judges.
 *
 * @module
 */

import type { Case, Handshake, HandshakeAnswer, Judgement, Plan } from "./case.ts";
import { judge, judgeHandshake } from "./judge.ts";
import { requestBytes } from "./request.ts";
import { readAnswer } from "../net/answer.ts";
import { TimeoutError, within } from "../net/deadline.ts";
import { dial } from "../net/dial.ts";
import type { DialOptions } from "../net/dial_options.ts";
import { OpenError } from "../net/open_error.ts";
import { Player, type PlayOptions, type Seen } from "../peer/player.ts";
import type { ScriptFrame, Step } from "../peer/script.ts";
import { clientTransport, type RawTransport } from "../peer/transport.ts";
import { encodeRawFrame } from "../peer/frame.ts";
import { acceptKeyFor, createKey } from "../protocol/handshake.ts";
import { type HttpHead, latin1, listOf } from "../protocol/http_lines.ts";
import { concatBytes } from "../protocol/message.ts";
import { messageOf } from "../protocol/error.ts";
import { OPCODE } from "../protocol/frame.ts";

/** Target and settings of a run. */
export interface CheckTarget extends DialOptions {
  /** URL of the server, `ws:` or `wss:`. */
  readonly url: URL;
  /** Subprotocols to offer. */
  readonly protocols?: readonly string[];
  /** Additional fields of each request. */
  readonly headers?: Iterable<readonly [name: string, value: string]>;
  /** Deadline for each case, in milliseconds; half of this is the longest silence. */
  readonly caseTimeoutMs: number;
  /** Whether the server echoes. */
  readonly echoes: boolean;
  /** Pattern that text replies match, in place of an echo. */
  readonly pattern?: RegExp | undefined;
  /** Number of unsolicited messages at the start. */
  readonly skip?: number | undefined;
  /** Receives each frame. */
  readonly onFrame?: PlayOptions["onFrame"];
  /** Called at the start of each case; the runner calls the returned function at the end. */
  readonly onCase?: ((test: Case) => () => void) | undefined;
  /** Receives the size of each read and write, in bytes. */
  readonly onBytes?: ((count: number) => void) | undefined;
}

/** Result of a case. */
export interface CaseResult extends Judgement {
  /** The case. */
  readonly test: Case;
  /** Duration in milliseconds. */
  readonly ms: number;
  /** The opening request as text; empty without one. */
  readonly request: string;
  /** The head of the answer as text; empty without one. */
  readonly answer: string;
  /** Whether the peer is a client, so that the request came in; `false` by default. */
  readonly isClient?: boolean;
  /** Whether dialing failed; `false` by default. */
  readonly isUnreachable?: boolean;
  /** How the server missed a deadline of work that it may have been too busy for; `undefined` if it did not. */
  readonly late?: "slow" | "silent" | undefined;
  /** The recorded connection. `frames` keeps only the first close frame: the payloads of all cases would pile up. */
  readonly seen: Seen | undefined;
}

/**
 * Runs a case.
 *
 * @param test The case.
 * @param target The server.
 * @returns The result, also for a server that lacks an ability or cannot be reached: neither throws.
 */
export async function runCase(test: Case, target: CheckTarget): Promise<CaseResult> {
  const start = performance.now();
  const blocked = skipReason(test, target);
  if (blocked !== undefined) return resultOf(test, start, { grade: "skipped", reason: blocked });
  const onEnd = target.onCase?.(test);
  const plan = test.plan();
  const abort = new AbortController();
  let transport: RawTransport | undefined;
  let progress: Progress = {};
  try {
    const run = (async () => {
      const connection = await dial(target.url, { ...target, connectTimeoutMs: target.caseTimeoutMs });
      transport = clientTransport(connection, target.onBytes);
      if (abort.signal.aborted) return transport.close();
      await playOver(transport, plan, target, (made) => progress = { ...progress, ...made }, abort.signal);
    })();
    // Ignore failures after the deadline.
    run.catch(() => {});
    await within(run, "end of the case", { timeoutMs: target.caseTimeoutMs, signal: target.signal });
  } catch (error) {
    target.signal?.throwIfAborted();
    if (error instanceof OpenError) {
      if (error.failure === "no-connection") {
        const judgement = { grade: "fail", reason: `No connection: ${error.message}` } as const;
        return { ...resultOf(test, start, judgement, progress), isUnreachable: true };
      }
    } else if (!(error instanceof TimeoutError)) throw error;
    progress = { ...progress, isLate: true };
  } finally {
    abort.abort();
    progress.player?.stop();
    transport?.close();
    onEnd?.();
  }
  return { ...resultOf(test, start, judged(test, plan, progress, target), progress), late: lateness(plan, progress) };
}

interface Progress {
  readonly request?: string;
  readonly answer?: HandshakeAnswer;
  readonly player?: Player;
  readonly isLate?: boolean;
}

function judged(test: Case, plan: Plan, { answer, player, isLate }: Progress, target: CheckTarget): Judgement {
  const late = isLate ? { problem: "Server did not answer the handshake in time" } : {};
  const none: HandshakeAnswer = { status: 0, head: { startLine: "", fields: [] }, acceptKey: "", ...late };
  const problem = judgeHandshake(test, plan, answer ?? none);
  if (problem) return problem;
  if (test.needs.includes("deflate") && !isDeflated(answer?.head)) {
    return { grade: "skipped", reason: "server did not negotiate permessage-deflate for this offer" };
  }
  const skipped = answer && plan.skipReason?.(answer);
  if (skipped !== undefined) return { grade: "skipped", reason: skipped };
  if (player === undefined) return { grade: "pass", reason: "" };
  const { echoes, pattern, skip } = target;
  const seen = player.seen();
  const judgement = judge(test, plan, seen, { peer: "server", echoes, pattern, skip });
  if (!isLate) return judgement;
  const overdue = `Case did not finish within ${target.caseTimeoutMs / 1000} s (--case-timeout)`;
  if (judgement.grade === "pass") return { grade: "fail", reason: overdue };
  // A server that was not silent until the end is slow: what is missing may still have come.
  return seen.isLate ? judgement : { ...judgement, reason: `${overdue}: ${judgement.reason}` };
}

/** A server that only has to fail the connection has no work that could take it so long. */
function lateness({ end }: Plan, { player, isLate = false }: Progress): "slow" | "silent" | undefined {
  const isSilent = player ? player.seen().isLate : isLate;
  if (isSilent) return end.type === "failure" ? undefined : "silent";
  return isLate ? "slow" : undefined;
}

function isDeflated(head: HttpHead | undefined): boolean {
  return head !== undefined &&
    listOf(head, "sec-websocket-extensions").some((value) => /^permessage-deflate\b/.test(value));
}

function skipReason({ needs }: Case, { echoes, pattern }: CheckTarget): string | undefined {
  if (needs.includes("echo") && !echoes) return "needs an echo (--no-echo)";
  if (needs.includes("echo") && pattern) return "needs an echo (--reply-match)";
  if (needs.includes("binary") && pattern) return "needs replies to binary messages (--reply-match)";
  return undefined;
}

async function playOver(
  transport: RawTransport,
  plan: Plan,
  target: CheckTarget,
  onProgress: (made: Progress) => void,
  signal: AbortSignal,
): Promise<void> {
  const { request = {}, answer: wanted = "upgrade" } = plan.handshake ?? {};
  const key = createKey();
  const head = requestBytes({ ...target, key }, request);
  onProgress({ request: latin1(head) });
  const sent = request.fields?.["Sec-WebSocket-Key"] ?? [key];
  const acceptKey = acceptKeyFor(sent[0] ?? "");
  await writeRequest(transport, head, request, signal);
  let answer;
  try {
    answer = await readAnswer(transport);
  } catch (error) {
    if (!(error instanceof OpenError)) throw error;
    return;
  }
  const { status, problem } = answer;
  const got: HandshakeAnswer = {
    ...{ status, head: answer.head, acceptKey },
    ...status === 0 && { problem: `Server's answer to the handshake is unreadable: ${problem}` },
  };
  onProgress({ answer: got });
  if (answer.status !== 101 || wanted === "refusal") return;
  if ((plan.deflate && !isDeflated(answer.head)) || plan.skipReason?.(got) !== undefined) return;
  await play(transport, answer.rest, plan, target, onProgress);
}

async function writeRequest(
  transport: RawTransport,
  head: Uint8Array<ArrayBuffer>,
  { chopBytes = Infinity, pauseMs = 0, behind = [] }: Handshake["request"],
  signal: AbortSignal,
): Promise<void> {
  const frames = behind.flatMap((frame: ScriptFrame) => [...encodeRawFrame({ ...frame, isMasked: true })]);
  const all = [head, ...frames];
  const bytes = concatBytes(all);
  try {
    for (let at = 0; at < bytes.byteLength; at += Math.min(chopBytes, bytes.byteLength)) {
      await transport.write(bytes.subarray(at, at + chopBytes));
      if (pauseMs > 0) await pause(pauseMs, signal);
    }
  } catch {
    // The answer, or the end of the connection, shows the reason.
  }
}

/** Waits, until the signal aborts at the latest. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const onAbort = () => resolve();
  signal.addEventListener("abort", onAbort);
  await promise;
  signal.removeEventListener("abort", onAbort);
  clearTimeout(timer);
}

async function play(
  transport: RawTransport,
  early: Uint8Array,
  plan: Plan,
  target: CheckTarget,
  onProgress: (made: Progress) => void,
): Promise<void> {
  const { caseTimeoutMs, echoes, skip = 0, onFrame } = target;
  const player = new Player(transport, { role: "client", silenceMs: caseTimeoutMs / 2, onFrame });
  onProgress({ player });
  player.begin(early);
  await player.play(plan.steps.map((step) => fitted(step, echoes, skip)));
  const [messages, pongs] = [/^(text|binary)$/, /^pong$/].map((kind) =>
    plan.replies.filter((reply) => kind.test(reply.kind)).length
  );
  if (plan.end.type === "failure") await player.awaitFailure();
  else await player.finish(1000, echoes ? (messages ?? 0) + skip : 0, pongs ?? 0);
}

/** Without an echo, an `await` step expects no messages. */
function fitted(step: Step, echoes: boolean, skip: number): Step {
  if (step.do !== "await" || step.messages === undefined) return step;
  return { ...step, messages: echoes ? step.messages + skip : 0 };
}

function resultOf(
  test: Case,
  start: number,
  judgement: Judgement,
  { request, answer, player }: Progress = {},
): CaseResult {
  const head = answer?.head;
  const seen = player?.seen();
  const lines = head ? [head.startLine, ...head.fields.map(([name, value]) => `${name}: ${value}`)] : [];
  return {
    ...judgement,
    test,
    ms: performance.now() - start,
    request: request ?? "",
    answer: lines.join("\r\n"),
    seen: seen && { ...seen, frames: seen.frames.filter(({ opcode }) => opcode === OPCODE.close).slice(0, 1) },
  };
}

/**
 * Wraps an unexpected error, to name its case.
 *
 * @param test The case.
 * @param error The error.
 * @returns The error to throw instead.
 */
export function brokenCase(test: Case, error: unknown): Error {
  return new Error(`Case ${test.id} is broken: ${messageOf(error)}`, { cause: error });
}
