/** The listener of the lab: connections that were never accepted. */

import { assertEquals } from "@std/assert";
import { LabListener } from "../../lib/lab/listener.ts";
import { within } from "../../lib/net/deadline.ts";
import { Turns } from "../../lib/net/turns.ts";

Deno.test("LabListener.close() ends connections that were not accepted", async () => {
  const listener = await LabListener.listen("127.0.0.1", 0, new Turns());
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  listener.close();
  // The end or a reset, depending on whether it was accepted before.
  const end = await within(connection.read(new Uint8Array(1)).catch(() => null), "end", { timeoutMs: 60_000 });
  assertEquals(end, null);
  connection.close();
});
