/**
 * The log of a server: one line an event, for people or programs. Data from peers stays on its line.
 *
 * @module
 */

import type { EchoClosed, EchoEvent, TroubleKind } from "./policy.ts";
import { type ByteSink, LineWriter } from "./line_writer.ts";
import { describeCloseFrame, firstCloseFrameOf } from "../protocol/close.ts";
import { escapeUnprintable, formatMs, quote } from "../protocol/message.ts";

/** An event of a server, or of one of its connections. */
export type ServerEvent = EchoEvent | ServerListening | ServerDraining | ServerStopped | LogDropped;

/** The server listens. */
export interface ServerListening {
  /** The kind of event. */
  readonly type: "listening";
  /** Its WebSocket URL. */
  readonly url: string;
}

/** The server ends, and closes its connections. */
export interface ServerDraining {
  /** The kind of event. */
  readonly type: "draining";
}

/** The server has ended. */
export interface ServerStopped {
  /** The kind of event. */
  readonly type: "stopped";
  /** How many peers did not answer the close frame in time. */
  readonly unanswered: number;
}

/** The log has lost lines before this one: its reader was too slow, or the disk was full. */
export interface LogDropped {
  /** The kind of event. */
  readonly type: "dropped";
  /** How many lines. */
  readonly lines: number;
}

/** The forms of a log. */
export const LOG_FORMS = ["text", "json", "none"] as const;

/** The form of a log: lines for people, JSON objects, or nothing. */
export type LogForm = typeof LOG_FORMS[number];

/**
 * Formats one event as a line of a log.
 *
 * @param form The form; `none` tells only where the server listens.
 * @param event The event.
 * @param time Its time.
 * @param worker Name of the worker, if there are several.
 * @returns The line without its end; `undefined` if there is none. In JSON, `time` is in ISO 8601. Both forms escape
 * control characters.
 *
 * @example
 * ```ts
 * import { logLine } from "./log.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const who = { peer: "127.0.0.1:50000", path: "/\u001b[2J" };
 * const event = { type: "refused", ...who, status: 403, cause: "origin", reason: "Not this one." } as const;
 * assertEquals(
 *   logLine("text", event, new Date(0)),
 *   '1970-01-01T00:00:00.000Z refused 127.0.0.1:50000 for "/\\u001b[2J": 403 (origin): Not this one.',
 * );
 * ```
 */
export function logLine(form: LogForm, event: ServerEvent, time: Date, worker?: string): string | undefined {
  if (form === "json") {
    const fields = event.type === "closed" ? closedFields(event) : event;
    return escapeUnprintable(JSON.stringify({ time: time.toISOString(), ...(worker && { worker }), ...fields }));
  }
  // Scripts wait for this line, and read the port from it.
  if (event.type === "listening") return `Listening on ${event.url}`;
  return form === "none" ? undefined : `${time.toISOString()} ${worker ? `[${worker}] ` : ""}${describeEvent(event)}`;
}

/** In the log, `sent` is the server's first close frame, and `null` if the peer began. */
function closedFields(event: EchoClosed) {
  const { type, id, peer, received, initiator, end, tcp, detail, incomplete, messages, bytes, ms, wire } = event;
  const sent = initiator === "peer" ? null : firstCloseFrameOf(event);
  return {
    type,
    id,
    peer,
    received,
    sent,
    error: detail,
    messages,
    bytes,
    // Whole microseconds: more digits are noise.
    ms: Math.round(1000 * ms) / 1000,
    initiator,
    end,
    tcp,
    incomplete,
    ...(wire && { wire }),
  };
}

/** A log that never blocks its writer. */
export interface EventLog {
  /** How many lines were lost so far. */
  readonly droppedLines: number;
  /** Takes an event. Returns at once and never throws. */
  readonly tell: (event: ServerEvent) => void;
  /**
   * Waits until all is written.
   *
   * @param timeoutMs How long to wait at most, in milliseconds.
   * @returns How many lines are still pending: 0 unless the reader of the log stalls.
   */
  flush(timeoutMs: number): Promise<number>;
}

