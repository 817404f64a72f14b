/**
 * Collects fragments until a message is complete (RFC 6455 section 5.4): the receive loop of a WebSocket client as a
 * class without a socket.
 *
 * @module
 */

import { ProtocolError } from "./error.ts";
import { exceeds, type Message, type MessageKind } from "./message.ts";

/** The longest message that is accepted unless told otherwise, in bytes: 16 MiB. */
export const DEFAULT_MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

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

/** A message that has begun and whose final fragment has not come. */
export interface IncompleteMessage {
  /** The kind that its first fragment announced. */
  readonly kind: MessageKind;
  /** How many bytes have arrived so far. */
  readonly bytes: number;
}

/**
 * Takes fragments and gives complete messages. It holds at most `maxMessageBytes` of one message, and checks the limit
 * before it stores anything. After an error it is spent: the connection has to be failed (RFC 6455 section 7.1.7).
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
  #bytes = new Uint8Array(0);
  #length = 0;
  #decoder: TextDecoder | undefined;

  /**
   * Begins without a message under way.
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

  /** The message that is under way, if there is one: at the end of a connection, what was left incomplete. */
  get incomplete(): IncompleteMessage | undefined {
    return this.#kind === undefined ? undefined : { kind: this.#kind, bytes: this.#length };
  }

  /**
   * Checks whether a fragment may come next, before any of it is there: what its header says decides.
   *
   * @param kind What the fragment announces.
   * @param bytes How long it will be, in bytes.
   * @returns The kind of the message that it belongs to.
   * @throws {ProtocolError} `unexpected-continuation`, `unfinished-message` or `message-too-big`, as in `push`.
   */
  check(kind: Fragment["kind"], bytes: number): MessageKind {
    const of = this.#kindFor(kind);
    if (bytes > this.#maxMessageBytes - this.#length) throw this.#tooBig();
    return of;
  }

  /**
   * Takes account of a fragment of a binary message that the caller passes on by itself: checked and counted like any
   * other, and nothing of it is stored. A message is either skipped or pushed, from its first fragment to its last.
   *
   * @param kind What the fragment announces.
   * @param bytes How long it is, in bytes.
   * @param final Whether the message ends with it.
   * @throws {ProtocolError} As in `check`.
   */
  skip(kind: Fragment["kind"], bytes: number, final: boolean): void {
    const of = this.check(kind, bytes);
    this.#kind = final ? undefined : of;
    this.#length = final ? 0 : this.#length + bytes;
  }

  /**
   * Takes the next fragment. What is not final is copied; the bytes of a message in one fragment are not.
   *
   * @param fragment The fragment, in the order of the connection.
   * @returns The message, if this was its last fragment, else `undefined`.
   * @throws {ProtocolError} `unexpected-continuation` when no message is under way, `unfinished-message` when a new one
   * begins inside another (both section 5.4), `invalid-utf8` as soon as text is certain not to be UTF-8 (section 8.1),
   * `message-too-big` when the sum passes the limit.
   */
  push(fragment: Fragment): Message | undefined {
    const { payload, final } = fragment;
    const kind = this.#kindFor(fragment.kind);
    if (exceeds(payload, this.#maxMessageBytes - this.#length)) throw this.#tooBig();
    if (this.#kind === undefined && final) return whole(kind, payload);
    const message = this.#store(kind, typeof payload === "string" ? new TextEncoder().encode(payload) : payload, final);
    return message && whole(kind, message);
  }

  /**
   * Takes the next fragment as `push` does, and gives the bytes of text instead of a string: for those who pass a message
   * on, and need only to know that it is right.
   *
   * @param kind What the fragment announces.
   * @param payload Its bytes; those of a message in one fragment are given back as they are, others are copied.
   * @param final Whether the message ends with it.
   * @returns The bytes of the message, if this was its last fragment, else `undefined`.
   * @throws {ProtocolError} As in `push`.
   */
  pushBytes(
    kind: Fragment["kind"],
    payload: Uint8Array<ArrayBuffer>,
    final: boolean,
  ): Uint8Array<ArrayBuffer> | undefined {
    const of = this.check(kind, payload.byteLength);
    if (this.#kind !== undefined || !final) return this.#store(of, payload, final);
    if (of === "text" && !isAscii(payload)) decode(textDecoder(), payload, false);
    return payload;
  }

  #store(kind: MessageKind, bytes: Uint8Array<ArrayBuffer>, final: boolean): Uint8Array<ArrayBuffer> | undefined {
    this.#kind = kind;
    this.#append(bytes);
    if (kind === "text") {
      // Decoded fragment by fragment so that a mistake is found when it arrives, not when the message ends.
      this.#decoder ??= textDecoder();
      decode(this.#decoder, bytes, !final);
    }
    return final ? this.#complete() : undefined;
  }

  #tooBig(): ProtocolError {
    return new ProtocolError("message-too-big", `Message is longer than the limit of ${this.#maxMessageBytes} bytes`);
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

  #append(bytes: Uint8Array): void {
    const length = this.#length + bytes.byteLength;
    if (length > this.#bytes.byteLength) {
      const room = Math.min(this.#maxMessageBytes, Math.max(length, this.#bytes.byteLength * 2, 1024));
      const larger = new Uint8Array(room);
      larger.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes, this.#length);
    this.#length = length;
  }

  #complete(): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes.subarray(0, this.#length);
    this.#kind = undefined;
    this.#bytes = new Uint8Array(0);
    this.#length = 0;
    this.#decoder = undefined;
    return bytes;
  }
}

/** Makes a message from the bytes or the text of all its fragments. */
function whole(kind: MessageKind, payload: Uint8Array<ArrayBuffer> | string): Message {
  if (kind === "binary") return typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  return typeof payload === "string" ? payload : decode(textDecoder(), payload, false);
}

/** Whether bytes are ASCII, and so UTF-8 for certain: most text is, and this takes a tenth of the time of a decoder. */
function isAscii(bytes: Uint8Array<ArrayBuffer>): boolean {
  const { buffer, byteOffset, byteLength } = bytes;
  const head = Math.min(-byteOffset & 3, byteLength);
  const words = new Int32Array(buffer, byteOffset + head, (byteLength - head) >> 2);
  let seen = 0;
  for (let word = 0; word < words.length; word++) seen |= words[word] ?? 0;
  for (let at = 0; at < head; at++) seen |= bytes[at] ?? 0;
  for (let at = head + words.length * 4; at < byteLength; at++) seen |= bytes[at] ?? 0;
  return (seen & 0x80808080) === 0;
}

/** A byte order mark is a character of the message like any other, and stays. */
function textDecoder(): TextDecoder {
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
}

function decode(decoder: TextDecoder, bytes: Uint8Array<ArrayBuffer>, stream: boolean): string {
  try {
    return decoder.decode(bytes, { stream });
  } catch {
    throw new ProtocolError("invalid-utf8", "Text message is not UTF-8");
  }
}
