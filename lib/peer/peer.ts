/**
 * A raw peer: one end of a WebSocket connection that reads strictly and writes any frame, also one that breaks the
 * rules.
 *
 * @module
 */

import type { CloseFrame, CloseRecord } from "../protocol/close.ts";
import { Endpoint } from "../protocol/endpoint.ts";
import type { MessageInflater } from "../protocol/endpoint_handler.ts";
import { OPCODE } from "../protocol/frame.ts";
import { concatBytes } from "../protocol/message.ts";
import { closeCodeOf, encodeRawFrame, PIECE_BYTES, type RawFrame } from "./frame.ts";
import type { RawMessage } from "./shape.ts";
import type { RawSocket } from "./socket.ts";

/** The size that ends a batch of frames, in bytes: 64 KiB. */
const BATCH_BYTES = 64 * 1024;

/** The most pieces in one batch, so that a turn is short: 1,024. */
const BATCH_PIECES = 1024;

/** The slice of compressed bytes to inflate at once, as it may become a thousand times as long, in bytes: 4 KiB. */
const COMPRESSED_SLICE_BYTES = 4 * 1024;

/** The write interval of a slow connection, in milliseconds: 50 ms. */
const SLOW_BEAT_MS = 50;

/**
 * The server's end of a connection. An {@linkcode Endpoint} reads, answers pings, and computes the right close frame;
 * the program decides whether to send that one, another or none. The peer reads only when the program wants a message,
 * and holds at most one incomplete message, of 16 MiB.
 *
 * @example
 * ```ts
 * import { createServer } from "node:net";
 * import { RawPeer } from "./peer.ts";
 * import { RawSocket } from "./socket.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = createServer({ allowHalfOpen: true }, async (accepted) => {
 *   const peer = new RawPeer(new RawSocket(accepted));
 *   // Opcode 3 is not defined.
 *   await peer.sendFrames([{ opcode: 3, payload: new TextEncoder().encode("hi") }]);
 *   await peer.socket.end();
 * });
 * await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
 * const address = server.address();
 * const port = typeof address === "object" && address !== null ? address.port : 0;
 * const connection = await Deno.connect({ hostname: "127.0.0.1", port });
 * const bytes = await new Response(connection.readable).bytes();
 * assertEquals(bytes.toHex(), "83026869");
 * await new Promise((resolve) => server.close(resolve));
 * ```
 */
export class RawPeer {
  /** The socket below. */
  readonly socket: RawSocket;
  /** The speed of sending, in bytes a second. */
  bytesPerSecond = Infinity;

  readonly #endpoint: Endpoint;
  readonly #sliceBytes: number;
  readonly #inbox: RawMessage[] = [];
  #inboxBytes = 0;
  #pongs: RawFrame[] = [];
  #early: Uint8Array<ArrayBuffer> | undefined;
  #answer: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #isInLongFrame = false;
  #sent: CloseFrame | null = null;
  #initiator: "local" | "peer" | null = null;

