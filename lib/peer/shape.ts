/**
 * Changes of messages and frames before a raw peer sends them.
 *
 * @module
 */

import type { MessageKind } from "../protocol/message.ts";
import type { RawFrame } from "./frame.ts";

/** A message to send. A shape may make several of it, and its text need not be UTF-8. */
export interface RawMessage {
  /** Its kind. */
  readonly kind: MessageKind;
  /** Its bytes. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Turns a message into none or several, in any order, without changing its payload. */
export type MessageShape = (message: RawMessage) => Iterable<RawMessage>;

/** Turns the frames of one message into others, on demand, so that many take no memory. */
export type FrameShape = (frames: Iterable<RawFrame>) => Iterable<RawFrame>;

/** A copy of a message for edits in place, so that many edits take the memory of one. */
export class MessageDraft {
  /** Its kind. */
  kind: RawMessage["kind"];
  readonly #room: Uint8Array<ArrayBuffer>;
  #length: number;

  /**
   * Copies a message.
   *
   * @param message The message.
   * @param addedBytes The most bytes that edits add.
   *
   * @example
   * ```ts
   * import { MessageDraft } from "./shape.ts";
   * import { assertEquals } from "@std/assert";
   *
   * const draft = new MessageDraft({ kind: "text", payload: new TextEncoder().encode("abc") }, 1);
   * draft.truncate(1);
   * draft.append(1, 0x78);
   * assertEquals(new TextDecoder().decode(draft.payload), "ax");
   * ```
   */
  constructor({ kind, payload }: RawMessage, addedBytes: number) {
    this.kind = kind;
    this.#room = new Uint8Array(payload.byteLength + addedBytes);
    this.#room.set(payload);
    this.#length = payload.byteLength;
  }

  /** Its bytes so far. */
  get payload(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(0, this.#length);
  }

  /**
   * Keeps the first bytes only.
   *
   * @param bytes Bytes to keep.
   */
  truncate(bytes: number): void {
    this.#length = Math.min(this.#length, bytes);
  }

  /**
   * Adds the same byte many times.
   *
   * @param count Repetitions.
   * @param byte The byte.
   */
  append(count: number, byte: number): void {
    this.#room.fill(byte, this.#length, this.#length + count);
    this.#length += count;
  }

  /** Flips the lowest bit of the last byte. UTF-8 stays valid: that byte is ASCII or continues a character. */
  corrupt(): void {
    const last = this.#length - 1;
    if (last >= 0) this.#room[last] = (this.#room[last] ?? 0) ^ 1;
  }
}

/** A change of the kind or the payload of a message. */
export interface MessageEdit {
  /** The most bytes that the edit adds. */
  readonly addedBytes: number;
  /** Edits the message. */
  readonly apply: (draft: MessageDraft) => void;
}
