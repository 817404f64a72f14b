/**
 * What an endpoint needs of close frames besides their payload: finding one, and a reason that fits.
 *
 * @module
 */

import { type CloseFrame, MAX_CLOSE_REASON_BYTES, parseClosePayload } from "./close.ts";
import { applyMask, readMaskingKey } from "./mask.ts";

/**
 * Reads the close frame with which bytes end, if they do.
 *
 * @param bytes The bytes.
 * @param isMasked Whether the frames of the peer are masked.
 * @returns What it says.
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
      // It only looked like one.
    }
  }
  return undefined;
}

/**
 * Makes a reason of words: it has at most 123 bytes, and what is not ASCII becomes a question mark, so that a cut is easy.
 *
 * @param message The words.
 * @returns The reason.
 */
export function asciiReason(message: string): string {
  return message.replace(/[^ -~]/g, "?").slice(0, MAX_CLOSE_REASON_BYTES);
}
