/**
 * A server over our own frames in a process of its own, to see how much memory it takes: `wire_process.ts OPTIONS BUDGET`, the
 * options of a `WireServer` as JSON and the bytes that all peers may hold. It prints its port.
 */

import { MemoryBudget } from "../../lib/server/budget.ts";
import { WireServer } from "../../lib/server/wire_server.ts";

const [options = "{}", maxBytes = "Infinity"] = Deno.args;
const server = new WireServer({
  hostname: "127.0.0.1",
  port: 0,
  maxMessageBytes: 16 * 1024 * 1024,
  idleTimeoutMs: 500,
  budget: new MemoryBudget(Number(maxBytes)),
  ...JSON.parse(options),
}, { decide: () => "", follow: () => ({ onOpen() {}, onEnd() {} }) });
console.log(server.port);
