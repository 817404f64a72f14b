/**
 * A TLS 1.3 client written by hand (RFC 8446), to break the rules inside TLS with arbitrary records. It has one cipher
 * suite, and trusts every certificate.
 */

/** Types of records (RFC 8446 section 5.1). */
export const RECORD = { alert: 21, handshake: 22, data: 23 } as const;

const EMPTY = new Uint8Array(0);

/** The type of a KeyUpdate message. */
const KEY_UPDATE = 24;

/** A decrypted record. */
export interface TlsRecord {
  readonly type: number;
  readonly bytes: Uint8Array;
}

/** A ClientHello with the key that it offers. */
export interface ClientHello {
  /** The handshake message, without a record. */
  readonly message: Uint8Array<ArrayBuffer>;
  readonly privateKey: CryptoKey;
}

/** Makes a ClientHello that our server accepts. */
export async function clientHello(): Promise<ClientHello> {
  const pair = await crypto.subtle.generateKey({ name: "X25519" }, true, ["deriveBits"]);
  if (!("privateKey" in pair)) throw new Error("No pair of keys");
  const key = new Uint8Array(await crypto.subtle.exportKey("raw", pair.publicKey));
  const extensions = joined(
    extension(43, Uint8Array.of(2, 3, 4)), // supported_versions: TLS 1.3
    extension(10, Uint8Array.of(0, 2, 0, 0x1d)), // supported_groups: x25519
    extension(13, Uint8Array.of(0, 4, 8, 4, 4, 3)), // signature_algorithms: RSA-PSS and ECDSA
    extension(51, joined(u16(4 + key.byteLength), Uint8Array.of(0, 0x1d), u16(key.byteLength), key)),
  );
  const random = crypto.getRandomValues(new Uint8Array(32));
  const suites = Uint8Array.of(0, 2, 0x13, 1, 1, 0);
  const body = joined(Uint8Array.of(3, 3), random, Uint8Array.of(0), suites, u16(extensions.byteLength), extensions);
  return { message: message(1, body), privateKey: pair.privateKey };
}

/** A ClientHello of TLS 1.2 (RFC 5246 section 7.4.1.2) that our server accepts. */
export function legacyClientHello(random: Uint8Array): Pick<ClientHello, "message"> {
  const extensions = joined(
    extension(10, Uint8Array.of(0, 2, 0, 0x1d)),
    extension(11, Uint8Array.of(1, 0)), // ec_point_formats: uncompressed
    extension(13, Uint8Array.of(0, 4, 8, 4, 4, 1)),
    extension(23, EMPTY), // extended_master_secret
  );
  // ECDHE with RSA and AES-GCM, and the signal for secure renegotiation.
  const suites = Uint8Array.of(0, 6, 0xc0, 0x2f, 0xc0, 0x30, 0, 0xff, 1, 0);
  const body = joined(Uint8Array.of(3, 3), random, Uint8Array.of(0), suites, u16(extensions.byteLength), extensions);
  return { message: message(1, body) };
}

/** A handshake message (RFC 8446 section 4). */
export function message(type: number, body: Uint8Array): Uint8Array<ArrayBuffer> {
  return joined(Uint8Array.of(type, body.byteLength >> 16), u16(body.byteLength & 0xffff), body);
}

/** A plaintext record. */
export function record(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  return joined(Uint8Array.of(type, 3, 3), u16(payload.byteLength), payload);
}

/** Bytes in records of at most this many bytes each. */
export function inRecords(type: number, bytes: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const records: Uint8Array[] = [];
  for (let at = 0; at < bytes.byteLength; at += size) records.push(record(type, bytes.subarray(at, at + size)));
  return joined(...records);
}

/** Keys of one direction. */
class Direction {
  readonly #secret: Uint8Array<ArrayBuffer>;
  readonly #key: CryptoKey;
  readonly #iv: Uint8Array;
  #sequence = 0;

  constructor(secret: Uint8Array<ArrayBuffer>, key: CryptoKey, iv: Uint8Array) {
    this.#secret = secret;
    this.#key = key;
    this.#iv = iv;
  }

  static async of(secret: Uint8Array<ArrayBuffer>): Promise<Direction> {
    const key = await crypto.subtle.importKey("raw", await expand(secret, "key", EMPTY, 16), "AES-GCM", false, [
      "encrypt",
      "decrypt",
    ]);
    return new Direction(secret, key, await expand(secret, "iv", EMPTY, 12));
  }

