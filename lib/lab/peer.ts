/**
 * The lab's end of a WebSocket connection: it reads strictly, and writes what its steps make of it.
 *
 * @module
 */

import { DEFAULT_MAX_MESSAGE_BYTES, MessageAssembler } from "../protocol/assembler.ts";
import { type CloseFrame, parseClosePayload } from "../protocol/close.ts";
import { ProtocolError } from "../protocol/error.ts";
import { FrameDecoder, type FrameHeader, type FrameSink, OPCODE } from "../protocol/frame.ts";
import { concatBytes, kindOf } from "../protocol/message.ts";
import { encodeLabFrame, type FrameShape, type LabFrame, type LabMessage, type MessageShape } from "./frame.ts";
import type { LabSocket } from "./socket.ts";

/** Frames go out together until they have this many bytes: 64 KiB. */
const BATCH_BYTES = 64 * 1024;

/** How often a slow connection writes, in milliseconds: 50 ms. */
const SLOW_BEAT_MS = 50;

/**
 * One WebSocket connection of the lab. It reads only when a step wants a message, and holds at most one that is under way,
 * of 16 MiB, besides those of one read.
 *
 * @example
 * ```ts
 * import { serveLab } from "../lab.ts";
 * import { openBuiltin } from "../transport/builtin.ts";
 * import { assertEquals } from "@std/assert";
 *
 * // Every step of the lab is a call or two of its peer.
 * const lab = await serveLab({ port: 0 });
 * const connection = await openBuiltin(`${lab.url}duplicate`);
 * await connection.send("hi");
 * assertEquals([await connection.receive(), await connection.receive()], ["hi", "hi"]);
 * await connection.close();
 * await lab.shutdown();
 * ```
 */
export class LabPeer {
  /** Moves the bytes. */
  readonly socket: LabSocket;
  /** What every message goes through before it is cut into frames, in this order. */
  readonly messageShapes: MessageShape[] = [];
  /** What the frames of every message go through, in this order. */
  readonly frameShapes: FrameShape[] = [];
  /** How long each message waits before it goes out, in milliseconds. */
  delayMs = 0;
  /** How fast messages go out, in bytes a second. */
  bytesPerSecond = Infinity;
  /** Whether the connection ends in the middle of the next message. */
  dropsMidMessage = false;

  readonly #decoder: FrameDecoder;
  readonly #inbox: LabMessage[] = [];
  #pongs: Uint8Array[] = [];
  #early: Uint8Array<ArrayBuffer>;
  #received: CloseFrame | null = null;
  #receivedPayload = new Uint8Array(0);
  #hasSentClose = false;
  #began: CloseFrame | null = null;
  #messages = 0;
  #bytes = 0;

  /**
   * Begins after the handshake.
   *
   * @param socket Moves the bytes.
   * @param early What arrived together with the handshake.
   */
  constructor(socket: LabSocket, early: Uint8Array<ArrayBuffer>) {
    this.socket = socket;
    this.#early = early;
    this.#decoder = new FrameDecoder("client", this.#sink());
  }

  /** How many messages were echoed. */
  get messages(): number {
    return this.#messages;
  }

  /** How many payload bytes were echoed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The client's close frame, or `null` if none has come. */
  get received(): CloseFrame | null {
    return this.#received;
  }

  /** The payload of the client's close frame; empty if none has come. */
  get receivedPayload(): Uint8Array<ArrayBuffer> {
    return this.#receivedPayload;
  }

  /** The close frame with which the lab began to close, or `null` if the client began. */
  get began(): CloseFrame | null {
    return this.#began;
  }

  /** Whether a close frame went out. */
  get hasSentClose(): boolean {
    return this.#hasSentClose;
  }

  /** Whether no further step can do anything. */
  get isOver(): boolean {
    return this.#received !== null || this.#hasSentClose || this.socket.isOver;
  }

  /**
   * Waits for the next complete message; pings are answered meanwhile.
   *
   * @returns The message, or `undefined` once the client has sent its close frame.
   * @throws {ProtocolError} If the client breaks the protocol.
   * @throws {PeerGoneError} If the client is gone.
   */
  async receive(): Promise<LabMessage | undefined> {
    while (this.#inbox.length === 0 && this.#received === null) {
      const chunk = this.#early.byteLength > 0 ? this.#early : await this.socket.read();
      this.#early = new Uint8Array(0);
      this.#decoder.push(chunk);
      const pongs = this.#pongs;
      this.#pongs = [];
      if (!this.#hasSentClose) await this.#write(pongs);
    }
    return this.#inbox.shift();
  }

  /**
   * Sends messages back, in the shape that the steps so far have given them, until the client sends its close frame.
   *
   * @param count How many.
   */
  async echo(count: number): Promise<void> {
    for (let echoed = 0; echoed < count; echoed++) {
      const message = await this.receive();
      if (message === undefined) return;
      await this.send(message);
      if (this.socket.isOver) return;
      this.#messages++;
      this.#bytes += message.payload.byteLength;
    }
  }

  /** Reads and forgets messages until the client sends its close frame. */
  async receiveClose(): Promise<void> {
    while (await this.receive()) {
      // A message that nobody answers.
    }
  }

  /**
   * Sends a message, in the shape that the steps so far have given it.
   *
   * @param message The message.
   */
  async send(message: LabMessage): Promise<void> {
    for (const one of this.#shaped(message)) {
      if (this.delayMs > 0) await this.socket.pause(this.delayMs);
      if (this.dropsMidMessage) return await this.#dropInside(one);
      await this.#write(this.#encoded(one));
    }
  }

  /**
   * Sends frames as they are.
   *
   * @param frames The frames; they are made as they are taken.
   */
  async sendFrames(frames: Iterable<LabFrame>): Promise<void> {
    await this.#write(encodeEach(frames));
  }

  /**
   * Sends a close frame.
   *
   * @param payload Its payload, legal or not.
   * @param after Frames that follow in the same write: a client that has ended the connection would not see them.
   */
  async sendClose(payload: Uint8Array<ArrayBuffer>, ...after: LabFrame[]): Promise<void> {
    if (!this.#hasSentClose && this.#received === null) this.#began = closeFrameOf(payload);
    this.#hasSentClose = true;
    await this.sendFrames([{ opcode: OPCODE.close, payload }, ...after]);
  }

  *#shaped(message: LabMessage): Iterable<LabMessage> {
    let messages: Iterable<LabMessage> = [message];
    for (const shape of this.messageShapes) messages = eachShaped(messages, shape);
    yield* messages;
  }

  *#encoded({ kind, payload }: LabMessage): Iterable<Uint8Array> {
    let frames: Iterable<LabFrame> = [{ opcode: OPCODE[kind], payload }];
    for (const shape of this.frameShapes) frames = shape(frames);
    yield* encodeEach(frames);
  }

