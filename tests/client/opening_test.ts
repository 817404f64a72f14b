/** Hints for failed openings. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { hintForOpening } from "../../lib/client/opening.ts";
import { type HandshakeRefusal, OpenError } from "../../lib/connection/connection.ts";

/** The hint for a server that sees no upgrade, as behind nginx without the two fields. */
const NO_UPGRADE =
  "the server saw no request for an upgrade: a proxy in between may not pass on the fields Upgrade and Connection";

/** An answer of a server, and its hint. */
const ANSWERS: readonly [number, [string, string][], string, string][] = [
  [301, [["Location", "https://a.example/x"]], "", 'redirects are not followed: use "wss://a.example/x"'],
  [302, [["location", "http://u:secret@a/"]], "", 'redirects are not followed: use "ws://u:***@a/"'],
  [307, [["location", "../x"]], "", 'redirects are not followed: use "wss://a.example/x"'],
  [301, [], "", "it is not a redirect, as it names no target"],
  [304, [["Location", "https://a.example/"]], "", "that answer is for a cache, not for an upgrade"],
  [
    426,
    [["Sec-WebSocket-Version", "8, 7"]],
    "",
    'the server speaks version "8, 7" of the protocol, this client 13',
  ],
  [426, [["Sec-WebSocket-Version", "13"]], "", NO_UPGRADE],
  [426, [["Sec-WebSocket-Version", "8, 13"]], "", NO_UPGRADE],
  [426, [], "", NO_UPGRADE],
  [400, [["Sec-WebSocket-Version", "13"]], "bad key", 'the answer says "bad key"'],
  [503, [["Retry-After", "120"]], "", "it asks to try again after 120 s"],
  [429, [["Retry-After", "Thu, 01 Jan 1970"]], "", 'it asks to try again after "Thu, 01 Jan 1970"'],
  [500, [], "<h1>Out\n of  order</h1>", 'the answer says "Out of order"'],
  [500, [["Transfer-Encoding", "chunked"]], "nope!", 'the answer says "nope!"'],
  [500, [], "\u001b[31m", 'the answer says "\\u001b[31m"'],
];
for (const [status, fields, body, hint] of ANSWERS) {
  Deno.test(`hintForOpening() says ${hint}, when a server answers with ${status}`, () => {
    const refusal: HandshakeRefusal = { from: "server", status, problems: [], fields, body };
    const error = new OpenError("handshake-refused", "no", { refusal });
    const url = new URL("wss://a.example/chat/room");
    assertEquals(hintForOpening(error, { transport: "wire", proxy: null, url }), hint);
  });
}

/** How servers say that they want TLS. */
const PLAIN_TO_TLS: readonly [number, string][] = [
  [400, "<title>400 The plain HTTP request was sent to HTTPS port</title>"],
  [497, "The plain HTTP request was sent to HTTPS port"],
  [400, "Client sent an HTTP request to an HTTPS server."],
  [400, "Reason: You're speaking plain HTTP to an SSL-enabled server port."],
  [400, "This combination of host and port requires TLS."],
];
for (const [status, body] of PLAIN_TO_TLS) {
  Deno.test(`hintForOpening() suggests wss://, when a server says ${body} with ${status}`, () => {
    const refusal: HandshakeRefusal = { from: "server", status, problems: [], fields: [], body };
    const hint = hintForOpening(new OpenError("handshake-refused", "no", { refusal }), {
      transport: "wire",
      proxy: null,
    });
    assertStringIncludes(hint, "the server speaks TLS at this port: try wss:// instead of ws://");
  });
}

Deno.test("hintForOpening() names --transport wire, when builtin hides the rest of the answer", () => {
  const hint = (status: number) =>
    hintForOpening(new OpenError("handshake-refused", "no", { status }), { transport: "builtin", proxy: null });
  assertEquals(hint(500), "--transport wire shows the whole answer");
  assertEquals(
    hint(400),
    "if this port is for TLS, try wss:// instead of ws://; --transport wire shows the whole answer",
  );
  assertEquals(hint(301), "redirects are not followed; --transport wire shows the whole answer");
});

Deno.test("hintForOpening() names the path of a 404, and the Origin of a 403", () => {
  const hint = (status: number, origin?: string) =>
    hintForOpening(
      new OpenError("handshake-refused", "no", {
        refusal: { from: "server", status, problems: [], fields: [], body: "" },
      }),
      { transport: "wire", proxy: null, url: new URL("ws://127.0.0.1/a\u001b?token=secret"), origin },
    );
  assertEquals(hint(404), 'no WebSocket endpoint answers at the path "/a%1B": check the path of the URL');
  assertEquals(hint(403), "it refuses this client: it may require an --origin, a --header or credentials");
  assertEquals(
    hint(403, "https://a.example"),
    'it refuses this client: it may require an --origin other than "https://a.example", a --header or credentials',
  );
});

Deno.test("hintForOpening() says what builtin asks a Unix socket for, and does not suggest wss:// there", () => {
  const attempt = { transport: "builtin", proxy: null, isUnix: true } as const;
  for (const failure of ["connection-lost", "handshake-refused"] as const) {
    const error = new OpenError(failure, "no", failure === "connection-lost" ? {} : { status: 404 });
    const hint = hintForOpening(error, attempt);
    assertStringIncludes(
      hint,
      "asks a Unix socket for an absolute URL, which not every server takes: --transport wire",
    );
    assertEquals(hint.includes("wss://"), false);
    assertEquals(hintForOpening(error, { ...attempt, transport: "wire" }).includes("absolute"), false);
  }
});
