/**
 * Frames on the wire (RFC 6455 section 5), written and read.
 *
 * @module
 */

import { ProtocolError } from "./error.ts";
import { applyMask, readMaskingKey } from "./mask.ts";

/** The opcodes of RFC 6455 section 5.2. */
export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** The longest payload of a control frame in bytes: 125 (RFC 6455 section 5.5). */
export const MAX_CONTROL_PAYLOAD_BYTES = 125;

/** The longest header of a frame in bytes: 14, with 8 for the length and 4 for the masking key. */
export const MAX_HEADER_BYTES = 14;

/** The header of a frame. */
export interface FrameHeader {
  /** Whether it ends its message. */
  readonly final: boolean;
  /** The three reserved bits, 0 to 7; RSV1 is 4. */
  readonly reserved: number;
  /** The opcode, 0 to 15. */
  readonly opcode: number;
  /** Whether the payload is masked. */
  readonly isMasked: boolean;
  /** The length of the payload, in bytes. */
  readonly length: number;
}

/** Options of {@linkcode encodeFrame}. */
export interface EncodeFrameOptions {
  /** Whether the frame ends its message; `true` by default. */
  final?: boolean;
  /** The three reserved bits, 0 to 7; 0 by default. */
  reserved?: number;
  /** The masking key, four bytes: a client must mask each frame with a new random key (section 5.3). */
  maskingKey?: Uint8Array;
}

/**
 * Encodes header and payload into one buffer, for one write. Only the copy of the payload is masked.
 *
 * @param opcode The opcode, 0 to 15.
 * @param payload The payload.
 * @param options FIN, the reserved bits and the masking key.
 * @returns The frame.
 *
 * @example
 * ```ts
 * import { encodeFrame, OPCODE } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const hello = new TextEncoder().encode("Hello");
 * assertEquals(encodeFrame(OPCODE.text, hello), Uint8Array.of(0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f));
 * ```
 */
export function encodeFrame(
  opcode: number,
  payload: Uint8Array,
  options: EncodeFrameOptions = {},
): Uint8Array<ArrayBuffer> {
  const { final = true, reserved = 0, maskingKey } = options;
  const length = payload.byteLength;
  const frame = new Uint8Array(headerBytes(length, maskingKey !== undefined) + length);
  const at = writeHeader(frame, 0, { final, reserved, opcode, isMasked: maskingKey !== undefined, length }, maskingKey);
  frame.set(payload, at);
  if (maskingKey) applyMask(frame.subarray(at), readMaskingKey(maskingKey, 0), 0);
  return frame;
}

/**
 * Counts the bytes of a header.
 *
 * @param length The length of the payload, in bytes.
 * @param isMasked Whether the header has a masking key.
 * @returns 2 to 14.
 *
 * @example
 * ```ts
 * import { headerBytes } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([125, 126, 65535, 65536].map((length) => headerBytes(length, false)), [2, 4, 4, 10]);
 * ```
 */
export function headerBytes(length: number, isMasked: boolean): number {
  return (length < 126 ? 2 : length < 65536 ? 4 : 10) + (isMasked ? 4 : 0);
}

/**
 * Writes a header into a buffer.
 *
 * @param into The buffer, with room for {@linkcode headerBytes}.
 * @param at The offset of the header.
 * @param header The header.
 * @param maskingKey The masking key, if the payload is masked.
 * @returns The offset of the payload.
 *
 * @example
 * ```ts
 * import { OPCODE, writeHeader } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const into = new Uint8Array(4);
 * const header = { final: true, reserved: 0, opcode: OPCODE.binary, isMasked: false, length: 256 };
 * assertEquals(writeHeader(into, 0, header), 4);
 * assertEquals(into, Uint8Array.of(0x82, 0x7e, 0x01, 0x00));
 * ```
 */
export function writeHeader(into: Uint8Array, at: number, header: FrameHeader, maskingKey?: Uint8Array): number {
  const { final, reserved, opcode, isMasked, length } = header;
  const maskBit = isMasked ? 0x80 : 0;
  into[at++] = (final ? 0x80 : 0) | (reserved << 4) | opcode;
  if (length < 126) {
    into[at++] = maskBit | length;
  } else if (length < 65536) {
    into[at++] = maskBit | 126;
    into[at++] = length >> 8;
    into[at++] = length;
  } else {
    into[at++] = maskBit | 127;
    const high = Math.floor(length / 2 ** 32);
    for (const word of [high, length]) {
      into[at++] = word >>> 24;
      into[at++] = word >>> 16;
      into[at++] = word >>> 8;
      into[at++] = word;
    }
  }
  if (isMasked && maskingKey) {
    into.set(maskingKey.subarray(0, 4), at);
    at += 4;
  }
  return at;
}

/** The sender of frames: a client masks them, a server must not (RFC 6455 section 5.1). */
export type FrameOrigin = "client" | "server";

/** Options of {@linkcode FrameDecoder}. */
export interface FrameDecoderOptions {
  /** Whether RSV1 may mark the first frame of a data message as compressed (RFC 7692 section 6); `false` by default. */
  readonly allowsCompressed?: boolean;
}

