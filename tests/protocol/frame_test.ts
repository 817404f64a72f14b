/** Frames: raw bytes in, values out, and the reverse. */

import { assertEquals, assertThrows } from "@std/assert";
import { ProtocolError, type ProtocolErrorCode } from "../../lib/protocol/error.ts";
import {
  encodeFrame,
  FrameDecoder,
  type FrameHeader,
  type FrameOrigin,
  headerBytes,
  MAX_CONTROL_PAYLOAD_BYTES,
  MAX_HEADER_BYTES,
  OPCODE,
  writeHeader,
} from "../../lib/protocol/frame.ts";
import { applyMask } from "../../lib/protocol/mask.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits.replaceAll(" ", ""));
const utf8 = (text: string) => new TextEncoder().encode(text);

/** The masking key 37 fa 21 3d of the examples of RFC 6455 section 5.7, as a number. */
const KEY = 0x3d21fa37;

/** A decoder's calls to its sink, a line each. */
class Recorder {
  readonly seen: string[] = [];

  onHeader({ final, reserved, opcode, isMasked, length }: FrameHeader) {
    this.seen.push(`header ${final ? "final " : ""}${reserved} ${opcode} ${isMasked ? "masked " : ""}${length}`);
  }

  onData(_: FrameHeader, payload: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean) {
    this.seen.push(`data ${payload.toHex()}${isFirst ? " first" : ""}${isLast ? " last" : ""}`);
  }

  onControl({ opcode }: FrameHeader, payload: Uint8Array<ArrayBuffer>) {
    this.seen.push(`control ${opcode} ${payload.toHex()}`);
  }
}

function decode(origin: FrameOrigin, ...chunks: Uint8Array<ArrayBuffer>[]): string[] {
  const recorder = new Recorder();
  const decoder = new FrameDecoder(origin, recorder);
  for (const chunk of chunks) decoder.push(chunk);
  return recorder.seen;
}

/** The frames of a decoder's calls, joined across pieces. */
function joined(seen: readonly string[]): string[] {
  const frames: string[] = [];
  let data = "";
  for (const line of seen) {
    const [, digits = "", last] = /^data ([0-9a-f]*)(?: first)?( last)?$/.exec(line) ?? [];
    if (!line.startsWith("data")) frames.push(line);
    data += digits;
    if (!last) continue;
    frames.push(`data ${data}`);
    data = "";
  }
  return frames;
}

// RFC 6455 section 5.7.
const EXAMPLES = [
  {
    what: "an unmasked text message of one frame",
    origin: "server",
    wire: "81 05 48 65 6c 6c 6f",
    seen: ["header final 0 1 5", "data 48656c6c6f first last"],
  },
  {
    what: "a masked text message of one frame",
    origin: "client",
    wire: "81 85 37 fa 21 3d 7f 9f 4d 51 58",
    seen: ["header final 0 1 masked 5", "data 48656c6c6f first last"],
  },
  {
    what: "an unmasked text message of two frames",
    origin: "server",
    wire: "01 03 48 65 6c 80 02 6c 6f",
    seen: ["header 0 1 3", "data 48656c first last", "header final 0 0 2", "data 6c6f first last"],
  },
  {
    what: "an unmasked ping",
    origin: "server",
    wire: "89 05 48 65 6c 6c 6f",
    seen: ["header final 0 9 5", "control 9 48656c6c6f"],
  },
  {
    what: "the masked pong that answers it",
    origin: "client",
    wire: "8a 85 37 fa 21 3d 7f 9f 4d 51 58",
    seen: ["header final 0 10 masked 5", "control 10 48656c6c6f"],
  },
  {
    what: "256 bytes of an unmasked binary message",
    origin: "server",
    wire: `82 7e 01 00 ${"05".repeat(256)}`,
    seen: ["header final 0 2 256", `data ${"05".repeat(256)} first last`],
  },
  {
    what: "64 KiB of an unmasked binary message",
    origin: "server",
    wire: `82 7f 00 00 00 00 00 01 00 00 ${"05".repeat(65536)}`,
    seen: ["header final 0 2 65536", `data ${"05".repeat(65536)} first last`],
  },
] as const;