  /**
   * Starts after the opening handshake.
   *
   * @param socket The socket below.
   * @param early Bytes that arrived behind the request head.
   * @param inflater Inflates compressed messages, if compression was negotiated.
   */
  constructor(socket: RawSocket, early?: Uint8Array<ArrayBuffer>, inflater?: MessageInflater) {
    this.socket = socket;
    this.#sliceBytes = inflater ? COMPRESSED_SLICE_BYTES : Infinity;
    this.#early = early;
    this.#endpoint = new Endpoint("server", {
      onOutput: (opcode, payload) => {
        if (opcode === OPCODE.pong) this.#pongs.push({ opcode, payload: payload.slice() });
        else this.#answer = payload.slice();
      },
      onMessageBytes: (kind, payload) => {
        this.#inbox.push({ kind, payload });
        this.#inboxBytes += payload.byteLength;
      },
    }, { inflater });
  }

  /** The other side's close frame, `null` if none has arrived; one behind a breach does not count. */
  get received(): CloseFrame | null {
    // The endpoint answers a breach with a close frame of its own.
    return this.#endpoint.initiator === "peer" ? this.#endpoint.received : null;
  }

  /**
   * The payload of the right close frame: the answer to the other side's, or the one that fails the connection after a
   * breach. Empty before either.
   */
  get answer(): Uint8Array<ArrayBuffer> {
    return this.#answer;
  }

  /** Whether a close frame went out. */
  get hasSentClose(): boolean {
    return this.#sent !== null;
  }

  /** Whether a close frame can still be sent: none has gone out, and no frame is under way. */
  get canClose(): boolean {
    return !this.hasSentClose && !this.#isInLongFrame;
  }

  /** Whether nothing is left to do. A close frame counts once the messages before it are taken. */
  get isOver(): boolean {
    return (this.received !== null && this.#inbox.length === 0) || this.hasSentClose || this.socket.isOver;
  }

  /** Bytes of messages that were not taken. An incomplete message counts twice, as growing copies it. */
  get pendingBytes(): number {
    return 2 * (this.#endpoint.incomplete?.bytes ?? 0) + this.#inboxBytes;
  }

  /**
   * Waits for the next complete message, and answers pings meanwhile. Messages before a breach come first.
   *
   * @returns The message, or `undefined` once the other side has sent its close frame.
   * @throws {ProtocolError} If the other side breaks the protocol, unless it has sent its close frame before.
   * @throws {PeerGoneError} If the other side is gone.
   */
  async receive(): Promise<RawMessage | undefined> {
    const endpoint = this.#endpoint;
    while (this.#inbox.length === 0 && endpoint.phase === "open") {
      const bytes = this.#early ?? await this.socket.take();
      const piece = bytes.subarray(0, this.#sliceBytes);
      this.#early = piece.byteLength < bytes.byteLength ? bytes.subarray(piece.byteLength) : undefined;
      await this.socket.turn();
      endpoint.receive(piece);
      this.onRead();
      const pongs = this.#pongs;
      this.#pongs = [];
      await this.sendFrames(pongs);
    }
    const message = this.#inbox.shift();
    this.#inboxBytes -= message?.payload.byteLength ?? 0;
    if (message === undefined && this.received === null && endpoint.error) throw endpoint.error;
    return message;
  }

  /** Drops messages until the other side sends its close frame. */
  async receiveClose(): Promise<void> {
    while (await this.receive()) {
      // Drop the message.
    }
  }

  /** Drops the messages that were not taken. */
  forget(): void {
    this.#inbox.length = 0;
    this.#inboxBytes = 0;
  }

  /**
   * Sends frames unchanged.
   *
   * @param frames The frames, made on demand.
   * @throws {PeerGoneError} If the other side is gone.
   */
  async sendFrames(frames: Iterable<RawFrame>): Promise<void> {
    await this.#write(this.#encodeEach(frames));
  }

  /**
   * Sends the first half of a frame.
   *
   * @param frame The frame.
   */
  async sendHalf(frame: RawFrame): Promise<void> {
    await this.#write(firstHalf([...encodeRawFrame(frame)]));
  }

  /**
   * Sends a close frame.
   *
   * @param payload Its payload, legal or not.
   * @param after Frames that follow in the same write: a later write would miss a peer that ends the connection.
   */
  async sendClose(payload: Uint8Array<ArrayBuffer>, ...after: RawFrame[]): Promise<void> {
    this.#sent ??= closeFrameOf(payload);
    this.#initiator ??= this.received ? "peer" : "local";
    await this.sendFrames([{ opcode: OPCODE.close, payload }, ...after]);
  }

  /**
   * Makes the close record. The frame that was sent may break the rules.
   *
   * @param detail Further words about the end; may be empty.
   * @returns Both halves of the end.
   */
  closeRecord(detail: string): CloseRecord {
    const { received } = this;
    const { error } = this.#endpoint;
    return {
      sent: this.#sent,
      received,
      initiator: this.#initiator ?? (received && "peer"),
      end: error ? "protocol-error" : received ? "close-frame" : "no-close-frame",
      tcp: "not-known",
      detail: error?.message ?? detail,
      incomplete: this.#endpoint.incomplete ?? null,
    };
  }

  /** Called after each read; an error from here ends the wait for a message. */
  protected onRead(): void {}

  *#encodeEach(frames: Iterable<RawFrame>): Iterable<Uint8Array> {
    for (const frame of frames) {
      this.#isInLongFrame = frame.payload.byteLength > PIECE_BYTES;
      yield* encodeRawFrame(frame);
      this.#isInLongFrame = false;
    }
  }

  /** Writes pieces in batches; the pieces of the next batch are made after the write. */
  async #write(pieces: Iterable<Uint8Array>): Promise<void> {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    let failure: { readonly error: unknown } | undefined;
    // An error while making a frame ends the message; the frames before it still go out.
    for (const piece of guarded(pieces, (error) => failure = { error })) {
      batch.push(piece);
      bytes += piece.byteLength;
      if (bytes < BATCH_BYTES && batch.length < BATCH_PIECES) continue;
      await this.#writeOut(batch, bytes);
      batch = [];
      bytes = 0;
    }
    if (bytes > 0) await this.#writeOut(batch, bytes);
    if (failure) throw failure.error;
  }

  async #writeOut(batch: readonly Uint8Array[], bytes: number): Promise<void> {
    await this.socket.turn();
    const joined = batch.length === 1 && batch[0] ? batch[0] : concatBytes(batch, bytes);
    if (this.bytesPerSecond === Infinity) return void await this.socket.write(joined);
    const step = Math.max(1, Math.round(this.bytesPerSecond * SLOW_BEAT_MS / 1000));
    for (let at = 0; at < bytes; at += step) {
      const piece = joined.subarray(at, at + step);
      await this.socket.write(piece);
      await this.socket.pause(piece.byteLength / this.bytesPerSecond * 1000);
    }
  }
}

/**
 * Reads a close frame as far as possible, even if it breaks the rules.
 *
 * @param payload Its payload.
 * @returns Code and reason.
 *
 * @example
 * ```ts
 * import { closeFrameOf } from "./peer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(closeFrameOf(Uint8Array.of(0x03, 0xe8, 0x78)), { code: 1000, reason: "x" });
 * ```
 */
export function closeFrameOf(payload: Uint8Array<ArrayBuffer>): CloseFrame {
  return { code: closeCodeOf(payload), reason: new TextDecoder().decode(payload.subarray(2)) };
}

/** Yields items until the first error, and reports the error. */
function* guarded<T>(items: Iterable<T>, onError: (error: unknown) => void): Iterable<T> {
  try {
    yield* items;
  } catch (error) {
    onError(error);
  }
}

/** Yields the first half of the bytes. */
function* firstHalf(pieces: readonly Uint8Array[]): Iterable<Uint8Array> {
  let left = Math.ceil(pieces.reduce((sum, piece) => sum + piece.byteLength, 0) / 2);
  for (const piece of pieces) {
    if (left <= 0) return;
    yield piece.subarray(0, left);
    left -= piece.byteLength;
  }
}
