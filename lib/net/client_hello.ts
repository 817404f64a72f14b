/**
 * Finds the end of a ClientHello, the first message of a TLS client. The runtime's server TLS gets only a complete one,
 * as it buffers an incomplete one without limit.
 *
 * @module
 */

/**
 * Limit of a peer's bytes over TCP before the end of the TLS handshake, in bytes: 64 KiB for ClientHello and the rest
 * together. The server asks for no client certificate; a typical ClientHello has 2 KiB.
 */
export const MAX_HANDSHAKE_BYTES = 64 * 1024;

/** Longest payload of a plaintext record, in bytes (RFC 8446 section 5.1). */
const MAX_RECORD_BYTES = 16 * 1024;

/** Header of a record: type, version, length. */
const RECORD_HEADER_BYTES = 5;

/** Header of a handshake message: type, length (RFC 8446 section 4). */
const MESSAGE_HEADER_BYTES = 4;

/** Record type and message type. */
const [HANDSHAKE, CLIENT_HELLO] = [22, 1];

/** TLS alerts (RFC 8446 section 6) for a failed handshake. */
export const ALERT = { unexpectedMessage: 10, recordOverflow: 22, handshakeFailure: 40, decodeError: 50 } as const;

/** Thrown when a peer violates TLS. */
export class TlsError extends Error {
  /** `TlsError`. */
  override readonly name = "TlsError";
  /** The alert to send (RFC 8446 section 6). */
  readonly alert: number;
  /** Whether the peer began with text, as in plain HTTP, and could not read an alert. */
  readonly isText: boolean;

  /**
   * Makes the error.
   *
   * @param message The violation.
   * @param options The alert, `handshake_failure` by default; whether the peer sent text; the cause.
   */
  constructor(message: string, options: { alert?: number; isText?: boolean; cause?: unknown } = {}) {
    super(message, "cause" in options ? { cause: options.cause } : {});
    this.alert = options.alert ?? ALERT.handshakeFailure;
    this.isText = options.isText ?? false;
  }
}

/**
 * Finds the end of a ClientHello across records (RFC 8446 section 5.1), even of one byte each, within
 * {@linkcode MAX_HANDSHAKE_BYTES} of TCP. The reader inspects each byte once.
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
  /** Offset of the next record. */
  #recordAt = 0;
  /** Payload of the records so far, in bytes; then its first bytes. */
  #payloadBytes = 0;
  readonly #header = new Uint8Array(MESSAGE_HEADER_BYTES);

  /**
   * Inspects the received bytes.
   *
   * @param bytes All bytes of the connection so far; longer with each call.
   * @returns Whether the ClientHello is complete.
   * @throws {TlsError} If the bytes are no ClientHello, or too many.
   */
  isComplete(bytes: Uint8Array): boolean {
    const first = bytes[0] ?? HANDSHAKE;
    if (first !== HANDSHAKE) {
      // Printable text, such as HTTP, or an empty line.
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
    // Unknown yet: no message is that long.
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

  /** Rejects a message as soon as its header is wrong or its length too large. */
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
