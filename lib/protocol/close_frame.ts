/**
 * Close frames inside other bytes, and close reasons that fit.
 *
 * @module
 */

import { type CloseFrame, MAX_CLOSE_REASON_BYTES, parseClosePayload } from "./close.ts";
import { applyMask, readMaskingKey } from "./mask.ts";

/**
 * Reads the close frame at the end of bytes, if one is there.
 *
 * @param bytes The bytes.
 * @param isMasked Whether the peer masks its frames.
 * @returns The content of the frame.
 */
export function closeFrameAtEnd(bytes: Uint8Array<ArrayBuffer>, isMasked: boolean): CloseFrame | undefined {
  const headerBytes = isMasked ? 6 : 2;
  const most = Math.min(MAX_CLOSE_REASON_BYTES + 2, bytes.byteLength - headerBytes);
  for (let length = 2; length <= most; length++) {
    const at = bytes.byteLength - headerBytes - length;
    if (bytes[at] !== 0x88 || bytes[at + 1] !== (length | (isMasked ? 0x80 : 0))) continue;
    const payload = bytes.slice(at + headerBytes);
    if (isMasked) applyMask(payload, readMaskingKey(bytes, at + 2), 0);
    try {
      return parseClosePayload(payload);
    } catch {
      // No close frame after all.
    }
  }
  return undefined;
}

/**
 * Cuts a message to a reason of at most 123 bytes. Question marks replace characters beyond ASCII: no cut splits one.
 *
 * @param message The message.
 * @returns The reason.
 */
export function asciiReason(message: string): string {
  return message.replace(/[^ -~]/g, "?").slice(0, MAX_CLOSE_REASON_BYTES);
}
