/**
 * The errors of whoever opens a connection: it could not be opened, or an option cannot be used.
 *
 * @module
 */

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
 * import { OpenError } from "./open_error.ts";
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
  /** The stage that failed: the connection, or the handshake over it. */
  readonly stage: "connect" | "upgrade";
  /** The answer that is not a valid upgrade, where it is known. */
  readonly refusal: HandshakeRefusal | undefined;
  /** The reason as a stable word, as far as it is known. */
  readonly reason: OpenReason;
  /** The runtime's own words; empty if they say no more than the message. */
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
  /** The server ended TLS with an alert, behind what the client took for the end of the handshake. */
  | "tls-alert"
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
  /** No answer came before the connect timeout. */
  | "silent"
  /** The server selected none of the subprotocols that were offered, or another one. */
  | "subprotocol"
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

/** Details of a connection that could not be opened. */
export interface OpenErrorDetails {
  /** The HTTP status of the answer. */
  status?: number;
  /** The stage that failed; by default the connection for `no-connection`, else the handshake. */
  stage?: "connect" | "upgrade";
  /** The answer that is not a valid upgrade. */
  refusal?: HandshakeRefusal;
  /** The reason; `"other"` by default. */
  reason?: OpenReason;
  /** The runtime's own words. */
  detail?: string;
  /** The server's certificate. */
  certificate?: ServerCertificate | undefined;
  /** The error behind it. */
  cause?: unknown;
}

/** An answer to the opening handshake that is not a valid upgrade, or a proxy's that opens no tunnel. */
export interface HandshakeRefusal {
  /** The giver of the answer; `"not-known"` if proxy and server cannot be told apart. */
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
 * Thrown when an option cannot be used as it is: nothing was sent.
 *
 * @example
 * ```ts
 * import { OptionError } from "./open_error.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new OptionError("Cannot use the proxy").name, "OptionError");
 * ```
 */
export class OptionError extends Error {
  /** The name of the class. */
  override readonly name = "OptionError";
}
