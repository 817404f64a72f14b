/**
 * The two sides of an endpoint: what a loop around it is told, and what it says.
 *
 * @module
 */

import type { MessageAssemblerOptions } from "./assembler.ts";
import type { CloseFrame, TcpEnd } from "./close.ts";
import type { ProtocolError } from "./error.ts";
import type { FrameHeader } from "./frame.ts";
import type { Message, MessageKind } from "./message.ts";

/** Which end of a connection it is: a client masks its frames, a server does not (RFC 6455 section 5.1). */
export type EndpointRole = "client" | "server";

/** How far a connection has come; see the table of `endpoint.ts`. */
export type EndpointPhase = "open" | "closing" | "closed" | "failed";

/**
 * What an endpoint tells, at once and in the order of the wire. A {@linkcode ProtocolError} that a handler throws fails the
 * connection as if the peer had broken a rule; anything else is thrown by `receive`.
 */
export interface EndpointHandler {
  /**
   * A frame has to go out. The endpoint has checked its order; the loop masks it if it is a client's, and writes it.
   *
   * @param opcode Its opcode.
   * @param payload Its payload; good only until this returns where the frame is a control frame.
   * @param final Whether it ends its message.
   * @param reserved Its reserved bits: RSV1 on the first frame of a message that was sent as compressed, else 0.
   */
  onOutput(opcode: number, payload: Uint8Array<ArrayBuffer>, final: boolean, reserved: number): void;
  /**
   * A header of the peer has come. Nothing of its payload is stored yet: the place for limits, which call
   * `Endpoint.close`.
   *
   * @param header The header.
   */
  onHeader?(header: FrameHeader): void;
  /**
   * A frame of the peer has begun to come, as a trace shows it.
   *
   * @param header Its header.
   * @param start The first piece of its payload, unmasked; good only until this returns. All of a control frame.
   */
  onFrame?(header: FrameHeader, start: Uint8Array<ArrayBuffer>): void;
  /**
   * A message is complete.
   *
   * @param message The message, in memory of its own.
   */
  onMessage?(message: Message): void;
  /**
   * A message is complete; `onMessage` is not called then. For those who pass messages on: text stays the bytes that came.
   *
   * @param kind Its kind.
   * @param bytes Its bytes, in memory of their own; those of text are UTF-8.
   */
  onMessageBytes?(kind: MessageKind, bytes: Uint8Array<ArrayBuffer>): void;
  /**
   * A message would be longer than `maxMessageBytes`: to answer it with a reason of our own, by `Endpoint.refuse`.
   * Without this, the connection fails with 1009, and `onFailure` is told.
   */
  onTooBig?(): void;
  /** Takes messages without making strings or copies of them; `onMessage` is not called then. */
  readonly relay?: RelayHandler | undefined;
  /**
   * A ping has come. The pong has been put out already.
   *
   * @param payload Its payload; good only until this returns.
   */
  onPing?(payload: Uint8Array<ArrayBuffer>): void;
  /**
   * A pong has come, asked for or not.
   *
   * @param payload Its payload; good only until this returns.
   */
  onPong?(payload: Uint8Array<ArrayBuffer>): void;
  /**
   * The first close frame of the peer has come. The answer has been put out already, if it was not an answer itself.
   *
   * @param frame What it says.
   */
  onClose?(frame: CloseFrame): void;
  /**
   * The peer broke the protocol. The close frame that says so has been put out already, unless one had gone before.
   *
   * @param error What it broke.
   */
  onFailure?(error: ProtocolError): void;
}

/** Takes what comes without storing it: for those who send it on. */
export interface RelayHandler {
  /**
   * A piece of a binary frame, in place: a part of what was pushed.
   *
   * @param header The header of its frame.
   * @param piece The piece, unmasked; good only until this returns.
   * @param isFirst Whether the frame begins with it.
   * @param isLast Whether the frame ends with it.
   */
  onPiece(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void;
  /**
   * A piece of text was stored, as its message is not complete.
   *
   * @param heldBytes How much memory the message holds now, in bytes.
   */
  onStored(heldBytes: number): void;
  /**
   * A text message is complete, and is UTF-8.
   *
   * @param header The header of its last frame.
   * @param bytes The text: its last piece itself, if the message came in one piece, else memory of its own.
   * @param last Its last piece, in place; good only until this returns.
   */
  onText(header: FrameHeader, bytes: Uint8Array<ArrayBuffer>, last: Uint8Array<ArrayBuffer>): void;
  /**
   * A piece of a compressed message, text that is UTF-8 so far as well. Needed only with an {@linkcode MessageInflater}.
   *
   * @param kind The kind of the message.
   * @param bytes The piece, inflated; good only until this returns.
   * @param final Whether the message ends with it.
   * @param last What it was inflated from, in place: a part of what was pushed.
   */
  onInflated?(
    kind: MessageKind,
    bytes: Uint8Array<ArrayBuffer>,
    final: boolean,
    last: Uint8Array<ArrayBuffer>,
  ): void;
}

/** Inflates the messages of one connection, one after the other (RFC 7692 section 7.2.2), while the endpoint waits. */
export interface MessageInflater {
  /**
   * Takes the next bytes of the message under way, or of a new one.
   *
   * @param piece The bytes, as they were on the wire.
   * @param isLast Whether the message ends with them.
   * @param take Takes what comes out, at once: any number of pieces, which are good only until it returns. With the last bytes
   * of a message, and only then, its last piece is `final`; that piece may be empty. What it throws ends the inflating.
   * @throws {ProtocolError} `invalid-deflate` for broken data, `inflates-too-much` for a bomb.
   */
  inflate(
    piece: Uint8Array<ArrayBuffer>,
    isLast: boolean,
    take: (bytes: Uint8Array<ArrayBuffer>, final: boolean) => void,
  ): void;
}

/** Options of an endpoint. */
export interface EndpointOptions extends MessageAssemblerOptions {
  /**
   * Whether messages that begin after our close frame are discarded unread, as a server does that has refused its peer; a binary
   * frame that is being relayed still comes to its end. `false` by default.
   */
  readonly discardsAfterClose?: boolean;
  /** Inflates compressed messages, if permessage-deflate was negotiated; without it RSV1 breaks the protocol. */
  readonly inflater?: MessageInflater | undefined;
}

/** What only the loop knows of the end of a connection. */
export interface ConnectionEnd {
  /** How the TCP connection ended. */
  readonly tcp: TcpEnd;
  /** What the transport says of it; empty if nothing. */
  readonly detail?: string;
  /** Whether the peer had its time to answer our close frame, and did not. */
  readonly isLate?: boolean;
}

/**
 * Thrown when a program asks an endpoint for what the protocol does not allow it (not the peer) to do.
 *
 * @example
 * ```ts
 * import { EndpointError } from "./endpoint_handler.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new EndpointError("Cannot send data behind the close frame").name, "EndpointError");
 * ```
 */
export class EndpointError extends Error {
  /** The name of the class. */
  override readonly name = "EndpointError";
}
