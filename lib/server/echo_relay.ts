/**
 * The echo of one connection over our own frames, without its socket: frames in, answers out.
 *
 * @module
 */

import type { CloseRecord } from "../protocol/close.ts";
import type { MessageDeflate } from "../net/zlib.ts";
import { Endpoint } from "../protocol/endpoint.ts";
import type { EndpointHandler, RelayHandler } from "../protocol/endpoint_handler.ts";
import { encodeFrame, type FrameHeader, OPCODE, RSV1 } from "../protocol/frame.ts";
import type { MessageKind } from "../protocol/message.ts";
import type { Holder } from "./budget.ts";
import type { EchoBuffer } from "./echo_buffer.ts";
import type { Guard } from "./guard.ts";

/** A shorter fragment costs as much as a message, in bytes: 128. */
const MIN_FRAGMENT_BYTES = 128;

/** Memory of a message up to this size is kept for the next, in bytes: 1 KiB. */
const MAX_REUSED_BYTES = 1024;

/** The parts of a connection around an {@linkcode EchoRelay}. */
export interface EchoRelayOptions {
  /** The longest message in bytes; a longer one is answered with 1009. */
  readonly maxMessageBytes: number;
  /** Meters rate and memory. */
  readonly guard: Guard;
  /** Takes the echoes. */
  readonly buffer: EchoBuffer;
  /** Holds the connection's memory, and sheds it when none is left. */
  readonly holder: Holder;
  /** Inflates and compresses, if permessage-deflate was negotiated. */
  readonly codec?: MessageDeflate | undefined;
}

/**
 * Echoes the messages of an {@linkcode Endpoint}. Binary messages go back piece by piece; text is held until all of it
 * is known to be UTF-8. A close frame waits for the end of a frame that is being echoed.
 *
 * Compressed messages go back compressed: each inflated piece is compressed again at once, so that a message is held
 * only in its outgoing form.
 *
 * @example
 * ```ts
 * import { EchoBuffer } from "./echo_buffer.ts";
 * import { EchoRelay } from "./echo_relay.ts";
 * import { Guard } from "./guard.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const holder = { heldBytes: () => 0, shed: () => false };
 * const guard = new Guard(holder, { idleTimeoutMs: 0, pings: true }, 0);
 * const buffer = new EchoBuffer();
 * const relay = new EchoRelay({ maxMessageBytes: 1024, guard, buffer, holder });
 * // A masked text frame.
 * buffer.room.set([0x81, 0x82, 0, 0, 0, 0, 0x68, 0x69]);
 * relay.endpoint.receive(buffer.begin(8));
 * assertEquals(buffer.takeEchoes(), Uint8Array.of(0x81, 0x02, 0x68, 0x69));
 * assertEquals([relay.messages, relay.bytes], [1, 2]);
 * ```
 */
export class EchoRelay implements EndpointHandler, RelayHandler {
  /** The state of the connection. */
  readonly endpoint: Endpoint;
  /** Work of the connection since its loop last queued, in frames. */
  work = 0;
  /** Time of the last look at the deadlines, in milliseconds as of `performance.now()`. */
  tickAt = -Infinity;

  readonly #maxMessageBytes: number;
  readonly #guard: Guard;
  readonly #buffer: EchoBuffer;
  readonly #holder: Holder;
  #messages = 0;
  #bytes = 0;
  #isInsideFrame = false;
  #waitingClose: Uint8Array | undefined;
  #closed: CloseRecord | undefined;
  readonly #codec: MessageDeflate | undefined;
  /** The outgoing form of an incomplete compressed message, if any of it was compressed. */
  #deflated: Uint8Array<ArrayBuffer>[] | undefined;
  #deflatedBytes = 0;

