/**
 * Finds breaches of the protocol, which fail any case.
 *
 * @module
 */

import { parseClosePayload } from "../protocol/close.ts";
import { MAX_CONTROL_PAYLOAD_BYTES, OPCODE, RSV1 } from "../protocol/frame.ts";
import { messageOf, ProtocolError } from "../protocol/error.ts";
import { Utf8Checker } from "../protocol/utf8.ts";
import type { SeenFrame } from "../peer/raw_reader.ts";

/** Origin of the frames. */
export interface BreachOptions {
  /** The role of the peer. */
  readonly peer: "server" | "client";
  /** Whether permessage-deflate was negotiated: RSV1 then marks a compressed message (RFC 7692 section 6). */
  readonly isDeflated: boolean;
}

const OPCODES: readonly number[] = Object.values(OPCODE);

/**
 * Finds a peer's first breach of the protocol (RFC 6455 sections 5.1 to 5.5 and 8.1).
 *
 * @param frames The frames, in order.
 * @param options Their origin.
 * @returns The breach with its section; `undefined` without one.
 *
 * @example
 * ```ts
 * import { breachOf } from "./breach.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new Uint8Array(0);
 * const frame = { final: true, reserved: 0, opcode: 3, isMasked: false, length: 0, payload, isMinimal: true };
 * assertEquals(breachOf([frame], { peer: "server", isDeflated: false }), "opcode 3 is not defined (section 5.2)");
 * ```
 */
export function breachOf(frames: readonly SeenFrame[], { peer, isDeflated }: BreachOptions): string | undefined {
  let text: Utf8Checker | undefined;
  let isInside = false;
  let hasClosed = false;
  for (const frame of frames) {
    const { final, reserved, opcode, isMasked, length, payload, isMinimal } = frame;
    const isControl = opcode >= OPCODE.close;
    const isCompressed = isDeflated && (opcode === OPCODE.text || opcode === OPCODE.binary) && (reserved & RSV1) !== 0;
    if ((isCompressed ? reserved & ~RSV1 : reserved) !== 0) return "a reserved bit is set (section 5.2)";
    if (!OPCODES.includes(opcode)) return `opcode ${opcode} is not defined (section 5.2)`;
    if (isMasked !== (peer === "client")) {
      return isMasked
        ? "a frame of the server is masked (section 5.1)"
        : "a frame of the client is not masked (section 5.1)";
    }
    if (!isMinimal) return "a length takes more bytes than needed (section 5.2)";
    if (isControl && length > MAX_CONTROL_PAYLOAD_BYTES) return `a control frame has ${length} bytes (section 5.5)`;
    if (isControl && !final) return "a control frame is fragmented (section 5.5)";
    if (!isControl && hasClosed) return "a data frame follows the close frame (section 5.5.1)";
    if (opcode === OPCODE.close) {
      if (hasClosed) return "a second close frame follows the first (section 5.5.1)";
      hasClosed = true;
      try {
        parseClosePayload(payload);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
        return `${messageOf(error)} (section 7.4)`;
      }
    }
    if (isControl) continue;
    if ((opcode === OPCODE.continuation) !== isInside) {
      return isInside
        ? "a message begins inside another (section 5.4)"
        : "a continuation has nothing to continue (section 5.4)";
    }
    if (!isInside) text = opcode === OPCODE.text && !isCompressed ? new Utf8Checker() : undefined;
    isInside = !final;
    if (text && (!text.push(payload) || (final && !text.isBetweenCharacters))) return "text is not UTF-8 (section 8.1)";
  }
  return undefined;
}
