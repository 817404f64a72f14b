/** The requests of a wire server: decisions, answers, limits of heads, and one end for each accepted request. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import type { Decision } from "../../lib/net/wire_handler.ts";
import { DEFAULT_MAX_HEADS, HEAD_TIMEOUT_MS, MAX_ANSWER_BYTES } from "../../lib/net/wire_server.ts";
import { OPCODE } from "../../lib/protocol/frame.ts";
import type { EchoHandler } from "../../lib/server/echo_handler.ts";
import { MAX_READ_BYTES, MIN_READ_BYTES } from "../../lib/server/echo_buffer.ts";
import { CLOSE, connectRaw, type RawSocket, requestHead } from "../support/raw_peer.ts";
import { frame, framesToClose, until, WAIT, wireScene } from "../support/wire.ts";

const normal = frame(CLOSE, Uint8Array.of(0x03, 0xe8));

/** For absent bytes, in milliseconds; present ones must arrive by then, on a busy machine too. */
const SHORT_HEAD_MS = 1000;

async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}

/** Sends bytes, and reads the whole answer, without ending its own side. */
async function answerTo(url: string, bytes: string | Uint8Array): Promise<string> {
  const socket = await connectRaw(url);
  try {
    await socket.write(bytes);
    return new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT));
  } finally {
    socket.close();
  }
}

const plainGet = requestHead({ Upgrade: undefined, Connection: undefined });

Deno.test("WireServer waits for a slow decision, and tells it who asks", async () => {
  const addrs: Deno.Addr[] = [];
  await using scene = wireScene({}, {
    async decide(request, addr) {
      addrs.push(addr);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return request.headers.get("upgrade") !== null ? "chat" : new Response("page", { status: 200 });
    },
  });
  assertMatch(await answerTo(scene.url, plainGet), /^HTTP\/1\.1 200 OK\r\n.*\r\n\r\npage$/s);
  const socket = await connectRaw(scene.url);
  await socket.write(requestHead());
  assertMatch(await within(socket.readHead(), "upgrade", WAIT), /\r\nSec-WebSocket-Protocol: chat/);
  socket.close();
  assertEquals(addrs.map((addr) => (addr as Deno.NetAddr).hostname), ["127.0.0.1", "127.0.0.1"]);
});

for (const isAsync of [false, true]) {
  Deno.test(`WireServer answers 500 if decide() ${isAsync ? "rejects" : "throws"}, and continues`, async () => {
    let count = 0;
    const fail = () => {
      throw new Error("mistake");
    };
    await using scene = wireScene({}, {
      decide: () => count++ > 0 ? "" : isAsync ? Promise.reject(new Error("mistake")) : fail(),
    });
    assertMatch(await answerTo(scene.url, requestHead()), /^HTTP\/1\.1 500 Internal Server Error\r\n/);
    await scene.connect();
    assertEquals(scene.told, []);
  });
}

Deno.test("WireServer drops a peer whose decision does not come in time, and abandons it when it comes", async () => {
  const decision = Promise.withResolvers<Decision>();
  await using scene = wireScene({ headTimeoutMs: SHORT_HEAD_MS }, { decide: () => decision.promise });
  assertEquals(await answerTo(scene.url, requestHead({}, "GET /late HTTP/1.1")), "");
  assertEquals(scene.told, []);
  decision.resolve("");
  await scene.untilTold(1);
  assertEquals(scene.told, [{ type: "abandoned", url: "http://127.0.0.1/late" }]);
});

