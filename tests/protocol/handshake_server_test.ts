/** The server's half of the opening handshake as a pure function: a request in, a problem or answer fields out. */

import { assertEquals, assertThrows } from "@std/assert";
import {
  asksForUpgrade,
  offeredProtocols,
  type RequestProblem,
  type RequestView,
  responseFields,
  selectProtocol,
  SWITCHING,
  verifyRequest,
  writeSwitching,
} from "../../lib/protocol/handshake_server.ts";
import { verifyResponse } from "../../lib/protocol/handshake.ts";
import { encodeHead } from "../../lib/protocol/http_lines.ts";

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const FIELDS: Readonly<Record<string, string | null>> = {
  "host": "a",
  "upgrade": "websocket",
  "connection": "Upgrade",
  "sec-websocket-version": "13",
  "sec-websocket-key": KEY,
};

function view(fields: Record<string, string | null> = {}, method = "GET", version?: string): RequestView {
  const all = { ...FIELDS, ...fields };
  return { method, version, field: (name) => all[name] ?? null };
}

const bad = (text: string): RequestProblem => ({ cause: "bad-handshake", text });
const VERSION: RequestProblem = { cause: "version", text: "The only supported Sec-WebSocket-Version is 13." };
const UPGRADE = bad('The field Upgrade is not "websocket" alone.');
const BODY = bad("A request for an upgrade has no body.");
const KEY_PROBLEM = bad("The field Sec-WebSocket-Key is not 16 bytes in Base64.");

for (
  const [what, request, problem] of [
    ["nothing is wrong", view(), undefined],
    ["its tokens are in capitals, among others", view({ upgrade: "WebSocket", connection: "a, UPGRADE" }), undefined],
    ["its length is 0", view({ "content-length": "0" }), undefined],
    ["its version is HTTP/1.1", view({}, "GET", "1.1"), undefined],
    ["its version is HTTP/1.0", view({}, "GET", "1.0"), bad("HTTP/1.0 has no upgrade: a WebSocket needs HTTP/1.1.")],
    [
      "it is a plain GET of HTTP/1.0",
      view({ upgrade: "h2c" }, "GET", "1.0"),
      { cause: "plain-http", text: "The request does not ask for an upgrade to WebSocket." },
    ],
    ["its method is POST", view({}, "POST"), { cause: "method", text: "A WebSocket begins with the method GET." }],
    [
      "its method is get",
      view({}, "get"),
      { cause: "method", text: 'The method "get" is not GET: methods are case-sensitive.' },
    ],
    ["it upgrades with HEAD", view({}, "HEAD"), { cause: "method", text: "A WebSocket begins with the method GET." }],
    ["another protocol is before websocket", view({ upgrade: "h2c, websocket" }), UPGRADE],
    ["websocket is there twice", view({ upgrade: "websocket, websocket" }), UPGRADE],
    ["it has no Host", view({ host: null }), bad("The field Host is missing.")],
    [
      "its Connection is another",
      view({ connection: "keep-alive" }),
      bad('The field Connection does not have the token "Upgrade".'),
    ],
    ["its protocol version is another", view({ "sec-websocket-version": "8" }), VERSION],
    ["its protocol version is missing", view({ "sec-websocket-version": null }), VERSION],
    ["it has a length", view({ "content-length": "1" }), BODY],
    ["it has chunks", view({ "transfer-encoding": "chunked" }), BODY],
    ["it has no key", view({ "sec-websocket-key": null }), KEY_PROBLEM],
    ["its key has stray bits", view({ "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZR==" }), KEY_PROBLEM],
    [
      "it offers what is no token",
      view({ "sec-websocket-protocol": "chat, a b" }),
      bad("The field Sec-WebSocket-Protocol has a name that is not a token."),
    ],
  ] as const
) {
  Deno.test(`verifyRequest() returns ${problem?.cause ?? "nothing"}, when ${what}`, () => {
    assertEquals(verifyRequest(request), problem);
  });
}

Deno.test("asksForUpgrade() looks for the token, not for the text, when the field has several", () => {
  const values = ["h2c, WebSocket", "websocket/13", "websockets", null];
  assertEquals(values.map((upgrade) => asksForUpgrade(view({ upgrade }))), [true, false, false, false]);
});

Deno.test("offeredProtocols() leaves out empty names, when the list has stray commas", () => {
  assertEquals(offeredProtocols(view({ "sec-websocket-protocol": ",chat ,\t, v2" })), ["chat", "v2"]);
});

Deno.test("selectProtocol() selects the server's best, the client's first, or none", () => {
  assertEquals(selectProtocol(["a", "b"]), "a");
  assertEquals(selectProtocol(["a", "b"], ["c", "b", "a"]), "b");
  assertEquals([selectProtocol([]), selectProtocol(["a"], ["b"])], ["", ""]);
});

for (const protocol of ["", "chat"]) {
  Deno.test(`responseFields() satisfies the client's half, when the subprotocol is "${protocol}"`, () => {
    const fields = responseFields(KEY, protocol);
    const expected = { acceptKey: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", protocols: protocol === "" ? [] : [protocol] };
    assertEquals(verifyResponse({ startLine: SWITCHING, fields }, expected), { status: 101, protocol, problems: [] });
  });
}

for (
  const [what, room, protocol, extensions] of [
    ["there is room", 1024, "chat", "permessage-deflate"],
    ["there is no subprotocol", 1024, "", ""],
    ["there is too little room", 16, "chat", ""],
    ["the subprotocol is not of ASCII", 1024, "ch\u00e4t", ""],
  ] as const
) {
  Deno.test(`writeSwitching() writes what encodeHead() does, when ${what}`, () => {
    const expected = encodeHead(SWITCHING, responseFields(KEY, protocol, extensions));
    assertEquals(writeSwitching(new Uint8Array(room), KEY, protocol, extensions), expected);
  });
}

Deno.test("writeSwitching() throws, when the subprotocol is more than one line", () => {
  assertThrows(() => writeSwitching(new Uint8Array(1024), KEY, "a\r\nb"), RangeError);
});
