/**
 * What an exchange needs of a connection, whatever moves the bytes.
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

/** The port that the server listens on and the client looks at unless told otherwise: 6455, the number of the RFC. */
export const DEFAULT_PORT = 6455;

/** How long a step may take unless told otherwise, in milliseconds: 10 s. */
export const DEFAULT_TIMEOUT_MS = 10_000;

/** How long whoever is interrupted waits for the answer to the close frame, in milliseconds: 2 s. */
export const INTERRUPTED_CLOSE_TIMEOUT_MS = 2000;

/** The longest message that may be asked for over wire, at either end, in bytes: 1 GiB, as it is held in memory. */
export const MAX_WIRE_MESSAGE_BYTES = 1024 ** 3;

/** More than this many bytes waiting to go out make `send` wait, in bytes: 1 MiB. */
export const DEFAULT_MAX_UNSENT_BYTES = 1024 * 1024;

/** Options of opening a connection. */
export interface OpenOptions extends DialOptions {
  /** Subprotocols to offer, in the order of preference (RFC 6455 section 1.9). */
  protocols?: readonly string[];
  /**
   * Header fields to add to the opening handshake, in order: `Headers`, or pairs of name and value. Over wire each goes out as
   * it is given; over the built-in WebSocket names become lower case, and a User-Agent is refused.
   */
  headers?: Iterable<readonly [name: string, value: string]>;
  /**
   * The longest message to accept, in bytes; 67108863 by default, which is what the runtime accepts in a frame. Over the
   * built-in WebSocket it does not bound memory: the runtime keeps all fragments of a message before the limit is seen.
   */
  maxMessageBytes?: number;
  /** `send` waits while more than this many bytes wait to go out; 1 MiB by default. */
  maxBufferedBytes?: number;
  /** Offers permessage-deflate (RFC 7692) with these parameters, `{}` for none; over wire only. */
  deflate?: DeflateParameters;
  /** Whether it is a failure if the server declines that offer. `false` by default. */
  requireDeflate?: boolean;
  /** Cuts each message into frames of at most this many bytes; over wire only. */
  fragmentBytes?: number;
  /** Told of each frame that goes out or comes in; over wire only. */
  onFrame?: (frame: FrameTrace) => void;
  /** Told of each head of the opening handshake, the request and the answer; over wire only. */
  onHead?: (head: HeadTrace) => void;
  /** Told what the peer broke, and with which bytes; over wire only. */
  onBreach?: (breach: BreachTrace) => void;
  /** Told when the TCP connection, and TLS over it, stand and the handshake begins; over wire only. */
  onConnected?: () => void;
}

/** A frame that went over the connection. */
export interface FrameTrace {
  /** Which way it went, seen from here. */
  readonly direction: "out" | "in";
  /** Its header. */
  readonly header: FrameHeader;
  /** How its payload begins, unmasked: at most 125 bytes, so that a control frame is there as a whole. */
  readonly start: Uint8Array;
  /**
   * With it this is no frame, but the message that compressed frames carry: its length in bytes, which `start` is the beginning
   * of. It comes before the frames that go out, and behind those that come in.
   */
  readonly inflatedBytes?: number;
}

/** How many bytes frames had on the wire, with their headers: those of messages at the client, all at the server. */
export interface WireTotals {
  /** The bytes that went out. */
  readonly sent: number;
  /** The bytes that came in. */
  readonly received: number;
}

/** A head of the opening handshake that went over the connection. */
export interface HeadTrace {
  /** Which way it went, seen from here. */
  readonly direction: "out" | "in";
  /** The request line, or the status line. */
  readonly startLine: string;
  /** The fields, in order; none of a head that cannot be read. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** A breach of the protocol by the peer. */
export interface BreachTrace {
  /** What was broken, in words. */
  readonly problem: string;
  /** How the frame begins that broke it, as it came: at most 16 bytes; none if that is not known. */
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
  /** Which transport moves the bytes. */
  readonly transport: TransportName;
  /** The subprotocol that the server selected; empty if none was offered. */
  readonly protocol: string;
  /** The extensions that were negotiated, as the server wrote them; empty if none, and not there over the built-in WebSocket. */
  readonly extensions?: string;
  /** What messages took on the wire so far; not there over the built-in WebSocket. */
  readonly wire?: WireTotals;
  /** Resolves when the connection has ended, however it ended. It never rejects. */
  readonly closed: Promise<CloseRecord>;
  /**
   * Sends a message; waits while too much is waiting to go out already. Its bytes must not be changed afterwards: they may
   * still be waiting. One message at a time; after an error a part of it may have gone out, so all that is left to do is
   * to close.
   *
   * @throws {ConnectionClosedError} If the connection has ended.
   * @throws {TimeoutError} If what is waiting does not go out in time.
   */
  send(message: Message, options?: WaitOptions): Promise<void>;
  /**
   * Gives the next complete message, in the order of arrival.
   *
   * @throws {ConnectionClosedError} If the connection has ended and every message was given.
   * @throws {TimeoutError} If none arrives in time.
   * @throws {ProtocolError} If a message is longer than the limit; the connection is closed then.
   */
  receive(options?: WaitOptions): Promise<Message>;
  /**
   * Releases the memory of a received message that nobody looks at any more; its bytes are gone then. Memory that waits for
   * the garbage collector piles up where many large messages come.
   */
  release(message: Uint8Array<ArrayBuffer>): void;
  /** Gives the messages that have arrived and that nobody received. */
  drain(): Message[];
  /**
   * Closes the connection and waits for the peer's answer. The first call decides on code and reason. It does not fail:
   * a deadline that passes is in the record.
   *
   * @throws {RangeError} If the code or the reason may not be sent.
   */
  close(options?: CloseOptions): Promise<CloseRecord>;
  /**
   * Sends a ping and waits for its pong (RFC 6455 section 5.5.2); not there over the built-in WebSocket.
   *
   * @returns The round-trip time, in milliseconds.
   */
  ping?(options?: WaitOptions): Promise<number>;
  /** The messages in the order of arrival, until the connection ends. */
  [Symbol.asyncIterator](): AsyncIterator<Message>;
}

/**
 * Thrown when a connection has ended and something was still wanted of it.
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
  /** How the connection ended. */
  readonly record: CloseRecord;

  /**
   * Makes the error.
   *
   * @param record How the connection ended.
   */
  constructor(record: CloseRecord) {
    super(describeEnd(record));
    this.name = "ConnectionClosedError";
    this.record = record;
  }
}
