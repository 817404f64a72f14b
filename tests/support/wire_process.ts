/**
 * A server over our own frames in its own process, to measure its memory: `wire_process.ts OPTIONS BUDGET`, with the
 * options of a `WireServer` as JSON and the byte limit of all peers. It prints its port.
 */

import { MemoryBudget } from "../../lib/server/budget.ts";
import { echoing } from "../../lib/server/echo_handler.ts";
import { WireServer } from "../../lib/net/wire_server.ts";

const [options = "{}", maxBytes = "Infinity"] = Deno.args;
const given = JSON.parse(options);
const limits = { maxMessageBytes: 16 * 1024 * 1024, idleTimeoutMs: 500, ...given };
const server = new WireServer(
  { hostname: "127.0.0.1", port: 0, ...given },
  echoing({ ...limits, budget: new MemoryBudget(Number(maxBytes)) }, {
    decide: () => "",
    follow: () => ({ onOpen() {}, onEnd() {} }),
  }),
);
console.log(server.port);
