/**
 * Compression for the lab (RFC 7692).
 *
 * @module
 */

import { MessageDeflate } from "../net/zlib.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "../protocol/assembler.ts";
import { DEFLATE_TAIL, type DeflateAgreement, MAX_WINDOW_BITS } from "../protocol/deflate.ts";
import type { MessageInflater } from "../protocol/endpoint_handler.ts";
import { concatBytes } from "../protocol/message.ts";

const MIB = 1024 * 1024;

/**
 * The compression of one lab connection. A step may start a new context at any time, even takeover that was not
 * negotiated.
 *
 * @example
 * ```ts
 * import { LabCompression } from "./compression.ts";
 * import { assert } from "@std/assert";
 *
 * const direction = { takeover: true, windowBits: 15 };
 * const compression = new LabCompression({ client: direction, server: direction, text: "permessage-deflate" });
 * const hello = new TextEncoder().encode("Hello world");
 * const [first, second] = [compression.pack(hello), compression.pack(hello)];
 * assert(second.byteLength < first.byteLength);
 * compression.release();
 * ```
 */
export class LabCompression {
  /** Inflates the client's messages. */
  readonly inflater: MessageInflater;

  readonly #agreement: DeflateAgreement;
  readonly #reading: MessageDeflate;
  #writing: MessageDeflate;

  /**
   * Starts without an engine.
   *
   * @param agreement The negotiated parameters.
   */
  constructor(agreement: DeflateAgreement) {
    this.#agreement = agreement;
    this.#reading = codecOf(agreement, agreement.server.takeover);
    this.#writing = codecOf(agreement, agreement.server.takeover);
    this.inflater = this.#reading;
  }

  /** Memory of the engines, in bytes. */
  get heldBytes(): number {
    return this.#reading.heldBytes + this.#writing.heldBytes;
  }

  /**
   * Compresses a message.
   *
   * @param plain The message.
   * @returns The compressed message, in a new buffer.
   */
  pack(plain: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    return this.#writing.deflateWhole(plain);
  }

  /**
   * Starts a new context, as a sender may at any time.
   *
   * @param options Whether later messages share a context; as negotiated by default.
   */
  beginContext({ takeover = this.#agreement.server.takeover }: { readonly takeover?: boolean } = {}): void {
    this.#writing.release();
    this.#writing = codecOf(this.#agreement, takeover);
  }

  /** Closes the engines. */
  release(): void {
    this.#reading.release();
    this.#writing.release();
  }
}

function codecOf({ client, server }: DeflateAgreement, takeover: boolean): MessageDeflate {
  return new MessageDeflate({ own: { ...server, takeover }, peer: client, maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES });
}

/**
 * Makes a compressed message that inflates to a text "aaa...".
 *
 * @param bytes The length of the text, 1 byte to 1 GiB.
 * @returns The message, about a thousandth as long.
 *
 * @example
 * ```ts
 * import { makeBomb } from "./compression.ts";
 * import { assert } from "@std/assert";
 *
 * assert(makeBomb(1024 ** 3).byteLength < 1_100_000);
 * ```
 */
export function makeBomb(bytes: number): Uint8Array<ArrayBuffer> {
  const direction = { takeover: true, windowBits: MAX_WINDOW_BITS };
  const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: MIB });
  const piece = new Uint8Array(MIB).fill(0x61);
  const parts: Uint8Array[] = [];
  let repeated: Uint8Array | undefined;
  for (let left = bytes; left > 0; left -= MIB) {
    // Equal input after equal input gives equal bytes: only the first three pieces and the last are compressed.
    const made = left >= MIB && repeated ? repeated : codec.deflateWhole(piece.subarray(0, left));
    if (parts.length >= 4) repeated = made;
    parts.push(made, DEFLATE_TAIL);
  }
  parts.pop();
  codec.release();
  return concatBytes(parts);
}