  /** The keys after an update (RFC 8446 section 7.2). */
  async next(): Promise<Direction> {
    return await Direction.of(await expand(this.#secret, "traffic upd", EMPTY, 32));
  }

  async seal(type: number, bytes: Uint8Array, padding: number): Promise<Uint8Array<ArrayBuffer>> {
    const inner = joined(bytes, Uint8Array.of(type), new Uint8Array(padding));
    const header = joined(Uint8Array.of(RECORD.data, 3, 3), u16(inner.byteLength + 16));
    const parameters = { name: "AES-GCM", iv: this.#nonce(), additionalData: header };
    return joined(header, new Uint8Array(await crypto.subtle.encrypt(parameters, this.#key, inner)));
  }

  async open(header: Uint8Array<ArrayBuffer>, bytes: Uint8Array<ArrayBuffer>): Promise<TlsRecord> {
    const parameters = { name: "AES-GCM", iv: this.#nonce(), additionalData: header };
    const inner = new Uint8Array(await crypto.subtle.decrypt(parameters, this.#key, bytes));
    const end = inner.findLastIndex((byte) => byte !== 0);
    return { type: inner[end] ?? 0, bytes: inner.subarray(0, end) };
  }

  #nonce(): Uint8Array<ArrayBuffer> {
    const nonce = Uint8Array.from(this.#iv);
    const view = new DataView(nonce.buffer);
    view.setUint32(8, view.getUint32(8) ^ this.#sequence++);
    return nonce;
  }
}

/** A client after its handshake. */
export class TlsPeer {
  readonly #conn: Deno.TcpConn;
  #sending: Direction;
  #receiving: Direction;

  constructor(conn: Deno.TcpConn, sending: Direction, receiving: Direction) {
    this.#conn = conn;
    this.#sending = sending;
    this.#receiving = receiving;
  }

  /** Connects to 127.0.0.1 and performs the handshake; the ClientHello goes out in records of this many bytes. */
  static async connect(port: number, { helloRecordBytes = 16_384 } = {}): Promise<TlsPeer> {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port });
    try {
      conn.setNoDelay(true);
      const hello = await clientHello();
      await writeAll(conn, inRecords(RECORD.handshake, hello.message, helloRecordBytes));
      const serverHello = await readPlain(conn);
      const transcript = [hello.message, serverHello];
      const serverKey = await crypto.subtle.importKey("raw", keyShareOf(serverHello), { name: "X25519" }, false, []);
      const shared = await crypto.subtle.deriveBits({ name: "X25519", public: serverKey }, hello.privateKey, 256);
      const early = await hmac(new Uint8Array(32), new Uint8Array(32));
      const derived = await deriveSecret(early, "derived", EMPTY);
      const handshake = await hmac(derived, new Uint8Array(shared));
      const clientSecret = await deriveSecret(handshake, "c hs traffic", joined(...transcript));
      const serverSecret = await deriveSecret(handshake, "s hs traffic", joined(...transcript));
      const receiving = await Direction.of(serverSecret);
      // EncryptedExtensions, Certificate, CertificateVerify, Finished: the last one has 4 + 32 bytes.
      let flight = new Uint8Array(0);
      while (!endsWithFinished(flight)) {
        const { type, bytes } = await readSealed(conn, receiving);
        if (type !== RECORD.handshake) throw new Error(`Record of type ${type} in the handshake`);
        flight = joined(flight, bytes);
      }
      transcript.push(flight);
      const master = await hmac(await deriveSecret(handshake, "derived", EMPTY), new Uint8Array(32));
      const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", joined(...transcript)));
      const finished = await hmac(await expand(clientSecret, "finished", EMPTY, 32), hash);
      await writeAll(conn, await (await Direction.of(clientSecret)).seal(RECORD.handshake, message(20, finished), 0));
      const [sending, reading] = [
        await Direction.of(await deriveSecret(master, "c ap traffic", joined(...transcript))),
        await Direction.of(await deriveSecret(master, "s ap traffic", joined(...transcript))),
      ];
      return new TlsPeer(conn, sending, reading);
    } catch (error) {
      conn.close();
      throw error;
    }
  }

  /** Encrypts a record with this much zero padding, without sending. Records must be sent in this order. */
  seal(type: number, bytes: Uint8Array, padding = 0): Promise<Uint8Array<ArrayBuffer>> {
    return this.#sending.seal(type, bytes, padding);
  }

  /** Encrypts a request for both sides to update their keys (RFC 8446 section 4.6.3), and updates its own. */
  async sealUpdate(): Promise<Uint8Array<ArrayBuffer>> {
    const sealed = await this.seal(RECORD.handshake, message(KEY_UPDATE, Uint8Array.of(1)));
    this.#sending = await this.#sending.next();
    return sealed;
  }

  /** Sends raw bytes over TCP. */
  writeRaw(bytes: Uint8Array): Promise<void> {
    return writeAll(this.#conn, bytes);
  }

  /** Sends application data. */
  async write(data: string | Uint8Array): Promise<void> {
    await this.writeRaw(await this.seal(RECORD.data, typeof data === "string" ? new TextEncoder().encode(data) : data));
  }

  /** Reads up to the next application data or alert; rejects at the end of TCP. */
  async read(): Promise<TlsRecord> {
    while (true) {
      const one = await readSealed(this.#conn, this.#receiving);
      // Tickets are not needed here.
      if (one.type !== RECORD.handshake) return one;
      if (one.bytes[0] === KEY_UPDATE) this.#receiving = await this.#receiving.next();
    }
  }

  /** Waits until the server has ended TCP. */
  async untilGone(): Promise<void> {
    const forgotten = new Uint8Array(65_536);
    while (await this.#conn.read(forgotten) !== null);
  }

  /** Ends its side of TCP, without a close_notify. */
  closeWrite(): Promise<void> {
    return this.#conn.closeWrite();
  }

  /** Drops TCP. */
  close(): void {
    this.#conn.close();
  }
}

function extension(type: number, body: Uint8Array): Uint8Array {
  return joined(u16(type), u16(body.byteLength), body);
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 255);
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}

async function hmac(key: Uint8Array<ArrayBuffer>, data: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, data));
}

/** HKDF-Expand-Label (RFC 8446 section 7.1), of at most 32 bytes. */
async function expand(
  secret: Uint8Array<ArrayBuffer>,
  label: string,
  context: Uint8Array,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const name = new TextEncoder().encode(`tls13 ${label}`);
  const sizes = [Uint8Array.of(name.byteLength), Uint8Array.of(context.byteLength)] as const;
  const info = joined(u16(length), sizes[0], name, sizes[1], context, Uint8Array.of(1));
  return (await hmac(secret, info)).slice(0, length);
}

async function deriveSecret(
  secret: Uint8Array<ArrayBuffer>,
  label: string,
  transcript: Uint8Array<ArrayBuffer>,
): Promise<Uint8Array<ArrayBuffer>> {
  return await expand(secret, label, new Uint8Array(await crypto.subtle.digest("SHA-256", transcript)), 32);
}

/** The offered key of a ServerHello: extension 51, group x25519, 32 bytes. */
function keyShareOf(serverHello: Uint8Array): Uint8Array<ArrayBuffer> {
  const marker = [0, 51, 0, 36, 0, 0x1d, 0, 32];
  for (let at = 0; at < serverHello.byteLength; at++) {
    if (marker.every((byte, index) => serverHello[at + index] === byte)) {
      return Uint8Array.from(serverHello.subarray(at + marker.length, at + marker.length + 32));
    }
  }
  throw new Error("No key in the ServerHello");
}

function endsWithFinished(flight: Uint8Array): boolean {
  let at = 0;
  while (at + 4 <= flight.byteLength) {
    const [type = 0, high = 0, middle = 0, low = 0] = flight.subarray(at, at + 4);
    at += 4 + (high << 16 | middle << 8 | low);
    if (type === 20) return at === flight.byteLength;
  }
  return false;
}

async function readPlain(conn: Deno.Conn): Promise<Uint8Array<ArrayBuffer>> {
  const header = await readExactly(conn, 5);
  const payload = await readExactly(conn, (header[3] ?? 0) << 8 | (header[4] ?? 0));
  if (header[0] !== RECORD.handshake) throw new Error(`Record of type ${header[0]}: ${payload}`);
  return payload;
}

async function readSealed(conn: Deno.Conn, receiving: Direction): Promise<TlsRecord> {
  while (true) {
    const header = await readExactly(conn, 5);
    const payload = await readExactly(conn, (header[3] ?? 0) << 8 | (header[4] ?? 0));
    if (header[0] === RECORD.data) return await receiving.open(header, payload);
    // A change_cipher_spec means nothing (RFC 8446 section D.4).
    if (header[0] !== 20) throw new Error(`Record of type ${header[0]} in the clear: ${payload}`);
  }
}

async function readExactly(conn: Deno.Conn, count: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(count);
  for (let at = 0; at < count;) {
    const read = await conn.read(bytes.subarray(at));
    if (read === null) throw new Error("Unexpected EOF");
    at += read;
  }
  return bytes;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) at += await conn.write(bytes.subarray(at));
}
