/**
 * The memory of one echo: the buffer that frames are read to and echoed in, and the queue of all that goes out.
 *
 * @module
 */

import { encodeFrame, type FrameHeader, headerBytes, MAX_HEADER_BYTES, writeHeader } from "../protocol/frame.ts";
import { concatBytes } from "../protocol/message.ts";
import type { MemoryBudget } from "./budget.ts";

/**
 * The read buffer of a new or silent connection, in bytes: 512. Each of 10,000 silent connections saves 3.6 KiB on the
 * next size, and small messages are read as fast.
 */
export const MIN_READ_BYTES = 512;

/** The read buffer of a connection that has filled its first one, in bytes: 4 KiB. The budget counts the rest. */
const UNCOUNTED_READ_BYTES = 4 * 1024;

/** The largest read buffer of a connection, in bytes: 128 KiB, for those that fill it; more is not faster. */
export const MAX_READ_BYTES = 128 * 1024;

/** A longer part is written by itself, in bytes: 64 KiB; joining would cost more than it saves. */
const MAX_JOINED_BYTES = 64 * 1024;

/**
 * Joined parts count as held from here on, in bytes: 8,448. Below are a text of less than 4 KiB and the echoes around
 * it in a read buffer of 4 KiB, none of which count either.
 */
const MIN_COUNTED_JOIN_BYTES = 2 * UNCOUNTED_READ_BYTES + 256;

/**
 * A read with more frames does not enlarge the read buffer: 2,048. Such a read takes about half a millisecond, in which
 * nobody else is served.
 */
const MAX_READ_FRAMES = 2048;

/** Start of reads: the room in front takes the header of an echo whose own header came in the last read. */
const READ_AT = MAX_HEADER_BYTES;

/**
 * Spare first read buffers of ended connections. A new buffer, outside of V8's heap and collected in another thread, takes as long
 * as the decision on a request.
 */
const SPARE: Uint8Array<ArrayBuffer>[] = [];

/** The most spare buffers kept: 64, which are 34 KiB. */
const MAX_SPARE = 64;

/** A header that all connections write over and over. */
const SCRATCH: { -readonly [Field in keyof FrameHeader]: FrameHeader[Field] } = {
  final: true,
  reserved: 0,
  opcode: 0,
  isMasked: false,
  length: 0,
};

const NOTHING = new Uint8Array(0);

/** Writes the header of a whole message; returns the start of its payload. */
function writeMessageHeader(into: Uint8Array, at: number, opcode: number, length: number, reserved: number): number {
  SCRATCH.final = true;
  SCRATCH.opcode = opcode;
  SCRATCH.length = length;
  SCRATCH.reserved = reserved;
  const end = writeHeader(into, at, SCRATCH);
  SCRATCH.reserved = 0;
  return end;
}

/**
 * Holds the last read of a connection and its answers, in order. An echo overwrites its frame: its header is shorter by
 * the masking key, so it never runs into unread bytes.
 *
 * The read buffer grows for a peer that fills it, within the budget.
 *
 * @example
 * ```ts
 * import { EchoBuffer } from "./echo_buffer.ts";
 * import { OPCODE } from "../protocol/frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const buffer = new EchoBuffer();
 * // A masked binary frame of two bytes, as a decoder has unmasked it.
 * buffer.room.set([0x82, 0x82, 0, 0, 0, 0, 7, 8]);
 * const read = buffer.begin(8);
 * buffer.echo(OPCODE.binary, true, 2, read.subarray(6), true);
 * assertEquals(buffer.takeEchoes(), Uint8Array.of(0x82, 0x02, 7, 8));
 * ```
 */
export class EchoBuffer {
  readonly #budget: MemoryBudget | undefined;
  #buffer = SPARE.pop() ?? new Uint8Array(READ_AT + MIN_READ_BYTES);
  #room = this.#buffer.subarray(READ_AT);
  /** Bytes that the read buffer has reserved from the budget. */
  #reservedBytes = 0;

  /** The echoes of this read inside the read buffer; -1 if there are none. */
  #outStart = -1;
  #outEnd = -1;
  /** End of the queued echoes inside the read buffer. */
  #sealedEnd = 0;
  /** End of the last read. */
  #readEnd = 0;
  /** The parts that go out before them. */
  #queue: Uint8Array[] = [];
  /** Bytes of complete messages that have not been written, with the parts joined to them. */
  #heldBytes = 0;

  /**
   * Begins with room for 512 bytes.
   *
   * @param budget The memory for more; without limit by default.
   */
  constructor(budget?: MemoryBudget) {
    this.#budget = budget;
  }

  /** Room for reads. */
  get room(): Uint8Array<ArrayBuffer> {
    return this.#room;
  }

  /** Whether nothing is to go out. */
  get isEmpty(): boolean {
    return this.#outStart === -1 && this.#queue.length === 0;
  }

