/**
 * Measures unmasking and decoding beside the receiver of npm `ws` with the native addon `bufferutil`, in turns within
 * one run, and prints ratios: a stream of masked frames, in chunks of 64 KiB as from a socket, becomes messages. `ws`
 * runs in this Deno, and also in Node if present. It is installed into a temporary folder.
 */

import { createRequire } from "node:module";
import { MessageAssembler } from "../lib/protocol/assembler.ts";
import { encodeFrame, FrameDecoder, OPCODE } from "../lib/protocol/frame.ts";
import type { MessageKind } from "../lib/protocol/message.ts";

const PEERS = { dependencies: { ws: "8.23.0", bufferutil: "4.1.0" } };
const ROUNDS = 21;
const CHUNK_BYTES = 64 * 1024;
const STREAM_BYTES = 8 * 1024 ** 2;
const SIZES = [
  { label: "20 B", bytes: 20, goal: 0.5 },
  { label: "1 KiB", bytes: 1024, goal: 0.5 },
  { label: "16 KiB", bytes: 16 * 1024, goal: 1 },
  { label: "1 MiB", bytes: 1024 ** 2, goal: 1 },
];

/** Starts reading a stream: takes a chunk, and returns the bytes or characters of its messages so far. */
type Begin = () => (chunk: Uint8Array<ArrayBuffer>) => number;

function begin(): (chunk: Uint8Array<ArrayBuffer>) => number {
  let sum = 0;
  const assembler = new MessageAssembler();
  const decoder = new FrameDecoder("client", {
    onHeader: ({ opcode, length }) => void assembler.check(opcode === OPCODE.text ? "text" : "binary", length),
    onData: ({ opcode, final }, payload, isFirst, isLast) => {
      const kind = !isFirst ? "continuation" : opcode === OPCODE.text ? "text" : "binary";
      const message = assembler.push({ kind, payload, final: final && isLast });
      if (message === undefined) return;
      sum += message.length;
      // The memory of an assembled message is reused; this one has been read.
      if (typeof message !== "string" && message !== payload) assembler.reuse(message);
    },
    onControl: () => {},
  });
  return (chunk) => {
    decoder.push(chunk);
    return sum;
  };
}

interface WsReceiver {
  on(event: "message", take: (data: { length: number; toString(): string }, isBinary: boolean) => void): void;
  write(chunk: Uint8Array): void;
}

type WsReceiverClass = new (options: { isServer: boolean; maxPayload: number }) => WsReceiver;

// Node runs the next two functions from their source, so they use no outer names.

function beginWith(Receiver: WsReceiverClass): Begin {
  return () => {
    let sum = 0;
    const receiver = new Receiver({ isServer: true, maxPayload: 16 * 1024 ** 2 });
    // Its text messages are still bytes.
    receiver.on("message", (data, isBinary) => sum += isBinary ? data.length : data.toString().length);
    return (chunk) => {
      receiver.write(chunk);
      return sum;
    };
  };
}

