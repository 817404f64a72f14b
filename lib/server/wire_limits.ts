/**
 * The limits of one connection over our own frames, and the record of its end.
 *
 * @module
 */

import type { WireTotals } from "../connection/connection.ts";
import type { CloseRecord } from "../protocol/close.ts";
import type { MemoryBudget } from "./budget.ts";
import type { RateLimit } from "./rate.ts";

/** Limits of a connection. */
export interface WireLimits {
  /** The longest message in bytes; a longer one is answered with 1009. */
  readonly maxMessageBytes: number;
  /** Idle timeout in milliseconds: pings at half of it, drops the peer at its end; 0 for never. */
  readonly idleTimeoutMs: number;
  /**
   * How fast the peer may send: a message or control frame beyond it is answered with 1008. A fragment belongs to its
   * message; one shorter than 128 bytes counts as a message itself, unless it is the last. Without limit by default.
   */
  readonly rate?: RateLimit | undefined;
  /**
   * The memory that all peers share. Room for incomplete text, text that the peer has not taken, joined output and
   * early bytes count from 4 KiB on; over the limit the largest holder gets 1013. All but 4 KiB of a read buffer
   * counts: without room for a larger one, the connection keeps its present buffer. Without limit by default.
   */
  readonly budget?: MemoryBudget | undefined;
}

/** The end of a connection, and its counts. */
export interface WireEnd extends CloseRecord {
  /** How many messages were echoed. */
  readonly messages: number;
  /** How many payload bytes were echoed. */
  readonly bytes: number;
  /** Bytes of the frames on the wire. */
  readonly wire: WireTotals;
}