for (
  const [what, bytes, status, cause] of [
    ["bytes that are no HTTP", Uint8Array.of(0x16, 3, 1, 0), 400, "bad-handshake"],
    ["a head without a host", "GET / HTTP/1.1\r\n\r\n", 400, "bad-handshake"],
    ["a head over 64 KiB", `GET / HTTP/1.1\r\nX: ${"x".repeat(64 * 1024)}`, 431, "head-too-long"],
    ["half a head", "GET / HTTP/1.1\r\nHost: a\r\n", 408, "head-timeout"],
    ["nothing", "", 0, "head-timeout"],
  ] as const
) {
  Deno.test(`WireServer reports ${what} as ${cause} with status ${status}`, async () => {
    await using scene = wireScene({ headTimeoutMs: status === 408 || status === 0 ? SHORT_HEAD_MS : 60_000 });
    const answer = await answerTo(scene.url, bytes);
    if (status === 0) assertEquals(answer, "");
    else assertMatch(answer, new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\nconnection: close\\r\\n`, "s"));
    const [told] = await scene.untilTold(1);
    assert(told?.type === "refused" && told.port > 0);
    assertEquals([told.status, told.cause, scene.told.length], [status, cause, 1]);
  });
}

Deno.test("WireServer does not read the rest of a head that it has answered with 408", async () => {
  let decisions = 0;
  await using scene = wireScene({ headTimeoutMs: SHORT_HEAD_MS }, { decide: () => (decisions++, "") });
  const socket = await connectRaw(scene.url);
  await socket.write("GET / HTTP/1.1\r\n");
  assertMatch(await within(socket.readHead(), "answer", WAIT), /^HTTP\/1\.1 408 Request Timeout\r\n/);
  await socket.write(requestHead()).catch(() => {});
  await untilEnd(socket);
  socket.close();
  assertEquals([decisions, scene.told.length], [0, 1]);
});

Deno.test("WireServer continues when onRefused() throws", async () => {
  await using scene = wireScene({}, {
    onRefused() {
      throw new Error("mistake");
    },
  });
  assertMatch(await answerTo(scene.url, "\0"), /^HTTP\/1\.1 400 /);
  await scene.connect();
});

Deno.test("WireServer drops the peer that has waited longest when too many have no head, and serves the next", async () => {
  await using scene = wireScene({ maxHeads: 2 });
  const silent: RawSocket[] = [];
  for (let count = 0; count < 4; count++) {
    silent.push(await connectRaw(scene.url));
    await silent[count]?.write("GET / HTTP/1.1\r\n");
  }
  await Promise.all(silent.slice(0, 2).map(untilEnd));
  assertEquals(scene.told.map((told) => told.type === "refused" && [told.status, told.cause]), [
    [0, "head-limit"],
    [0, "head-limit"],
  ]);
  await scene.connect();
  await untilEnd(silent[2]!);
  // The upgraded connection no longer counts.
  await silent[3]?.write("Host: a\r\n\r\n");
  assertMatch(await within(silent[3]!.readHead(), "upgrade", WAIT), / 101 /);
  for (const socket of silent) socket.close();
});

Deno.test("WireServer counts those that are being answered, and does not report them twice", async () => {
  await using scene = wireScene({ maxHeads: 2 });
  const refused: RawSocket[] = [];
  for (let count = 0; count < 3; count++) {
    const socket = await connectRaw(scene.url);
    refused.push(socket);
    await socket.write("\0");
    await within(socket.readHead(), "answer", WAIT);
  }
  // The client could still write, if the server were there.
  const first = refused[0]!;
  await within(
    (async () => {
      while (true) await first.write("more");
    })().catch(() => {}),
    "reset",
    WAIT,
  );
  assertEquals(scene.told.map((told) => told.type === "refused" && told.cause), Array(3).fill("bad-handshake"));
  for (const socket of refused) socket.close();
});

Deno.test("WireServer reads a head whose first piece is longer than its first buffer", async () => {
  await using scene = wireScene({}, {
    decide: (request) => new Response(`${request.headers.get("x-long")?.length}`),
  });
  for (const length of [1900, 2048, 5000, 16_000]) {
    const head = requestHead({ "X-Long": "x".repeat(length) });
    assertMatch(await answerTo(scene.url, head), new RegExp(`\\r\\n\\r\\n${length}$`));
  }
});

/** A handler that counts accepted requests and their ends. */
function counting(handler: Partial<EchoHandler>) {
  const counts = { let: 0, ended: 0, abandoned: 0, opened: 0 };
  const counted: Partial<EchoHandler> = {
    decide: () => (counts.let++, ""),
    follow: () => ({ onOpen: () => void counts.opened++, onEnd: () => void counts.ended++ }),
    abandoned: () => void counts.abandoned++,
    ...handler,
  };
  return { counts, counted };
}

Deno.test("each request that a WireServer lets through ends once: its follower's onOpen() throws", async () => {
  const { counts, counted } = counting({
    follow: () => ({
      onOpen() {
        throw new Error("mistake");
      },
      onEnd: () => void counts.ended++,
    }),
  });
  await using scene = wireScene({}, counted);
  const socket = await scene.connect();
  assertEquals(await framesToClose(socket), [[], 1011, "internal error"]);
  socket.close();
  await until(() => counts.ended > 0);
  await scene.server.stop();
  assertEquals(counts, { let: 1, ended: 1, abandoned: 0, opened: 0 });
});

Deno.test("each request that a WireServer lets through ends once: follow() throws", async () => {
  const { counts, counted } = counting({
    follow() {
      throw new Error("mistake");
    },
  });
  await using scene = wireScene({}, counted);
  const socket = await scene.connect();
  await untilEnd(socket);
  await scene.server.stop();
  assertEquals(counts, { let: 1, ended: 0, abandoned: 1, opened: 0 });
});

Deno.test("each request that a WireServer lets through ends once: its end throws", async () => {
  const { counts, counted } = counting({
    follow: () => ({
      onOpen() {},
      onEnd() {
        counts.ended++;
        throw new Error("mistake");
      },
    }),
  });
  await using scene = wireScene({}, counted);
  const socket = await scene.connect();
  await socket.write(normal);
  await until(() => counts.ended > 0);
  await scene.connect();
  await scene.server.stop();
  assertEquals([counts.let, counts.ended, counts.abandoned], [2, 2, 0]);
});

Deno.test("each request that a WireServer lets through ends once: the server stops while it decides", async () => {
  const decision = Promise.withResolvers<Decision>();
  const asked = Promise.withResolvers<void>();
  const { counts, counted } = counting({
    decide() {
      counts.let++;
      asked.resolve();
      return decision.promise;
    },
  });
  await using scene = wireScene({}, counted);
  const socket = await connectRaw(scene.url);
  await socket.write(requestHead());
  await within(asked.promise, "request", WAIT);
  await within(scene.server.stop(), "stop", WAIT);
  assertEquals(counts.abandoned, 0);
  decision.resolve("");
  await until(() => counts.abandoned > 0);
  await untilEnd(socket);
  socket.close();
  assertEquals(counts, { let: 1, ended: 0, abandoned: 1, opened: 0 });
});

Deno.test("each request that a WireServer lets through ends once: the server stops as soon as it is let through", async () => {
  const { counts, counted } = counting({
    decide() {
      counts.let++;
      scene.server.stop("stopped");
      return "";
    },
  });
  await using scene = wireScene({}, counted);
  const socket = await connectRaw(scene.url);
  await socket.write(requestHead());
  await untilEnd(socket);
  socket.close();
  await scene.server.stop();
  assertEquals(counts, { let: 1, ended: 0, abandoned: 1, opened: 0 });
});

Deno.test("each request that a WireServer lets through ends once: the peers go at any moment, and then the server", async () => {
  const { counts, counted } = counting({
    async decide() {
      counts.let++;
      await new Promise((resolve) => setTimeout(resolve, counts.let % 3));
      return "";
    },
  });
  await using scene = wireScene({ maxHeads: 5 }, counted);
  const sockets: RawSocket[] = [];
  await Promise.all(Array.from({ length: 60 }, async (_, index) => {
    const socket = await connectRaw(scene.url);
    await socket.write(requestHead()).catch(() => {});
    if (index % 4 === 1) await within(socket.readHead().catch(() => {}), "upgrade", WAIT);
    if (index % 4 === 2) await socket.closeWrite().catch(() => {});
    if (index % 4 < 3) socket.close();
    else sockets.push(socket);
  }));
  await scene.server.stop("stopped");
  await until(() => counts.ended + counts.abandoned === counts.let);
  for (const socket of sockets) socket.close();
  assertEquals(counts.opened, counts.ended);
});

/** The fields and the body of an answer. */
function partsOf(answer: string): [status: string, fields: string[], body: string] {
  const end = answer.indexOf("\r\n\r\n");
  const [status = "", ...fields] = answer.slice(0, end).split("\r\n");
  return [status, fields.filter((field) => !field.startsWith("date: ")), answer.slice(end + 4)];
}

for (
  const [what, line, make, expected] of [
    [
      "a page with its length",
      "GET / HTTP/1.1",
      () => new Response("page", { headers: { "content-type": "text/html" } }),
      ["HTTP/1.1 200 OK", ["content-type: text/html", "connection: close", "content-length: 4"], "page"],
    ],
    [
      "HEAD with the length and without the page",
      "HEAD / HTTP/1.1",
      () => new Response("page", { headers: { "content-type": "text/html" } }),
      ["HTTP/1.1 200 OK", ["content-type: text/html", "connection: close", "content-length: 4"], ""],
    ],
    [
      "HEAD with the length that the handler knows",
      "HEAD / HTTP/1.1",
      () => new Response(null, { headers: { "content-length": "1234" } }),
      ["HTTP/1.1 200 OK", ["connection: close", "content-length: 1234"], ""],
    ],
    [
      "a page with one length, the right one",
      "GET / HTTP/1.1",
      () => new Response("é", { headers: { "content-length": "1234", "transfer-encoding": "chunked", date: "never" } }),
      [
        "HTTP/1.1 200 OK",
        ["content-type: text/plain;charset=UTF-8", "connection: close", "content-length: 2"],
        "é",
      ],
    ],
    [
      "204 without a length",
      "GET / HTTP/1.1",
      () => new Response(null, { status: 204 }),
      ["HTTP/1.1 204 No Content", ["connection: close"], ""],
    ],
    [
      "304 without a length",
      "GET / HTTP/1.1",
      () => new Response(null, { status: 304, headers: { etag: '"1"' } }),
      ["HTTP/1.1 304 Not Modified", ['etag: "1"', "connection: close"], ""],
    ],
    [
      "500 instead of a page that is too long",
      "GET / HTTP/1.1",
      () => new Response(new Uint8Array(MAX_ANSWER_BYTES + 1)),
      [
        "HTTP/1.1 500 Internal Server Error",
        [
          "cache-control: no-store",
          "content-type: text/plain; charset=utf-8",
          "connection: close",
          "content-length: 22",
        ],
        "Internal Server Error\n",
      ],
    ],
  ] as const
) {
  Deno.test(`WireServer answers ${what}, and nothing after it`, async () => {
    await using scene = wireScene({}, { decide: () => make() });
    const request = requestHead({ Upgrade: undefined, Connection: undefined }, line);
    const [status, fields, body] = expected;
    // A second request follows the first at once.
    assertEquals(partsOf(await answerTo(scene.url, request + request)), [status, [...fields], body]);
  });
}

Deno.test("WireServer sends a page of 1 MiB to a slow reader", async () => {
  const page = new Uint8Array(MAX_ANSWER_BYTES).fill(97);
  await using scene = wireScene({}, { decide: () => new Response(page) });
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: scene.server.port });
  await conn.write(new TextEncoder().encode(plainGet));
  let received = 0;
  const piece = new Uint8Array(4096);
  for (let count = await conn.read(piece); count !== null; count = await within(conn.read(piece), "bytes", WAIT)) {
    received += count;
    if (received % 16 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  conn.close();
  assert(received > MAX_ANSWER_BYTES, `${received} bytes`);
});

Deno.test("WireServer waits for a body as long as for a head, then cancels it", async () => {
  const cancelled = Promise.withResolvers<void>();
  const endless = () => new ReadableStream({ cancel: () => cancelled.resolve() });
  await using scene = wireScene({ headTimeoutMs: SHORT_HEAD_MS }, { decide: () => new Response(endless()) });
  assertEquals(await answerTo(scene.url, plainGet), "");
  await within(cancelled.promise, "cancel", WAIT);
});

Deno.test("the limits of a WireServer are the documented ones", () => {
  assertEquals([DEFAULT_MAX_HEADS, HEAD_TIMEOUT_MS, MAX_ANSWER_BYTES], [1024, 10_000, 1_048_576]);
  assertEquals([MIN_READ_BYTES, MAX_READ_BYTES], [512, 131_072]);
});

Deno.test("WireServer.closeAll() refuses a reason that no close frame can have", async () => {
  await using scene = wireScene();
  let message = "";
  try {
    scene.server.closeAll(1001, "x".repeat(124));
  } catch (error) {
    message = String(error);
  }
  assertMatch(message, /123/);
  const socket = await scene.connect();
  await socket.write(frame(OPCODE.text, "still here"));
  assertEquals((await within(socket.readFrame(), "echo", WAIT)).opcode, OPCODE.text);
});

Deno.test("WireServer upgrades all, when many more connect at once than may wait for their upgrade", async () => {
  await using scene = wireScene({ maxHeads: 8 });
  const upgrade = async () => {
    const socket = await connectRaw(scene.url);
    await socket.write(requestHead());
    const head = await within(socket.readHead(), "upgrade", WAIT);
    socket.close();
    return head.slice(0, 12);
  };
  const answers = await Promise.all(Array.from({ length: 300 }, upgrade));
  assertEquals(new Set(answers), new Set(["HTTP/1.1 101"]));
});
