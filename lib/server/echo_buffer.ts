/**
 * The memory of one echo: the buffer that frames are read to and echoed in, and the order in which all that is said goes out.
 *
 * @module
 */

import { encodeFrame, type FrameHeader, headerBytes, MAX_HEADER_BYTES, writeHeader } from "../protocol/frame.ts";
import { concatBytes } from "../protocol/message.ts";
import type { MemoryBudget } from "./budget.ts";

/**
 * The first read buffer of a connection, and that of one which has been silent, in bytes: 512. Of 10,000 silent connections it is
 * 3.6 KiB less each than the next size, and small messages are read as fast into it.
 */
export const MIN_READ_BYTES = 512;

/** The read buffer of a connection that has filled its first one, in bytes: 4 KiB. The budget counts what is beyond it. */
const UNCOUNTED_READ_BYTES = 4 * 1024;

/** The largest read buffer of a connection, in bytes: 128 KiB, for those that fill it; more is not faster. */
export const MAX_READ_BYTES = 128 * 1024;

/** A longer part is written by itself, in bytes: 64 KiB; joining it with others would cost more than it saves. */
const MAX_JOINED_BYTES = 64 * 1024;

/**
 * What is joined counts as held from here on, in bytes: 8,448. Below that it is a text of less than 4 KiB and the echoes that
 * stand around it in a read buffer of 4 KiB, none of which count either.
 */
const MIN_COUNTED_JOIN_BYTES = 2 * UNCOUNTED_READ_BYTES + 256;

/**
 * A read that brings more frames than this does not make the read buffer larger: 2,048. Such a read takes about half a
 * millisecond, in which nobody else is served.
 */
const MAX_READ_FRAMES = 2048;

/** Where frames are read to: the room in front takes the header of an echo whose frame had its header in the last read. */
const READ_AT = MAX_HEADER_BYTES;

/** A header that is written over and over, by all connections. */
const SCRATCH: { -readonly [Field in keyof FrameHeader]: FrameHeader[Field] } = {
  final: true,
  reserved: 0,
  opcode: 0,
  isMasked: false,
  length: 0,
};

