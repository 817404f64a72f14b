/**
 * FrameDecoder, MessageAssembler and parseClosePayload beside the receiver of npm `ws`: the same random and mutated
 * streams must give the same messages and control frames, the same verdict and close code. A table justifies each
 * difference. For another seed, and for more streams:
 *
 * ```sh
 * deno test -A tests/protocol/receiver_test.ts -- --seed=7 --streams=1000000
 * ```
 */

import { assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import { Receiver } from "npm:ws@8.23.0";
import { Endpoint } from "../../lib/protocol/endpoint.ts";
import type { ProtocolError } from "../../lib/protocol/error.ts";
import { encodeFrame, OPCODE } from "../../lib/protocol/frame.ts";

const [SEED, STREAMS] = [numberOf("seed", 6455), numberOf("streams", 100_000)];
const MAX_MESSAGE_BYTES = 1000;

function numberOf(name: string, otherwise: number): number {
  const word = Deno.args.find((each) => each.startsWith(`--${name}=`));
  return word === undefined ? otherwise : Number(word.slice(name.length + 3));
}

/** The outcome of a stream. */
interface Outcome {
  /** Messages, pings, pongs and the close frame, in order. */
  events: string[];
  /** The close code of the answer, or 0 if the stream is valid so far. */
  closeCode: number;
}

/** Our outcome of a stream, with the final state. */
interface OwnOutcome extends Outcome {
  error: ProtocolError | undefined;
  isInsideHeader: boolean;
  isInsideText: boolean;
}

function readOurs(isMasked: boolean, chunks: readonly Uint8Array<ArrayBuffer>[]): OwnOutcome {
  const events: string[] = [];
  let error: ProtocolError | undefined;
  // The comparison ends at the first close frame or the first fault.
  const tell = (event: string) => endpoint.phase === "open" && events.push(event);
  const endpoint: Endpoint = new Endpoint(isMasked ? "server" : "client", {
    onOutput() {},
    onMessage: (message) => tell(typeof message === "string" ? `text ${message}` : `binary ${message.toHex()}`),
    onPing: (payload) => tell(`ping ${payload.toHex()}`),
    onPong: (payload) => tell(`pong ${payload.toHex()}`),
    onClose: ({ code, reason }) => error || events.push(`close ${code} ${reason}`),
    onFailure: (first) => error = endpoint.received ? undefined : first,
  }, { maxMessageBytes: MAX_MESSAGE_BYTES });
  for (const chunk of chunks) if (endpoint.phase === "open") endpoint.receive(chunk);
  return {
    events,
    closeCode: error?.closeCode ?? 0,
    error,
    isInsideHeader: endpoint.isInsideHeader,
    isInsideText: endpoint.incomplete?.kind === "text",
  };
}

/** The property of an error of `ws` with the close code. */
function closeCodeOf(error: object): number {
  const [key] = Object.getOwnPropertySymbols(error).filter(({ description }) => description === "status-code");
  return key === undefined ? NaN : Number(Reflect.get(error, key));
}

function readTheirs(isMasked: boolean, chunks: readonly Uint8Array<ArrayBuffer>[]): Outcome {
  const events: string[] = [];
  let closeCode = 0;
  const receiver = new Receiver({ isServer: isMasked, maxPayload: MAX_MESSAGE_BYTES, allowSynchronousEvents: true });
  const hex = (data: Uint8Array) => new Uint8Array(data).toHex();
  const text = (data: Uint8Array) => new TextDecoder("utf-8", { ignoreBOM: true }).decode(data);
  receiver.on("message", (data: Uint8Array, isBinary: boolean) => {
    events.push(isBinary ? `binary ${hex(data)}` : `text ${text(data)}`);
  });
  receiver.on("ping", (data: Uint8Array) => events.push(`ping ${hex(data)}`));
  receiver.on("pong", (data: Uint8Array) => events.push(`pong ${hex(data)}`));
  receiver.on("conclude", (code: number, reason: Uint8Array) => events.push(`close ${code} ${text(reason)}`));
  let isOver = false;
  receiver.on("conclude", () => isOver = true);
  // The error arrives here at once, and as an event in the next tick.
  const done = (error?: object | null) => {
    if (!error) return;
    closeCode = closeCodeOf(error);
    isOver = true;
  };
  for (const chunk of chunks) {
    if (isOver) break;
    receiver._write(Buffer.from(chunk), "buffer", done);
  }
  return { events, closeCode };
}

/** A generator of pseudo-random numbers (mulberry32): a seed gives the same streams everywhere. */
function createRandom(seed: number): (below: number) => number {
  return (below) => {
    seed = seed + 0x6d2b79f5 | 0;
    let mixed = Math.imul(seed ^ seed >>> 15, 1 | seed);
    mixed = mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) % below;
  };
}

