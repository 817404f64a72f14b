/** The opening handshake: heads in, fields out; requests and the faults of responses. */

import { assert, assertEquals, assertFalse, assertMatch, assertThrows } from "@std/assert";
import {
  acceptKeyFor,
  createKey,
  encodeRequest,
  type UpgradeRequest,
  verifyResponse,
} from "../../lib/protocol/handshake.ts";
import { isHost } from "../../lib/protocol/authority.ts";
import { HeadReader } from "../../lib/protocol/http.ts";
import { listOf, trimBlanks } from "../../lib/protocol/http_lines.ts";

const bytes = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));

// The key and its answer in RFC 6455 section 1.3.
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

for (
  const [fields, list] of [
    [[], []],
    [["a, b"], ["a", "b"]],
    [["a,b ,\tc\t"], ["a", "b", "c"]],
    [["a", "b, c"], ["a", "b", "c"]],
    [["", "a", " ", ",", " , ,b,"], ["a", "b"]],
    [["a b"], ["a b"]],
    [["a\u00a0, \u000bb"], ["a\u00a0", "\u000bb"]],
  ] as const
) {
  Deno.test(`listOf() is ${JSON.stringify(list)}, when the lines are ${JSON.stringify(fields)}`, () => {
    const lines = fields.map((value) => ["x-LIST", value] as const);
    const head = { startLine: "", fields: [["Other", "z"] as const, ...lines, ["x-list-2", "y"] as const] };
    for (const name of ["x-list", "X-List", "X-LIST"]) assertEquals(listOf(head, name), [...list]);
  });
}

Deno.test("createKey() makes 24 characters of 16 random bytes, another each time", () => {
  const keys = Array.from({ length: 100 }, createKey);
  for (const key of keys) assertEquals([key.length, Uint8Array.fromBase64(key).byteLength], [24, 16]);
  assertEquals(new Set(keys).size, 100);
});

Deno.test("acceptKeyFor() is the answer of RFC 6455 section 1.3, when the key is its example", () => {
  assertEquals(acceptKeyFor(KEY), ACCEPT);
});

Deno.test("acceptKeyFor() is 28 characters that match only their key", () => {
  const answers = Array.from({ length: 10 }, () => acceptKeyFor(createKey()));
  for (const answer of answers) assertMatch(answer, /^[A-Za-z0-9+/]{27}=$/);
  assertEquals(new Set(answers).size, 10);
});

/** The lines of a request. */
function linesOf(url: string, request: Partial<UpgradeRequest> = {}): string[] {
  const text = encodeRequest({ url: new URL(url), key: KEY, ...request });
  assert(text.endsWith("\r\n\r\n"));
  return text.slice(0, -4).split("\r\n");
}

