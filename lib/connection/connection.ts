/**
 * What an exchange needs of a connection, whatever moves the bytes.
 *
 * @module
 */

import { type CloseRecord, describeEnd } from "../protocol/close.ts";
import type { FrameHeader } from "../protocol/frame.ts";
import type { Message } from "../protocol/message.ts";
import type { WaitOptions } from "../net/deadline.ts";

/** The port that the server listens on and the client looks at unless told otherwise: 6455, the number of the RFC. */
export const DEFAULT_PORT = 6455;

/** How long a step may take unless told otherwise, in milliseconds: 10 s. */
export const DEFAULT_TIMEOUT_MS = 10_000;

/** How long whoever is interrupted waits for the answer to the close frame, in milliseconds: 2 s. */
export const INTERRUPTED_CLOSE_TIMEOUT_MS = 2000;

/** The longest message that may be asked for over wire, at either end, in bytes: 1 GiB, as it is held in memory. */
export const MAX_WIRE_MESSAGE_BYTES = 1024 ** 3;

/** More than this many bytes waiting to go out make `send` wait, in bytes: 1 MiB. */
export const DEFAULT_MAX_BUFFERED_BYTES = 1024 * 1024;

/** The two transports: the runtime's `WebSocket`, and our own frames. */
export type TransportName = "builtin" | "wire";

/** Options of opening a connection. */
export interface OpenOptions {
  /** Subprotocols to offer, in the order of preference (RFC 6455 section 1.9). */
  protocols?: readonly string[];
  /**
   * Header fields to add to the opening handshake, in order: `Headers`, or pairs of name and value. Over wire each goes out as
   * it is given; over the built-in WebSocket names become lower case, and a User-Agent is refused.
   */
  headers?: Iterable<readonly [name: string, value: string]>;
  /** How long name, TCP, TLS and the opening handshake may take together, in milliseconds; 10 s by default. */
  connectTimeoutMs?: number;
  /** Cancels the opening. */
  signal?: AbortSignal | undefined;
  /**
   * The longest message to accept, in bytes; 67108863 by default, which is what the runtime accepts in a frame. Over the
   * built-in WebSocket it does not bound memory: the runtime keeps all fragments of a message before the limit is seen.
   */
  maxMessageBytes?: number;
  /** `send` waits while more than this many bytes wait to go out; 1 MiB by default. */
  maxBufferedBytes?: number;
  /** Certificate authorities to trust besides the system's, each as PEM text. */
  caCerts?: readonly string[];
  /** The certificate and private key to present to the server, as PEM text. */
  clientCertificate?: { cert: string; key: string };
  /**
   * A proxy to go through, as `http://[user:password@]host:port`, over the built-in WebSocket also `https:` and `socks5:`;
   * `"none"` for a direct connection. By default the variables of the environment decide as they do for curl, but never for
   * a loopback host.
   */
  proxy?: string;
  /** A unix socket to connect to instead of the URL's host and port. */
  unixPath?: string;
  /** Cuts each message into frames of at most this many bytes; over wire only. */
  fragmentBytes?: number;
  /** Told of each frame that goes out or comes in; over wire only. */
  onFrame?: (frame: FrameTrace) => void;
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
   * Gives back the memory of a received message that nobody looks at any more. What waits for the garbage collector piles
   * up where many large messages come.
   */
  recycle(message: Uint8Array<ArrayBuffer>): void;
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

/** Why a connection was not opened. */
export type OpenFailure =
  /** Name, TCP, TLS or proxy: there was no connection to the server to send the handshake over. */
  | "no-connection"
  /** An answer came that is not a valid upgrade (RFC 6455 section 4.1). */
  | "handshake-refused"
  /** The connection ended before an answer to the handshake came. */
  | "connection-lost";

/**
 * Thrown when a connection could not be opened.
 *
 * @example
 * ```ts
 * import { OpenError } from "./connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const error = new OpenError("handshake-refused", "The server answered with status 403", { status: 403 });
 * assertEquals(error.status, 403);
 * ```
 */
export class OpenError extends Error {
  /** Which kind of failure it was. */
  readonly failure: OpenFailure;
  /** The HTTP status of the answer, where there was one and it is known. */
  readonly status: number | undefined;
  /** What failed: making the connection, or the handshake over it. */
  readonly stage: "connect" | "upgrade";
  /** The answer that is not a valid upgrade, where it is known. */
  readonly refusal: HandshakeRefusal | undefined;
  /** What is known of the reason, as a stable word. */
  readonly reason: OpenReason;
  /** What the runtime said, in its own words; empty if that is no more than the message. */
  readonly detail: string;
  /** The server's certificate, where nobody whom this client trusts has signed it and it could be looked at. */
  readonly certificate: ServerCertificate | undefined;

