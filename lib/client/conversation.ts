/**
 * A conversation: lines go out as text messages, what comes back is shown, and judged unless a person does that.
 *
 * @module
 */

import { UsageError } from "./usage.ts";
import { differenceOf, type Expectation } from "./diagnosis.ts";
import { closeFailure, failureOf, interruption, lateReplyHint, replyFailure, surplusFailure } from "./failure.ts";
import { SECOND_LOOK_MS } from "./exchange.ts";
import { clock, Incoming } from "./incoming.ts";
import {
  assertSendableClose,
  type CloseFrame,
  type CloseRecord,
  describeConfirmation,
  describeEnd,
  type ExpectedClose,
  verifyClose,
} from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { byteLengthOf, quote } from "../protocol/message.ts";
import {
  type Connection,
  ConnectionClosedError,
  DEFAULT_TIMEOUT_MS,
  INTERRUPTED_CLOSE_TIMEOUT_MS,
} from "../connection/connection.ts";
import { TimeoutError, type WaitOptions, within } from "../net/deadline.ts";
import type { Failure } from "./verdict.ts";

/** A terminal of Linux gives at most so many bytes of a line and drops the rest, without a word: 4095. */
export const MAX_TYPED_LINE_BYTES = 4095;

/** When the peer has closed, how long to wait for the end of the input, which shows that nothing was left to send: 2 s. */
const INPUT_END_MS = 2000;

/** Options of {@linkcode converse}. */
export interface ConverseOptions {
  /** How many messages come first, unasked, and are no replies; 0 by default. They are awaited before the first line. */
  skip?: number;
  /** Shows a message of the peer. */
  onMessage: (line: string) => void;
  /** Shows what happens to the connection. */
  onNotice: (line: string) => void;
  /** What each line should be answered with; the echo by default. */
  expectation?: Expectation;
  /**
   * Whether a person types the lines in a terminal and judges the replies; `false` by default. Then only `none` of the
   * expectations counts, a command that fails is told and no more, and a line that the terminal may have cut is not sent.
   */
  isTyped?: boolean;
  /** How long each reply may take, in milliseconds; 10 s by default. */
  replyTimeoutMs?: number;
  /** How long the answer to the close frame may take, in milliseconds; 10 s by default. */
  closeTimeoutMs?: number;
  /** The close frame to send; 1000 without a reason by default. */
  close?: CloseFrame;
  /** What the peer's close frame should say; the code of `close` by default. */
  expectedClose?: ExpectedClose;
  /** Ends the conversation: the connection is closed and the verdict is `interrupted`. */
  signal?: AbortSignal;
}

/**
 * Sends each line as a text message and shows what comes back, until the lines end, the peer closes or the signal comes;
 * the line `/ping` sends a ping and shows its round-trip time, `/close [CODE [REASON]]` closes; a doubled slash sends them;
 * then the close is verified.
 *
 * Lines that are not typed are a script, and the conversation is held to it: each line waits for its own reply, which has
 * to come after it and to be what is expected; any other message, a command that fails and a close of the peer before the
 * lines have ended make it fail.
 *
 * @param connection The connection; it is closed when this returns.
 * @param lines The lines, without line ends; cancelled when the conversation ends first.
 * @param options Where to show things, what to expect and how long to wait.
 * @returns What failed, or `undefined` if nothing did.
 *
 * @example
 * ```ts
 * import { converse } from "./conversation.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { openBuiltin } from "../connection/builtin.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const connection = await openBuiltin(server.url);
 * const shown: string[] = [];
 * const failure = await converse(connection, ReadableStream.from(["one", "two"]), {
 *   onMessage: (line) => shown.push(line.slice(line.indexOf("<"))),
 *   onNotice: () => {},
 * });
 * assertEquals(failure, undefined);
 * assertEquals(shown, ["< one", "< two"]);
 * await server.shutdown();
 * ```
 */
