/**
 * The steps that compress, and those that break the rules for compressed messages (RFC 7692).
 *
 * @module
 */

import { chooseDeflate, DEFLATE, MAX_WINDOW_BITS, MIN_OWN_WINDOW_BITS } from "../protocol/deflate.ts";
import { OPCODE, RSV1 } from "../protocol/frame.ts";
import { concatBytes } from "../protocol/message.ts";
import { isData, type RawFrame } from "../peer/frame.ts";
import { makeBomb } from "./compression.ts";
import type { LabStep } from "./step.ts";

const MIB = 1024 * 1024;

/** The least that a byte of a bomb inflates to, in bytes; zlib reaches 1,032. */
const BOMB_RATIO = 1000;

/** The steps that negotiate compression. */
export const DEFLATE_HANDSHAKE_STEPS: readonly LabStep[] = [
  {
    name: "deflate",
    help: "accepts permessage-deflate if offered, and compresses what the other steps send",
    example: "/deflate/fragment/3",
    on: "handshake",
    run: (answer) => {
      const { agreement } = chooseDeflate(answer.offers, { takeover: true, windowBits: MAX_WINDOW_BITS });
      if (agreement === undefined) return;
      answer.fields.set(FIELD, agreement.text);
      answer.deflate = agreement;
    },
  },
  {
    name: "deflate-answer",
    text: { name: "PARAMETERS", maxBytes: 200, isOptional: true },
    help: "selects permessage-deflate with these parameters, legal and requested or not",
    example: "/deflate-answer/server_max_window_bits=7",
    on: "handshake",
    run: (answer, { text }) => {
      // A line break would end the field.
      const value = text === "" ? DEFLATE : `${DEFLATE}; ${text.replace(/[^\x20-\x7e]/g, "?")}`;
      answer.fields.set(FIELD, value);
      if (!answer.offers.some(({ name }) => name === DEFLATE)) return;
      // Any client that accepts the answer can inflate these.
      const client = { takeover: true, windowBits: MAX_WINDOW_BITS };
      answer.deflate = { client, server: { takeover: false, windowBits: MIN_OWN_WINDOW_BITS }, text: value };
    },
  },
];

const FIELD = "Sec-WebSocket-Extensions";

/** The compression steps after the handshake. */
export const DEFLATE_STEPS: readonly LabStep[] = [
  {
    name: "deflate-reset",
    help: "forgets its context after each message despite the agreed takeover, which is legal (section 7.1.1)",
    example: "/deflate/deflate-reset",
    on: "turn",
    run: (peer) => peer.compression?.beginContext({ takeover: false }),
  },
  {
    name: "deflate-takeover",
    help: "refers back to earlier messages although no takeover was agreed (section 7.1.1.1)",
    example: "/deflate/deflate-takeover",
    on: "turn",
    run: (peer) => peer.compression?.beginContext({ takeover: true }),
  },
  {
    name: "deflate-final",
    help: "ends each message with a block that has BFINAL set, which is legal (section 7.2.3.4)",
    example: "/deflate/deflate-final",
    on: "turn",
    run: (peer) => void peer.packings.push((_, plain) => storedBlocks(plain)),
  },
  {
    name: "deflate-empty",
    help: "sends an unsolicited empty message, compressed to the byte 00 (section 7.2.3.6)",
    example: "/deflate/deflate-empty",
    on: "turn",
    load: (load) => void load.unaskedFrames++,
    run: (peer) => peer.sendFrames([{ opcode: OPCODE.text, payload: Uint8Array.of(0), reserved: RSV1 }]),
  },
  {
    name: "deflate-bomb",
    number: { name: "BYTES", min: 1, max: 1024 * MIB },
    help: "sends an unsolicited text that inflates to this many bytes (at most 1 GiB)",
    example: "/deflate/deflate-bomb/1073741824",
    on: "turn",
    load: (load, { number }) => {
      load.unaskedFrames++;
      load.unaskedBytes += Math.ceil(number / BOMB_RATIO);
    },
    run: async (peer, { number }) => {
      await peer.sendFrames([{ opcode: OPCODE.text, payload: makeBomb(number), reserved: RSV1 }]);
      // The client's window is full of the bomb now.
      peer.compression?.beginContext();
    },
  },
  {
    name: "deflate-garbage",
    help: "sends bytes that no compressor produces as compressed messages (section 7.2.2)",
    example: "/deflate/deflate-garbage",
    on: "turn",
    run: (peer) => void peer.packings.push(() => GARBAGE),
  },
  {
    name: "deflate-truncate",
    help: "sends only the first half of a compressed message",
    example: "/deflate/deflate-truncate",
    on: "turn",
    run: (peer) => void peer.packings.push((packed) => packed.subarray(0, packed.byteLength >> 1)),
  },
  {
    name: "deflate-swap",
    help: "sends both halves of a compressed message in the wrong order",
    example: "/deflate/deflate-swap",
    on: "turn",
    run: (peer) => void peer.packings.push(swapHalves),
  },
  {
    name: "rsv1-continuation",
    help: "cuts messages in two, and sets RSV1 on the continuation too (section 6.1)",
    example: "/deflate/rsv1-continuation",
    on: "turn",
    load: (load) => void (load.frames *= 2),
    run: (peer) => void peer.frameShapes.push(cutWithRsv1),
  },
  {
    name: "rsv1-control",
    help: "sends a ping with RSV1 before each message (section 6.1)",
    example: "/deflate/rsv1-control",
    on: "turn",
    run: (peer) =>
      void peer.frameShapes.push(function* (frames) {
        yield { opcode: OPCODE.ping, payload: new Uint8Array(0), reserved: RSV1 };
        yield* frames;
      }),
  },
];

/** Deflate blocks of the reserved type 11. */
const GARBAGE = Uint8Array.of(0xff, 0xff, 0xff, 0xff);

/** The longest stored block, in bytes. */
const MAX_STORED_BYTES = 0xffff;

/** Each block ends a stream. The byte behind them starts the empty block whose rest a sender drops. */
function storedBlocks(plain: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < plain.byteLength; at += MAX_STORED_BYTES) {
    const bytes = plain.subarray(at, at + MAX_STORED_BYTES);
    const header = new DataView(new ArrayBuffer(5));
    header.setUint8(0, 1);
    header.setUint16(1, bytes.byteLength, true);
    header.setUint16(3, ~bytes.byteLength, true);
    parts.push(new Uint8Array(header.buffer), bytes);
  }
  parts.push(Uint8Array.of(0));
  return concatBytes(parts);
}

function swapHalves(packed: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const half = packed.byteLength >> 1;
  return concatBytes([packed.subarray(half), packed.subarray(0, half)]);
}

/** Sets RSV1 on both halves of a message's first frame. */
function* cutWithRsv1(frames: Iterable<RawFrame>): Iterable<RawFrame> {
  for (const frame of frames) {
    const { payload, final = true } = frame;
    if (!isData(frame)) {
      yield frame;
      continue;
    }
    const half = payload.byteLength >> 1;
    yield { ...frame, payload: payload.subarray(0, half), final: false };
    yield { ...frame, opcode: OPCODE.continuation, payload: payload.subarray(half), final, reserved: RSV1 };
  }
}
