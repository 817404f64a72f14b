/**
 * Random streams of frames against the echo server over our own frames: plain, over TLS and with two workers, with and without
 * compression. An oracle independent of our code judges the returned messages and pongs, their order, and the close code at the
 * end.
 *
 *     deno task perf:fuzz:frames --count 50000
 */

import { compressAlone, Compressor, Inflater, OFFERS } from "./compression.ts";
import {
  conclude,
  connectTo,
  FLAGS,
  makePair,
  readSettings,
  runTries,
  startTarget,
  type Target,
  within,
} from "./harness.ts";
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
  /** Whether the payload is random: zlib may make anything of it in a compressed message. */
  readonly isNoise: boolean;
  /** The form of the length: minimal, longer than needed, or with the highest bit set. */
  readonly length: "minimal" | "two-bytes" | "eight-bytes" | "negative";
}

/** The expected answer: messages and pongs in order, and the close code. */
interface Expected {
  readonly replies: readonly string[];
  readonly closeCode: number;
  /** Whether the server fails the connection: it may then end before all received frames are answered. */
  readonly isFailure: boolean;
  /** Whether only the form of the answer counts, as one message is noise. */
  readonly isNoise?: boolean;
}

/** The frames of a client, and its offer of compression. */
interface Stream {
  readonly frames: readonly Frame[];
  /** The offer of permessage-deflate; empty for none. */
  readonly offer: string;
}

const TEXTS = ["", "a", "Hello world", "é€😀", "x".repeat(126), "\ufeff\0", "x".repeat(4999), "ä".repeat(2500)];

async function makeStream(random: Random): Promise<Stream> {
  const offer = random.chance(0.5) ? random.pick(OFFERS) : "";
  const compressor = offer === "" ? undefined : new Compressor(!offer.includes("client_no"));
  const frames: Frame[] = [];
  const add = (opcode: number, payload: Uint8Array<ArrayBuffer>, more: Partial<Frame> = {}) =>
    frames.push({
      opcode,
      payload,
      final: true,
      reserved: 0,
      isMasked: true,
      isNoise: false,
      length: "minimal",
      ...more,
    });
  const control = () => {
    const opcode = random.pick([9, 9, 9, 10]);
    add(opcode, random.bytes(random.pick([0, 1, 5, 125])));
  };
  for (let messages = random.below(6); messages > 0; messages--) {
    if (random.chance(0.3)) control();
    const isText = random.chance(0.5);
    const plain = isText
      ? new TextEncoder().encode(random.pick(TEXTS))
      : random.bytes(random.pick([0, 1, 125, 126, 127, 1000, 5000]));
    const isCompressed = compressor !== undefined && random.chance(0.7);
    const payload = isCompressed ? await compressor.compress(random, plain) : plain;
    const pieces = random.chance(0.5) ? 1 : 1 + random.below(4);
    for (let piece = 0, at = 0; piece < pieces; piece++) {
      const end = piece === pieces - 1 ? payload.byteLength : at + random.below(payload.byteLength - at + 1);
      add(piece > 0 ? 0 : isText ? 1 : 2, payload.slice(at, end), {
        final: piece === pieces - 1,
        reserved: isCompressed && piece === 0 ? RSV1 : 0,
      });
      at = end;
      if (piece < pieces - 1 && random.chance(0.3)) control();
    }
  }
  if (random.chance(0.6)) breakOne(random, frames, add, offer !== "");
  const code = random.pick([1000, 1000, 1001, 3000, 4999]);
  add(8, Uint8Array.of(code >> 8, code & 255, ...new TextEncoder().encode(random.pick(["", "bye", "é".repeat(61)]))));
  compressor?.close();
  return { frames, offer };
}

/** The bit that marks a compressed message (RFC 7692 section 6). */
const RSV1 = 4;

/** Inserts a fault, or a near fault, at any place. */
function breakOne(
  random: Random,
  frames: Frame[],
  add: (opcode: number, payload: Uint8Array<ArrayBuffer>, more?: Partial<Frame>) => void,
  isOffered: boolean,
): void {
  add(...(isOffered && random.chance(0.4) ? wrongCompression(random) : wrong(random)));
  const frame = frames.pop();
  if (frame) frames.splice(random.below(frames.length + 1), 0, frame);
}