/** RSV1 among the reserved bits: the message is compressed (RFC 7692 section 6). */
export const RSV1 = 4;

/** Receives the frames of a {@linkcode FrameDecoder}. */
export interface FrameSink {
  /**
   * A header has arrived; none of its payload is stored yet. An error from here ends the decoding.
   *
   * @param header The header.
   */
  onHeader(header: FrameHeader): void;
  /**
   * A piece of a data frame has arrived.
   *
   * @param header The header of its frame.
   * @param payload The piece, unmasked: a view of the pushed bytes, valid only until this returns.
   * @param isFirst Whether it begins the frame.
   * @param isLast Whether it ends the frame.
   */
  onData(header: FrameHeader, payload: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void;
  /**
   * A control frame has arrived.
   *
   * @param header Its header.
   * @param payload Its whole payload, unmasked, at most 125 bytes; valid only until this returns.
   */
  onControl(header: FrameHeader, payload: Uint8Array<ArrayBuffer>): void;
}

/**
 * Reads frames from bytes in pieces of any size. The decoder stores at most a header and a control payload, passes data
 * on as it arrives, and checks every rule of a header. The sink checks the rules between frames and of their payload
 * ({@linkcode MessageAssembler}).
 *
 * @example
 * ```ts
 * import { FrameDecoder } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const seen: string[] = [];
 * const decoder = new FrameDecoder("server", {
 *   onHeader: ({ opcode, length }) => seen.push(`opcode ${opcode}, ${length} bytes`),
 *   onData: (_, payload) => seen.push(new TextDecoder().decode(payload)),
 *   onControl: () => {},
 * });
 * decoder.push(Uint8Array.of(0x81, 0x02, 0x68));
 * decoder.push(Uint8Array.of(0x69));
 * assertEquals(seen, ["opcode 1, 2 bytes", "h", "i"]);
 * ```
 */
export class FrameDecoder {
  readonly #isMasked: boolean;
  readonly #allowsCompressed: boolean;
  readonly #sink: FrameSink;
  /** Buffers for a header or a control payload in pieces, made when the first arrives: most connections have none. */
  #head: Uint8Array<ArrayBuffer> | undefined;
  #headLength = 0;
  #control: Uint8Array<ArrayBuffer> | undefined;
  #controlLength = 0;
  #header: FrameHeader | undefined;
  #key = 0;
  #received = 0;

  /**
   * Starts between two frames.
   *
   * @param origin The sender of the frames.
   * @param sink Receives the frames.
   * @param options The negotiated extension.
   */
  constructor(origin: FrameOrigin, sink: FrameSink, { allowsCompressed = false }: FrameDecoderOptions = {}) {
    this.#isMasked = origin === "client";
    this.#allowsCompressed = allowsCompressed;
    this.#sink = sink;
  }

  /** Whether the last frame is incomplete. */
  get isInsideFrame(): boolean {
    return this.#header !== undefined || this.#headLength > 0;
  }

  /** Whether the last header is incomplete. */
  get isInsideHeader(): boolean {
    return this.#headLength > 0;
  }

  /** Payload bytes of the current frame that have not arrived; 0 between two frames. */
  get payloadLeft(): number {
    return this.#header === undefined ? 0 : this.#header.length - this.#received;
  }

