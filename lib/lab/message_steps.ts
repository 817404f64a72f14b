/**
 * The steps that answer messages, or shape the answers.
 *
 * @module
 */

import { OPCODE, RSV1 } from "../protocol/frame.ts";
import { isData, type RawFrame } from "../peer/frame.ts";
import type { MessageDraft, MessageShape, RawMessage } from "../peer/shape.ts";
import type { LabPeer } from "./peer.ts";
import type { LabStep } from "./step.ts";

/** The size of a `flood` message, in bytes: 1 KiB. */
const FLOOD_MESSAGE_BYTES = 1024;

const MIB = 1024 * 1024;
const MAX_WAIT_MS = 60_000;
const MAX_TEXT_BYTES = 4096;

/** The message steps. */
export const MESSAGE_STEPS: readonly LabStep[] = [
  {
    name: "echo",
    number: { name: "N", min: 1, max: 1_000_000, isOptional: true },
    help: "echoes N messages, or all until the close; every path ends with it unless it ends otherwise",
    example: "/echo/2/close/1001",
    last: "messages",
    on: "turn",
    run: (peer, { number }) => peer.echo(number),
  },
  {
    name: "greet",
    text: { name: "TEXT", maxBytes: MAX_TEXT_BYTES },
    help: "sends this unsolicited text (at most 4096 bytes)",
    example: "/greet/welcome",
    on: "turn",
    load: (load, { text }) => load.greet(new TextEncoder().encode(text).byteLength),
    run: (peer, { text }) => peer.send({ kind: "text", payload: new TextEncoder().encode(text) }),
  },
  {
    name: "mute",
    help: "reads and never answers a message",
    example: "/mute",
    last: "messages",
    on: "turn",
    run: (peer) => peer.receiveClose(),
  },
  {
    name: "delay",
    number: { name: "MS", min: 1, max: MAX_WAIT_MS },
    help: "waits this many milliseconds (at most 60000) before each message",
    example: "/delay/500",
    on: "turn",
    run: (peer, { number }) => void Object.assign(peer, { delayMs: number }),
  },
  {
    name: "slow",
    number: { name: "BYTES_PER_SECOND", min: 1, max: 1_000_000_000 },
    help: "writes this many bytes a second",
    example: "/slow/10",
    on: "turn",
    run: (peer, { number }) => void Object.assign(peer, { bytesPerSecond: number }),
  },
  {
    name: "fragment",
    number: { name: "BYTES", min: 1, max: 16 * MIB },
    help: "sends messages in fragments of this many bytes",
    example: "/fragment/3",
    on: "turn",
    load: (load, { number }) => load.cut(number),
    run: (peer, { number }) => void peer.frameShapes.push((frames) => cutEvery(frames, number)),
  },
  {
    name: "split-utf8",
    help: "sends text in fragments that end inside each multi-byte character",
    example: "/split-utf8",
    on: "turn",
    run: (peer) => void peer.frameShapes.push(cutInsideCharacters),
  },
  {
    name: "interleave-ping",
    help: "sends a ping between any two fragments; a message in one piece is cut in two",
    example: "/fragment/3/interleave-ping",
    on: "turn",
    run: (peer) => void peer.frameShapes.push(withPings),
  },
  {
    name: "unfinished",
    help: "never sends the final fragment of a message",
    example: "/unfinished",
    on: "turn",
    run: (peer) => void peer.frameShapes.push(withoutEnd),
  },
  {
    name: "corrupt",
    help: "changes one bit of the last byte of a message; text stays UTF-8",
    example: "/corrupt",
    on: "turn",
    run: (peer) => edit(peer, (draft) => draft.corrupt()),
  },
  {
    name: "truncate",
    number: { name: "BYTES", min: 0, max: 16 * MIB },
    help: "sends only this many bytes of a message",
    example: "/truncate/5",
    on: "turn",
    load: ({ lengths }, { number }) => void lengths.push((bytes) => Math.min(bytes, number)),
    run: (peer, { number }) => edit(peer, (draft) => draft.truncate(number)),
  },
  {
    name: "extend",
    number: { name: "BYTES", min: 1, max: MIB },
    help: 'adds this many bytes "x" to a message, at most 1 MiB in a path',
    example: "/extend/1",
    on: "turn",
    load: (load, { number }) => {
      load.addedBytes += number;
      load.lengths.push((bytes) => bytes + number);
    },
    run: (peer, { number }) => edit(peer, (draft) => draft.append(number, "x".charCodeAt(0)), number),
  },
  {
    name: "duplicate",
    help: "sends messages twice",
    example: "/duplicate",
    on: "turn",
    load: (load) => void (load.copies *= 2),
    run: (peer) => void peer.messageShapes.push((message) => [message, message]),
  },
  {
    name: "swap-kind",
    help: "sends text as binary and binary as text",
    example: "/swap-kind",
    on: "turn",
    run: (peer) => edit(peer, swapKind),
  },
  {
    name: "reorder",
    help: "holds a message back until the next one is sent",
    example: "/reorder",
    on: "turn",
    run: (peer) => void peer.messageShapes.push(inPairs(peer)),
  },
  {
    name: "flood",
    number: { name: "N", min: 1, max: 1_000_000 },
    help: "sends N binary messages of 1 KiB as fast as the client takes them, and reads nothing meanwhile",
    example: "/flood/1000",
    on: "turn",
    load: (load, { number }) => {
      load.unaskedFrames += number;
      load.unaskedBytes += number * FLOOD_MESSAGE_BYTES;
    },
    run: (peer, { number }) => peer.sendFrames(repeat(FLOOD_FRAME, number)),
  },
];

