/**
 * Compression of messages (RFC 7692 section 7.2) by the zlib of the runtime. No other file knows zlib.
 *
 * The engines of `node:zlib` run here without their streams: a call compresses or inflates at once, so that messages keep their
 * order, nothing waits, and a closed connection leaves nothing behind. Microseconds for a JSON text of 200 B, 1 KiB and
 * 16 KiB, 12 bits of window, memory level 5, level 6, in Deno 2.9.6, every candidate with takeover:
 *
 * | candidate                              | deflate         | inflate         | output is bounded |
 * | -------------------------------------- | --------------- | --------------- | ----------------- |
 * | `_handle.writeSync()` of node:zlib     | 3.5 / 9.0 / 90  | 1.2 / 3.1 / 16  | at any byte       |
 * | minizlib 3.1.0, over `_processChunk()` | 6.4 / 12 / 87   | 4.4 / 6.3 / 24  | by an exception   |
 * | pako 3.0.3, without zlib               | 13 / 34 / 331   | 15 / 25 / 47    | by an exception   |
 * | streams of node:zlib with `flush()`    | 8 to 15 (4 KiB) | 6 to 8 (4 KiB)  | not in the middle |
 *
 * fflate 0.8.3 did not read back what it had flushed with takeover. `_handle` is not documented: {@linkcode canCompress} looks
 * for it, and without it nothing is offered or accepted. minizlib, which npm unpacks packages with, relies on it too.
 *
 * @module
 */

import { MIN_OWN_WINDOW_BITS } from "../protocol/deflate.ts";
import {
  COST_OF_COMPRESSED_BYTE,
  COST_OF_ENGINE,
  COST_OF_INFLATED_BYTE,
  DEFAULT_DEFLATE_THRESHOLD_BYTES,
  type EngineBudget,
  type MessageDeflateOptions,
  MIN_BOMB_BYTES,
} from "./deflate_limits.ts";
import type { MessageInflater } from "../protocol/endpoint_handler.ts";
import { tooBig } from "../protocol/assembler.ts";
import { ProtocolError } from "../protocol/error.ts";
import { concatBytes } from "../protocol/message.ts";

/** Output of one engine call, in bytes: 64 KiB. */
const OUTPUT_BYTES = 64 * 1024;

/** All engines of a direction share the memory: each call ends before the next. Inflated bytes may be compressed at once. */
const inflated = new Uint8Array(OUTPUT_BYTES);
const deflated = new Uint8Array(OUTPUT_BYTES);

/** The end of a message that a sender leaves out (RFC 7692 section 7.2.1), and one byte that must remain unread. */
const TAIL = Uint8Array.of(0x00, 0x00, 0xff, 0xff, 0x00);
const TAIL_BYTES = 4;

/** Idle engines kept for the next message, of each kind: 8. */
const MAX_SPARE_ENGINES = 8;

let loaded: typeof import("node:zlib") | undefined;

/** Loads zlib at its first use: the first module of Node doubles the start time of a program. */
function zlib(): typeof import("node:zlib") {
  return loaded ??= globalThis.process.getBuiltinModule("node:zlib");
}

/** The engine behind a stream of `node:zlib`. */
interface ZlibHandle {
  onerror: (message: string) => void;
  writeSync(
    flush: number,
    input: Uint8Array,
    at: number,
    length: number,
    output: Uint8Array,
    outputAt: number,
    outputLength: number,
  ): void;
  reset(): void;
  close(): void;
}

function isHandle(value: unknown): value is ZlibHandle {
  return typeof value === "object" && value !== null &&
    ["writeSync", "reset", "close"].every((name) => typeof Reflect.get(value, name) === "function");
}

/** One engine: a compressor or an inflater. */
class Engine {
  /** The number of open engines. */
  static count = 0;
  /** The fault of the input; empty without one. */
  problem = "";
  readonly #handle: ZlibHandle;
  readonly #output: Uint8Array;
  /** The engine's counts of room and input left. */
  readonly #left: Uint32Array;

  constructor(stream: object, output: Uint8Array) {
    const [handle, left] = [Reflect.get(stream, "_handle"), Reflect.get(stream, "_writeState")];
    if (!isHandle(handle) || !(left instanceof Uint32Array)) throw new Error("The zlib of this runtime is not known");
    handle.onerror = (message) => this.problem = message;
    this.#handle = handle;
    this.#output = output;
    this.#left = left;
    Engine.count++;
  }

