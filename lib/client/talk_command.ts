/**
 * The lines of a conversation: text to send, or a command. Pure: a line in, its meaning out.
 *
 * @module
 */

import { UsageError } from "./usage.ts";
import { assertSendableClose } from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { type Message, type MessageKind, quote } from "../protocol/message.ts";

/** The meaning of a line. */
export type TalkLine =
  | { readonly type: "send"; readonly message: Message }
  | { readonly type: "file"; readonly path: string; readonly kind: MessageKind }
  | { readonly type: "ping" }
  | { readonly type: "help" }
  | { readonly type: "close"; readonly code: number; readonly reason: string };

/** The commands of a conversation, for the help. */
export const TALK_COMMANDS: Readonly<Record<`/${string}`, { readonly usage: string; readonly help: string }>> = {
  "/help": { usage: "", help: "Show these commands" },
  "/ping": { usage: "", help: "Send a ping, show the round-trip time (wire)" },
  "/close": { usage: "[CODE [REASON]]", help: "Close with this code (default 1000) and reason, then end" },
  "/binary": { usage: "HEX", help: "Send these bytes, in hexadecimal, as a binary message" },
  "/file": { usage: "[-b] PATH", help: "Send a file as a text message; with -b, as a binary one" },
  "//ping": { usage: "", help: "Send /ping as text: only a command needs a doubled slash" },
};

/** The reader of each command, for the words behind the command. */
const READERS: Readonly<Record<string, (words: string, line: string) => TalkLine>> = {
  help: (words, line) => alone("help", words, line),
  ping: (words, line) => alone("ping", words, line),
  close: readClose,
  binary: readBinary,
  file: readFileWords,
};

const COMMAND = new RegExp(`^/(${Object.keys(READERS).join("|")})(?: (.*))?$`, "s");
const DOUBLED = new RegExp(`^/(/(?:${Object.keys(READERS).join("|")})(?: |$))`);

/**
 * Reads a line of a conversation.
 *
 * @param line The line, without its end.
 * @returns Its meaning; a line without a command is a text message.
 * @throws {UsageError} If the words behind a command make no sense.
 *
 * @example
 * ```ts
 * import { readLine } from "./talk_command.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(readLine("hello"), { type: "send", message: "hello" });
 * assertEquals(readLine("//ping"), { type: "send", message: "/ping" });
 * assertEquals(readLine("/binary 00 ff"), { type: "send", message: Uint8Array.of(0, 255) });
 * ```
 */
export function readLine(line: string): TalkLine {
  const [, command = "", words = ""] = COMMAND.exec(line) ?? [];
  const read = READERS[command];
  if (read !== undefined) return read(words, line);
  // A doubled slash sends a line that looks like a command.
  return { type: "send", message: line.replace(DOUBLED, "$1") };
}

function alone(type: "help" | "ping", words: string, line: string): TalkLine {
  if (words.trim() !== "") throw notACommand(line, `give /${type} alone`);
  return { type };
}

function readClose(words: string, line: string): TalkLine {
  const [match, digits = "1000", reason = ""] = /^ *(?:(\d+)(?: +(.*))?)?$/s.exec(words) ?? [];
  if (match === undefined) throw notACommand(line, "give /close CODE REASON");
  const code = Number(digits);
  try {
    assertSendableClose(code, reason);
  } catch (error) {
    throw new UsageError(messageOf(error));
  }
  return { type: "close", code, reason };
}

function readBinary(words: string, line: string): TalkLine {
  try {
    return { type: "send", message: Uint8Array.fromHex(words.replace(/\s+|\b0x/gi, "")) };
  } catch {
    throw notACommand(line, "give pairs of hexadecimal digits, such as /binary 00 ff");
  }
}

function readFileWords(words: string, line: string): TalkLine {
  const [, flag, path = ""] = /^ *(-b +)?(.*)$/s.exec(words) ?? [];
  if (path === "") throw notACommand(line, "give /file PATH, or /file -b PATH");
  // A dash alone would be the standard input, from which the lines come.
  return { type: "file", path: path === "-" ? "./-" : path, kind: flag === undefined ? "text" : "binary" };
}

function notACommand(line: string, advice: string): UsageError {
  return new UsageError(`Cannot read ${quote(line, 40)}: ${advice}, or double the slash to send it as text`);
}
