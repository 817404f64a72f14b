/**
 * Properties of every message and every stream of bytes, tried with random ones. A failure prints its seed and path:
 * give them to `fc.assert()` to repeat it.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { type Fragment, MessageAssembler } from "../../lib/protocol/assembler.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";
import { encodeFrame, FrameDecoder, type FrameHeader, type FrameOrigin, OPCODE } from "../../lib/protocol/frame.ts";
import { kindOf, type Message, type MessageKind } from "../../lib/protocol/message.ts";
import { decodeUtf8, isUtf8, Utf8Checker } from "../../lib/protocol/utf8.ts";

const SEED = 6455;
const MIB = 1024 ** 2;

const origins = fc.constantFrom<FrameOrigin>("client", "server");
const payloads = fc.uint8Array({ maxLength: 300 }).map((bytes) => new Uint8Array(bytes));
/** Sizes around the thresholds of headers and loops. */
const sizes = fc.constantFrom(47, 48, 63, 64, 65, 125, 126, 127, 1023, 1024, 65_535, 65_536, 70_000);
const messages: fc.Arbitrary<Message> = fc.oneof(
  fc.string({ unit: "binary", maxLength: 300 }),
  fc.string({ unit: "grapheme", maxLength: 300 }),
  payloads,
  fc.tuple(sizes, fc.integer()).map(([length, salt]) => Uint8Array.from({ length }, (_, at) => at * salt)),
  fc.tuple(sizes, fc.constantFrom("a", "é", "€", "😀", "\ufeff")).map(([length, char]) => char.repeat(length)),
);
const pings = fc.record({
  opcode: fc.constantFrom<number>(OPCODE.ping, OPCODE.pong),
  payload: fc.uint8Array({ maxLength: 125 }).map((bytes) => new Uint8Array(bytes)),
}, { noNullPrototype: true });
/** Places to cut at, as fractions of the whole. */
const cuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

/** Cuts bytes at some places. */
function cut(bytes: Uint8Array<ArrayBuffer>, places: readonly number[]): Uint8Array<ArrayBuffer>[] {
  const ends = [...places.map((place) => Math.round(place * bytes.byteLength)), bytes.byteLength].sort((a, b) => a - b);
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, { byteLength }) => sum + byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

/** Assembles frames into messages like a transport. */
class Reader {
  readonly messages: Message[] = [];
  readonly controls: { opcode: number; payload: Uint8Array }[] = [];
  readonly assembler: MessageAssembler;
  readonly decoder: FrameDecoder;
  /** The delivered bytes. */
  bytes = 0;

  constructor(origin: FrameOrigin, maxMessageBytes = MIB) {
    this.assembler = new MessageAssembler({ maxMessageBytes });
    this.decoder = new FrameDecoder(origin, this);
  }

  onHeader({ opcode, length }: FrameHeader): void {
    if (opcode < 8) this.assembler.check(kindOfOpcode(opcode), length);
  }

  onData({ opcode, final }: FrameHeader, payload: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void {
    this.bytes += payload.byteLength;
    const kind = isFirst ? kindOfOpcode(opcode) : "continuation";
    const message = this.assembler.push({ kind, payload, final: final && isLast });
    if (message !== undefined) this.messages.push(typeof message === "string" ? message : message.slice());
  }

  onControl({ opcode }: FrameHeader, payload: Uint8Array): void {
    this.bytes += payload.byteLength;
    this.controls.push({ opcode, payload: payload.slice() });
  }
}

function kindOfOpcode(opcode: number): Fragment["kind"] {
  return opcode === OPCODE.text ? "text" : opcode === OPCODE.binary ? "binary" : "continuation";
}

Deno.test("FrameDecoder() and MessageAssembler() return what was sent, whatever it was and however it was cut", () => {
  const sent = fc.array(fc.record({ message: messages, fragments: cuts, pings: fc.array(pings, { maxLength: 4 }) }), {
    minLength: 1,
    maxLength: 3,
  });
  const keys = fc.infiniteStream(fc.uint8Array({ minLength: 4, maxLength: 4 }));
  fc.assert(
    fc.property(origins, sent, cuts, keys, (origin, all, chunks, maskingKeys) => {
      const wire: Uint8Array[] = [];
      const frame = (opcode: number, payload: Uint8Array, final: boolean) => {
        const { value: maskingKey } = maskingKeys.next();
        wire.push(encodeFrame(opcode, payload, { final, ...(origin === "client" && { maskingKey }) }));
      };
      for (const { message, fragments, pings } of all) {
        const pieces = cut(typeof message === "string" ? new TextEncoder().encode(message) : message, fragments);
        for (const [index, piece] of pieces.entries()) {
          frame(index > 0 ? OPCODE.continuation : OPCODE[kindOf(message)], piece, index === pieces.length - 1);
          // The first fragments are followed by a ping or pong, the last by the rest.
          const between = index === pieces.length - 1 ? pings.slice(index) : pings.slice(index, index + 1);
          for (const { opcode, payload } of between) frame(opcode, payload, true);
        }
      }
      const reader = new Reader(origin);
      // A transport reuses one read buffer.
      const buffer = new Uint8Array(MIB);
      for (const chunk of cut(concat(wire), chunks)) {
        buffer.set(chunk);
        reader.decoder.push(buffer.subarray(0, chunk.byteLength));
      }
      // Lone surrogates are no text; UTF-8 has U+FFFD for them.
      const expected = all.map(({ message }) => typeof message === "string" ? message.toWellFormed() : message);
      assertEquals(reader.messages, expected);
      assertEquals(reader.controls, all.flatMap(({ pings }) => pings));
      assertEquals([reader.decoder.isInsideFrame, reader.assembler.incomplete], [false, undefined]);
    }),
    { seed: SEED, numRuns: 1500 },
  );
});

/** Bytes that are often frames, so that a decoder continues for a while. */
const noise = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: payloads },
    fc.tuple(
      fc.constantFrom(0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a),
      fc.constantFrom(0, 1, 2, 5, 125, 126, 127),
      fc.uint8Array({ maxLength: 140 }),
    ).map(([first, second, rest]) => Uint8Array.of(first, second, ...rest)),
    fc.constant(Uint8Array.of(0x82, 127, 0x7f, ...Array(7).fill(0xff))),
  ),
  { maxLength: 10 },
).map(concat);

