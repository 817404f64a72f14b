/**
 * The parts of `serveEcho()`, for a server of one's own: the echo as a handler for `Deno.serve`, the server over our
 * own frames, the page, the metrics and the log.
 *
 * @module
 */

export { createEcho, type Echo } from "./builtin_echo.ts";
export { type Admission, type AskedRequest, type EchoCounts, Gatekeeper } from "./gatekeeper.ts";
export type { ByteSink } from "./line_writer.ts";
export {
  createLog,
  type EventLog,
  LOG_FORMS,
  type LogDropped,
  type LogForm,
  type LogOptions,
  type ServerDraining,
  type ServerEvent,
  type ServerListening,
  type ServerStopped,
} from "./log.ts";
export { createMetrics, type Metrics, type ServerStats } from "./metrics.ts";
export type { ConnectionPlaces } from "./policy.ts";
export { createPage, type PageOptions } from "./page.ts";
export { createSite } from "./site.ts";
