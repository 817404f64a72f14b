/** What a shutdown still answers, over both transports. */

import { assertMatch } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { serveEcho } from "../../lib/server/serve.ts";
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
