/**
 * The server's side of TLS over a TCP connection.
 *
 * `Deno.listenTls` is unsuitable: its connections have Nagle's algorithm on, which delays data beyond one record by up
 * to 40 ms, and cannot be dropped before the end of the handshake, or while the peer does not read.
 *
 * @module
 */

import type { Duplex } from "node:stream";
import type { SecureContext, TLSSocket } from "node:tls";
import { ClientHelloReader, MAX_HANDSHAKE_BYTES, TlsError } from "./client_hello.ts";
import { writeAll } from "./dial.ts";
import { Members } from "./members.ts";
import { Turns, workOfBytes } from "./turns.ts";

/** Size of each read from TCP, and of each write to TLS, in bytes: 32 KiB, two records. */
const PIECE_BYTES = 32 * 1024;

/**
 * Most bytes of TCP in a row without a byte of plaintext: 64 KiB. A record has at most 16 KiB (RFC 8446 section 5.2):
 * only a flood of empty records, alerts or handshake fragments exceeds this.
 */
export const MAX_BARREN_BYTES = 64 * 1024;

/** Initial buffer for a ClientHello, in bytes; usually all of it fits. */
const MIN_HELLO_BYTES = 2048;

/** A handshake, in frames: 4,096. A signature takes as long, some milliseconds. */
const HANDSHAKE = { standing: "new", expectedWork: 4096 } as const;

/** Work of a byte over TLS, in bytes over TCP: 8. */
const BYTE_COST = 8;

/** Work of a byte beyond two for each byte of plaintext, in bytes over TCP: 150. A KeyUpdate of 27 takes 4 microseconds. */
const BARREN_BYTE_COST = 150;

/** Work without plaintext from which the connection queues, in frames: 1,024. */
const MAX_BARREN_WORK = 1024;

/** A byte stream for our own frames. */
export interface ByteStream extends Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close"> {
  /** Work of each byte for its turn, in bytes of TCP; 1 by default. */
  readonly byteCost?: number;
}

/** A connection that a listener accepted. */
export interface AcceptedStream extends ByteStream {
  /** The address of the peer. */
  readonly remoteAddr: Deno.Addr;
  /** Turns off Nagle's algorithm, if on. */
  setNoDelay?(noDelay: boolean): void;
}

/** Accepts connections: a `Deno.TcpListener`, or any other source of byte streams. */
export interface StreamListener {
  /** The bound address. */
  readonly addr: Deno.NetAddr;
  /** Waits for the next connection; rejects when the listener can accept none for now, or is closed. */
  accept(): Promise<AcceptedStream>;
  /** Stops listening. */
  close(): void;
}

/**
 * Makes the context of {@linkcode SecureConn}. Only the first handshake shows whether certificate and key match.
 *
 * @param cert The certificate chain as PEM text.
 * @param key The private key as PEM text.
 * @returns The context.
 */
export function contextOf(cert: string, key: string): SecureContext {
  // Loaded on demand: loading takes 17 ms, and most servers leave TLS to others.
  const { createSecureContext } = process.getBuiltinModule("node:tls");
  return createSecureContext({ cert, key, minVersion: "TLSv1.2" });
}

/**
 * TLS over an accepted connection. Only a pending read without plaintext reads TCP, at most 32 KiB at once. A write
 * resolves once its bytes have gone to TCP. A peer may send 64 KiB before the end of the handshake, and later 64 KiB in
 * a row without plaintext.
 *
 * The runtime's TLS gets a complete ClientHello: it would buffer an incomplete one without limit.
 *
 * @example
 * ```ts
 * import { contextOf, SecureConn } from "./tls.ts";
 * import { assertRejects } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const peer = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
 * const secure = new SecureConn(await listener.accept(), contextOf("", ""));
 * await peer.write(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
 * await assertRejects(() => secure.handshake(), Error, "First byte is 71");
 * secure.close();
 * peer.close();
 * listener.close();
 * ```
 */
export class SecureConn implements ByteStream {
  /** Work of each byte for its turn, in bytes of TCP: 8. */
  readonly byteCost = BYTE_COST;
  readonly #tcp: ByteStream;
  readonly #context: SecureContext;
  readonly #turns: Turns;
  /** TCP as a stream, and the runtime's TLS over it: both from the ClientHello on. */
  #stream: Duplex | undefined;
  #tls: TLSSocket | undefined;
  /** Reject functions of pending writes. */
  readonly #writing = new Members<(error: Error) => void>();
  /** Resolves on bytes, end or error. */
  #change: PromiseWithResolvers<void> | undefined;
  /** Buffer for TCP. */
  #into = new Uint8Array(0);
  #rest: Uint8Array = new Uint8Array(0);
  /** Bytes of TCP since the last plaintext. */
  #barrenBytes = 0;
  /** Work without plaintext since the connection last queued, in frames. */
  #barrenWork = 0;
  #isReading = false;
  #isSecured = false;
  #hasBegun = false;
  #hasWritten = false;
  #hasEnded = false;
  #isClosed = false;
  #error: Error | undefined;

