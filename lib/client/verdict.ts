/**
 * Verdicts and their exit codes. Scripts rely on the exit codes: they do not change.
 *
 * @module
 */

/** The exit code of every verdict. */
export const EXIT_CODES = {
  /** Every stage passed. */
  "proven": 0,
  /** A bug in wsproof. */
  "internal-error": 1,
  /** The command line is wrong, or its input cannot be sent as asked. */
  "usage": 2,
  /** Name, TCP, TLS or proxy: no connection to the server was made, or not before the connect timeout. */
  "no-connection": 3,
  /** An HTTP answer that is not a valid upgrade. */
  "handshake-refused": 4,
  /** Connected, but no complete message before the reply timeout. */
  "no-reply": 5,
  /** A complete message that is not as expected. */
  "wrong-reply": 6,
  /** The connection ended, or the peer broke the protocol, before the exchange was complete. */
  "connection-lost": 7,
  /** No close frame in time, a drop instead of an answer, or another code or reason. */
  "close-not-confirmed": 8,
  /** `check`: a case failed that the baseline does not name, or the baseline names one that passes. */
  "not-conformant": 9,
  /** Ctrl-C: the connection was closed first. */
  "interrupted": 130,
} as const;

/** The verdict of an exchange, in one word. */
export type Verdict = keyof typeof EXIT_CODES;

/** A failure, with its cause and a remedy. */
export interface Failure {
  /** The verdict. */
  readonly verdict: Verdict;
  /** The problem in one line. */
  readonly problem: string;
  /** The likely cause or a remedy; empty if none is plain. */
  readonly hint: string;
}
