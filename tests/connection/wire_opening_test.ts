/** The opening handshake over wire: answers without an upgrade, proxies, TLS. */

import { createServer } from "node:net";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { OpenError, OptionError } from "../../lib/connection/connection.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { rawPeer } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
/** The peer's answer, and its fault. */
const REFUSALS: readonly [string, string, RegExp, number][] = [
  [
    "another accept key",
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
    /Sec-WebSocket-Accept does not match/,
    101,
  ],
  [
    "no accept key",
    "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    /Sec-WebSocket-Accept is missing/,
    101,
  ],
  [
    "another status",
    "HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nnope",
    /status 403 \(Forbidden\) instead of 101/,
    403,
  ],
  [
    "a line that is not a field",
    "HTTP/1.1 101 S\r\nA: b\r\nno field\r\n\r\n",
    /line 3 is not a header field: "no field"/,
    101,
  ],
  [
    "a line that is no field in a refusal",
    "HTTP/1.1 403 Forbidden\r\nno field\r\n\r\n",
    /status 403 \(Forbidden\) instead of 101; line 2 is not a header field: "no field"/,
    403,
  ],
  ["no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", /it is not HTTP/, 0],
  ["a head without end", `HTTP/1.1 101 S\r\n${"X: y\r\n".repeat(12_000)}`, /head is longer than 65536 bytes/, 101],
  [
    "a refusal whose head has no end",
    `HTTP/1.1 403 Forbidden\r\n${"X: y\r\n".repeat(12_000)}`,
    /status 403 \(Forbidden\) instead of 101; head is longer than 65536 bytes/,
    403,
  ],
  [
    "interim responses without end",
    "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(17),
    /Answer is not a valid upgrade: more than 16 interim responses come before the answer/,
    103,
  ],
  [
    "a refusal behind an interim response",
    "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    /status 403 \(Forbidden\) instead of 101$/,
    403,
  ],
];

for (const [what, answer, problem, status] of REFUSALS) {
  Deno.test(`openWire() rejects an answer with ${what}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      await socket.write(answer);
      await socket.untilGone();
    });
    const error = await assertRejects(() => openWire(peer.url), OpenError);
    assertMatch(error.message, problem);
    assertEquals([error.failure, error.stage, error.refusal?.status], ["handshake-refused", "upgrade", status]);
  });
}

Deno.test("openWire() returns status, fields and the beginning of the body of a refusal", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 4\r\n\r\nnope");
    await socket.untilGone();
  });
  const { refusal } = await assertRejects(() => openWire(peer.url), OpenError);
  assertEquals(refusal, {
    from: "server",
    status: 403,
    problems: ["status 403 instead of 101"],
    fields: [["X-Why", "because"], ["Content-Length", "4"]],
    body: "nope",
  });
});

Deno.test("openWire() distinguishes a silent server from no server", async () => {
  await using peer = rawPeer((socket) => socket.untilGone());
  const silent = await assertRejects(
    () => openWire(peer.url, { connectTimeoutMs: 1000 }),
    OpenError,
    `Connected to 127.0.0.1:${peer.port}, but no answer`,
  );
  assertEquals([silent.failure, silent.stage, silent.reason], ["no-connection", "upgrade", "silent"]);
  const none = await assertRejects(() => openWire("ws://127.0.0.1:1/"), OpenError, "No connection to 127.0.0.1:1: ");
  assertEquals([none.failure, none.stage], ["no-connection", "connect"]);
});

Deno.test("openWire() rejects with connection-lost when the connection ends before the answer", async () => {
  await using peer = rawPeer(async (socket) => void await socket.readHead());
  const error = await assertRejects(() => openWire(peer.url), OpenError, "before the handshake was answered");
  assertEquals([error.failure, error.stage], ["connection-lost", "upgrade"]);
});

Deno.test("openWire() reconnects for the alert of a server that resets the TLS handshake", async () => {
  let asked = 0;
  const server = createServer((socket) => {
    const isFirst = asked++ === 0;
    // A fatal alert: bad_certificate (RFC 5246 section 7.2.2).
    socket.once("data", () => isFirst ? socket.resetAndDestroy() : socket.end(Uint8Array.of(0x15, 3, 3, 0, 2, 2, 42)));
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert(address !== null && typeof address === "object");
  const error = await assertRejects(() => openWire(`wss://127.0.0.1:${address.port}/`), OpenError);
  assertEquals([error.failure, error.reason, asked], ["no-connection", "client-certificate-wanted", 2], error.detail);
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("openWire() blames the proxy for the proxy's faults", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("SSH-2.0-OpenSSH_9.2\r\n");
    await socket.untilGone();
  });
  const proxy = `http://127.0.0.1:${peer.port}`;
  const error = await assertRejects(
    () => openWire("ws://server.test/", { proxy }),
    OpenError,
    `Proxy ${proxy} opened no tunnel: it is not HTTP`,
  );
  assertEquals([error.failure, error.stage, error.refusal?.from], ["no-connection", "connect", "proxy"]);
});

