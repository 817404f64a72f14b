/**
 * The peer's replies: assembled from frames, and compared with the required ones.
 *
 * @module
 */

import { constants, inflateRawSync } from "node:zlib";
import type { DeflateReading, Reply } from "./case.ts";
import { firstDifference } from "../client/diagnosis.ts";
import { DEFLATE_TAIL } from "../protocol/deflate.ts";
import { OPCODE, RSV1 } from "../protocol/frame.ts";
import { messageOf } from "../protocol/error.ts";
import { concatBytes, counted, quote } from "../protocol/message.ts";
import type { SeenFrame } from "../peer/raw_reader.ts";

/** A received reply. */
export type SeenReply = Reply;

/**
 * Assembles messages from frames, drops an incomplete one, and inflates compressed ones over one context.
 *
 * @param frames Frames that break no rule.
 * @param deflate Settings for inflating; `undefined` where permessage-deflate was not negotiated.
 * @returns Messages and pongs, in the order of their ends; a string if one cannot be inflated.
 *
 * @example
 * ```ts
 * import { messagesOf } from "./replies.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const payload = new TextEncoder().encode("hi");
 * const frame = { final: true, reserved: 0, opcode: 1, isMasked: false, length: 2, payload, isMinimal: true };
 * assertEquals(messagesOf([frame]), [{ kind: "text", payload }]);
 * ```
 */
export function messagesOf(frames: readonly SeenFrame[], deflate?: DeflateReading): readonly SeenReply[] | string {
  const replies: SeenReply[] = [];
  const inflater = new Inflater(deflate ?? {});
  let parts: Uint8Array<ArrayBuffer>[] = [];
  let first: SeenFrame | undefined;
  for (const frame of frames) {
    const { opcode, payload, final } = frame;
    if (opcode === OPCODE.pong) replies.push({ kind: "pong", payload });
    if (opcode >= OPCODE.close) continue;
    first ??= frame;
    parts.push(payload);
    if (!final) continue;
    const whole = parts.length === 1 ? payload : concatBytes(parts);
    const kind = first.opcode === OPCODE.text ? "text" : "binary";
    try {
      const isCompressed = deflate !== undefined && (first.reserved & RSV1) !== 0;
      replies.push({ kind, payload: isCompressed ? inflater.inflate(whole) : whole });
    } catch (error) {
      return `sent a compressed message that cannot be inflated (${messageOf(error)})`;
    }
    parts = [];
    first = undefined;
  }
  return replies;
}

/** zlib's smallest chunk of output, in bytes: 64. */
const MIN_CHUNK_BYTES = 64;

/** Longest inflated message, in bytes: 64 MiB. */
const MAX_INFLATED_BYTES = 64 * 1024 ** 2;

/** One context for all messages; a message need not refer back. */
class Inflater {
  #before: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #beforeBytes = 0;
  readonly #reading: DeflateReading;

  constructor(reading: DeflateReading) {
    this.#reading = reading;
  }

  inflate(message: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const all = concatBytes([this.#before, message, DEFLATE_TAIL]);
    const inflated = new Uint8Array(
      inflateRawSync(all, {
        finishFlush: constants.Z_SYNC_FLUSH,
        maxOutputLength: MAX_INFLATED_BYTES,
        windowBits: this.#reading.windowBits ?? 15,
        // Within one chunk of output zlib looks back beyond the window.
        ...this.#reading.windowBits !== undefined && { chunkSize: MIN_CHUNK_BYTES },
      }),
    );
    if (this.#reading.isFresh) return inflated;
    const made = inflated.slice(this.#beforeBytes);
    this.#before = all;
    this.#beforeBytes = inflated.byteLength;
    return made;
  }
}

/**
 * Compares a reply with the required one.
 *
 * @param wanted The required reply.
 * @param got The received reply.
 * @param pattern Pattern for text, in place of equality.
 * @returns The difference in words; `undefined` without one.
 *
 * @example
 * ```ts
 * import { differenceBetween } from "./replies.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const reply = (text: string) => ({ kind: "text" as const, payload: new TextEncoder().encode(text) });
 * const [a, b] = [reply("Hello"), reply("Hallo")] as const;
 * assertEquals(differenceBetween(a, b), 'text of 5 bytes that differs at byte 1: "allo" instead of "ello"');
 * assertEquals(differenceBetween(a, b, /^H/), undefined);
 * ```
 */
export function differenceBetween(wanted: Reply, got: Reply, pattern?: RegExp): string | undefined {
  const shown = `${got.kind} of ${counted(got.payload.byteLength, "byte")}`;
  if (pattern) {
    const text = got.kind === "text" ? new TextDecoder().decode(got.payload) : undefined;
    if (text !== undefined && pattern.test(text)) return undefined;
    return `${shown} that does not match ${pattern}`;
  }
  if (wanted.kind !== got.kind) return `${shown} instead of ${wanted.kind}`;
  const at = firstDifference(wanted.payload, got.payload);
  if (at === -1) return undefined;
  if (
    wanted.payload.byteLength !== got.payload.byteLength &&
    at === Math.min(wanted.payload.byteLength, got.payload.byteLength)
  ) {
    return `${shown} instead of ${wanted.payload.byteLength}`;
  }
  return `${shown} that differs at byte ${at}: ${excerpt(got, at)} instead of ${excerpt(wanted, at)}`;
}

const EXCERPT_BYTES = 12;

function excerpt({ kind, payload }: Reply, at: number): string {
  const piece = payload.subarray(at, at + EXCERPT_BYTES);
  const text = new TextDecoder("utf-8").decode(piece);
  return kind === "text" && !text.includes("\ufffd") ? quote(text) : piece.toHex();
}
