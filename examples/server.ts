/**
 * An echo server with limits and a log, which closes its connections before it ends.
 *
 * ```sh
 * deno run $(deno task -q std:flags) --allow-net examples/server.ts 6455
 * ```
 */

import { type EchoEvent, serveEcho } from "../mod.ts";

const MIB = 1024 * 1024;

function log(event: EchoEvent): void {
  if (event.type === "opened") console.log(`${event.id}: opened by ${event.peer}`);
  if (event.type === "closed") console.log(`${event.id}: closed after ${event.messages} messages`);
  if (event.type === "refused") console.log(`refused ${event.peer}: ${event.cause}, status ${event.status}`);
}

const server = serveEcho({
  port: Number(Deno.args[0] ?? 6455),
  // Our own frames bound the memory that a hostile peer can take.
  transport: "wire",
  maxMessageBytes: MIB,
  maxConnections: 1000,
  rate: { messagesPerSecond: 1000, bytesPerSecond: 10 * MIB },
  // Programs send no Origin and get in. Of the pages, only those of this site do.
  allowOrigins: ["https://app.example"],
  routes: { "/": () => new Response("An echo server lives here. Ask it for the upgrade.\n") },
  onEvent: log,
});
console.log(`Listening on ${server.url}`);

// A close with 1001 tells clients to come back later. A dropped connection tells them nothing.
async function end(): Promise<void> {
  const unanswered = await server.shutdown({ timeoutMs: 5000 });
  console.log(`${unanswered} peers did not answer the close frame`);
  Deno.exit(0);
}

for (const signal of Deno.build.os === "windows" ? ["SIGINT"] as const : ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, end);
}
