/**
 * A conversation: sends lines as text messages, shows the replies, and judges them unless a person does.
 *
 * @module
 */

import { PayloadError, UsageError } from "./usage.ts";
import { differenceOf, type Expectation } from "./diagnosis.ts";
import { closeFailure, failureOf, interruption, lateReplyHint, replyFailure, surplusFailure } from "./failure.ts";
import { SECOND_LOOK_MS } from "./exchange.ts";
import { Incoming } from "./incoming.ts";
import { clock, type Direction } from "./message_line.ts";
import { collect, readFile } from "./payload.ts";
import { readLine, type TalkLine } from "./talk_command.ts";
import {
  type CloseFrame,
  type CloseRecord,
  describeConfirmation,
  describeEnd,
  type ExpectedClose,
  verifyClose,
} from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { byteLengthOf, counted, type Message, type MessageKind } from "../protocol/message.ts";
import {
  type Connection,
  ConnectionClosedError,
  DEFAULT_TIMEOUT_MS,
  INTERRUPTED_CLOSE_TIMEOUT_MS,
  MAX_BUILTIN_FRAME_BYTES,
} from "../connection/connection.ts";
import { TimeoutError, type WaitOptions, within } from "../net/deadline.ts";
import type { Failure } from "./verdict.ts";

/** The longest typed line, in bytes: 4095. A terminal of Linux silently drops the rest. */
export const MAX_TYPED_LINE_BYTES = 4095;

/** Deadline for the input's end after the peer's close, in milliseconds: 2 s. The end shows that no line is left. */
const INPUT_END_MS = 2000;

/** Options of {@linkcode converse}. */
export interface ConverseOptions {
  /** The number of unsolicited messages to await before the first line; 0 by default. */
  skip?: number;
  /** Receives each message, received or sent. */
  onMessage: (message: Message, direction: Direction) => void;
  /** Shows events of the connection. */
  onNotice: (line: string) => void;
  /** Shows the commands; nothing by default. */
  onHelp?: () => void;
  /** The expected reply to each line; the echo by default. */
  expectation?: Expectation;
  /**
   * Whether a person types the lines in a terminal and judges the replies; `false` by default. Then only the
   * expectation `none` counts, and a failed command shows only a notice.
   */
  isTyped?: boolean;
  /** A line of this many bytes is not sent, as the terminal may have cut it; no limit by default. */
  cutLineBytes?: number;
  /** The longest file that `/file` sends, in bytes; 67108863 by default. */
  maxMessageBytes?: number;
  /** Deadline for each reply, in milliseconds; 10 s by default. */
  replyTimeoutMs?: number;
  /** Deadline for the answer to the close frame, in milliseconds; 10 s by default. */
  closeTimeoutMs?: number;
  /** The close frame to send; 1000 without a reason by default. */
  close?: CloseFrame;
  /** The expected close frame of the peer; the code of `close` by default. */
  expectedClose?: ExpectedClose;
  /** Interrupts the conversation: the connection is closed and the verdict is `interrupted`. */
  signal?: AbortSignal;
}

/** The result of a conversation. */
export interface ConversationReport {
  /** The failure, if any. */
  readonly failure: Failure | undefined;
  /** The number of messages sent. */
  readonly sent: number;
  /** The number of messages received. */
  readonly received: number;
}

/**
 * Sends each line as a text message and shows the replies, until the lines end, the peer closes or the signal aborts;
 * then verifies the close. A line may be a command instead: `talk_command.ts` reads it.
 *
 * Lines that nobody types are a script: each line waits for its own reply, which must follow the line and match the
 * expectation. Any other message, a failed command, or a close of the peer before the last line fails the conversation.
 *
 * @param connection The connection; it is closed when this returns.
 * @param lines The lines, without line ends; cancelled if the conversation ends first.
 * @param options The output, the expectation and the deadlines.
 * @returns The failure, if any, and the number of messages.
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
 * const shown: unknown[] = [];
 * const report = await converse(connection, ReadableStream.from(["one", "two"]), {
 *   onMessage: (message, direction) => shown.push(direction, message),
 *   onNotice: () => {},
 * });
 * assertEquals(report, { failure: undefined, sent: 2, received: 2 });
 * assertEquals(shown, ["out", "one", "in", "one", "out", "two", "in", "two"]);
 * await server.shutdown();
 * ```
 */
