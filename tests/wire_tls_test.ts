/** The server over our own frames behind TLS. */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { OPCODE } from "../lib/protocol/frame.ts";
import type { Connection } from "../lib/transport/connection.ts";
import { within } from "../lib/transport/deadline.ts";
import { contextOf, SecureConn } from "../lib/transport/tls.ts";
import { openWire } from "../lib/transport/wire.ts";
import { createAuthority } from "./support/certificates.ts";
import { connectRaw, RawSocket, requestHead } from "./support/raw_peer.ts";
import { frame, WAIT, type WireScene, wireScene } from "./support/wire.ts";

const authority = await createAuthority();
const certificate = await authority.sign("wsproof test");
const caCerts = [authority.cert];

function connect(scene: WireScene): Promise<Connection> {
  return openWire(scene.url.replace("ws:", "wss:"), { caCerts });
}

/** A peer whose TLS is the runtime's, and whose frames are written by hand. */
async function connectTls(scene: WireScene): Promise<RawSocket> {
  const conn = await Deno.connectTls({ hostname: "127.0.0.1", port: scene.server.port, caCerts });
  return new RawSocket(conn, { masks: true });
}

for (const size of [0, 20, 4096, 16_384, 40_960, 1024 * 1024]) {
  Deno.test(`WireServer echoes ${size} bytes over TLS, and closes cleanly`, async () => {
    await using scene = wireScene(certificate);
    const connection = await connect(scene);
    const bytes = new Uint8Array(size).map((_, index) => index);
    const text = "é".repeat(size / 2);
    await connection.send(bytes);
    assertEquals(await connection.receive(WAIT), bytes);
    await connection.send(text);
    assert(await connection.receive(WAIT) === text);
    const { received, tcp } = await connection.close({ ...WAIT, code: 4000, reason: "bye" });
    assertEquals([received, tcp], [{ code: 4000, reason: "bye" }, "peer"]);
    const [told] = await scene.untilTold(1);
    assert(told?.type === "end");
    assertEquals([told.end.received, told.end.error, told.end.messages], [{ code: 4000, reason: "bye" }, "", 2]);
  });
}

Deno.test("WireServer knows the URL of a request over TLS as https, and sends a page to its end", async () => {
  const page = "x".repeat(60_000);
  const urls: string[] = [];
  await using scene = wireScene(certificate, { decide: (request) => (urls.push(request.url), new Response(page)) });
  const socket = await connectTls(scene);
  await socket.write(requestHead({ Upgrade: undefined }, "GET /page HTTP/1.1"));
  const answer = new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT));
  socket.close();
  assertMatch(answer, /^HTTP\/1\.1 200 OK\r\n/);
  assertEquals([answer.endsWith(`\r\n\r\n${page}`), urls], [true, ["https://127.0.0.1/page"]]);
});

Deno.test("WireServer with TLS answers a peer that speaks plain HTTP with an alert, and serves the next", async () => {
  await using scene = wireScene(certificate);
  const socket = await connectRaw(scene.url);
  await socket.write(requestHead());
  // An alert of TLS (RFC 8446 section 6), or nothing, but never HTTP.
  const answer = await within(socket.readToEnd().catch(() => new Uint8Array(0)), "answer", WAIT);
  assert(answer.byteLength === 0 || answer[0] === 21, `${answer}`);
  socket.close();
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals([told.status, told.cause], [0, "bad-handshake"]);
  await (await connect(scene)).close(WAIT);
});

Deno.test("WireServer tells of a TLS handshake that does not begin as head-timeout, and serves others meanwhile", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 5000 });
  const silent = await connectRaw(scene.url);
  const connection = await connect(scene);
  await connection.send("meanwhile");
  assertEquals(await connection.receive(WAIT), "meanwhile");
  await within(silent.untilGone().catch(() => {}), "end", WAIT);
  silent.close();
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals([told.status, told.cause], [0, "head-timeout"]);
  await connection.close(WAIT);
});