for (const { what, origin, wire, seen } of EXAMPLES) {
  Deno.test(`FrameDecoder() reads ${what}, when it is the example of RFC 6455 section 5.7`, () => {
    assertEquals(decode(origin, hex(wire)), [...seen]);
  });
}

for (
  const { what, opcode, payload, options, wire } of [
    { what: "unmasked text", opcode: 1, payload: "Hello", options: {}, wire: "81 05 48 65 6c 6c 6f" },
    {
      what: "masked text",
      opcode: 1,
      payload: "Hello",
      options: { maskingKey: hex("37fa213d") },
      wire: "81 85 37 fa 21 3d 7f 9f 4d 51 58",
    },
    { what: "a first fragment", opcode: 1, payload: "Hel", options: { final: false }, wire: "01 03 48 65 6c" },
    { what: "a last fragment", opcode: 0, payload: "lo", options: {}, wire: "80 02 6c 6f" },
    { what: "a ping", opcode: 9, payload: "Hello", options: {}, wire: "89 05 48 65 6c 6c 6f" },
    { what: "an empty frame", opcode: 2, payload: "", options: {}, wire: "82 00" },
    {
      what: "an empty masked frame",
      opcode: 2,
      payload: "",
      options: { maskingKey: hex("01020304") },
      wire: "82 80 01 02 03 04",
    },
    { what: "the reserved bit RSV1", opcode: 1, payload: "", options: { reserved: 4 }, wire: "c1 00" },
    { what: "the reserved bit RSV3", opcode: 1, payload: "", options: { reserved: 1 }, wire: "91 00" },
    { what: "an opcode without a meaning", opcode: 15, payload: "", options: {}, wire: "8f 00" },
  ]
) {
  Deno.test(`encodeFrame() writes ${what} on request`, () => {
    assertEquals(encodeFrame(opcode, utf8(payload), options), hex(wire));
  });
}

Deno.test("encodeFrame() leaves the payload and the key unchanged, when it masks", () => {
  const payload = utf8("Hello".repeat(20));
  const maskingKey = hex("37fa213d");
  encodeFrame(OPCODE.text, payload, { maskingKey });
  assertEquals([payload, maskingKey], [utf8("Hello".repeat(20)), hex("37fa213d")]);
});

// The header for each length of RFC 6455 section 5.2.
for (
  const [length, unmasked, masked] of [
    [0, "82 00", "82 80 01 02 03 04"],
    [125, "82 7d", "82 fd 01 02 03 04"],
    [126, "82 7e 00 7e", "82 fe 00 7e 01 02 03 04"],
    [65535, "82 7e ff ff", "82 fe ff ff 01 02 03 04"],
    [65536, "82 7f 00 00 00 00 00 01 00 00", "82 ff 00 00 00 00 00 01 00 00 01 02 03 04"],
    [2 ** 32 + 1, "82 7f 00 00 00 01 00 00 00 01", "82 ff 00 00 00 01 00 00 00 01 01 02 03 04"],
    [2 ** 53 - 1, "82 7f 00 1f ff ff ff ff ff ff", "82 ff 00 1f ff ff ff ff ff ff 01 02 03 04"],
  ] as const
) {
  for (const [isMasked, wire] of [[false, unmasked], [true, masked]] as const) {
    const how = isMasked ? "masked" : "not masked";
    Deno.test(`writeHeader() and headerBytes() agree on the header, when ${length} bytes are ${how}`, () => {
      const into = new Uint8Array(20).fill(0xee);
      const header = { final: true, reserved: 0, opcode: 2, isMasked, length };
      const end = writeHeader(into, 3, header, isMasked ? hex("01020304") : undefined);
      assertEquals(into.subarray(3, end), hex(wire));
      assertEquals([end - 3, headerBytes(length, isMasked)], [hex(wire).byteLength, hex(wire).byteLength]);
      assertEquals([into[2], into[end]], [0xee, 0xee]);
    });

    Deno.test(`FrameDecoder() reads the length, when ${length} bytes are ${how}`, () => {
      const [header] = decode(isMasked ? "client" : "server", hex(wire));
      assertEquals(header, `header final 0 2 ${isMasked ? "masked " : ""}${length}`);
    });
  }
}

