/** The echo server's answers and its echo loop, over real sockets. */

import { connect } from "node:net";
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { EchoClosed, EchoEvent } from "../../lib/server/policy.ts";

import { serveEcho } from "../../lib/server/serve.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import type { TransportName } from "../../lib/connection/connection.ts";
import { BINARY, CLOSE, connectRaw, rawClient, requestHead, TEXT } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";
import { closeCodeOf } from "../support/close_code.ts";

const WAIT = { timeoutMs: 60_000 };
const TEXT_TYPE = { "cache-control": "no-store", "content-type": "text/plain; charset=utf-8" };
const UPGRADE = { "connection": "Upgrade", "sec-websocket-version": "13", "upgrade": "websocket" };

/** Sends a head and reads the answer: its status line and the fields beyond the transport's. */
async function answerTo(transport: TransportName, head: string): Promise<[string, Record<string, string>]> {
  const server = serveEcho({ transport, port: 0 });
  const socket = await connectRaw(server.url);
  await socket.write(head);
  const [status = "", ...lines] = (await socket.readHead()).split("\r\n");
  socket.close();
  await server.shutdown();
  // Over our own frames each connection takes one request, and announces that.
  const fields = lines.filter((line) => line !== "connection: close")
    .map((line) => line.replace(/^(connection: .*), close$/, "$1").split(": "))
    .map(([name = "", value = ""]) => [name.toLowerCase(), value]);
  return [
    status,
    Object.fromEntries(fields.filter(([name]) => !["date", "vary", "content-length"].includes(name ?? ""))),
  ];
}

for (
  const [what, head, status, fields] of [
    ["plain HTTP", requestHead({ Upgrade: undefined, Connection: undefined }), "426 Upgrade Required", UPGRADE],
    ["another protocol", requestHead({ Upgrade: "h2c" }), "426 Upgrade Required", UPGRADE],
    ["POST with an upgrade", requestHead({}, "POST / HTTP/1.1"), "405 Method Not Allowed", { allow: "GET" }],
    ["DELETE", requestHead({ Upgrade: undefined }, "DELETE / HTTP/1.1"), "405 Method Not Allowed", { allow: "GET" }],
    ["Connection without upgrade", requestHead({ Connection: "keep-alive" }), "400 Bad Request", {}],
    ["no Host", requestHead({ Host: undefined }), "400 Bad Request", {}],
    ["a Host that is none", requestHead({ Host: "[::" }), "400 Bad Request", {}],
    ["a subprotocol that is not a token", requestHead({ "Sec-WebSocket-Protocol": 'a b; "x"' }), "400 Bad Request", {}],
    ["no version", requestHead({ "Sec-WebSocket-Version": undefined }), "426 Upgrade Required", UPGRADE],
    ["version 8", requestHead({ "Sec-WebSocket-Version": "8" }), "426 Upgrade Required", UPGRADE],
    ["no key", requestHead({ "Sec-WebSocket-Key": undefined }), "400 Bad Request", {}],
    ["a key of 15 bytes", requestHead({ "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAA" }), "400 Bad Request", {}],
    [
      "a key that is not Base64",
      requestHead({ "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZR==" }),
      "400 Bad Request",
      {},
    ],
  ] as const
) {
  testBoth(`createEcho() answers ${status} to ${what}`, async (transport) => {
    assertEquals(await answerTo(transport, head), [`HTTP/1.1 ${status}`, { ...TEXT_TYPE, ...fields }]);
  });
}

testBoth("createEcho() answers with JSON to a client that prefers it", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const answer = await fetch(server.url.replace("ws:", "http:"), { headers: { accept: "application/json" } });
  assertEquals([answer.status, answer.headers.get("content-type")], [426, "application/json"]);
  assertEquals(await answer.json(), { status: 426, error: "This is a WebSocket echo server: ask for the upgrade." });
  await server.shutdown();
});