/** Writes the header of a whole message, and gives where its payload begins. */
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
 * Holds the last read of a connection, and what goes out for it, in order. An echo is written where its frame was read: its
 * header is shorter by the masking key, so that it never runs into what is still to be read.
 *
 * Its read buffer grows for a peer that fills it, within the memory that the budget has.
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
  #buffer = new Uint8Array(READ_AT + MIN_READ_BYTES);
  #room = this.#buffer.subarray(READ_AT);
  /** The memory that the read buffer has reserved of the budget, in bytes. */
  #reservedBytes = 0;

  /** The echoes of this read that stand in the read buffer; -1 if there are none. */
  #outStart = -1;
  #outEnd = -1;
  /** Before this stand echoes of this read that are in the queue. */
  #sealedEnd = 0;
  /** Where the last read ends. */
  #readEnd = 0;
  /** The parts that go out before them. */
  #queue: Uint8Array[] = [];
  /** The memory of complete messages that have not been written, with that of what they are joined with, in bytes. */
  #heldBytes = 0;

  /**
   * Begins with room for 512 bytes.
   *
   * @param budget Has the memory for more; without limit by default.
   */
  constructor(budget?: MemoryBudget) {
    this.#budget = budget;
  }

  /** Where to read to. */
  get room(): Uint8Array<ArrayBuffer> {
    return this.#room;
  }

  /** Whether nothing is to go out. */
  get isEmpty(): boolean {
    return this.#outStart === -1 && this.#queue.length === 0;
  }

  /** How much memory waits to be written besides the read buffer, in bytes: messages, and what is joined. */
  get heldBytes(): number {
    return this.#heldBytes;
  }

  /**
   * Begins with the frames of a read. All that goes out for the last one must have been taken and written.
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
   * Puts a piece of an echo behind those that stand in the read buffer; the first is not moved at all.
   *
   * @param opcode The opcode of its frame.
   * @param final Whether the frame ends its message.
   * @param length The length of the frame, in bytes.
   * @param piece The piece, in place: a part of what {@linkcode begin} gave.
   * @param isFirst Whether the frame begins with it.
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
   * Puts a message that came in pieces where they stood in the read buffer, if there is room for all of it, as there is unless it
   * began in an earlier read: of many short messages none holds memory of its own.
   *
   * @param opcode The opcode of the message.
   * @param message The message.
   * @param last The last piece of what came for it, in place.
   * @param reserved The reserved bits of its frame.
   * @returns Whether there was room. If not, nothing has changed.
   */
  echoWhole(opcode: number, message: Uint8Array, last: Uint8Array, reserved = 0): boolean {
    const { byteLength: length } = message;
    const size = headerBytes(length, false) + length;
    const readEnd = last.byteOffset + last.byteLength;
    const at = this.#outStart === -1 ? Math.max(this.#sealedEnd, readEnd - size) : this.#outEnd;
    // Behind the last frame of a read the buffer is free.
    const limit = readEnd === this.#readEnd ? this.#buffer.byteLength : readEnd;
    if (at + size > limit) return false;
    if (this.#outStart === -1) this.#outStart = at;
    this.#outEnd = at + size;
    this.#buffer.set(message, writeMessageHeader(this.#buffer, at, opcode, length, reserved));
    return true;
  }

  /**
   * Puts a control frame behind everything so far.
   *
   * @param opcode Its opcode.
   * @param payload Its payload; where it stands in the read buffer it is not copied.
   */
  control(opcode: number, payload: Uint8Array): void {
    // One that came in two reads, or that answers nothing, does not stand in the read buffer.
    if (payload.buffer !== this.#buffer.buffer) return this.enqueue(encodeFrame(opcode, payload));
    this.echo(opcode, true, payload.byteLength, payload, true);
  }

  /**
   * Puts a message that stands elsewhere behind everything so far.
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
   * Puts a frame that stands elsewhere behind everything so far.
   *
   * @param frame Its bytes.
   */
  enqueue(frame: Uint8Array): void {
    this.#seal();
    this.#queue.push(frame);
  }

  /**
   * Takes what goes out if it stands in the read buffer, all of it, as it nearly always does.
   *
   * @returns The bytes, good until the next read; `undefined` if there is nothing, or more than that.
   */
  takeEchoes(): Uint8Array | undefined {
    if (this.#outStart === -1 || this.#queue.length > 0) return undefined;
    const echoes = this.#buffer.subarray(this.#outStart, this.#outEnd);
    this.#outStart = this.#outEnd = -1;
    return echoes;
  }

  /**
   * Takes all that goes out.
   *
   * @returns The parts in order, good until the next read. Once they are written, {@linkcode forget} has to be called.
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
   * Gives back the memory of parts that were written, and have memory of their own: others may need it before the garbage is
   * collected.
   *
   * @param queue The parts, as {@linkcode takeQueue} gave them.
   */
  forget(queue: readonly Uint8Array[]): void {
    if (this.#heldBytes === 0) return;
    this.#heldBytes = 0;
    for (const { buffer } of queue) {
      if (buffer instanceof ArrayBuffer && buffer !== this.#buffer.buffer) buffer.transfer(0);
    }
  }

  /**
   * Makes the read buffer larger for a peer that fills it, or smaller if it is filled with many small frames; and smaller for one
   * that has been silent, or that needs it no more when others do.
   *
   * @param count How many bytes the last read has brought.
   * @param frames How many frames.
   * @param wasSilent Whether the peer was silent before it.
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
   * Changes the size of the read buffer, if the budget has the memory; what stood there is lost.
   *
   * @param size The size in bytes; of this all but the first 4 KiB is reserved.
   */
  resize(size: number): void {
    if (size === this.#room.byteLength) return;
    const reserved = Math.max(0, size - UNCOUNTED_READ_BYTES);
    const more = reserved - this.#reservedBytes;
    if (more < 0) this.#budget?.giveBack(-more);
    if (more > 0 && this.#budget?.reserve(more) === false) return;
    this.#reservedBytes = reserved;
    // Others may need the memory before the garbage is collected.
    this.#buffer.buffer.transfer(0);
    this.#buffer = new Uint8Array(READ_AT + size);
    this.#room = this.#buffer.subarray(READ_AT);
  }

  /** Gives back the memory that is reserved: nothing is read any more. */
  release(): void {
    this.#budget?.giveBack(this.#reservedBytes);
    this.#reservedBytes = 0;
  }

  #seal(): void {
    if (this.#outStart === -1) return;
    this.#queue.push(this.#buffer.subarray(this.#outStart, this.#outEnd));
    this.#sealedEnd = this.#outEnd;
    this.#outStart = this.#outEnd = -1;
  }
}

/**
 * Joins small neighbours, when it is their turn: many small echoes are one write, and a large one is not copied.
 *
 * @param parts The parts, in order.
 * @returns What to write, one after the other.
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
