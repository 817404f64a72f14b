/**
 * Where the frame begins that a peer broke the protocol with: a trace shows it, although nothing reads it to its end.
 *
 * @module
 */

import { type FrameHeader, headerBytes } from "../protocol/frame.ts";

/** How many bytes of such a frame are shown. */
const MAX_BREACH_BYTES = 16;

/** Follows the frames of a peer through the reads that bring them. */
export class BreachFinder {
  /** The bytes before the latest read, and those before the latest frame that has begun and the one after it. */
  #readAt = 0;
  #frameAt = 0;
  #nextAt = 0;
  #read: Uint8Array = new Uint8Array(0);

  /**
   * Takes a read, before its frames.
   *
   * @param bytes The bytes; good until the next read.
   */
  onRead(bytes: Uint8Array): void {
    this.#readAt += this.#read.byteLength;
    this.#read = bytes;
  }

  /**
   * Takes the header of a frame that has begun.
   *
   * @param header The header.
   */
  onHeader({ length, isMasked }: FrameHeader): void {
    this.#frameAt = this.#nextAt;
    this.#nextAt += headerBytes(length, isMasked) + length;
  }

  /**
   * Gives the first bytes of the frame that broke the protocol: the one that goes on in the latest read, or begins in it.
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
    // A header that was not taken stands where the last frame ended.
    const from = this.#nextAt < this.#readAt + this.#read.byteLength ? this.#nextAt : this.#frameAt;
    return from < this.#readAt ? new Uint8Array(0) : this.#read.slice(from - this.#readAt).slice(0, MAX_BREACH_BYTES);
  }
}
