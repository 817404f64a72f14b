/**
 * The first message of a TLS client, as far as it takes to find its end. The runtime's TLS for a server is begun with the
 * whole of it: it stores without limit what belongs to none.
 *
 * @module
 */

/**
 * How many bytes of TCP a peer may send before its TLS handshake is through, in bytes: 64 KiB, ClientHello and what follows
 * it together. Certificates of clients are not asked for; a ClientHello is 2 KiB long as a rule.
 */
export const MAX_HANDSHAKE_BYTES = 64 * 1024;

/** The longest payload of a record in the clear, in bytes (RFC 8446 section 5.1). */
const MAX_RECORD_BYTES = 16 * 1024;

/** A record's header: type, version, length. */
const RECORD_HEADER_BYTES = 5;

/** A handshake message's header: type, length (RFC 8446 section 4). */
const MESSAGE_HEADER_BYTES = 4;

/** Types of record and message. */
const [HANDSHAKE, CLIENT_HELLO] = [22, 1];

/** Alerts of TLS (RFC 8446 section 6) that say why a handshake comes to nothing. */
export const ALERT = { unexpectedMessage: 10, recordOverflow: 22, handshakeFailure: 40, decodeError: 50 } as const;

/** A peer does not speak TLS as it should. */
export class TlsError extends Error {
  /** `TlsError`. */
  override readonly name = "TlsError";
  /** The alert for it (RFC 8446 section 6). */
  readonly alert: number;
  /** Whether the peer has begun with a character, as plain HTTP does, and could not read an alert. */
  readonly isText: boolean;

  /**
   * Says what is wrong.
   *
   * @param message What.
   * @param options The alert for it, `handshake_failure` by default, whether the peer speaks text, and the cause.
   */
  constructor(message: string, options: { alert?: number; isText?: boolean; cause?: unknown } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.alert = options.alert ?? ALERT.handshakeFailure;
    this.isText = options.isText ?? false;
  }
}

/**
 * Finds the end of a ClientHello, in whatever records it comes (RFC 8446 section 5.1): also those of one byte, within
 * {@linkcode MAX_HANDSHAKE_BYTES} of TCP. Each byte is looked at once.
 *
 * @example
 * ```ts
 * import { ClientHelloReader } from "./client_hello.ts";
 * import { assert, assertThrows } from "@std/assert";
 *
 * // A record with the header of a message of no bytes.
 * const hello = Uint8Array.of(22, 3, 1, 0, 4, 1, 0, 0, 0);
 * const reader = new ClientHelloReader();
 * assert(!reader.isComplete(hello.subarray(0, 8)));
 * assert(reader.isComplete(hello));
 * assertThrows(() => new ClientHelloReader().isComplete(Uint8Array.of(71)), Error, "First byte is 71");
 * ```
 */
export class ClientHelloReader {
  /** Where the next record begins. */
  #recordAt = 0;
  /** The payload of the records so far, in bytes, and the first of it. */
  #payloadBytes = 0;
  readonly #header = new Uint8Array(MESSAGE_HEADER_BYTES);

  /**
   * Looks at what has come.
   *
   * @param bytes All of it, from the first byte of the connection on; longer with each call.
   * @returns Whether all of the ClientHello is there.
   * @throws {TlsError} If it is none, or too long.
   */
  isComplete(bytes: Uint8Array): boolean {
    const first = bytes[0] ?? HANDSHAKE;
    if (first !== HANDSHAKE) {
      // Text that a person can read: HTTP, or the empty line before it.
      const isText = (first > 0x20 && first < 0x7f) || first === 10 || first === 13;
      const problem = `First byte is ${first} instead of a TLS record's ${HANDSHAKE}`;
      throw new TlsError(problem, { alert: ALERT.unexpectedMessage, isText });
    }
    while (this.#recordAt + RECORD_HEADER_BYTES <= bytes.byteLength) {
      const length = this.#lengthOf(bytes.subarray(this.#recordAt, this.#recordAt + RECORD_HEADER_BYTES));
      const payloadAt = this.#recordAt + RECORD_HEADER_BYTES;
      const missing = MESSAGE_HEADER_BYTES - this.#payloadBytes;
      if (missing > 0) {
        const header = bytes.subarray(payloadAt, payloadAt + Math.min(length, missing));
        this.#header.set(header, this.#payloadBytes);
        this.#checkHeader(this.#payloadBytes + header.byteLength);
      }
      if (payloadAt + length > bytes.byteLength) break;
      this.#recordAt = payloadAt + length;
      this.#payloadBytes += length;
      if (this.#payloadBytes >= MESSAGE_HEADER_BYTES + this.#messageBytes) return true;
    }
    if (bytes.byteLength > MAX_HANDSHAKE_BYTES) throw tooLong();
    return false;
  }

  get #messageBytes(): number {
    const [, high = 0, middle = 0, low = 0] = this.#header;
    // Not known yet: no message has that many.
    if (this.#payloadBytes < MESSAGE_HEADER_BYTES) return Infinity;
    return high << 16 | middle << 8 | low;
  }

  #lengthOf([type = 0, major = 0, , high = 0, low = 0]: Uint8Array): number {
    if (type !== HANDSHAKE) {
      throw new TlsError(`Record of type ${type} inside a ClientHello`, { alert: ALERT.unexpectedMessage });
    }
    if (major !== 3) throw new TlsError(`Record of version ${major} instead of 3`, { alert: ALERT.decodeError });
    const length = high << 8 | low;
    if (length === 0) throw new TlsError("Empty record inside a ClientHello", { alert: ALERT.unexpectedMessage });
    if (length <= MAX_RECORD_BYTES) return length;
    throw new TlsError(`Record of ${length} bytes, over ${MAX_RECORD_BYTES}`, { alert: ALERT.recordOverflow });
  }

  /** Refuses a message as soon as its header says that it is none that could be taken. */
  #checkHeader(knownBytes: number): void {
    const [type = 0, high = 0, middle = 0, low = 0] = this.#header;
    if (knownBytes > 0 && type !== CLIENT_HELLO) {
      throw new TlsError(`Handshake begins with message ${type}`, { alert: ALERT.unexpectedMessage });
    }
    if (knownBytes < MESSAGE_HEADER_BYTES) return;
    const payload = MESSAGE_HEADER_BYTES + (high << 16 | middle << 8 | low);
    const records = Math.ceil(payload / MAX_RECORD_BYTES);
    if (payload + records * RECORD_HEADER_BYTES > MAX_HANDSHAKE_BYTES) throw tooLong();
  }
}

function tooLong(): TlsError {
  return new TlsError(`ClientHello of more than ${MAX_HANDSHAKE_BYTES} bytes`, { alert: ALERT.decodeError });
}