const TEXTS = ["", "a", "é", "€uro", "😀", "\ufeffb", "x".repeat(124), "ü".repeat(63), "€".repeat(400)];
const CLOSES = [1000, 1001, 1003, 1004, 1005, 1006, 1007, 1014, 1015, 1016, 2999, 3000, 4999, 5000, 0, 65535];

type Random = ReturnType<typeof createRandom>;

function bytesOf(random: Random, length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => random(256));
}

/** A stream of mostly valid frames. */
function createStream(random: Random, isMasked: boolean): Uint8Array<ArrayBuffer>[] {
  const frames: Uint8Array<ArrayBuffer>[] = [];
  const add = (opcode: number, payload: Uint8Array, final = true) => {
    frames.push(encodeFrame(opcode, payload, { final, ...(isMasked && { maskingKey: bytesOf(random, 4) }) }));
  };
  const count = 1 + random(5);
  for (let message = 0; message < count; message++) {
    const isText = random(2) === 0;
    const text = (TEXTS[random(TEXTS.length)] ?? "") + (TEXTS[random(TEXTS.length)] ?? "");
    const payload = isText ? new TextEncoder().encode(text) : bytesOf(random, [0, 1, 7, 125, 126, 300][random(6)] ?? 0);
    let opcode: number = isText ? OPCODE.text : OPCODE.binary;
    let at = 0;
    do {
      const end = Math.min(payload.byteLength, at + (random(2) === 0 ? payload.byteLength : random(200)));
      add(opcode, payload.subarray(at, end), end === payload.byteLength);
      opcode = OPCODE.continuation;
      if (random(4) === 0) add(random(2) === 0 ? OPCODE.ping : OPCODE.pong, bytesOf(random, random(126)));
      at = end;
    } while (at < payload.byteLength);
  }
  if (random(3) === 0) {
    const code = CLOSES[random(CLOSES.length)] ?? 1000;
    const reason = new TextEncoder().encode(random(2) === 0 ? "" : "auf Wiedersehen, ü");
    add(OPCODE.close, random(4) === 0 ? bytesOf(random, random(4)) : Uint8Array.of(code >> 8, code, ...reason));
    add(OPCODE.text, bytesOf(random, 3));
  }
  return frames;
}

/** Mutations that make a stream invalid, or only different. */
const MUTATIONS: readonly ((random: Random, frames: Uint8Array<ArrayBuffer>[]) => Uint8Array<ArrayBuffer>[])[] = [
  (_, frames) => frames,
  // A bit anywhere.
  (random, frames) => [flip(random, concat(frames), 1)],
  // Some bits in the first two bytes of a frame.
  (random, frames) => {
    const frame = frames[random(frames.length)];
    const at = random(2);
    if (frame) frame[at] = (frame[at] ?? 0) ^ 1 << random(8);
    return frames;
  },
  // Bits in the payloads: most become invalid UTF-8.
  (random, frames) =>
    frames.map((frame) => {
      if (frame.byteLength > 8) frame[8 + random(frame.byteLength - 8)] = random(256);
      return frame;
    }),
  // Frames lost, doubled and reordered.
  (random, frames) => frames.filter(() => random(4) > 0),
  (random, frames) => frames.flatMap((frame) => random(3) === 0 ? [frame, frame.slice()] : [frame]),
  (random, frames) =>
    frames.map((frame) => ({ frame, at: random(3) })).sort((a, b) => a.at - b.at).map(({ frame }) => frame),
  // The end is cut off.
  (random, frames) => {
    const all = concat(frames);
    return [all.slice(0, random(all.byteLength + 1))];
  },
  // Extra bytes in between.
  (random, frames) => frames.flatMap((frame) => random(4) === 0 ? [frame, bytesOf(random, random(5))] : [frame]),
  // A length in 2 or 8 bytes, which may be too large or not minimal.
  (random, frames) => {
    const size = random(2) === 0 ? 2 : 8;
    const length = bytesOf(random, size);
    const zeros = random(size + 1);
    for (let at = 0; at < zeros; at++) length[at] = 0;
    const mask = (frames[0]?.[1] ?? 0) & 0x80;
    frames.splice(
      random(frames.length),
      0,
      Uint8Array.of(0x80 | random(3), mask | (size === 2 ? 126 : 127), ...length),
    );
    return frames;
  },
  // Noise.
  (random) => [bytesOf(random, random(60))],
];

