/**
 * One end of a WebSocket connection as a state machine (RFC 6455 sections 5 to 7): bytes in, events and frames out.
 *
 * An endpoint has no socket, no clock and no timer, and never throws for what a peer does. Client, server and lab are
 * loops around it: they hand in bytes, write its frames, and keep the deadlines.
 *
 * | phase     | means                                                  | data frames of the peer     | pings    | a close frame |
 * | --------- | ------------------------------------------------------ | --------------------------- | -------- | ------------- |
 * | `open`    | no close frame has gone either way                     | are messages                | answered | is answered   |
 * | `closing` | ours has gone out, the peer's has not come             | are messages, or discarded  | answered | ends it       |
 * | `closed`  | the peer's has come, and ours has gone out             | break the protocol          | ignored  | is ignored    |
 * | `failed`  | the peer broke the protocol or a limit, as ours says   | are ignored                 | ignored  | is noted      |
 *
 * @module
 */

import { type Fragment, MessageAssembler } from "./assembler.ts";
import { type CloseEnd, type CloseFrame, type CloseRecord, encodeClosePayload, parseClosePayload } from "./close.ts";
import { asciiReason, closeFrameAtEnd } from "./close_frame.ts";
import {
  type ConnectionEnd,
  EndpointError,
  type EndpointHandler,
  type EndpointOptions,
  type EndpointPhase,
  type EndpointRole,
  type RelayHandler,
} from "./endpoint_handler.ts";
import { ProtocolError } from "./error.ts";
import { FrameDecoder, type FrameHeader, OPCODE, RSV1 } from "./frame.ts";
import { kindOf, type Message, type MessageKind, payloadOf } from "./message.ts";

/**
 * One end of a connection, after the opening handshake.
 *
 * @example
 * ```ts
 * import { Endpoint } from "./endpoint.ts";
 * import { encodeFrame } from "./frame.ts";
 * import { assertEquals } from "@std/assert";
 *
 * // Two ends in memory, without a socket.
 * const received: unknown[] = [];
 * const toServer: Uint8Array<ArrayBuffer>[] = [];
 * const client = new Endpoint("client", {
 *   onOutput: (opcode, payload, final) =>
 *     toServer.push(encodeFrame(opcode, payload, { final, maskingKey: Uint8Array.of(1, 2, 3, 4) })),
 * });
 * const server = new Endpoint("server", {
 *   onOutput: (opcode, payload, final) => client.receive(encodeFrame(opcode, payload, { final })),
 *   onMessage: (message) => received.push(message),
 * });
 * client.send("Hello world");
 * client.close(1000, "done");
 * for (const bytes of toServer) server.receive(bytes);
 * assertEquals(received, ["Hello world"]);
 * assertEquals([client.phase, client.received], ["closed", { code: 1000, reason: "done" }]);
 * ```
 */
export class Endpoint {
  /** Client or server. */
  readonly role: EndpointRole;
  readonly #handler: EndpointHandler;
  readonly #relay: RelayHandler | undefined;
  readonly #options: EndpointOptions;
  readonly #decoder: FrameDecoder;
  #assembler: MessageAssembler;

  #phase: EndpointPhase = "open";
  #sent: CloseFrame | null = null;
  #received: CloseFrame | null = null;
  #initiator: "local" | "peer" | null = null;
  #error: ProtocolError | undefined;

  /** The peer's bytes are no longer readable as frames. */
  #isSpent = false;
  /** The rest of this data frame is dropped. */
  #isDiscarded = false;
  /** The kind of this data frame's message. */
  #kind: MessageKind = "text";
  /** Whether this data frame's message is compressed. */
  #isCompressed = false;
  /** The kind of the message being sent in fragments. */
  #outgoing: MessageKind | undefined;

