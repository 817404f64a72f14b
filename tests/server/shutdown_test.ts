/** Requests that a shutdown still answers. */

import { assertEquals, assertMatch } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { WireServer } from "../../lib/net/wire_server.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { queueRequests } from "../support/queued_requests.ts";
import { connectRaw } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const WAIT = { timeoutMs: 60_000 };

testBoth("serveEcho() answers the requests that came before its shutdown", async (transport) => {
  const asked = Promise.withResolvers<void>();
  const page = Promise.withResolvers<Response>();
  const late = () => {
    asked.resolve();
    return page.promise;
  };
  const server = serveEcho({ port: 0, transport, routes: { "/late": late } });
  const { port } = new URL(server.url);
  const asking = await connectRaw(server.url);
  const head = (path: string) => `GET ${path} HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\n\r\n`;
  await asking.write(head("/late"));
  await within(asked.promise, "request", WAIT);
  // The head of this one is in the system's queue.
  const probing = await connectRaw(server.url);
  await probing.write(head("/healthz"));
  const stopping = server.shutdown({ timeoutMs: 2 * WAIT.timeoutMs });
  page.resolve(new Response("at last\n"));
  const answers = [await within(asking.readHead(), "page", WAIT), await within(probing.readHead(), "health", WAIT)];
  asking.close();
  probing.close();
  await within(stopping, "shutdown", WAIT);
  assertMatch(answers.join(" "), /^HTTP\/1\.1 200 [^]* HTTP\/1\.1 (200|503) /);
});

testBoth("serveEcho() answers a request that was in the system's queue at its shutdown", async (transport) => {
  const server = serveEcho({ port: 0, transport });
  const { answers } = await queueRequests(server.url, 1);
  await within(server.shutdown({ timeoutMs: 2 * WAIT.timeoutMs }), "shutdown", WAIT);
  assertEquals(await within(answers, "answer", WAIT), ["HTTP/1.1 503 Service Unavailable"]);
});

Deno.test("WireServer.stop() answers all requests in the system's queue within its grace, more than come at once", async () => {
  const server = new WireServer({ hostname: "127.0.0.1", port: 0 }, {
    decide: () => new Response(null, { status: 404 }),
    serve: () => {
      throw new Error("Nobody is let through");
    },
  });
  const { answers } = await queueRequests(`ws://127.0.0.1:${server.port}/`, 200);
  await within(server.stop("", 2 * WAIT.timeoutMs), "stop", WAIT);
  assertEquals(await within(answers, "answers", WAIT), new Array(200).fill("HTTP/1.1 404 Not Found"));
});
