/** The limits of the server over our own frames: rate, memory, silence, heads, and one end for each request let through. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { MemoryBudget, SHED_REASON } from "../../lib/server/budget.ts";
import { within } from "../../lib/net/deadline.ts";
import type { EchoHandler } from "../../lib/server/echo_handler.ts";
import { MAX_READ_BYTES, MIN_READ_BYTES, WireEcho, type WireLimits } from "../../lib/server/wire_echo.ts";
import { type Decision, DEFAULT_MAX_HEADS, HEAD_TIMEOUT_MS, MAX_ANSWER_BYTES } from "../../lib/net/wire_server.ts";
import { CLOSE, connectRaw, rawClient, type RawSocket, requestHead } from "../support/raw_peer.ts";
import { frame, joined, type Told, WAIT, wireScene } from "../support/wire.ts";

const MIB = 1024 * 1024;
const text = (payload: string | Uint8Array) => frame(OPCODE.text, payload);
const begin = (payload: string | Uint8Array) => frame(OPCODE.text, payload, { final: false });
const more = (payload: string | Uint8Array) => frame(OPCODE.continuation, payload, { final: false });
const last = (payload: string | Uint8Array) => frame(OPCODE.continuation, payload);
const normal = frame(CLOSE, Uint8Array.of(0x03, 0xe8));
/** Text of so many bytes. */
const letters = (bytes: number) => new Uint8Array(bytes).fill(97);

/** Reads the frames up to the close frame: what came back before it, and its code and reason. */
async function framesToClose(socket: RawSocket): Promise<[opcodes: number[], code: number, reason: string]> {
  const opcodes = [];
  while (true) {
    const { opcode, payload } = await within(socket.readFrame(), "frame", WAIT);
    if (opcode === CLOSE) {
      return [opcodes, payload[0]! * 256 + payload[1]!, new TextDecoder().decode(payload.subarray(2))];
    }
    opcodes.push(opcode);
  }
}

async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}

/** For what does not come; the part that comes has to be there by then, on a busy machine too. */
const SHORT_HEAD_MS = 1000;

