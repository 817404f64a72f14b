/**
 * Collects fragments until a message is complete (RFC 6455 section 5.4): the receive loop of a WebSocket client as a
 * class without a socket.
 *
 * @module
 */

import { ProtocolError } from "./error.ts";
import { exceeds, type Message, type MessageKind, payloadOf } from "./message.ts";
import { decodeUtf8, isUtf8, Utf8Checker } from "./utf8.ts";

/** The default limit of a message, in bytes: 16 MiB. */
export const DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** The first buffer of a message in several fragments, in bytes: 1 KiB. */
const MIN_ROOM_BYTES = 1024;

/** The most memory that a frame header alone reserves, in bytes: 64 KiB. */
const MAX_UNPROVEN_ROOM_BYTES = 64 * 1024;

/** The largest buffer above `MAX_UNPROVEN_ROOM_BYTES`: 32 times the bytes that have arrived. */
const MAX_ROOM_RATIO = 32;

/** A part of a message, with `final` on the last one. */
export interface Fragment {
  /** `text` or `binary` on the first fragment of a message, `continuation` on every other. */
  readonly kind: MessageKind | "continuation";
  /** The bytes; a string where the transport has decoded the text already, as the built-in WebSocket does. */
  readonly payload: Uint8Array<ArrayBuffer> | string;
  /** Whether the message ends here. */
  readonly final: boolean;
}

/** Options of {@linkcode MessageAssembler}. */
export interface MessageAssemblerOptions {
  /**
   * The longest message in bytes; exactly this many pass, one more does not.
   *
   * @default {DEFAULT_MAX_MESSAGE_BYTES}
   */
  maxMessageBytes?: number;
}

/** A message whose final fragment has not arrived. */
export interface IncompleteMessage {
  /** The kind that its first fragment announced. */
  readonly kind: MessageKind;
  /** The bytes that have arrived so far. */
  readonly bytes: number;
}

/**
 * Joins fragments to complete messages. The assembler holds at most `maxMessageBytes` of one message, and checks the
 * limit before it stores anything. After an error the assembler is spent: fail the connection (RFC 6455 section 7.1.7).
 *
 * @example
 * ```ts
 * import { MessageAssembler } from "./assembler.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const assembler = new MessageAssembler({ maxMessageBytes: 1024 });
 * const bytes = new TextEncoder().encode("Hello world");
 * assertEquals(assembler.push({ kind: "text", payload: bytes.slice(0, 5), final: false }), undefined);
 * assertEquals(assembler.push({ kind: "continuation", payload: bytes.slice(5), final: true }), "Hello world");
 * ```
 */
export class MessageAssembler {
  readonly #maxMessageBytes: number;
  #kind: MessageKind | undefined;
  /** The buffer of the message under way, with room for more; none before the first byte. */
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;
  #announcedLength = 0;
  #spare: Uint8Array<ArrayBuffer> | undefined;
  #checker: Utf8Checker | undefined;

  /**
   * Starts between two messages.
   *
   * @param options The limit.
   * @throws {RangeError} If `maxMessageBytes` is not a whole number of at least 0.
   */
  constructor(options: MessageAssemblerOptions = {}) {
    const { maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES } = options;
    if (!Number.isSafeInteger(maxMessageBytes) || maxMessageBytes < 0) {
      throw new RangeError(`Cannot use ${maxMessageBytes} as maxMessageBytes: it must be a whole number, at least 0`);
    }
    this.#maxMessageBytes = maxMessageBytes;
  }

  /** The message under way, if any: at the end of a connection, the message that was lost. */
  get incomplete(): IncompleteMessage | undefined {
    return this.#kind === undefined ? undefined : { kind: this.#kind, bytes: this.#length };
  }

  /** Memory reserved for the message under way, in bytes; usually more than has arrived. */
  get roomBytes(): number {
    return this.#bytes?.byteLength ?? 0;
  }

  /** Frees the memory when nobody needs the rest of the message. The assembler is spent then. */
  release(): void {
    this.#bytes?.buffer.transfer(0);
    this.#spare?.buffer.transfer(0);
    this.#bytes = undefined;
    this.#spare = undefined;
  }

