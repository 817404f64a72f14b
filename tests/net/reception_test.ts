/** A wire server's reaction to request heads, over raw bytes: answers, limits and log. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { WireServer } from "../../lib/net/wire_server.ts";
import { MAX_HEAD_BYTES } from "../../lib/protocol/http.ts";
import { echoing } from "../../lib/server/echo_handler.ts";
import type { EchoEvent, EchoRefused } from "../../lib/server/policy.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { createAuthority } from "../support/certificates.ts";
import { connectRaw, RawSocket, requestHead } from "../support/raw_peer.ts";
import { wireScene } from "../support/wire.ts";

const WAIT = { timeoutMs: 60_000 };
const utf8 = (text: string) => new TextEncoder().encode(text);

/** Waits until the server has ended TCP. */
async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}

/** Sends bytes instead of a head, and reads the whole answer. */
async function answerTo(bytes: string | Uint8Array): Promise<string> {
  const server = serveEcho({ transport: "wire", port: 0 });
  const { hostname, port } = new URL(server.url);
  const conn = await Deno.connect({ hostname, port: Number(port) });
  const text = new Response(conn.readable).text();
  const writer = conn.writable.getWriter();
  await writer.write(typeof bytes === "string" ? utf8(bytes) : bytes).catch(() => {});
  const answer = await within(text, "answer", WAIT);
  await writer.close().catch(() => {});
  await server.shutdown();
  return answer;
}

for (
  const [what, bytes, status] of [
    ["bytes that are no head", Uint8Array.of(0x16, 3, 1, 0, 13, 10, 13, 10), "400 Bad Request"],
    ["a line that is not a field", "GET / HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n", "400 Bad Request"],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400 Bad Request"],
    ["a target that is not a path", requestHead({}, "GET x HTTP/1.1"), "400 Bad Request"],
    ["no host", requestHead({ Host: undefined }), "400 Bad Request"],
    ["a host that is none", requestHead({ Host: "a b" }), "400 Bad Request"],
    ["a method in small letters", requestHead({}, "get / HTTP/1.1"), "400 Bad Request"],
    ["a method that a request may not have", requestHead({}, "CONNECT / HTTP/1.1"), "400 Bad Request"],
    [
      "a head over 64 KiB",
      requestHead({ "X-Long": "x".repeat(MAX_HEAD_BYTES) }),
      "431 Request Header Fields Too Large",
    ],
    ["an absolute URL", requestHead({ Upgrade: undefined }, "GET http://127.0.0.1/b HTTP/1.1"), "426 Upgrade Required"],
  ] as const
) {
  Deno.test(`wire server answers ${what} with ${status}, and ends the connection`, async () => {
    const answer = await answerTo(bytes);
    assertEquals(answer.split("\r\n")[0], `HTTP/1.1 ${status}`);
    assertMatch(answer, /\r\nconnection: (Upgrade, )?close\r\n/);
    const [head = "", body = ""] = answer.split("\r\n\r\n");
    assertEquals(Number(/\r\ncontent-length: (\d+)/.exec(head)?.[1]), body.length);
  });
}

Deno.test("wire server answers HEAD without a body", async () => {
  const answer = await answerTo(requestHead({ Upgrade: undefined }, "HEAD / HTTP/1.1"));
  assertMatch(answer, /^HTTP\/1\.1 426 Upgrade Required\r\n.*content-length: [1-9]\d*\r\n.*\r\n\r\n$/s);
});

Deno.test("wire server accepts a head of exactly 64 KiB", async () => {
  const rest = MAX_HEAD_BYTES - requestHead({ "X-Long": "" }).length;
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = await connectRaw(server.url);
  await socket.write(requestHead({ "X-Long": "x".repeat(rest) }));
  assertMatch(await within(socket.readHead(), "upgrade", WAIT), /^HTTP\/1\.1 101 /);
  socket.close();
  await server.shutdown();
});

Deno.test("wire server forgets a peer that leaves in the middle of its head", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = await connectRaw(server.url);
  await socket.write("GET / HTTP/1.1\r\nHost");
  socket.close();
  const other = await connectRaw(server.url);
  await other.write(requestHead());
  assertMatch(await within(other.readHead(), "upgrade", WAIT), / 101 /);
  other.close();
  await server.shutdown();
});

Deno.test("WireServer drops a peer whose head does not come in time", async () => {
  const handler = { decide: () => "", follow: () => ({ onOpen() {}, onEnd() {} }) };
  const options = { hostname: "127.0.0.1", port: 0, headTimeoutMs: 50 };
  const server = new WireServer(options, echoing({ maxMessageBytes: 1, idleTimeoutMs: 0 }, handler));
  const socket = await connectRaw(`ws://127.0.0.1:${server.port}/`);
  await socket.write("GET / HTTP/1.1\r\nHost");
  await untilEnd(socket);
  socket.close();
  await server.stop();
});

