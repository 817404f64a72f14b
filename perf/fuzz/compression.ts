/** Compressed messages for the frame fuzzer (RFC 7692), straight from zlib. */

import { constants, createDeflateRaw, type DeflateRaw, deflateRawSync, inflateRawSync } from "node:zlib";
import type { Random } from "./random.ts";

/** The four bytes that a sender strips from each message (RFC 7692 section 7.2.1). */
const TAIL = Uint8Array.of(0x00, 0x00, 0xff, 0xff);

/** A window that every server can read, in bits. */
const WINDOW_BITS = 9;

/** The offers. */
export const OFFERS: readonly string[] = [
  "permessage-deflate",
  "permessage-deflate; client_max_window_bits",
  "permessage-deflate; client_no_context_takeover",
  "permessage-deflate; server_no_context_takeover",
  "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
  "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
];

function join(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(one.byteLength + other.byteLength);
  joined.set(one);
  joined.set(other, one.byteLength);
  return joined;
}

/** Compresses a message without context, up to a flush. */
export function compressAlone(plain: Uint8Array, strategy = constants.Z_DEFAULT_STRATEGY): Uint8Array<ArrayBuffer> {
  const finishFlush = constants.Z_SYNC_FLUSH;
  const bytes = deflateRawSync(plain, { windowBits: WINDOW_BITS, strategy, finishFlush });
  return new Uint8Array(bytes.subarray(0, -TAIL.byteLength));
}

/** Compresses the messages of one client, with context takeover where allowed. */
export class Compressor {
  readonly #engine: DeflateRaw | undefined;

  /**
   * Starts without a context.
   *
   * @param takesOver Whether messages refer to previous ones.
   */
  constructor(takesOver: boolean) {
    if (takesOver) this.#engine = createDeflateRaw({ windowBits: WINDOW_BITS });
  }

  /** Compresses a message in one of the allowed ways. */
  async compress(random: Random, plain: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
    // zlib would flush nothing.
    if (plain.byteLength === 0) return Uint8Array.of(0);
    if (this.#engine) return await flush(this.#engine, plain);
    // A message may end with its last block (RFC 7692 section 7.2.3.4).
    if (random.chance(0.2)) return join(deflateRawSync(plain, { windowBits: WINDOW_BITS }), Uint8Array.of(0));
    return compressAlone(
      plain,
      random.pick([constants.Z_DEFAULT_STRATEGY, constants.Z_FIXED, constants.Z_HUFFMAN_ONLY]),
    );
  }

  /** Frees the engine. */
  close(): void {
    this.#engine?.close();
  }
}

function flush(engine: DeflateRaw, plain: Uint8Array): Promise<Uint8Array<ArrayBuffer>> {
  const { promise, resolve } = Promise.withResolvers<Uint8Array<ArrayBuffer>>();
  let bytes = new Uint8Array(0);
  const onData = (piece: Uint8Array) => bytes = join(bytes, piece);
  engine.on("data", onData);
  engine.write(plain);
  engine.flush(constants.Z_SYNC_FLUSH, () => {
    engine.off("data", onData);
    resolve(bytes.slice(0, -TAIL.byteLength));
  });
  return promise;
}

/** Inflates the messages of one end, each with all previous ones: no context to keep. */
export class Inflater {
  readonly #takesOver: boolean;
  #before = new Uint8Array(0);
  #inflatedBefore = 0;

  /**
   * Starts without a context.
   *
   * @param takesOver Whether messages refer to previous ones.
   */
  constructor(takesOver: boolean) {
    this.#takesOver = takesOver;
  }

  /** Inflates a message as far as received; `undefined` if that fails. */
  inflate(message: Uint8Array, isComplete: boolean): Uint8Array<ArrayBuffer> | undefined {
    const all = join(join(this.#before, message), isComplete ? TAIL : new Uint8Array(0));
    try {
      const inflated = inflateRawSync(all, { finishFlush: constants.Z_SYNC_FLUSH });
      const own = new Uint8Array(inflated.subarray(this.#inflatedBefore));
      if (isComplete && this.#takesOver) [this.#before, this.#inflatedBefore] = [all, inflated.byteLength];
      return own;
    } catch {
      return undefined;
    }
  }
}
