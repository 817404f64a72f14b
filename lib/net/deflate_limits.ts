/**
 * Options and bounds of compression, apart from zlib itself.
 *
 * @module
 */

import type { DeflateDirection } from "../protocol/deflate.ts";

/** Default ratio above which a message is a bomb: 256 times its compressed size; zlib reaches 1,032. */
export const DEFAULT_MAX_INFLATE_RATIO = 256;

/** Messages below this size, in bytes, are never bombs: 1 MiB. */
export const MIN_BOMB_BYTES = 1024 * 1024;

/** Default size below which a message is not compressed without takeover, in bytes: 1 KiB. */
export const DEFAULT_DEFLATE_THRESHOLD_BYTES = 1024;

/**
 * Work of an engine for an inflated byte, in plainly relayed bytes of 1 ns each: measured with zeros, JSON, digits and noise, at
 * level 3, inflated and compressed again. Noise costs most per incoming byte, zeros per inflated one.
 */
export const COST_OF_INFLATED_BYTE = 2;
/** The same for an incoming compressed byte. */
export const COST_OF_COMPRESSED_BYTE = 24;

/** Work of making an engine, in the same bytes: 7 to 95 microseconds. */
export const COST_OF_ENGINE = 64 * 1024;

/** The memory for compressors. */
export interface EngineBudget {
  /** Whether little memory is left. */
  readonly isTight: boolean;
  /** Reserves bytes, if enough are left. */
  reserve(bytes: number): boolean;
  /** Returns reserved bytes. */
  giveBack(bytes: number): void;
}

/** Options of {@linkcode MessageDeflate}. */
export interface MessageDeflateOptions {
  /** The level of zlib, 1 (fast) to 9 (small). 6 by default. */
  readonly level?: number | undefined;
  /** The memory level of zlib, 1 to 9. 8 by default. */
  readonly memoryLevel?: number | undefined;
  /** A message below this size is not compressed without takeover, in bytes; 1 KiB by default. */
  readonly thresholdBytes?: number | undefined;
  /** Parameters of this end's compressor. */
  readonly own: DeflateDirection;
  /** Parameters of the peer's compressor. */
  readonly peer: DeflateDirection;
  /** Inflating stops one byte beyond this. */
  readonly maxMessageBytes: number;
  /** Above this ratio a message over 1 MiB is a bomb; without limit by default. */
  readonly maxInflateRatio?: number | undefined;
  /**
   * The memory for a compressor that stays between messages. Without memory, messages do not refer back, which the peer need not
   * know. No limit by default.
   */
  readonly budget?: EngineBudget | undefined;
}