Deno.test("MAX_HEADER_BYTES is 14, as the longest frame with a masking key needs", () => {
  assertEquals([MAX_HEADER_BYTES, headerBytes(2 ** 53 - 1, true)], [14, 14]);
});

Deno.test("MAX_CONTROL_PAYLOAD_BYTES is 125, the longest length of one byte", () => {
  assertEquals([MAX_CONTROL_PAYLOAD_BYTES, headerBytes(125, false), headerBytes(126, false)], [125, 2, 4]);
});

/** RFC 6455 section 5.3, word for word. */
function naiveMask(bytes: Uint8Array, key: Uint8Array, phase: number): Uint8Array {
  return bytes.map((byte, at) => byte ^ (key[(at + phase) % 4] ?? 0));
}

const LONG = [...Array(101).keys(), 127, 128, 129, 1000, 1023, 1024, 1025];
for (const byteOffset of [0, 1, 2, 3, 4, 5, 6, 7]) {
  for (const phase of [0, 1, 2, 3]) {
    Deno.test(`applyMask() masks 0 to 1025 bytes, when they begin at ${byteOffset} with phase ${phase}`, () => {
      for (const length of LONG) {
        const buffer = Uint8Array.from({ length: length + 16 }, (_, at) => at * 31);
        const bytes = buffer.subarray(byteOffset, byteOffset + length);
        const expected = buffer.slice();
        expected.set(naiveMask(bytes, hex("37fa213d"), phase), byteOffset);
        applyMask(bytes, KEY, phase);
        assertEquals(buffer, expected, `${length} bytes`);
      }
    });
  }
}

Deno.test("applyMask() looks at the last two bits of the phase only, when it is large", () => {
  for (const phase of [4, 5, 2 ** 31 + 2, 2 ** 32 + 3, 2 ** 40 + 1]) {
    const bytes = new Uint8Array(70);
    applyMask(bytes, KEY, phase);
    assertEquals(bytes, naiveMask(new Uint8Array(70), hex("37fa213d"), phase % 4));
  }
});

Deno.test("applyMask() changes nothing, when the key is 0", () => {
  const bytes = Uint8Array.from({ length: 100 }, (_, at) => at);
  applyMask(bytes, 0, 1);
  assertEquals(bytes, Uint8Array.from({ length: 100 }, (_, at) => at));
});

Deno.test("FrameDecoder() hands on a part of the chunk and copies nothing, when data comes", () => {
  const chunk = encodeFrame(OPCODE.binary, hex("010203"), { maskingKey: hex("0a0b0c0d") });
  const buffers: ArrayBuffer[] = [];
  const keep = (_: FrameHeader, payload: Uint8Array<ArrayBuffer>) => void buffers.push(payload.buffer);
  new FrameDecoder("client", { onHeader: () => {}, onData: keep, onControl: keep }).push(chunk);
  assertEquals(buffers.map((buffer) => buffer === chunk.buffer), [true]);
});

