/** Compression at the echo server over our own frames: with npm ws, and with a raw peer that breaks rules. */

import { assert, assertEquals } from "@std/assert";
import { WebSocket as WsClient } from "npm:ws@8.23.0";
import { within } from "../../lib/net/deadline.ts";
import { type Demand, MAX_PERIOD_WORK, Turns } from "../../lib/net/turns.ts";
import type { ByteStream } from "../../lib/net/tls.ts";
import { engineCount, MessageDeflate } from "../../lib/net/zlib.ts";
import { encodeFrame, type EncodeFrameOptions, OPCODE, RSV1 } from "../../lib/protocol/frame.ts";
import type { DeflatePolicy, EchoClosed, EchoEvent } from "../../lib/server/policy.ts";
import { SHED_REASON } from "../../lib/server/budget.ts";
import { serveEcho, type ServeEchoOptions } from "../../lib/server/serve.ts";
import { WireEcho } from "../../lib/server/wire_echo.ts";
import { connectRaw, type RawFrame, type RawSocket, requestHead } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const MIB = 1024 * 1024;
const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);
const utf8 = (text: string) => new TextEncoder().encode(text);
const DIRECTION = { takeover: true, windowBits: 15 };

function frame(opcode: number, payload: string | Uint8Array = "", options: EncodeFrameOptions = {}) {
  const bytes = typeof payload === "string" ? utf8(payload) : payload;
  return encodeFrame(opcode, bytes, { maskingKey: KEY, ...options });
}

/** A server, and a raw peer with its own compressor and inflater. */
interface Scene {
  readonly socket: RawSocket;
  readonly codec: MessageDeflate;
  /** The answer to the handshake. */
  readonly extensions: string;
  readonly closed: Promise<EchoClosed>;
  readonly opened: EchoEvent | undefined;
  send(message: string | Uint8Array<ArrayBuffer>, opcode?: number): Promise<void>;
  /** The next frame, its payload inflated if RSV1 is set. */
  next(): Promise<RawFrame & { readonly text: string }>;
  stats(): ReturnType<ReturnType<typeof serveEcho>["stats"]>;
}

async function onDeflate(
  test: (scene: Scene) => Promise<void>,
  { offer = "permessage-deflate", ...options }: ServeEchoOptions & { offer?: string } = {},
): Promise<void> {
  const closed = Promise.withResolvers<EchoClosed>();
  let opened: EchoEvent | undefined;
  const onEvent = (event: EchoEvent) => {
    if (event.type === "opened") opened = event;
    if (event.type === "closed") closed.resolve(event);
  };
  const before = engineCount();
  const server = serveEcho({ transport: "wire", port: 0, onEvent, ...options });
  const socket = await connectRaw(server.url);
  const codec = new MessageDeflate({ own: DIRECTION, peer: DIRECTION, level: 9, maxMessageBytes: 64 * MIB });
  try {
    await socket.write(requestHead({ "Sec-WebSocket-Extensions": offer }));
    const head = await within(socket.readHead(), "upgrade", WAIT);
    const [, extensions = ""] = /^sec-websocket-extensions: (.*)$/mi.exec(head) ?? [];
    await test({
      socket,
      codec,
      extensions: extensions.trim(),
      get opened() {
        return opened;
      },
      closed: within(closed.promise, "end", WAIT),
      send: (message, opcode = typeof message === "string" ? OPCODE.text : OPCODE.binary) => {
        const bytes = typeof message === "string" ? utf8(message) : message;
        return socket.write(frame(opcode, codec.deflateWhole(bytes), { reserved: RSV1 }));
      },
      async next() {
        const found = await within(socket.readFrame(), "frame", WAIT);
        let text = "";
        const add = (bytes: Uint8Array) => text += new TextDecoder().decode(bytes);
        if (found.reserved === RSV1) codec.inflate(new Uint8Array(found.payload), true, add);
        else add(found.payload);
        return { ...found, text };
      },
      stats: () => server.stats(),
    });
  } finally {
    socket.close();
    await server.shutdown();
    codec.release();
  }
  // Without takeover, a few engines wait for the next message.
  if (options.deflate === undefined) assert(engineCount() <= before, `${engineCount()} engines, before ${before}`);
}

