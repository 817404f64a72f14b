/**
 * Compression of long messages in slices: timers, deadlines and signals come between, and messages keep their order.
 *
 * @module
 */

import { TimeoutError, type WaitOptions, within } from "../net/deadline.ts";
import { untilEvents } from "../net/turns.ts";
import type { MessageDeflate } from "../net/zlib.ts";
import { concatBytes } from "../protocol/message.ts";

/** The size of a slice, in bytes: 512 KiB. Compression takes 1 to 15 ms for it. */
const SLICE_BYTES = 512 * 1024;

/** Longer messages are compressed in slices, in bytes: 1 MiB. */
export const MAX_WHOLE_BYTES = 1024 * 1024;

/** Bounds a compression. */
export interface DeflateWait extends WaitOptions {
  /** Called before each slice but the first; throws to end the compression. */
  readonly check?: () => void;
}

/**
 * Compresses a message, in slices if the message is longer than 1 MiB. Between two slices the runtime asks the system what has
 * happened. A compression that ends early frees its engine, and the next message begins without a context.
 *
 * @param codec Compresses; no other message may be compressed before this one is whole.
 * @param message The message.
 * @param wait The deadline, the signal and the check.
 * @returns The compressed message, in memory of its own.
 * @throws {TimeoutError} If the deadline passes between two slices.
 *
 * @example
 * ```ts
 * import { deflateInSlices } from "./long_message.ts";
 * import { MessageDeflate } from "../net/zlib.ts";
 * import { assert } from "@std/assert";
 *
 * const direction = { takeover: true, windowBits: 15 };
 * const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: 1024 });
 * const packed = await deflateInSlices(codec, new Uint8Array(2 * 1024 * 1024), { timeoutMs: 60_000 });
 * assert(packed.byteLength < 4096);
 * codec.release();
 * ```
 */
export async function deflateInSlices(
  codec: MessageDeflate,
  message: Uint8Array<ArrayBuffer>,
  { timeoutMs = Infinity, signal, check }: DeflateWait,
): Promise<Uint8Array<ArrayBuffer>> {
  const { byteLength } = message;
  if (byteLength <= MAX_WHOLE_BYTES) return codec.deflateWhole(message);
  const deadline = performance.now() + timeoutMs;
  const parts: Uint8Array[] = [];
  try {
    for (let at = 0; at < byteLength; at += SLICE_BYTES) {
      if (at > 0) {
        await untilEvents();
        signal?.throwIfAborted();
        check?.();
        if (performance.now() > deadline) throw new TimeoutError("end of the compression", timeoutMs);
      }
      codec.deflate(message.subarray(at, at + SLICE_BYTES), at + SLICE_BYTES >= byteLength, (piece) => {
        parts.push(piece.slice());
      });
    }
  } catch (error) {
    codec.abandon();
    throw error;
  }
  return concatBytes(parts);
}

/**
 * Keeps messages in order, from one that is compressed in slices on until all behind it are sent.
 *
 * @example
 * ```ts
 * import { SendOrder } from "./long_message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const order = new SendOrder();
 * const sent: string[] = [];
 * const long = order.run(true, async () => {
 *   await new Promise((resolve) => setTimeout(resolve));
 *   sent.push("long");
 * }, {});
 * const short = order.run(false, async () => void sent.push("short"), {});
 * await Promise.all([long, short]);
 * assertEquals(sent, ["long", "short"]);
 * ```
 */
export class SendOrder {
  #last: Promise<void> | undefined;

  /**
   * Sends a message behind all that are under way.
   *
   * @param isLong Whether later messages have to wait for this one.
   * @param send Sends the message.
   * @param wait How long the messages before may take.
   * @throws {TimeoutError} If the messages before are not sent in time.
   */
  async run(isLong: boolean, send: () => Promise<void>, wait: WaitOptions): Promise<void> {
    const former = this.#last;
    if (!former && !isLong) return send();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#last = promise;
    try {
      if (former) await within(former, "room to send", wait);
      await send();
    } finally {
      // A message whose wait has ended early leaves those behind it in line.
      Promise.resolve(former).then(() => {
        if (this.#last === promise) this.#last = undefined;
        resolve();
      });
    }
  }
}
