/** Compression of messages: output equals input, for all parameters, and never exceeds a limit. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import zlib from "node:zlib";
import { DEFAULT_MAX_INFLATE_RATIO, type MessageDeflateOptions, MIN_BOMB_BYTES } from "../../lib/net/deflate_limits.ts";
import { engineCount, MessageDeflate } from "../../lib/net/zlib.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";
import { MemoryBudget } from "../../lib/server/budget.ts";
import { concatBytes } from "../../lib/protocol/message.ts";

const MIB = 1024 * 1024;
const DIRECTION = { takeover: true, windowBits: 15 };
const OPTIONS: MessageDeflateOptions = { own: DIRECTION, peer: DIRECTION, maxMessageBytes: 16 * MIB };
const utf8 = (text: string) => new TextEncoder().encode(text);

/** Runs a test with a codec, and checks that no engine is left. */
function withCodec(options: Partial<MessageDeflateOptions>, test: (codec: MessageDeflate) => void) {
  const before = engineCount();
  const codec = new MessageDeflate({ ...OPTIONS, ...options });
  try {
    test(codec);
  } finally {
    codec.release();
  }
  // Without takeover, engines wait for the next message of any connection.
  const takesOver = options.own?.takeover !== false && options.peer?.takeover !== false;
  if (takesOver) assert(engineCount() <= before, `${engineCount()} engines, before ${before}`);
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concatBytes(pieces);
}

function deflate(codec: MessageDeflate, ...parts: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  const finals: boolean[] = [];
  parts.forEach((part, index) =>
    codec.deflate(part, index === parts.length - 1, (bytes, final) => {
      pieces.push(bytes.slice());
      finals.push(final);
    })
  );
  // Only the last piece ends the message.
  assertEquals(finals.indexOf(true), finals.length - 1);
  return joined(pieces);
}

function inflate(codec: MessageDeflate, ...parts: Uint8Array<ArrayBuffer>[]): Uint8Array<ArrayBuffer> {
  const pieces: Uint8Array[] = [];
  const finals: boolean[] = [];
  parts.forEach((part, index) =>
    codec.inflate(part, index === parts.length - 1, (bytes, final) => {
      pieces.push(bytes.slice());
      finals.push(final);
    })
  );
  assertEquals(finals.indexOf(true), finals.length - 1);
  return joined(pieces);
}

function codeOf(step: () => unknown): string {
  return assertThrows(step, ProtocolError).code;
}

/** The examples of RFC 7692 section 7.2.3. */
const EXAMPLES: [name: string, payload: number[], text: string][] = [
  ["one block", [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], "Hello"],
  ["the same with a reference", [0xf2, 0x00, 0x11, 0x00, 0x00], "Hello"],
  ["a block that is not compressed", [0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], "Hello"],
  ["a block with BFINAL", [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], "Hello"],
  ["two blocks", [0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"],
  ["BFINAL in the middle", [0xf3, 0x48, 0x05, 0x00, 0xca, 0xc9, 0xc9, 0x07, 0x00], "Hello"],
  ["an empty message", [0x00], ""],
  ["no byte at all", [], ""],
];

Deno.test("inflate() reads the examples of RFC 7692, in one piece and byte by byte", () => {
  withCodec({}, (codec) => {
    for (const [name, payload, text] of EXAMPLES) {
      assertEquals(new TextDecoder().decode(inflate(codec, Uint8Array.from(payload))), text, name);
    }
  });
  withCodec({}, (codec) => {
    for (const [name, payload, text] of EXAMPLES) {
      const bytes = payload.map((byte) => Uint8Array.of(byte));
      assertEquals(new TextDecoder().decode(inflate(codec, ...bytes, new Uint8Array(0))), text, name);
    }
  });
});

Deno.test("deflate() compresses an empty message to one byte, first, later and in parts", () => {
  withCodec({}, (codec) => {
    for (const text of ["", "Hello", "", ""]) {
      const bytes = deflate(codec, utf8(text));
      if (text === "") assertEquals(bytes, Uint8Array.of(0));
      assertEquals(inflate(codec, bytes), utf8(text));
    }
    assertEquals(inflate(codec, deflate(codec, utf8(""), utf8("a"), utf8(""))), utf8("a"));
  });
});

Deno.test("deflate() and inflate() keep bytes, order and limits for any parameters, parts and messages", () => {
  const message = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.string({ maxLength: 200 }).map(utf8),
    // Longer than an engine's output at once, well and hardly compressible.
    fc.integer({ min: 60_000, max: 200_000 }).map((length) => new Uint8Array(length)),
    fc.integer({ min: 60_000, max: 140_000 }).map(noise),
  );
  const options = fc.record({
    own: fc.record({ takeover: fc.boolean(), windowBits: fc.integer({ min: 9, max: 15 }) }),
    level: fc.integer({ min: 1, max: 9 }),
    memoryLevel: fc.integer({ min: 1, max: 9 }),
  });
  fc.assert(
    fc.property(
      options,
      fc.array(message, { maxLength: 6 }),
      fc.integer({ min: 1, max: 70_000 }),
      (given, list, cut) => {
        withCodec({ ...given, peer: given.own }, (codec) => {
          for (const bytes of list) {
            const whole = new Uint8Array(bytes);
            const parts = [whole.subarray(0, cut), whole.subarray(cut)];
            const packed = deflate(codec, ...parts);
            const back = inflate(codec, packed.subarray(0, cut), packed.subarray(cut));
            assert(
              back.length === whole.length && back.every((byte, at) => byte === whole[at]),
              `${whole.length} bytes`,
            );
          }
        });
      },
    ),
    { numRuns: 60 },
  );
});

function noise(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, at + 65536));
  return bytes;
}

