/**
 * Frames as the lab writes them: also those that RFC 6455 does not allow.
 *
 * @module
 */

import { applyMask, MAX_HEADER_BYTES, OPCODE, writeHeader } from "../protocol/frame.ts";

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

/** Makes other messages of a message: none, or several, in any order. It leaves their payload alone. */
export type MessageShape = (message: LabMessage) => Iterable<LabMessage>;

/** Makes other frames of the frames of one message. It makes them as they are taken, so that many take no memory. */
export type FrameShape = (frames: Iterable<LabFrame>) => Iterable<LabFrame>;

/** A copy of a message that the steps change in place, so that many changes take the memory of one. */
export class MessageDraft {
  /** Whether it goes out as text or as binary. */
  kind: LabMessage["kind"];
  readonly #room: Uint8Array<ArrayBuffer>;
  #length: number;

  /**
   * Copies a message.
   *
   * @param message The message.
   * @param addedBytes How much longer it may become, in bytes.
   *
   * @example
   * ```ts
   * import { MessageDraft } from "./frame.ts";
   * import { assertEquals } from "@std/assert";
   *
   * const draft = new MessageDraft({ kind: "text", payload: new TextEncoder().encode("abc") }, 1);
   * draft.truncate(1);
   * draft.append(1, 0x78);
   * assertEquals(new TextDecoder().decode(draft.payload), "ax");
   * ```
   */
  constructor({ kind, payload }: LabMessage, addedBytes: number) {
    this.kind = kind;
    this.#room = new Uint8Array(payload.byteLength + addedBytes);
    this.#room.set(payload);
    this.#length = payload.byteLength;
  }

  /** Its bytes so far. */
  get payload(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(0, this.#length);
  }

  /**
   * Keeps the first bytes only.
   *
   * @param bytes How many.
   */
  truncate(bytes: number): void {
    this.#length = Math.min(this.#length, bytes);
  }

  /**
   * Adds the same byte many times.
   *
   * @param count How often.
   * @param byte The byte.
   */
  append(count: number, byte: number): void {
    this.#room.fill(byte, this.#length, this.#length + count);
    this.#length += count;
  }

  /** Changes the lowest bit of the last byte. Of UTF-8 that byte is ASCII or continues a character, and stays so. */
  corrupt(): void {
    const last = this.#length - 1;
    if (last >= 0) this.#room[last] = (this.#room[last] ?? 0) ^ 1;
  }
}

/** A change of the kind or the payload of a message. */
export interface MessageEdit {
  /** By how many bytes the message becomes longer, at most. */
  readonly addedBytes: number;
  /** Makes the change. */
  readonly apply: (draft: MessageDraft) => void;
}

/** The longest payload that is written in one piece, in bytes: 64 KiB. */
export const PIECE_BYTES = 64 * 1024;

/**
 * Writes a frame in pieces, which are made as they are taken: a long frame is never there a second time.
 *
 * @param frame The frame.
 * @returns The frame in one piece if its payload has at most 64 KiB, else the header, then the payload in pieces of 64 KiB.
 *
 * @example
 * ```ts
 * import { encodeLabFrame } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new TextEncoder().encode("hi");
 * const pieces = [...encodeLabFrame({ opcode: 1, payload, isLengthened: true })];
 * assertEquals(pieces.map((piece) => piece.toHex()), ["817e00026869"]);
 * ```
 */
export function* encodeLabFrame(frame: LabFrame): Iterable<Uint8Array<ArrayBuffer>> {
  const { payload, isMasked = false } = frame;
  const maskingKey = isMasked ? crypto.getRandomValues(new Uint8Array(4)) : undefined;
  const header = headerOf(frame, maskingKey);
  const key = maskingKey && new DataView(maskingKey.buffer).getInt32(0, true);
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

/** Writes a header; one that is lengthened has 16 bits for a length where 7 would do, else 64. */
function headerOf(frame: LabFrame, maskingKey?: Uint8Array): Uint8Array<ArrayBuffer> {
  const { opcode, payload, final = true, reserved = 0, isLengthened = false } = frame;
  const length = payload.byteLength;
  const isMasked = maskingKey !== undefined;
  const header = new Uint8Array(MAX_HEADER_BYTES);
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
