/**
 * The bounds of a path: on the output for one message, and on unsolicited messages.
 *
 * @module
 */

const MIB = 1024 * 1024;

/** The most frames that a path makes of one message, and the most that it sends unasked: 2^20. */
export const MAX_LAB_FRAMES = 1_048_576;

/** The most payload bytes that a path makes of one message, with all copies: 64 MiB. */
export const MAX_MADE_BYTES = 64 * MIB;

/** The most bytes that a path adds to one message: 1 MiB. */
export const MAX_ADDED_BYTES = MIB;

/** The most payload bytes that a path sends unasked: 1 GiB. */
export const MAX_UNASKED_BYTES = 1024 * MIB;

/** The most message bytes that all connections hold together, without those below 64 KiB: 128 MiB. */
export const LAB_BUDGET_BYTES = 128 * MIB;

/**
 * Thrown when a message, or the sum of all connections, passes a bound of the lab.
 *
 * @example
 * ```ts
 * import { LabLimitError } from "./load.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new LabLimitError(1013, "Connections of the lab hold too much").closeCode, 1013);
 * ```
 */
export class LabLimitError extends Error {
  /** The name of the class. */
  override readonly name = "LabLimitError";
  /** The close code: 1009 (message too big) or 1013 (try again later). */
  readonly closeCode: 1009 | 1013;

  /**
   * Makes the error.
   *
   * @param closeCode The close code.
   * @param message The bound, in at most 123 bytes.
   */
  constructor(closeCode: 1009 | 1013, message: string) {
    super(message);
    this.closeCode = closeCode;
  }
}

/**
 * The minimum load of a path, summed up by its steps before any message arrives.
 *
 * @example
 * ```ts
 * import { ProgramLoad } from "./load.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const load = new ProgramLoad();
 * for (let step = 0; step < 20; step++) load.copies *= 2;
 * assertEquals(load.excess, undefined);
 * load.copies *= 2;
 * assertEquals(load.excess, "makes more than 1048576 frames of one message");
 * ```
 */
export class ProgramLoad {
  /** Messages sent for one. */
  copies = 1;
  /** Frames sent for one message, at least. */
  frames = 1;
  /** Frames that start a message. */
  starts = 1;
  /** Bytes added to a message. */
  addedBytes = 0;
  /** The changes of a message's length in bytes, step by step. */
  readonly lengths: ((bytes: number) => number)[] = [];
  /** Whether the frames carry data, and can be fragmented. */
  isData = true;
  /** The smallest fragment size, in bytes; infinite if messages stay whole. */
  fragmentBytes = Infinity;
  /** Frames that are sent unasked. */
  unaskedFrames = 0;
  /** Payload bytes that are sent unasked. */
  unaskedBytes = 0;
  #mostBytes = 0;
  #mostFrames = 0;

  /**
   * Cuts the frames of every message.
   *
   * @param bytes The size of a fragment.
   */
  cut(bytes: number): void {
    if (this.isData) this.fragmentBytes = Math.min(this.fragmentBytes, bytes);
  }

  /**
   * Adds an unsolicited message.
   *
   * @param bytes Its length before the steps change it.
   */
  greet(bytes: number): void {
    const length = this.lengths.reduce((made, change) => change(made), bytes);
    const made = this.copies * length;
    const frames = this.copies * Math.max(this.frames, Math.ceil(length / this.fragmentBytes));
    this.#mostBytes = Math.max(this.#mostBytes, made);
    this.#mostFrames = Math.max(this.#mostFrames, frames);
    this.unaskedBytes += made;
    this.unaskedFrames += frames;
  }

  /** The passed bound, as the end of a sentence about its step; `undefined` if none is. */
  get excess(): string | undefined {
    if (this.addedBytes > MAX_ADDED_BYTES) return `makes a message longer by more than ${MAX_ADDED_BYTES} bytes`;
    if (Math.max(this.copies * this.frames, this.#mostFrames) > MAX_LAB_FRAMES) {
      return `makes more than ${MAX_LAB_FRAMES} frames of one message`;
    }
    if (this.#mostBytes > MAX_MADE_BYTES) return `makes more than ${MAX_MADE_BYTES} bytes of one message`;
    if (this.unaskedFrames > MAX_LAB_FRAMES) return `sends more than ${MAX_LAB_FRAMES} frames unasked`;
    if (this.unaskedBytes > MAX_UNASKED_BYTES) return `sends more than ${MAX_UNASKED_BYTES} bytes unasked`;
    return undefined;
  }
}

/**
 * Counts the output of the steps for one message.
 *
 * @example
 * ```ts
 * import { MAX_MADE_BYTES, MessageTally } from "./load.ts";
 * import { assertThrows } from "@std/assert";
 *
 * const tally = new MessageTally();
 * tally.add(MAX_MADE_BYTES);
 * assertThrows(() => tally.add(1), Error, "Steps make more than 67108864 bytes of one message");
 * ```
 */
export class MessageTally {
  #frames = 0;
  #bytes = 0;

  /**
   * Counts a frame.
   *
   * @param bytes The length of its payload.
   * @throws {LabLimitError} With the close code 1009 if the frame passes a bound.
   */
  add(bytes: number): void {
    this.#frames++;
    this.#bytes += bytes;
    if (this.#frames > MAX_LAB_FRAMES) {
      throw new LabLimitError(1009, `Steps make more than ${MAX_LAB_FRAMES} frames of one message`);
    }
    if (this.#bytes > MAX_MADE_BYTES) {
      throw new LabLimitError(1009, `Steps make more than ${MAX_MADE_BYTES} bytes of one message`);
    }
  }
}