  /**
   * Begins after the opening handshake.
   *
   * @param options The parts of the connection.
   */
  constructor({ maxMessageBytes, guard, buffer, holder, codec }: EchoRelayOptions) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#guard = guard;
    this.#buffer = buffer;
    this.#holder = holder;
    this.#codec = codec;
    this.endpoint = new Endpoint("server", this, { maxMessageBytes, discardsAfterClose: true, inflater: codec });
  }

  /** Memory of the compression, in bytes: the engines and an incomplete echo. */
  get heldBytes(): number {
    return this.#codec === undefined ? 0 : this.#codec.heldBytes + this.#deflatedBytes;
  }

  /** Frees the engines: nothing is inflated or compressed any more. */
  release(): void {
    this.#codec?.release();
    this.#deflated = undefined;
    this.#deflatedBytes = 0;
  }

  /** How many messages were echoed so far. */
  get messages(): number {
    return this.#messages;
  }

  /** How many payload bytes were echoed so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a frame is half sent: no other frame may go out. */
  get isInsideFrame(): boolean {
    return this.#isInsideFrame;
  }

  /** The close record as of the peer's close frame; nothing after it counts. */
  get closed(): CloseRecord | undefined {
    return this.#closed;
  }

  /** The endpoint relays here. */
  get relay(): RelayHandler {
    return this;
  }

  /** Queues a frame of the endpoint after the echoes so far. */
  onOutput(opcode: number, payload: Uint8Array<ArrayBuffer>): void {
    if (this.#isInsideFrame) this.#waitingClose = encodeFrame(opcode, payload);
    else this.#buffer.control(opcode, payload);
  }

  /** Meters the rate. The peer's close frame always passes, and discarded messages cost nothing. */
  onHeader(header: FrameHeader): void {
    this.work++;
    if (!this.#guard.isMetered || header.opcode === OPCODE.close) return;
    const { phase } = this.endpoint;
    const counts = phase === "open" || (phase === "closing" && header.opcode > OPCODE.close);
    if (!counts || this.#isInTime(header)) return;
    this.endpoint.refuse(1008, this.#guard.rateReason);
  }

  /**
   * A fragment belongs to its message; a short one counts as a message itself, unless it is the last. The time of the
   * last tick is good enough until the rate seems passed: reading the clock takes 100 ns, as long as all else of a
   * short frame.
   */
  #isInTime({ opcode, length, final }: FrameHeader): boolean {
    const isMore = opcode === OPCODE.continuation && (length >= MIN_FRAGMENT_BYTES || final);
    const messages = isMore ? 0 : 1;
    return this.#guard.takes(messages, length, this.tickAt) || this.#guard.takes(messages, length, performance.now());
  }

  /** Refuses a message over the limit. */
  onTooBig(): void {
    this.endpoint.refuse(1009, `at most ${this.#maxMessageBytes} bytes`);
  }

  /** Echoes a piece of a binary frame. */
  onPiece(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void {
    this.#buffer.echo(header.opcode, header.final, header.length, piece, isFirst);
    this.#bytes += piece.byteLength;
    this.#isInsideFrame = !isLast;
    if (!isLast) return;
    if (header.final) this.#messages++;
    if (this.#waitingClose === undefined) return;
    this.#buffer.enqueue(this.#waitingClose);
    this.#waitingClose = undefined;
  }

  /** Tells the budget of partial text. */
  onStored(): void {
    if (!this.#guard.holds(this.#holder.heldBytes())) this.#holder.shed();
  }

  /** Echoes a text message. */
  onText(header: FrameHeader, text: Uint8Array<ArrayBuffer>, last: Uint8Array<ArrayBuffer>): void {
    this.#messages++;
    this.#bytes += text.byteLength;
    if (text === last) return this.#buffer.echo(header.opcode, true, header.length, last, true);
    if (this.#buffer.echoWhole(OPCODE.text, text, last)) {
      if (text.buffer.byteLength <= MAX_REUSED_BYTES) this.endpoint.reuse(text);
      else text.buffer.transfer(0);
      this.#guard.holds(this.#holder.heldBytes());
    } else {
      this.#buffer.append(OPCODE.text, [text]);
      this.onStored();
    }
  }

  /** Compresses an inflated piece again, and echoes the message with its last one. */
  onInflated(
    kind: MessageKind,
    bytes: Uint8Array<ArrayBuffer>,
    final: boolean,
    last: Uint8Array<ArrayBuffer>,
  ): void {
    const codec = this.#codec;
    if (codec === undefined) return;
    this.#bytes += bytes.byteLength;
    if (final) this.#messages++;
    const opcode = OPCODE[kind];
    if (final && this.#deflated === undefined && !codec.isWorth(bytes.byteLength)) {
      return this.#echoWhole(opcode, bytes, last, 0);
    }
    codec.deflate(bytes, final, (piece, isEnd) => {
      if (isEnd && this.#deflated === undefined) return this.#echoWhole(opcode, piece, last, RSV1);
      this.#deflated ??= [];
      if (piece.byteLength > 0) this.#deflated.push(piece.slice());
      this.#deflatedBytes += piece.byteLength;
      if (!isEnd) return;
      this.#buffer.append(opcode, this.#deflated, RSV1);
      this.#deflated = undefined;
      this.#deflatedBytes = 0;
    });
    if (!final) this.#deflated ??= [];
  }

  /** Echoes from memory that is valid only for now. */
  #echoWhole(opcode: number, payload: Uint8Array, last: Uint8Array, reserved: number): void {
    if (!this.#buffer.echoWhole(opcode, payload, last, reserved)) {
      this.#buffer.append(opcode, [payload.slice()], reserved);
    }
  }

  /** Keeps the close record, whatever follows in the same read. */
  onClose(): void {
    this.#closed = this.endpoint.closeRecord({ tcp: "local" });
  }
}
