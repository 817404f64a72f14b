/** The received fields of the request, over both transports. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { VERSION } from "../../lib/net/version.ts";
import { client, reportOf } from "../support/command.ts";
import { rawPeer } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

/** The fields that a refusing server receives, with those of the handshake. */
async function arriving(transport: string, args: readonly string[], userInfo = ""): Promise<string[]> {
  const heads: string[] = [];
  await using peer = rawPeer(async (socket) => {
    heads.push(await socket.readHead());
    await socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  });
  await client(["-q", "--transport", transport, ...args, peer.url.replace("//", `//${userInfo}`)]);
  // Over our own frames, a refused client may retry.
  return heads[0]?.split("\r\n").slice(1) ?? [];
}

/** The fields of a name, in any case. */
function named(name: string, fields: readonly string[]): string[] {
  return fields.filter((field) => field.toLowerCase().startsWith(`${name.toLowerCase()}:`));
}

const FIELDS = [
  "Host: vhost.example:8080",
  "Authorization: Bearer secret",
  "Accept: text/html",
  "Accept-Encoding: gzip",
  "Accept-Language: de",
  "Content-Type: text/plain",
  "Cookie: a=1",
  "Date: Thu, 01 Jan 1970 00:00:00 GMT",
  "Expect: nothing",
  "Keep-Alive: 1",
  "Max-Forwards: 3",
  "Origin: https://example.com",
  "Pragma: no-cache",
  "Proxy-Connection: keep-alive",
  "Range: bytes=0-",
  "Referer: https://example.com/",
  "Sec-Fetch-Mode: websocket",
  "TE: trailers",
  "Trailer: X-One",
  "Via: 1.1 a",
  "X-Empty:",
  "X-Mixed-Case: aBc",
];

testBoth("client sends each field once and with its value", async (transport) => {
  const fields = await arriving(transport, FIELDS.flatMap((field) => ["-H", field]));
  for (const field of FIELDS) {
    const [name = "", value = ""] = field.split(/: ?/, 2);
    const arrived = named(name, fields);
    assertEquals(arrived.length, 1, name);
    assertEquals(arrived[0]?.slice(name.length + 1).trim(), field.slice(name.length + 1).trim(), value);
    // The built-in WebSocket lowercases names.
    if (transport === "wire") assertStringIncludes(arrived[0] ?? "", name);
  }
});

testBoth("client sends every line of a field that is a list, and joins cookies", async (transport) => {
  const lists = ["-H", "X-One: 1", "-H", "X-One: 2", "-H", "Cookie: a=1", "-H", "Cookie: b=2"];
  const fields = await arriving(transport, lists);
  assertEquals(named("x-one", fields).map((field) => field.slice(6).trim()), ["1", "2"]);
  assertEquals(named("cookie", fields).map((field) => field.slice(7).trim()), ["a=1; b=2"]);
});

testBoth("client sends one field User-Agent", async (transport) => {
  const sent = named("user-agent", await arriving(transport, []));
  assertEquals(sent.length, 1);
  assertMatch(sent[0] ?? "", transport === "wire" ? new RegExp(`^User-Agent: wsproof/${VERSION}$`) : /Deno\//);
});

Deno.test("client sends a User-Agent of the user over wire, and says why not over builtin", async () => {
  assertEquals(named("user-agent", await arriving("wire", ["-H", "user-agent: x"])), ["user-agent: x"]);
  const outcome = await client(["-H", "User-Agent: x", "ws://127.0.0.1:1/"]);
  assertEquals([outcome.code, outcome.stdout], [2, ""]);
  assertMatch(outcome.stderr, /^wsproof: Cannot set User-Agent .*--transport wire\n$/);
});

Deno.test("client says why it cannot set Host through a proxy over builtin", async () => {
  const outcome = await client(["-H", "Host: a", "--proxy", "http://127.0.0.1:1", "ws://server.test/"]);
  assertEquals([outcome.code, outcome.stdout], [2, ""]);
  assertMatch(outcome.stderr, /^wsproof: Cannot set Host .*--transport wire\n$/);
});

testBoth("client sends credentials of the URL with any characters", async (transport) => {
  for (const [userInfo, credentials] of [["me:100%@", "me:100%"], ["a%40:%C3%A9@", "a@:é"], [":p@", ":p"]] as const) {
    const [sent = ""] = named("authorization", await arriving(transport, [], userInfo));
    const bytes = Uint8Array.fromBase64(sent.replace(/^authorization: Basic /i, ""));
    assertEquals(new TextDecoder().decode(bytes), credentials);
  }
});

testBoth("client shows no token of a subprotocol", async (transport) => {
  await using selecting = rawPeer(async (socket) => {
    await socket.upgrade("Sec-WebSocket-Protocol: wsproof.bearer.c2VjcmV0");
    await socket.echoOne();
    await socket.answerClose();
  });
  const offer = ["-p", "wsproof.bearer.c2VjcmV0", "--transport", transport];
  const selected = await client(["--json", ...offer, selecting.url]);
  assertEquals(reportOf(selected).protocol, "wsproof.bearer.***", selected.stderr);
  await using silent = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.answerClose();
  });
  const refused = await client(["--json", ...offer, silent.url]);
  assertEquals(reportOf(refused).verdict, "handshake-refused");
  assertEquals(`${selected.stdout}${refused.stdout}${refused.stderr}`.includes("c2VjcmV0"), false);
});

Deno.test("client says that builtin reads a message over the limit into memory", async () => {
  for (const transport of ["builtin", "wire"]) {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.echoOne();
      await socket.answerClose();
    });
    const outcome = await client([
      "--json",
      "--transport",
      transport,
      "--reply-any",
      "--max-message",
      "4",
      "-m",
      "long!",
      peer.url,
    ]);
    assertEquals(/memory.*--transport wire/.test(outcome.stderr), transport === "builtin", outcome.stderr);
  }
});
