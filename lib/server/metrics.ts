/**
 * The metrics of an echo server: a text for Prometheus, and OpenTelemetry instruments, which the runtime exports with
 * `OTEL_DENO=true` and which do nothing without it.
 *
 * Nothing is counted here: both read {@linkcode EchoStats} on demand, so that a message costs nothing more.
 *
 * @module
 */

import process from "node:process";
import { type BatchObservableCallback, metrics as telemetry } from "npm:@opentelemetry/api@1.10.0";
import type { RegistryContentType } from "npm:prom-client@15.1.3";
// In parts: the whole package also loads pushing and clustering, and takes twice as long.
// @ts-types="./prom/counter.d.ts"
import Counter from "npm:prom-client@15.1.3/lib/counter.js";
// @ts-types="./prom/gauge.d.ts"
import Gauge from "npm:prom-client@15.1.3/lib/gauge.js";
// @ts-types="./prom/registry.d.ts"
import Registry from "npm:prom-client@15.1.3/lib/registry.js";
import type { CloseCount, EchoStats, RefusalCause, TroubleKind } from "./policy.ts";
import { CLOSE_CODES } from "../protocol/close.ts";

/** Counts of a server and its log. */
export interface ServerStats extends EchoStats {
  /** How many lines the log has dropped; 0 by default. */
  readonly droppedLogLines?: number;
}

/** Metrics of one echo server; dispose of them when it has ended. */
export interface Metrics extends Disposable {
  /**
   * Answers `GET /metrics`: with OpenMetrics 1.0.0 if the request prefers it, otherwise with the text format 0.0.4 of
   * Prometheus. The answer has at most 1 series for each count, 2 for the bytes on the wire, 72 for the closes, 13 for
   * the refusals and 3 for troubles.
   *
   * @param request The request; only its field `Accept` is read.
   * @returns The answer, with status 200.
   */
  respond(request: Request): Promise<Response>;

  /** Removes the OpenTelemetry instruments; {@linkcode respond} still answers. */
  [Symbol.dispose](): void;
}

