/**
 * How an end compresses, and the bounds of it, for those who do not need zlib itself.
 *
 * @module
 */

import type { DeflateDirection } from "../protocol/deflate.ts";

/** The ratio above which a message is a bomb unless told otherwise: 256 times its compressed size; zlib reaches 1,032. */
export const DEFAULT_MAX_INFLATE_RATIO = 256;

/** Messages below this size, in bytes, are never bombs: 1 MiB. */
export const MIN_BOMB_BYTES = 1024 * 1024;

/** A message below this size is not compressed without takeover unless told otherwise, in bytes: 1 KiB. */
export const DEFAULT_DEFLATE_THRESHOLD_BYTES = 1024;

/**
 * The work of an engine, in bytes that are relayed as they are, which take 1 ns each: measured with zeros, JSON, digits and noise,
 * at level 3, inflated and compressed again. Noise takes the longest for a byte that comes in, zeros for one that comes out.
 */
export const COST_OF_INFLATED_BYTE = 2;
/** The same for a byte that comes in, compressed. */
export const COST_OF_COMPRESSED_BYTE = 24;

/** The work of making an engine, in the same bytes: 7 to 95 microseconds. */
export const COST_OF_ENGINE = 64 * 1024;

/** Has the memory for compressors. */
export interface EngineBudget {
  /** Whether little is left. */
  readonly isTight: boolean;
  /** Reserves bytes, if they are left. */
  reserve(bytes: number): boolean;
  /** Gives bytes back that were reserved. */
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
  /** How this end compresses. */
  readonly own: DeflateDirection;
  /** How the peer compresses. */
  readonly peer: DeflateDirection;
  /** Not more than one byte beyond this comes out of a message. */
  readonly maxMessageBytes: number;
  /** Above this ratio a message over 1 MiB is a bomb; without limit by default. */
  readonly maxInflateRatio?: number | undefined;
  /**
   * Has the memory for a compressor that stays between messages. Where it has none, messages do not refer back: nobody has to be
   * told. Without limit by default.
   */
  readonly budget?: EngineBudget | undefined;
}