Deno.test("deflate() leaves out the last four bytes wherever the pieces of the output end", () => {
  // Stored blocks: each message length moves the end by one byte.
  for (let length = 65_480; length < 65_560; length++) {
    withCodec({}, (codec) => {
      const bytes = noise(length);
      const back = inflate(codec, deflate(codec, bytes));
      assert(back.length === length && back.every((byte, at) => byte === bytes[at]), `${length} bytes`);
    });
  }
});

Deno.test("inflate() refuses data that is damaged, ends inside a block or refers to nothing", () => {
  const broken: [name: string, payload: number[]][] = [
    ["no block", [0xff, 0xff, 0xff]],
    ["a block that does not end", [0xf2, 0x48, 0xcd]],
    ["a message with its last bytes", [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00, 0x00, 0xff, 0xff]],
    ["a reference to a message that never was", [0xf2, 0x00, 0x11, 0x00, 0x00]],
  ];
  for (const [name, payload] of broken) {
    withCodec({}, (codec) => {
      const error = assertThrows(() => inflate(codec, Uint8Array.from(payload)), ProtocolError);
      assertEquals([error.code, error.closeCode], ["invalid-deflate", 1007], name);
    });
  }
});

Deno.test("inflate() stops at the limit, and accepts a message of exactly the limit", () => {
  const limit = 100_000;
  withCodec({ maxMessageBytes: limit }, (codec) => {
    assertEquals(inflate(codec, deflate(codec, new Uint8Array(limit))).byteLength, limit);
    const bomb = deflate(codec, new Uint8Array(16 * MIB));
    let made = 0;
    const take = ({ byteLength }: Uint8Array) => made += byteLength;
    assertEquals(codeOf(() => codec.inflate(bomb, true, take)), "message-too-big");
    assert(made <= limit, `${made}`);
  });
});

Deno.test("inflate() stops a bomb over 1 MiB at the ratio, and lets smaller and less dense messages through", () => {
  const maxInflateRatio = DEFAULT_MAX_INFLATE_RATIO;
  assertEquals([maxInflateRatio, MIN_BOMB_BYTES], [256, MIB]);
  withCodec({ maxInflateRatio, level: 9 }, (codec) => {
    assertEquals(inflate(codec, deflate(codec, new Uint8Array(MIB))).byteLength, MIB);
    const dense = new Uint8Array(4 * MIB);
    dense.set(noise(dense.byteLength / 200));
    assertEquals(inflate(codec, deflate(codec, dense)).byteLength, dense.byteLength);
    const bomb = deflate(codec, new Uint8Array(8 * MIB));
    let made = 0;
    const error = assertThrows(() => codec.inflate(bomb, true, (bytes) => made += bytes.byteLength), ProtocolError);
    assertEquals([error.code, error.closeCode], ["inflates-too-much", 1008]);
    assert(made <= MIB + 65536, `${made}`);
  });
});