export async function converse(
  connection: Connection,
  lines: ReadableStream<string>,
  options: ConverseOptions,
): Promise<Failure | undefined> {
  const { onNotice, closeTimeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  const talk = new Talk(connection, lines, options);
  const frame = await talk.hold();
  const record = await connection.close({
    ...frame,
    ...(signal?.aborted
      ? { timeoutMs: Math.min(closeTimeoutMs, INTERRUPTED_CLOSE_TIMEOUT_MS) }
      : { timeoutMs: closeTimeoutMs, signal }),
  });
  await talk.ended();
  const expected = expectedFor(frame, options);
  const outcome = verifyClose(record, expected);
  const isAnswer = outcome === "confirmed" && record.initiator !== "peer";
  onNotice(`${clock()} ${isAnswer ? `closed with ${describeConfirmation(record, frame)}` : describeEnd(record)}`);
  if (signal?.aborted) return interruption();
  return talk.failure() ?? (outcome === "confirmed" ? undefined : closeFailure(outcome, record, expected));
}

/** What should answer a close frame: what was asked for, unless a line asked for another frame. */
function expectedFor(frame: CloseFrame, { close = frame, expectedClose }: ConverseOptions): ExpectedClose {
  return frame === close && expectedClose !== undefined ? expectedClose : { code: frame.code };
}

/** Thrown when a message of the peer is not what it should be. */
class WrongReplyError extends Error {
  readonly failure: Failure;

  constructor(failure: Failure) {
    super(failure.problem);
    this.failure = failure;
  }
}

class Talk {
  readonly #connection: Connection;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #options: ConverseOptions;
  readonly #wait: WaitOptions;
  readonly #expectation: Expectation;
  readonly #isTyped: boolean;
  readonly #incoming: Incoming;
  #sent = 0;
  #replies = 0;
  #previous: string | undefined;
  #failure: Failure | undefined;
  #refused: Failure | undefined;

  constructor(connection: Connection, lines: ReadableStream<string>, options: ConverseOptions) {
    const { replyTimeoutMs: timeoutMs = DEFAULT_TIMEOUT_MS, expectation = { type: "echo" }, signal } = options;
    this.#connection = connection;
    this.#reader = lines.getReader();
    this.#options = options;
    this.#wait = { timeoutMs, signal };
    this.#expectation = expectation;
    this.#isTyped = options.isTyped ?? false;
    this.#incoming = new Incoming(connection, options.onMessage);
  }

  /** Sends the lines until there is a reason to close, and gives the close frame to send. */
  async hold(): Promise<CloseFrame> {
    const { close = { code: 1000, reason: "" }, signal } = this.#options;
    const sending = this.#sendLines();
    // Nobody waits for it any more when the connection has ended in the meantime.
    sending.catch(() => {});
    try {
      const record = await within(Promise.race([sending.then(() => undefined), this.#connection.closed]), "end", {
        signal,
      });
      return await (record ? this.#restOf(record, sending) : sending) ?? close;
    } catch (error) {
      if (!signal?.aborted) this.#failure = this.#failureOf(error);
    }
    return close;
  }

  /** Waits until every message was shown, once the connection is closed. */
  async ended(): Promise<void> {
    this.#reader.cancel().catch(() => {});
    await this.#incoming.ended;
  }

  /** What failed, apart from the close. */
  failure(): Failure | undefined {
    const { fault } = this.#incoming;
    if (this.#failure) return this.#failure;
    if (fault) return failureOf(fault, this.#connection.transport);
    const isJudged = this.#expectation.type === "none" || (!this.#isTyped && this.#sent > 0);
    return (isJudged ? this.#surplus() : undefined) ?? this.#refused;
  }

  /** What is left of a conversation that the peer has ended: of one that is typed nothing, of a script the end. */
  async #restOf(record: CloseRecord, sending: Promise<CloseFrame | undefined>): Promise<CloseFrame | undefined> {
    if (this.#isTyped && record.end === "close-frame") return undefined;
    try {
      // A line that is still to be sent makes sending fail.
      if (!this.#isTyped) return await within(sending, "end of the input", { ...this.#wait, timeoutMs: INPUT_END_MS });
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
    throw new ConnectionClosedError(record);
  }

  /** Sends the lines until they end, or until one asks for the close: then gives the frame that it asks for. */
  async #sendLines(): Promise<CloseFrame | undefined> {
    const { skip = 0 } = this.#options;
    for (let skipped = 0; skipped < skip && !this.#isTyped; skipped++) await this.#incoming.take(this.#wait);
    while (true) {
      const line = await this.#readLine();
      if (line === undefined) return undefined;
      const [, command, words = ""] = /^\/(ping|close)(?: (.*))?$/s.exec(line) ?? [];
      try {
        if (command === "close") return this.#closeFrameOf(words);
        if (command === "ping") await this.#ping(words);
      } catch (error) {
        const isMistake = error instanceof UsageError || error instanceof TimeoutError;
        if (!this.#isTyped || !isMistake) throw error;
        this.#notice(error.message);
      }
      // A line that looks like a command is sent when its slash is doubled.
      if (command === undefined) await this.#sendLine(line.replace(/^\/(\/(ping|close)(?: |$))/, "$1"));
    }
  }

  async #readLine(): Promise<string | undefined> {
    try {
      return (await this.#reader.read()).value;
    } catch (error) {
      // The decoder of the lines throws a TypeError; a terminal may cut a line inside a character.
      const cut = this.#isTyped ? `, or has a line of ${MAX_TYPED_LINE_BYTES} bytes that the terminal cut` : "";
      const reason = error instanceof TypeError ? `the input is not UTF-8${cut}` : messageOf(error);
      throw new UsageError(`Cannot send the lines: ${reason}`);
    }
  }

  async #sendLine(text: string): Promise<void> {
    if (this.#isTyped) {
      if (byteLengthOf(text) >= MAX_TYPED_LINE_BYTES) return this.#refuse();
      return await this.#connection.send(text, this.#wait);
    }
    const early = this.#surplus();
    if (early) throw new WrongReplyError(early);
    await this.#connection.send(text, this.#wait);
    this.#sent++;
    this.#previous = text;
    if (this.#expectation.type === "none") return;
    const reply = await this.#incoming.next(this.#wait);
    const difference = differenceOf(this.#expectation, text, reply);
    if (difference !== undefined) {
      throw new WrongReplyError(replyFailure(difference, await this.#lateHint(text)));
    }
    this.#replies++;
  }

  /** Does not send a line of which the end may be missing; the conversation goes on, and is not proven. */
  #refuse(): void {
    const problem = `A line was not sent: the terminal cuts lines at ${MAX_TYPED_LINE_BYTES} bytes`;
    const hint = "send it from a pipe, or with --file";
    this.#notice(`${problem}; ${hint}`);
    this.#refused ??= { verdict: "usage", problem, hint };
  }

  /** The messages that nothing asked for, if there are any. */
  #surplus(): Failure | undefined {
    const { early } = this.#incoming;
    const surplus = this.#isTyped ? early.slice(this.#options.skip ?? 0) : early;
    const [first] = surplus;
    if (first === undefined) return undefined;
    const failure = surplusFailure(first, surplus.length, this.#expectation, this.#previous);
    const isGreeting = this.#sent === 0 && !this.#isTyped;
    return isGreeting ? { ...failure, hint: `as with a greeting: use --skip ${surplus.length}` } : failure;
  }

  /** Whether the right reply comes next: then something else came before it. */
  async #lateHint(sent: string): Promise<string> {
    try {
      const { timeoutMs = SECOND_LOOK_MS, signal } = this.#wait;
      const next = await this.#incoming.take({ timeoutMs: Math.min(timeoutMs, SECOND_LOOK_MS), signal });
      return differenceOf(this.#expectation, sent, next) === undefined ? lateReplyHint(this.#incoming.count) : "";
    } catch {
      return "";
    }
  }

  #closeFrameOf(words: string): CloseFrame {
    const [match, digits = "1000", reason = ""] = /^ *(?:(\d+)(?: +(.*))?)?$/s.exec(words) ?? [];
    if (match === undefined) throw notACommand(`/close ${words}`, "give /close CODE REASON");
    const code = Number(digits);
    try {
      assertSendableClose(code, reason);
    } catch (error) {
      throw new UsageError(messageOf(error));
    }
    if (this.#connection.transport === "wire" || code === 1000 || code >= 3000) return { code, reason };
    throw new UsageError(
      `Cannot close with code ${code} over the built-in WebSocket: use 1000, 3000-4999 or --transport wire`,
    );
  }

  async #ping(words: string): Promise<void> {
    if (words.trim() !== "") throw notACommand(`/ping ${words}`, "give /ping alone");
    if (this.#connection.ping === undefined) {
      throw new UsageError("The built-in WebSocket cannot ping: use --transport wire");
    }
    this.#notice(`pong after ${(await this.#connection.ping(this.#wait)).toFixed(2)} ms`);
  }

  #failureOf(error: unknown): Failure {
    if (error instanceof WrongReplyError) return error.failure;
    const failure = failureOf(error, this.#connection.transport);
    if (this.#isTyped || !(error instanceof ConnectionClosedError)) return failure;
    const lines = `${this.#sent} ${this.#sent === 1 ? "line" : "lines"}`;
    const replies = `${this.#replies} ${this.#replies === 1 ? "reply" : "replies"} to ${lines}`;
    const done = this.#expectation.type === "none" ? lines : replies;
    return { ...failure, problem: `${failure.problem}, after ${done}` };
  }

  #notice(text: string): void {
    this.#options.onNotice(`${clock()} ${text}`);
  }
}

function notACommand(line: string, advice: string): UsageError {
  return new UsageError(`Cannot read ${quote(line, 40)}: ${advice}, or double the slash to send it as text`);
}

/** The longest line, in characters: 16 MiB of them. */
export const MAX_LINE_CHARS = 16 * 1024 * 1024;

/**
 * Cuts text into lines.
 *
 * @returns A transform from pieces of text to lines without their ends (`\n` or `\r\n`); the last line needs no end.
 *
 * @example
 * ```ts
 * import { splitLines } from "./conversation.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lines = ReadableStream.from(["one\ntw", "o\r\n", "three"]).pipeThrough(splitLines());
 * assertEquals(await Array.fromAsync(lines), ["one", "two", "three"]);
 * ```
 */
export function splitLines(): TransformStream<string, string> {
  let pieces: string[] = [];
  let length = 0;
  const keep = (piece: string) => {
    length += piece.length;
    if (length > MAX_LINE_CHARS) throw new RangeError(`A line is longer than ${MAX_LINE_CHARS} characters`);
    pieces.push(piece);
  };
  const line = () => {
    const text = pieces.join("");
    pieces = [];
    length = 0;
    return text;
  };
  return new TransformStream({
    transform(piece, controller) {
      const [first = "", ...others] = piece.split("\n");
      keep(first);
      for (const next of others) {
        controller.enqueue(line().replace(/\r$/, ""));
        keep(next);
      }
    },
    flush(controller) {
      if (length > 0) controller.enqueue(line());
    },
  });
}
