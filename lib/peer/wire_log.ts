/**
 * The traffic of a connection for a report, as much as a person reads.
 *
 * @module
 */

import type { FrameHeader } from "../protocol/frame.ts";

/** A frame of the traffic, in either direction. */
export interface WireEntry {
  /** Its direction. */
  readonly direction: "in" | "out";
  /** Its header. */
  readonly header: FrameHeader;
  /** The first bytes of the payload, unmasked: at most 128. */
  readonly start: Uint8Array<ArrayBuffer>;
}

/** The most payload bytes of a frame in a report: 128. */
export const MAX_START_BYTES = 128;

/** The most frames in a report, half of them the first and half the last: 40. */
export const MAX_WIRE_ENTRIES = 40;

/**
 * Keeps the first entries and the last.
 *
 * @example
 * ```ts
 * import { WireLog } from "./wire_log.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const log = new WireLog();
 * const header = { final: true, reserved: 0, opcode: 9, isMasked: false, length: 0 };
 * for (let frame = 0; frame < 50; frame++) log.add("in", header, new Uint8Array(0));
 * assertEquals([log.entries.length, log.omitted], [40, 10]);
 * ```
 */
export class WireLog {
  readonly #onEntry: ((entry: WireEntry) => void) | undefined;
  readonly #first: WireEntry[] = [];
  readonly #last: WireEntry[] = [];
  #omitted = 0;

  /**
   * Starts empty.
   *
   * @param onEntry Receives each entry, also those left out later.
   */
  constructor(onEntry?: (entry: WireEntry) => void) {
    this.#onEntry = onEntry;
  }

  /** The first entries and the last, at most 40. */
  get entries(): readonly WireEntry[] {
    return [...this.#first, ...this.#last];
  }

  /** The number of entries left out between them. */
  get omitted(): number {
    return this.#omitted;
  }

  /**
   * Adds a frame.
   *
   * @param direction Its direction.
   * @param header Its header.
   * @param payload Its payload, unmasked, which does not change; of a long one the beginning is copied.
   */
  add(direction: WireEntry["direction"], header: FrameHeader, payload: Uint8Array<ArrayBuffer>): void {
    const { final, reserved, opcode, isMasked, length } = header;
    const half = MAX_WIRE_ENTRIES / 2;
    const isFirst = this.#first.length < half;
    if (!isFirst && this.#last.length === half) {
      this.#last.shift();
      this.#omitted++;
    }
    const entry: WireEntry = {
      direction,
      header: { final, reserved, opcode, isMasked, length },
      // The player keeps the payload anyway: copying a short one would only take time.
      start: payload.byteLength <= MAX_START_BYTES ? payload : payload.slice(0, MAX_START_BYTES),
    };
    (isFirst ? this.#first : this.#last).push(entry);
    this.#onEntry?.(entry);
  }
}