  /**
   * Starts after the opening handshake.
   *
   * @param role Client or server.
   * @param handler Receives every event.
   * @param options The message limit, and the treatment of messages after our close frame.
   * @throws {RangeError} If `maxMessageBytes` is not a whole number of at least 0.
   */
  constructor(role: EndpointRole, handler: EndpointHandler, options: EndpointOptions = {}) {
    this.role = role;
    this.#handler = handler;
    this.#relay = handler.relay;
    this.#options = options;
    this.#assembler = new MessageAssembler(options);
    this.#decoder = new FrameDecoder(role === "client" ? "server" : "client", {
      onHeader: (header) => this.#onHeader(header),
      onData: (header, piece, isFirst, isLast) => this.#onData(header, piece, isFirst, isLast),
      onControl: (header, payload) => this.#onControl(header, payload),
    }, { allowsCompressed: options.inflater !== undefined });
  }

  /** The phase of the connection. */
  get phase(): EndpointPhase {
    return this.#phase;
  }

  /** Our close frame; `null` if none has gone out. */
  get sent(): CloseFrame | null {
    return this.#sent;
  }

  /** The peer's close frame; `null` if none has arrived. */
  get received(): CloseFrame | null {
    return this.#received;
  }

  /** The side that closed first; `null` if neither has. */
  get initiator(): "local" | "peer" | null {
    return this.#initiator;
  }

  /** The peer's breach of the protocol, if any. */
  get error(): ProtocolError | undefined {
    return this.#error;
  }

  /** The peer's incomplete message: at the end of a connection, the message that was lost. */
  get incomplete(): { readonly kind: MessageKind; readonly bytes: number } | undefined {
    return this.#assembler.incomplete;
  }

  /** Memory held by the peer's incomplete message, in bytes. */
  get heldBytes(): number {
    return this.#assembler.roomBytes;
  }

  /** Whether further bytes cannot matter: the peer's close frame has arrived, or its bytes are no frames. */
  get isOver(): boolean {
    return this.#received !== null || this.#isSpent;
  }

  /** Whether the header of the peer's next frame is incomplete. */
  get isInsideHeader(): boolean {
    return this.#decoder.isInsideHeader;
  }

  /**
   * Takes bytes of the peer, and unmasks masked payloads in place.
   *
   * @param bytes The next bytes of the connection, cut anywhere.
   */
  receive(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#isSpent) return;
    if (this.#sent !== null && this.#received === null && this.#isAnswerInside(bytes)) return;
    try {
      this.#decoder.push(bytes);
    } catch (error) {
      this.#isSpent = true;
      this.#fail(error);
    }
  }

  /**
   * Sends a whole message.
   *
   * @param message The message.
   * @throws {EndpointError} If a close frame has gone either way, or another message is under way.
   */
  send(message: Message): void {
    this.sendFragment(kindOf(message), payloadOf(message), true);
  }

  /**
   * Sends a fragment of a message (RFC 6455 section 5.4).
   *
   * @param kind The kind of the message, the same for each of its fragments.
   * @param payload The bytes of the fragment.
   * @param final Whether it ends the message.
   * @param isCompressed Whether the message was compressed as a whole before the cut (RFC 7692 section 6.1).
   * @throws {EndpointError} If a close frame has gone either way, or a message of the other kind is under way.
   */
  sendFragment(kind: MessageKind, payload: Uint8Array<ArrayBuffer>, final: boolean, isCompressed = false): void {
    if (this.#sent !== null) throw new EndpointError("Cannot send data after the close frame");
    if (this.#outgoing !== undefined && this.#outgoing !== kind) {
      throw new EndpointError(`Cannot send ${kind} inside a ${this.#outgoing} message`);
    }
    const isFirst = this.#outgoing === undefined;
    this.#outgoing = final ? undefined : kind;
    const opcode = isFirst ? OPCODE[kind] : OPCODE.continuation;
    this.#handler.onOutput(opcode, payload, final, isFirst && isCompressed ? RSV1 : 0);
  }

  /**
   * Sends a ping (RFC 6455 section 5.5.2).
   *
   * @param payload Its payload, at most 125 bytes.
   * @throws {EndpointError} If a close frame has gone either way.
   */
  ping(payload: Uint8Array<ArrayBuffer>): void {
    if (this.#sent !== null) throw new EndpointError("Cannot send a ping after the close frame");
    this.#handler.onOutput(OPCODE.ping, payload, true, 0);
  }

  /**
   * Starts the closing handshake (RFC 6455 section 7.1.2), unless a close frame has gone out.
   *
   * @param code The close code; 1005 for a frame without one.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @throws {RangeError} If code or reason may not be sent.
   */
  close(code: number, reason = ""): void {
    const payload = encodeClosePayload(code, reason);
    if (this.#sent !== null) return;
    this.#phase = "closing";
    this.#sendClose({ code, reason }, payload, "local");
    if (this.#options.discardsAfterClose && !this.#isRelaying) this.#isDiscarded = true;
  }

  /**
   * Fails the connection for a reason of our own, such as a limit. A binary frame being relayed still ends; the
   * endpoint drops everything else but the peer's close frame. A second close frame never goes out.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @throws {RangeError} If code or reason may not be sent.
   */
  refuse(code: number, reason = ""): void {
    const payload = encodeClosePayload(code, reason);
    if (!this.#isRelaying) this.#isDiscarded = true;
    if (this.#received === null) this.#phase = "failed";
    if (this.#sent === null) this.#sendClose({ code, reason }, payload, "local");
  }

  /**
   * Reuses the memory of a message for the next one.
   *
   * @param message A message from `onMessage` that nobody reads any more.
   */
  reuse(message: Uint8Array<ArrayBuffer>): void {
    this.#assembler.reuse(message);
  }

  /** Drops the peer's incomplete message and frees its memory. */
  forget(): void {
    if (this.#assembler.roomBytes === 0) return;
    this.#assembler.release();
    this.#assembler = new MessageAssembler(this.#options);
    this.#isDiscarded = true;
  }

  /**
   * Makes the close record.
   *
   * @param end The part that only the loop knows.
   * @returns Both halves of the end.
   */
  closeRecord({ tcp, detail = "", isLate = false }: ConnectionEnd): CloseRecord {
    return {
      sent: this.#sent,
      received: this.#received,
      initiator: this.#initiator,
      end: this.#endOf(isLate),
      tcp,
      detail: this.#error?.message ?? detail,
      incomplete: this.incomplete ?? null,
    };
  }

  #endOf(isLate: boolean): CloseEnd {
    if (this.#error) return "protocol-error";
    if (this.#received) return "close-frame";
    return isLate ? "no-answer" : "no-close-frame";
  }

  /** Whether a binary frame is being relayed and has not ended. */
  get #isRelaying(): boolean {
    return this.#relay !== undefined && this.#kind === "binary" && !this.#isCompressed && !this.#isDiscarded &&
      this.#decoder.payloadLeft > 0;
  }

  #sendClose(frame: CloseFrame, payload: Uint8Array<ArrayBuffer>, initiator: "local" | "peer"): void {
    this.#sent = frame;
    this.#initiator ??= initiator;
    this.#handler.onOutput(OPCODE.close, payload, true, 0);
  }

  /** Fails the connection (RFC 6455 section 7.1.7); rethrows an error that is not the peer's. */
  #fail(error: unknown): void {
    if (!(error instanceof ProtocolError)) throw error;
    if (this.#phase === "failed") return;
    this.#isDiscarded = true;
    if (error.code === "message-too-big" && this.#handler.onTooBig) return this.#handler.onTooBig();
    this.#phase = "failed";
    this.#error = error;
    if (this.#sent === null) {
      const frame = { code: error.closeCode, reason: asciiReason(error.message) };
      this.#sendClose(frame, encodeClosePayload(frame.code, frame.reason), "local");
    }
    this.#handler.onFailure?.(error);
  }

  #onHeader(header: FrameHeader): void {
    this.#handler.onHeader?.(header);
    if (header.opcode >= OPCODE.close) return;
    if (this.#phase === "closed") throw new ProtocolError("data-after-close", "Bytes came after the close frame");
    this.#isDiscarded = this.#phase === "failed" || (this.#sent !== null && this.#options.discardsAfterClose === true);
    if (this.#isDiscarded) return;
    const { final, length } = header;
    const kind = fragmentKindOf(header.opcode);
    try {
      // The limit counts inflated bytes: the length of a compressed frame says nothing.
      if (header.opcode !== OPCODE.continuation) this.#isCompressed = header.reserved !== 0;
      this.#kind = this.#assembler.check(kind, this.#isCompressed ? 0 : length);
      if (this.#isCompressed) return this.#assembler.begin(kind);
      if (this.#relay && this.#kind === "binary") this.#assembler.skip(kind, length, final);
    } catch (error) {
      // The frame itself is valid, so the decoder can go on to the peer's close frame.
      this.#fail(error);
    }
  }

  #onData(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void {
    if (isFirst) this.#handler.onFrame?.(header, piece);
    if (this.#isDiscarded) return;
    if (this.#isCompressed) return this.#inflate(piece, isLast && header.final);
    if (this.#relay === undefined) return this.#assemble(header, piece, isFirst, isLast);
    if (this.#kind === "text") return this.#relayText(header, piece, isFirst, isLast);
    this.#relay.onPiece(header, piece, isFirst, isLast);
  }

  #assemble(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void {
    const final = isLast && header.final;
    const kind = isFirst ? fragmentKindOf(header.opcode) : "continuation";
    // Copy: the assembler would return a view of the read buffer.
    const payload = isFirst && final && (kind === "binary" || this.#handler.onMessageBytes) ? piece.slice() : piece;
    let message: Message | undefined;
    try {
      message = this.#push(kind, payload, final);
    } catch (error) {
      return this.#fail(error);
    }
    this.#deliver(message);
  }

  #inflate(piece: Uint8Array<ArrayBuffer>, isLast: boolean): void {
    const relay = this.#relay;
    let message: Message | undefined;
    try {
      this.#options.inflater?.inflate(piece, isLast, (payload, final) => {
        if (relay) {
          this.#assembler.scan(payload, final);
          relay.onInflated?.(this.#kind, payload, final, piece);
        } else message = this.#push("continuation", payload, final);
      });
    } catch (error) {
      return this.#fail(error);
    }
    this.#deliver(message);
  }

  /** Adds a fragment to the message under way; returns the message if it is complete. */
  #push(kind: Fragment["kind"], payload: Uint8Array<ArrayBuffer>, final: boolean): Message | undefined {
    return this.#handler.onMessageBytes
      ? this.#assembler.pushBytes(kind, payload, final)
      : this.#assembler.push({ kind, payload, final });
  }

  #deliver(message: Message | undefined): void {
    if (message === undefined) return;
    if (this.#handler.onMessageBytes) this.#handler.onMessageBytes(this.#kind, payloadOf(message));
    else this.#handler.onMessage?.(message);
  }

  #relayText(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void {
    const kind = isFirst ? fragmentKindOf(header.opcode) : "continuation";
    let text: Uint8Array<ArrayBuffer> | undefined;
    try {
      text = this.#assembler.pushBytes(kind, piece, isLast && header.final);
    } catch (error) {
      return this.#fail(error);
    }
    if (text === undefined) this.#relay?.onStored(this.#assembler.roomBytes);
    else this.#relay?.onText(header, text, piece);
  }

  #onControl(header: FrameHeader, payload: Uint8Array<ArrayBuffer>): void {
    this.#handler.onFrame?.(header, payload);
    if (header.opcode === OPCODE.close) return this.#onCloseFrame(payload);
    // Our close frame forbids only data; the peer's ends the pongs (RFC 6455 section 5.5.2).
    if (this.#phase !== "open" && this.#phase !== "closing") return;
    if (header.opcode === OPCODE.pong) return this.#handler.onPong?.(payload);
    this.#handler.onOutput(OPCODE.pong, payload, true, 0);
    this.#handler.onPing?.(payload);
  }

  #onCloseFrame(payload: Uint8Array<ArrayBuffer>): void {
    // After the peer's close frame only data is wrong.
    if (this.#received !== null) return;
    const frame = parseClosePayload(payload);
    this.#received = frame;
    this.#initiator ??= "peer";
    if (this.#phase !== "failed") this.#phase = "closed";
    // The answer echoes the code, as is usual (RFC 6455 section 5.5.1), and the reason.
    if (this.#sent === null) this.#sendClose(frame, payload, "peer");
    this.#handler.onClose?.(frame);
  }

  /**
   * A peer may stop inside a frame that we refused, and answer our close frame there. By its length the frame goes on,
   * so only the end of a read shows the answer. The frame is dropped anyway: a wrong guess loses nothing.
   */
  #isAnswerInside(bytes: Uint8Array<ArrayBuffer>): boolean {
    if (!this.#isDiscarded || bytes.byteLength > this.#decoder.payloadLeft) return false;
    const frame = closeFrameAtEnd(bytes, this.role === "server");
    if (frame === undefined || frame.code !== this.#sent?.code) return false;
    this.#isSpent = true;
    this.#received = frame;
    if (this.#phase !== "failed") this.#phase = "closed";
    this.#handler.onClose?.(frame);
    return true;
  }
}

function fragmentKindOf(opcode: number): Fragment["kind"] {
  return opcode === OPCODE.text ? "text" : opcode === OPCODE.binary ? "binary" : "continuation";
}
