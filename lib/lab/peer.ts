/**
 * The lab's end of a WebSocket connection: reads strictly, writes as its steps demand.
 *
 * @module
 */

import type { DeflateAgreement } from "../protocol/deflate.ts";
import { OPCODE, RSV1 } from "../protocol/frame.ts";
import type { RawFrame } from "../peer/frame.ts";
import { RawPeer } from "../peer/peer.ts";
import { type FrameShape, MessageDraft, type MessageEdit, type MessageShape, type RawMessage } from "../peer/shape.ts";
import type { RawSocket } from "../peer/socket.ts";
import type { Holder, MemoryBudget } from "../server/budget.ts";
import { LabCompression } from "./compression.ts";
import { LabLimitError, MessageTally } from "./load.ts";

/** Replaces the compressed bytes of a message. */
export type Packing = (packed: Uint8Array<ArrayBuffer>, plain: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>;

/**
 * One WebSocket connection of the lab. It holds at most one incoming message, of 16 MiB, one that a step holds back,
 * and one outgoing message, of 17 MiB. Its memory counts in the lab's budget; when the budget is spent, the largest
 * holder is closed with 1013.
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
export class LabPeer extends RawPeer implements Holder {
  /** Changes of the sequence of messages, in this order. */
  readonly messageShapes: MessageShape[] = [];
  /** Edits of every message before framing, in this order. */
  readonly edits: MessageEdit[] = [];
  /** Changes of every payload that is compressed, or marked so, in this order. */
  readonly packings: Packing[] = [];
  /** The compression; `undefined` if not negotiated. */
  readonly compression: LabCompression | undefined;
  /** Changes of every message's frames, in this order. */
  readonly frameShapes: FrameShape[] = [];
  /** Delay before each message, in milliseconds. */
  delayMs = 0;
  /** Whether the connection ends inside the next message. */
  dropsMidMessage = false;
  /** Message bytes that the steps hold back. */
  heldBackBytes = 0;

  readonly #budget: MemoryBudget;
  #outgoingBytes = 0;
  #isShed = false;
  #messages = 0;
  #bytes = 0;

  /**
   * Starts after the handshake.
   *
   * @param socket The socket.
   * @param early Bytes that arrived with the handshake.
   * @param budget The memory of all connections; {@linkcode release} returns the share of this one.
   * @param agreement The negotiated compression, if any.
   */
  constructor(
    socket: RawSocket,
    early: Uint8Array<ArrayBuffer>,
    budget: MemoryBudget,
    agreement?: DeflateAgreement,
  ) {
    const compression = agreement && new LabCompression(agreement);
    super(socket, early, compression?.inflater);
    this.#budget = budget;
    this.compression = compression;
  }

  /** Echoed messages. */
  get messages(): number {
    return this.#messages;
  }

  /** Echoed payload bytes. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Message bytes that this connection holds. */
  heldBytes(): number {
    return this.#isShed ? 0 : this.pendingBytes + this.#outgoingBytes + this.heldBackBytes + this.#engineBytes;
  }

  get #engineBytes(): number {
    return this.compression?.heldBytes ?? 0;
  }

  /** Closes the connection with 1013, as the largest holder. */
  shed(): boolean {
    this.#isShed = true;
    this.forget();
    this.socket.interrupt(tooMuch());
    return true;
  }

  /** Returns this connection's share of the budget; called once, at the end. */
  release(): void {
    this.compression?.release();
    this.#budget.release(this);
  }

  /** @throws {LabLimitError} If all connections together hold too much. */
  protected override onRead(): void {
    this.#count();
  }

  #count(): void {
    if (!this.#budget.hold(this, this.heldBytes()) || this.#isShed) throw tooMuch();
  }

  /**
   * Echoes messages in their present shape, until the client sends its close frame.
   *
   * @param count The number of messages.
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

  /**
   * Sends a message in its present shape.
   *
   * @param message The message.
   * @throws {LabLimitError} If the steps make more than 2^20 frames or 64 MiB, or all connections hold too much.
   */
  async send(message: RawMessage): Promise<void> {
    const tally = new MessageTally();
    const made = this.#made(message);
    if (this.delayMs === 0 && !this.dropsMidMessage) await this.sendFrames(this.#framesOf(made, tally));
    for (const one of made) {
      if (this.delayMs > 0) await this.socket.pause(this.delayMs);
      if (this.dropsMidMessage) return await this.#dropInside(one, tally);
      await this.sendFrames(this.#framesOf([one], tally));
    }
    this.#outgoingBytes = 0;
    this.#count();
  }

  /** Lazily makes the changed messages for one. */
  *#made(message: RawMessage): Iterable<RawMessage> {
    let source: RawMessage | undefined;
    let made = message;
    for (const one of this.#shaped(message)) {
      // Copies of a message are neighbors, and share one edit.
      if (one !== source) made = this.#edited(one);
      source = one;
      yield made;
    }
  }

  #edited(message: RawMessage): RawMessage {
    const addedBytes = this.edits.reduce((sum, edit) => sum + edit.addedBytes, 0);
    this.#outgoingBytes = (this.compression ? 3 : 2) * message.payload.byteLength + addedBytes;
    this.#count();
    if (this.edits.length === 0) return message;
    const draft = new MessageDraft(message, addedBytes);
    for (const { apply } of this.edits) apply(draft);
    const { kind, payload } = draft;
    return { kind, payload };
  }

  *#shaped(message: RawMessage): Iterable<RawMessage> {
    let messages: Iterable<RawMessage> = [message];
    for (const shape of this.messageShapes) messages = eachShaped(messages, shape);
    yield* messages;
  }

  *#framesOf(messages: Iterable<RawMessage>, tally: MessageTally): Iterable<RawFrame> {
    for (const { kind, payload } of messages) {
      let frames: Iterable<RawFrame> = [{ opcode: OPCODE[kind], ...this.#packed(payload) }];
      for (const shape of this.frameShapes) frames = shape(frames);
      for (const frame of frames) {
        tally.add(frame.payload.byteLength);
        yield frame;
      }
    }
  }

  /** The payload of a message, compressed if negotiated. */
  #packed(plain: Uint8Array<ArrayBuffer>): Pick<RawFrame, "payload" | "reserved"> {
    const { compression, packings } = this;
    if (compression === undefined && packings.length === 0) return { payload: plain };
    const packed = compression?.pack(plain) ?? plain;
    return { payload: packings.reduce((payload, change) => change(payload, plain), packed), reserved: RSV1 };
  }

  async #dropInside(message: RawMessage, tally: MessageTally): Promise<void> {
    for (const frame of this.#framesOf([message], tally)) {
      await this.sendHalf(frame);
      return await this.socket.end();
    }
  }
}

function tooMuch(): LabLimitError {
  return new LabLimitError(1013, "The lab's connections hold too much data: try again later");
}

function* eachShaped(messages: Iterable<RawMessage>, shape: MessageShape): Iterable<RawMessage> {
  for (const message of messages) yield* shape(message);
}