/** Options of {@linkcode createLog}. */
export interface LogOptions {
  /** Takes a line for the operator: the log cannot be written, as on a full disk. Once in a row. */
  readonly warn?: (line: string) => void;
  /** Name of the worker; stands in every line. */
  readonly worker?: string;
}

/**
 * Makes a log. While its reader stalls, at most 1 MiB of characters is pending. Further lines, and lines that cannot be
 * written, are dropped and counted; a line of the log says so in their place.
 *
 * @param form The form.
 * @param sink Takes the bytes, as `Deno.stdout` does.
 * @param options Who is told of failures.
 * @returns The log.
 *
 * @example
 * ```ts
 * import { createLog } from "./log.ts";
 * import { assertEquals } from "@std/assert";
 *
 * let written = "";
 * const log = createLog("none", {
 *   write(bytes) {
 *     written += new TextDecoder().decode(bytes);
 *     return Promise.resolve(bytes.byteLength);
 *   },
 * });
 * log.tell({ type: "listening", url: "ws://127.0.0.1:6455/" });
 * assertEquals([await log.flush(1000), written], [0, "Listening on ws://127.0.0.1:6455/\n"]);
 * ```
 */
export function createLog(form: LogForm, sink: ByteSink, { warn, worker }: LogOptions = {}): EventLog {
  const line = (event: ServerEvent) => logLine(form, event, new Date(), worker);
  const writer = new LineWriter(sink, {
    describeDropped: (lines) => line({ type: "dropped", lines }),
    onError: (reason) => warn?.(`wsproof: Cannot write the log: ${reason}`),
  });
  return {
    get droppedLines() {
      return writer.droppedLines;
    },
    tell(event) {
      // Without a log, two events of each connection need no time.
      if (form === "none" && event.type !== "listening") return;
      const text = line(event);
      if (text !== undefined) writer.write(text);
    },
    flush: (timeoutMs) => writer.flush(timeoutMs),
  };
}

function describeEvent(event: Exclude<ServerEvent, ServerListening>): string {
  switch (event.type) {
    case "opened": {
      const protocol = event.protocol === "" ? "" : ` subprotocol ${quote(event.protocol)}`;
      const extensions = event.extensions === undefined ? "" : ` with ${event.extensions}`;
      return `#${event.id} opened by ${event.peer} for ${quote(event.path, MAX_PATH_CHARS)}${protocol}${extensions}`;
    }
    case "closed": {
      const { received, sent, error, messages, bytes, ms } = closedFields(event);
      const end = received ? describeCloseFrame(received) : error === "" ? "no known close frame" : quote(error);
      const began = sent ? `, after our ${describeCloseFrame(sent)}` : "";
      return `#${event.id} closed: ${end}${began}; ${count(messages, "message")}, ${bytes} bytes in ${formatMs(ms)}`;
    }
    case "refused": {
      const asked = event.path === "" ? "" : ` for ${quote(event.path, MAX_PATH_CHARS)}`;
      const answer = event.status === 0 ? "no answer" : event.status;
      return `refused ${event.peer}${asked}: ${answer} (${event.cause}): ${event.reason}`;
    }
    case "trouble":
      return `${TROUBLES[event.kind]}: ${quote(event.error)}`;
    case "dropped":
      return `${count(event.lines, "line")} of this log ${event.lines === 1 ? "was" : "were"} dropped here`;
    case "draining":
      return "draining";
    case "stopped":
      return event.unanswered === 0
        ? "stopped"
        : `stopped: ${count(event.unanswered, "peer")} did not answer the close frame in time`;
  }
}

const TROUBLES: Readonly<Record<TroubleKind, string>> = {
  accept: "cannot accept connections",
  runtime: "uncaught error",
  worker: "a worker has died",
};

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

const MAX_PATH_CHARS = 200;