const FLOOD_FRAME: RawFrame = { opcode: OPCODE.binary, payload: new Uint8Array(FLOOD_MESSAGE_BYTES) };

/** The ping between fragments. */
const PING: RawFrame = { opcode: OPCODE.ping, payload: new TextEncoder().encode("lab") };

/** Repeats a frame. */
function* repeat(frame: RawFrame, count: number): Iterable<RawFrame> {
  for (let made = 0; made < count; made++) yield frame;
}

/** Changes every message. */
function edit(peer: LabPeer, apply: (draft: MessageDraft) => void, addedBytes = 0): void {
  peer.edits.push({ addedBytes, apply });
}

function swapKind(draft: MessageDraft): void {
  draft.kind = draft.kind === "text" ? "binary" : "text";
}

function inPairs(peer: LabPeer): MessageShape {
  let held: RawMessage | undefined;
  return (message) => {
    const pair = held && [message, held];
    peer.heldBackBytes += held ? -held.payload.byteLength : message.payload.byteLength;
    held = pair ? undefined : message;
    return pair ?? [];
  };
}

/** Fragments every data frame at the given offsets, with the opcode and FIN of each fragment's place. */
function* cut(frames: Iterable<RawFrame>, nextCut: (payload: Uint8Array, from: number) => number): Iterable<RawFrame> {
  for (const frame of frames) {
    const { payload, final = true } = frame;
    let at = 0;
    while (isData(frame) && at < payload.byteLength) {
      const end = Math.min(payload.byteLength, nextCut(payload, at));
      const isLast = end === payload.byteLength;
      const opcode = at === 0 ? frame.opcode : OPCODE.continuation;
      const part = { ...frame, opcode, payload: payload.subarray(at, end), final: isLast && final };
      // Only the first frame marks a message as compressed.
      yield at === 0 ? part : { ...part, reserved: (part.reserved ?? 0) & ~RSV1 };
      at = end;
    }
    if (at === 0) yield frame;
  }
}

function cutEvery(frames: Iterable<RawFrame>, bytes: number): Iterable<RawFrame> {
  return cut(frames, (_, from) => from + bytes);
}

function cutInsideCharacters(frames: Iterable<RawFrame>): Iterable<RawFrame> {
  return cut(frames, (payload, from) => {
    let end = from + 1;
    while (end < payload.byteLength && ((payload[end] ?? 0) & 0xc0) !== 0x80) end++;
    return end;
  });
}

function* withPings(frames: Iterable<RawFrame>): Iterable<RawFrame> {
  for (const frame of frames) {
    const isWhole = frame.opcode !== OPCODE.continuation && (frame.final ?? true);
    const parts = isWhole && isData(frame) ? cutEvery([frame], Math.ceil(frame.payload.byteLength / 2)) : [frame];
    for (const part of parts) {
      yield part;
      if (isData(part) && part.final === false) yield PING;
    }
  }
}

function* withoutEnd(frames: Iterable<RawFrame>): Iterable<RawFrame> {
  for (const frame of frames) yield isData(frame) ? { ...frame, final: false } : frame;
}
