/** The server over our own frames behind TLS. */

import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import type { Connection } from "../../lib/connection/connection.ts";
import { within } from "../../lib/net/deadline.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { createAuthority } from "../support/certificates.ts";
import { connectRaw, RawSocket, requestHead } from "../support/raw_peer.ts";
import { clientHello, inRecords, message, RECORD, record, TlsPeer } from "../support/tls_peer.ts";
import { sendTlsStream } from "../support/tls_streams.ts";
import { frame, joined, WAIT, type WireScene, wireScene } from "../support/wire.ts";

const authority = await createAuthority();
const certificate = await authority.sign("wsproof test");
const caCerts = [authority.cert];

function connect(scene: WireScene): Promise<Connection> {
  return openWire(scene.url.replace("ws:", "wss:"), { caCerts });
}

/** A peer with the runtime's TLS and frames written by hand. */
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
    assertEquals([told.end.received, told.end.detail, told.end.messages], [{ code: 4000, reason: "bye" }, "", 2]);
  });
}

Deno.test("WireServer reads the URL of a request over TLS as https, and sends a whole page", async () => {
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

for (const begin of [requestHead(), "\r\nGET / HTTP/1.1\r\n\r\n", "P"]) {
  Deno.test(`WireServer with TLS answers ${JSON.stringify(begin.slice(0, 5))} with a 400 that says so`, async () => {
    await using scene = wireScene(certificate);
    const socket = await connectRaw(scene.url);
    await socket.write(begin);
    const answer = new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT));
    socket.close();
    assertMatch(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
    assertMatch(answer, /\r\n\r\nThe plain HTTP request was sent to HTTPS port: use wss:\/\/ or https:\/\/\n$/);
    const [told] = await scene.untilTold(1);
    assert(told?.type === "refused");
    assertEquals([told.status, told.cause], [400, "bad-handshake"]);
    await (await connect(scene)).close(WAIT);
  });
}

/** Sends bytes, and reads to the end of TCP; later bytes do not matter. */
async function answerTo(scene: WireScene, bytes: Uint8Array): Promise<Uint8Array> {
  const socket = await connectRaw(scene.url);
  try {
    await socket.write(bytes).catch(() => {});
    return await within(socket.readToEnd().catch(() => new Uint8Array(0)), "answer", WAIT);
  } finally {
    socket.close();
  }
}

Deno.test("WireServer answers an unusable ClientHello with an alert", async () => {
  const { message: hello } = await clientHello();
  // No existing cipher suite: the two bytes after version, random, session and length.
  hello.set([0xff, 0xff], 4 + 2 + 32 + 1 + 2);
  await using scene = wireScene(certificate);
  assertEquals(await answerTo(scene, record(RECORD.handshake, hello)), Uint8Array.of(21, 3, 3, 0, 2, 2, 40));
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals([told.status, told.cause], [0, "bad-handshake"]);
});

Deno.test("WireServer drops a ClientHello of more than 64 KiB of TCP, in records of one byte", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 3_600_000 });
  // A message of 65,000 bytes would be 390,000 bytes of TCP.
  const hello = message(1, new Uint8Array(65_000));
  await answerTo(scene, inRecords(RECORD.handshake, hello.subarray(0, 20_000), 1));
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals([told.status, told.cause], [0, "bad-handshake"]);
});

Deno.test("WireServer drops a handshake of more than 64 KiB after its ClientHello", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 3_600_000 });
  const { message: hello } = await clientHello();
  // A second message that is announced and never ends.
  const more = inRecords(RECORD.data, new Uint8Array(70_000), 16_000);
  await answerTo(scene, joined(record(RECORD.handshake, hello), more));
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals([told.status, told.cause], [0, "bad-handshake"]);
});

Deno.test("WireServer shakes hands with a peer that sends its ClientHello in records of one byte", async () => {
  await using scene = wireScene(certificate);
  const peer = await within(TlsPeer.connect(scene.server.port, { helloRecordBytes: 1 }), "handshake", WAIT);
  peer.close();
});

Deno.test("WireServer reports a ClientHello that stops as head-timeout, beside peers that flood", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 500 });
  const stopped = await connectRaw(scene.url);
  await stopped.write(inRecords(RECORD.handshake, message(1, new Uint8Array(60_000)).subarray(0, 100), 1));
  const flood = inRecords(RECORD.handshake, message(1, new Uint8Array(60_000)), 1);
  let isOver = false;
  const flooding = (async () => {
    while (!isOver) await answerTo(scene, flood);
  })();
  await within(stopped.untilGone().catch(() => {}), "end", WAIT);
  stopped.close();
  isOver = true;
  await within(flooding, "flood", WAIT);
  const causes = scene.told.map((told) => told.type === "refused" && `${told.status} ${told.cause}`);
  assertEquals(new Set(causes), new Set(["0 bad-handshake", "0 head-timeout"]));
});