Deno.test("openWire() says that a server speaks TLS", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write(Uint8Array.of(21, 3, 1, 0, 2, 2, 10));
    await socket.untilGone();
  });
  await assertRejects(() => openWire(peer.url), OpenError, "it is TLS, not HTTP: try wss://");
});

Deno.test("openWire() asks an HTTP proxy for a tunnel, with the credentials of its URL", async () => {
  const heads: string[] = [];
  await using peer = rawPeer(async (socket) => {
    heads.push(await socket.readHead());
    await socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    heads.push(await socket.upgrade());
    await socket.echoOne();
    await socket.answerClose();
  });
  const connection = await openWire("ws://server.test/x", { proxy: `http://user:secret@127.0.0.1:${peer.port}` });
  await connection.send("through");
  assertEquals(await connection.receive(WAIT), "through");
  await connection.close(WAIT);
  assertMatch(
    heads[0] ?? "",
    /^CONNECT server\.test:80 HTTP\/1\.1\r\nHost: server\.test:80\r\nProxy-Authorization: Basic /,
  );
  assertMatch(heads[1] ?? "", /^GET \/x HTTP\/1\.1\r\nHost: server\.test\r\n/);
});

Deno.test("openWire() sends credentials of any characters to a proxy", async () => {
  const sent = Promise.withResolvers<string>();
  await using peer = rawPeer(async (socket) => {
    sent.resolve(/Proxy-Authorization: Basic (\S+)/.exec(await socket.readHead())?.[1] ?? "");
    await socket.write("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
  });
  const proxy = `http://us%E2%82%ACer:100%@127.0.0.1:${peer.port}`;
  await assertRejects(() => openWire("ws://server.test/", { proxy }), OpenError);
  assertEquals(new TextDecoder().decode(Uint8Array.fromBase64(await sent.promise)), "us€er:100%");
});

Deno.test("openWire() sends header values as bytes, and refuses a subprotocol that is not a token", async () => {
  const value = Promise.withResolvers<string>();
  await using peer = rawPeer(async (socket) => {
    value.resolve(/x-name: (.*)/i.exec(await socket.upgrade())?.[1] ?? "");
    await socket.answerClose();
  });
  const connection = await openWire(peer.url, { headers: new Headers({ "X-Name": "caf\u00e9" }) });
  await connection.close(WAIT);
  // One byte of invalid UTF-8: the raw peer shows U+FFFD.
  assertEquals(await value.promise, "caf\ufffd");
  await assertRejects(() => openWire(peer.url, { protocols: ["a b"] }), OptionError, "Cannot ask for the upgrade");
});

Deno.test("openWire() says what a proxy answered instead of a tunnel, and which proxies it accepts", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
  });
  const url = "ws://server.test/";
  const error = await assertRejects(() => openWire(url, { proxy: `http://127.0.0.1:${peer.port}` }), OpenError, "407");
  assertEquals([error.failure, error.status], ["no-connection", 407]);
  await assertRejects(() => openWire(url, { proxy: "socks5://127.0.0.1:1" }), OptionError, "over wire");
});

Deno.test("openWire() distinguishes an unselected subprotocol from another fault of the answer", async () => {
  for (const [fields, reason] of [[[], "subprotocol"], [["Connection: close"], "other"]] as const) {
    await using peer = rawPeer(async (socket) => void await socket.upgrade(...fields));
    const error = await assertRejects(() => openWire(peer.url, { protocols: ["chat"] }), OpenError);
    assertEquals([error.failure, error.reason], ["handshake-refused", reason]);
  }
});