  /**
   * Takes the next bytes, and unmasks masked payloads in place.
   *
   * @param chunk The bytes.
   * @throws {ProtocolError} With the close code 1002 for a breach of RFC 6455 section 5.2 to 5.5: `reserved-bits`,
   * `unknown-opcode`, `fragmented-control`, `control-too-long`, `invalid-close-payload`, `length-not-minimal`,
   * `length-too-large`, `unmasked-frame`, `masked-frame`, each at the first byte that proves it; and any error of the
   * sink. After an error the decoder is spent.
   */
  push(chunk: Uint8Array<ArrayBuffer>): void {
    let at = 0;
    while (true) {
      if (this.#header === undefined) {
        const next = this.#readHeader(chunk, at);
        if (next === -1) return;
        at = next;
      }
      const header = this.#header;
      if (header === undefined) return;
      // The header of an empty frame completes it.
      if (at === chunk.byteLength && header.length > 0) return;
      const end = Math.min(chunk.byteLength, at + header.length - this.#received);
      const piece = chunk.subarray(at, end);
      if (header.isMasked) applyMask(piece, this.#key, this.#received);
      const isFirst = this.#received === 0;
      this.#received += end - at;
      at = end;
      const isLast = this.#received === header.length;
      if (isLast) this.#header = undefined;
      if (header.opcode < 8) this.#sink.onData(header, piece, isFirst, isLast);
      else this.#keepControl(header, piece, isLast);
    }
  }

  #keepControl(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isLast: boolean): void {
    if (isLast && this.#controlLength === 0) return this.#sink.onControl(header, piece);
    const control = this.#control ??= new Uint8Array(MAX_CONTROL_PAYLOAD_BYTES);
    control.set(piece, this.#controlLength);
    this.#controlLength += piece.byteLength;
    if (!isLast) return;
    const payload = control.subarray(0, this.#controlLength);
    this.#controlLength = 0;
    this.#sink.onControl(header, payload);
  }

  /** Reads a header, also in pieces; returns the offset of the payload, or -1 if more bytes are needed. */
  #readHeader(chunk: Uint8Array, at: number): number {
    const available = chunk.byteLength - at;
    if (this.#headLength === 0 && available >= 2) {
      const size = sizeOfHeader(chunk[at + 1] ?? 0);
      if (available >= size) {
        this.#begin(chunk, at, size);
        return at + size;
      }
    }
    if (available === 0) return -1;
    const head = this.#head ??= new Uint8Array(MAX_HEADER_BYTES);
    while (at < chunk.byteLength) {
      head[this.#headLength++] = chunk[at++] ?? 0;
      // No later byte can mend an error: check now.
      this.#check(head, 0, this.#headLength);
      if (this.#headLength === 1) continue;
      const size = sizeOfHeader(head[1] ?? 0);
      if (this.#headLength < size) continue;
      this.#headLength = 0;
      this.#begin(head, 0, size);
      return at;
    }
    return -1;
  }

  #begin(bytes: Uint8Array, at: number, size: number): void {
    this.#check(bytes, at, size);
    const first = bytes[at] ?? 0;
    const second = bytes[at + 1] ?? 0;
    const header: FrameHeader = {
      final: (first & 0x80) !== 0,
      reserved: (first >> 4) & 7,
      opcode: first & 15,
      isMasked: (second & 0x80) !== 0,
      length: readLength(bytes, at),
    };
    if (header.isMasked) this.#key = readMaskingKey(bytes, at + size - 4);
    this.#sink.onHeader(header);
    this.#received = 0;
    this.#header = header;
  }

  /** Checks the first `count` bytes of a header, at least one. */
  #check(bytes: Uint8Array, at: number, count: number): void {
    const first = bytes[at] ?? 0;
    const opcode = first & 15;
    if ((first & 0x70) !== 0) this.#checkReserved(first);
    if (opcode > 10 || (opcode > 2 && opcode < 8)) {
      throw new ProtocolError("unknown-opcode", `Frame has the opcode ${opcode}, which is not defined`);
    }
    if (opcode >= 8 && (first & 0x80) === 0) {
      throw new ProtocolError("fragmented-control", "Control frame is fragmented");
    }
    if (count === 1) return;
    const second = bytes[at + 1] ?? 0;
    const short = second & 0x7f;
    if (opcode >= 8 && short > MAX_CONTROL_PAYLOAD_BYTES) {
      throw new ProtocolError("control-too-long", `Control frame is longer than ${MAX_CONTROL_PAYLOAD_BYTES} bytes`);
    }
    if (opcode === OPCODE.close && short === 1) {
      throw new ProtocolError("invalid-close-payload", "Close frame has a payload of one byte");
    }
    if ((second & 0x80) !== 0 !== this.#isMasked) {
      throw this.#isMasked
        ? new ProtocolError("unmasked-frame", "Frame of a client is not masked")
        : new ProtocolError("masked-frame", "Frame of a server is masked");
    }
    if (short >= 126) checkLength(bytes, at, count);
  }

  /** Only the first frame of a message may have RSV1 (RFC 7692 section 6.1). */
  #checkReserved(first: number): void {
    const opcode = first & 15;
    const isCompressed = this.#allowsCompressed && (first & 0x70) === RSV1 << 4;
    if (isCompressed && (opcode === OPCODE.text || opcode === OPCODE.binary)) return;
    throw new ProtocolError(
      "reserved-bits",
      isCompressed ? "RSV1 is set on a frame that does not begin a message" : "Frame has a reserved bit set",
    );
  }
}

function checkLength(bytes: Uint8Array, at: number, count: number): void {
  const isLong = ((bytes[at + 1] ?? 0) & 0x7f) === 127;
  if (isLong && count > 2 && (bytes[at + 2] ?? 0) >= 0x80) {
    throw new ProtocolError("length-too-large", "Frame has a length over 2^63 - 1");
  }
  // The first 6 of 8 length bytes decide, or both of 2.
  const decisive = isLong ? 6 : 2;
  if (count < 2 + decisive) return;
  let start = 0;
  for (let index = 0; index < decisive; index++) start = start * 256 + (bytes[at + 2 + index] ?? 0);
  if (start < (isLong ? 1 : 126)) {
    const length = isLong ? "a length below 65536" : `the length ${start}`;
    throw new ProtocolError("length-not-minimal", `Frame has ${length} in more bytes than needed`);
  }
}

function sizeOfHeader(second: number): number {
  const short = second & 0x7f;
  return 2 + (short === 126 ? 2 : short === 127 ? 8 : 0) + (second & 0x80 ? 4 : 0);
}

function readLength(bytes: Uint8Array, at: number): number {
  const short = (bytes[at + 1] ?? 0) & 0x7f;
  if (short < 126) return short;
  let length = 0;
  const size = short === 126 ? 2 : 8;
  for (let index = 0; index < size; index++) length = length * 256 + (bytes[at + 2 + index] ?? 0);
  // Above 2^53 the number is not exact, but any limit is far below.
  return length;
}