Deno.test("WireServer reports a TLS handshake that does not begin as head-timeout, and serves others meanwhile", async () => {
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

Deno.test("WireServer drops a peer over TLS that leaves in the middle of a message", async () => {
  await using scene = wireScene(certificate);
  const socket = await connectTls(scene);
  await socket.write(requestHead());
  await within(socket.readHead(), "upgrade", WAIT);
  await socket.write(frame(OPCODE.text, "unfinished", { final: false }));
  socket.close();
  const [told] = await scene.untilTold(1);
  assert(told?.type === "end" && told.end.detail !== "" && told.end.received === null);
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
  assertEquals(told.end.detail, "Peer does not read");
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
  assertEquals(told.end.detail, "stopped");
});

Deno.test("new WireServer() throws the error of Deno.listenTls for an unusable certificate and key", async () => {
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

Deno.test("WireServer keeps nothing of a peer that ends inside its TLS handshake", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 3_600_000 });
  // Nothing, and the start of a ClientHello (RFC 8446 section 5.1).
  for (const bytes of [Uint8Array.of(), Uint8Array.of(22, 3, 1, 2, 0, 1)]) {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(scene.url).port) });
    await conn.write(bytes);
    await conn.closeWrite();
    assertEquals(await within(conn.read(new Uint8Array(1)).catch(() => null), "end", WAIT), null);
    conn.close();
  }
  assertEquals(scene.told, []);
});

/** A peer after its upgrade, with records written by hand. */
async function upgradeByHand(scene: WireScene): Promise<TlsPeer> {
  const peer = await within(TlsPeer.connect(scene.server.port), "handshake", WAIT);
  await peer.write(requestHead());
  const { bytes } = await within(peer.read(), "upgrade", WAIT);
  assertMatch(new TextDecoder().decode(bytes), /^HTTP\/1\.1 101 /);
  return peer;
}

const EMPTY = new Uint8Array(0);
const CLOSE_1000 = frame(OPCODE.close, Uint8Array.of(3, 0xe8));
const CLOSE_NOTIFY = Uint8Array.of(1, 0);

/** Records without plaintext, sent over and over; the first may differ. */
const BARREN: Record<string, (peer: TlsPeer, isFirst: boolean) => Promise<Uint8Array>> = {
  "empty records": (peer) => peer.seal(RECORD.data, EMPTY),
  "records of nothing but padding": (peer) => peer.seal(RECORD.data, EMPTY, 16_000),
  "one-byte pieces of a message": (peer, isFirst) =>
    peer.seal(RECORD.handshake, isFirst ? message(4, new Uint8Array(65_520)).subarray(0, 4) : new Uint8Array(1)),
  "requests to update its keys": (peer) => peer.sealUpdate(),
  "warnings": (peer) => peer.seal(RECORD.alert, Uint8Array.of(1, 90)),
  "records of another type": (peer) => peer.seal(99, new Uint8Array(100)),
  "another ClientHello": (peer) => peer.seal(RECORD.handshake, message(1, new Uint8Array(100))),
  "what is not encrypted": () => Promise.resolve(record(RECORD.data, new Uint8Array(16_000))),
  "what is no record": () => Promise.resolve(new Uint8Array(16_000)),
};

for (const [what, make] of Object.entries(BARREN)) {
  Deno.test(`WireServer drops a peer over TLS that floods ${what}`, async () => {
    await using scene = wireScene(certificate);
    const peer = await upgradeByHand(scene);
    const flooding = (async () => {
      let bytes = 0;
      // Far more than 64 KiB plus the kernel's buffers.
      for (let isFirst = true; bytes < 64 * 1024 * 1024; isFirst = false) {
        const one = await make(peer, isFirst);
        bytes += one.byteLength;
        await peer.writeRaw(one);
      }
    })();
    await assertRejects(() => within(flooding, "end", WAIT), Error, "os error");
    peer.close();
    const [told] = await scene.untilTold(1);
    assert(told?.type === "end" && told.end.received === null && told.end.detail !== "");
  });
}