  /** Room that the last write left. */
  get roomLeft(): number {
    return this.#left[0] ?? 0;
  }

  /** Input that the last write left. */
  get inputLeft(): number {
    return this.#left[1] ?? 0;
  }

  write(flush: number, input: Uint8Array, at: number, length: number, room: number, outputAt = 0): void {
    this.#handle.writeSync(flush, input, at, length, this.#output, outputAt, room);
  }

  reset(): void {
    this.problem = "";
    this.#handle.reset();
  }

  close(): void {
    Engine.count--;
    this.#handle.close();
  }
}

/**
 * Says whether the zlib of this runtime can be used.
 *
 * @returns Whether it can; otherwise neither end may offer or accept compression.
 *
 * @example
 * ```ts
 * import { canCompress } from "./zlib.ts";
 * import { assert } from "@std/assert";
 *
 * assert(canCompress());
 * ```
 */
export function canCompress(): boolean {
  try {
    new Engine(zlib().createInflateRaw({ chunkSize: MIN_CHUNK_BYTES }), inflated).close();
    return true;
  } catch {
    return false;
  }
}

/** The streams stay unused, so their buffers are minimal. */
const MIN_CHUNK_BYTES = 64;

/**
 * Counts the engines that hold memory.
 *
 * @returns The engines of connections, and idle ones.
 *
 * @example
 * ```ts
 * import { engineCount } from "./zlib.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(engineCount(), 0);
 * ```
 */
export function engineCount(): number {
  return Engine.count;
}

/** Receives bytes that are valid only during the call. */
type Take = (bytes: Uint8Array<ArrayBuffer>, final: boolean) => void;

/** Idle engines, by kind. */
const spare = new Map<string, Engine[]>();

/** One direction of a connection: gets an engine for a message, and keeps or returns the engine afterwards. */
class EngineSlot {
  readonly #kind: string;
  readonly #takeover: boolean;
  readonly #bytes: number;
  readonly #make: () => Engine;
  readonly #budget: EngineBudget | undefined;
  #isReserved = false;
  #engine: Engine | undefined;
  /** Engines made since the last count. */
  #made = 0;

  constructor(kind: string, takeover: boolean, bytes: number, make: () => Engine, budget?: EngineBudget) {
    this.#kind = kind;
    this.#takeover = takeover;
    this.#bytes = bytes;
    this.#make = make;
    this.#budget = budget;
  }

  /** Unreserved memory of the engine, in bytes; 0 without one. */
  get heldBytes(): number {
    return this.#engine === undefined || this.#isReserved ? 0 : this.#bytes;
  }