export async function converse(
  connection: Connection,
  lines: ReadableStream<string>,
  options: ConverseOptions,
): Promise<ConversationReport> {
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
  const failure = signal?.aborted
    ? interruption()
    : talk.failure() ?? (outcome === "confirmed" ? undefined : closeFailure(outcome, record, expected));
  const isAnswer = outcome === "confirmed" && record.initiator !== "peer";
  const end = isAnswer ? `closed with ${describeConfirmation(record, frame)}` : describeEnd(record);
  // The verdict may say the same: show it once.
  if (failure === undefined || !failure.problem.includes(end)) onNotice(`${clock()} ${end}`);
  return { failure, ...talk.counts };
}

/** The expected answer to a close frame; a line that closes with another frame overrides the options. */
function expectedFor(frame: CloseFrame, { close = frame, expectedClose }: ConverseOptions): ExpectedClose {
  return frame === close && expectedClose !== undefined ? expectedClose : { code: frame.code };
}

/** Thrown when a message of the peer is wrong. */
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
  #previous: Message | undefined;
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
    this.#incoming = new Incoming(connection, (message) => options.onMessage(message, "in"));
  }

  /** Sends the lines until there is a reason to close; returns the close frame to send. */
  async hold(): Promise<CloseFrame> {
    const { close = { code: 1000, reason: "" }, signal } = this.#options;
    const sending = this.#sendLines();
    // Mark the rejection as handled: if the connection ends first, nobody awaits it.
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

  /** Waits until every message was shown, after the close. */
  async ended(): Promise<void> {
    this.#reader.cancel().catch(() => {});
    await this.#incoming.ended;
  }

  /** The numbers of messages sent and received. */
  get counts(): { readonly sent: number; readonly received: number } {
    return { sent: this.#sent, received: this.#incoming.count };
  }

  /** The failure, apart from the close. */
  failure(): Failure | undefined {
    const { fault } = this.#incoming;
    if (this.#failure) return this.#failure;
    if (fault) return failureOf(fault, this.#connection.transport);
    const isJudged = this.#expectation.type === "none" || (!this.#isTyped && this.#sent > 0);
    return (isJudged ? this.#surplus() : undefined) ?? this.#refused;
  }

  /** Ends a conversation that the peer has closed: a typed one at once, a script with the end of its input. */
  async #restOf(record: CloseRecord, sending: Promise<CloseFrame | undefined>): Promise<CloseFrame | undefined> {
    if (this.#isTyped && record.end === "close-frame") return undefined;
    try {
      // A remaining line makes sending fail.
      if (!this.#isTyped) return await within(sending, "end of the input", { ...this.#wait, timeoutMs: INPUT_END_MS });
    } catch (error) {
      if (!(error instanceof TimeoutError)) throw error;
    }
    throw new ConnectionClosedError(record);
  }

  /** Sends the lines up to the end or to a `/close`; returns the close frame of the latter. */
  async #sendLines(): Promise<CloseFrame | undefined> {
    const { skip = 0 } = this.#options;
    for (let skipped = 0; skipped < skip && !this.#isTyped; skipped++) await this.#incoming.take(this.#wait);
    while (true) {
      const line = await this.#readLine();
      if (line === undefined) return undefined;
      try {
        const frame = await this.#obey(readLine(line), line);
        if (frame !== undefined) return frame;
      } catch (error) {
        const isMistake = error instanceof UsageError || error instanceof PayloadError || error instanceof TimeoutError;
        if (!this.#isTyped || !isMistake) throw error;
        this.#notice(error.message);
      }
    }
  }

  /** Executes a line; returns the close frame of a `/close`. */
  async #obey(asked: TalkLine, line: string): Promise<CloseFrame | undefined> {
    switch (asked.type) {
      case "close":
        return this.#closeFrameOf(asked);
      case "ping":
        await this.#ping();
        return undefined;
      case "help":
        this.#options.onHelp?.();
        return undefined;
      case "file":
        await this.#send(await this.#readFile(asked.path, asked.kind));
        return undefined;
      case "send":
        if (byteLengthOf(line) >= (this.#options.cutLineBytes ?? Infinity)) this.#refuse();
        else await this.#send(asked.message);
        return undefined;
    }
  }

  async #readFile(path: string, kind: MessageKind): Promise<Message> {
    return await collect(readFile(path), kind, this.#options.maxMessageBytes ?? MAX_BUILTIN_FRAME_BYTES);
  }

  async #readLine(): Promise<string | undefined> {
    try {
      return (await this.#reader.read()).value;
    } catch (error) {
      // The text decoder throws a TypeError; a terminal may cut a line inside a character.
      const { cutLineBytes } = this.#options;
      const cut = cutLineBytes === undefined ? "" : `, or has a line of ${cutLineBytes} bytes that the terminal cut`;
      const reason = error instanceof TypeError ? `the input is not UTF-8${cut}` : messageOf(error);
      throw new UsageError(`Cannot send the lines: ${reason}`);
    }
  }

  async #send(message: Message): Promise<void> {
    const early = this.#isTyped ? undefined : this.#surplus();
    if (early) throw new WrongReplyError(early);
    await this.#connection.send(message, this.#wait);
    this.#sent++;
    this.#options.onMessage(message, "out");
    if (this.#isTyped) return;
    this.#previous = message;
    if (this.#expectation.type === "none") return;
    const reply = await this.#incoming.next(this.#wait);
    const difference = differenceOf(this.#expectation, message, reply);
    if (difference !== undefined) {
      throw new WrongReplyError(replyFailure(difference, await this.#lateHint(message)));
    }
    this.#replies++;
  }

  /** Rejects a line that may be cut; the conversation goes on, and is not proven. */
  #refuse(): void {
    const problem = `A line was not sent: the terminal cuts lines at ${this.#options.cutLineBytes} bytes`;
    const hint = "send it from a pipe, or with --file";
    this.#notice(`${problem}; ${hint}`);
    this.#refused ??= { verdict: "usage", problem, hint };
  }

  /** The failure for unsolicited messages, if any arrived. */
  #surplus(): Failure | undefined {
    const { early } = this.#incoming;
    const surplus = this.#isTyped ? early.slice(this.#options.skip ?? 0) : early;
    const [first] = surplus;
    if (first === undefined) return undefined;
    const failure = surplusFailure(first, surplus.length, this.#expectation, this.#previous);
    const isGreeting = this.#sent === 0 && !this.#isTyped;
    return isGreeting ? { ...failure, hint: `if they are a greeting, use --skip ${surplus.length}` } : failure;
  }

  /** Checks whether the right reply follows an extra message. */
  async #lateHint(sent: Message): Promise<string> {
    try {
      const { timeoutMs = SECOND_LOOK_MS, signal } = this.#wait;
      const next = await this.#incoming.take({ timeoutMs: Math.min(timeoutMs, SECOND_LOOK_MS), signal });
      return differenceOf(this.#expectation, sent, next) === undefined ? lateReplyHint(this.#incoming.count) : "";
    } catch {
      return "";
    }
  }

  #closeFrameOf({ code, reason }: CloseFrame): CloseFrame {
    if (this.#connection.transport === "wire" || code === 1000 || code >= 3000) return { code, reason };
    throw new UsageError(
      `Cannot close with code ${code} over the built-in WebSocket: use 1000, 3000-4999 or --transport wire`,
    );
  }

  async #ping(): Promise<void> {
    if (this.#connection.ping === undefined) {
      throw new UsageError("The built-in WebSocket cannot ping: use --transport wire");
    }
    this.#notice(`pong after ${(await this.#connection.ping(this.#wait)).toFixed(2)} ms`);
  }

  #failureOf(error: unknown): Failure {
    if (error instanceof WrongReplyError) return error.failure;
    const awaitsReplies = !this.#isTyped && this.#expectation.type !== "none";
    const failure = failureOf(error, this.#connection.transport, { awaitsReplies });
    if (this.#isTyped || !(error instanceof ConnectionClosedError)) return failure;
    const lines = counted(this.#sent, "line");
    const replies = `${counted(this.#replies, "reply", "replies")} to ${lines}`;
    const done = this.#expectation.type === "none" ? lines : replies;
    return { ...failure, problem: `${failure.problem}, after ${done}` };
  }

  #notice(text: string): void {
    this.#options.onNotice(`${clock()} ${text}`);
  }
}

/** The longest line, in characters: 16 MiB of them. */
export const MAX_LINE_CHARS = 16 * 1024 * 1024;

/**
 * Splits text into lines.
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
