/**
 * Random streams of frames against the echo server over our own frames. An oracle independent of our code judges the
 * returned messages and pongs, their order, and the close code at the end.
 *
 *     deno run $(deno task -q std:flags) --allow-net --allow-read --allow-run perf/fuzz/frames.ts --count 50000
 */

import { conclude, FLAGS, readSettings, runTries, startTarget, type Target, within } from "./harness.ts";
import type { Random } from "./random.ts";

/** Concurrent connections. */
const AT_ONCE = 24;

/** Deadline for a stream, from its first byte to the end of TCP, in milliseconds. */
const STREAM_TIMEOUT_MS = 30_000;

/** The servers' limit of messages, in bytes. */
const MAX_MESSAGE_BYTES = 5000;

/** A frame to send. */
interface Frame {
  readonly opcode: number;
  readonly final: boolean;
  readonly reserved: number;
  readonly isMasked: boolean;
  readonly payload: Uint8Array<ArrayBuffer>;
  /** The form of the length: minimal, longer than needed, or with the highest bit set. */
  readonly length: "minimal" | "two-bytes" | "eight-bytes" | "negative";
}

/** The expected answer: messages and pongs in order, and the close code. */
interface Expected {
  readonly replies: readonly string[];
  readonly closeCode: number;
  /** Whether the server fails the connection: it may then end before all received frames are answered. */
  readonly isFailure: boolean;
}

const TEXTS = ["", "a", "Hello world", "é€😀", "x".repeat(126), "\ufeff\0", "x".repeat(4999), "ä".repeat(2500)];

function makeFrames(random: Random): Frame[] {
  const frames: Frame[] = [];
  const add = (opcode: number, payload: Uint8Array<ArrayBuffer>, more: Partial<Frame> = {}) =>
    frames.push({ opcode, payload, final: true, reserved: 0, isMasked: true, length: "minimal", ...more });
  const control = () => {
    const opcode = random.pick([9, 9, 9, 10]);
    add(opcode, random.bytes(random.pick([0, 1, 5, 125])));
  };
  for (let messages = random.below(6); messages > 0; messages--) {
    if (random.chance(0.3)) control();
    const isText = random.chance(0.5);
    const payload = isText
      ? new TextEncoder().encode(random.pick(TEXTS))
      : random.bytes(random.pick([0, 1, 125, 126, 127, 1000, 5000]));
    const pieces = random.chance(0.5) ? 1 : 1 + random.below(4);
    for (let piece = 0, at = 0; piece < pieces; piece++) {
      const end = piece === pieces - 1 ? payload.byteLength : at + random.below(payload.byteLength - at + 1);
      add(piece > 0 ? 0 : isText ? 1 : 2, payload.slice(at, end), { final: piece === pieces - 1 });
      at = end;
      if (piece < pieces - 1 && random.chance(0.3)) control();
    }
  }
  if (random.chance(0.6)) breakOne(random, frames, add);
  const code = random.pick([1000, 1000, 1001, 3000, 4999]);
  add(8, Uint8Array.of(code >> 8, code & 255, ...new TextEncoder().encode(random.pick(["", "bye", "é".repeat(61)]))));
  return frames;
}

/** Inserts a fault, or a near fault, at any place. */
function breakOne(
  random: Random,
  frames: Frame[],
  add: (opcode: number, payload: Uint8Array<ArrayBuffer>, more?: Partial<Frame>) => void,
): void {
  add(...wrong(random));
  const frame = frames.pop();
  if (frame) frames.splice(random.below(frames.length + 1), 0, frame);
}

function wrong(random: Random): [opcode: number, payload: Uint8Array<ArrayBuffer>, more?: Partial<Frame>] {
  const some = random.bytes(random.pick([0, 3, 125]));
  switch (random.below(14)) {
    case 0:
      return [random.pick([3, 4, 7, 11, 15]), some];
    case 1:
      return [random.pick([0, 1, 2, 8, 9, 10]), some, { reserved: 1 + random.below(7) }];
    case 2:
      return [random.pick([1, 2, 9]), some, { isMasked: false }];
    case 3:
      return [random.pick([8, 9, 10]), random.bytes(126)];
    case 4:
      return [random.pick([8, 9, 10]), some, { final: false }];
    case 5:
      return [8, Uint8Array.of(3)];
    case 6: {
      const code = random.pick([0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535]);
      return [8, Uint8Array.of(code >> 8, code & 255)];
    }
    case 7:
      return [8, Uint8Array.of(3, 232, 0xff)];
    case 8:
      return [
        1,
        random.pick([
          Uint8Array.of(0xc3),
          Uint8Array.of(0xed, 0xa0, 0x80),
          Uint8Array.of(97, 0xf5),
          Uint8Array.of(0xc0, 0x80),
        ]),
      ];
    case 9:
      return [0, some, { final: random.chance(0.5) }];
    case 10:
      return [random.pick([1, 2]), random.bytes(0), { final: false }];
    case 11:
      return [random.pick([1, 2]), new Uint8Array(MAX_MESSAGE_BYTES + 1).fill(97)];
    case 12:
      return [random.pick([1, 2, 9]), new Uint8Array(5).fill(97), {
        length: random.pick(["two-bytes", "eight-bytes", "negative"] as const),
      }];
    default:
      return [8, random.bytes(0)];
  }
}

