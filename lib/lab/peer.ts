/**
 * The lab's end of a WebSocket connection: it reads strictly, and writes what its steps make of it.
 *
 * @module
 */

import { DEFAULT_MAX_MESSAGE_BYTES, MessageAssembler } from "../protocol/assembler.ts";
import { type CloseFrame, parseClosePayload } from "../protocol/close.ts";
import { ProtocolError } from "../protocol/error.ts";
import { FrameDecoder, type FrameHeader, type FrameSink, OPCODE } from "../protocol/frame.ts";
import { concatBytes, type MessageKind } from "../protocol/message.ts";
import type { Holder, MemoryBudget } from "../server/budget.ts";
import { encodeRawFrame, PIECE_BYTES, type RawFrame } from "../peer/frame.ts";
import { type FrameShape, MessageDraft, type MessageEdit, type MessageShape, type RawMessage } from "../peer/shape.ts";
import { LabLimitError, MessageTally } from "./load.ts";
import type { RawSocket } from "../peer/socket.ts";

/** Frames go out together until they have this many bytes: 64 KiB. */
const BATCH_BYTES = 64 * 1024;

/** So many pieces of frames go out together at most, so that a turn is short: 1,024. */
const BATCH_PIECES = 1024;

/** So many bytes are decoded in one turn at most: 16 KiB, which is 2,700 empty messages. */
const DECODE_BYTES = 16 * 1024;

/** How often a slow connection writes, in milliseconds: 50 ms. */
const SLOW_BEAT_MS = 50;

