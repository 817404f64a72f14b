/**
 * The options of the way to a server, whatever transport takes it.
 *
 * @module
 */

/** The two transports: the runtime's `WebSocket`, and our own frames. */
export type TransportName = "builtin" | "wire";

/** How a connection to a server is made, and whom it trusts. */
export interface DialOptions {
  /** How long name, TCP, TLS and the opening handshake may take together, in milliseconds; 10 s by default. */
  connectTimeoutMs?: number;
  /** Cancels the opening. */
  signal?: AbortSignal | undefined;
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
}