// A stream of all kinds of frames, to cut at every place.
const PARTS = [
  { opcode: 1, payload: "Hel", final: false },
  { opcode: 9, payload: "ping in between" },
  { opcode: 0, payload: "", final: false },
  { opcode: 10, payload: "" },
  { opcode: 0, payload: "lo" },
  { opcode: 2, payload: "" },
  { opcode: 2, payload: "x".repeat(130) },
  { opcode: 8, payload: "\x03\x20bye" },
];
for (const origin of ["client", "server"] as const) {
  const options = origin === "client" ? { maskingKey: hex("a1b2c3d4") } : {};
  const stream = () =>
    Uint8Array.from(PARTS.flatMap(({ opcode, payload, final = true }) => [
      ...encodeFrame(opcode, utf8(payload), { final, ...options }),
    ]));
  const expected = () => joined(decode(origin, stream()));

  Deno.test(`FrameDecoder() reads the frames of a ${origin}, when control frames are between fragments`, () => {
    const masked = origin === "client" ? "masked " : "";
    assertEquals(expected(), [
      `header 0 1 ${masked}3`,
      "data 48656c",
      `header final 0 9 ${masked}15`,
      `control 9 ${utf8("ping in between").toHex()}`,
      `header 0 0 ${masked}0`,
      "data ",
      `header final 0 10 ${masked}0`,
      "control 10 ",
      `header final 0 0 ${masked}2`,
      "data 6c6f",
      `header final 0 2 ${masked}0`,
      "data ",
      `header final 0 2 ${masked}130`,
      `data ${utf8("x".repeat(130)).toHex()}`,
      `header final 0 8 ${masked}5`,
      "control 8 0320627965",
    ]);
  });

  Deno.test(`FrameDecoder() reads the same frames of a ${origin}, when the bytes come one by one`, () => {
    assertEquals(joined(decode(origin, ...[...stream()].map((byte) => Uint8Array.of(byte)))), expected());
  });

  Deno.test(`FrameDecoder() reads the same frames of a ${origin}, when they are cut in two at any place`, () => {
    for (let at = 0; at <= stream().byteLength; at++) {
      assertEquals(joined(decode(origin, stream().slice(0, at), stream().slice(at))), expected(), `cut at ${at}`);
    }
  });

  Deno.test(`FrameDecoder() reads the same frames of a ${origin}, when they are cut in three at any places`, () => {
    const all = expected();
    const length = 60;
    for (let from = 0; from <= length; from++) {
      for (let to = from; to <= length; to++) {
        const bytes = stream();
        const pieces = [bytes.subarray(0, from), bytes.subarray(from, to), bytes.subarray(to)];
        assertEquals(joined(decode(origin, ...pieces)), all, `cut at ${from} and ${to}`);
      }
    }
  });
}

for (const length of [125, 126, 65535, 65536]) {
  Deno.test(`FrameDecoder() gives back what encodeFrame() wrote, when the payload has ${length} bytes`, () => {
    const payload = Uint8Array.from({ length }, (_, at) => at * 13);
    const frame = encodeFrame(OPCODE.binary, payload, { maskingKey: hex("00ff7f80") });
    assertEquals(joined(decode("client", frame))[1], `data ${payload.toHex()}`);
    assertEquals(joined(decode("server", encodeFrame(OPCODE.binary, payload)))[1], `data ${payload.toHex()}`);
  });
}

Deno.test("FrameDecoder() marks the first and the last piece, when a frame comes in three", () => {
  assertEquals(decode("server", hex("820361"), hex("62"), hex("63")).slice(1), [
    "data 61 first",
    "data 62",
    "data 63 last",
  ]);
});

Deno.test("FrameDecoder() returns a control payload of 125 bytes as a whole, when it comes byte by byte", () => {
  const payload = Uint8Array.from({ length: 125 }, (_, at) => at);
  const frame = encodeFrame(OPCODE.ping, payload, { maskingKey: hex("01020304") });
  const seen = decode("client", ...[...frame].map((byte) => Uint8Array.of(byte)));
  assertEquals(seen, ["header final 0 9 masked 125", `control 9 ${payload.toHex()}`]);
});

Deno.test("FrameDecoder() reports the full length and stores nothing, when 2^63 - 1 bytes are announced", () => {
  assertEquals(decode("server", hex("827f7fffffffffffffff")), [`header final 0 2 ${2 ** 63}`]);
});

Deno.test("FrameDecoder() reads nothing, when a chunk is empty", () => {
  assertEquals(decode("server", hex(""), hex("81"), hex(""), hex("00"), hex("")), [
    "header final 0 1 0",
    "data  first last",
  ]);
});

Deno.test("isInsideFrame is true from the first byte of a frame to its last, when it comes byte by byte", () => {
  const decoder = new FrameDecoder("server", new Recorder());
  assertEquals(decoder.isInsideFrame, false);
  const inside = [...hex("817e007e"), ...new Uint8Array(126)].map((byte) => {
    decoder.push(Uint8Array.of(byte));
    return decoder.isInsideFrame;
  });
  assertEquals(inside, [...Array<boolean>(129).fill(true), false]);
});