  /**
   * Takes over a connection, but reads nothing before {@linkcode handshake}.
   *
   * @param tcp The connection.
   * @param context The certificate.
   * @param turns The server's queue.
   */
  constructor(tcp: ByteStream, context: SecureContext, turns: Turns = new Turns()) {
    this.#tcp = tcp;
    this.#context = context;
    this.#turns = turns;
  }

  /** Whether the peer has sent anything. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /**
   * Waits for the handshake. A peer that violates TLS gets an alert, unless its bytes are text. After a failure, the
   * caller still has to close the connection.
   *
   * @throws {TlsError} If the peer violates TLS.
   * @throws {Error} If the connection ends meanwhile.
   */
  async handshake(): Promise<void> {
    try {
      const hello = await this.#readHello();
      this.#turns.spend(HANDSHAKE.expectedWork);
      await this.#turns.turn(HANDSHAKE);
      if (this.#error) throw this.#error;
      this.#begin();
      // The runtime's TLS starts in the next tick: a ClientHello that fails earlier would end the process.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      this.#feed(hello);
      while (!this.#isSecured) {
        if (this.#error) throw this.#error;
        await this.#pull();
      }
    } catch (error) {
      const problem = asTlsError(error);
      if (problem === undefined) throw error;
      // The runtime's TLS does not send its own alert.
      if (!problem.isText && !this.#hasWritten) await this.#sendAlert(problem.alert);
      throw problem;
    }
  }

  /**
   * Reads plaintext, or waits for some.
   *
   * @param into The buffer.
   * @returns The number of bytes; `null` if the peer has ended its side.
   * @throws {TlsError} If the peer sends more than 64 KiB of TCP without a byte of plaintext.
   * @throws {Error} If the connection breaks, or is closed.
   */
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#rest.byteLength === 0) {
      const tls = this.#tls;
      if (tls === undefined) throw this.#error ?? new Error("Cannot read before the handshake");
      if (tls.readableLength > 0) this.#rest = tls.read();
      else if (this.#hasEnded) return null;
      else if (this.#error) throw this.#error;
      else if (this.#barrenWork >= MAX_BARREN_WORK) await this.#queueUp();
      else await this.#pull();
    }
    const piece = this.#rest.subarray(0, into.byteLength);
    this.#rest = this.#rest.subarray(piece.byteLength);
    into.set(piece);
    return piece.byteLength;
  }

  /**
   * Writes the first part of the bytes.
   *
   * @param bytes The bytes.
   * @returns The number of written bytes, at most 32 KiB.
   */
  async write(bytes: Uint8Array): Promise<number> {
    const piece = bytes.subarray(0, PIECE_BYTES);
    await this.#untilDone((tls, done) => tls.write(piece, done));
    return piece.byteLength;
  }

  /** Ends our side, with a `close_notify` (RFC 8446 section 6.1). */
  async closeWrite(): Promise<void> {
    await this.#untilDone((tls, done) => tls.end(done));
  }

  /** Drops the connection at once, in any state. */
  close(): void {
    this.#fail(new Error("Connection closed"));
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#tcp.close();
    this.#tls?.destroy();
  }

  /** Reads TCP up to the end of the ClientHello; returns all bytes so far. */
  async #readHello(): Promise<Uint8Array<ArrayBuffer>> {
    const reader = new ClientHelloReader();
    let buffer = new Uint8Array(MIN_HELLO_BYTES);
    let length = 0;
    while (true) {
      const count = await this.#tcp.read(buffer.subarray(length));
      if (count === null) throw new Error("Unexpected EOF");
      this.#hasBegun = true;
      length += count;
      if (reader.isComplete(buffer.subarray(0, length))) return buffer.subarray(0, length);
      if (length < buffer.byteLength) continue;
      // One byte above the limit reveals a ClientHello that is too long.
      const larger = new Uint8Array(Math.min(2 * length, MAX_HANDSHAKE_BYTES + 1));
      larger.set(buffer);
      buffer = larger;
    }
  }

  #begin(): void {
    const { TLSSocket } = process.getBuiltinModule("node:tls");
    this.#into = new Uint8Array(PIECE_BYTES);
    const stream = this.#streamOf();
    const tls = new TLSSocket(stream, { isServer: true, secureContext: this.#context });
    const fail = (error: Error) => this.#fail(error);
    stream.on("error", fail);
    tls.on("secure", () => {
      this.#isSecured = true;
      this.#barrenBytes = 0;
      this.#wake();
    });
    tls.on("error", fail);
    // An error after the handshake has no other event.
    tls.on("_tlsError", fail);
    tls.on("end", () => {
      this.#hasEnded = true;
      this.#wake();
    });
    tls.on("close", () => this.#fail(new Error("Connection closed")));
    this.#stream = stream;
    this.#tls = tls;
  }

  /** TCP as a stream for the runtime's server TLS. Bytes are pushed, never pulled. */
  #streamOf(): Duplex {
    const { Duplex } = process.getBuiltinModule("node:stream");
    return new Duplex({
      allowHalfOpen: true,
      read() {},
      write: (bytes: Uint8Array, _encoding, done) => {
        this.#hasWritten = true;
        writeAll(this.#tcp, bytes).then(() => done(), done);
      },
      // TCP stays open for the alert of a failed handshake: close() ends it.
      destroy: (error, done) => done(error),
    });
  }

  /** Queues for the work of records without plaintext, which nobody else counts. */
  async #queueUp(): Promise<void> {
    const expectedWork = this.#barrenWork;
    this.#barrenWork = 0;
    await this.#turns.turn({ standing: "heavy", expectedWork });
  }

  /** Reads TCP once, and waits for any change. */
  #pull(): Promise<void> {
    if (!this.#isReading) {
      this.#isReading = true;
      this.#tcp.read(this.#into).then(this.#onRead, this.#onBroken);
    }
    this.#change ??= Promise.withResolvers();
    return this.#change.promise;
  }

  readonly #onRead = (count: number | null): void => {
    // Reading is over. TLS reports the end, except during its handshake.
    if (count === null) return this.#isSecured ? this.#push(null) : this.#fail(new Error("Unexpected EOF"));
    this.#isReading = false;
    this.#feed(this.#into.subarray(0, count));
    this.#wake();
  };

  readonly #onBroken = (error: Error): void => {
    this.#fail(error);
  };

  /** Passes bytes of TCP to TLS, which decrypts them synchronously. */
  #feed(bytes: Uint8Array<ArrayBuffer>): void {
    const { Buffer } = process.getBuiltinModule("node:buffer");
    this.#barrenBytes += bytes.byteLength;
    const wasSecured = this.#isSecured;
    const limit = wasSecured ? MAX_BARREN_BYTES : MAX_HANDSHAKE_BYTES;
    if (this.#barrenBytes > limit) {
      const when = wasSecured ? "without plaintext" : "before the end of the TLS handshake";
      return this.#fail(new TlsError(`Peer sent more than ${limit} bytes ${when}`));
    }
    this.#push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    const work = workOfBytes(BARREN_BYTE_COST * (bytes.byteLength - 2 * (this.#tls?.readableLength ?? 0)));
    if (!wasSecured || work <= 0) return;
    this.#barrenWork += work;
    this.#turns.spend(work);
  }

