/**
 * The shapes that messages and frames take on their way out of a raw peer.
 *
 * @module
 */

import type { RawFrame } from "./frame.ts";

/** A message on its way out; it may become several, and its text need not be UTF-8. */
export interface RawMessage {
  /** Whether it goes out as text or as binary. */
  readonly kind: "text" | "binary";
  /** Its bytes. */
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** Makes other messages of a message: none, or several, in any order. It leaves their payload alone. */
export type MessageShape = (message: RawMessage) => Iterable<RawMessage>;

/** Makes other frames of the frames of one message. It makes them as they are taken, so that many take no memory. */
export type FrameShape = (frames: Iterable<RawFrame>) => Iterable<RawFrame>;

/** A copy of a message that the steps change in place, so that many changes take the memory of one. */
export class MessageDraft {
  /** Whether it goes out as text or as binary. */
  kind: RawMessage["kind"];
  readonly #room: Uint8Array<ArrayBuffer>;
  #length: number;

  /**
   * Copies a message.
   *
   * @param message The message.
   * @param addedBytes How much longer it may become, in bytes.
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
   * @param bytes How many.
   */
  truncate(bytes: number): void {
    this.#length = Math.min(this.#length, bytes);
  }

  /**
   * Adds the same byte many times.
   *
   * @param count How often.
   * @param byte The byte.
   */
  append(count: number, byte: number): void {
    this.#room.fill(byte, this.#length, this.#length + count);
    this.#length += count;
  }

  /** Changes the lowest bit of the last byte. Of UTF-8 that byte is ASCII or continues a character, and stays so. */
  corrupt(): void {
    const last = this.#length - 1;
    if (last >= 0) this.#room[last] = (this.#room[last] ?? 0) ^ 1;
  }
}

/** A change of the kind or the payload of a message. */
export interface MessageEdit {
  /** By how many bytes the message becomes longer, at most. */
  readonly addedBytes: number;
  /** Makes the change. */
  readonly apply: (draft: MessageDraft) => void;
}
