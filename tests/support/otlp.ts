/** A collector of OpenTelemetry metrics; as a script, a process with the metrics of a known snapshot. */

import { createMetrics, type ServerStats } from "../../lib/server/metrics.ts";

/** The snapshot to export. */
export const SNAPSHOT: ServerStats = {
  connections: 2,
  accepted: 12,
  messages: 345,
  bytes: 6789,
  wire: { received: 4321, sent: 1234 },
  deflated: 3,
  closes: [
    { code: 1000, initiator: "peer", count: 5 },
    { code: 4321, initiator: "peer", count: 2 },
    { code: 4444, initiator: "peer", count: 1 },
    { code: 1009, initiator: "server", count: 1 },
    { code: 1006, initiator: "none", count: 1 },
  ],
  refusals: [{ cause: "origin", count: 3 }, { cause: "head-limit", count: 1 }],
  troubles: [{ kind: "accept", count: 4 }],
  droppedLogLines: 6,
};

/** A metric as received; `points` maps attributes, each written as `name=value`, to the value. */
export interface CollectedMetric {
  readonly unit: string;
  readonly isMonotonic: boolean;
  readonly points: Readonly<Record<string, number>>;
}

/** The version and the metrics of wsproof in one export. */
export interface Collected {
  readonly version: string;
  readonly metrics: Readonly<Record<string, CollectedMetric>>;
}

/** Receives exports. */
export interface Collector extends AsyncDisposable {
  readonly url: string;
  /** The paths of all posts so far. */
  readonly paths: readonly string[];
  /** The part of wsproof in each export of metrics, in order; `undefined` if an export has none. */
  readonly exports: ReadableStreamDefaultReader<Collected | undefined>;
}

/** Starts a collector on a free port. */
export function startCollector(): Collector {
  const paths: string[] = [];
  const { readable, writable } = new TransformStream<Collected | undefined>({}, {}, { highWaterMark: Infinity });
  const writer = writable.getWriter();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname } = new URL(request.url);
    paths.push(pathname);
    const posted = await request.json();
    if (pathname === "/v1/metrics") await writer.write(readExport(posted));
    return Response.json({});
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}`,
    paths,
    exports: readable.getReader(),
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

// deno-lint-ignore no-explicit-any -- the tests read OTLP's JSON as any collector would, and assert its form
type Json = any;

function readExport({ resourceMetrics }: Json): Collected | undefined {
  const scopes = resourceMetrics.flatMap(({ scopeMetrics }: Json) => scopeMetrics);
  const ours = scopes.find(({ scope }: Json) => scope.name === "wsproof");
  return ours && { version: ours.scope.version, metrics: Object.fromEntries(ours.metrics.map(readMetric)) };
}

function readMetric({ name, unit, sum }: Json): [string, CollectedMetric] {
  const points = sum.dataPoints.map(({ attributes, asDouble }: Json) => {
    const named = attributes.map(({ key, value }: Json) => `${key}=${value.stringValue}`);
    return [named.sort().join(" "), asDouble];
  });
  return [name, { unit, isMonotonic: sum.isMonotonic, points: Object.fromEntries(points) }];
}

/** The used heap, in bytes, after this many answers. */
async function heapAfter(answers: number): Promise<number> {
  using metrics = createMetrics(() => SNAPSHOT, "1.2.3");
  for (let index = 0; index < answers; index++) {
    const accept = index % 2 ? "application/openmetrics-text" : "text/plain";
    await (await metrics.respond(new Request("http://127.0.0.1/metrics", { headers: { accept } }))).text();
  }
  (globalThis as { gc?: () => void }).gc?.();
  return Deno.memoryUsage().heapUsed;
}

/**
 * The process: prints the text for Prometheus, disposes of the metrics on a line from standard input, and ends with
 * that input. With `memory` and `--expose-gc` it prints the heap's growth over 1,000 answers, in bytes.
 */
async function main(): Promise<void> {
  if (Deno.args[0] === "memory") {
    const before = await heapAfter(1000);
    return console.log(await heapAfter(1000) - before);
  }
  using metrics = createMetrics(() => SNAPSHOT, "1.2.3");
  const response = await metrics.respond(new Request("http://127.0.0.1/metrics"));
  console.log(await response.text());
  for await (const _ of Deno.stdin.readable) metrics[Symbol.dispose]();
}

if (import.meta.main) await main();