  /** Passes bytes or the end of TCP to TLS; an exception there ends this connection, not the process. */
  #push(piece: Uint8Array | null): void {
    const [stream, tls] = [this.#stream, this.#tls];
    if (stream === undefined || tls === undefined || this.#error) return;
    try {
      stream.push(piece);
    } catch (error) {
      return this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
    // The next read must not overwrite bytes that TLS has not consumed.
    if (stream.readableLength > 0) this.#into = new Uint8Array(PIECE_BYTES);
    if (tls.readableLength > 0) this.#barrenBytes = 0;
    if (tls.errored) this.#fail(tls.errored);
  }

  /** Sends the alert of a failed handshake, in plaintext while there is no key (RFC 8446 section 6.2). */
  async #sendAlert(description: number): Promise<void> {
    try {
      await writeAll(this.#tcp, Uint8Array.of(21, 3, 3, 0, 2, 2, description));
      await this.#tcp.closeWrite();
    } catch {
      // The peer is gone.
    }
  }

  #fail(error: Error): void {
    this.#error ??= error;
    for (const reject of this.#writing) reject(this.#error);
    this.#wake();
  }

  /** Waits for a write, or for the end of the connection: a destroyed socket may skip callbacks. */
  #untilDone(write: (tls: TLSSocket, done: (error?: Error | null) => void) => void): Promise<void> {
    const tls = this.#tls;
    if (tls === undefined || this.#error) return Promise.reject(this.#error ?? new Error("No TLS handshake"));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const place = this.#writing.add(reject);
    write(tls, (error) => {
      this.#writing.remove(place, reject);
      if (error) reject(error);
      else resolve();
    });
    return promise;
  }

  #wake(): void {
    this.#change?.resolve();
    this.#change = undefined;
  }
}

/** Converts the runtime's error about a peer that violates TLS to a {@linkcode TlsError}; `undefined` for others. */
function asTlsError(error: unknown): TlsError | undefined {
  if (error instanceof TlsError) return error;
  if (!(error instanceof Error && "code" in error) || !/^ERR_(SSL|TLS)_/.test(String(error.code))) return undefined;
  return new TlsError(error.message, { cause: error });
}