  async #dropInside(message: LabMessage): Promise<void> {
    for (const piece of this.#encoded(message)) {
      await this.#write([piece.subarray(0, Math.ceil(piece.byteLength / 2))]);
      return await this.socket.end();
    }
  }

  /** Writes pieces together, up to the size of a batch; the next are made when these have been taken. */
  async #write(pieces: Iterable<Uint8Array>): Promise<void> {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    for (const piece of pieces) {
      batch.push(piece);
      bytes += piece.byteLength;
      if (bytes < BATCH_BYTES) continue;
      await this.#writeOut(batch, bytes);
      batch = [];
      bytes = 0;
    }
    if (bytes > 0) await this.#writeOut(batch, bytes);
  }

  async #writeOut(batch: readonly Uint8Array[], bytes: number): Promise<void> {
    const joined = batch.length === 1 && batch[0] ? batch[0] : concatBytes(batch, bytes);
    if (this.bytesPerSecond === Infinity) return await this.socket.write(joined);
    const step = Math.max(1, Math.round(this.bytesPerSecond * SLOW_BEAT_MS / 1000));
    for (let at = 0; at < bytes; at += step) {
      await this.socket.write(joined.subarray(at, at + step));
      await this.socket.pause(step / this.bytesPerSecond * 1000);
    }
  }

  #sink(): FrameSink {
    const assembler = new MessageAssembler({ maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES });
    const kindOfFrame = ({ opcode }: FrameHeader) =>
      opcode === OPCODE.continuation ? "continuation" : opcode === OPCODE.text ? "text" : "binary";
    return {
      onHeader: (header) => {
        if (header.opcode < OPCODE.close) assembler.check(kindOfFrame(header), header.length);
      },
      onData: (header, piece, isFirst, isLast) => {
        const kind = isFirst ? kindOfFrame(header) : "continuation";
        // What comes after the close frame does not count (RFC 6455 section 5.5.1).
        if (this.#received) return;
        const message = assembler.push({ kind, payload: piece.slice(), final: isLast && header.final });
        if (message === undefined) return;
        const payload = typeof message === "string" ? new TextEncoder().encode(message) : message;
        this.#inbox.push({ kind: kindOf(message), payload });
      },
      onControl: ({ opcode }, payload) => {
        if (this.#received) return;
        if (opcode === OPCODE.ping) this.#pongs.push(encodeLabFrame({ opcode: OPCODE.pong, payload }));
        if (opcode !== OPCODE.close) return;
        this.#received = parseClosePayload(payload);
        this.#receivedPayload = payload.slice();
      },
    };
  }
}

/** What a close frame says, as far as it says anything: it may be one that breaks the rules. */
function closeFrameOf(payload: Uint8Array<ArrayBuffer>): CloseFrame {
  if (payload.byteLength < 2) return { code: 1005, reason: "" };
  return { code: new DataView(payload.buffer).getUint16(0), reason: new TextDecoder().decode(payload.subarray(2)) };
}

function* encodeEach(frames: Iterable<LabFrame>): Iterable<Uint8Array> {
  for (const frame of frames) yield encodeLabFrame(frame);
}

function* eachShaped(messages: Iterable<LabMessage>, shape: MessageShape): Iterable<LabMessage> {
  for (const message of messages) yield* shape(message);
}

/**
 * Tells whether an error is the client's breach of the protocol, and with which payload a close frame says so.
 *
 * @param error The error.
 * @returns The payload of the close frame, or `undefined` for another error.
 *
 * @example
 * ```ts
 * import { closePayloadFor } from "./peer.ts";
 * import { ProtocolError } from "../protocol/error.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(closePayloadFor(new ProtocolError("unmasked-frame", "Hm"))?.toHex(), "03ea486d");
 * ```
 */
export function closePayloadFor(error: unknown): Uint8Array<ArrayBuffer> | undefined {
  return error instanceof ProtocolError ? closePayload(error.closeCode, error.message) : undefined;
}

/**
 * Writes the payload of a close frame, of a legal code or not.
 *
 * @param code The close code, 0 to 65535.
 * @param reason The reason; what is over 123 bytes of UTF-8 makes a frame that is too long.
 * @returns The payload.
 *
 * @example
 * ```ts
 * import { closePayload } from "./peer.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(closePayload(1006, "").toHex(), "03ee");
 * ```
 */
export function closePayload(code: number, reason: string): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(reason);
  const payload = new Uint8Array(2 + text.byteLength);
  new DataView(payload.buffer).setUint16(0, code);
  payload.set(text, 2);
  return payload;
}
