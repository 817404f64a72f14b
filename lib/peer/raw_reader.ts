/**
 * Frames as they arrive, right or wrong, for a judge.
 *
 * @module
 */

import { type FrameHeader, MAX_HEADER_BYTES } from "../protocol/frame.ts";
import { applyMask, readMaskingKey } from "../protocol/mask.ts";

/** A frame that arrived. */
export interface SeenFrame extends FrameHeader {
  /** The payload, unmasked. */
  readonly payload: Uint8Array<ArrayBuffer>;
  /** Whether the length takes no more bytes than it needs (RFC 6455 section 5.2). */
  readonly isMinimal: boolean;
  /** The masking key as a number of 32 bits, first byte first; `undefined` without a mask. */
  readonly maskingKey?: number | undefined;
}

/** The longest payload, in bytes: 64 MiB. A longer one ends the reading. */
export const MAX_SEEN_BYTES = 64 * 1024 ** 2;

/** All empty payloads share one array: a flood has many. */
const NOTHING = new Uint8Array(0);

/** The limit of all payloads together, in bytes: 128 MiB. More ends the reading: a flood takes bounded memory. */
export const MAX_ALL_SEEN_BYTES = 128 * 1024 ** 2;

/**
 * Reads frames and accepts all: reserved bits, unknown opcodes, masks of the wrong side, long control frames, fragments
 * in any order. A judge sees the whole.
 *
 * @example
 * ```ts
 * import { RawReader } from "./raw_reader.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const opcodes: number[] = [];
 * const reader = new RawReader((frame) => opcodes.push(frame.opcode));
 * // Opcode 3 is not defined.
 * reader.push(Uint8Array.of(0x83, 0x01, 0x61, 0x81, 0x00));
 * assertEquals(opcodes, [3, 1]);
 * ```
 */
export class RawReader {
  readonly #onFrame: (frame: SeenFrame) => void;
  readonly #head = new Uint8Array(MAX_HEADER_BYTES);
  #headLength = 0;
  #header: FrameHeader | undefined;
  #payload: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #received = 0;
  #isMinimal = true;
  #key = 0;
  #seenBytes = 0;
  #keyBits = 0;
  #isSpent = false;

  /**
   * Starts between two frames.
   *
   * @param onFrame Receives each complete frame.
   */
  constructor(onFrame: (frame: SeenFrame) => void) {
    this.#onFrame = onFrame;
  }

  /** Whether a frame passed 64 MiB, or all passed 128 MiB: the reader reads nothing behind it. */
  get isSpent(): boolean {
    return this.#isSpent;
  }

  /** Whether the last frame is incomplete. */
  get isInsideFrame(): boolean {
    return this.#header !== undefined || this.#headLength > 0;
  }

  /**
   * Takes the next bytes.
   *
   * @param chunk The bytes; they are copied.
   */
  push(chunk: Uint8Array): void {
    for (let at = 0; !this.#isSpent && (at < chunk.byteLength || this.#isComplete());) {
      if (this.#isComplete()) this.#emit();
      else if (this.#header === undefined) at = this.#readHeader(chunk, at);
      else {
        const piece = chunk.subarray(at, at + this.#payload.byteLength - this.#received);
        this.#payload.set(piece, this.#received);
        this.#received += piece.byteLength;
        at += piece.byteLength;
      }
    }
  }

  #isComplete(): boolean {
    return this.#header !== undefined && this.#received === this.#payload.byteLength;
  }

  #emit(): void {
    const header = this.#header;
    if (header === undefined) return;
    this.#header = undefined;
    if (header.isMasked) applyMask(this.#payload, this.#key, 0);
    const maskingKey = header.isMasked ? this.#keyBits : undefined;
    this.#onFrame({ ...header, payload: this.#payload, isMinimal: this.#isMinimal, maskingKey });
  }

  #readHeader(chunk: Uint8Array, at: number): number {
    const head = this.#head;
    while (at < chunk.byteLength) {
      head[this.#headLength++] = chunk[at++] ?? 0;
      if (this.#headLength === 1) continue;
      const second = head[1] ?? 0;
      const short = second & 0x7f;
      const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
      const size = 2 + lengthBytes + (second & 0x80 ? 4 : 0);
      if (this.#headLength < size) continue;
      this.#headLength = 0;
      const view = new DataView(head.buffer);
      const length = lengthBytes === 8 ? Number(view.getBigUint64(2)) : lengthBytes === 2 ? view.getUint16(2) : short;
      this.#isMinimal = lengthBytes === 0 || length >= (lengthBytes === 2 ? 126 : 65536);
      this.#seenBytes += length;
      this.#isSpent = length > MAX_SEEN_BYTES || this.#seenBytes > MAX_ALL_SEEN_BYTES;
      const first = head[0] ?? 0;
      const isMasked = (second & 0x80) !== 0;
      this.#key = isMasked ? readMaskingKey(head, size - 4) : 0;
      if (isMasked) this.#keyBits = view.getUint32(size - 4);
      this.#header = {
        final: (first & 0x80) !== 0,
        reserved: (first >> 4) & 7,
        opcode: first & 15,
        isMasked,
        length,
      };
      this.#payload = this.#isSpent || length === 0 ? NOTHING : new Uint8Array(length);
      this.#received = 0;
      return at;
    }
    return at;
  }
}
