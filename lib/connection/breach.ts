/**
 * Finds the start of a frame that broke the protocol, for a trace: no decoder reads that frame to its end.
 *
 * @module
 */

import { type FrameHeader, headerBytes } from "../protocol/frame.ts";

/** The bytes of such a frame in a trace. */
const MAX_BREACH_BYTES = 16;

/** Follows the peer's frames through the reads. */
export class BreachFinder {
  /** Offsets in the stream: the latest read, the latest frame, and the frame after that. */
  #readAt = 0;
  #frameAt = 0;
  #nextAt = 0;
  #read: Uint8Array = new Uint8Array(0);

  /**
   * Takes a read, before its frames.
   *
   * @param bytes The bytes; valid until the next read.
   */
  onRead(bytes: Uint8Array): void {
    this.#readAt += this.#read.byteLength;
    this.#read = bytes;
  }

  /**
   * Takes the header of a frame.
   *
   * @param header The header.
   */
  onHeader({ length, isMasked }: FrameHeader): void {
    this.#frameAt = this.#nextAt;
    this.#nextAt += headerBytes(length, isMasked) + length;
  }

  /**
   * Returns the first bytes of the frame that broke the protocol: the last one of the latest read.
   *
   * @returns The bytes, at most 16; none if the frame began in an earlier read.
   *
   * @example
   * ```ts
   * import { BreachFinder } from "./breach.ts";
   * import { assertEquals } from "@std/assert";
   *
   * const finder = new BreachFinder();
   * finder.onRead(Uint8Array.of(0x81, 0x00, 0xc1, 0x00));
   * finder.onHeader({ final: true, reserved: 0, opcode: 1, isMasked: false, length: 0 });
   * assertEquals(finder.bytes(), Uint8Array.of(0xc1, 0x00));
   * ```
   */
  bytes(): Uint8Array {
    // A rejected header begins at the end of the last frame.
    const from = this.#nextAt < this.#readAt + this.#read.byteLength ? this.#nextAt : this.#frameAt;
    return from < this.#readAt ? new Uint8Array(0) : this.#read.slice(from - this.#readAt).slice(0, MAX_BREACH_BYTES);
  }
}
