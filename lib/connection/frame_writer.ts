/**
 * The writing half of a connection over our own frames.
 *
 * @module
 */

import { type FrameHeader, MAX_HEADER_BYTES, OPCODE, writeHeader } from "../protocol/frame.ts";
import { applyMask, readMaskingKey } from "../protocol/mask.ts";
import { writeAll } from "../net/dial.ts";
import { nextMaskingKey } from "./masking_key.ts";

/** The size of one write, in bytes: 256 KiB and the longest header. */
const WRITE_BYTES = 256 * 1024 + MAX_HEADER_BYTES;

/** The cost of a queued frame besides its payload, in bytes, which bounds small ones as well: 512. */
const FRAME_OVERHEAD_BYTES = 512;

/** The most queued pongs: 64. Beyond, the latest replaces the one before it. */
export const MAX_QUEUED_PONGS = 64;

/** The frame that a {@linkcode FrameWriter} writes. */
type Frame = Pick<FrameHeader, "opcode" | "final" | "reserved"> & { readonly payload: Uint8Array };

/** Options of a {@linkcode FrameWriter}. */
export interface FrameWriterOptions {
  /** Called before a frame goes out. */
  readonly onFrame: (header: FrameHeader, payload: Uint8Array) => void;
  /** Called after a failed write; the frames behind it wait until this resolves. */
  readonly onBroken: () => Promise<unknown>;
}

/** Masks the frames of a client (RFC 6455 section 5.3), and writes them one after the other. */
export class FrameWriter {
  readonly #tcp: Pick<Deno.Conn, "write">;
  readonly #options: FrameWriterOptions;
  readonly #pongs: Uint8Array[] = [];
  #written: Promise<unknown> = Promise.resolve();
  #queuedBytes = 0;
  #dataBytes = 0;
  #isStopped = false;
  #buffer: Uint8Array | undefined;

  /**
   * Starts before the first frame.
   *
   * @param tcp The connection.
   * @param options The listeners.
   */
  constructor(tcp: Pick<Deno.Conn, "write">, options: FrameWriterOptions) {
    this.#tcp = tcp;
    this.#options = options;
  }

  /** Resolves when every frame queued so far is written or dropped; never rejects. */
  get written(): Promise<unknown> {
    return this.#written;
  }

  /** The size of the queue, in bytes, with 512 for each frame. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Bytes of data frames so far, with headers. */
  get dataBytes(): number {
    return this.#dataBytes;
  }

  /** Drops the frames that are still queued. */
  stop(): void {
    this.#isStopped = true;
  }

  /**
   * Queues a frame for writing. The end of the connection reports a failed write.
   *
   * @param frame The frame; the payload of a control frame is copied.
   */
  queue(frame: Frame): void {
    if (frame.opcode === OPCODE.pong) return this.#queuePong(frame.payload.slice());
    const kept = frame.opcode < OPCODE.close ? frame : { ...frame, payload: frame.payload.slice() };
    const cost = frame.payload.byteLength + FRAME_OVERHEAD_BYTES;
    this.#queuedBytes += cost;
    this.#written = this.#written.then(() => this.#write(kept)).finally(() => this.#queuedBytes -= cost);
  }

  /** Bounds the pongs for a slow peer: only its latest ping needs an answer (RFC 6455 section 5.5.3). */
  #queuePong(payload: Uint8Array): void {
    if (this.#pongs.length >= MAX_QUEUED_PONGS) this.#pongs.pop();
    if (this.#pongs.push(payload) > 1) return;
    this.#written = this.#written.then(async () => {
      for (let pong = this.#pongs[0]; pong !== undefined; pong = this.#pongs[0]) {
        await this.#write({ opcode: OPCODE.pong, payload: pong, final: true, reserved: 0 });
        this.#pongs.shift();
      }
    });
  }

  /**
   * Header and payload go out in one write; a payload over 256 KiB goes through the same buffer in pieces, which is
   * faster than one copy.
   */
  async #write({ opcode, payload, final, reserved }: Frame): Promise<void> {
    if (this.#isStopped) return;
    const header = { final, reserved, opcode, isMasked: true, length: payload.byteLength };
    this.#options.onFrame(header, payload);
    const maskingKey = nextMaskingKey();
    const key = readMaskingKey(maskingKey, 0);
    const buffer = this.#buffer ??= new Uint8Array(WRITE_BYTES);
    let at = writeHeader(buffer, 0, header, maskingKey);
    let taken = 0;
    if (opcode < OPCODE.close) this.#dataBytes += at + payload.byteLength;
    try {
      do {
        const piece = payload.subarray(taken, taken + buffer.byteLength - at);
        const end = at + piece.byteLength;
        buffer.set(piece, at);
        applyMask(buffer.subarray(at, end), key, taken);
        await writeAll(this.#tcp, buffer.subarray(0, end));
        taken += piece.byteLength;
        at = 0;
      } while (taken < payload.byteLength);
    } catch {
      await this.#options.onBroken();
    }
  }
}
