/**
 * The limits of one connection over our own frames, and the account of its end.
 *
 * @module
 */

import type { WireTotals } from "../connection/connection.ts";
import type { CloseRecord } from "../protocol/close.ts";
import type { MemoryBudget } from "./budget.ts";
import type { RateLimit } from "./rate.ts";

/** What a connection accepts. */
export interface WireLimits {
  /** The longest message in bytes; a longer one is answered with 1009. */
  readonly maxMessageBytes: number;
  /** How long a peer may be silent before it is dropped, in milliseconds, with a ping at half of it; 0 for ever. */
  readonly idleTimeoutMs: number;
  /**
   * How fast the peer may send: a message or control frame beyond it is answered with 1008. A fragment belongs to the message
   * that has begun; one shorter than 128 bytes counts as a message itself, unless it is the last. Without limit by default.
   */
  readonly rate?: RateLimit | undefined;
  /**
   * The memory that the peer shares with others. The room for text that is not complete, text that the peer has not taken yet,
   * what is joined to be written, and what came early count from 4 KiB on: whoever holds the most when it is too much is
   * answered with 1013. Of a read buffer all but 4 KiB counts: if there is no room for a larger one, the connection
   * goes on with the one that it has. Without limit by default.
   */
  readonly budget?: MemoryBudget | undefined;
}

/** How a connection has ended, and what it has echoed. */
export interface WireEnd extends CloseRecord {
  /** How many messages were echoed. */
  readonly messages: number;
  /** How many payload bytes were echoed. */
  readonly bytes: number;
  /** How many bytes the frames had on the wire. */
  readonly wire: WireTotals;
}