Deno.test("WireServer counts TLS handshakes among the heads", async () => {
  await using scene = wireScene({ ...certificate, maxHeads: 1 });
  const first = await connectRaw(scene.url);
  const second = await connectRaw(scene.url);
  await within(first.untilGone().catch(() => {}), "end", WAIT);
  assertEquals(scene.told.map((told) => told.type === "refused" && told.cause), ["head-limit"]);
  first.close();
  second.close();
});

Deno.test("WireServer drops a peer over TLS that goes in the middle of a message", async () => {
  await using scene = wireScene(certificate);
  const socket = await connectTls(scene);
  await socket.write(requestHead());
  await within(socket.readHead(), "upgrade", WAIT);
  await socket.write(frame(OPCODE.text, "unfinished", { final: false }));
  socket.close();
  const [told] = await scene.untilTold(1);
  assert(told?.type === "end" && told.end.error !== "" && told.end.received === null);
});

Deno.test("WireServer drops a peer over TLS that never reads", async () => {
  await using scene = wireScene({ ...certificate, idleTimeoutMs: 1000 });
  const socket = await connectTls(scene);
  await socket.write(requestHead());
  await within(socket.readHead(), "upgrade", WAIT);
  const message = frame(OPCODE.binary, new Uint8Array(1024 * 1024));
  await within(
    (async () => {
      while (true) await socket.write(message);
    })().catch(() => {}),
    "end",
    WAIT,
  );
  socket.close();
  const [told] = await scene.untilTold(1);
  assert(told?.type === "end");
  assertEquals(told.end.error, "Peer does not read");
});

Deno.test("WireServer.stop() ends connections over TLS, and those in their handshake", async () => {
  await using scene = wireScene(certificate);
  const silent = await connectRaw(scene.url);
  const socket = await connectTls(scene);
  await socket.write(requestHead());
  await within(socket.readHead(), "upgrade", WAIT);
  await within(scene.server.stop("stopped"), "stop", WAIT);
  for (const each of [silent, socket]) {
    await within(each.untilGone().catch(() => {}), "end", WAIT);
    each.close();
  }
  const [told] = scene.told;
  assert(told?.type === "end");
  assertEquals(told.end.error, "stopped");
});

Deno.test("SecureConn.write() writes at most 32 KiB, and fails once it is closed", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const connecting = Deno.connectTls({ hostname: "127.0.0.1", port, caCerts });
  const secure = new SecureConn(await listener.accept(), contextOf(certificate.cert, certificate.key));
  const peer = await connecting;
  await Promise.all([secure.handshake(), peer.handshake()]);
  assertEquals(await within(secure.write(new Uint8Array(100_000)), "write", WAIT), 32_768);
  const reading = secure.read(new Uint8Array(1)).catch((error) => error.message);
  secure.close();
  assertEquals(await within(reading, "end", WAIT), "Connection closed");
  await assertRejects(() => within(secure.write(new Uint8Array(1)), "write", WAIT), Error);
  peer.close();
  listener.close();
});

Deno.test("new WireServer() throws what Deno.listenTls says of a certificate and key that cannot be used", async () => {
  const other = await authority.sign("other");
  for (
    const [pair, message] of [
      [{ cert: "", key: "" }, "No certificates found in certificate data"],
      [{ cert: certificate.cert }, "No keys found in key data"],
      [{ key: certificate.key }, "No certificates found in certificate data"],
      [{ cert: certificate.cert, key: other.key }, "keys may not be consistent: KeyMismatch"],
    ] as const
  ) {
    assertThrows(() => wireScene(pair), Error, message);
  }
});

Deno.test("WireServer does not keep a peer that ends inside its TLS handshake", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 3_600_000 });
  // Nothing, and the beginning of a ClientHello (RFC 8446 section 5.1).
  for (const bytes of [Uint8Array.of(), Uint8Array.of(22, 3, 1, 2, 0, 1)]) {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(scene.url).port) });
    await conn.write(bytes);
    await conn.closeWrite();
    assertEquals(await within(conn.read(new Uint8Array(1)).catch(() => null), "end", WAIT), null);
    conn.close();
  }
  assertEquals(scene.told, []);
});
