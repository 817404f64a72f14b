/**
 * One of several workers of a server, inside of its thread.
 *
 * @module
 */

import type { MessagePort } from "node:worker_threads";
import { MemoryBudget } from "./budget.ts";
import { createPage } from "./page.ts";
import { DEFAULT_MAX_BUFFERED_TOTAL_BYTES, type Route } from "./policy.ts";
import { type EchoServer, servePart } from "./serve.ts";
import {
  EventOutbox,
  type FromWorker,
  type MetricsAnswer,
  type ToWorker,
  type WorkerStart,
} from "./workers_messages.ts";
import { WorkerShare } from "./workers_share.ts";
import { within } from "../net/deadline.ts";
import { messageOf } from "../protocol/error.ts";

/** Interval at which a worker sends its counts, in milliseconds: 1 s. One that dies loses at most this much. */
const COUNT_INTERVAL_MS = 1000;

/** Deadline of `GET /metrics` for the counts of the other workers, in milliseconds: 5 s. */
const METRICS_TIMEOUT_MS = 5000;

/**
 * Serves as a worker of {@linkcode serveOverWorkers}, until the main thread ends it.
 *
 * @param onServer Given the server once it listens.
 */
export async function work(onServer: (server: EchoServer) => void): Promise<never> {
  const { parentPort, workerData } = process.getBuiltinModule("node:worker_threads");
  if (parentPort === null) throw new Error("This is not a worker");
  try {
    onServer(serveAs(parentPort, workerData));
    post(parentPort, { type: "listening" });
  } catch (error) {
    post(parentPort, { type: "failed", error: messageOf(error) });
  }
  return await new Promise(() => {});
}

function serveAs(port: MessagePort, { serve, memory, index, tells, version }: WorkerStart): EchoServer {
  const share = new WorkerShare(memory, index, {
    room: () => post(port, { type: "room" }),
    shed: (index) => post(port, { type: "shed", index }),
  });
  const budget = new MemoryBudget(serve.maxBufferedTotalBytes ?? DEFAULT_MAX_BUFFERED_TOTAL_BYTES, undefined, share);
  const outbox = new EventOutbox((events, dropped) => post(port, { type: "events", events, dropped }));
  const metrics = new Map<number, (answer: MetricsAnswer) => void>();
  let asked = 0;

  const routes: Record<string, Route> = {
    "/": createPage({
      ...serve,
      version,
      needsToken: serve.token !== undefined,
      checksOrigin: serve.allowOrigins !== undefined,
    }),
    async "/metrics"(request) {
      const ask = ++asked;
      const answered = new Promise<MetricsAnswer>((resolve) => metrics.set(ask, resolve));
      post(port, { type: "metrics", ask, accept: request.headers.get("accept") ?? "" });
      try {
        const { type, body } = await within(answered, "metrics", { timeoutMs: METRICS_TIMEOUT_MS });
        return new Response(body, { headers: { "content-type": type, "vary": "accept" } });
      } finally {
        metrics.delete(ask);
      }
    },
  };
  const onEvent = tells ? { onEvent: (event: Parameters<EventOutbox["tell"]>[0]) => outbox.tell(event) } : {};
  const server = servePart({ ...serve, routes, room: share, ...onEvent }, { places: share, budget });

  setInterval(() => post(port, { type: "count", ask: 0, stats: server.stats() }), COUNT_INTERVAL_MS);

  async function shutDown(timeoutMs: number): Promise<void> {
    const unanswered = await server.shutdown({ timeoutMs });
    outbox.flush();
    post(port, { type: "stopped", unanswered });
  }

  port.on("message", (message: ToWorker) => {
    switch (message.type) {
      case "taken":
        return outbox.taken();
      case "count":
        return post(port, { type: "count", ask: message.ask, stats: server.stats() });
      case "metrics":
        return metrics.get(message.ask)?.(message.answer);
      case "shed":
        share.heard();
        return budget.relieve();
      case "shutdown":
        return void shutDown(message.timeoutMs);
    }
  });
  return server;
}

function post(port: MessagePort, message: FromWorker): void {
  port.postMessage(message);
}
