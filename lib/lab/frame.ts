/**
 * Frames as the lab writes them: also those that RFC 6455 does not allow.
 *
 * @module
 */

import { encodeFrame, OPCODE } from "../protocol/frame.ts";

/** A message on its way out; it may become several, and its text need not be UTF-8. */
export interface LabMessage {
  /** Whether it goes out as text or as binary. */
  readonly kind: "text" | "binary";
  /** Its bytes. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** A frame on its way out. */
export interface LabFrame {
  /** The opcode, 0 to 15. */
  readonly opcode: number;
  /** The payload, unmasked. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Whether it ends its message; `true` by default. */
  readonly final?: boolean;
  /** The three reserved bits, 0 to 7; 0 by default. */
  readonly reserved?: number;
  /** Whether the payload goes out masked, as only a client's may; `false` by default. */
  readonly isMasked?: boolean;
  /** Whether the length takes more bytes than it needs; `false` by default. */
  readonly isLengthened?: boolean;
}

/** Makes other messages of a message: none, one or more. */
export type MessageShape = (message: LabMessage) => Iterable<LabMessage>;

/** Makes other frames of the frames of one message. It makes them as they are taken, so that many take no memory. */
export type FrameShape = (frames: Iterable<LabFrame>) => Iterable<LabFrame>;

/**
 * Writes a frame.
 *
 * @param frame The frame.
 * @returns Its bytes.
 *
 * @example
 * ```ts
 * import { encodeLabFrame } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new TextEncoder().encode("hi");
 * assertEquals(encodeLabFrame({ opcode: 1, payload, isLengthened: true }).toHex(), "817e00026869");
 * ```
 */
export function encodeLabFrame(frame: LabFrame): Uint8Array<ArrayBuffer> {
  const { opcode, payload, final = true, reserved = 0, isMasked = false, isLengthened = false } = frame;
  const maskingKey = crypto.getRandomValues(new Uint8Array(4));
  const bytes = encodeFrame(opcode, payload, { final, reserved, ...(isMasked && { maskingKey }) });
  return isLengthened ? lengthened(bytes, payload.byteLength) : bytes;
}

/** Puts the length of a frame into 16 bits where 7 would do, else into 64; one that needs 64 bits stays as it is. */
function lengthened(frame: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  if (length > 0xffff) return frame;
  const [first = 0, second = 0] = frame;
  const isShort = length < 126;
  const header = new Uint8Array(isShort ? 4 : 10);
  header[0] = first;
  header[1] = (second & 0x80) | (isShort ? 126 : 127);
  new DataView(header.buffer).setUint16(header.byteLength - 2, length);
  const rest = frame.subarray(isShort ? 2 : 4);
  const bytes = new Uint8Array(header.byteLength + rest.byteLength);
  bytes.set(header);
  bytes.set(rest, header.byteLength);
  return bytes;
}

/**
 * Tells whether a frame carries a part of a message.
 *
 * @param frame The frame.
 * @returns `false` for a control frame.
 *
 * @example
 * ```ts
 * import { isData } from "./frame.ts";
 * import { assertFalse } from "@std/assert";
 *
 * assertFalse(isData({ opcode: 9, payload: new Uint8Array() }));
 * ```
 */
export function isData(frame: LabFrame): boolean {
  return frame.opcode < OPCODE.close;
}
