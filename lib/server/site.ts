/**
 * Answers to plain HTTP: a page for people, and metrics for machines.
 *
 * @module
 */

import type { EchoPolicy, Route } from "./policy.ts";
import { createMetrics, type ServerStats } from "./metrics.ts";
import { createPage } from "./page.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "../protocol/assembler.ts";

/**
 * Makes the routes of a server: `/`, a page to try it with, and `/metrics`, its counts for Prometheus. Both are
 * complete before the first request: a later import needs a descriptor, and without one the runtime panics.
 *
 * @param policy Limits and rules.
 * @param stats Reads the counts.
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
export function createSite(policy: EchoPolicy, stats: () => ServerStats, version: string): Record<string, Route> {
  const { protocols = [], token, maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES } = policy;
  const checksOrigin = policy.allowOrigins !== undefined;
  const metrics = createMetrics(stats, version);
  return {
    "/": createPage({ protocols, needsToken: token !== undefined, checksOrigin, maxMessageBytes, version }),
    "/metrics": (request) => metrics.respond(request),
  };
}