Deno.test("FrameDecoder() throws only ProtocolError and hands on no more than it got, whatever comes", () => {
  fc.assert(
    fc.property(origins, noise, cuts, (origin, bytes, chunks) => {
      if (origin === "client") maskAll(bytes);
      const maxMessageBytes = 1000;
      const reader = new Reader(origin, maxMessageBytes);
      try {
        for (const chunk of cut(bytes.slice(), chunks)) reader.decoder.push(chunk);
      } catch (error) {
        if (!(error instanceof ProtocolError)) throw error;
      }
      assert(reader.bytes <= bytes.byteLength);
      assert((reader.assembler.incomplete?.bytes ?? 0) <= maxMessageBytes);
    }),
    { seed: SEED, numRuns: 20_000 },
  );
});

/** Sets the mask bit of the first frame. */
function maskAll(bytes: Uint8Array): void {
  if (bytes.byteLength > 1) bytes[1] = (bytes[1] ?? 0) | 0x80;
}

Deno.test("FrameDecoder() reports the same mistake after the same frames, however the bytes are cut", () => {
  const read = (origin: FrameOrigin, chunks: readonly Uint8Array<ArrayBuffer>[]) => {
    const reader = new Reader(origin, 1000);
    let code = "";
    try {
      for (const chunk of chunks) reader.decoder.push(chunk);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      code = error.code;
    }
    return { code, messages: reader.messages, controls: reader.controls };
  };
  fc.assert(
    fc.property(origins, noise, cuts, (origin, bytes, places) => {
      if (origin === "client") maskAll(bytes);
      const whole = read(origin, [bytes.slice()]);
      assertEquals(read(origin, cut(bytes.slice(), places)), whole);
      assertEquals(read(origin, [...bytes].map((byte) => Uint8Array.of(byte))), whole);
    }),
    { seed: SEED, numRuns: 3000 },
  );
});

const almostText = fc.oneof(
  payloads,
  fc.string({ unit: "binary", maxLength: 100 }).map((text) => new TextEncoder().encode(text)),
  fc.tuple(fc.string({ unit: "binary", maxLength: 100 }), fc.nat(), fc.nat(255)).map(([text, at, byte]) => {
    const bytes = new TextEncoder().encode(text);
    bytes[at % (bytes.byteLength + 1)] = byte;
    return bytes;
  }),
);

Deno.test("Utf8Checker() agrees with the runtime's decoder, however the bytes are cut", () => {
  fc.assert(
    fc.property(almostText, fc.nat(70), cuts, (bytes, ascii, places) => {
      // A prefix of text makes pieces long enough for whole words, at any place in memory.
      const all = concat([new Uint8Array(ascii).fill(0x61), bytes]);
      const checker = new Utf8Checker();
      const isText = cut(all, places).every((piece) => checker.push(piece)) && checker.isBetweenCharacters;
      assertEquals([isText, isUtf8(all)], Array(2).fill(decodeUtf8(all) !== undefined));
    }),
    { seed: SEED, numRuns: 10_000 },
  );
});

