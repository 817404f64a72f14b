/**
 * Options for the route to a server, common to both transports.
 *
 * @module
 */

/** The two transports: the runtime's `WebSocket`, and our own frames. */
export type TransportName = "builtin" | "wire";

/** Route to a server, and trust. */
export interface DialOptions {
  /** Deadline for name, TCP, TLS and opening handshake together, in milliseconds; 10 s by default. */
  connectTimeoutMs?: number;
  /** Cancels the opening. */
  signal?: AbortSignal | undefined;
  /** Certificate authorities to trust besides the system's, each as PEM text. */
  caCerts?: readonly string[];
  /** Certificate and private key to present to the server, as PEM text. */
  clientCertificate?: { cert: string; key: string };
  /**
   * Proxy to use, as `http://[user:password@]host:port`, over the built-in WebSocket also `https:` and `socks5:`;
   * `"none"` for a direct connection. By default the environment decides as for curl, but never for a loopback host.
   */
  proxy?: string;
  /** Unix socket to connect to instead of the URL's host and port. */
  unixPath?: string;
}