function encode(random: Random, { opcode, final, reserved, isMasked, payload, length }: Frame): number[] {
  const size = payload.byteLength;
  const bytes = [(final ? 128 : 0) | (reserved << 4) | opcode];
  const mask = isMasked ? 128 : 0;
  const form = length === "minimal" ? (size < 126 ? "one" : size < 65_536 ? "two-bytes" : "eight-bytes") : length;
  if (form === "one") bytes.push(mask | size);
  else if (form === "two-bytes") bytes.push(mask | 126, size >> 8, size & 255);
  else bytes.push(mask | 127, form === "negative" ? 128 : 0, 0, 0, 0, 0, size >> 16, (size >> 8) & 255, size & 255);
  if (!isMasked) return [...bytes, ...payload];
  const key = random.bytes(4);
  return [...bytes, ...key, ...payload.map((byte, at) => byte ^ (key[at & 3] ?? 0))];
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function isText(bytes: Uint8Array<ArrayBuffer>): boolean {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Whether bytes may be the start of UTF-8: a server may reject them only if no continuation is valid. */
function mayBeText(bytes: Uint8Array<ArrayBuffer>): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
    return true;
  } catch {
    return false;
  }
}

const legalCode = (code: number) =>
  (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) || (code >= 3000 && code <= 4999);

/** The requirements of RFC 6455 for an echo with a message limit. */
function expectedOf(frames: readonly Frame[]): Expected {
  const replies: string[] = [];
  let kind: "text" | "binary" | undefined;
  let message: number[] = [];
  const fail = (closeCode: number): Expected => ({ replies, closeCode, isFailure: true });
  for (const { opcode, final, reserved, isMasked, payload, length } of frames) {
    if (reserved !== 0 || !isMasked || length !== "minimal" || ![0, 1, 2, 8, 9, 10].includes(opcode)) return fail(1002);
    if (opcode >= 8 && (!final || payload.byteLength > 125)) return fail(1002);
    if (opcode === 9) replies.push(`pong ${payload.toHex()}`);
    if (opcode === 9 || opcode === 10) continue;
    if (opcode === 8) {
      if (payload.byteLength === 0) return { replies, closeCode: 1005, isFailure: false };
      const code = ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
      if (payload.byteLength === 1 || !legalCode(code)) return fail(1002);
      return isText(payload.slice(2)) ? { replies, closeCode: code, isFailure: false } : fail(1007);
    }
    if ((opcode === 0) !== (kind !== undefined)) return fail(1002);
    kind ??= opcode === 1 ? "text" : "binary";
    if (message.length + payload.byteLength > MAX_MESSAGE_BYTES) return fail(1009);
    message.push(...payload);
    const bytes = Uint8Array.from(message);
    if (kind === "text" && !(final ? isText(bytes) : mayBeText(bytes))) return fail(1007);
    if (!final) continue;
    replies.push(`${kind} ${bytes.toHex()}`);
    kind = undefined;
    message = [];
  }
  throw new Error("The last frame closes");
}

/** The actual answer, in the terms of {@linkcode Expected}. */
interface Answer {
  readonly replies: string[];
  closeCode: number | undefined;
  /** A violation by the server; empty for none. */
  wrong: string;
}