  /** Whether the engine stays after its message: with takeover, as long as there is memory. */
  get stays(): boolean {
    if (!this.#takeover || this.#budget === undefined || this.#isReserved) return this.#takeover;
    this.#isReserved = !this.#budget.isTight && this.#budget.reserve(this.#bytes);
    return this.#isReserved;
  }

  /** The engine for the present message. */
  use(): Engine {
    this.#engine ??= spare.get(this.#kind)?.pop();
    if (this.#engine) return this.#engine;
    this.#made++;
    return this.#engine = this.#make();
  }

  /** Engines made since the last call. */
  takeMade(): number {
    const made = this.#made;
    this.#made = 0;
    return made;
  }

  /** Ends the message. An engine that does not stay serves the next message of any connection. */
  rest(): void {
    if (this.#engine === undefined || this.stays) return;
    const engines = spare.get(this.#kind) ?? [];
    spare.set(this.#kind, engines);
    if (engines.length >= MAX_SPARE_ENGINES) return this.release();
    this.#engine.reset();
    engines.push(this.#engine);
    this.#engine = undefined;
  }

  release(): void {
    this.#engine?.close();
    this.#engine = undefined;
    if (this.#isReserved) this.#budget?.giveBack(this.#bytes);
    this.#isReserved = false;
  }
}

/**
 * Compresses and inflates the messages of one connection. Engines are made with the first message of their direction. Without
 * takeover all connections share them, message by message.
 *
 * @example
 * ```ts
 * import { MessageDeflate } from "./zlib.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const direction = { takeover: true, windowBits: 15 };
 * const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: 1024 });
 * const hello = new TextEncoder().encode("Hello, Hello, Hello");
 * let inflated = "";
 * codec.deflate(hello, true, (bytes) => {
 *   codec.inflate(bytes, true, (piece) => inflated += new TextDecoder().decode(piece));
 * });
 * assertEquals(inflated, "Hello, Hello, Hello");
 * codec.release();
 * ```
 */
export class MessageDeflate implements MessageInflater {
  readonly #options: MessageDeflateOptions;
  // Made on demand: many connections stay silent.
  #inflating: EngineSlot | undefined;
  #deflating: EngineSlot | undefined;
  /** Bytes of the present message on the wire so far, and bytes inflated from them. */
  #taken = 0;
  #made = 0;
  /** Work since the last call of `takeCost()`. */
  #cost = 0;
  #isReleased = false;

  /**
   * Begins without any engine.
   *
   * @param options The negotiated parameters, and the limits.
   */
  constructor(options: MessageDeflateOptions) {
    this.#options = options;
  }

  // Measured: the runtime's zlib has tables of 15 KiB to inflate, and of 128 KiB to compress, at any memory level.
  get #inflater(): EngineSlot {
    if (this.#inflating) return this.#inflating;
    const { peer: { takeover, windowBits: bits } } = this.#options;
    const windowBits = Math.max(bits, MIN_OWN_WINDOW_BITS);
    const make = () => new Engine(zlib().createInflateRaw({ windowBits, chunkSize: MIN_CHUNK_BYTES }), inflated);
    return this.#inflating = new EngineSlot(`inflate ${windowBits}`, takeover, 2 ** windowBits + 15 * 1024, make);
  }

  get #deflater(): EngineSlot {
    if (this.#deflating) return this.#deflating;
    const { own: { takeover, windowBits }, level = 6, memoryLevel = 8, budget } = this.#options;
    const settings = { windowBits, memLevel: memoryLevel, level, chunkSize: MIN_CHUNK_BYTES };
    const make = () => new Engine(zlib().createDeflateRaw(settings), deflated);
    const bytes = 2 ** (windowBits + 2) + 2 ** (memoryLevel + 8) + 136 * 1024;
    const kind = `deflate ${windowBits} ${memoryLevel} ${level}`;
    return this.#deflating = new EngineSlot(kind, takeover, bytes, make, budget);
  }

  /** Memory of the engines, in bytes, beyond the budget's reservation. */
  get heldBytes(): number {
    return (this.#inflating?.heldBytes ?? 0) + (this.#deflating?.heldBytes ?? 0);
  }

  /**
   * Accounts for the work of inflating, and of compressing the result again.
   *
   * @returns The work since the last call, as the number of bytes whose relay would take as long.
   */
  takeCost(): number {
    const engines = [this.#inflating, this.#deflating].reduce((sum, slot) => sum + (slot?.takeMade() ?? 0), 0);
    const cost = this.#cost + COST_OF_ENGINE * engines;
    this.#cost = 0;
    return cost;
  }

  /**
   * Says whether a message is worth compressing. With takeover each is, as later messages may refer to it.
   *
   * @param bytes The size of the message, in bytes.
   * @returns Whether it is.
   */
  isWorth(bytes: number): boolean {
    return this.#deflater.stays || bytes >= (this.#options.thresholdBytes ?? DEFAULT_DEFLATE_THRESHOLD_BYTES);
  }

  /** Inflates the next bytes of a message; see {@linkcode MessageInflater.inflate}. */
  inflate(piece: Uint8Array<ArrayBuffer>, isLast: boolean, take: Take): void {
    // Nothing would ever close an engine made now.
    if (this.#isReleased) throw broken("the connection is over");
    let kept = piece.byteLength > 0 ? this.#inflatePart(piece, 0, 0, take) : 0;
    if (!isLast) return kept > 0 ? take(inflated.subarray(0, kept), false) : undefined;
    // A message without any byte, not even an empty block, is empty.
    if (this.#taken > 0) kept = this.#inflatePart(TAIL, TAIL.byteLength - TAIL_BYTES, kept, take);
    this.#taken = 0;
    this.#made = 0;
    this.#inflater.rest();
    take(inflated.subarray(0, kept), true);
  }

  /**
   * Inflates a part. At the end of a message one byte must remain unread: it follows the last block.
   *
   * @param kept Bytes inflated before and not yet passed on.
   * @returns The same count after this part.
   */
  #inflatePart(part: Uint8Array<ArrayBuffer>, spareBytes: number, kept: number, take: Take): number {
    const { maxMessageBytes, maxInflateRatio = Infinity } = this.#options;
    const engine = this.#inflater.use();
    let left = part.byteLength;
    let isAnew = false;
    while (true) {
      const room = Math.min(OUTPUT_BYTES - kept, maxMessageBytes + 1 - this.#made);
      engine.write(spareBytes > 0 ? Z_BLOCK : Z_SYNC_FLUSH, part, part.byteLength - left, left, room, kept);
      if (engine.problem !== "") throw broken(engine.problem);
      const [wasLeft, made] = [left, room - engine.roomLeft];
      left = engine.inputLeft;
      this.#taken += wasLeft - left;
      this.#made += made;
      this.#cost += COST_OF_COMPRESSED_BYTE * (wasLeft - left) + COST_OF_INFLATED_BYTE * made;
      kept += made;
      if (this.#made > maxMessageBytes) throw tooBig(maxMessageBytes);
      if (this.#made > MIN_BOMB_BYTES && this.#made > maxInflateRatio * this.#taken) {
        throw new ProtocolError("inflates-too-much", `Message inflates to over ${maxInflateRatio} times its size`);
      }
      if (left < spareBytes) throw broken("the message ends inside a block");
      if (left === spareBytes && engine.roomLeft > 0) return kept;
      if (engine.roomLeft === 0) {
        take(inflated.subarray(0, kept), false);
        kept = 0;
      } else if (made === 0 && left === wasLeft) {
        if (isAnew) throw broken("no block starts");
        // The block was marked as the last one, but others may follow in the same message (RFC 7692 section 7.2.3.5).
        engine.reset();
        isAnew = true;
      } else {
        isAnew = false;
      }
    }
  }

  /**
   * Compresses the next bytes of a message.
   *
   * @param bytes The bytes.
   * @param final Whether they end the message.
   * @param take Receives the output at once: pieces that are valid only during the call, the last piece of a message `final`.
   */
  deflate(bytes: Uint8Array<ArrayBuffer>, final: boolean, take: Take): void {
    const engine = this.#deflater.use();
    const flush = final ? Z_SYNC_FLUSH : Z_NO_FLUSH;
    let left = bytes.byteLength;
    let end = 0;
    while (true) {
      // A sender leaves out the last bytes of a message, so this many bytes are held back until more follow.
      const kept = final ? Math.min(end, TAIL_BYTES) : 0;
      deflated.copyWithin(0, end - kept, end);
      engine.write(flush, bytes, bytes.byteLength - left, left, OUTPUT_BYTES - kept, kept);
      left = engine.inputLeft;
      end = OUTPUT_BYTES - engine.roomLeft;
      if (engine.roomLeft > 0) break;
      take(deflated.subarray(0, final ? end - TAIL_BYTES : end), false);
    }
    if (!final) return end > 0 ? take(deflated.subarray(0, end), false) : undefined;
    this.#deflater.rest();
    // zlib flushes nothing twice: an empty message after another has no output.
    take(end === 0 ? EMPTY_MESSAGE : deflated.subarray(0, end - TAIL_BYTES), true);
  }

  /**
   * Compresses a message.
   *
   * @param message The message.
   * @returns The compressed message, in its own memory.
   */
  deflateWhole(message: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    const parts: Uint8Array[] = [];
    this.deflate(message, true, (piece) => {
      parts.push(piece.slice());
    });
    return concatBytes(parts);
  }

  /** Abandons the present message and frees the compressor: the next message begins without a context. */
  abandon(): void {
    this.#deflating?.release();
  }

  /** Closes the engines of both directions for good. */
  release(): void {
    this.#isReleased = true;
    this.#inflating?.release();
    this.abandon();
  }
}

// As in zlib.h, and in the constants of node:zlib, which are not loaded yet.
const Z_NO_FLUSH = 0;
const Z_SYNC_FLUSH = 2;
const Z_BLOCK = 5;

/** A message without bytes, compressed (RFC 7692 section 7.2.3.6). */
const EMPTY_MESSAGE = Uint8Array.of(0);

function broken(reason: string): ProtocolError {
  return new ProtocolError("invalid-deflate", `Message cannot be inflated: ${reason}`);
}
