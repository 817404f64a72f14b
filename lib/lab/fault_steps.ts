/**
 * The steps that break the rules for frames (RFC 6455 section 5) in later messages.
 *
 * @module
 */

import { MAX_CONTROL_PAYLOAD_BYTES, OPCODE } from "../protocol/frame.ts";
import { isData, type RawFrame } from "../peer/frame.ts";
import type { FrameShape, MessageDraft } from "../peer/shape.ts";
import type { LabPeer } from "./peer.ts";
import type { LabStep } from "./step.ts";

/** The steps that break the protocol. */
export const FAULT_STEPS: readonly LabStep[] = [
  {
    name: "masked",
    help: "masks its frames, as only a client may (section 5.1)",
    example: "/masked",
    on: "turn",
    run: (peer) => refit(peer, (frame) => ({ ...frame, isMasked: true })),
  },
  {
    name: "rsv",
    number: { name: "BIT", min: 1, max: 3 },
    help: "sets the reserved bit RSV1, RSV2 or RSV3 (section 5.2)",
    example: "/rsv/1",
    on: "turn",
    run: (peer, { number }) => refit(peer, (frame) => ({ ...frame, reserved: 8 >> number })),
  },
  {
    name: "opcode",
    number: { name: "N", min: 3, max: 15, except: { min: 8, max: 10 } },
    help: "uses an opcode that is not defined: 3 to 7, 11 to 15 (section 5.2)",
    example: "/opcode/3",
    on: "turn",
    load: (load, { number }) => void Object.assign(load, { starts: 0, isData: number < OPCODE.close }),
    run: (peer, { number }) => refit(peer, (frame) => isStart(frame) ? { ...frame, opcode: number } : frame),
  },
  {
    name: "non-minimal",
    help: "writes lengths in more bytes than needed (section 5.2)",
    example: "/non-minimal",
    on: "turn",
    run: (peer) => refit(peer, (frame) => ({ ...frame, isLengthened: true })),
  },
  {
    name: "bad-utf8",
    help: "sends text that ends with the byte ff, which never occurs in UTF-8 (section 8.1)",
    example: "/bad-utf8",
    on: "turn",
    load: ({ lengths }) => void lengths.push((bytes) => bytes + 1),
    run: (peer) => void peer.edits.push({ addedBytes: 1, apply: breakText }),
  },
  {
    name: "stray-continuation",
    help: "begins a message with a continuation frame (section 5.4)",
    example: "/stray-continuation",
    on: "turn",
    load: (load) => void (load.starts = 0),
    run: (peer) => refit(peer, (frame) => isData(frame) ? { ...frame, opcode: OPCODE.continuation } : frame),
  },
  {
    name: "restart",
    help: "begins a message anew before it has ended (section 5.4)",
    example: "/restart",
    on: "turn",
    load: (load) => {
      load.frames += load.starts;
      load.starts *= 2;
    },
    run: (peer) => void peer.frameShapes.push(beginTwice),
  },
  {
    name: "big-control",
    help: "sends a ping of 126 bytes, one too many, before each message (section 5.5)",
    example: "/big-control",
    on: "turn",
    run: (peer) => void peer.frameShapes.push(after(BIG_PING)),
  },
  {
    name: "fragmented-control",
    help: "sends a ping without FIN before each message (section 5.5)",
    example: "/fragmented-control",
    on: "turn",
    run: (peer) => void peer.frameShapes.push(after(FRAGMENTED_PING)),
  },
  {
    name: "ping-flood",
    number: { name: "N", min: 1, max: 100_000 },
    help: "sends N unsolicited pings (at most 100000), and does not wait for the pongs",
    example: "/ping-flood/1000/echo",
    on: "turn",
    load: (load, { number }) => void (load.unaskedFrames += number),
    run: (peer, { number }) => peer.sendFrames(pings(number)),
  },
];

const BIG_PING: RawFrame = { opcode: OPCODE.ping, payload: new Uint8Array(MAX_CONTROL_PAYLOAD_BYTES + 1) };
const FRAGMENTED_PING: RawFrame = { opcode: OPCODE.ping, payload: new Uint8Array(2), final: false };

/** Replaces every frame. */
function refit(peer: LabPeer, change: (frame: RawFrame) => RawFrame): void {
  peer.frameShapes.push(function* (frames) {
    for (const frame of frames) yield change(frame);
  });
}

function isStart(frame: RawFrame): boolean {
  return frame.opcode === OPCODE.text || frame.opcode === OPCODE.binary;
}

function breakText(draft: MessageDraft): void {
  draft.kind = "text";
  draft.append(1, 0xff);
}

function* beginTwice(frames: Iterable<RawFrame>): Iterable<RawFrame> {
  for (const frame of frames) {
    const half = frame.payload.subarray(0, frame.payload.byteLength >> 1);
    if (isStart(frame)) yield { ...frame, payload: half, final: false };
    yield frame;
  }
}

function after(first: RawFrame): FrameShape {
  return function* (frames) {
    yield first;
    yield* frames;
  };
}

/** Numbers the pings, so that each pong can be matched. */
function* pings(count: number): Iterable<RawFrame> {
  for (let sent = 1; sent <= count; sent++) {
    yield { opcode: OPCODE.ping, payload: new TextEncoder().encode(String(sent)) };
  }
}
