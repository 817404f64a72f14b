/**
 * Masking keys for the frames of a client.
 *
 * @module
 */

/** Random bytes for many masking keys at once: a request for four would cost more than a small frame. */
const KEY_POOL_BYTES = 4096;
const keyPool = new Uint8Array(KEY_POOL_BYTES);
let keyAt = KEY_POOL_BYTES;

/**
 * Returns an unpredictable masking key (RFC 6455 section 5.3).
 *
 * @returns Four bytes; valid only until the next call.
 *
 * @example
 * ```ts
 * import { nextMaskingKey } from "./masking_key.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(nextMaskingKey().byteLength, 4);
 * ```
 */
export function nextMaskingKey(): Uint8Array {
  if (keyAt === KEY_POOL_BYTES) {
    crypto.getRandomValues(keyPool);
    keyAt = 0;
  }
  keyAt += 4;
  return keyPool.subarray(keyAt - 4, keyAt);
}