/** Reads the same stream in several ways, in turns; returns the median time of each in milliseconds. */
async function measure(
  ways: readonly Begin[],
  chunks: readonly Uint8Array<ArrayBuffer>[],
  expected: number,
  count: number,
  rounds: number,
): Promise<number[]> {
  const times: number[][] = ways.map(() => []);
  // As many buffers as `ws` retains, which joins a message only when complete.
  const bytes = chunks[0]?.byteLength ?? 0;
  const buffers = Array.from({ length: Math.ceil(expected / count / bytes) + 2 }, () => new Uint8Array(bytes));
  // The first rounds warm up.
  for (let round = -5; round < rounds; round++) {
    for (let index = 0; index < ways.length; index++) {
      const push = ways[index]?.();
      let sum: number | undefined = 0;
      let took = 0;
      for (let at = 0; at < chunks.length; at++) {
        const source = chunks[at] ?? new Uint8Array(0);
        const chunk = (buffers[at % buffers.length] ?? source).subarray(0, source.byteLength);
        // Simulates the read from a socket, outside the measured time.
        chunk.set(source);
        const from = performance.now();
        sum = push?.(chunk);
        took += performance.now() - from;
      }
      if (sum !== expected) throw new Error(`Decoded ${sum} of ${expected}`);
      if (round >= 0) times[index]?.push(took);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  return times.map((each) => each.sort((a, b) => a - b)[each.length >> 1] ?? NaN);
}

/** A stream of masked frames, one per message. */
function createStream(kind: MessageKind, bytes: number, count: number): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(bytes).map((_, at) => kind === "text" ? 97 + at % 26 : at * 7);
  const frames = Array.from({ length: count }, () => {
    const maskingKey = crypto.getRandomValues(new Uint8Array(4));
    return encodeFrame(OPCODE[kind], payload, { maskingKey });
  });
  const stream = new Uint8Array(frames.reduce((sum, frame) => sum + frame.byteLength, 0));
  let at = 0;
  for (const frame of frames) {
    stream.set(frame, at);
    at += frame.byteLength;
  }
  return stream;
}

function cut(stream: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const count = Math.ceil(stream.byteLength / CHUNK_BYTES);
  return Array.from({ length: count }, (_, at) => stream.subarray(at * CHUNK_BYTES, (at + 1) * CHUNK_BYTES));
}

/** The time of `ws` in Node, or NaN without Node. */
async function measureInNode(
  folder: string,
  stream: Uint8Array<ArrayBuffer>,
  expected: number,
  count: number,
): Promise<number> {
  await Deno.writeFile(`${folder}/stream.bin`, stream);
  await Deno.writeTextFile(
    `${folder}/decode.cjs`,
    `const stream = require("node:fs").readFileSync("stream.bin");
    const chunks = [];
    for (let at = 0; at < stream.length; at += ${CHUNK_BYTES}) {
      chunks.push(new Uint8Array(stream.subarray(at, at + ${CHUNK_BYTES})));
    }
    ${beginWith}
    ${measure}
    measure([beginWith(require("ws").Receiver)], chunks, ${expected}, ${count}, ${ROUNDS}).then(([ms]) => console.log(ms));`,
  );
  try {
    const { stdout } = await new Deno.Command("node", { args: ["decode.cjs"], cwd: folder, stderr: "inherit" })
      .output();
    return Number(new TextDecoder().decode(stdout));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return NaN;
    throw error;
  }
}

const folder = await Deno.makeTempDir();
try {
  await Deno.writeTextFile(`${folder}/package.json`, JSON.stringify(PEERS));
  const install = await new Deno.Command(Deno.execPath(), { args: ["install", "--quiet"], cwd: folder }).output();
  if (!install.success) throw new Error(new TextDecoder().decode(install.stderr));
  const require = createRequire(await Deno.realPath(`${folder}/node_modules/ws/index.js`));
  // Fails if missing; `ws` would silently do without it.
  require("bufferutil");
  const inWs = beginWith(require("./index.js").Receiver);

  console.log("Messages a second, ours as a multiple of ws; the goal is at least the last number");
  for (const kind of ["binary", "text"] as const) {
    for (const { label, bytes, goal } of SIZES) {
      const count = Math.ceil(STREAM_BYTES / (bytes + 14));
      const stream = createStream(kind, bytes, count);
      const [ours = NaN, ws = NaN] = await measure([begin, inWs], cut(stream), bytes * count, count, ROUNDS);
      const node = await measureInNode(folder, stream, bytes * count, count);
      const each = [ours, ws, node].map((ms) => `${(ms * 1e6 / count).toFixed(0)} ns`);
      console.log(
        `${label.padStart(6)} ${kind.padEnd(6)}: wsproof ${each[0]}, ws in Deno ${each[1]}, ws in Node ${each[2]}: ` +
          `${(ws / ours).toFixed(2)} times, ${(node / ours).toFixed(2)} times (${goal})`,
      );
    }
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