Deno.test("wire server accepts permessage-deflate, and echoes compressed messages compressed", async () => {
  await onDeflate(async ({ send, next, socket, extensions, opened }) => {
    assertEquals(extensions, "permessage-deflate");
    assertEquals(opened?.type === "opened" && opened.extensions, "permessage-deflate");
    for (const text of ["Hello", "Hello", "", "a".repeat(100_000)]) {
      await send(text);
      const echo = await next();
      assertEquals([echo.opcode, echo.reserved, echo.text === text], [OPCODE.text, RSV1, true]);
    }
    await send(utf8("bytes"));
    assertEquals(await next().then(({ opcode, text }) => [opcode, text]), [OPCODE.binary, "bytes"]);
    for (const opcode of [OPCODE.text, OPCODE.binary]) {
      await socket.write(frame(opcode, "plain"));
      const echo = await next();
      assertEquals([echo.opcode, echo.reserved, echo.text], [opcode, undefined, "plain"]);
    }
  });
});

Deno.test("wire server keeps the order of compressed and plain messages in one read", async () => {
  await onDeflate(async ({ codec, socket, next }) => {
    const packed = (text: string) => frame(OPCODE.text, codec.deflateWhole(utf8(text)), { reserved: RSV1 });
    // The third echo is longer than its frame was, as compression levels differ.
    const texts = ["one", "two", Array.from({ length: 300 }, (_, index) => index * 7919 % 1000).join(), "four", "five"];
    const frames = texts.map((text, index) => index % 2 === 0 ? packed(text) : frame(OPCODE.text, text));
    await socket.write(Uint8Array.from([...frames, frame(OPCODE.ping, "p")].flatMap((each) => [...each])));
    for (const text of texts) assertEquals((await next()).text, text);
    assertEquals((await next()).opcode, OPCODE.pong);
  });
});

Deno.test("wire server echoes a compressed message in fragments with a ping between them", async () => {
  await onDeflate(async ({ codec, socket, next }) => {
    const bytes = codec.deflateWhole(utf8("fragments of one message"));
    await socket.write(frame(OPCODE.text, bytes.subarray(0, 5), { reserved: RSV1, final: false }));
    await socket.write(frame(OPCODE.ping, "p"));
    assertEquals((await next()).opcode, OPCODE.pong);
    await socket.write(frame(OPCODE.continuation, bytes.subarray(5)));
    assertEquals((await next()).text, "fragments of one message");
  });
});

const CHOICES: [offer: string, answer: string, deflate?: DeflatePolicy | false][] = [
  ["permessage-deflate; client_max_window_bits", "permessage-deflate; client_max_window_bits=12"],
  ["permessage-deflate; client_max_window_bits", "permessage-deflate", { windowBits: 15 }],
  ["permessage-deflate; server_max_window_bits=8", ""],
  ["permessage-deflate; unknown, permessage-deflate", "permessage-deflate"],
  ["permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover", {
    takeover: false,
  }],
  ["permessage-deflate", "", false],
];
for (const [offer, answer, deflate] of CHOICES) {
  const how = deflate === undefined ? "" : ` with ${JSON.stringify(deflate)}`;
  Deno.test(`wire server answers the offer "${offer}" with "${answer}"${how}`, async () => {
    await onDeflate(async ({ extensions, socket, next, send }) => {
      assertEquals(extensions, answer);
      if (answer !== "" && !offer.includes("no_context") && deflate === undefined) await send("Hello");
      else await socket.write(frame(OPCODE.text, "Hello"));
      assertEquals((await next()).text, "Hello");
    }, { offer, ...(deflate !== undefined && { deflate }) });
  });
}

Deno.test("wire server refuses an offer that it cannot read with 400, and the built-in door too", async () => {
  for (const transport of ["wire", "builtin"] as const) {
    const server = serveEcho({ transport, port: 0 });
    const socket = await connectRaw(server.url);
    await socket.write(requestHead({ "Sec-WebSocket-Extensions": "permessage-deflate;;" }));
    assertEquals((await within(socket.readHead(), "answer", WAIT)).split("\r\n")[0], "HTTP/1.1 400 Bad Request");
    socket.close();
    await server.shutdown();
  }
});

