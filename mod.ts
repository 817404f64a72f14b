/**
 * wsproof as a library: prove a WebSocket connection, hold one, and serve an echo to prove it against. This entry point
 * has the names that most programs need; `./protocol`, `./server` and `./lab` those of a room. No name is in two of
 * them.
 *
 * ```ts
 * import { exchange, serveEcho } from "./mod.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const report = await exchange(server.url, { messages: ["Hello world"] });
 * await server.shutdown();
 * assertEquals(report.verdict, "proven");
 * ```
 *
 * @module
 */

// One exchange, and what it proved.
export { exchange, MAX_MESSAGE_RECORDS } from "./lib/client/exchange.ts";
export {
  type ExchangeEvent,
  type ExchangeEventKind,
  type ExchangeReport,
  type MessageRecord,
  type Stage,
  type StageName,
  type Totals,
} from "./lib/client/exchange_report.ts";
export { type ExchangeOptions } from "./lib/client/exchange_options.ts";
export type { Expectation } from "./lib/client/diagnosis.ts";
export { formatJson, type FormatOptions, formatReport, type ReportLines } from "./lib/client/report.ts";
export { EXIT_CODES, type Failure, type Verdict } from "./lib/client/verdict.ts";

// A connection to hold oneself, over either transport.
export { openConnection } from "./lib/connection/open.ts";
export {
  type BreachTrace,
  type CloseOptions,
  type Connection,
  ConnectionClosedError,
  DEFAULT_PORT,
  DEFAULT_TIMEOUT_MS,
  type FrameTrace,
  type HandshakeRefusal,
  type HeadTrace,
  MAX_BUILTIN_FRAME_BYTES,
  MAX_WIRE_MESSAGE_BYTES,
  OpenError,
  type OpenErrorDetails,
  type OpenFailure,
  type OpenOptions,
  type OpenReason,
  OptionError,
  type ServerCertificate,
  type TransportName,
  type WireTotals,
} from "./lib/connection/connection.ts";
export { TimeoutError, type WaitOptions } from "./lib/net/deadline.ts";
export type { DialOptions } from "./lib/net/dial_options.ts";

// The echo server on a port.
export {
  addressesOf,
  CertificateError,
  type EchoServer,
  ListenError,
  type ListeningServer,
  serveEcho,
  type ServeEchoOptions,
  type ShutdownOptions,
} from "./lib/server/serve.ts";
export type {
  CloseCount,
  ConnectionRoom,
  DeflatePolicy,
  EchoClosed,
  EchoEvent,
  EchoOpened,
  EchoPolicy,
  EchoRefused,
  EchoStats,
  EchoTrouble,
  RefusalCause,
  RefusalCount,
  Route,
  TroubleCount,
  TroubleKind,
} from "./lib/server/policy.ts";
export type { RateLimit } from "./lib/server/rate.ts";
