/** The echo server among peers that do everything wrong at once; `deno task perf:faults` does the same for longer. */

import { assert } from "@std/assert";
import { faultedServer } from "../support/faulted_server.ts";
import { runFaults } from "../support/faulty_clients.ts";
import { testBoth } from "../support/transports.ts";

/** The shortest attack, in milliseconds; longer until every kind of refusal has been met. */
const FAULTY_MS = 5000;
/** Memory that the server may keep afterwards, for garbage and freed pages that the C library retains. */
const KEPT_MIB = 600;

testBoth("server answers as before after every fault of its peers at once", async (transport) => {
  await using server = await faultedServer(transport);
  await server.proveExchange();
  const before = { mib: await server.residentMib(), descriptors: await server.descriptors() };

  const stop = new AbortController();
  const running = runFaults(server.url, stop.signal);
  await new Promise((resolve) => setTimeout(resolve, FAULTY_MS));
  await server.untilRefused(["token", "origin", "connections", "method", "version", "bad-handshake"]);
  stop.abort();
  await running;

  await server.untilDescriptors(before.descriptors);
  await server.proveExchange();
  const mib = await server.residentMib();
  assert(mib - before.mib < KEPT_MIB, `${before.mib} MiB before, ${mib} MiB after`);

  const { opened } = await server.end();
  assert(opened > 2, `${opened} were let in`);
}, { ignore: Deno.build.os !== "linux" });
