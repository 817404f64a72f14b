/**
 * The traffic on the wire as lines for a person.
 *
 * @module
 */

import { describeCloseFrame, parseClosePayload } from "../protocol/close.ts";
import { OPCODE, RSV1 } from "../protocol/frame.ts";
import { counted, formatMs, harmlessValue, hexStart, quote } from "../protocol/message.ts";
import { dumpLines } from "./message_line.ts";
import { EVENT_COLUMNS, printable } from "./report.ts";
import type { BreachTrace, FrameTrace, HeadTrace } from "../connection/connection.ts";
import { messageOf } from "../protocol/error.ts";

/**
 * Formats a frame as a line.
 *
 * @param frame The frame.
 * @param atMs Its time, in milliseconds since the start.
 * @returns Time, direction (`>` out, `<` in), opcode, FIN and the reserved bits, mask, length, and the first bytes of
 * the payload, or code and reason of a close frame. The message of compressed frames has a line of its own.
 *
 * @example
 * ```ts
 * import { formatFrame } from "./trace.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const header = { final: true, reserved: 0, opcode: 1, isMasked: false, length: 5 };
 * const start = new TextEncoder().encode("Hello");
 * assertEquals(formatFrame({ direction: "in", header, start }, 1.5), '    1.50 ms  < text FIN, 5 bytes: "Hello"');
 * ```
 */
export function formatFrame({ direction, header, start, inflatedBytes }: FrameTrace, atMs: number): string {
  const { final, reserved, opcode, isMasked } = header;
  const isFrame = inflatedBytes === undefined;
  const length = inflatedBytes ?? header.length;
  const verb = direction === "out" ? "compressed" : "inflated";
  const name = isFrame ? nameOf(opcode, final, reserved) : `${verb} ${OPCODE_NAMES[opcode] ?? ""}`;
  const size = `${counted(length, "byte")}${isMasked ? ", masked" : ""}`;
  // Show compressed text as bytes.
  const shown = isFrame && reserved & RSV1 ? OPCODE.binary : opcode;
  const payload = length === 0 ? "" : `: ${describePayload(shown, start, length)}`;
  return printable(`${timeOf(atMs)}${MARKS[direction]} ${name}, ${size}${payload}`);
}

const MARKS = { out: ">", in: "<" };

function timeOf(atMs: number): string {
  return `${formatMs(atMs).padStart(EVENT_COLUMNS - 2)}  `;
}

/**
 * Formats a head of the opening handshake as lines.
 *
 * @param head The head.
 * @param atMs Its time, in milliseconds since the start.
 * @returns A line for the request or the status, and one for each field; secret values are hidden.
 *
 * @example
 * ```ts
 * import { formatHead } from "./trace.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const fields = [["Host", "example.com"], ["Authorization", "Basic bWU6c2VjcmV0"]] as const;
 * assertEquals(formatHead({ direction: "out", startLine: "GET / HTTP/1.1", fields }, 1.5), [
 *   "    1.50 ms  > GET / HTTP/1.1",
 *   "             > Host: example.com",
 *   "             > Authorization: ***",
 * ]);
 * ```
 */
export function formatHead({ direction, startLine, fields }: HeadTrace, atMs: number): string[] {
  const mark = MARKS[direction];
  const lines = fields.map((field) => `${" ".repeat(EVENT_COLUMNS)}${mark} ${field[0]}: ${harmlessValue(field)}`);
  return [`${timeOf(atMs)}${mark} ${startLine}`, ...lines].map(printable);
}

/**
 * Formats a breach of the protocol as a line.
 *
 * @param breach The breach, with the first bytes of its frame.
 * @param atMs Its time, in milliseconds since the start.
 * @returns Time, problem, and the first bytes of the frame.
 *
 * @example
 * ```ts
 * import { formatBreach } from "./trace.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const breach = { problem: "Frame has a reserved bit set", start: Uint8Array.of(0xc1, 0) };
 * assertEquals(
 *   formatBreach(breach, 1.5),
 *   "    1.50 ms  ! Frame has a reserved bit set; the frame begins with c1 00: text FIN RSV1",
 * );
 * ```
 */
export function formatBreach({ problem, start }: BreachTrace, atMs: number): string {
  const [first] = start;
  if (first === undefined) return printable(`${timeOf(atMs)}! ${problem}`);
  const shown = hexStart(start, start.byteLength).slice(2);
  return printable(
    `${timeOf(atMs)}! ${problem}; the frame begins with ${shown}: ${
      nameOf(first & 15, first >> 7 === 1, (first >> 4) & 7)
    }`,
  );
}

/**
 * Dumps the start of a payload.
 *
 * @param frame The frame.
 * @returns Lines; none for an empty payload.
 *
 * @example
 * ```ts
 * import { dumpFrame } from "./trace.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const header = { final: true, reserved: 0, opcode: 2, isMasked: false, length: 0 };
 * assertEquals(dumpFrame({ direction: "in", header, start: new Uint8Array(0) }), []);
 * ```
 */
export function dumpFrame({ header, start, inflatedBytes }: FrameTrace): string[] {
  return dumpLines(Uint8Array.from(start), inflatedBytes ?? header.length);
}

function nameOf(opcode: number, final: boolean, reserved: number): string {
  const bits = [4, 2, 1].map((bit, index) => reserved & bit ? ` RSV${index + 1}` : "").join("");
  return `${OPCODE_NAMES[opcode] ?? `opcode ${opcode}`}${final ? " FIN" : ""}${bits}`;
}

const OPCODE_NAMES: Record<number, string> = Object.fromEntries(
  Object.entries(OPCODE).map(([name, opcode]) => [opcode, name]),
);

/** The most bytes of a payload in a line. */
const MAX_SHOWN_BYTES = 16;

function describePayload(opcode: number, start: Uint8Array, length: number): string {
  if (opcode === OPCODE.close) {
    try {
      return describeCloseFrame(parseClosePayload(start));
    } catch (error) {
      return `${start.toHex()} (${messageOf(error)})`;
    }
  }
  const shown = start.subarray(0, MAX_SHOWN_BYTES);
  const more = length > shown.byteLength ? " ..." : "";
  if (opcode === OPCODE.text) return `${quote(new TextDecoder().decode(shown, { stream: true }))}${more}`;
  return hexStart(shown, MAX_SHOWN_BYTES).slice(2) + more;
}