testBoth("createEcho() upgrades whatever the case of the tokens, on any path", async (transport) => {
  const head = requestHead(
    { Upgrade: "WebSocket", Connection: "keep-alive, uPGRADE" },
    "GET /WinHttpWebSocketSample/EchoWebSocket.ashx HTTP/1.1",
  );
  const [status, fields] = await answerTo(transport, head);
  assertEquals(status, "HTTP/1.1 101 Switching Protocols");
  assertEquals(fields["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
  assertEquals(fields["sec-websocket-protocol"], undefined);
});

testBoth("createEcho() selects the first subprotocol of the offer, also without spaces", async (transport) => {
  const [status, fields] = await answerTo(transport, requestHead({ "Sec-WebSocket-Protocol": "Chat,superchat" }));
  assertEquals([status, fields["sec-websocket-protocol"]], ["HTTP/1.1 101 Switching Protocols", "Chat"]);
});

testBoth("createEcho() still answers after a request that it refused", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const refused = await fetch(server.url.replace("ws:", "http:"), { method: "POST", body: "x" });
  await refused.body?.cancel();
  const connection = await openBuiltin(server.url);
  await connection.send("still here");
  assertEquals(await connection.receive(WAIT), "still here");
  await connection.close(WAIT);
  await server.shutdown();
});

testBoth("EchoConnection sends back the same kinds and bytes in the same order", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const connection = await openBuiltin(server.url);
  const sent = [
    "",
    "Hello world",
    Uint8Array.of(),
    Uint8Array.of(0, 255),
    "é€😀\ufeff",
    new Uint8Array(100_000).fill(7),
  ];
  for (const message of sent) await connection.send(message);
  const received = [];
  for (const _ of sent) received.push(await connection.receive(WAIT));
  assertEquals(received, sent);
  await connection.close(WAIT);
  await server.shutdown();
});

testBoth("EchoConnection counts messages and bytes of UTF-8, and reports the close frame", async (transport) => {
  const closed = Promise.withResolvers<EchoClosed>();
  const server = serveEcho({
    transport,
    port: 0,
    onEvent: (event) => event.type === "closed" && closed.resolve(event),
  });
  const connection = await openBuiltin(server.url);
  await connection.send("é€😀");
  await connection.send(new Uint8Array(1000));
  await connection.close({ code: 3000, reason: "done", ...WAIT });
  const { messages, bytes, received, sent, initiator, detail } = await closed.promise;
  assertEquals({ messages, bytes, received, sent, initiator, detail }, {
    messages: 2,
    bytes: 1009,
    received: { code: 3000, reason: "done" },
    sent: { code: 3000, reason: "done" },
    initiator: "peer",
    detail: "",
  });
  await server.shutdown();
});

testBoth(
  "EchoConnection takes a message of maxMessageBytes, and closes with 1009 for one byte more",
  async (transport) => {
    for (
      const [most, over] of [["é".repeat(4), `${"é".repeat(4)}x`], [new Uint8Array(8), new Uint8Array(9)]] as const
    ) {
      const closed = Promise.withResolvers<EchoClosed>();
      const onEvent = (event: EchoEvent) => event.type === "closed" && closed.resolve(event);
      const server = serveEcho({ transport, port: 0, maxMessageBytes: 8, onEvent });
      const connection = await openBuiltin(server.url);
      await connection.send(most);
      assertEquals(await connection.receive(WAIT), most);
      await connection.send(over);
      assertEquals((await connection.closed).received, { code: 1009, reason: "at most 8 bytes" });
      const { messages, sent } = await closed.promise;
      assertEquals([messages, sent?.code], [1, 1009]);
      await server.shutdown();
    }
  },
);

testBoth("EchoConnection accepts 16 MiB by default", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const connection = await openBuiltin(server.url);
  const most = new Uint8Array(16_777_216);
  await connection.send(most);
  const reply = await connection.receive(WAIT);
  assertEquals(reply.length, 16_777_216);
  await connection.send(new Uint8Array(16_777_217));
  assertEquals((await connection.closed).received?.code, 1009);
  await server.shutdown();
});

testBoth("EchoConnection closes with 1011 when a handler throws, and the server continues", async (transport) => {
  let isFirst = true;
  const onEvent = () => {
    if (!isFirst) return;
    isFirst = false;
    throw new Error("broken log");
  };
  const server = serveEcho({ transport, port: 0, onEvent });
  const broken = await openBuiltin(server.url);
  assertEquals((await broken.closed).received, { code: 1011, reason: "internal error" });
  const connection = await openBuiltin(server.url);
  await connection.send("still here");
  assertEquals(await connection.receive(WAIT), "still here");
  await connection.close(WAIT);
  await server.shutdown();
});

testBoth("EchoConnection reports a peer that vanishes, without a close frame", async (transport) => {
  const closed = Promise.withResolvers<EchoClosed>();
  const server = serveEcho({
    transport,
    port: 0,
    onEvent: (event) => event.type === "closed" && closed.resolve(event),
  });
  const socket = await rawClient(server.url);
  await socket.frame(BINARY, "x");
  assertEquals((await socket.readFrame()).opcode, BINARY);
  socket.close();
  const { received, detail, messages } = await closed.promise;
  assertEquals([received, messages], [null, 1]);
  assertMatch(detail, /EOF|reset/);
  await server.shutdown();
});

