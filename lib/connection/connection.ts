/**
 * The connection of an exchange, over either transport.
 *
 * @module
 */

import { type CloseRecord, describeEnd } from "../protocol/close.ts";
import type { DeflateParameters } from "../protocol/deflate.ts";
import type { FrameHeader } from "../protocol/frame.ts";
import type { Message } from "../protocol/message.ts";
import type { WaitOptions } from "../net/deadline.ts";
import type { DialOptions, TransportName } from "../net/dial_options.ts";

export type { DialOptions, TransportName } from "../net/dial_options.ts";
export {
  type HandshakeRefusal,
  OpenError,
  type OpenErrorDetails,
  type OpenFailure,
  type OpenReason,
  OptionError,
  type ServerCertificate,
} from "../net/open_error.ts";

/** The longest frame that the runtime's WebSocket accepts, in bytes: one less than 64 MiB. */
export const MAX_BUILTIN_FRAME_BYTES = 64 * 1024 * 1024 - 1;

/** The default port of server and client: 6455, the number of the RFC. */
export const DEFAULT_PORT = 6455;

/** The default deadline of a step, in milliseconds: 10 s. */
export const DEFAULT_TIMEOUT_MS = 10_000;

/** Deadline for the answer to the close frame after an interrupt, in milliseconds: 2 s. */
export const INTERRUPTED_CLOSE_TIMEOUT_MS = 2000;

/** The largest message limit over wire, at either end, in bytes: 1 GiB, as messages are held in memory. */
export const MAX_WIRE_MESSAGE_BYTES = 1024 ** 3;

/** The default limit of queued bytes above which `send` waits, in bytes: 1 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 1024 * 1024;

/** Options of opening a connection. */
export interface OpenOptions extends DialOptions {
  /** Subprotocols to offer, in the order of preference (RFC 6455 section 1.9). */
  protocols?: readonly string[];
  /**
   * Header fields to add to the opening handshake, in order: `Headers`, or pairs of name and value. Wire sends them
   * unchanged; the built-in WebSocket makes names lower case, and a User-Agent is refused.
   */
  headers?: Iterable<readonly [name: string, value: string]>;
  /**
   * The longest message to accept, in bytes; 67108863 by default, the runtime's limit of a frame. Over the built-in
   * WebSocket this does not bound memory: the runtime stores all fragments of a message before the check.
   */
  maxMessageBytes?: number;
  /** `send` waits while more than this many bytes are queued; 1 MiB by default. */
  maxBufferedBytes?: number;
  /** Offers permessage-deflate (RFC 7692) with these parameters, `{}` for none; over wire only. */
  deflate?: DeflateParameters;
  /** Whether to fail if the server declines that offer; `false` by default. */
  requireDeflate?: boolean;
  /** Cuts each message into frames of at most this many bytes; over wire only. */
  fragmentBytes?: number;
  /** Receives each frame, sent or received; over wire only. */
  onFrame?: (frame: FrameTrace) => void;
  /** Receives both heads of the opening handshake; over wire only. */
  onHead?: (head: HeadTrace) => void;
  /** Receives a breach by the peer with its bytes; over wire only. */
  onBreach?: (breach: BreachTrace) => void;
  /** Called when TCP, and TLS over it, are connected and the handshake starts; over wire only. */
  onConnected?: () => void;
}

/** A frame of the connection. */
export interface FrameTrace {
  /** Its direction, seen from here. */
  readonly direction: "out" | "in";
  /** Its header. */
  readonly header: FrameHeader;
  /** The start of its payload, unmasked: at most 125 bytes, the whole of a control frame. */
  readonly start: Uint8Array;
  /**
   * The length in bytes of an inflated message: then this is no frame but the message that compressed frames carry, and
   * `start` is its beginning. The entry precedes the frames sent, and follows those received.
   */
  readonly inflatedBytes?: number;
}

/** Bytes of frames on the wire, with headers: data frames at the client, all frames at the server. */
export interface WireTotals {
  /** The bytes sent. */
  readonly sent: number;
  /** The bytes received. */
  readonly received: number;
}