/** One value of a metric. */
interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** One metric, under the names of both conventions. */
interface Metric {
  /** The Prometheus name: base units, and a counter ends in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly isCounter: boolean;
  /** The OpenTelemetry name: no unit, no `total`, and a plural only for a counter. */
  readonly instrument: string;
  /** The unit in UCUM. */
  readonly unit: string;
  /** The Prometheus labels, and their names as OpenTelemetry attributes. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly read: (stats: ServerStats) => readonly Sample[];
}

const METRICS: readonly Metric[] = [
  {
    name: "wsproof_connections",
    help: "Open connections.",
    isCounter: false,
    instrument: "wsproof.server.connection.active",
    unit: "{connection}",
    attributes: {},
    read: ({ connections }) => [{ labels: {}, value: connections }],
  },
  {
    name: "wsproof_connections_accepted_total",
    help: "Accepted connections.",
    isCounter: true,
    instrument: "wsproof.server.connection.accepts",
    unit: "{connection}",
    attributes: {},
    read: ({ accepted }) => [{ labels: {}, value: accepted }],
  },
  {
    name: "wsproof_messages_total",
    help: "Echoed messages.",
    isCounter: true,
    instrument: "wsproof.server.messages",
    unit: "{message}",
    attributes: {},
    read: ({ messages }) => [{ labels: {}, value: messages }],
  },
  {
    name: "wsproof_message_bytes_total",
    help: "Payload bytes of echoed messages.",
    isCounter: true,
    instrument: "wsproof.server.message.size",
    unit: "By",
    attributes: {},
    read: ({ bytes }) => [{ labels: {}, value: bytes }],
  },
  {
    name: "wsproof_wire_bytes_total",
    help: "Bytes of all frames on the wire (wire transport only).",
    isCounter: true,
    instrument: "wsproof.server.wire.io",
    unit: "By",
    attributes: { direction: "network.io.direction" },
    read: ({ wire = { received: 0, sent: 0 } }) => [
      { labels: { direction: "receive" }, value: wire.received },
      { labels: { direction: "transmit" }, value: wire.sent },
    ],
  },
  {
    name: "wsproof_deflate_connections_total",
    help: "Connections that negotiated permessage-deflate.",
    isCounter: true,
    instrument: "wsproof.server.deflate.connections",
    unit: "{connection}",
    attributes: {},
    read: ({ deflated = 0 }) => [{ labels: {}, value: deflated }],
  },
  {
    name: "wsproof_closes_total",
    help: "Ended connections, by the close code of the side that began.",
    isCounter: true,
    instrument: "wsproof.server.connection.closes",
    unit: "{connection}",
    attributes: { code: "wsproof.close.code", initiator: "wsproof.close.initiator" },
    read: readCloses,
  },
  {
    name: "wsproof_refusals_total",
    help: "Requests that were not upgraded, by cause.",
    isCounter: true,
    instrument: "wsproof.server.request.refusals",
    unit: "{request}",
    attributes: { cause: "wsproof.refusal.cause" },
    read: readRefusals,
  },
  {
    name: "wsproof_troubles_total",
    help: "Troubles that no connection caused, by kind.",
    isCounter: true,
    instrument: "wsproof.server.troubles",
    unit: "{trouble}",
    attributes: { kind: "wsproof.trouble.kind" },
    read: readTroubles,
  },
  {
    name: "wsproof_log_dropped_lines_total",
    help: "Dropped lines of the log.",
    isCounter: true,
    instrument: "wsproof.server.log.drops",
    unit: "{line}",
    attributes: {},
    read: ({ droppedLogLines = 0 }) => [{ labels: {}, value: droppedLogLines }],
  },
];

/** Exported as 0 from the start; otherwise `rate()` misses the first event. */
const USUAL_CLOSES: readonly CloseCount[] = [
  { code: 1000, initiator: "peer", count: 0 },
  { code: 1001, initiator: "peer", count: 0 },
  { code: 1005, initiator: "peer", count: 0 },
  { code: 1001, initiator: "server", count: 0 },
  { code: 1002, initiator: "server", count: 0 },
  { code: 1007, initiator: "server", count: 0 },
  { code: 1008, initiator: "server", count: 0 },
  { code: 1009, initiator: "server", count: 0 },
  { code: 1011, initiator: "server", count: 0 },
  { code: 1013, initiator: "server", count: 0 },
  { code: 1006, initiator: "none", count: 0 },
];

const NO_REFUSALS: Readonly<Record<Exclude<RefusalCause, "no-such-path">, 0>> = {
  "plain-http": 0,
  "method": 0,
  "bad-handshake": 0,
  "version": 0,
  "host": 0,
  "origin": 0,
  "token": 0,
  "connections": 0,
  "draining": 0,
  "gone": 0,
  "head-too-long": 0,
  "head-timeout": 0,
  "head-limit": 0,
};

const NO_TROUBLES: Readonly<Record<TroubleKind, 0>> = { accept: 0, runtime: 0, worker: 0 };

/**
 * Makes the metrics of an echo server; needs no permission. OpenTelemetry sees nothing earlier: with `OTEL_DENO=true`
 * make them at the start of the server, not at the first request.
 *
 * @param stats Reads the counts; called once for each answer to Prometheus and each export of OpenTelemetry.
 * @param version The version of the server.
 * @returns The metrics, visible to OpenTelemetry until they are disposed of.
 *
 * @example
 * ```ts
 * import { createMetrics } from "./metrics.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const stats = { connections: 2, accepted: 5, messages: 7, bytes: 77, closes: [], refusals: [], troubles: [] };
 * using metrics = createMetrics(() => stats, "1.2.3");
 * const response = await metrics.respond(new Request("http://127.0.0.1/metrics"));
 * assertStringIncludes(await response.text(), "\nwsproof_connections 2\n");
 * ```
 */
export function createMetrics(stats: () => ServerStats | Promise<ServerStats>, version: string): Metrics {
  const stopObserving = observe(stats, version);
  return {
    async respond(request) {
      const type = negotiate(request.headers.get("accept") ?? "");
      const body = await expose(await stats(), version, type);
      return new Response(body, { headers: { "content-type": type, "vary": "accept" } });
    },
    [Symbol.dispose]: stopObserving,
  };
}

/** Makes the OpenTelemetry instruments; returns their removal. */
function observe(stats: () => ServerStats | Promise<ServerStats>, version: string): () => void {
  const meter = telemetry.getMeter("wsproof", version);
  const pairs = METRICS.map((metric) => {
    const options = { unit: metric.unit, description: metric.help };
    const instrument = metric.isCounter
      ? meter.createObservableCounter(metric.instrument, options)
      : meter.createObservableUpDownCounter(metric.instrument, options);
    return { metric, instrument };
  });
  const instruments = pairs.map(({ instrument }) => instrument);
  // All at once, so that the values of one export belong together.
  const callback: BatchObservableCallback = async (result) => {
    const now = await stats();
    for (const { metric: { attributes, read }, instrument } of pairs) {
      for (const { labels, value } of read(now)) {
        const named = Object.entries(labels).map(([label, text]) => [attributes[label], text]);
        result.observe(instrument, value, Object.fromEntries(named));
      }
    }
  };
  meter.addBatchObservableCallback(callback, instruments);
  return () => meter.removeBatchObservableCallback(callback, instruments);
}

/**
 * Writes the text. Each answer has a new registry: concurrent answers share nothing, and prom-client renames the
 * counters of a registry for good when it writes OpenMetrics.
 */
async function expose(stats: ServerStats, version: string, type: RegistryContentType): Promise<string> {
  const registry = new Registry<RegistryContentType>();
  registry.setContentType(type);
  for (const { name, help, isCounter, attributes, read } of METRICS) {
    add(registry, isCounter, name, help, Object.keys(attributes), read(stats));
  }
  for (const { name, help, isCounter, labels, value } of readProcess(version)) {
    add(registry, isCounter, name, help, Object.keys(labels), [{ labels, value }]);
  }
  return await registry.metrics();
}

function add(
  registry: Registry<RegistryContentType>,
  isCounter: boolean,
  name: string,
  help: string,
  labelNames: string[],
  samples: readonly Sample[],
): void {
  const configuration = { name, help, labelNames, registers: [] };
  const metric = isCounter ? new Counter(configuration) : new Gauge(configuration);
  for (const { labels, value } of samples) metric.inc(labels, value);
  registry.registerMetric(metric);
}

/** Metrics that Prometheus expects of every process; the runtime gives them to OpenTelemetry. */
function readProcess(version: string): readonly (Pick<Metric, "name" | "help" | "isCounter"> & Sample)[] {
  const { user, system } = process.cpuUsage();
  return [
    {
      name: "wsproof_build_info",
      help: "Always 1; the labels say what runs.",
      isCounter: false,
      labels: { version, deno_version: Deno.version.deno },
      value: 1,
    },
    {
      name: "process_cpu_seconds_total",
      help: "User and system CPU time spent in seconds.",
      isCounter: true,
      labels: {},
      value: (user + system) / 1e6,
    },
    {
      name: "process_resident_memory_bytes",
      help: "Resident memory size in bytes.",
      isCounter: false,
      labels: {},
      value: Deno.memoryUsage().rss,
    },
    {
      name: "process_start_time_seconds",
      help: "Start time of the process since unix epoch in seconds.",
      isCounter: false,
      labels: {},
      value: performance.timeOrigin / 1000,
    },
  ];
}

function readCloses({ closes }: EchoStats): Sample[] {
  return sum([...USUAL_CLOSES, ...closes].map(({ code, initiator, count }) => ({
    labels: { code: labelOf(code), initiator },
    value: count,
  })));
}

/** A peer chooses among 2,000 codes: only those with a name get their own series. */
function labelOf(code: number): string {
  if (CLOSE_CODES.has(code)) return `${code}`;
  return code >= 1000 && code <= 4999 ? `${Math.floor(code / 1000)}xxx` : "other";
}

function readRefusals({ refusals }: EchoStats): Sample[] {
  const usual = Object.entries(NO_REFUSALS).map(([cause, count]) => ({ cause, count }));
  return sum([...usual, ...refusals].map(({ cause, count }) => ({ labels: { cause }, value: count })));
}

function readTroubles({ troubles }: EchoStats): Sample[] {
  const usual = Object.entries(NO_TROUBLES).map(([kind, count]) => ({ kind, count }));
  return sum([...usual, ...troubles].map(({ kind, count }) => ({ labels: { kind }, value: count })));
}

/** Adds up samples with the same labels. */
function sum(samples: readonly Sample[]): Sample[] {
  const sums = new Map<string, Sample>();
  for (const { labels, value } of samples) {
    const key = Object.values(labels).join(" ");
    sums.set(key, { labels, value: value + (sums.get(key)?.value ?? 0) });
  }
  return [...sums.values()];
}

/** Format that an Accept field prefers; the text format if it names neither, as in a browser. */
function negotiate(accept: string): RegistryContentType {
  let best: RegistryContentType = Registry.PROMETHEUS_CONTENT_TYPE;
  let most = 0;
  for (const range of accept.toLowerCase().split(",")) {
    const [type, ...parameters] = range.split(";").map((part) => part.trim());
    // Splitting takes linear time; a pattern might let one request block the server.
    const named = Object.fromEntries(
      parameters.map((parameter) => {
        const [name = "", value = ""] = parameter.split("=", 2);
        return [name.trim(), value.trim()];
      }),
    );
    const format = FORMATS.find((format) =>
      format.type === type && [undefined, format.version].includes(named.version)
    );
    const quality = Number(named.q ?? 1);
    if (format !== undefined && quality > most) [best, most] = [format.contentType, quality];
  }
  return best;
}

const FORMATS = [
  { type: "text/plain", version: "0.0.4", contentType: Registry.PROMETHEUS_CONTENT_TYPE },
  { type: "application/openmetrics-text", version: "1.0.0", contentType: Registry.OPENMETRICS_CONTENT_TYPE },
];