testBoth("EchoConnection answers an empty close frame, and reports 1005", async (transport) => {
  const closed = Promise.withResolvers<EchoClosed>();
  const server = serveEcho({
    transport,
    port: 0,
    onEvent: (event) => event.type === "closed" && closed.resolve(event),
  });
  const socket = await rawClient(server.url);
  await socket.frame(CLOSE);
  assertEquals((await socket.readFrame()).opcode, CLOSE);
  assertEquals((await closed.promise).received, { code: 1005, reason: "" });
  socket.close();
  await server.shutdown();
});

testBoth("shutdown() closes every connection with 1001 and refuses new ones", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const connections = await Promise.all([1, 2, 3].map(() => openBuiltin(server.url)));
  const held = await rawClient(server.url);
  const stopping = server.shutdown(WAIT);
  for (const { closed } of connections) {
    assertEquals((await closed).received, { code: 1001, reason: "server shutting down" });
  }
  const { opcode, payload } = await held.readFrame();
  assertEquals(opcode, CLOSE);
  // One peer has not answered yet: the server drains and accepts nobody else.
  const late = await fetch(server.url.replace("ws:", "http:"));
  assertEquals(late.status, 503);
  await late.body?.cancel();
  await held.frame(CLOSE, payload);
  assertEquals(await stopping, 0);
  held.close();
});

testBoth("shutdown() returns the number of peers that did not answer in time", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const socket = await rawClient(server.url);
  assertEquals(await server.shutdown({ timeoutMs: 100 }), 1);
  socket.close();
});

testBoth("serveEcho() says that the port is in use", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const port = Number(new URL(server.url).port);
  try {
    serveEcho({ transport, port });
    assert(false, "it listened twice");
  } catch (error) {
    assertEquals(
      String(error),
      `ListenError: Cannot listen on host "127.0.0.1", port ${port}: the port is in use; give another --port, or 0`,
    );
  }
  await server.shutdown();
});

testBoth("serveEcho() returns the URL of an IPv6 address in brackets", async (transport) => {
  const server = serveEcho({ transport, hostname: "::1", port: 0 });
  assertMatch(server.url, /^ws:\/\/\[::1\]:\d+\/$/);
  await server.shutdown();
});

testBoth("EchoConnection does not answer messages after its own close frame", async (transport) => {
  const server = serveEcho({ transport, port: 0, maxMessageBytes: 1 });
  const socket = await rawClient(server.url);
  await socket.frame(TEXT, "too long");
  await socket.frame(TEXT, "x");
  const { opcode, payload } = await socket.readFrame();
  assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1009]);
  await socket.frame(CLOSE, payload);
  socket.close();
  await server.shutdown();
});

Deno.test({
  name: "shutdown() does not wait for peers that left before their connection was open",
  // The runtime never completes the upgrade of a connection that is reset earlier.
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    const port = Number(new URL(server.url).port);
    await Promise.all(Array.from({ length: 100 }, async () => {
      const socket = connect(port, "127.0.0.1");
      await new Promise<void>((resolve) => socket.once("connect", () => socket.write(requestHead(), () => resolve())));
      socket.on("error", () => {});
      socket.resetAndDestroy();
    }));
    // A clean exchange afterwards shows that all were handled.
    const connection = await openBuiltin(server.url);
    await connection.close(WAIT);
    assertEquals(await server.shutdown(WAIT), 0);
  },
});

testBoth("shutdown() tells 1001 also to a peer that is sending", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const socket = await rawClient(server.url);
  await socket.frame(TEXT, "one");
  assertEquals((await socket.readFrame()).opcode, TEXT);
  const shutdown = server.shutdown(WAIT);
  // Like a peer that asks the next question as soon as the answer arrives.
  for (let count = 0; count < 3; count++) await socket.frame(TEXT, "two");
  assertEquals(await closeCodeOf(socket), 1001);
  await socket.frame(CLOSE, Uint8Array.of(0x03, 0xe9));
  assertEquals(await shutdown, 0);
  socket.close();
});

testBoth("EchoConnection tells 1009 and 1008 also to a peer that keeps sending", async (transport) => {
  for (
    const [options, payload, code] of [
      [{ maxMessageBytes: 4 }, "too long", 1009],
      [{ rate: { messagesPerSecond: 1, bytesPerSecond: Infinity } }, "fast", 1008],
    ] as const
  ) {
    const server = serveEcho({ transport, port: 0, ...options });
    const socket = await rawClient(server.url);
    for (let count = 0; count < 5; count++) await socket.frame(TEXT, payload);
    assertEquals(await closeCodeOf(socket), code);
    await socket.frame(CLOSE, Uint8Array.of(code >> 8, code & 255));
    socket.close();
    await server.shutdown();
  }
});