Deno.test("MessageDeflate has no engine before its first message, and none without takeover between messages", () => {
  withCodec({}, (codec) => {
    assertEquals(codec.heldBytes, 0);
    const packed = deflate(codec, utf8("Hello"));
    // Twice its window with as many links, pending output, and tables.
    assertEquals(codec.heldBytes, (128 + 64 + 136) * 1024);
    inflate(codec, packed);
    assertEquals(codec.heldBytes, (128 + 64 + 136 + 32 + 15) * 1024);
  });
  const none = { takeover: false, windowBits: 12 };
  withCodec({ own: none, peer: none, memoryLevel: 5 }, (codec) => {
    const packed = deflate(codec, utf8("Hello"), utf8(" world"));
    assertEquals(codec.heldBytes, 0);
    codec.inflate(packed.subarray(0, 3), false, () => {});
    assertEquals(codec.heldBytes, 19 * 1024);
    codec.inflate(packed.subarray(3), true, () => {});
    assertEquals(codec.heldBytes, 0);
    // Each message is independent.
    assertEquals(deflate(codec, utf8("Hello"), utf8(" world")), packed);
  });
});

Deno.test("MessageDeflate keeps a compressor only while the budget has memory for it, and gives that back", () => {
  const budget = new MemoryBudget(2 * MIB);
  const fill = new MemoryBudget(2 * MIB);
  assert(fill.reserve(300 * 1024) && fill.isTight);
  const own = { takeover: true, windowBits: 12 };
  const text = utf8("the same words again");
  withCodec({ own, memoryLevel: 5, budget }, (codec) => {
    const [first, second] = [deflate(codec, text), deflate(codec, text)];
    assert(second.length < first.length);
    assertEquals([budget.totalBytes, codec.heldBytes], [160 * 1024, 0]);
    assertEquals(codec.isWorth(1), true);
    // A second compressor finds more than half of the reservable memory taken.
    const other = new MessageDeflate({ ...OPTIONS, own, memoryLevel: 5, budget: fill });
    assertEquals([deflate(other, text), deflate(other, text)], [first, first]);
    assertEquals([other.heldBytes, other.isWorth(1023), other.isWorth(1024)], [0, false, true]);
    other.release();
    assertEquals(fill.totalBytes, 300 * 1024);
  });
  assertEquals(budget.totalBytes, 0);
});

Deno.test("deflate() compresses each piece of inflate() before the next one comes", () => {
  withCodec({}, (codec) => {
    const sent = noise(300_000);
    sent.fill(7, 100_000, 250_000);
    const packed = deflate(codec, sent);
    const echoed: Uint8Array[] = [];
    codec.inflate(packed, true, (bytes, final) => {
      codec.deflate(bytes, final, (piece) => {
        echoed.push(piece.slice());
      });
    });
    withCodec({}, (peer) => {
      inflate(peer, packed);
      const back = inflate(peer, joined(echoed));
      assert(back.length === sent.length && back.every((byte, at) => byte === sent[at]));
    });
  });
});

Deno.test("isWorth() is false only for small messages without takeover", () => {
  const none = { takeover: false, windowBits: 15 };
  const worth = (options: Partial<MessageDeflateOptions>) => {
    const codec = new MessageDeflate({ ...OPTIONS, ...options });
    return [0, 99, 100, 1023, 1024].map((bytes) => codec.isWorth(bytes));
  };
  assertEquals(worth({}), [true, true, true, true, true]);
  assertEquals(worth({ own: none }), [false, false, false, false, true]);
  assertEquals(worth({ own: none, thresholdBytes: 100 }), [false, false, true, true, true]);
});

Deno.test("the streams of node:zlib read the output of deflate(), message by message", async () => {
  const stream = zlib.createInflateRaw();
  let read = "";
  stream.on("data", (chunk: Uint8Array) => read += new TextDecoder().decode(chunk));
  const before = engineCount();
  const codec = new MessageDeflate(OPTIONS);
  const texts = ["one", "two one two", "", "one two three ".repeat(1000)];
  for (const text of texts) {
    stream.write(deflate(codec, utf8(text)));
    stream.write(Uint8Array.of(0, 0, 0xff, 0xff));
  }
  await new Promise<void>((resolve) => stream.flush(() => resolve()));
  stream.close();
  codec.release();
  assertEquals([read, engineCount()], [texts.join(""), before]);
});
