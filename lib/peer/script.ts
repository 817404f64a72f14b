/**
 * What a raw peer does, as data: steps, one after the other. They are the same for both roles.
 *
 * @module
 */

import type { RawFrame } from "./frame.ts";

/** A frame of a script: its mask is right for the role of the one who plays it, or wrong on purpose. */
export interface ScriptFrame extends Omit<RawFrame, "isMasked"> {
  /** Whether it has a mask where it must not have one, or the reverse; `false` by default. */
  readonly isWronglyMasked?: boolean;
}

/** One step. */
export type Step =
  /** Sends frames: in one write, or in writes of so many bytes at most; or only their first bytes so, and then the rest. */
  | {
    readonly do: "send";
    readonly frames: Iterable<ScriptFrame>;
    readonly chopBytes?: number;
    readonly choppedBytes?: number;
  }
  /** Sends the same frame many times, with the same mask, as fast as it is taken. */
  | { readonly do: "repeat"; readonly frame: ScriptFrame; readonly count: number }
  /** Sends a part of one frame, counted in bytes of its payload: the header comes with the first; `to` is the end by default. */
  | { readonly do: "send-part"; readonly frame: ScriptFrame; readonly from: number; readonly to?: number }
  /** Sends messages one after the other, each when the reply to the one before has come. */
  | { readonly do: "take-turns"; readonly frame: ScriptFrame; readonly count: number }
  /** Waits until the other side has sent so many messages and pongs since the beginning. */
  | { readonly do: "await"; readonly messages?: number; readonly pongs?: number }
  /** Waits for the end of the connection, or a close frame; but only so long, in milliseconds. */
  | { readonly do: "settle"; readonly ms: number }
  /** Waits, whatever comes, in milliseconds. */
  | { readonly do: "pause"; readonly ms: number }
  /** Reads on, and looks at nothing that comes but the end. */
  | { readonly do: "discard" }
  /** Reads nothing more: what the other side sends stays where it is. */
  | { readonly do: "stop-reading" }
  /** Ends our half of the TCP connection. */
  | { readonly do: "half-close" };