function flip(random: Random, bytes: Uint8Array<ArrayBuffer>, count: number): Uint8Array<ArrayBuffer> {
  for (let turn = 0; turn < count; turn++) {
    const at = random(bytes.byteLength);
    bytes[at] = (bytes[at] ?? 0) ^ 1 << random(8);
  }
  return bytes;
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

/** Cuts bytes as TCP may: into one to four chunks. */
function cut(random: Random, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const ends = [bytes.byteLength, ...Array.from({ length: random(4) }, () => random(bytes.byteLength + 1))];
  ends.sort((a, b) => a - b);
  return ends.map((end, index) => bytes.slice(ends[index - 1] ?? 0, end)).filter(({ byteLength }) => byteLength > 0);
}

/** Whether their events start with all of ours. */
function isEarlier(ours: Outcome, theirs: Outcome): boolean {
  return ours.events.every((event, index) => event === theirs.events[index]);
}

/** Whether their events include a message that ours lack. */
function hasMessage(ours: Outcome, theirs: Outcome): boolean {
  return theirs.events.slice(ours.events.length).some((event) => /^(text|binary) /.test(event));
}

/** Every allowed difference, and its justification. */
const DIFFERENCES: readonly { why: string; applies: (ours: OwnOutcome, theirs: Outcome) => boolean }[] = [
  {
    why: 'Section 5.2: "the minimal number of bytes MUST be used to encode the length"; ws takes any number',
    applies: (ours, theirs) => ours.error?.code === "length-not-minimal" && isEarlier(ours, theirs),
  },
  {
    why:
      'Section 5.2: of a length in 8 bytes "the most significant bit MUST be 0", so 1002; ws says too big, 1009, or no more',
    applies: (ours, theirs) => ours.error?.code === "length-too-large" && isEarlier(ours, theirs),
  },
  {
    why:
      "Section 8.1: text that is not UTF-8 fails the connection; ours as soon as it is certain, ws when the message ends",
    applies: (ours, theirs) =>
      ours.error?.code === "invalid-utf8" && ours.isInsideText && isEarlier(ours, theirs) && !hasMessage(ours, theirs),
  },
  {
    why:
      "Section 7.1.7 names no time: when the stream ends inside a header, ours has not begun with the rules between frames, ws has",
    applies: (ours, theirs) => ours.closeCode === 0 && ours.isInsideHeader && [1002, 1009].includes(theirs.closeCode),
  },
  {
    why: "Section 5.2: the first byte alone can be wrong; ws waits for the second",
    applies: (ours, theirs) => isCertainFromFirstByte(ours.error) && theirs.closeCode === 0,
  },
];

function isCertainFromFirstByte(error: ProtocolError | undefined): boolean {
  return error !== undefined && ["reserved-bits", "unknown-opcode", "fragmented-control"].includes(error.code);
}

Deno.test(`FrameDecoder() agrees with the receiver of npm ws on ${STREAMS} streams, except for those in a table`, () => {
  const random = createRandom(SEED);
  const counts = new Map<string, number>();
  const count = (what: string) => counts.set(what, (counts.get(what) ?? 0) + 1);
  for (let stream = 0; stream < STREAMS; stream++) {
    const isMasked = random(2) === 0;
    const mutate = MUTATIONS[random(MUTATIONS.length)];
    const chunks = cut(random, concat(mutate?.(random, createStream(random, isMasked)) ?? []));
    const ours = readOurs(isMasked, chunks.map((chunk) => chunk.slice()));
    const theirs = readTheirs(isMasked, chunks);
    count(`closed with ${ours.closeCode}`);
    const { events, closeCode } = ours;
    if (closeCode === theirs.closeCode && String(events) === String(theirs.events)) continue;
    const difference = DIFFERENCES.find(({ applies }) => applies(ours, theirs));
    if (difference) {
      count(difference.why);
      continue;
    }
    const where = `stream ${stream} of seed ${SEED}, ${isMasked ? "masked" : "unmasked"}: ` +
      chunks.map((chunk) => chunk.toHex()).join(" ");
    assertEquals({ events, closeCode }, theirs, `${where}: ${ours.error?.message}`);
  }
  // Streams of every kind occur, and every line of the table is needed.
  for (const closeCode of [0, 1002, 1007, 1009]) {
    assertEquals((counts.get(`closed with ${closeCode}`) ?? 0) > STREAMS / 200, true, `${closeCode}`);
  }
  for (const { why } of DIFFERENCES) assertEquals(counts.has(why), true, why);
});
