/** Sorts the runtime's messages about failed openings. */

import { assertEquals } from "@std/assert";
import { openErrorOf } from "../../lib/connection/builtin_failure.ts";

const URL_TEXT = "ws://127.0.0.1:1/";

Deno.test("openErrorOf() says connection-lost, when the peer ended the connection before or after the request", () => {
  // The runtime's message for a peer that accepts connections and ends them depends on timing.
  for (
    const words of [
      "connection closed before message completed",
      "operation was canceled",
      "Connection reset by peer (os error 104)",
      "connection error",
    ]
  ) {
    const error = openErrorOf(`NetworkError: failed to connect to WebSocket: ${words}`, { url: new URL(URL_TEXT) });
    assertEquals([error.failure, error.detail], ["connection-lost", words]);
  }
});

Deno.test("openErrorOf() does not choose between the proxy and the server behind it, when one of them ended the connection", () => {
  for (const proxy of ["http://proxy:1", "https://proxy:1", "socks5://proxy:1"]) {
    for (const url of ["ws://server/", "wss://server/"]) {
      const error = openErrorOf("Connection reset by peer (os error 104)", {
        url: new URL(url),
        proxy: new URL(proxy),
      });
      assertEquals([error.failure, error.reason, error.stage], ["no-connection", "proxy-or-server", "connect"]);
      assertEquals(error.message, `Proxy ${proxy}, or the server behind it, ended the connection without an answer`);
    }
  }
});

Deno.test("openErrorOf() has the status of a proxy that requires credentials, so that the client does not ask again", () => {
  const destination = { url: new URL("wss://server/"), proxy: new URL("http://u:secret@proxy:1") };
  const error = openErrorOf("proxy authentication required", destination);
  assertEquals([error.failure, error.reason, error.status, error.refusal?.from], [
    "no-connection",
    "proxy",
    407,
    "proxy",
  ]);
  const message = "Proxy http://proxy:1 answered with status 407 (Proxy Authentication Required) instead of a tunnel";
  assertEquals(error.message, message);
});

/** The runtime's words for a SOCKS proxy, and ours. */
const SOCKS: readonly [string, string][] = [
  ["General SOCKS server failure", "it failed"],
  ["Connection not allowed by ruleset", "its rules forbid the connection"],
  ["Network unreachable", "it has no route to the server"],
  ["Host unreachable", "it has no route to the server"],
  ["Connection refused", "nothing listens at the port of the server"],
  ["TTL expired", "the server is too far away"],
  ["Command not supported", "it does not support connections of this kind"],
  ["Address type not supported", "it does not support connections of this kind"],
  ["No acceptable auth methods", "it requires credentials"],
  ["Password auth failure, code: 1", "it rejects the credentials"],
  ["Invalid response version", "it does not speak SOCKS5"],
  ["unexpected end of file", "it ended the connection"],
];
for (const [words, said] of SOCKS) {
  Deno.test(`openErrorOf() says of a SOCKS proxy that ${said}, when the runtime says "${words}"`, () => {
    const error = openErrorOf(words, { url: new URL(URL_TEXT), proxy: new URL("socks5://u:secret@proxy:1") });
    assertEquals([error.failure, error.reason, error.detail], ["no-connection", "proxy", words]);
    assertEquals(error.message, `Proxy socks5://proxy:1 opened no tunnel: ${said}`);
  });
}