  /**
   * Checks whether a fragment may come next, by its header alone. If its payload then arrives in pieces, each pushed as
   * a fragment, the buffer is made for all of it at once up to 64 KiB, beyond that for at most 32 times the bytes that
   * have arrived.
   *
   * @param kind The kind of the fragment.
   * @param bytes Its length in bytes.
   * @returns The kind of its message.
   * @throws {ProtocolError} `unexpected-continuation`, `unfinished-message` or `message-too-big`, as in `push`.
   */
  check(kind: Fragment["kind"], bytes: number): MessageKind {
    const of = this.#admit(kind, bytes);
    this.#announcedLength = this.#length + bytes;
    return of;
  }

  /**
   * Checks and counts a fragment of a binary message that the caller relays, without storing it. A message is either
   * skipped or pushed, from its first fragment to its last.
   *
   * @param kind The kind of the fragment.
   * @param bytes Its length in bytes.
   * @param final Whether it ends the message.
   * @throws {ProtocolError} As in `check`.
   */
  skip(kind: Fragment["kind"], bytes: number, final: boolean): void {
    const of = this.#admit(kind, bytes);
    this.#kind = final ? undefined : of;
    this.#length = final ? 0 : this.#length + bytes;
  }

  /**
   * Takes the next fragment. Fragments of a longer message are copied; the bytes of a message in one fragment are not.
   *
   * @param fragment The fragment, in the order of the wire.
   * @returns The message, if this was its last fragment, else `undefined`.
   * @throws {ProtocolError} `unexpected-continuation` when no message is under way, `unfinished-message` when a new one
   * begins inside another (both section 5.4), `invalid-utf8` at the first byte that cannot be UTF-8 (section 8.1),
   * `message-too-big` when the sum passes the limit.
   */
  push(fragment: Fragment): Message | undefined {
    const { payload, final } = fragment;
    const kind = this.#kindFor(fragment.kind);
    if (exceeds(payload, this.#maxMessageBytes - this.#length)) throw tooBig(this.#maxMessageBytes);
    if (this.#kind === undefined && final) return whole(kind, payload);
    const message = this.#store(kind, payloadOf(payload), final);
    if (message === undefined || kind === "binary") return message;
    this.reuse(message);
    return whole(kind, message);
  }

  /**
   * Takes the next fragment as `push` does, and returns text as bytes: a relay needs no string.
   *
   * @param kind The kind of the fragment.
   * @param payload Its bytes; a message in one fragment is returned as it is, otherwise they are copied.
   * @param final Whether it ends the message.
   * @returns The bytes of the message, if this was its last fragment, else `undefined`.
   * @throws {ProtocolError} As in `push`.
   */
  pushBytes(
    kind: Fragment["kind"],
    payload: Uint8Array<ArrayBuffer>,
    final: boolean,
  ): Uint8Array<ArrayBuffer> | undefined {
    const of = this.#admit(kind, payload.byteLength);
    if (this.#kind !== undefined || !final) return this.#store(of, payload, final);
    if (of === "text" && !isUtf8(payload)) throw notUtf8();
    return payload;
  }

  /**
   * Begins a compressed message: its inflated pieces follow as continuations, by `pushBytes`, `push` or `scan`.
   *
   * @param kind The kind of its first fragment.
   * @throws {ProtocolError} As in `check`.
   */
  begin(kind: Fragment["kind"]): void {
    this.#kind = this.#admit(kind, 0);
  }

  /**
   * Checks and counts a piece of the message under way without storing it, for a caller that relays it at once.
   *
   * @param bytes The piece; text has to be UTF-8 so far.
   * @param final Whether it ends the message.
   * @throws {ProtocolError} `invalid-utf8` or `message-too-big`, as in `push`.
   */
  scan(bytes: Uint8Array<ArrayBuffer>, final: boolean): void {
    const kind = this.#admit("continuation", bytes.byteLength);
    const isWhole = final && this.#length === 0;
    this.#length += bytes.byteLength;
    if (kind === "text" && !(isWhole ? isUtf8(bytes) : this.#isUtf8SoFar(bytes, final))) throw notUtf8();
    if (final) this.#complete();
  }

  /** Checks fragment by fragment, so that an error shows when it arrives, not when the message ends. */
  #isUtf8SoFar(bytes: Uint8Array<ArrayBuffer>, final: boolean): boolean {
    this.#checker ??= new Utf8Checker();
    return this.#checker.push(bytes) && (!final || this.#checker.isBetweenCharacters);
  }

  #store(kind: MessageKind, bytes: Uint8Array<ArrayBuffer>, final: boolean): Uint8Array<ArrayBuffer> | undefined {
    this.#kind = kind;
    this.#append(bytes);
    if (kind === "text" && !this.#isUtf8SoFar(bytes, final)) throw notUtf8();
    return final ? this.#complete() : undefined;
  }

  #admit(kind: Fragment["kind"], bytes: number): MessageKind {
    const of = this.#kindFor(kind);
    if (bytes > this.#maxMessageBytes - this.#length) throw tooBig(this.#maxMessageBytes);
    return of;
  }

  #kindFor(kind: Fragment["kind"]): MessageKind {
    if (kind === "continuation") {
      if (this.#kind === undefined) {
        throw new ProtocolError("unexpected-continuation", "Continuation came without a message to continue");
      }
      return this.#kind;
    }
    if (this.#kind !== undefined) {
      throw new ProtocolError(
        "unfinished-message",
        `New ${kind} message began inside an unfinished ${this.#kind} message`,
      );
    }
    return kind;
  }

  /**
   * Reuses the memory of a message for the next one: fresh memory costs more than copying.
   *
   * @param message A returned message that nobody reads any more.
   */
  reuse(message: Uint8Array<ArrayBuffer>): void {
    this.#spare = new Uint8Array(message.buffer);
  }

  #memory(bytes: number): Uint8Array<ArrayBuffer> {
    const spare = this.#spare;
    if (spare === undefined || spare.byteLength < bytes) return new Uint8Array(bytes);
    this.#spare = undefined;
    return spare;
  }

  #append(bytes: Uint8Array): void {
    const length = this.#length + bytes.byteLength;
    if (length > this.roomBytes) {
      const larger = this.#memory(this.#roomFor(length));
      if (this.#bytes) larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes?.set(bytes, this.#length);
    this.#length = length;
  }

  /** At least doubles the buffer, so that all moves together copy no more bytes than the message has. */
  #roomFor(length: number): number {
    const ahead = this.#announcedLength > length
      ? Math.min(this.#announcedLength, Math.max(MAX_ROOM_RATIO * length, MAX_UNPROVEN_ROOM_BYTES))
      : Math.max(length, MIN_ROOM_BYTES);
    return Math.min(this.#maxMessageBytes, Math.max(ahead, 2 * this.roomBytes));
  }

  #complete(): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes?.subarray(0, this.#length) ?? new Uint8Array(0);
    this.#kind = undefined;
    this.#bytes = undefined;
    this.#length = 0;
    this.#announcedLength = 0;
    this.#checker = undefined;
    return bytes;
  }
}

/** Makes a message from the bytes or the text of all its fragments. */
function whole(kind: MessageKind, payload: Message): Message {
  if (kind === "binary") return payloadOf(payload);
  if (typeof payload === "string") return payload;
  const text = decodeUtf8(payload);
  if (text === undefined) throw notUtf8();
  return text;
}

function notUtf8(): ProtocolError {
  return new ProtocolError("invalid-utf8", "Text message is not UTF-8");
}

/**
 * Makes the error for a message over a limit.
 *
 * @param maxMessageBytes The limit in bytes.
 * @returns The error to throw, with the close code 1009.
 */
export function tooBig(maxMessageBytes: number): ProtocolError {
  return new ProtocolError("message-too-big", `Message is longer than the limit of ${maxMessageBytes} bytes`);
}
