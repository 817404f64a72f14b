/**
 * Errors on opening a connection: a failed connection, or an unusable option.
 *
 * @module
 */

/** Kind of failure on opening a connection. */
export type OpenFailure =
  /** Name, TCP, TLS or proxy failed: no connection for the handshake. */
  | "no-connection"
  /** The answer is not a valid upgrade (RFC 6455 section 4.1). */
  | "handshake-refused"
  /** The connection ended before the answer to the handshake. */
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
  /** Kind of failure. */
  readonly failure: OpenFailure;
  /** HTTP status of the answer, where known. */
  readonly status: number | undefined;
  /** Failed stage: connection or handshake. */
  readonly stage: "connect" | "upgrade";
  /** The answer that is not a valid upgrade, where known. */
  readonly refusal: HandshakeRefusal | undefined;
  /** The reason as a stable word, where known. */
  readonly reason: OpenReason;
  /** The runtime's own words; empty if they add nothing to the message. */
  readonly detail: string;
  /** The server's certificate, if of an unknown issuer and available. */
  readonly certificate: ServerCertificate | undefined;

  /**
   * Makes the error.
   *
   * @param failure Kind of failure.
   * @param message One line for a person.
   * @param details Further details.
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

/** Reason for a failed connection, as a stable word that programs can compare. */
export type OpenReason =
  /** Nothing listens at the port, or something in between refused. */
  | "refused"
  /** Nothing listens at the unix socket, or the path is no socket. */
  | "no-socket"
  /** The host name does not resolve. */
  | "unknown-name"
  /** No route leads to the host. */
  | "unreachable"
  /** The proxy refused, dropped the connection or did not speak HTTP. */
  | "proxy"
  /** The proxy, or the server behind it: the built-in WebSocket hides which. */
  | "proxy-or-server"
  /** The server does not speak TLS. */
  | "plain-server"
  /** The server speaks TLS, but the client did not. */
  | "tls-server"
  /** The answer is not HTTP; the built-in WebSocket rejects and hides it. */
  | "not-http"
  /** No trusted authority has signed the server's certificate. */
  | "unknown-issuer"
  /** The server's certificate is that of an authority. */
  | "authority-certificate"
  /** The server's certificate is for other names. */
  | "wrong-name"
  /** The server's certificate has expired. */
  | "expired"
  /** The server's certificate is not valid yet. */
  | "not-yet-valid"
  /** The server's certificate has another fault. */
  | "bad-certificate"
  /** The server wants a client certificate. */
  | "client-certificate-wanted"
  /** The server refused the client certificate. */
  | "client-certificate-refused"
  /** The server ended the TLS handshake without a reason. */
  | "tls-handshake"
  /** The server ended TLS with an alert, after the client's end of the handshake. */
  | "tls-alert"
  /** The server, or something in between, reset the connection. */
  | "reset"
  /** Server and client share no version of TLS. */
  | "tls-version"
  /** The field Connection has more than the built-in WebSocket accepts, or too little. */
  | "connection-field"
  /** The answer is valid, but the built-in WebSocket rejects it. */
  | "runtime"
  /** The built-in WebSocket hides the answer. */
  | "hidden"
  /** No answer came before the connect timeout. */
  | "silent"
  /** The server selected no subprotocol, or one that was not offered. */
  | "subprotocol"
  | "other";

/** A server's certificate, for the user who decides whether to trust. */
export interface ServerCertificate {
  /** Distinguished name of the authority that signed the server's last certificate. */
  readonly issuer: string;
  /** Whether the server presents one certificate, signed by itself. */
  readonly isSelfSigned: boolean;
  /** Whether the options have an authority of this name. */
  readonly isIssuerGiven: boolean;
}

/** Details of a failed connection. */
export interface OpenErrorDetails {
  /** The HTTP status of the answer. */
  status?: number;
  /** Failed stage; by default the connection for `no-connection`, otherwise the handshake. */
  stage?: "connect" | "upgrade";
  /** The answer that is not a valid upgrade. */
  refusal?: HandshakeRefusal;
  /** The reason; `"other"` by default. */
  reason?: OpenReason;
  /** The runtime's own words. */
  detail?: string;
  /** The server's certificate. */
  certificate?: ServerCertificate | undefined;
  /** The underlying error. */
  cause?: unknown;
}

/** A server's answer that is not a valid upgrade, or a proxy's that opens no tunnel. */
export interface HandshakeRefusal {
  /** Sender of the answer; `"not-known"` if server or proxy is unclear. */
  readonly from: "server" | "proxy" | "not-known";
  /** The HTTP status; 0 if the answer is not HTTP. */
  readonly status: number;
  /** All faults of the answer. */
  readonly problems: readonly string[];
  /** Header fields, in order. */
  readonly fields: readonly (readonly [name: string, value: string])[];
  /** Start of the body, as received within 1 s, in whole characters: at most 512. */
  readonly body: string;
}

/**
 * Thrown for an unusable option, before anything is sent.
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
