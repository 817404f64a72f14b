/**
 * A conversation: lines go out as text messages, what comes back is shown.
 *
 * @module
 */

import {
  assertSendableClose,
  type CloseFrame,
  describeCloseFrame,
  describeEnd,
  type ExpectedClose,
  verifyClose,
} from "./protocol/close.ts";
import { messageOf, ProtocolError } from "./protocol/error.ts";
import { byteLengthOf, type Message, quote } from "./protocol/message.ts";
import {
  type Connection,
  ConnectionClosedError,
  DEFAULT_TIMEOUT_MS,
  INTERRUPTED_CLOSE_TIMEOUT_MS,
} from "./transport/connection.ts";
import { TimeoutError, type WaitOptions, within } from "./transport/deadline.ts";
import type { Verdict } from "./verdict.ts";

/** Options of {@linkcode converse}. */
export interface ConverseOptions {
  /** How many messages come first, unasked, and are no replies; 0 by default. */
  skip?: number;
  /** Shows a message of the peer. */
  onMessage: (line: string) => void;
  /** Shows what happens to the connection. */
  onNotice: (line: string) => void;
  /** Whether to wait, once the lines have ended, until as many messages came back as went out; `false` by default. */
  awaitReplies?: boolean;
  /** How long each of those messages may take, in milliseconds; 10 s by default. */
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

/** How a conversation ended. */
export interface Conversation {
  /** The verdict. */
  readonly verdict: Verdict;
  /** What went wrong, in one line; empty if nothing did. */
  readonly problem: string;
}

/** How long the end of a pipe may come after the peer's, in milliseconds. */
const INPUT_END_TIMEOUT_MS = 3000;

/**
 * Sends each line as a text message and shows what comes back, until the lines end, the peer closes or the signal comes;
 * the line `/ping` sends a ping and shows its round-trip time, `/close [CODE [REASON]]` closes; a doubled slash sends them;
 * then the close is verified. A close by the peer ends it properly if its code is the expected one.
 *
 * @param connection The connection; it is closed when this returns.
 * @param lines The lines, without line ends; cancelled when the conversation ends first.
 * @param options Where to show things and how long to wait.
 * @returns How it ended.
 *
 * @example
 * ```ts
 * import { converse } from "./interactive.ts";
 * import { serveEcho } from "./serve.ts";
 * import { openBuiltin } from "./transport/builtin.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const connection = await openBuiltin(server.url);
 * const shown: string[] = [];
 * const { verdict } = await converse(connection, ReadableStream.from(["one", "two"]), {
 *   awaitReplies: true,
 *   onMessage: (line) => shown.push(line.slice(line.indexOf("<"))),
 *   onNotice: () => {},
 * });
 * assertEquals(verdict, "proven");
 * assertEquals(shown, ["< one", "< two"]);
 * await server.shutdown();
 * ```
 */
export async function converse(
  connection: Connection,
  lines: ReadableStream<string>,
  options: ConverseOptions,
): Promise<Conversation> {
  const {
    onMessage,
    onNotice,
    skip = 0,
    replyTimeoutMs = DEFAULT_TIMEOUT_MS,
    closeTimeoutMs = DEFAULT_TIMEOUT_MS,
    close = { code: 1000, reason: "" },
    signal,
  } = options;
  const counts: Counts = { sent: 0, received: -skip, isOver: false, fault: undefined, wake: () => {} };
  const receiving = showMessages(connection, counts, onMessage);
  const reader = lines.getReader();
  let problem: Conversation | undefined;
  let frame = close;
  let isAllSent = false;
  try {
    const sending = sendLines(connection, reader, counts, { timeoutMs: replyTimeoutMs, signal }, onNotice).then(
      (asked) => {
        frame = asked ?? close;
        isAllSent = true;
      },
    );
    await within(Promise.race([sending, connection.closed]), "end", { signal });
    // Whether lines are left decides what an end of the peer means, and a pipe may say so a little later than the peer.
    if (options.awaitReplies && !isAllSent) {
      await within(sending, "end of the input", { timeoutMs: INPUT_END_TIMEOUT_MS, signal }).catch(() => {});
    }
    if (options.awaitReplies) await repliesCame(counts, options);
  } catch (error) {
    problem = problemOf(error, signal);
  }
  const record = await connection.close({
    ...frame,
    ...(signal?.aborted
      ? { timeoutMs: Math.min(closeTimeoutMs, INTERRUPTED_CLOSE_TIMEOUT_MS) }
      : { timeoutMs: closeTimeoutMs, signal }),
  });
  reader.cancel().catch(() => {});
  await receiving;
  const outcome = verifyClose(record, expectedFor(frame, options));
  onNotice(
    outcome === "confirmed" && record.initiator === "local"
      ? `${clock()} closed with ${describeCloseFrame(record.received ?? frame)}, confirmed by the peer`
      : `${clock()} ${describeEnd(record)}`,
  );
  if (signal?.aborted) return { verdict: "interrupted", problem: "Interrupted" };
  if (problem) return problem;
  if (counts.fault) return { verdict: "wrong-reply", problem: counts.fault.message };
  if (options.awaitReplies && (!isAllSent || counts.received < counts.sent)) {
    const { sent } = counts;
    const lines = `${Math.max(0, counts.received)} replies to ${sent} ${sent === 1 ? "line" : "lines"}`;
    const verdict = outcome === "confirmed" || record.end !== "close-frame" ? "connection-lost" : "close-not-confirmed";
    return { verdict, problem: `${describeEnd(record)}, after ${lines}` };
  }
  if (outcome === "confirmed") return { verdict: "proven", problem: "" };
  const verdict = record.initiator !== "local" && record.end !== "close-frame"
    ? "connection-lost"
    : "close-not-confirmed";
  return { verdict, problem: describeEnd(record) };
}

interface Counts {
  sent: number;
  received: number;
  /** No message will come any more. */
  isOver: boolean;
  /** What made the connection fail, if a message of the peer did. */
  fault: ProtocolError | undefined;
  /** Called when a message has arrived, or none will. */
  wake: () => void;
}

async function showMessages(connection: Connection, counts: Counts, show: (line: string) => void): Promise<void> {
  try {
    for await (const message of connection) {
      counts.received++;
      show(`${clock()} < ${readable(message)}`);
      counts.wake();
    }
  } catch (error) {
    // How else the connection ended is in its close record, which is shown and judged.
    if (error instanceof ProtocolError) counts.fault = error;
  }
  counts.isOver = true;
  counts.wake();
}

/** What should answer a close frame: what was asked for, unless a line asked for another frame. */
function expectedFor(frame: CloseFrame, { close = frame, expectedClose }: ConverseOptions): ExpectedClose {
  return frame === close && expectedClose !== undefined ? expectedClose : { code: frame.code };
}

/** Sends the lines until they end, or until one asks for the close: then gives the frame that it asks for. */
async function sendLines(
  connection: Connection,
  reader: ReadableStreamDefaultReader<string>,
  counts: Counts,
  wait: WaitOptions,
  notice: (line: string) => void,
): Promise<CloseFrame | undefined> {
  while (true) {
    const { done, value } = await reader.read();
    if (done) return undefined;
    const close = /^\/close(?: +(\d+)(?: +(.*))?)? *$/.exec(value);
    if (close) {
      const [, code = "1000", reason = ""] = close;
      const mistake = mistakeOf(connection, Number(code), reason);
      if (mistake === undefined) return { code: Number(code), reason };
      notice(`${clock()} ${mistake}`);
    } else if (/^\/ping *$/.test(value)) {
      notice(`${clock()} ${await pinged(connection, wait)}`);
    } else {
      // A line that looks like a command is sent when its slash is doubled.
      await connection.send(value.replace(/^\/(\/(ping|close)\b)/, "$1"), wait);
      counts.sent++;
    }
  }
}

function mistakeOf(connection: Connection, code: number, reason: string): string | undefined {
  try {
    assertSendableClose(code, reason);
  } catch (error) {
    return messageOf(error);
  }
  const isFree = connection.transport === "wire" || code === 1000 || code >= 3000;
  return isFree
    ? undefined
    : `Cannot close with code ${code} over the built-in WebSocket: use 1000, 3000-4999 or --transport wire`;
}

async function pinged(connection: Connection, wait: WaitOptions): Promise<string> {
  if (connection.ping === undefined) return "The built-in WebSocket cannot ping: use --transport wire";
  try {
    return `pong after ${(await connection.ping(wait)).toFixed(2)} ms`;
  } catch (error) {
    if (error instanceof TimeoutError) return error.message;
    throw error;
  }
}

async function repliesCame(counts: Counts, options: ConverseOptions): Promise<void> {
  const { replyTimeoutMs: timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  while (counts.received < counts.sent && !counts.isOver) {
    const arrival = Promise.withResolvers<void>();
    counts.wake = arrival.resolve;
    await within(arrival.promise, "complete message", { timeoutMs, signal });
  }
}

function problemOf(error: unknown, signal: AbortSignal | undefined): Conversation | undefined {
  // The end of the connection, and an interruption, are judged with the close record.
  if (signal?.aborted || error instanceof ConnectionClosedError) return undefined;
  if (error instanceof ProtocolError) return { verdict: "wrong-reply", problem: error.message };
  if (error instanceof TimeoutError) return { verdict: "no-reply", problem: error.message };
  // The decoder of the lines throws a TypeError.
  const reason = error instanceof TypeError ? "the input is not UTF-8" : messageOf(error);
  return { verdict: "usage", problem: `Cannot send the lines: ${reason}` };
}

/** Text as it is, but for characters that would steer the terminal; of binary the beginning. */
function readable(message: Message): string {
  if (typeof message === "string") return quote(message).slice(1, -1).replace(/\\(["\\])/g, "$1");
  const shown = message.subarray(0, 24).toHex().replace(/../g, "$& ").trim();
  return `binary, ${byteLengthOf(message)} bytes: ${shown}${message.byteLength > 24 ? " ..." : ""}`;
}

function clock(): string {
  const now = new Date();
  const digits = (value: number, length: number) => String(value).padStart(length, "0");
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map((value) => digits(value, 2)).join(":");
  return `${time}.${digits(now.getMilliseconds(), 3)}`;
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
 * import { splitLines } from "./interactive.ts";
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
