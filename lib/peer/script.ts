/**
 * Scripts for a raw peer: its steps as data, the same for both roles.
 *
 * @module
 */

import type { RawFrame } from "./frame.ts";

/** A frame of a script, with the mask of the player's role, or wrong on purpose. */
export interface ScriptFrame extends Omit<RawFrame, "isMasked"> {
  /** Whether to mask where the role forbids a mask, or the reverse; `false` by default. */
  readonly isWronglyMasked?: boolean;
}

/** One step. */
export type Step =
  /** Sends frames in one write, or in writes of `chopBytes`; only the first `choppedBytes` so, then the rest. */
  | {
    readonly do: "send";
    readonly frames: Iterable<ScriptFrame>;
    readonly chopBytes?: number;
    readonly choppedBytes?: number;
  }
  /** Sends the same frame many times, with the same mask, as fast as they are read. */
  | { readonly do: "repeat"; readonly frame: ScriptFrame; readonly count: number }
  /** Sends a part of one frame, in bytes of its payload; from 0 with the header, to the end by default. */
  | { readonly do: "send-part"; readonly frame: ScriptFrame; readonly from: number; readonly to?: number }
  /** Sends messages one by one, each after the reply to the last. */
  | { readonly do: "take-turns"; readonly frame: ScriptFrame; readonly count: number }
  /** Waits until the other side has sent this many messages and pongs since the start. */
  | { readonly do: "await"; readonly messages?: number; readonly pongs?: number }
  /** Waits for the end of the connection or a close frame, at most this long, in milliseconds. */
  | { readonly do: "settle"; readonly ms: number }
  /** Waits, whatever arrives, in milliseconds. */
  | { readonly do: "pause"; readonly ms: number }
  /** Reads on, and drops everything but the end. */
  | { readonly do: "discard" }
  /** Stops reading: the other side's bytes stay in the socket. */
  | { readonly do: "stop-reading" }
  /** Ends our half of the TCP connection. */
  | { readonly do: "half-close" };