  /**
   * Makes the error.
   *
   * @param failure Which kind of failure it was.
   * @param message One line for a person.
   * @param details What is known besides.
   */
  constructor(failure: OpenFailure, message: string, details: OpenErrorDetails = {}) {
    super(message, { cause: details.cause });
    this.name = "OpenError";
    this.failure = failure;
    this.status = details.status ?? details.refusal?.status;
    this.stage = details.stage ?? (failure === "no-connection" ? "connect" : "upgrade");
    this.refusal = details.refusal;
    this.reason = details.reason ?? "other";
    this.detail = details.detail ?? "";
    this.certificate = details.certificate;
  }
}

/** Why a connection could not be opened, as far as it is known, as a stable word that programs can compare. */
export type OpenReason =
  /** Nothing listens at the port, or something in between refused. */
  | "refused"
  /** Nothing listens at the unix socket, or it is none. */
  | "no-socket"
  /** The name of the host cannot be resolved. */
  | "unknown-name"
  /** No way leads to the host. */
  | "unreachable"
  /** The proxy refused, dropped or did not speak HTTP. */
  | "proxy"
  /** The proxy, or the server behind it: the built-in WebSocket hides which. */
  | "proxy-or-server"
  /** The server does not speak TLS. */
  | "plain-server"
  /** The server speaks TLS and was asked without it. */
  | "tls-server"
  /** The built-in WebSocket does not take an answer that is no HTTP, and does not show it. */
  | "not-http"
  /** No trusted authority has signed the server's certificate. */
  | "unknown-issuer"
  /** The server's certificate is that of an authority. */
  | "authority-certificate"
  /** The server's certificate is for other names. */
  | "wrong-name"
  /** The server's certificate is past its time. */
  | "expired"
  /** The server's certificate is before its time. */
  | "not-yet-valid"
  /** The server's certificate is wrong in another way. */
  | "bad-certificate"
  /** The server wants a client certificate. */
  | "client-certificate-wanted"
  /** The server does not take the client certificate. */
  | "client-certificate-refused"
  /** The server ended the TLS handshake without saying why. */
  | "tls-handshake"
  /** The server, or something in between, reset the connection. */
  | "reset"
  /** Server and client share no version of TLS. */
  | "tls-version"
  /** The field Connection has more than the built-in WebSocket takes, or less than it should. */
  | "connection-field"
  /** The answer is valid, and the built-in WebSocket does not take it. */
  | "runtime"
  /** The built-in WebSocket hides the answer. */
  | "hidden"
  | "other";

/** A server's certificate, for the one who has to decide what to trust. */
export interface ServerCertificate {
  /** The distinguished name of the authority that signed the last certificate that the server shows. */
  readonly issuer: string;
  /** Whether the server shows one certificate, which names itself as its authority. */
  readonly isSelfSigned: boolean;
  /** Whether an authority of this name is among those of the options. */
  readonly isIssuerGiven: boolean;
}

/** What may be known of a connection that could not be opened. */
export interface OpenErrorDetails {
  /** The HTTP status of the answer. */
  status?: number;
  /** What failed; by default the connection for `no-connection`, else the handshake. */
  stage?: "connect" | "upgrade";
  /** The answer that is not a valid upgrade. */
  refusal?: HandshakeRefusal;
  /** What is known of the reason; `"other"` by default. */
  reason?: OpenReason;
  /** What the runtime said. */
  detail?: string;
  /** The server's certificate. */
  certificate?: ServerCertificate | undefined;
  /** The error behind it. */
  cause?: unknown;
}

/** An answer to the opening handshake that is not a valid upgrade, or a proxy's that opens no tunnel. */
export interface HandshakeRefusal {
  /** Who gave it; `"not-known"` if it may have been the proxy or the server. */
  readonly from: "server" | "proxy" | "not-known";
  /** The HTTP status; 0 if the answer is not HTTP. */
  readonly status: number;
  /** Everything that is wrong about it. */
  readonly problems: readonly string[];
  /** Its header fields, in order. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** How its body begins, as text in whole characters, as far as it came within 1 s: at most 512 characters. */
  readonly body: string;
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

/**
 * Thrown when an option cannot be used as it is: nothing was sent.
 *
 * @example
 * ```ts
 * import { OptionError } from "./connection.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new OptionError("Cannot use the proxy").name, "OptionError");
 * ```
 */
export class OptionError extends Error {
  /** The name of the class. */
  override readonly name = "OptionError";
}
