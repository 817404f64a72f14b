/**
 * The log of a server: one line an event, for people or for programs. What peers sent is data, and stays on its line.
 *
 * @module
 */

import type { EchoEvent } from "./echo_policy.ts";
import { describeCloseFrame } from "./protocol/close.ts";
import { messageOf } from "./protocol/error.ts";
import { escapeUnprintable, quote } from "./protocol/message.ts";
import { formatMs } from "./report.ts";

/** What a server tells of itself and of its connections. */
export type ServerEvent = EchoEvent | ServerListening | ServerDraining | ServerStopped;

/** It listens. */
export interface ServerListening {
  /** What happened. */
  readonly type: "listening";
  /** Where, as a WebSocket URL. */
  readonly url: string;
}

/** It was asked to end, and closes its connections. */
export interface ServerDraining {
  /** What happened. */
  readonly type: "draining";
}

/** It has ended. */
export interface ServerStopped {
  /** What happened. */
  readonly type: "stopped";
  /** How many peers had not answered the close frame in time. */
  readonly unanswered: number;
}

/** The forms of a log. */
export const LOG_FORMS = ["text", "json", "none"] as const;

/** The form of a log: lines for people, JSON objects, or nothing. */
export type LogForm = typeof LOG_FORMS[number];

/**
 * Writes one event as a line of a log.
 *
 * @param form The form; of `none`, only where the server listens is told.
 * @param event The event.
 * @param time When it happened.
 * @returns The line without its end, or `undefined` if there is none. In JSON, `time` is the time in ISO 8601; control
 * characters are escaped in either form.
 *
 * @example
 * ```ts
 * import { logLine } from "./event_log.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const event = { type: "refused", peer: "127.0.0.1:50000", path: "/\u001b[2J", status: 403, cause: "origin" } as const;
 * assertEquals(
 *   logLine("text", event, new Date(0)),
 *   '1970-01-01T00:00:00.000Z refused 127.0.0.1:50000 for "/\\u001b[2J": 403 (origin)',
 * );
 * ```
 */
export function logLine(form: LogForm, event: ServerEvent, time: Date): string | undefined {
  if (form === "json") return escapeUnprintable(JSON.stringify({ time: time.toISOString(), ...event }));
  // What a script waits for, and reads the port from.
  if (event.type === "listening") return `Listening on ${event.url}`;
  return form === "none" ? undefined : `${time.toISOString()} ${describeEvent(event)}`;
}

/**
 * Makes a log. A line that cannot be written, as on a full disk, is lost and nothing else: that is said once.
 *
 * @param form The form.
 * @param write Writes a line of the log.
 * @param warn Writes a line for the operator.
 * @returns Takes events; it never throws.
 *
 * @example
 * ```ts
 * import { createLog } from "./event_log.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const log = createLog("none", (line) => lines.push(line), console.error);
 * log({ type: "listening", url: "ws://127.0.0.1:6455/" });
 * assertEquals(lines, ["Listening on ws://127.0.0.1:6455/"]);
 * ```
 */
export function createLog(
  form: LogForm,
  write: (line: string) => void,
  warn: (line: string) => void,
): (event: ServerEvent) => void {
  let isBroken = false;
  return (event) => {
    const line = logLine(form, event, new Date());
    if (line === undefined) return;
    try {
      write(line);
      isBroken = false;
    } catch (error) {
      if (!isBroken) attempt(() => warn(`wsproof: Cannot write the log: ${messageOf(error)}`));
      isBroken = true;
    }
  };
}

function attempt(action: () => void): void {
  try {
    action();
  } catch {
    // There is nowhere left to say it.
  }
}

function describeEvent(event: Exclude<ServerEvent, ServerListening>): string {
  switch (event.type) {
    case "opened": {
      const protocol = event.protocol === "" ? "" : ` subprotocol ${quote(event.protocol)}`;
      return `#${event.id} opened by ${event.peer} for ${quote(event.path, MAX_PATH_CHARS)}${protocol}`;
    }
    case "closed": {
      const { received, sent, error, messages, bytes, ms } = event;
      const end = received
        ? describeCloseFrame(received)
        : error === ""
        ? "no close frame that is known"
        : quote(error);
      const began = sent ? `, after our ${describeCloseFrame(sent)}` : "";
      return `#${event.id} closed: ${end}${began}; ${count(messages, "message")}, ${bytes} bytes in ${formatMs(ms)}`;
    }
    case "refused": {
      const asked = event.path === "" ? "" : ` for ${quote(event.path, MAX_PATH_CHARS)}`;
      return `refused ${event.peer}${asked}: ${event.status === 0 ? "no answer" : event.status} (${event.cause})`;
    }
    case "trouble":
      return `cannot take connections: ${quote(event.error)}`;
    case "draining":
      return "draining";
    case "stopped":
      return event.unanswered === 0
        ? "stopped"
        : `stopped: ${count(event.unanswered, "peer")} did not answer the close frame in time`;
  }
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

const MAX_PATH_CHARS = 200;