function wrong(random: Random): [opcode: number, payload: Uint8Array<ArrayBuffer>, more?: Partial<Frame>] {
  const some = random.bytes(random.pick([0, 3, 125]));
  switch (random.below(14)) {
    case 0:
      return [random.pick([3, 4, 7, 11, 15]), some];
    case 1:
      return [random.pick([0, 1, 2, 8, 9, 10]), some, { reserved: 1 + random.below(7), isNoise: true }];
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
      return [0, some, { final: random.chance(0.5), isNoise: true }];
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

/** Makes a faulty message with compression, real or claimed. */
function wrongCompression(random: Random): ReturnType<typeof wrong> {
  const opcode = random.pick([1, 2]);
  switch (random.below(8)) {
    case 0:
      return [opcode, compressAlone(new Uint8Array(random.pick([MAX_MESSAGE_BYTES + 1, 1_000_000])).fill(97)), {
        reserved: RSV1,
      }];
    case 1:
      return [1, compressAlone(Uint8Array.of(97, 0xc3)), { reserved: RSV1 }];
    case 2:
      // An invalid block type.
      return [opcode, Uint8Array.of(7, 7, 7), { reserved: RSV1 }];
    case 3:
      return [0, compressAlone(random.bytes(3)), { reserved: RSV1 }];
    case 4:
      return [random.pick([8, 9, 10]), compressAlone(random.bytes(3)), { reserved: RSV1 }];
    case 5:
      return [opcode, compressAlone(random.bytes(3)), { reserved: RSV1 | random.pick([1, 2, 3]) }];
    case 6:
      return [opcode, compressAlone(random.bytes(3)), { reserved: RSV1, final: false }];
    default:
      return [opcode, random.bytes(random.pick([1, 20, 300])), { reserved: RSV1, isNoise: true }];
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
function expectedOf({ frames, offer }: Stream): Expected {
  const replies: string[] = [];
  const inflater = offer === "" ? undefined : new Inflater(!offer.includes("client_no"));
  let isCompressed = false;
  let kind: "text" | "binary" | undefined;
  let message: number[] = [];
  const fail = (closeCode: number): Expected => ({ replies, closeCode, isFailure: true });
  for (const { opcode, final, reserved, isMasked, isNoise, payload, length } of frames) {
    const mayBeCompressed = inflater && (opcode === 1 || opcode === 2) && reserved === RSV1;
    if (
      (reserved !== 0 && !mayBeCompressed) || !isMasked || length !== "minimal" || ![0, 1, 2, 8, 9, 10].includes(opcode)
    ) return fail(1002);
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
    if (opcode !== 0) isCompressed = reserved === RSV1;
    kind ??= opcode === 1 ? "text" : "binary";
    if (!isCompressed && message.length + payload.byteLength > MAX_MESSAGE_BYTES) return fail(1009);
    message.push(...payload);
    if (isNoise && isCompressed) return { ...fail(1007), isNoise: true };
    const bytes = isCompressed ? inflater?.inflate(Uint8Array.from(message), final) : Uint8Array.from(message);
    if (bytes === undefined) return fail(1007);
    if (bytes.byteLength > MAX_MESSAGE_BYTES) return fail(1009);
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

/** Reads the frames of a server, which may compress messages where that was offered. */
function readAnswer(bytes: Uint8Array<ArrayBuffer>, offer: string): Answer {
  const answer: Answer = { replies: [], closeCode: undefined, wrong: "" };
  const inflater = offer === "" ? undefined : new Inflater(!offer.includes("server_no"));
  let isCompressed = false;
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
    const isMarked = inflater !== undefined && (first & 0x70) === 0x40 && (opcode === 1 || opcode === 2);
    if (opcode === 1 || opcode === 2) isCompressed = isMarked;
    if (((first & 0x70) !== 0 && !isMarked) || (second & 128) !== 0) answer.wrong = "reserved bits, or a mask";
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
      const plain = isCompressed ? inflater?.inflate(Uint8Array.from(message), true) : Uint8Array.from(message);
      if (plain) answer.replies.push(`${kind} ${plain.toHex()}`);
      else answer.wrong = "a message that cannot be inflated";
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
  if (expected.isNoise) return undefined;
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
  target: Target,
  bytes: Uint8Array<ArrayBuffer>,
  offer: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const { hostname, port } = target;
  using connection = await connectTo(target);
  const head = [
    "GET / HTTP/1.1",
    `Host: ${hostname}:${port}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    `Sec-WebSocket-Key: ${random.bytes(16).toBase64()}`,
    ...(offer === "" ? [] : [`Sec-WebSocket-Extensions: ${offer}`]),
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
  if ((offer !== "") !== /^sec-websocket-extensions: permessage-deflate/im.test(text.slice(0, end))) {
    throw new Error(`the offer "${offer}" is answered with ${JSON.stringify(text.slice(0, end))}`);
  }
  return all.slice(end + 4);
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args, 50_000);
  const words = ["--port", "0", "--log", "none", "--transport", "wire", "--max-message", `${MAX_MESSAGE_BYTES}`];
  const pair = await makePair();
  const start = (name: string, more: readonly string[], caCert?: string) =>
    startTarget(name, ["run", ...FLAGS, "server.ts", ...words, ...more], caCert === undefined ? {} : { caCert });
  const targets = await Promise.all([
    start("wire", []),
    start("two workers", ["--workers", "2"]),
    start("wire TLS", pair.args, pair.caCert),
  ]);
  await pair.remove();
  const since = performance.now();
  let failures = 0;
  let compressed = 0;
  const found = await runTries(settings, AT_ONCE, async (random, index) => {
    const target = targets[index % targets.length];
    if (!target?.isAlive()) return `${target?.name} has ended`;
    const stream = await makeStream(random);
    const expected = expectedOf(stream);
    const bytes = Uint8Array.from(stream.frames.flatMap((frame) => encode(random, frame)));
    const talking = talk(random, target, bytes, stream.offer);
    const answer = readAnswer(await within(talking, "the end of the stream", STREAM_TIMEOUT_MS), stream.offer);
    if (expected.isFailure) failures++;
    if (stream.offer !== "") compressed++;
    const difference = differenceOf(expected, answer);
    return difference && `${target.name}, "${stream.offer}": ${difference}: ${bytes.slice(0, 300).toHex()}`;
  });
  console.log(
    `${failures} of ${settings.count} streams break the protocol or the limit, ${compressed} are with compression`,
  );
  for (const target of targets) {
    if (target.isAlive()) console.log(`${target.name}: ${(await target.residentMib()).toFixed(0)} MiB`);
    found.push(...await target.stop());
  }
  return conclude("frames", settings.count, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