/** A head of the opening handshake. */
export interface HeadTrace {
  /** Its direction, seen from here. */
  readonly direction: "out" | "in";
  /** The request line, or the status line. */
  readonly startLine: string;
  /** The fields, in order; empty for a malformed head. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** A breach of the protocol by the peer. */
export interface BreachTrace {
  /** The breach in words. */
  readonly problem: string;
  /** The first bytes of the frame, unchanged: at most 16; empty if not known. */
  readonly start: Uint8Array;
}

/** Options of closing a connection. */
export interface CloseOptions extends WaitOptions {
  /** The close code to send: 1000 by default. */
  code?: number;
  /** The reason to send, at most 123 bytes of UTF-8: empty by default. */
  reason?: string;
}

/** An open WebSocket connection, seen from the client. */
export interface Connection {
  /** The transport below. */
  readonly transport: TransportName;
  /** The subprotocol that the server selected; empty if none was offered. */
  readonly protocol: string;
  /** The negotiated extensions, as the server wrote them; may be empty, and is absent over the built-in WebSocket. */
  readonly extensions?: string;
  /** Bytes of messages on the wire so far; absent over the built-in WebSocket. */
  readonly wire?: WireTotals;
  /** Resolves when the connection has ended in any way; never rejects. */
  readonly closed: Promise<CloseRecord>;
  /**
   * Sends a message, and waits while too many bytes are queued. Leave its bytes unchanged afterwards: they may still be
   * queued. Send one message at a time. After an error, close: a part of the message may have gone out.
   *
   * @throws {ConnectionClosedError} If the connection has ended.
   * @throws {TimeoutError} If the queue does not drain in time, or a message over 1 MiB is not compressed in time.
   */
  send(message: Message, options?: WaitOptions): Promise<void>;
  /**
   * Returns the next complete message, in the order of arrival.
   *
   * @throws {ConnectionClosedError} If the connection has ended and every message was received.
   * @throws {TimeoutError} If none arrives in time.
   * @throws {ProtocolError} If a message passes the limit; the connection is closed then.
   */
  receive(options?: WaitOptions): Promise<Message>;
  /**
   * Frees the memory of a received message, whose bytes are gone then. Large messages would otherwise pile up until the
   * garbage collector runs.
   */
  release(message: Uint8Array<ArrayBuffer>): void;
  /** Returns the messages that have arrived and were not received. */
  drain(): Message[];
  /**
   * Closes the connection and waits for the peer's answer. The first call sets code and reason. A missed deadline is no
   * error, but stands in the record.
   *
   * @throws {RangeError} If the code or the reason may not be sent.
   */
  close(options?: CloseOptions): Promise<CloseRecord>;
  /**
   * Sends a ping and waits for its pong (RFC 6455 section 5.5.2); absent over the built-in WebSocket.
   *
   * @returns The round-trip time, in milliseconds.
   */
  ping?(options?: WaitOptions): Promise<number>;
  /** The messages in the order of arrival, until the connection ends. */
  [Symbol.asyncIterator](): AsyncIterator<Message>;
}

/**
 * Thrown when a connection has ended and a call still needs it.
 *
 * @example
 * ```ts
 * import { ConnectionClosedError } from "./connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const nothing = { sent: null, received: null, initiator: null } as const;
 * const record = { ...nothing, end: "no-close-frame", tcp: "peer", detail: "Unexpected EOF" } as const;
 * const error = new ConnectionClosedError(record);
 * assertEquals(error.message, "Connection ended without a close frame (Unexpected EOF)");
 * ```
 */
export class ConnectionClosedError extends Error {
  /** The end of the connection. */
  readonly record: CloseRecord;

  /**
   * Makes the error.
   *
   * @param record The end of the connection.
   */
  constructor(record: CloseRecord) {
    super(describeEnd(record));
    this.name = "ConnectionClosedError";
    this.record = record;
  }
}