/** Waits for something that nobody tells. */
async function until(isSo: () => boolean): Promise<void> {
  const begin = performance.now();
  while (!isSo()) {
    if (performance.now() - begin > WAIT.timeoutMs) throw new Error(`Not so in time: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

function endsOf(told: readonly Told[]) {
  return told.flatMap((one) => one.type === "end" ? [one.end] : []);
}

const { text: TEXT, binary: BINARY, pong: PONG } = OPCODE;
const rateOf = (messagesPerSecond: number, bytesPerSecond: number) => ({ messagesPerSecond, bytesPerSecond });

for (
  const [what, rate, frames, opcodes, code, reason] of [
    [
      "answers the message that is one too many with 1008, behind the echoes of those before",
      rateOf(3, Infinity),
      ["a", "b", "c", "d", "e"].map(text),
      [TEXT, TEXT, TEXT],
      1008,
      "at most 3 messages a second",
    ],
    [
      "does not count the close frame",
      rateOf(3, Infinity),
      [...["a", "b", "c"].map(text), normal],
      [TEXT, TEXT, TEXT],
      1000,
      "",
    ],
    [
      "counts pings and pongs as messages",
      rateOf(3, Infinity),
      [frame(OPCODE.ping), frame(OPCODE.pong), frame(OPCODE.ping), frame(OPCODE.ping)],
      [PONG, PONG],
      1008,
      "at most 3 messages a second",
    ],
    [
      "counts a message in fragments once, if they have 128 bytes or are the last",
      rateOf(1, Infinity),
      [begin("a"), more(letters(128)), more(letters(128)), last("")],
      [TEXT],
      1000,
      "",
    ],
    [
      "counts fragments of less than 128 bytes as messages",
      rateOf(3, Infinity),
      [begin(""), more(""), more(letters(127)), more("")],
      [],
      1008,
      "at most 3 messages a second",
    ],
    [
      "lets a message through that is longer than a second allows, and then none",
      rateOf(Infinity, 10),
      [text("123456789"), frame(BINARY, letters(1000)), text("x")],
      [TEXT, BINARY],
      1008,
      "at most 10 bytes a second",
    ],
    [
      "charges the fragments of a message, and refuses none of them",
      rateOf(Infinity, 10),
      [begin(letters(50)), more(letters(128)), last(letters(50)), text("x")],
      [TEXT],
      1008,
      "at most 10 bytes a second",
    ],
    [
      "does nothing within the limit",
      rateOf(5, 1000),
      [text("a"), frame(BINARY, "b"), frame(OPCODE.ping), text("c"), text("d")],
      [TEXT, BINARY, PONG, TEXT, TEXT],
      1000,
      "",
    ],
  ] as const
) {
  Deno.test(`the rate of a WireServer ${what}`, async () => {
    await using scene = wireScene({ rate });
    const socket = await scene.connect();
    await socket.write(joined(...frames, ...(code === 1000 && reason === "" ? [normal] : [])));
    assertEquals(await framesToClose(socket), [[...opcodes], code, reason]);
  });
}

Deno.test("WireServer reads the peer's close frame behind a message beyond the rate", async () => {
  await using scene = wireScene({ rate: rateOf(1, Infinity) });
  const socket = await scene.connect();
  await socket.write(joined(text("a"), text("b"), frame(OPCODE.ping), frame(CLOSE, Uint8Array.of(0x03, 0xf0))));
  assertEquals(await framesToClose(socket), [[TEXT], 1008, "at most 1 messages a second"]);
  await untilEnd(socket);
  const [end] = endsOf(await scene.untilTold(1));
  assertEquals(end, {
    sent: { code: 1008, reason: "at most 1 messages a second" },
    received: { code: 1008, reason: "" },
    initiator: "local",
    end: "close-frame",
    tcp: "local",
    detail: "",
    messages: 1,
    bytes: 1,
  });
});

Deno.test("the budget of a WireServer closes the peer with the longest unfinished text with 1013, and not the others", async () => {
  // The room for text doubles when more comes than was announced: the smaller one takes 4 MiB in the end.
  const budget = new MemoryBudget(4.5 * MIB);
  await using scene = wireScene({ budget });
  const [large, small] = [await scene.connect(), await scene.connect()];
  await large.write(begin(letters(3 * MIB)));
  await until(() => budget.totalBytes > 2.9 * MIB);
  const closed = framesToClose(large);
  await small.write(begin(letters(2 * MIB)));
  assertEquals(await closed, [[], 1013, SHED_REASON]);
  await small.write(last("!"));
  assertEquals((await within(small.readFrame(), "echo", WAIT)).payload.byteLength, 2 * MIB + 1);
  await large.write(frame(CLOSE, Uint8Array.of(0x03, 0xf5)));
  const [end] = endsOf(await scene.untilTold(1));
  assertEquals([end?.sent, end?.received?.code, end?.detail], [{ code: 1013, reason: SHED_REASON }, 1013, ""]);
  small.close();
  await until(() => budget.totalBytes === 0);
});

Deno.test("the budget of a WireServer counts the room that is made for text, up to 32 times what has arrived of it", async () => {
  const budget = new MemoryBudget(Infinity);
  await using scene = wireScene({ budget });
  const socket = await scene.connect();
  const whole = text(letters(16 * MIB));
  await socket.write(whole.subarray(0, 100_000));
  await until(() => budget.totalBytes > 0);
  // More than what has come, and never more than 32 times that, or the message.
  assert(budget.totalBytes > 100_000 && budget.totalBytes <= 3_200_000, `${budget.totalBytes}`);
  await socket.write(whole.subarray(100_000, 15 * MIB));
  // The read buffer counts as well.
  await until(() => budget.totalBytes >= 16 * MIB);
  assert(budget.totalBytes < 16 * MIB + MAX_READ_BYTES, `${budget.totalBytes}`);
});

Deno.test("the budget of a WireServer forgets text that was echoed, and that of a peer that has gone", async () => {
  const budget = new MemoryBudget(4 * MIB);
  await using scene = wireScene({ budget });
  const socket = await scene.connect();
  for (let count = 0; count < 10; count++) {
    await socket.write(joined(begin(letters(MIB)), last("")));
    assertEquals((await within(socket.readFrame(), "echo", WAIT)).payload.byteLength, MIB);
  }
  await socket.write(begin(letters(MIB)));
  await until(() => budget.totalBytes > 0.9 * MIB);
  socket.close();
  await scene.untilTold(1);
  // The read buffer, too.
  assertEquals(budget.totalBytes, 0);
});

Deno.test("the budget of a WireServer has nothing to say about small messages and binary ones, however full it is", async () => {
  const budget = new MemoryBudget(0);
  await using scene = wireScene({ budget });
  const socket = await scene.connect();
  await socket.write(joined(begin(letters(3000)), last(""), frame(BINARY, letters(200_000)), text("x")));
  const sizes = [];
  for (let count = 0; count < 3; count++) {
    sizes.push((await within(socket.readFrame(), "echo", WAIT)).payload.byteLength);
  }
  assertEquals([sizes, budget.totalBytes], [[3000, 200_000, 1], 0]);
  await socket.write(joined(begin(letters(3000)), more(letters(3000))));
  assertEquals(await framesToClose(socket), [[], 1013, SHED_REASON]);
});

Deno.test("the budget of a WireServer drops a peer that does not take a long text, as nothing can be said inside it", async () => {
  const budget = new MemoryBudget(25 * MIB);
  await using scene = wireScene({ budget });
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: scene.server.port });
  const write = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.byteLength;) at += await conn.write(bytes.subarray(at));
  };
  const read = (bytes: number) => within(conn.read(new Uint8Array(bytes)), "bytes", WAIT);
  await write(new TextEncoder().encode(requestHead()));
  await read(4096);
  await write(text(letters(24 * MIB)));
  // The echo has begun, and is far too long for the buffers of TCP.
  await read(10);
  assert(budget.totalBytes >= 23 * MIB, `${budget.totalBytes}`);
  const other = await scene.connect();
  await other.write(joined(begin(letters(2 * MIB)), last("")));
  const [end] = endsOf(await scene.untilTold(1));
  assertEquals([end?.sent, end?.detail], [null, SHED_REASON]);
  assertEquals((await within(other.readFrame(), "echo", WAIT)).payload.byteLength, 2 * MIB);
  conn.close();
  other.close();
  await until(() => budget.totalBytes === 0);
});

/** An echo with a peer; its clock is moved by hand. */
async function withEcho(
  limits: Partial<WireLimits>,
  test: (echo: WireEcho, socket: RawSocket, readCount: () => number) => Promise<void>,
): Promise<void> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = await connectRaw(`ws://127.0.0.1:${listener.addr.port}/`);
  const conn = await listener.accept();
  listener.close();
  let count = 0;
  const stream = {
    async read(into: Uint8Array) {
      const bytes = await conn.read(into);
      count++;
      return bytes;
    },
    write: (bytes: Uint8Array) => conn.write(bytes),
    closeWrite: () => conn.closeWrite(),
    close: () => conn.close(),
  };
  const echo = new WireEcho(stream, { maxMessageBytes: 32 * MIB, idleTimeoutMs: 300, ...limits });
  const running = echo.run();
  try {
    await test(echo, socket, () => count);
  } finally {
    echo.destroy();
    socket.close();
    await within(running, "end", WAIT);
  }
}

Deno.test("WireEcho does not take a slow upload for silence, byte by byte, text or binary", async () => {
  await withEcho({}, async (echo, socket, readCount) => {
    let now = performance.now();
    const upload = frame(BINARY, letters(40));
    await socket.write(upload.subarray(0, 6));
    for (const [index, byte] of upload.subarray(6).entries()) {
      await socket.write(Uint8Array.of(byte));
      await until(() => echo.bytes > index);
      echo.tick(now += 299);
    }
    assertEquals((await within(socket.readFrame(), "echo", WAIT)).payload.byteLength, 40);
    await socket.write(begin("x"));
    await until(() => echo.heldBytes() > 0);
    for (let count = 1; count < 40; count++) {
      const before = readCount();
      await socket.write(more("x"));
      await until(() => readCount() > before);
      echo.tick(now += 299);
    }
    await socket.write(last(""));
    // No ping came between.
    assertEquals((await within(socket.readFrame(), "echo", WAIT)).opcode, TEXT);
    assertEquals([echo.messages, echo.bytes, echo.heldBytes()], [2, 80, 0]);
  });
});

Deno.test("WireEcho closes with 1001 when a slow upload stands still", async () => {
  await withEcho({}, async (echo, socket) => {
    // Whole numbers, so that sums are exact.
    const begun = Math.ceil(performance.now());
    await socket.write(begin("x"));
    await until(() => echo.heldBytes() > 0);
    echo.tick(begun);
    echo.tick(begun + 300);
    assertEquals((await within(socket.readFrame(), "ping", WAIT)).opcode, OPCODE.ping);
    echo.tick(begun + 600);
    assertEquals(await framesToClose(socket), [[], 1001, "no answer to the ping"]);
    assertEquals((await within(echo.ended, "end", WAIT)).detail, "No answer to the ping");
  });
});

for (const opcode of [TEXT, BINARY]) {
  const kind = opcode === TEXT ? "text" : "binary";
  Deno.test(`WireEcho drops a peer that sends ${kind} and never reads, however much it goes on sending`, async () => {
    await withEcho({}, async (echo, socket) => {
      let isGone = false;
      const sending = (async () => {
        const message = frame(opcode, letters(MIB));
        while (true) await socket.write(message);
      })().catch(() => isGone = true);
      // Its time goes by as long as none of its echoes go out.
      let now = performance.now();
      const ticking = until(() => {
        echo.tick(now += 100);
        return isGone;
      });
      await within(Promise.all([sending, ticking]), "end", WAIT);
      assertEquals((await within(echo.ended, "end", WAIT)).detail, "Peer does not read");
    });
  });
}

Deno.test("WireEcho ends text that trickles for ever with 1009", async () => {
  await withEcho({ maxMessageBytes: 1000, idleTimeoutMs: WAIT.timeoutMs }, async (echo, socket) => {
    await socket.write(begin("x"));
    const closed = framesToClose(socket);
    for (let count = 1; count <= 1000; count++) {
      await socket.write(more("x"));
      echo.tick(performance.now());
    }
    assertEquals(await closed, [[], 1009, "at most 1000 bytes"]);
  });
});

/** Sends bytes, and reads the answer to its end, without ending the own side. */
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

Deno.test("WireServer waits for a decision that takes its time, and says who asks", async () => {
  const addrs: Deno.Addr[] = [];
  await using scene = wireScene({}, {
    async decide(request, addr) {
      addrs.push(addr);
      await new Promise((resolve) => setTimeout(resolve, 5));
      return request.headers.has("upgrade") ? "chat" : new Response("page", { status: 200 });
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
  Deno.test(`WireServer answers 500 if decide() ${isAsync ? "rejects" : "throws"}, and goes on`, async () => {
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
  Deno.test(`WireServer tells of ${what} as ${cause} with status ${status}`, async () => {
    await using scene = wireScene({ headTimeoutMs: status === 408 || status === 0 ? SHORT_HEAD_MS : 60_000 });
    const answer = await answerTo(scene.url, bytes);
    if (status === 0) assertEquals(answer, "");
    else assertMatch(answer, new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\nconnection: close\\r\\n`, "s"));
    const [told] = await scene.untilTold(1);
    assert(told?.type === "refused" && told.port > 0);
    assertEquals([told.status, told.cause, scene.told.length], [status, cause, 1]);
  });
}

Deno.test("WireServer does not take the rest of a head that it has answered with 408", async () => {
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

Deno.test("WireServer goes on when onRefused() throws", async () => {
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
  // The upgraded one is not counted any more.
  await silent[3]?.write("Host: a\r\n\r\n");
  assertMatch(await within(silent[3]!.readHead(), "upgrade", WAIT), / 101 /);
  for (const socket of silent) socket.close();
});

Deno.test("WireServer counts those that are being answered, and does not tell of them twice", async () => {
  await using scene = wireScene({ maxHeads: 2 });
  const refused: RawSocket[] = [];
  for (let count = 0; count < 3; count++) {
    const socket = await connectRaw(scene.url);
    refused.push(socket);
    await socket.write("\0");
    await within(socket.readHead(), "answer", WAIT);
  }
  // It could still write, if the server were there.
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

Deno.test("WireServer takes a head whose first piece is longer than its first buffer", async () => {
  await using scene = wireScene({}, {
    decide: (request) => new Response(`${request.headers.get("x-long")?.length}`),
  });
  for (const length of [1900, 2048, 5000, 16_000]) {
    const head = requestHead({ "X-Long": "x".repeat(length) });
    assertMatch(await answerTo(scene.url, head), new RegExp(`\\r\\n\\r\\n${length}$`));
  }
});

/** A handler that counts the requests that it lets through, and their ends. */
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

/** The fields of an answer, and its body. */
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
  Deno.test(`WireServer answers ${what}, and nothing behind it`, async () => {
    await using scene = wireScene({}, { decide: () => make() });
    const request = requestHead({ Upgrade: undefined, Connection: undefined }, line);
    const [status, fields, body] = expected;
    // A second request goes out at once behind the first.
    assertEquals(partsOf(await answerTo(scene.url, request + request)), [status, [...fields], body]);
  });
}

Deno.test("WireServer sends a page of 1 MiB to a slow reader", async () => {
  const page = letters(MAX_ANSWER_BYTES);
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

Deno.test("WireServer waits for a body as long as for a head, and cancels it then", async () => {
  const cancelled = Promise.withResolvers<void>();
  const endless = () => new ReadableStream({ cancel: () => cancelled.resolve() });
  await using scene = wireScene({ headTimeoutMs: SHORT_HEAD_MS }, { decide: () => new Response(endless()) });
  assertEquals(await answerTo(scene.url, plainGet), "");
  await within(cancelled.promise, "cancel", WAIT);
});

Deno.test("the limits of a WireServer are as they are documented", () => {
  assertEquals([DEFAULT_MAX_HEADS, HEAD_TIMEOUT_MS, MAX_ANSWER_BYTES], [1024, 10_000, 1_048_576]);
  assertEquals([MIN_READ_BYTES, MAX_READ_BYTES], [4096, 131_072]);
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
  await socket.write(text("still here"));
  assertEquals((await within(socket.readFrame(), "echo", WAIT)).opcode, TEXT);
});

Deno.test("WireEcho sends nothing behind its close frame when it gives back what a read has brought", async () => {
  const server = serveEcho({ transport: "wire", port: 0, maxBufferedTotalBytes: 100 * 1024 });
  const socket = await rawClient(server.url);
  // In one read: a message that is complete, and the beginning of a text for which there is no room.
  const beginning = frame(OPCODE.text, letters(8 * MIB)).subarray(0, 14 + 3900);
  await socket.write(joined(frame(OPCODE.binary, "hello"), beginning));
  assertEquals(await framesToClose(socket), [[OPCODE.binary], 1013, SHED_REASON]);
  socket.close();
  await server.shutdown({ timeoutMs: 1000 });
});
