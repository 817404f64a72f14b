/**
 * Frames as lines for a person.
 *
 * @module
 */

import { describeCloseFrame, parseClosePayload } from "../protocol/close.ts";
import { OPCODE, RSV1 } from "../protocol/frame.ts";
import { formatMs, quote } from "../protocol/message.ts";
import { printable } from "./report.ts";
import type { FrameTrace } from "../connection/connection.ts";
import { messageOf } from "../protocol/error.ts";

/**
 * Puts a frame that went over the connection into a line.
 *
 * @param frame The frame.
 * @param atMs When it went, in milliseconds since the start.
 * @returns Time, direction (`>` out, `<` in), opcode, FIN and the reserved bits, mask, length, and how the payload begins;
 * of a close frame the code and reason. The message that compressed frames carry has a line of its own.
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
  if (inflatedBytes !== undefined) return formatInflated(direction, header.opcode, start, inflatedBytes, atMs);
  const { final, reserved, opcode, isMasked, length } = header;
  const name = OPCODE_NAMES[opcode] ?? `opcode ${opcode}`;
  const bits = [final ? " FIN" : "", ...[4, 2, 1].map((bit, index) => reserved & bit ? ` RSV${index + 1}` : "")].join(
    "",
  );
  const size = `${length} ${length === 1 ? "byte" : "bytes"}${isMasked ? ", masked" : ""}`;
  // Compressed text is no text.
  const shown = reserved & RSV1 ? OPCODE.binary : opcode;
  const payload = length === 0 ? "" : `: ${describePayload(shown, start, length)}`;
  const line = `${formatMs(atMs).padStart(11)}  ${direction === "out" ? ">" : "<"} ${name}${bits}, ${size}${payload}`;
  return printable(line);
}

/** What compressed frames hold, beside the lines of the frames. */
function formatInflated(
  direction: FrameTrace["direction"],
  opcode: number,
  start: Uint8Array,
  length: number,
  atMs: number,
): string {
  const size = `${length} ${length === 1 ? "byte" : "bytes"}`;
  const payload = length === 0 ? "" : `: ${describePayload(opcode, start, length)}`;
  const [mark, verb] = direction === "out" ? [">", "compressed"] : ["<", "inflated"];
  return printable(`${formatMs(atMs).padStart(11)}  ${mark} ${verb} ${OPCODE_NAMES[opcode] ?? ""}, ${size}${payload}`);
}

const OPCODE_NAMES: Record<number, string> = Object.fromEntries(
  Object.entries(OPCODE).map(([name, opcode]) => [opcode, name]),
);

/** How many bytes of a payload a line shows. */
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
  return `${shown.toHex().replace(/../g, "$& ").trim()}${more}`;
}