Deno.test("encodeRequest() writes every field of RFC 6455 section 4.1, when only a URL and a key are given", () => {
  assertEquals(linesOf("ws://example.com/chat?x=1&y=%20#part"), [
    "GET /chat?x=1&y=%20 HTTP/1.1",
    "Host: example.com",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${KEY}`,
  ]);
});

for (
  const [url, target, host] of [
    ["ws://example.com", "/", "example.com"],
    ["ws://example.com:80/", "/", "example.com"],
    ["ws://example.com:443/", "/", "example.com:443"],
    ["wss://example.com:443/", "/", "example.com"],
    ["wss://example.com:8443/a", "/a", "example.com:8443"],
    ["ws://127.0.0.1:6455/", "/", "127.0.0.1:6455"],
    ["ws://[::1]/", "/", "[::1]"],
    ["ws://[2001:DB8::0:1]:6455/x", "/x", "[2001:db8::1]:6455"],
    ['ws://bücher.example/é ?ü="<', "/%C3%A9%20?%C3%BC=%22%3C", "xn--bcher-kva.example"],
    ["ws://example.com?", "/", "example.com"],
    ["ws://example.com/a\r\nX: y", "/aX:%20y", "example.com"],
  ] as const
) {
  Deno.test(`encodeRequest() asks ${host} for ${target}, when the URL is ${JSON.stringify(url)}`, () => {
    assertEquals(linesOf(url).slice(0, 2), [`GET ${target} HTTP/1.1`, `Host: ${host}`]);
  });
}

Deno.test("encodeRequest() offers the subprotocols in one field, in their order", () => {
  const lines = linesOf("ws://a/", { protocols: ["soap", "chat.v2"] });
  assertEquals(lines.filter((line) => line.startsWith("Sec-WebSocket-Protocol")), [
    "Sec-WebSocket-Protocol: soap, chat.v2",
  ]);
});

for (const protocols of [[""], ["a b"], ["a,b"], ["é"], ["a", "b", "a"], ["a\r\nX-Evil: 1"], ["a\nb"], ['"a"']]) {
  Deno.test(`encodeRequest() throws a RangeError, when the subprotocols are ${JSON.stringify(protocols)}`, () => {
    const url = new URL("ws://a/");
    const message = "each must be a token, and appear once";
    assertThrows(() => encodeRequest({ url, key: KEY, protocols }), RangeError, message);
  });
}

for (const key of ["", "short", `${KEY}\r\nX: y`, KEY.slice(0, -1), `${KEY}\n`, "dGhlIHNhbXBsZSBub25jZR=="]) {
  Deno.test(`encodeRequest() throws a RangeError, when the key is ${JSON.stringify(key)}`, () => {
    const url = new URL("ws://a/");
    assertThrows(() => encodeRequest({ url, key }), RangeError, "it must be 16 bytes in Base64");
  });
}

Deno.test("encodeRequest() accepts each of 1000 keys of createKey()", () => {
  for (let count = 0; count < 1000; count++) encodeRequest({ url: new URL("ws://a/"), key: createKey() });
});

const utf8Base64 = (text: string) => new TextEncoder().encode(text).toBase64();
for (
  const [credentials, base64] of [
    ["me:secret", utf8Base64("me:secret")],
    ["me", utf8Base64("me:")],
    [":secret", utf8Base64(":secret")],
    ["a%40b:c%3Ad%2F%25", utf8Base64("a@b:c:d/%")],
    ["jürgen:€😀", utf8Base64("jürgen:€😀")],
    ["100%:5%2", utf8Base64("100%:5%2")],
    ["%ff:%00", Uint8Array.of(0xff, 0x3a, 0).toBase64()],
    ["a:b\r\nX: y", utf8Base64("a:bX: y")],
  ] as const
) {
  Deno.test(`encodeRequest() sends Basic authentication, when the URL has ${JSON.stringify(credentials)}`, () => {
    const lines = linesOf(`ws://${credentials}@example.com/`);
    assertEquals(lines[1], "Host: example.com");
    assertEquals(lines.slice(6), [`Authorization: Basic ${base64}`]);
  });
}

Deno.test("encodeRequest() sends no authentication, when the URL has empty credentials", () => {
  assertEquals(linesOf("ws://:@example.com/").length, 6);
});

Deno.test("encodeRequest() sends the field Authorization instead, when one is given", () => {
  const lines = linesOf("ws://me:secret@example.com/", { headers: new Headers({ authorization: "Bearer 1" }) });
  assertEquals(lines.slice(6), ["authorization: Bearer 1"]);
});

Deno.test("encodeRequest() adds fields, when some are given", () => {
  const headers = new Headers([["Origin", "https://example.com"], ["Cookie", "a=b"], ["X-One", "1"], ["X-One", "2"]]);
  assertEquals(linesOf("ws://a/", { headers }).slice(6).sort(), [
    "cookie: a=b",
    "origin: https://example.com",
    "x-one: 1, 2",
  ]);
});

Deno.test("encodeRequest() sends the field Host once and as given, when one is given", () => {
  const lines = linesOf("ws://127.0.0.1:6455/", { headers: new Headers({ host: "example.com:1" }) });
  assertEquals(lines.filter((line) => /^host:/i.test(line)), ["Host: example.com:1"]);
});

for (
  const name of [
    "Upgrade",
    "Connection",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Accept",
  ]
) {
  Deno.test(`encodeRequest() does not replace its own fields, when ${name} is given`, () => {
    assertEquals(linesOf("ws://a/", { headers: new Headers([[name, "other"]]) }), linesOf("ws://a/"));
  });
}

Deno.test("encodeRequest() writes one byte per character, when a field is not ASCII", () => {
  const text = encodeRequest({ url: new URL("ws://é:ü@ö/ä"), key: KEY, headers: new Headers({ "x-name": "é" }) });
  assert(text.includes("x-name: é\r\n"));
  assert([...text].every((character) => character.charCodeAt(0) < 256));
});

Deno.test("encodeRequest() is read back by HeadReader(), when everything is given", () => {
  const headers = new Headers({ origin: "null", "x-a": "b" });
  const url = new URL("ws://me:secret@example.com:6455/a?b");
  const text = encodeRequest({ url, key: KEY, protocols: ["chat"], headers });
  const { head } = new HeadReader("request").push(bytes(text)) ?? {};
  assert(head !== undefined);
  assertEquals([head.startLine, head.fields.length], ["GET /a?b HTTP/1.1", 9]);
  assertEquals(listOf(head, "sec-websocket-key"), [KEY]);
});

/** A correct response to {@linkcode KEY}, with some lines replaced or added; null removes a line. */
function responseOf(
  lines: Record<string, readonly string[] | null> = {},
  startLine = "HTTP/1.1 101 Switching Protocols",
) {
  const all: Record<string, readonly string[] | null> = {
    Upgrade: ["websocket"],
    Connection: ["Upgrade"],
    "Sec-WebSocket-Accept": [ACCEPT],
    ...lines,
  };
  const fields = Object.entries(all).flatMap(([name, values]) =>
    (values ?? []).map((value) => [name, trimBlanks(value)] as const)
  );
  return { startLine, fields };
}

const verify = (head: ReturnType<typeof responseOf>, protocols: readonly string[] = []) =>
  verifyResponse(head, { acceptKey: ACCEPT, protocols });

const GOOD: readonly (readonly [what: string, lines: Record<string, readonly string[] | null>])[] = [
  ["all is as in RFC 6455 section 1.3", {}],
  ["Upgrade is in capitals", { Upgrade: ["WebSocket"] }],
  ["Upgrade has spaces around it", { Upgrade: [" \twebsocket\t "] }],
  ["Connection is in capitals", { Connection: ["UPGRADE"] }],
  ["Connection is one of a list", { Connection: ["keep-alive, Upgrade"] }],
  ["Connection is in two lines", { Connection: ["keep-alive", "upgrade"] }],
  ["Sec-WebSocket-Accept has spaces around it", { "Sec-WebSocket-Accept": [`  ${ACCEPT} `] }],
  ["the names are in small letters", {
    Upgrade: null,
    Connection: null,
    "Sec-WebSocket-Accept": null,
    upgrade: ["websocket"],
    connection: ["upgrade"],
    "sec-websocket-accept": [ACCEPT],
  }],
  ["there are other fields", { Server: ["x"], Date: ["y"], "Set-Cookie": ["a=b", "c=d"] }],
  ["Sec-WebSocket-Protocol is empty", { "Sec-WebSocket-Protocol": [""] }],
  ["Sec-WebSocket-Extensions is empty", { "Sec-WebSocket-Extensions": [""] }],
];
for (const [what, lines] of GOOD) {
  Deno.test(`verifyResponse() finds nothing wrong, when ${what}`, () => {
    assertEquals(verify(responseOf(lines)), { status: 101, protocol: "", problems: [] });
  });
}

const UPGRADE = 'the field Upgrade is not "websocket"';
const CONNECTION = 'the field Connection does not have "Upgrade"';
const NO_FIT = "the field Sec-WebSocket-Accept does not match the key that was sent";
const TWICE = "the field Sec-WebSocket-Accept appears more than once";
const WRONG: readonly (readonly [what: string, lines: Record<string, readonly string[] | null>, problem: string])[] = [
  ["Upgrade is missing", { Upgrade: null }, UPGRADE],
  ["Upgrade is empty", { Upgrade: [""] }, UPGRADE],
  ["Upgrade is another protocol", { Upgrade: ["h2c"] }, UPGRADE],
  ["Upgrade has another protocol as well", { Upgrade: ["h2c, websocket"] }, UPGRADE],
  ["Upgrade has another protocol in another line", { Upgrade: ["websocket", "h2c"] }, UPGRADE],
  ["Upgrade only begins right", { Upgrade: ["websocket2"] }, UPGRADE],
  ["Upgrade has a no-break space behind it", { Upgrade: ["websocket\u00a0"] }, UPGRADE],
  ["Connection is missing", { Connection: null }, CONNECTION],
  ["Connection is something else", { Connection: ["keep-alive"] }, CONNECTION],
  ["Connection only begins right", { Connection: ["upgraded"] }, CONNECTION],
  ["Sec-WebSocket-Accept is missing", { "Sec-WebSocket-Accept": null }, "the field Sec-WebSocket-Accept is missing"],
  ["Sec-WebSocket-Accept is empty", { "Sec-WebSocket-Accept": [""] }, NO_FIT],
  ["Sec-WebSocket-Accept is for another key", { "Sec-WebSocket-Accept": [ACCEPT.replace("s3", "s4")] }, NO_FIT],
  ["Sec-WebSocket-Accept is in capitals", { "Sec-WebSocket-Accept": [ACCEPT.toUpperCase()] }, NO_FIT],
  ["Sec-WebSocket-Accept has more behind it", { "Sec-WebSocket-Accept": [`${ACCEPT}, x`] }, NO_FIT],
  ["Sec-WebSocket-Accept is there twice", { "Sec-WebSocket-Accept": [ACCEPT, ACCEPT] }, TWICE],
  ["Sec-WebSocket-Accept is there twice, once empty", { "Sec-WebSocket-Accept": ["", ACCEPT] }, TWICE],
  [
    "an extension is selected",
    { "Sec-WebSocket-Extensions": ["permessage-deflate; client_max_window_bits=10"] },
    'the extension "permessage-deflate; client_max_window_bits=10" was not requested',
  ],
  [
    "an extension is selected in a second line",
    { "Sec-WebSocket-Extensions": ["", "x"] },
    'the extension "x" was not requested',
  ],
  [
    "an extension steers the terminal",
    { "Sec-WebSocket-Extensions": ["\u009b31m"] },
    'the extension "\\u009b31m" was not requested',
  ],
  ["a subprotocol is selected", { "Sec-WebSocket-Protocol": ["chat"] }, 'the subprotocol "chat" was not offered'],
];
for (const [what, lines, problem] of WRONG) {
  Deno.test(`verifyResponse() says ${problem}, when ${what}`, () => {
    const { status, problems } = verify(responseOf(lines));
    assertEquals([status, ...problems], [101, problem]);
  });
}

Deno.test("verifyResponse() names every problem in the order of RFC 6455 section 4.1, when everything is wrong", () => {
  const lines = {
    Upgrade: null,
    Connection: null,
    "Sec-WebSocket-Accept": null,
    "Sec-WebSocket-Extensions": ["x"],
    "Sec-WebSocket-Protocol": ["chat"],
  };
  assertEquals(verify(responseOf(lines, "HTTP/1.0 101 x")).problems, [
    "HTTP/1.0 instead of HTTP/1.1",
    UPGRADE,
    CONNECTION,
    "the field Sec-WebSocket-Accept is missing",
    'the extension "x" was not requested',
    'the subprotocol "chat" was not offered',
  ]);
});

for (
  const [startLine, status, problems] of [
    ["HTTP/1.1 101", 101, []],
    ["HTTP/1.1 101 ", 101, []],
    ["HTTP/1.1 101 Any reason", 101, []],
    ["HTTP/1.1 200 OK", 200, ["status 200 instead of 101"]],
    ["HTTP/1.1 301 Moved", 301, ["status 301 instead of 101"]],
    ["HTTP/1.1 100 Continue", 100, ["status 100 instead of 101"]],
    ["HTTP/1.0 101 x", 101, ["HTTP/1.0 instead of HTTP/1.1"]],
    ["HTTP/2.0 101 x", 101, ["HTTP/2.0 instead of HTTP/1.1"]],
    ["HTTP/1.1 1010 x", 0, ["the first line is not the status line of an HTTP response"]],
    ["HTTP/1.1 10", 0, ["the first line is not the status line of an HTTP response"]],
    ["HTTP/1.1  101 x", 0, ["the first line is not the status line of an HTTP response"]],
    ["http/1.1 101 x", 0, ["the first line is not the status line of an HTTP response"]],
    [" HTTP/1.1 101 x", 0, ["the first line is not the status line of an HTTP response"]],
    ["SSH-2.0-OpenSSH", 0, ["the first line is not the status line of an HTTP response"]],
    ["", 0, ["the first line is not the status line of an HTTP response"]],
  ] as const
) {
  Deno.test(`verifyResponse() returns the status ${status}, when the first line is ${JSON.stringify(startLine)}`, () => {
    assertEquals(verify(responseOf({}, startLine)), { status, protocol: "", problems: [...problems] });
  });
}

for (
  const [selected, protocol, problems] of [
    [["chat"], "chat", []],
    [["soap"], "soap", []],
    [[" soap "], "soap", []],
    [null, "", ['none of the offered subprotocols is selected: "chat", "soap"']],
    [[""], "", ['none of the offered subprotocols is selected: "chat", "soap"']],
    [["", ""], "", ['none of the offered subprotocols is selected: "chat", "soap"']],
    [["", "chat"], "", ["more than one subprotocol is selected"]],
    [["CHAT"], "CHAT", ['the subprotocol "CHAT" was not offered: "chat", "soap"']],
    [["other"], "other", ['the subprotocol "other" was not offered: "chat", "soap"']],
    [["chat, soap"], "chat", ["more than one subprotocol is selected"]],
    [["chat", "chat"], "chat", ["more than one subprotocol is selected"]],
    [["chat", ""], "chat", ["more than one subprotocol is selected"]],
  ] as const
) {
  Deno.test(`verifyResponse() returns the subprotocol "${protocol}", when ${JSON.stringify(selected)} is selected`, () => {
    const head = responseOf({ "Sec-WebSocket-Protocol": selected });
    assertEquals(verify(head, ["chat", "soap"]), { status: 101, protocol, problems: [...problems] });
  });
}

Deno.test("isHost() accepts names, addresses and ports, and nothing else", () => {
  const hosts = [
    ..."a example.org example.org. a_b xn--nxasmq6b a:0 a:80 a:65535 a: 127.0.0.1:1 %41.example a!$&'()*+,;=~-".split(
      " ",
    ),
    ..."[::1] [::1]:80 [2001:db8::1] [::ffff:127.0.0.1]:65535 [::]".split(" "),
  ];
  for (const host of hosts) assert(isHost(host), host);
  const others = [
    ..."[::1 ::1 [::1]x [::1]] [1] [] [v1.a] [::1%25eth0] [g::] a:99999 a:65536 a:-1 a:+1 a:0x50 a:1:2 a:b :80".split(
      " ",
    ),
    ...'<script> a/b a?b a#b a@b a\\b a%zz a%00 a%2fb "a" a|b a^b {a} é 1.2.3.256'.split(" "),
    ...["", " ", "a b", "a ", "a\t", "a, b", "a:000080"],
  ];
  for (const host of others) assertFalse(isHost(host), host);
});