Deno.test("WireServer updates its keys as often as a peer asks between messages", async () => {
  await using scene = wireScene(certificate);
  const peer = await upgradeByHand(scene);
  // More often than allowed in a row.
  for (let count = 0; count < 40; count++) {
    await peer.writeRaw(await peer.sealUpdate());
    await peer.write(frame(OPCODE.binary, Uint8Array.of(count)));
    const { bytes } = await within(peer.read(), "echo", WAIT);
    assertEquals(bytes, Uint8Array.of(0x82, 1, count));
  }
  peer.close();
});

Deno.test("WireServer reports a peer over TLS that sends no head as head-timeout", async () => {
  await using scene = wireScene({ ...certificate, headTimeoutMs: 500 });
  const peer = await within(TlsPeer.connect(scene.server.port), "handshake", WAIT);
  await within(peer.untilGone().catch(() => {}), "end", WAIT);
  peer.close();
  const [told] = await scene.untilTold(1);
  assert(told?.type === "refused");
  assertEquals([told.status, told.cause], [0, "head-timeout"]);
});

for (const [name, tls] of [["TCP", {}], ["TLS", certificate]] as const) {
  Deno.test(`WireServer reads little of what comes after a refused request over ${name}, up to its deadline`, async () => {
    const decide = () => new Response("no\n", { status: 403 });
    await using scene = wireScene({ ...tls, headTimeoutMs: 500 }, { decide });
    const socket = await (name === "TLS" ? connectTls(scene) : connectRaw(scene.url));
    await socket.write(requestHead());
    assertMatch(await within(socket.readHead(), "answer", WAIT), /^HTTP\/1\.1 403 /);
    let sent = 0;
    const flooding = (async () => {
      const piece = new Uint8Array(65_536);
      for (; sent < 1024 * 1024 * 1024; sent += piece.byteLength) await socket.write(piece);
    })();
    await within(flooding.catch(() => {}), "end", WAIT);
    socket.close();
    // The kernel holds a few MiB.
    assert(sent < 64 * 1024 * 1024, `${sent} bytes went out`);
  });
}

for (
  const [how, tail] of [
    ["ends TCP without a close_notify", []],
    ["sends a close_notify and ends TCP", [CLOSE_NOTIFY]],
  ] as const
) {
  Deno.test(`WireServer reports a clean close of a peer that closes and ${how}`, async () => {
    await using scene = wireScene(certificate);
    const peer = await upgradeByHand(scene);
    const records = [await peer.seal(RECORD.data, CLOSE_1000)];
    for (const alert of tail) records.push(await peer.seal(RECORD.alert, alert));
    await peer.writeRaw(joined(...records));
    await peer.closeWrite();
    // The close frame comes back, and a close_notify.
    assertEquals((await within(peer.read(), "close frame", WAIT)).bytes, Uint8Array.of(0x88, 2, 3, 0xe8));
    assertEquals(await within(peer.read(), "close_notify", WAIT), { type: RECORD.alert, bytes: CLOSE_NOTIFY });
    peer.close();
    const [told] = await scene.untilTold(1);
    assert(told?.type === "end");
    assertEquals([told.end.received, told.end.detail], [{ code: 1000, reason: "" }, ""]);
  });
}

Deno.test("WireServer over TLS keeps little for a peer that sends forever and never reads", async () => {
  await using scene = wireScene({ ...certificate, idleTimeoutMs: 0 });
  const peer = await upgradeByHand(scene);
  const piece = frame(OPCODE.binary, new Uint8Array(16_000));
  let sent = 0;
  const stuck = Promise.withResolvers<void>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const sending = (async () => {
    while (sent < 256 * 1024 * 1024) {
      // The kernel holds a few MiB: then nothing moves any more.
      clearTimeout(timer);
      timer = setTimeout(stuck.resolve, 1000);
      await peer.writeRaw(await peer.seal(RECORD.data, piece));
      sent += piece.byteLength;
    }
  })().catch(() => {});
  await within(Promise.race([stuck.promise, sending]), "stop", { timeoutMs: 60_000 });
  clearTimeout(timer);
  assert(sent < 64 * 1024 * 1024, `${sent} bytes went out, and nothing stopped them`);
  peer.close();
  await sending;
  clearTimeout(timer);
});

Deno.test("WireServer survives 200 damaged TLS streams, and then serves an exchange", async () => {
  await using scene = wireScene(certificate);
  let seed = 0;
  const problems: string[] = [];
  const sendSome = async () => {
    while (seed < 200) {
      const problem = await sendTlsStream(scene.server.port, seed++);
      if (problem !== undefined) problems.push(`seed ${seed - 1}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, sendSome));
  assertEquals(problems, []);
  const connection = await connect(scene);
  await connection.send("honest");
  assertEquals(await connection.receive(WAIT), "honest");
  await connection.close(WAIT);
});