for (
  const [what, bytes] of [
    ["a TLS handshake", Uint8Array.of(0x16, 3, 1, 0, 200, 1)],
    ["zeros", new Uint8Array(10)],
    ["an upgrade of HTTP/1.0", utf8(requestHead({}, "GET / HTTP/1.0"))],
  ] as const
) {
  Deno.test(`the server over wire answers 400 at once to ${what}`, async () => {
    const server = serveEcho({ transport: "wire", port: 0 });
    const socket = await connectRaw(server.url);
    await socket.write(bytes);
    assertMatch(await socket.readHead(), /^HTTP\/1\.1 400 Bad Request\r\n/);
    socket.close();
    await server.shutdown();
  });
}

/** Sends a head to a new server; returns the answer and the log's words. */
async function refusalOf(head: string): Promise<{ status: number; body: string; reason: string; cause: string }> {
  const refused = Promise.withResolvers<EchoRefused>();
  const onEvent = (event: EchoEvent) => event.type === "refused" && refused.resolve(event);
  const server = serveEcho({ transport: "wire", port: 0, onEvent });
  const socket = await connectRaw(server.url);
  // An immediate refusal comes before any deadline.
  await socket.write(Uint8Array.from(head, (char) => char.charCodeAt(0)));
  const { reason, cause, status } = await within(refused.promise, "event", WAIT);
  const [, body = ""] = new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT)).split("\r\n\r\n");
  socket.close();
  await server.shutdown();
  return { status, body, reason, cause };
}

const CRLF_WANTED = "lines of a request end with CR LF.";

for (
  const [what, head, reason] of [
    ["lines that end with LF", requestHead().replaceAll("\r\n", "\n"), `Line 1 ends with LF alone: ${CRLF_WANTED}`],
    [
      "one line that ends with LF",
      requestHead().replace("\r\nUpgrade", "\nUpgrade"),
      `Line 2 ends with LF alone: ${CRLF_WANTED}`,
    ],
    ["lines that end with CR", requestHead().replaceAll("\r\n", "\r"), `Line 1 has CR without LF: ${CRLF_WANTED}`],
    [
      "get",
      requestHead({}, "get / HTTP/1.1"),
      'Line 1 has the method "get", which is not GET: methods are case-sensitive.',
    ],
    ["HTTP/1.0", requestHead({}, "GET / HTTP/1.0"), "HTTP/1.0 has no upgrade: a WebSocket needs HTTP/1.1."],
    ["a line that is not a field", requestHead({ "X": "y\r\nsecret" }), "Line 8 is not a header field."],
    ["a folded field", requestHead({ "X": "y\r\n z" }), "Line 8 begins with a blank."],
    ["two fields Host", requestHead({ "host": "a" }), "Line 7 has a second field Host."],
    ["TLS", "\x16\x03\x01\x02\x00", "It is TLS, not HTTP."],
  ] as const
) {
  Deno.test(`the server over wire says at once what is wrong, to the peer and in the log, when a head has ${what}`, async () => {
    assertEquals(await refusalOf(head), { status: 400, cause: "bad-handshake", reason, body: `${reason}\n` });
  });
}

Deno.test("the server over wire says what is wrong as JSON, when the client accepts that, even if its head is unreadable", async () => {
  const { body, reason } = await refusalOf(requestHead({ Accept: "application/json", X: "y\r\nno field" }));
  assertEquals(JSON.parse(body), { status: 400, error: reason });
});

Deno.test("the server over wire names its limit, when a head is longer", async () => {
  assertEquals(await refusalOf(requestHead({ Cookie: "x".repeat(MAX_HEAD_BYTES) })), {
    status: 431,
    cause: "head-too-long",
    reason: "Head is longer than 65536 bytes.",
    body: "Head is longer than 65536 bytes.\n",
  });
});

for (
  const [what, head] of [
    ["an empty line before it", `\r\n${requestHead()}`],
    ["17 KiB of cookies", requestHead({ Cookie: "x".repeat(17 * 1024) })],
  ] as const
) {
  Deno.test(`the server over wire upgrades a request, when it has ${what}`, async () => {
    const server = serveEcho({ transport: "wire", port: 0 });
    const socket = await connectRaw(server.url);
    await socket.write(head);
    assertMatch(await within(socket.readHead(), "upgrade", WAIT), /^HTTP\/1\.1 101 /);
    socket.close();
    await server.shutdown();
  });
}

Deno.test("the server over wire ignores the field Upgrade, when HTTP/1.0 asks for a page", async () => {
  const head = requestHead({ Upgrade: "h2c", Connection: undefined }, "GET /healthz HTTP/1.0");
  assertMatch(await answerTo(head), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nok\n$/);
});

Deno.test("a wire server says over TLS too which line is wrong, when lines end with LF", async () => {
  const authority = await createAuthority();
  await using scene = wireScene(await authority.sign("wsproof test"));
  const { port } = scene.server;
  const conn = await Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [authority.cert] });
  const socket = new RawSocket(conn, { masks: true });
  await socket.write(requestHead().replaceAll("\r\n", "\n"));
  const answer = new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT));
  socket.close();
  assertMatch(answer, /^HTTP\/1\.1 400 [^]*\r\n\r\nLine 1 ends with LF alone: lines of a request end with CR LF\.\n$/);
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals(told.reason, `Line 1 ends with LF alone: ${CRLF_WANTED}`);
});
