/**
 * The interface between an endpoint and the loop around it: events and options.
 *
 * @module
 */

import type { MessageAssemblerOptions } from "./assembler.ts";
import type { CloseFrame, TcpEnd } from "./close.ts";
import type { ProtocolError } from "./error.ts";
import type { FrameHeader } from "./frame.ts";
import type { Message, MessageKind } from "./message.ts";

/** The end of a connection: a client masks its frames, a server does not (RFC 6455 section 5.1). */
export type EndpointRole = "client" | "server";

/** The phase of a connection; see the table of `endpoint.ts`. */
export type EndpointPhase = "open" | "closing" | "closed" | "failed";

/**
 * The events of an endpoint, told at once and in the order of the wire. A {@linkcode ProtocolError} from a handler
 * fails the connection as a breach of the peer; `receive` throws any other error.
 */
export interface EndpointHandler {
  /**
   * A frame is ready: its order is checked. The loop writes the frame, and a client masks it.
   *
   * @param opcode Its opcode.
   * @param payload Its payload; that of a control frame is valid only until this returns.
   * @param final Whether it ends its message.
   * @param reserved Its reserved bits: RSV1 on the first frame of a compressed message, else 0.
   */
  onOutput(opcode: number, payload: Uint8Array<ArrayBuffer>, final: boolean, reserved: number): void;
  /**
   * A header of the peer has arrived. None of its payload is stored yet: a limit calls `Endpoint.close` here.
   *
   * @param header The header.
   */
  onHeader?(header: FrameHeader): void;
  /**
   * A frame of the peer has begun to arrive, for a trace.
   *
   * @param header Its header.
   * @param start The first piece of its payload, or all of a control frame's, unmasked; valid only until this returns.
   */
  onFrame?(header: FrameHeader, start: Uint8Array<ArrayBuffer>): void;
  /**
   * A message is complete.
   *
   * @param message The message, in memory of its own.
   */
  onMessage?(message: Message): void;
  /**
   * A message is complete, and text stays bytes, for a loop that relays it. With this, `onMessage` is not called.
   *
   * @param kind Its kind.
   * @param bytes Its bytes, in memory of their own; text is UTF-8.
   */
  onMessageBytes?(kind: MessageKind, bytes: Uint8Array<ArrayBuffer>): void;
  /**
   * A message would pass `maxMessageBytes`. `Endpoint.refuse` answers with a reason of the caller's. Without this, the
   * connection fails with 1009, and `onFailure` is called.
   */
  onTooBig?(): void;
  /** Receives messages without copies or strings; with it, `onMessage` is not called. */
  readonly relay?: RelayHandler | undefined;
  /**
   * A ping has arrived, and the pong has gone to `onOutput`.
   *
   * @param payload Its payload; valid only until this returns.
   */
  onPing?(payload: Uint8Array<ArrayBuffer>): void;
  /**
   * A pong has arrived, solicited or not.
   *
   * @param payload Its payload; valid only until this returns.
   */
  onPong?(payload: Uint8Array<ArrayBuffer>): void;
  /**
   * The first close frame of the peer has arrived. Our answer, if any was due, has gone to `onOutput`.
   *
   * @param frame Its content.
   */
  onClose?(frame: CloseFrame): void;
  /**
   * The peer broke the protocol. The close frame with the cause has gone to `onOutput`, unless one had before.
   *
   * @param error The breach.
   */
  onFailure?(error: ProtocolError): void;
}

/** Receives messages without storing them, to relay them. */
export interface RelayHandler {
  /**
   * A piece of a binary frame, as a view of the pushed bytes.
   *
   * @param header The header of its frame.
   * @param piece The piece, unmasked; valid only until this returns.
   * @param isFirst Whether it begins the frame.
   * @param isLast Whether it ends the frame.
   */
  onPiece(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void;
  /**
   * A piece of an incomplete text message was stored.
   *
   * @param heldBytes Memory held by the message now, in bytes.
   */
  onStored(heldBytes: number): void;
  /**
   * A text message is complete, and is UTF-8.
   *
   * @param header The header of its last frame.
   * @param bytes The text: `last` itself if the message came in one piece, else memory of its own.
   * @param last Its last piece, a view of the pushed bytes; valid only until this returns.
   */
  onText(header: FrameHeader, bytes: Uint8Array<ArrayBuffer>, last: Uint8Array<ArrayBuffer>): void;
  /**
   * A piece of a compressed message; text is UTF-8 so far. Needed only with an {@linkcode MessageInflater}.
   *
   * @param kind The kind of the message.
   * @param bytes The piece, inflated; valid only until this returns.
   * @param final Whether it ends the message.
   * @param last The compressed bytes behind it, as a view of the pushed bytes.
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
   * @param piece The compressed bytes.
   * @param isLast Whether they end the message.
   * @param take Receives the output at once, in any number of pieces, which are valid only until it returns. With the
   * last bytes of a message, and only then, its last piece is `final`; that piece may be empty. An error from `take`
   * ends the inflating.
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
   * Whether the endpoint drops messages that begin after our close frame, as a server does that refused its peer; a
   * binary frame being relayed still ends. `false` by default.
   */
  readonly discardsAfterClose?: boolean;
  /** Inflates compressed messages if permessage-deflate was negotiated; without it RSV1 breaks the protocol. */
  readonly inflater?: MessageInflater | undefined;
}

/** The part of the end that only the loop knows. */
export interface ConnectionEnd {
  /** The end of the TCP connection. */
  readonly tcp: TcpEnd;
  /** The transport's error text; empty if it gave none. */
  readonly detail?: string;
  /** Whether the deadline for the answer to our close frame has passed. */
  readonly isLate?: boolean;
}

/**
 * Thrown when the program, not the peer, breaks the protocol.
 *
 * @example
 * ```ts
 * import { EndpointError } from "./endpoint_handler.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new EndpointError("Cannot send data after the close frame").name, "EndpointError");
 * ```
 */
export class EndpointError extends Error {
  /** The name of the class. */
  override readonly name = "EndpointError";
}