/** Reads the frames of a server. */
function readAnswer(bytes: Uint8Array<ArrayBuffer>): Answer {
  const answer: Answer = { replies: [], closeCode: undefined, wrong: "" };
  let kind = "";
  let message: number[] = [];
  for (let at = 0; at + 2 <= bytes.byteLength;) {
    const [first = 0, second = 0] = bytes.subarray(at, at + 2);
    const opcode = first & 15;
    let size = second & 127;
    let head = 2;
    if (size === 126) {
      size = ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0);
      head = 4;
      if (size < 126) answer.wrong = "a length that is not minimal";
    } else if (size === 127) answer.wrong = "a length over 64 KiB";
    if ((first & 0x70) !== 0 || (second & 128) !== 0) answer.wrong = "reserved bits, or a mask";
    if (at + head + size > bytes.byteLength) {
      // Cut off by the end of the connection.
      if (answer.closeCode !== undefined) answer.wrong = "bytes behind the close frame";
      break;
    }
    const payload = bytes.slice(at + head, at + head + size);
    at += head + size;
    if (answer.closeCode !== undefined) answer.wrong = "a frame behind the close frame";
    if (opcode === 10) answer.replies.push(`pong ${payload.toHex()}`);
    else if (opcode === 8) {
      answer.closeCode = size === 0 ? 1005 : ((payload[0] ?? 0) << 8) | (payload[1] ?? 0);
      if (size === 1 || !isText(payload.slice(2))) answer.wrong = "a close frame that is none";
    } else if (opcode <= 2) {
      if ((opcode === 0) !== (kind !== "")) answer.wrong = "fragments out of order";
      if (kind === "") kind = opcode === 1 ? "text" : "binary";
      message.push(...payload);
      if ((first & 128) === 0) continue;
      answer.replies.push(`${kind} ${Uint8Array.from(message).toHex()}`);
      kind = "";
      message = [];
    } else answer.wrong = `opcode ${opcode}`;
  }
  return answer;
}

const byKind = (replies: readonly string[], isPong: boolean) =>
  replies.filter((one) => one.startsWith("pong") === isPong);
const isBeginning = (part: readonly string[], whole: readonly string[]) => part.every((one, at) => one === whole[at]);

/** Compares the answer with the expected one. A pong may overtake the message around its ping, or wait for the end. */
function differenceOf(expected: Expected, answer: Answer): string | undefined {
  if (answer.wrong !== "") return answer.wrong;
  if (answer.closeCode !== expected.closeCode) return `close code ${answer.closeCode} instead of ${expected.closeCode}`;
  for (const isPong of [false, true]) {
    const [should, did] = [byKind(expected.replies, isPong), byKind(answer.replies, isPong)];
    if (should.length === did.length && isBeginning(did, should)) continue;
    return `${did.length} ${isPong ? "pongs" : "messages"} instead of ${should.length}, or others`;
  }
  return undefined;
}

async function talk(
  random: Random,
  { hostname, port }: Target,
  bytes: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  using connection = await Deno.connect({ hostname, port });
  const head = [
    "GET / HTTP/1.1",
    `Host: ${hostname}:${port}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${random.bytes(16).toBase64()}`,
  ];
  await connection.write(new TextEncoder().encode([...head, "", ""].join("\r\n").replace("GET / ", "GET /echo ")));
  const received: Uint8Array[] = [];
  const reading = (async () => {
    const buffer = new Uint8Array(65_536);
    while (true) {
      const count = await connection.read(buffer);
      if (count === null) return;
      received.push(buffer.slice(0, count));
    }
  })().catch(() => {});
  try {
    const cuts = random.below(4);
    for (let cut = 0, at = 0; cut <= cuts; cut++) {
      const end = cut === cuts ? bytes.byteLength : at + random.below(bytes.byteLength - at + 1);
      while (at < end) at += await connection.write(bytes.subarray(at, end));
    }
  } catch {
    // The server has failed the connection meanwhile.
  }
  await reading;
  const all = new Uint8Array(await new Blob(received as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  const text = String.fromCharCode(...all.subarray(0, 2000));
  const end = text.indexOf("\r\n\r\n");
  if (!text.startsWith("HTTP/1.1 101 ") || end === -1) {
    throw new Error(`no upgrade: ${JSON.stringify(text.slice(0, 100))}`);
  }
  return all.slice(end + 4);
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args, 50_000);
  const server = await startTarget("wire", [
    "run",
    ...FLAGS,
    "server.ts",
    ...["--port", "0", "--log", "none", "--transport", "wire", "--max-message", `${MAX_MESSAGE_BYTES}`],
  ]);
  const since = performance.now();
  let failures = 0;
  const found = await runTries(settings, AT_ONCE, async (random) => {
    if (!server.isAlive()) return "the server has ended";
    const frames = makeFrames(random);
    const expected = expectedOf(frames);
    const bytes = Uint8Array.from(frames.flatMap((frame) => encode(random, frame)));
    const answer = readAnswer(await within(talk(random, server, bytes), "the end of the stream", STREAM_TIMEOUT_MS));
    if (expected.isFailure) failures++;
    const difference = differenceOf(expected, answer);
    return difference && `${difference}: ${bytes.slice(0, 300).toHex()}`;
  });
  console.log(
    `${failures} of ${settings.count} streams break the protocol or the limit; ${
      (await server.residentMib()).toFixed(0)
    } MiB`,
  );
  found.push(...await server.stop());
  return conclude("frames", settings.count, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
