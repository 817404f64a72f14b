/** Sorts the runtime's messages about failed openings. */

import { assertEquals } from "@std/assert";
import { openErrorOf } from "../../lib/connection/builtin_failure.ts";

const URL_TEXT = "ws://127.0.0.1:1/";

Deno.test("openErrorOf() calls a connection lost, when the peer ended it before or behind the request", () => {
  // The runtime's message for a peer that accepts connections and ends them depends on timing.
  for (
    const words of [
      "connection closed before message completed",
      "operation was canceled",
      "Connection reset by peer (os error 104)",
    ]
  ) {
    const error = openErrorOf(`NetworkError: failed to connect to WebSocket: ${words}`, { url: new URL(URL_TEXT) });
    assertEquals([error.failure, error.detail], ["connection-lost", words]);
  }
});
