/** The echo server over our own frames only: raw bytes in, frames out. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { within } from "../../lib/net/deadline.ts";
import { CLOSE, connectRaw, requestHead } from "../support/raw_peer.ts";
import { frame, WAIT } from "../support/wire.ts";
import { closeOf, concat, onWire, untilEnd, utf8 } from "../support/wire_scene.ts";

const begin = (opcode: number, payload: string | Uint8Array) => frame(opcode, payload, { final: false });
const more = (payload: string | Uint8Array) => begin(OPCODE.continuation, payload);
const last = (payload: string | Uint8Array) => frame(OPCODE.continuation, payload);

function closeFrame(code: number, reason = ""): Uint8Array {
  return frame(OPCODE.close, Uint8Array.of(code >> 8, code & 255, ...utf8(reason)));
}

for (
  const [what, bytes, code, reason] of [
    ["an unmasked frame", [0x81, 0x01, 0x61], 1002, "Frame of a client is not masked"],
    ["a reserved bit", [0xc1, 0x80, 0, 0, 0, 0], 1002, "Frame has a reserved bit set"],
    ["the opcode 3", [0x83, 0x80, 0, 0, 0, 0], 1002, "Frame has the opcode 3, which is not defined"],
    ["the opcode 11", [0x8b, 0x80, 0, 0, 0, 0], 1002, "Frame has the opcode 11, which is not defined"],
    ["a ping in fragments", [0x09, 0x80, 0, 0, 0, 0], 1002, "Control frame is fragmented"],
    ["a ping of 126 bytes", [0x89, 0xfe, 0, 126], 1002, "Control frame is longer than 125 bytes"],
    [
      "a length of 125 in two bytes",
      [0x82, 0xfe, 0, 125, 0, 0, 0, 0],
      1002,
      "Frame has the length 125 in more bytes than needed",
    ],
    [
      "a length over 2^63",
      [0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
      1002,
      "Frame has a length over 2^63 - 1",
    ],
    ["a continuation of nothing", last("x"), 1002, "Continuation came without a message to continue"],
    [
      "a text message inside a binary one",
      concat(begin(OPCODE.binary, "x"), frame(OPCODE.text, "y")),
      1002,
      "New text message began inside an unfinished binary message",
    ],
    ["text that is not UTF-8", frame(OPCODE.text, Uint8Array.of(0xff)), 1007, "Text message is not UTF-8"],
    [
      "text that ends inside a character",
      frame(OPCODE.text, Uint8Array.of(0xe2, 0x82)),
      1007,
      "Text message is not UTF-8",
    ],
    [
      "a fragment that is not UTF-8, before the message ends",
      begin(OPCODE.text, Uint8Array.of(0x61, 0xff)),
      1007,
      "Text message is not UTF-8",
    ],
    ["a close frame of one byte", frame(OPCODE.close, "x"), 1002, "Close frame has a payload of one byte"],
    ["a close frame with 1005", closeFrame(1005), 1002, "Close frame has the code 1005, which must not be sent"],
    ["a close frame with 999", closeFrame(999), 1002, "Close frame has the code 999, which must not be sent"],
    [
      "a close reason that is not UTF-8",
      frame(OPCODE.close, Uint8Array.of(0x03, 0xe8, 0xff)),
      1007,
      "Close reason is not UTF-8",
    ],
    ["the header of a message over the limit", [0x82, 0xfe, 0x10, 0, 0, 0, 0, 0], 1009, "at most 64 bytes"],
  ] as const
) {
  Deno.test(`wire server answers ${what} with ${code}, and the message before it first`, async () => {
    await onWire(async ({ socket, next, closed }) => {
      await socket.write(concat(frame(OPCODE.text, "before"), Uint8Array.from(bytes)));
      const echo = await next();
      assertEquals([echo.opcode, new TextDecoder().decode(echo.payload)], [OPCODE.text, "before"]);
      let answer = await next();
      // The valid part of a binary message has gone back already.
      while (answer.opcode !== CLOSE) answer = await next();
      assertEquals(closeOf(answer), [code, reason]);
      socket.close();
      const { sent, received } = await closed;
      assertEquals([sent, received], [{ code, reason }, null]);
    }, { maxMessageBytes: 64 });
  });
}

Deno.test("wire server ends TCP after a protocol error, without waiting for the peer's close frame", async () => {
  await onWire(async ({ socket, next }) => {
    await socket.write(Uint8Array.of(0x81, 0x01, 0x61));
    assertEquals(closeOf(await next())[0], 1002);
    await untilEnd(socket);
  });
});

Deno.test("wire server reads the peer's close frame after a message over the limit", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(frame(OPCODE.text, "too long"));
    assertEquals(closeOf(await next()), [1009, "at most 4 bytes"]);
    await socket.write(concat(frame(OPCODE.text, "more"), closeFrame(1009, "sorry")));
    assertEquals((await closed).received, { code: 1009, reason: "sorry" });
  }, { maxMessageBytes: 4 });
});

Deno.test("wire server joins text fragments, and answers the pings between them at once", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(concat(begin(OPCODE.text, "one "), frame(OPCODE.ping, "first")));
    assertEquals(await next(), { opcode: OPCODE.pong, payload: utf8("first") });
    await socket.write(concat(more("two "), frame(OPCODE.ping), more(""), last("three")));
    assertEquals(await next(), { opcode: OPCODE.pong, payload: utf8("") });
    assertEquals(await next(), { opcode: OPCODE.text, payload: utf8("one two three") });
    await socket.write(closeFrame(1000));
    const { messages, bytes } = await closed;
    assertEquals([messages, bytes], [1, 13]);
  });
});

Deno.test("wire server sends fragments of a binary message back as they come", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(begin(OPCODE.binary, "one"));
    assertEquals(await next(), { opcode: OPCODE.binary, payload: utf8("one") });
    await socket.write(concat(frame(OPCODE.ping, "?"), more("two")));
    assertEquals(await next(), { opcode: OPCODE.pong, payload: utf8("?") });
    assertEquals(await next(), { opcode: OPCODE.continuation, payload: utf8("two") });
    await socket.write(last(""));
    assertEquals(await next(), { opcode: OPCODE.continuation, payload: utf8("") });
    await socket.write(closeFrame(1000));
    const { messages, bytes } = await closed;
    assertEquals([messages, bytes], [1, 6]);
  });
});

Deno.test("wire server accepts text whose characters are split over fragments", async () => {
  await onWire(async ({ socket, next }) => {
    const [first = 0, ...others] = utf8("😀€");
    await socket.write(
      concat(begin(OPCODE.text, Uint8Array.of(first)), ...others.map((byte) => more(Uint8Array.of(byte))), last("")),
    );
    assertEquals(await next(), { opcode: OPCODE.text, payload: utf8("😀€") });
  });
});

for (const opcode of [OPCODE.text, OPCODE.binary]) {
  const kind = opcode === OPCODE.text ? "text" : "binary";
  Deno.test(`wire server accepts ${kind} fragments of maxMessageBytes in total`, async () => {
    await onWire(async ({ socket, next }) => {
      await socket.write(concat(begin(opcode, "1234"), last("5678"), closeFrame(1000)));
      let bytes = 0;
      for (let answer = await next(); answer.opcode !== CLOSE; answer = await next()) {
        bytes += answer.payload.byteLength;
      }
      assertEquals(bytes, 8);
    }, { maxMessageBytes: 8 });
  });

  Deno.test(`wire server answers ${kind} fragments of one byte more with 1009, by their header`, async () => {
    await onWire(async ({ socket, next }) => {
      await socket.write(concat(begin(opcode, "1234"), last("56789").subarray(0, 6)));
      let answer = await next();
      while (answer.opcode !== CLOSE) answer = await next();
      assertEquals(closeOf(answer), [1009, "at most 8 bytes"]);
    }, { maxMessageBytes: 8 });
  });
}

Deno.test("wire server counts each message from 0", async () => {
  await onWire(async ({ socket, next }) => {
    for (const opcode of [OPCODE.text, OPCODE.binary, OPCODE.text]) {
      await socket.write(concat(begin(opcode, "1234"), last("5678")));
      let bytes = 0;
      while (bytes < 8) bytes += (await next()).payload.byteLength;
    }
  }, { maxMessageBytes: 8 });
});

Deno.test("wire server ends endless fragments with 1009", async () => {
  await onWire(async ({ socket, next }) => {
    const answer = next();
    await socket.write(begin(OPCODE.text, "x"));
    const many = concat(...Array.from({ length: 100 }, () => more("0123456789")));
    for (let count = 0; count < 20; count++) await socket.write(many).catch(() => {});
    assertEquals(closeOf(await answer), [1009, "at most 16384 bytes"]);
  }, { maxMessageBytes: 16384 });
});

for (const size of [65_536, 1_048_576]) {
  for (const opcode of [OPCODE.text, OPCODE.binary]) {
    Deno.test(`wire server echoes ${size} bytes and more of ${opcode === OPCODE.text ? "text" : "binary"} unchanged`, async () => {
      await onWire(async ({ socket, next }) => {
        // Ten bytes at a time, so that characters span the reads of the server.
        const whole = utf8("é€😀x".repeat(Math.ceil(size / 10)));
        const sending = socket.write(concat(frame(OPCODE.ping, "a"), frame(opcode, whole), frame(OPCODE.text, "z")));
        assertEquals((await next()).opcode, OPCODE.pong);
        const echo = await next();
        assert(echo.opcode === opcode && equal(echo.payload, whole));
        assertEquals(await next(), { opcode: OPCODE.text, payload: utf8("z") });
        await sending;
      });
    });
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index]);
}

Deno.test("wire server reads frames that come in one piece with the head", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = await connectRaw(server.url);
  await socket.write(concat(requestHead(), frame(OPCODE.text, "a"), frame(OPCODE.binary, "b"), closeFrame(1000)));
  assertMatch(await within(socket.readHead(), "upgrade", WAIT), /^HTTP\/1\.1 101 /);
  const opcodes = [];
  for (let count = 0; count < 3; count++) opcodes.push((await within(socket.readFrame(), "frame", WAIT)).opcode);
  assertEquals(opcodes, [OPCODE.text, OPCODE.binary, OPCODE.close]);
  await untilEnd(socket);
  socket.close();
  await server.shutdown();
});

Deno.test("wire server reads head and frames byte by byte", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = await connectRaw(server.url);
  const all = concat(
    requestHead(),
    frame(OPCODE.text, "é€😀"),
    frame(OPCODE.ping, "ping"),
    begin(OPCODE.binary, "1"),
    last("2"),
    frame(OPCODE.binary, new Uint8Array(300)),
    closeFrame(4000, "bye"),
  );
  for (const byte of all) await socket.write(Uint8Array.of(byte));
  await within(socket.readHead(), "upgrade", WAIT);
  const frames = [];
  for (let count = 0; count < 6; count++) frames.push(await within(socket.readFrame(), "frame", WAIT));
  assertEquals(frames.slice(0, 4).map(({ opcode, payload }) => [opcode, new TextDecoder().decode(payload)]), [
    [OPCODE.text, "é€😀"],
    [OPCODE.pong, "ping"],
    [OPCODE.binary, "1"],
    [OPCODE.continuation, "2"],
  ]);
  assertEquals(frames[4], { opcode: OPCODE.binary, payload: new Uint8Array(300) });
  assertEquals(closeOf(frames[5]!), [4000, "bye"]);
  socket.close();
  await server.shutdown();
});

for (
  const [what, bytes, received] of [
    ["a code and a reason", closeFrame(4000, "bye"), { code: 4000, reason: "bye" }],
    ["nothing in it", frame(OPCODE.close), { code: 1005, reason: "" }],
    ["a reason of 123 bytes", closeFrame(1000, "é".repeat(61) + "x"), { code: 1000, reason: "é".repeat(61) + "x" }],
  ] as const
) {
  Deno.test(`wire server answers a close frame with ${what} by the same, and ends TCP`, async () => {
    await onWire(async ({ socket, next, closed }) => {
      await socket.write(concat(bytes, "garbage behind it"));
      const { opcode, payload } = await next();
      assertEquals(opcode, CLOSE);
      assertEquals(frame(CLOSE, payload), bytes);
      await untilEnd(socket);
      const end = await closed;
      assertEquals([end.received, end.sent, end.initiator, end.detail], [received, received, "peer", ""]);
    });
  });
}

Deno.test("wire server drops a peer that does not answer its close frame", async () => {
  await onWire(async ({ socket, next, closed }) => {
    await socket.write(frame(OPCODE.text, "too long"));
    assertEquals(closeOf(await next())[0], 1009);
    const { received, detail } = await closed;
    assertEquals([received, detail], [null, "No answer to the close frame"]);
    await untilEnd(socket);
  }, { maxMessageBytes: 1 });
});

Deno.test("wire server waits for the end of a frame that it echoes before it closes", async () => {
  await onWire(async ({ server, socket, next, closed }) => {
    const message = frame(OPCODE.binary, "0123456789");
    await socket.write(message.subarray(0, 10));
    const echo = next();
    // An answer on a later connection shows that the server has read the half.
    await fetch(server.url.replace("ws:", "http:")).then((answer) => answer.body?.cancel());
    const stopping = server.shutdown(WAIT);
    await socket.write(concat(message.subarray(10), frame(OPCODE.text, "not echoed")));
    assertEquals((await echo).payload, utf8("0123456789"));
    assertEquals(closeOf(await next()), [1001, "server shutting down"]);
    await socket.write(closeFrame(1001));
    assertEquals([await stopping, (await closed).messages], [0, 1]);
  });
});