Deno.test("wire server without takeover leaves small messages uncompressed, and compresses from the threshold up", async () => {
  const deflate = { takeover: false, thresholdBytes: 100 };
  await onDeflate(async ({ next, socket }) => {
    for (const length of [99, 100, 5000]) {
      const alone = new MessageDeflate({ own: DIRECTION, peer: DIRECTION, maxMessageBytes: MIB });
      const text = "a".repeat(length);
      await socket.write(frame(OPCODE.text, alone.deflateWhole(utf8(text)), { reserved: RSV1 }));
      const echo = await next();
      let inflated = echo.text;
      if (echo.reserved === RSV1) {
        inflated = "";
        alone.inflate(new Uint8Array(echo.payload), true, (bytes) => inflated += new TextDecoder().decode(bytes));
      }
      alone.release();
      assertEquals([echo.reserved, inflated === text], [length < 100 ? undefined : RSV1, true], `${length}`);
    }
  }, { deflate });
});

interface Wrong {
  readonly name: string;
  readonly write: (scene: Scene) => Promise<void>;
  readonly code: number;
  readonly reason?: string;
  readonly options?: ServeEchoOptions;
}

const WRONG: Wrong[] = [
  {
    name: "data that is not DEFLATE",
    write: ({ socket }) => socket.write(frame(OPCODE.text, Uint8Array.of(0xff, 0xff), { reserved: RSV1 })),
    code: 1007,
    reason: "Message cannot be inflated: invalid block type",
  },
  {
    name: "text that is not UTF-8",
    write: ({ send }) => send(Uint8Array.of(0xff), OPCODE.text),
    code: 1007,
  },
  {
    name: "a message over the limit",
    write: ({ send }) => send(new Uint8Array(MIB + 1)),
    code: 1009,
    reason: `at most ${MIB} bytes`,
    options: { maxMessageBytes: MIB },
  },
  {
    name: "a bomb",
    write: ({ send }) => send(new Uint8Array(8 * MIB)),
    code: 1008,
    reason: "Message inflates to over 256 times its size",
  },
  {
    name: "a bomb of another ratio",
    write: ({ send }) => send(new Uint8Array(8 * MIB)),
    code: 1008,
    reason: "Message inflates to over 9 times its size",
    options: { deflate: { maxInflateRatio: 9 } },
  },
  {
    name: "RSV1 on a continuation",
    write: async ({ socket }) => {
      await socket.write(frame(OPCODE.text, "", { reserved: RSV1, final: false }));
      await socket.write(frame(OPCODE.continuation, "", { reserved: RSV1 }));
    },
    code: 1002,
    reason: "RSV1 is set on a frame that does not begin a message",
  },
  {
    name: "RSV1 on a ping",
    write: ({ socket }) => socket.write(frame(OPCODE.ping, "", { reserved: RSV1 })),
    code: 1002,
  },
];
for (const { name, write, code, reason, options = {} } of WRONG) {
  Deno.test(`wire server closes with ${code} for ${name}`, async () => {
    await onDeflate(async (scene) => {
      await scene.send("before");
      assertEquals((await scene.next()).text, "before");
      await write(scene);
      const close = await scene.next();
      const [high = 0, low = 0] = close.payload;
      assertEquals([close.opcode, high * 256 + low], [OPCODE.close, code]);
      if (reason !== undefined) assertEquals(close.text.slice(2).replace(/^\ufffd*/, ""), reason);
    }, options);
  });
}

Deno.test("wire server counts the bytes on the wire, and the connections that compress", async () => {
  await onDeflate(async ({ send, next, socket, closed, stats }) => {
    await send("a".repeat(1000));
    const { payload } = await next();
    assertEquals([stats().bytes, stats().deflated, stats().wire?.sent], [1000, 1, payload.byteLength + 2]);
    await socket.write(frame(OPCODE.close, Uint8Array.of(3, 232)));
    await next();
    const { wire, bytes } = await closed;
    assert(bytes === 1000 && (wire?.received ?? 1000) < 50 && (wire?.sent ?? 1000) < 50, JSON.stringify(wire));
  });
});

Deno.test("wire server counts engines as memory, and closes the largest holder with 1013", async () => {
  // An inflater takes 47 KiB, with a window of 15 bits.
  await onDeflate(async ({ send, next, closed }) => {
    await send("Hello");
    const frames = [await next()];
    if (frames[0]?.opcode !== OPCODE.close) frames.push(await next());
    const [high = 0, low = 0] = frames.at(-1)?.payload ?? [];
    assertEquals(high * 256 + low, 1013);
    assertEquals((await closed).sent?.code, 1013);
  }, { maxBufferedTotalBytes: 40 * 1024 });
});