Deno.test("Utf8Checker() is certain at the same byte as the runtime's decoder, when the bytes come one by one", () => {
  fc.assert(
    fc.property(almostText, (bytes) => {
      const checker = new Utf8Checker();
      const decoder = new TextDecoder("utf-8", { fatal: true });
      const failsAt = bytes.findIndex((byte) => !checker.push(Uint8Array.of(byte)));
      const expected = bytes.findIndex((byte) => {
        try {
          decoder.decode(Uint8Array.of(byte), { stream: true });
          return false;
        } catch {
          return true;
        }
      });
      assertEquals(failsAt, expected);
    }),
    { seed: SEED, numRuns: 3000 },
  );
});

/** A message in fragments of one byte, a thousand per chunk. */
function* tinyFrames(kind: MessageKind, text: Uint8Array, count: number): Generator<Uint8Array<ArrayBuffer>> {
  const perChunk = 1000;
  for (let from = 0; from < count; from += perChunk) {
    const chunk = new Uint8Array(perChunk * 3);
    for (let index = 0; index < perChunk; index++) {
      const at = from + index;
      chunk[index * 3] = (at === count - 1 ? 0x80 : 0) | (at === 0 ? OPCODE[kind] : OPCODE.continuation);
      chunk[index * 3 + 1] = 1;
      chunk[index * 3 + 2] = text[at % text.byteLength] ?? 0;
    }
    yield chunk;
  }
}

for (const kind of ["text", "binary"] as const) {
  const COUNT = 1_000_000;
  const word = new TextEncoder().encode("é€😀a");

  Deno.test(`FrameDecoder() and MessageAssembler() hold 64 MiB at most, when ${kind} comes in 1,000,000 fragments`, () => {
    const reader = new Reader("server");
    const before = Deno.memoryUsage();
    let most = 0;
    let chunks = 0;
    for (const chunk of tinyFrames(kind, word, COUNT)) {
      reader.decoder.push(chunk);
      if (++chunks % 20 !== 0) continue;
      // Uncollected garbage counts as well.
      const { heapUsed, external } = Deno.memoryUsage();
      most = Math.max(most, heapUsed + external - before.heapUsed - before.external);
    }
    const [message] = reader.messages;
    assertEquals(message?.length, kind === "text" ? COUNT / 10 * 5 : COUNT);
    assert(most <= 64 * MIB + COUNT, `${most} bytes`);
  });
}

Deno.test("MessageAssembler() moves fewer bytes than the message has, however many fragments it comes in", () => {
  const count = 100_000;
  const moved: number[] = [];
  const set = Uint8Array.prototype.set;
  const assembler = new MessageAssembler();
  // Every copy calls this one method; copies longer than a fragment move existing data.
  Uint8Array.prototype.set = function (source, at) {
    if (source.length > 1) moved.push(source.length);
    set.call(this, source, at);
  };
  try {
    const payload = Uint8Array.of(7);
    assembler.push({ kind: "binary", payload, final: false });
    for (let at = 1; at < count; at++) assembler.push({ kind: "continuation", payload, final: false });
  } finally {
    Uint8Array.prototype.set = set;
  }
  const sum = moved.reduce((a, b) => a + b, 0);
  assert(sum > 0 && sum < 2 * count, `${sum} bytes moved`);
  assert(moved.length <= Math.ceil(Math.log2(count)), `${moved.length} moves`);
});

for (
  const [announced, first, room] of [
    [0, 1, 1024],
    [20, 1, 20],
    [65_536, 1, 65_536],
    [65_537, 1, 65_536],
    [1_000_000, 1, 65_536],
    [1_000_000, 10_000, 320_000],
    [1_000_000, 31_250, 1_000_000],
    [2_000_000, 1_900_000, 2_000_000],
  ] as const
) {
  Deno.test(`MessageAssembler() makes room for ${room} bytes, when ${first} of ${announced} announced have come`, () => {
    const assembler = new MessageAssembler();
    if (announced > 0) assembler.check("binary", announced);
    assembler.push({ kind: "binary", payload: new Uint8Array(first), final: false });
    const message = assembler.push({ kind: "continuation", payload: new Uint8Array(0), final: true });
    assert(message instanceof Uint8Array);
    assertEquals([message.byteLength, message.buffer.byteLength], [first, room]);
  });
}

Deno.test("MessageAssembler() makes no more room than its limit, when fragments come one by one", () => {
  const assembler = new MessageAssembler({ maxMessageBytes: 1500 });
  for (let at = 0; at < 1500; at++) {
    assembler.push({ kind: at === 0 ? "binary" : "continuation", payload: Uint8Array.of(1), final: false });
  }
  const message = assembler.push({ kind: "continuation", payload: new Uint8Array(0), final: true });
  assert(message instanceof Uint8Array);
  assertEquals(message.buffer.byteLength, 1500);
});
