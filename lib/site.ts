/**
 * What the server says to plain HTTP: a page for people, and metrics for machines.
 *
 * @module
 */

import type { EchoPolicy, EchoStats, Route } from "./echo_policy.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "./protocol/assembler.ts";

/**
 * Makes the routes of a server: `/`, a page to try it with, and `/metrics`, what it has counted, as Prometheus reads it. Each
 * is loaded when it is asked for the first time.
 *
 * @param policy What the server accepts.
 * @param stats What it has counted so far.
 * @param version The version of the server.
 * @returns The routes, for {@linkcode EchoPolicy.routes}.
 *
 * @example
 * ```ts
 * import { createSite } from "./site.ts";
 * import { type EchoServer, serveEcho } from "./serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server: EchoServer = serveEcho({ port: 0, routes: createSite({}, () => server.stats(), "1.2.3") });
 * const page = await fetch(server.url.replace("ws:", "http:"));
 * assertEquals([page.status, page.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
 * await page.body?.cancel();
 * await server.shutdown();
 * ```
 */
export function createSite(policy: EchoPolicy, stats: () => EchoStats, version: string): Record<string, Route> {
  const page = once(async () => {
    const { createPage } = await import("./page.ts");
    const { protocols = [], token, maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES } = policy;
    const checksOrigin = policy.allowOrigins !== undefined;
    return createPage({ protocols, needsToken: token !== undefined, checksOrigin, maxMessageBytes });
  });
  const metrics = once(async () => {
    const { createMetrics } = await import("./metrics.ts");
    return createMetrics(stats, version);
  });
  // The runtime registers itself here if it exports what OpenTelemetry has, and then the instruments exist from the start.
  if (Symbol.for("opentelemetry.js.api.1") in globalThis) void metrics().catch(() => {});
  return {
    "/": async () => (await page())(),
    "/metrics": async (request) => (await metrics()).respond(request),
  };
}

/** Makes something when it is asked for, and keeps it; what failed is tried again the next time. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () =>
    made ??= make().catch((error) => {
      made = undefined;
      throw error;
    });
}
