/**
 * The options of the client's payload.
 *
 * @module
 */

import { UsageError } from "./command_line.ts";
import { flag, path, size, type Source, text, whole } from "./options.ts";
import { collect, cut, LONGEST_CHARACTER_BYTES, randomBytes, readFile, unreadable } from "../client/payload.ts";
import { byteLengthOf, type Message, type MessageKind } from "../protocol/message.ts";

/** Largest value of an option that counts messages. */
export const MAX_COUNT = 1_000_000_000;

/** The options of the payload. */
export const PAYLOAD_OPTIONS = {
  message: text({
    name: "message",
    short: "m",
    value: "TEXT",
    help: ['Send this text (default "Hello world")'],
    otherBytes: "send such bytes with --binary --file",
  }),
  file: path({ name: "file", short: "f", value: "PATH", help: ["Send this file as one message; - reads stdin"] }),
  size: size({ name: "size", value: "BYTES", help: ["Send random bytes; suffixes KiB, MiB, GiB"] }),
  binary: flag({ name: "binary", short: "b", help: ["Send a binary message instead of text"] }),
  count: whole({
    name: "count",
    short: "n",
    value: "N",
    help: ["Send the message N times (default 1), each after", "the reply to the last; 0 only connects and closes"],
    min: 0,
    max: MAX_COUNT,
  }),
  split: size({ name: "split", value: "BYTES", help: ["Split the payload into messages of this size"] }),
};

/** The messages of an exchange. */
export interface Payload {
  /** Recycles the memory of a verified message. */
  readonly onVerified?: (message: Message) => void;
  /** The messages. */
  readonly messages: Iterable<Message> | AsyncIterable<Message>;
  /** Size of all messages together, in bytes; `undefined` if only reading tells. */
  readonly totalBytes: number | undefined;
}

/**
 * Reads the payload.
 *
 * @param source The source of the options.
 * @param maxMessageBytes The longest message, in bytes.
 * @returns The messages, made on demand.
 * @throws {UsageError} If an option or a combination makes no sense.
 * @throws {PayloadError} If the bytes cannot be read, or not be sent as asked.
 *
 * @example
 * ```ts
 * import { parseCommandLine } from "./command_line.ts";
 * import { Source } from "./options.ts";
 * import { PAYLOAD_OPTIONS, readPayload } from "./payload_options.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const line = parseCommandLine(["-m", "hi", "-n", "2"], Object.values(PAYLOAD_OPTIONS));
 * const { messages, totalBytes } = await readPayload(new Source(line), 1024);
 * assertEquals(await Array.fromAsync(messages), ["hi", "hi"]);
 * assertEquals(totalBytes, 4);
 * ```
 */
export async function readPayload(source: Source, maxMessageBytes: number): Promise<Payload> {
  const count = source.value(PAYLOAD_OPTIONS.count) ?? 1;
  const { chunks, bytes } = inputOf(source);
  const kind: MessageKind = source.has(PAYLOAD_OPTIONS.binary) || source.has(PAYLOAD_OPTIONS.size) ? "binary" : "text";
  const partBytes = readPartBytes(source, kind, maxMessageBytes);
  if (partBytes === undefined) {
    const message = await collect(chunks(), kind, maxMessageBytes);
    return { messages: repeat(count, () => [message]), totalBytes: byteLengthOf(message) * count };
  }
  if (source.value(PAYLOAD_OPTIONS.file) === "-" && count > 1) {
    throw new UsageError("Option --count cannot repeat standard input in parts: save it to a file first");
  }
  const totalBytes = bytes === undefined ? undefined : bytes * count;
  const pool: Uint8Array<ArrayBuffer>[] = [];
  const onVerified = (message: Message) => {
    if (typeof message !== "string" && message.byteLength === partBytes) pool.push(message);
  };
  return { messages: repeat(count, () => cut(chunks(), kind, partBytes, pool)), totalBytes, onVerified };
}

/** The bytes to send. */
interface Input {
  readonly chunks: () => Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** The number of bytes; `undefined` if only reading tells. */
  readonly bytes: number | undefined;
}

function inputOf(source: Source): Input {
  const [path, size] = [source.value(PAYLOAD_OPTIONS.file), source.value(PAYLOAD_OPTIONS.size)];
  if (size !== undefined) return { chunks: () => randomBytes(size), bytes: size };
  if (path !== undefined) return { chunks: () => readFile(path), bytes: sizeOf(path) };
  const bytes = new TextEncoder().encode(source.value(PAYLOAD_OPTIONS.message) ?? "Hello world");
  return { chunks: () => [bytes], bytes: bytes.byteLength };
}

/** The size of a file; an unreadable file fails here, before anything is sent. */
function sizeOf(path: string): number | undefined {
  if (path === "-") return undefined;
  try {
    using file = Deno.openSync(path);
    const info = file.statSync();
    if (info.isDirectory) throw new Deno.errors.IsADirectory();
    return info.isFile ? info.size : undefined;
  } catch (error) {
    throw unreadable(path, error);
  }
}

function readPartBytes(source: Source, kind: MessageKind, maxMessageBytes: number): number | undefined {
  const bytes = source.value(PAYLOAD_OPTIONS.split);
  if (bytes === undefined) return undefined;
  const least = kind === "text" ? LONGEST_CHARACTER_BYTES : 1;
  if (maxMessageBytes < least) {
    throw source.error(PAYLOAD_OPTIONS.split, `needs a --max-message of at least ${least} bytes`);
  }
  if (bytes < least || bytes > maxMessageBytes) {
    throw source.refusal(PAYLOAD_OPTIONS.split, `give ${least} to ${maxMessageBytes} bytes`);
  }
  return bytes;
}

async function* repeat(
  count: number,
  messages: () => Iterable<Message> | AsyncIterable<Message>,
): AsyncGenerator<Message> {
  for (let done = 0; done < count; done++) yield* messages();
}