/**
 * One WebSocket connection of the lab. It reads only when a step wants a message, and holds at most one that is under way,
 * of 16 MiB, one that a step holds back, and one that goes out, of 17 MiB. What it holds counts in the budget of the lab; one
 * that holds the most is closed with 1013 when the budget is spent.
 *
 * @example
 * ```ts
 * import { serveLab } from "./lab.ts";
 * import { openBuiltin } from "../connection/builtin.ts";
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
export class LabPeer implements Holder {
  /** Moves the bytes. */
  readonly socket: RawSocket;
  /** Which messages go out for each, in this order. */
  readonly messageShapes: MessageShape[] = [];
  /** What changes every message before it is cut into frames, in this order. */
  readonly edits: MessageEdit[] = [];
  /** What the frames of every message go through, in this order. */
  readonly frameShapes: FrameShape[] = [];
  /** How long each message waits before it goes out, in milliseconds. */
  delayMs = 0;
  /** How fast messages go out, in bytes a second. */
  bytesPerSecond = Infinity;
  /** Whether the connection ends in the middle of the next message. */
  dropsMidMessage = false;
  /** How many bytes of messages the steps hold back. */
  heldBackBytes = 0;

  readonly #budget: MemoryBudget;
  readonly #assembler = new MessageAssembler({ maxMessageBytes: DEFAULT_MAX_MESSAGE_BYTES });
  readonly #decoder: FrameDecoder;
  readonly #inbox: RawMessage[] = [];
  #inboxBytes = 0;
  #outgoingBytes = 0;
  #isShed = false;
  #isInLongFrame = false;
  #kind: MessageKind = "binary";
  #pongs: RawFrame[] = [];
  #unread: Uint8Array<ArrayBuffer>;
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
   * @param budget What all connections may hold together; {@linkcode release} gives back the share of this one.
   */
  constructor(socket: RawSocket, early: Uint8Array<ArrayBuffer>, budget: MemoryBudget) {
    this.socket = socket;
    this.#unread = early;
    this.#budget = budget;
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

  /** Whether a close frame can still be sent: there has been none, and no frame is under way. */
  get canClose(): boolean {
    return !this.#hasSentClose && !this.#isInLongFrame;
  }

  /** Whether no further step can do anything. A close frame counts once the messages before it are taken. */
  get isOver(): boolean {
    return (this.#received !== null && this.#inbox.length === 0) || this.#hasSentClose || this.socket.isOver;
  }

  /**
   * Waits for the next complete message; pings are answered meanwhile.
   *
   * @returns The message, or `undefined` once the client has sent its close frame.
   * @throws {ProtocolError} If the client breaks the protocol.
   * @throws {LabLimitError} If all connections together hold too much.
   * @throws {PeerGoneError} If the client is gone.
   */
  async receive(): Promise<RawMessage | undefined> {
    while (this.#inbox.length === 0 && this.#received === null) {
      if (this.#unread.byteLength === 0) this.#unread = await this.socket.read();
      await this.socket.turn();
      const piece = this.#unread.subarray(0, DECODE_BYTES);
      this.#unread = this.#unread.subarray(DECODE_BYTES);
      this.#decoder.push(piece);
      this.#count();
      const pongs = this.#pongs;
      this.#pongs = [];
      if (!this.#hasSentClose) await this.#write(this.#encodeEach(pongs));
    }
    const message = this.#inbox.shift();
    this.#inboxBytes -= message?.payload.byteLength ?? 0;
    return message;
  }

  /** How many bytes of messages it holds. A message that grows is there twice for a moment. */
  heldBytes(): number {
    if (this.#isShed) return 0;
    const { bytes = 0 } = this.#assembler.incomplete ?? {};
    return 2 * bytes + this.#inboxBytes + this.#outgoingBytes + this.heldBackBytes;
  }

  /** Ends what it does, as it holds the most of all: it is closed with 1013. */
  shed(): boolean {
    this.#isShed = true;
    this.#inbox.length = 0;
    this.#inboxBytes = 0;
    this.socket.interrupt(tooMuch());
    return true;
  }

  /** Gives back its share of the budget; it is called once, at the end. */
  release(): void {
    this.#budget.release(this);
  }

  #count(): void {
    if (!this.#budget.hold(this, this.heldBytes()) || this.#isShed) throw tooMuch();
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
   * @throws {LabLimitError} If the steps make more than 2^20 frames or 64 MiB of it, or all connections hold too much.
   */
  async send(message: RawMessage): Promise<void> {
    const tally = new MessageTally();
    const made = this.#made(message);
    if (this.delayMs === 0 && !this.dropsMidMessage) await this.#write(this.#encodeEach(this.#framesOf(made, tally)));
    for (const one of made) {
      if (this.delayMs > 0) await this.socket.pause(this.delayMs);
      if (this.dropsMidMessage) return await this.#dropInside(one, tally);
      await this.#write(this.#encodeEach(this.#framesOf([one], tally)));
    }
    this.#outgoingBytes = 0;
    this.#count();
  }

  /** The messages that go out for one, as the steps have changed them; made as they are taken. */
  *#made(message: RawMessage): Iterable<RawMessage> {
    let source: RawMessage | undefined;
    let made = message;
    for (const one of this.#shaped(message)) {
      // Copies of a message stand together, and are changed once.
      if (one !== source) made = this.#edited(one);
      source = one;
      yield made;
    }
  }

  #edited(message: RawMessage): RawMessage {
    const addedBytes = this.edits.reduce((sum, edit) => sum + edit.addedBytes, 0);
    this.#outgoingBytes = 2 * message.payload.byteLength + addedBytes;
    this.#count();
    if (this.edits.length === 0) return message;
    const draft = new MessageDraft(message, addedBytes);
    for (const { apply } of this.edits) apply(draft);
    const { kind, payload } = draft;
    return { kind, payload };
  }

  /**
   * Sends frames as they are.
   *
   * @param frames The frames; they are made as they are taken.
   */
  async sendFrames(frames: Iterable<RawFrame>): Promise<void> {
    await this.#write(this.#encodeEach(frames));
  }

  /**
   * Sends a close frame.
   *
   * @param payload Its payload, legal or not.
   * @param after Frames that follow in the same write: a client that has ended the connection would not see them.
   */
  async sendClose(payload: Uint8Array<ArrayBuffer>, ...after: RawFrame[]): Promise<void> {
    if (!this.#hasSentClose && this.#received === null) this.#began = closeFrameOf(payload);
    this.#hasSentClose = true;
    await this.sendFrames([{ opcode: OPCODE.close, payload }, ...after]);
  }

  *#shaped(message: RawMessage): Iterable<RawMessage> {
    let messages: Iterable<RawMessage> = [message];
    for (const shape of this.messageShapes) messages = eachShaped(messages, shape);
    yield* messages;
  }

  *#encodeEach(frames: Iterable<RawFrame>): Iterable<Uint8Array> {
    for (const frame of frames) {
      this.#isInLongFrame = frame.payload.byteLength > PIECE_BYTES;
      yield* encodeRawFrame(frame);
      this.#isInLongFrame = false;
    }
  }

  *#framesOf(messages: Iterable<RawMessage>, tally: MessageTally): Iterable<RawFrame> {
    for (const { kind, payload } of messages) {
      let frames: Iterable<RawFrame> = [{ opcode: OPCODE[kind], payload }];
      for (const shape of this.frameShapes) frames = shape(frames);
      for (const frame of frames) {
        tally.add(frame.payload.byteLength);
        yield frame;
      }
    }
  }

  async #dropInside(message: RawMessage, tally: MessageTally): Promise<void> {
    for (const frame of this.#framesOf([message], tally)) {
      await this.#write(firstHalf([...encodeRawFrame(frame)]));
      return await this.socket.end();
    }
  }

  /** Writes pieces together, up to the size of a batch; the next are made when these have been taken. */
  async #write(pieces: Iterable<Uint8Array>): Promise<void> {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    let failure: { readonly error: unknown } | undefined;
    // A frame that is one too many ends the message, and those before it still go out.
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
    if (this.bytesPerSecond === Infinity) return await this.socket.write(joined);
    const step = Math.max(1, Math.round(this.bytesPerSecond * SLOW_BEAT_MS / 1000));
    for (let at = 0; at < bytes; at += step) {
      const piece = joined.subarray(at, at + step);
      await this.socket.write(piece);
      await this.socket.pause(piece.byteLength / this.bytesPerSecond * 1000);
    }
  }

  #sink(): FrameSink {
    const assembler = this.#assembler;
    const kindOfFrame = ({ opcode }: FrameHeader) =>
      opcode === OPCODE.continuation ? "continuation" : opcode === OPCODE.text ? "text" : "binary";
    return {
      onHeader: (header) => {
        if (header.opcode < OPCODE.close) this.#kind = assembler.check(kindOfFrame(header), header.length);
      },
      onData: (header, piece, isFirst, isLast) => {
        const kind = isFirst ? kindOfFrame(header) : "continuation";
        // What comes after the close frame does not count (RFC 6455 section 5.5.1).
        if (this.#received) return;
        const payload = assembler.pushBytes(kind, piece.slice(), isLast && header.final);
        if (payload === undefined) return;
        this.#inbox.push({ kind: this.#kind, payload });
        this.#inboxBytes += payload.byteLength;
      },
      onControl: ({ opcode }, payload) => {
        if (this.#received) return;
        if (opcode === OPCODE.ping) this.#pongs.push({ opcode: OPCODE.pong, payload: payload.slice() });
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

/** Gives what can be made, and tells of the error that ends it. */
function* guarded<T>(items: Iterable<T>, onError: (error: unknown) => void): Iterable<T> {
  try {
    yield* items;
  } catch (error) {
    onError(error);
  }
}

/** The first half of bytes that come in pieces. */
function* firstHalf(pieces: readonly Uint8Array[]): Iterable<Uint8Array> {
  let left = Math.ceil(pieces.reduce((sum, piece) => sum + piece.byteLength, 0) / 2);
  for (const piece of pieces) {
    if (left <= 0) return;
    yield piece.subarray(0, left);
    left -= piece.byteLength;
  }
}

function tooMuch(): LabLimitError {
  return new LabLimitError(1013, "Connections of the lab hold too much together: try again later");
}

function* eachShaped(messages: Iterable<RawMessage>, shape: MessageShape): Iterable<RawMessage> {
  for (const message of messages) yield* shape(message);
}

/**
 * Tells whether an error is the client's breach of the protocol, or a bound of the lab, and with which payload a close frame
 * says so.
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
  const isTold = error instanceof ProtocolError || error instanceof LabLimitError;
  return isTold ? closePayload(error.closeCode, error.message) : undefined;
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
