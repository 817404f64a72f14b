/**
 * Frames of a raw peer, also those that RFC 6455 forbids.
 *
 * @module
 */

import { MAX_HEADER_BYTES, OPCODE, writeHeader } from "../protocol/frame.ts";
import { applyMask, readMaskingKey } from "../protocol/mask.ts";
import { type Message, payloadOf } from "../protocol/message.ts";

/** A frame to send. */
export interface RawFrame {
  /** The opcode, 0 to 15. */
  readonly opcode: number;
  /** The payload, unmasked. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Whether it ends its message; `true` by default. */
  readonly final?: boolean;
  /** The three reserved bits, 0 to 7; 0 by default. */
  readonly reserved?: number;
  /** Whether to mask the payload, as only a client may; `false` by default. */
  readonly isMasked?: boolean;
  /** Whether to write the length in more bytes than needed; `false` by default. */
  readonly isLengthened?: boolean;
  /** A length of 64 bits to write instead of the payload's, up to 2^64 - 1. */
  readonly claimedLength?: bigint;
}

/** The longest payload to write in one piece, in bytes: 64 KiB. */
export const PIECE_BYTES = 64 * 1024;

/**
 * Encodes a frame in pieces on demand, so that a long frame is never copied as a whole.
 *
 * @param frame The frame.
 * @returns The frame in one piece if its payload has at most 64 KiB, else the header, then the payload in pieces of 64 KiB.
 *
 * @example
 * ```ts
 * import { encodeRawFrame } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new TextEncoder().encode("hi");
 * const pieces = [...encodeRawFrame({ opcode: 1, payload, isLengthened: true })];
 * assertEquals(pieces.map((piece) => piece.toHex()), ["817e00026869"]);
 * ```
 */
export function* encodeRawFrame(frame: RawFrame): Iterable<Uint8Array<ArrayBuffer>> {
  const { payload, isMasked = false } = frame;
  const maskingKey = isMasked ? crypto.getRandomValues(new Uint8Array(4)) : undefined;
  const header = headerOf(frame, maskingKey);
  const key = maskingKey && readMaskingKey(maskingKey, 0);
  if (payload.byteLength <= PIECE_BYTES) {
    const whole = new Uint8Array(header.byteLength + payload.byteLength);
    whole.set(header);
    whole.set(payload, header.byteLength);
    if (key !== undefined) applyMask(whole.subarray(header.byteLength), key, 0);
    return yield whole;
  }
  yield header;
  for (let at = 0; at < payload.byteLength; at += PIECE_BYTES) {
    const piece = payload.subarray(at, at + PIECE_BYTES);
    const masked = key === undefined ? piece : piece.slice();
    if (key !== undefined) applyMask(masked, key, at);
    yield masked;
  }
}

/** The smallest length that takes 64 bits. */
const LONG_BYTES = 65536;

/** Writes a header; a lengthened one has 16 bits for a length of 7 bits, else 64. */
function headerOf(frame: RawFrame, maskingKey?: Uint8Array): Uint8Array<ArrayBuffer> {
  const { opcode, payload, final = true, reserved = 0, isLengthened = false, claimedLength } = frame;
  const length = payload.byteLength;
  const isMasked = maskingKey !== undefined;
  const header = new Uint8Array(MAX_HEADER_BYTES);
  if (claimedLength !== undefined) {
    const end = writeHeader(header, 0, { final, reserved, opcode, isMasked, length: LONG_BYTES }, maskingKey);
    new DataView(header.buffer).setBigUint64(2, claimedLength);
    return header.subarray(0, end);
  }
  const end = writeHeader(header, 0, { final, reserved, opcode, isMasked, length }, maskingKey);
  if (!isLengthened || length > 0xffff) return header.subarray(0, end);
  const isShort = length < 126;
  const longer = new Uint8Array((isShort ? 4 : 10) + (maskingKey?.byteLength ?? 0));
  longer.set(header.subarray(0, 2));
  longer[1] = ((header[1] ?? 0) & 0x80) | (isShort ? 126 : 127);
  const lengthEnd = isShort ? 4 : 10;
  new DataView(longer.buffer).setUint16(lengthEnd - 2, length);
  if (maskingKey) longer.set(maskingKey, lengthEnd);
  return longer;
}

/**
 * Tells whether a frame is a data frame.
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
export function isData(frame: RawFrame): boolean {
  return frame.opcode < OPCODE.close;
}

/**
 * Reads the code of a close frame.
 *
 * @param payload Its payload.
 * @returns The code; 1005 without one.
 *
 * @example
 * ```ts
 * import { closeCodeOf } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(closeCodeOf(Uint8Array.of(0x03, 0xe8)), 1000);
 * ```
 */
export function closeCodeOf(payload: Uint8Array): number {
  return payload.byteLength < 2 ? 1005 : (payload[0] ?? 0) * 256 + (payload[1] ?? 0);
}

/**
 * Encodes the payload of a close frame with any code, legal or not.
 *
 * @param code The close code, 0 to 65535.
 * @param reason The reason, as text or as any bytes; empty by default. More than 123 bytes make the frame too long.
 * @returns The payload.
 *
 * @example
 * ```ts
 * import { closePayload } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(closePayload(1006).toHex(), "03ee");
 * ```
 */
export function closePayload(code: number, reason: Message = ""): Uint8Array<ArrayBuffer> {
  const bytes = payloadOf(reason);
  const payload = new Uint8Array(2 + bytes.byteLength);
  new DataView(payload.buffer).setUint16(0, code);
  payload.set(bytes, 2);
  return payload;
}