  /** Bytes to be written outside of the read buffer: messages and joined parts. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Begins with the frames of a read. All output of the last read must have been taken and written.
   *
   * @param count How many bytes were read.
   * @returns The bytes.
   */
  begin(count: number): Uint8Array<ArrayBuffer> {
    this.#sealedEnd = 0;
    this.#readEnd = READ_AT + count;
    return count === this.#room.byteLength ? this.#room : this.#room.subarray(0, count);
  }

  /**
   * Appends a piece of an echo to those in the read buffer; the first piece never moves.
   *
   * @param opcode The opcode of its frame.
   * @param final Whether the frame ends its message.
   * @param length The length of the frame, in bytes.
   * @param piece The piece, in place: a part of {@linkcode begin}'s bytes.
   * @param isFirst Whether it begins the frame.
   */
  echo(opcode: number, final: boolean, length: number, piece: Uint8Array, isFirst: boolean): void {
    const { byteOffset: at, byteLength } = piece;
    const buffer = this.#buffer;
    if (this.#outStart === -1) {
      this.#outStart = this.#outEnd = at - (isFirst ? headerBytes(length, false) : 0);
    }
    if (isFirst) {
      SCRATCH.final = final;
      SCRATCH.opcode = opcode;
      SCRATCH.length = length;
      this.#outEnd = writeHeader(buffer, this.#outEnd, SCRATCH);
    }
    if (this.#outEnd !== at) buffer.copyWithin(this.#outEnd, at, at + byteLength);
    this.#outEnd += byteLength;
  }

  /**
   * Writes a message over its own pieces in the read buffer, if it fits, as it does unless it began in an earlier read.
   * So short messages hold no memory of their own.
   *
   * @param opcode The opcode of the message.
   * @param message The message.
   * @param last The last piece of its frames, in place.
   * @param reserved The reserved bits of its frame.
   * @returns Whether it fits. If not, nothing has changed.
   */
  echoWhole(opcode: number, message: Uint8Array, last: Uint8Array, reserved = 0): boolean {
    const { byteLength: length } = message;
    const size = headerBytes(length, false) + length;
    const readEnd = last.byteOffset + last.byteLength;
    const at = this.#outStart === -1 ? Math.max(this.#sealedEnd, readEnd - size) : this.#outEnd;
    // After the last frame of a read the buffer is free.
    const limit = readEnd === this.#readEnd ? this.#buffer.byteLength : readEnd;
    if (at + size > limit) return false;
    if (this.#outStart === -1) this.#outStart = at;
    this.#outEnd = at + size;
    this.#buffer.set(message, writeMessageHeader(this.#buffer, at, opcode, length, reserved));
    return true;
  }

  /**
   * Appends a control frame.
   *
   * @param opcode Its opcode.
   * @param payload Its payload, not copied if it stands in the read buffer.
   */
  control(opcode: number, payload: Uint8Array): void {
    // A frame from two reads, or one that answers nothing, does not stand in the read buffer.
    if (payload.buffer !== this.#buffer.buffer) return this.enqueue(encodeFrame(opcode, payload));
    this.echo(opcode, true, payload.byteLength, payload, true);
  }

  /**
   * Appends a message from other memory.
   *
   * @param opcode Its opcode.
   * @param parts Its bytes, which are not copied.
   * @param reserved The reserved bits of its frame.
   */
  append(opcode: number, parts: readonly Uint8Array[], reserved = 0): void {
    const length = parts.reduce((sum, { byteLength }) => sum + byteLength, 0);
    const head = new Uint8Array(headerBytes(length, false));
    writeMessageHeader(head, 0, opcode, length, reserved);
    this.enqueue(head);
    for (const part of parts) {
      this.#queue.push(part);
      this.#heldBytes += part.buffer.byteLength;
    }
  }

  /**
   * Appends a frame from other memory.
   *
   * @param frame Its bytes.
   */
  enqueue(frame: Uint8Array): void {
    this.#seal();
    this.#queue.push(frame);
  }

  /**
   * Takes the output if all of it stands in the read buffer, as it nearly always does.
   *
   * @returns The bytes, valid until the next read; `undefined` if there is nothing, or more than that.
   */
  takeEchoes(): Uint8Array | undefined {
    if (this.#outStart === -1 || this.#queue.length > 0) return undefined;
    const echoes = this.#buffer.subarray(this.#outStart, this.#outEnd);
    this.#outStart = this.#outEnd = -1;
    return echoes;
  }

  /**
   * Takes all output.
   *
   * @returns The parts in order, valid until the next read. {@linkcode forget} must follow once they are written.
   */
  takeQueue(): Uint8Array[] {
    this.#seal();
    const queue = this.#queue;
    this.#queue = [];
    const joined = queue.length > 1 ? joinedBytes(queue) : 0;
    if (joined >= MIN_COUNTED_JOIN_BYTES) this.#heldBytes += joined;
    return queue;
  }

  /**
   * Frees the memory of written parts outside of the read buffer: others may need it before garbage collection.
   *
   * @param queue The parts, from {@linkcode takeQueue}.
   */
  forget(queue: readonly Uint8Array[]): void {
    if (this.#heldBytes === 0) return;
    this.#heldBytes = 0;
    for (const { buffer } of queue) {
      if (buffer instanceof ArrayBuffer && buffer !== this.#buffer.buffer) buffer.transfer(0);
    }
  }

  /**
   * Enlarges the read buffer for a peer that fills it. Shrinks it for many small frames, after silence, and when others
   * need the memory more.
   *
   * @param count How many bytes the last read has brought.
   * @param frames How many frames.
   * @param wasSilent Whether the peer was silent before.
   */
  fit(count: number, frames: number, wasSilent: boolean): void {
    const size = this.#room.byteLength;
    if (count < size) {
      if (size === MIN_READ_BYTES) return;
      if (wasSilent && count < MIN_READ_BYTES) this.resize(MIN_READ_BYTES);
      else if (this.#reservedBytes > 0 && count <= UNCOUNTED_READ_BYTES && this.#budget?.isTight) {
        this.resize(UNCOUNTED_READ_BYTES);
      }
    } else if (size < UNCOUNTED_READ_BYTES) {
      this.resize(UNCOUNTED_READ_BYTES);
    } else if (frames > MAX_READ_FRAMES) {
      if (frames > 2 * MAX_READ_FRAMES) this.resize(Math.max(UNCOUNTED_READ_BYTES, size / 2));
    } else if (size < MAX_READ_BYTES) {
      this.resize(2 * size);
    }
  }

  /**
   * Resizes the read buffer, if the budget has the memory; its content is lost.
   *
   * @param size The size in bytes; all but the first 4 KiB is reserved.
   */
  resize(size: number): void {
    if (size === this.#room.byteLength) return;
    const reserved = Math.max(0, size - UNCOUNTED_READ_BYTES);
    const more = reserved - this.#reservedBytes;
    if (more < 0) this.#budget?.giveBack(-more);
    if (more > 0 && this.#budget?.reserve(more) === false) return;
    this.#reservedBytes = reserved;
    // Others may need the memory before garbage collection.
    if (!this.#spare()) this.#buffer.buffer.transfer(0);
    this.#buffer = new Uint8Array(READ_AT + size);
    this.#room = this.#buffer.subarray(READ_AT);
  }

  /** Returns all memory: nothing is read or written any more. No other method may be called then. */
  release(): void {
    this.#budget?.giveBack(this.#reservedBytes);
    this.#reservedBytes = 0;
    if (this.#spare()) this.#buffer = this.#room = NOTHING;
  }

  /** Keeps a first read buffer for the next connection, below the limit. */
  #spare(): boolean {
    const isSpare = this.#room.byteLength === MIN_READ_BYTES && SPARE.length < MAX_SPARE;
    if (isSpare) SPARE.push(this.#buffer);
    return isSpare;
  }

  #seal(): void {
    if (this.#outStart === -1) return;
    this.#queue.push(this.#buffer.subarray(this.#outStart, this.#outEnd));
    this.#sealedEnd = this.#outEnd;
    this.#outStart = this.#outEnd = -1;
  }
}

/**
 * Joins small neighbours on their turn: many small echoes are one write, and a large one is not copied.
 *
 * @param parts The parts, in order.
 * @returns The writes, in order.
 *
 * @example
 * ```ts
 * import { coalesce } from "./echo_buffer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const writes = [...coalesce([Uint8Array.of(1), Uint8Array.of(2), new Uint8Array(100_000)])];
 * assertEquals(writes.map(({ byteLength }) => byteLength), [2, 100_000]);
 * ```
 */
export function* coalesce(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  let small: Uint8Array[] = [];
  let length = 0;
  for (const part of parts) {
    if (length > 0 && length + part.byteLength > MAX_JOINED_BYTES) {
      yield concatBytes(small, length);
      small = [];
      length = 0;
    }
    if (part.byteLength > MAX_JOINED_BYTES) {
      yield part;
    } else {
      small.push(part);
      length += part.byteLength;
    }
  }
  if (length > 0) yield concatBytes(small, length);
}

/** The most that {@linkcode coalesce} holds at once, in bytes. */
function joinedBytes(parts: readonly Uint8Array[]): number {
  const small = parts.filter(({ byteLength }) => byteLength <= MAX_JOINED_BYTES);
  return Math.min(MAX_JOINED_BYTES, small.reduce((sum, { byteLength }) => sum + byteLength, 0));
}