/** Counts the work in a turn of the event loop. */
class CountedTurns extends Turns {
  /** The most that was done in one turn, in frames, and in all. */
  most = 0;
  sum = 0;
  #now = 0;

  override spend(work: number): void {
    super.spend(work);
    if (this.#now === 0) setImmediate(() => this.#now = 0);
    this.#now += work;
    this.sum += work;
    this.most = Math.max(this.most, this.#now);
  }
}

/** A stream whose bytes are there. */
function streamOf(bytes: Uint8Array, onWrite = (_written: Uint8Array) => {}): ByteStream {
  return {
    read(into) {
      const piece = bytes.subarray(0, into.byteLength);
      bytes = bytes.subarray(piece.byteLength);
      into.set(piece);
      return Promise.resolve(piece.byteLength || null);
    },
    write(written) {
      onWrite(written);
      return Promise.resolve(written.byteLength);
    },
    closeWrite: () => Promise.resolve(),
    close() {},
  };
}

Deno.test("wire server inflates only so much in one turn of its event loop, of one connection and of 20", async () => {
  for (const connections of [1, 20]) {
    const turns = new CountedTurns();
    const running = Array.from({ length: connections }, async () => {
      const [own, peer] = [0, 1].map(() =>
        new MessageDeflate({ own: DIRECTION, peer: DIRECTION, level: 9, maxMessageBytes: 2 * MIB })
      );
      assert(own && peer);
      const bombs = [1, 2, 3].map(() =>
        frame(OPCODE.binary, peer.deflateWhole(new Uint8Array(MIB)), { reserved: RSV1 })
      );
      const stream = streamOf(Uint8Array.from(bombs.flatMap((each) => [...each])));
      const echo = new WireEcho(stream, { maxMessageBytes: 2 * MIB, idleTimeoutMs: 0 }, turns, own);
      await echo.run();
      peer.release();
      assertEquals([echo.messages, echo.bytes], [3, 3 * MIB]);
    });
    await within(Promise.all(running), "echoes", WAIT);
    // 3 MiB that are inflated and compressed are as much work as 12,288 frames; a period is for 8,192, and a slice is one too much.
    assert(turns.sum >= connections * 12_288, `${turns.sum}`);
    assert(turns.most < MAX_PERIOD_WORK + 2048, `${turns.most} in one turn`);
  }
});

Deno.test("WireEcho blames no peer whose connection it dropped inside a read, as too much was held", async () => {
  class SheddingTurns extends Turns {
    override turn(): undefined {
      // Echoes of this read wait already: no close frame can go out before them.
      echo.shed();
    }
  }
  // Repeated noise is short from the peer, and long from a server without context.
  const codec = (takeover: boolean) =>
    new MessageDeflate({ own: { takeover, windowBits: 15 }, peer: DIRECTION, level: 9, maxMessageBytes: MIB });
  const [own, peer] = [codec(false), codec(true)];
  const noise = crypto.getRandomValues(new Uint8Array(40));
  const packed = () => frame(OPCODE.binary, peer.deflateWhole(noise), { reserved: RSV1 });
  const stream = streamOf(Uint8Array.from(Array.from({ length: 20 }, () => [...packed()]).flat()));
  const echo = new WireEcho(stream, { maxMessageBytes: MIB, idleTimeoutMs: 0 }, new SheddingTurns(), own);
  await within(echo.run(), "end", WAIT);
  peer.release();
  const { sent, detail } = await echo.ended;
  assertEquals([sent, detail], [null, SHED_REASON]);
});

Deno.test("wire server echoes the message of a light connection, while 100 with bombs wait", async () => {
  const turns = new CountedTurns();
  const limits = { maxMessageBytes: 2 * MIB, idleTimeoutMs: 0 };
  const codec = () => new MessageDeflate({ own: DIRECTION, peer: DIRECTION, level: 9, maxMessageBytes: 2 * MIB });
  const [packer, hello] = [codec(), codec()];
  const bomb = frame(OPCODE.binary, packer.deflateWhole(new Uint8Array(MIB)), { reserved: RSV1 });
  const bombers: WireEcho[] = [];
  const ready = Promise.withResolvers<void>();
  const done = () => bombers.reduce((sum, { messages }) => sum + messages, 0);
  let [workBefore, workAfter] = [0, NaN];
  let reads = 0;
  const honest = new WireEcho(
    {
      ...streamOf(new Uint8Array(), () => workAfter = turns.sum),
      async read(into) {
        if (reads === 20) await ready.promise;
        if (reads++ > 20) return null;
        const message = frame(OPCODE.text, hello.deflateWhole(utf8("Hello")), { reserved: RSV1 });
        into.set(message);
        return message.byteLength;
      },
    },
    limits,
    turns,
    codec(),
  );
  const running = [honest.run()];
  // The honest one has had its first messages echoed.
  while (honest.messages < 20) await new Promise((resolve) => setImmediate(resolve));
  for (let count = 0; count < 100; count++) {
    const bomber = new WireEcho(streamOf(bomb), limits, turns, codec());
    bombers.push(bomber);
    running.push(bomber.run());
  }
  workBefore = turns.sum;
  ready.resolve();
  await within(Promise.all(running), "echoes", WAIT);
  for (const each of [packer, hello]) each.release();
  assertEquals([honest.messages, done()], [21, 100]);
  // The first slice of each bomb is as much work as 528 frames.
  assert(workAfter - workBefore < 4 * MAX_PERIOD_WORK, `${workAfter - workBefore} frames of work came first`);
});

Deno.test("wire server lets others have their turn during reads that inflate to much", async () => {
  class AskedTurns extends CountedTurns {
    asked = 0;
    override turn(demand: Demand): Promise<void> | undefined {
      this.asked++;
      return super.turn(demand);
    }
  }
  const [own, peer] = [0, 1].map(() =>
    new MessageDeflate({ own: DIRECTION, peer: DIRECTION, level: 9, maxMessageBytes: 2 * MIB })
  );
  assert(own && peer);
  const bombs = [1, 2, 3].map(() => frame(OPCODE.binary, peer.deflateWhole(new Uint8Array(MIB)), { reserved: RSV1 }));
  const stream = streamOf(Uint8Array.from(bombs.flatMap((each) => [...each])));
  const turns = new AskedTurns();
  const echo = new WireEcho(stream, { maxMessageBytes: 2 * MIB, idleTimeoutMs: 0 }, turns, own);
  await echo.run();
  peer.release();
  // The server reads 3 KiB in slices of 128 bytes.
  assert(turns.asked >= 24, `${turns.asked}`);
  assertEquals([echo.messages, echo.bytes], [3, 3 * MIB]);
});

const PARAMETERS = [
  {},
  { serverNoContextTakeover: true, clientNoContextTakeover: true },
  { serverMaxWindowBits: 9, clientMaxWindowBits: 9 },
  { serverMaxWindowBits: 15, clientMaxWindowBits: 15 },
  { clientMaxWindowBits: false, zlibDeflateOptions: { level: 9, memLevel: 9 } },
];
for (const parameters of PARAMETERS) {
  Deno.test(`wire server and npm ws exchange compressed messages with ${JSON.stringify(parameters)}`, async () => {
    const server = serveEcho({ transport: "wire", port: 0 });
    const socket = new WsClient(server.url, { perMessageDeflate: { threshold: 0, ...parameters } });
    const sent: Uint8Array[] = [0, 1, 100, 1023, 1024, 20_000, 70_000, 200_000].map((length) =>
      Uint8Array.from({ length }, (_, index) => (index * index) % 251)
    );
    const received: Uint8Array[] = [];
    const done = Promise.withResolvers<void>();
    socket.on("message", (data: Uint8Array) => received.push(new Uint8Array(data)) === sent.length && done.resolve());
    socket.on("error", done.reject);
    socket.on("open", () => sent.forEach((message) => socket.send(message)));
    await within(done.promise, "echoes", WAIT);
    assert(socket.extensions.startsWith("permessage-deflate"));
    assertEquals(received.map((bytes) => bytes.toHex()), sent.map((bytes) => bytes.toHex()));
    const closed = new Promise((resolve) => socket.once("close", resolve));
    socket.close(1000);
    assertEquals(await within(closed, "close", WAIT), 1000);
    await server.shutdown();
  });
}
