/**
 * Messages as lines for a person, without anything that could steer a terminal.
 *
 * @module
 */

import { formatBytes, hexPairs, hexStart, type Message, payloadOf, quote } from "../protocol/message.ts";

/** The direction of a message, seen from here. */
export type Direction = "out" | "in";

/** The most bytes of a binary message in a line. */
const MAX_SHOWN_BYTES = 24;

/** The most bytes of a message in a dump: 4096. */
export const MAX_DUMPED_BYTES = 4096;

/**
 * Formats a message as a line: text in full, a binary message with its length and first bytes.
 *
 * @param message The message.
 * @param direction Its direction.
 * @param time The time, by the clock of this machine; now by default.
 * @returns The time of day, the direction (`>` out, `<` in) and the message, on one line that cannot steer a terminal.
 *
 * @example
 * ```ts
 * import { messageLine } from "./message_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const noon = new Date(2026, 0, 1, 12);
 * assertEquals(messageLine("a\tb", "in", noon), "12:00:00.000 < a\\tb");
 * assertEquals(messageLine(Uint8Array.of(0, 255), "out", noon), "12:00:00.000 > binary, 2 bytes: 00 ff");
 * ```
 */
export function messageLine(message: Message, direction: Direction, time?: Date): string {
  return `${clock(time)} ${direction === "out" ? ">" : "<"} ${readable(message)}`;
}

function readable(message: Message): string {
  if (typeof message === "string") return quote(message).slice(1, -1).replace(/\\(["\\])/g, "$1");
  return `binary, ${formatBytes(message.byteLength)}${hexStart(message, MAX_SHOWN_BYTES)}`;
}

/** The time of day, with milliseconds. */
export function clock(time: Date = new Date()): string {
  const digits = (value: number, length: number) => String(value).padStart(length, "0");
  const parts = [time.getHours(), time.getMinutes(), time.getSeconds()].map((value) => digits(value, 2)).join(":");
  return `${parts}.${digits(time.getMilliseconds(), 3)}`;
}

/**
 * Dumps a payload: offset, 16 bytes in hexadecimal, and the same bytes as text.
 *
 * @param payload The payload, or its beginning; text as UTF-8.
 * @param length Its whole length in bytes, if longer.
 * @returns Lines of 74 columns at most, for the first {@linkcode MAX_DUMPED_BYTES} bytes, with full stops beyond ASCII.
 *
 * @example
 * ```ts
 * import { dumpLines } from "./message_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(dumpLines("Hi\n"), [`  00000000  48 69 0a${" ".repeat(41)} |Hi.|`]);
 * ```
 */
export function dumpLines(payload: Message, length?: number): string[] {
  const all = payloadOf(payload);
  const shown = all.subarray(0, MAX_DUMPED_BYTES);
  const lines: string[] = [];
  for (let at = 0; at < shown.byteLength; at += 16) {
    const row = shown.subarray(at, at + 16);
    const text = [...row].map((byte) => byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".").join("");
    const hex = hexPairs(row).replace(/^(.{23}) (?=.)/, "$1  ").padEnd(49);
    lines.push(`  ${at.toString(16).padStart(8, "0")}  ${hex} |${text}|`);
  }
  const more = (length ?? all.byteLength) - shown.byteLength;
  return more > 0 ? [...lines, `  and ${formatBytes(more)} more`] : lines;
}