Deno.test("isInsideFrame is false in the call that ends a frame, when it was the last", () => {
  const seen: boolean[] = [];
  const look = () => void seen.push(decoder.isInsideFrame);
  const decoder = new FrameDecoder("server", { onHeader: () => {}, onData: look, onControl: look });
  decoder.push(hex("8101618900"));
  assertEquals(seen, [false, false]);
});

Deno.test("push() throws the sink's error, when the sink refuses a frame", () => {
  const error = new ProtocolError("message-too-big", "No");
  const refuse = () => {
    throw error;
  };
  const decoder = new FrameDecoder("server", { onHeader: refuse, onData: () => {}, onControl: () => {} });
  assertEquals(assertThrows(() => decoder.push(hex("8101")), ProtocolError), error);
});

// Each ends with the first wrong byte: all earlier bytes pass. RFC 6455 sections 5.1, 5.2 and 5.5.
const VIOLATIONS: { wire: string; code: ProtocolErrorCode; message: string; origin?: FrameOrigin }[] = [
  ...["c1", "a1", "91", "f1", "d8"].map((wire) => (
    { wire, code: "reserved-bits" as const, message: "Frame has a reserved bit set" }
  )),
  ...[3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => ({
    wire: (0x80 + opcode).toString(16),
    code: "unknown-opcode" as const,
    message: `Frame has the opcode ${opcode}, which is not defined`,
  })),
  ...["08", "09", "0a"].map((wire) => (
    { wire, code: "fragmented-control" as const, message: "Control frame is fragmented" }
  )),
  ...["887e", "897e", "8a7e", "897f"].map((wire) => (
    { wire, code: "control-too-long" as const, message: "Control frame is longer than 125 bytes" }
  )),
  { wire: "8801", code: "invalid-close-payload", message: "Close frame has a payload of one byte" },
  { wire: "8180", code: "masked-frame", message: "Frame of a server is masked" },
  { wire: "88ff", code: "control-too-long", message: "Control frame is longer than 125 bytes" },
  { wire: "8100", code: "unmasked-frame", message: "Frame of a client is not masked", origin: "client" },
  { wire: "8a00", code: "unmasked-frame", message: "Frame of a client is not masked", origin: "client" },
  { wire: "8881", code: "invalid-close-payload", message: "Close frame has a payload of one byte", origin: "client" },
  { wire: "827e0000", code: "length-not-minimal", message: "Frame has the length 0 in more bytes than needed" },
  { wire: "827e007d", code: "length-not-minimal", message: "Frame has the length 125 in more bytes than needed" },
  {
    wire: "82fe007d",
    code: "length-not-minimal",
    message: "Frame has the length 125 in more bytes than needed",
    origin: "client",
  },
  {
    wire: "827f000000000000",
    code: "length-not-minimal",
    message: "Frame has a length below 65536 in more bytes than needed",
  },
  { wire: "827f80", code: "length-too-large", message: "Frame has a length over 2^63 - 1" },
  { wire: "82ffff", code: "length-too-large", message: "Frame has a length over 2^63 - 1", origin: "client" },
];
for (const { wire, code, message, origin = "server" } of VIOLATIONS) {
  Deno.test(`push() throws ${code} at the last byte of ${wire}, when a ${origin} sends it byte by byte`, () => {
    const decoder = new FrameDecoder(origin, new Recorder());
    const bytes = [...hex(wire)].map((byte) => Uint8Array.of(byte));
    for (const byte of bytes.slice(0, -1)) decoder.push(byte);
    const error = assertThrows(() => decoder.push(bytes.at(-1) ?? hex("")), ProtocolError);
    assertEquals([error.code, error.message, error.closeCode], [code, message, 1002]);
  });

  Deno.test(`push() throws ${code} for ${wire}, when a ${origin} sends it with everything that follows`, () => {
    const recorder = new Recorder();
    const decoder = new FrameDecoder(origin, recorder);
    const good = encodeFrame(OPCODE.text, utf8("a"), origin === "client" ? { maskingKey: hex("00000000") } : {});
    const follows = Uint8Array.of(...good, ...hex(wire), ...new Uint8Array(200));
    assertEquals(assertThrows(() => decoder.push(follows), ProtocolError).code, code);
    assertEquals(recorder.seen.length, 2);
  });
}
