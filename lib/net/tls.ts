/**
 * The server's side of TLS over a TCP connection.
 *
 * `Deno.listenTls` is not used: its connections wait up to 40 ms with what is longer than one record, as they have Nagle's
 * algorithm on, and cannot be dropped before their handshake is through or as long as the peer does not read.
 *
 * @module
 */

import type { Duplex } from "node:stream";
import type { SecureContext, TLSSocket } from "node:tls";
import { ClientHelloReader, MAX_HANDSHAKE_BYTES, TlsError } from "./client_hello.ts";
import { writeAll } from "./dial.ts";
import { Members } from "./members.ts";
import { MAX_WORK, Turns } from "./turns.ts";

/** How much is read of TCP, and handed to TLS, at once, in bytes: 32 KiB, two records. */
const PIECE_BYTES = 32 * 1024;

/**
 * How many bytes of TCP may come in a row without a byte of plaintext, in bytes: 64 KiB. A record has at most 16 KiB
 * (RFC 8446 section 5.2): only a flood of empty records, of alerts, or of pieces of handshake messages exceeds it.
 */
export const MAX_BARREN_BYTES = 64 * 1024;

/** The first room for a ClientHello, in bytes: as a rule all of it fits. */
const MIN_HELLO_BYTES = 2048;

/** A handshake takes a turn of as much work as this, in frames: 4,096. It is as long as a signature, some milliseconds. */
const HANDSHAKE_WORK = 4 * MAX_WORK;

/** A byte over TLS is as much work as so many over TCP: 8. */
const BYTE_COST = 8;

/** A connection as our own frames use it. */
export interface ByteStream extends Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close"> {
  /** As how many bytes of TCP each counts when turns are given; 1 by default. */
  readonly byteCost?: number;
}

/** A connection as a listener accepts it. */
export interface AcceptedStream extends ByteStream {
  /** The address of the peer. */
  readonly remoteAddr: Deno.Addr;
  /** Turns Nagle's algorithm off, where it is on. */
  setNoDelay?(noDelay: boolean): void;
}

/** Accepts connections: a `Deno.TcpListener`, or anything that gives streams of bytes. */
export interface StreamListener {
  /** The address that it is bound to. */
  readonly addr: Deno.NetAddr;
  /** Waits for the next connection; rejects when none can be taken for now, or the listener is closed. */
  accept(): Promise<AcceptedStream>;
  /** Stops listening. */
  close(): void;
}

/**
 * Makes the context of {@linkcode SecureConn}. Only the first handshake shows whether certificate and key belong together.
 *
 * @param cert The certificate chain as PEM text.
 * @param key Its private key as PEM text.
 * @returns The context.
 */
export function contextOf(cert: string, key: string): SecureContext {
  // Loaded here, as it takes the runtime 17 ms and most servers leave TLS to others.
  const { createSecureContext } = process.getBuiltinModule("node:tls");
  return createSecureContext({ cert, key, minVersion: "TLSv1.2" });
}

/**
 * TLS over a connection that was accepted. TCP is read only while somebody waits for plaintext and none is there, at most
 * 32 KiB at once; a write has gone to TCP when it resolves. Before the handshake is through, a peer may send 64 KiB, and
 * afterwards 64 KiB in a row without plaintext.
 *
 * The runtime's TLS begins with a complete ClientHello: it would store without limit what comes before.
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
  /** As how many bytes of TCP each counts when turns are given: 8. */
  readonly byteCost = BYTE_COST;
  readonly #tcp: ByteStream;
  readonly #context: SecureContext;
  readonly #turns: Turns;
  /** TCP as the runtime's TLS sees it, and that TLS: both from the ClientHello on. */
  #stream: Duplex | undefined;
  #tls: TLSSocket | undefined;
  /** Those who wait for a write. */
  readonly #writing = new Members<(error: Error) => void>();
  /** Resolves when something has come: bytes, the end, an error. */
  #change: PromiseWithResolvers<void> | undefined;
  /** Where TCP is read to. */
  #into = new Uint8Array(0);
  #rest: Uint8Array = new Uint8Array(0);
  /** How many bytes of TCP have come since the last plaintext. */
  #barrenBytes = 0;
  #isReading = false;
  #isSecured = false;
  #hasBegun = false;
  #hasWritten = false;
  #hasEnded = false;
  #isClosed = false;
  #error: Error | undefined;

  /**
   * Takes over a connection; nothing is read before {@linkcode handshake}.
   *
   * @param tcp The connection.
   * @param context Its certificate.
   * @param turns The queue of the server that it belongs to.
   */
  constructor(tcp: ByteStream, context: SecureContext, turns: Turns = new Turns()) {
    this.#tcp = tcp;
    this.#context = context;
    this.#turns = turns;
  }

  /** Whether anything has come of the peer. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /**
   * Waits for the handshake. A peer that does not speak TLS as it should is sent an alert, unless it speaks text. Whatever
   * fails, the connection still has to be closed.
   *
   * @throws {TlsError} If the peer does not speak TLS as it should.
   * @throws {Error} If the connection ends meanwhile.
   */
  async handshake(): Promise<void> {
    try {
      const hello = await this.#readHello();
      await this.#turns.first(HANDSHAKE_WORK);
      if (this.#error) throw this.#error;
      this.#begin();
      // A ClientHello that fails before the runtime's TLS has begun, in the next tick, would end the process.
      await new Promise<void>((resolve) => process.nextTick(resolve));
      this.#feed(hello);
      while (!this.#isSecured) {
        if (this.#error) throw this.#error;
        await this.#pull();
      }
    } catch (error) {
      const problem = asTlsError(error);
      if (problem === undefined) throw error;
      // The runtime's TLS keeps its own alert to itself.
      if (!problem.isText && !this.#hasWritten) await this.#sendAlert(problem.alert);
      throw problem;
    }
  }

  /**
   * Reads what has arrived, or waits for it.
   *
   * @param into Where to.
   * @returns How many bytes; `null` if the peer has ended its side.
   * @throws {TlsError} If more than 64 KiB of TCP have come without a byte of plaintext.
   * @throws {Error} If the connection breaks, or is closed.
   */
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#rest.byteLength === 0) {
      const tls = this.#tls;
      if (tls === undefined) throw this.#error ?? new Error("Cannot read before the handshake");
      if (tls.readableLength > 0) this.#rest = tls.read();
      else if (this.#hasEnded) return null;
      else if (this.#error) throw this.#error;
      else await this.#pull();
    }
    const piece = this.#rest.subarray(0, into.byteLength);
    this.#rest = this.#rest.subarray(piece.byteLength);
    into.set(piece);
    return piece.byteLength;
  }

  /**
   * Writes a part.
   *
   * @param bytes What.
   * @returns How many bytes were written, at most 32 KiB.
   */
  async write(bytes: Uint8Array): Promise<number> {
    const piece = bytes.subarray(0, PIECE_BYTES);
    await this.#untilDone((tls, done) => tls.write(piece, done));
    return piece.byteLength;
  }

  /** Ends the own side, with a `close_notify` (RFC 8446 section 6.1). */
  async closeWrite(): Promise<void> {
    await this.#untilDone((tls, done) => tls.end(done));
  }

  /** Drops the connection at once, in whatever state it is. */
  close(): void {
    this.#fail(new Error("Connection closed"));
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#tcp.close();
    this.#tls?.destroy();
  }

  /** Reads TCP up to the end of the ClientHello, and gives all that has come. */
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
      // One byte more than may come shows what is too long.
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
    // An error behind the handshake has no other event.
    tls.on("_tlsError", fail);
    tls.on("end", () => {
      this.#hasEnded = true;
      this.#wake();
    });
    tls.on("close", () => this.#fail(new Error("Connection closed")));
    this.#stream = stream;
    this.#tls = tls;
  }

  /** TCP as the stream that the runtime's TLS for a server works on. What comes is pushed, and never asked for. */
  #streamOf(): Duplex {
    const { Duplex } = process.getBuiltinModule("node:stream");
    return new Duplex({
      allowHalfOpen: true,
      read() {},
      write: (bytes: Uint8Array, _encoding, done) => {
        this.#hasWritten = true;
        writeAll(this.#tcp, bytes).then(() => done(), done);
      },
      // TCP is closed by who closes the connection, behind the alert that a handshake ends with.
      destroy: (error, done) => done(error),
    });
  }

  /** Reads TCP once, and waits until anything has changed. */
  #pull(): Promise<void> {
    if (!this.#isReading) {
      this.#isReading = true;
      this.#tcp.read(this.#into).then(this.#onRead, this.#onBroken);
    }
    this.#change ??= Promise.withResolvers();
    return this.#change.promise;
  }

  readonly #onRead = (count: number | null): void => {
    // Nothing is read any more; TLS tells the end, unless it is inside its handshake.
    if (count === null) return this.#isSecured ? this.#push(null) : this.#fail(new Error("Unexpected EOF"));
    this.#isReading = false;
    this.#feed(this.#into.subarray(0, count));
    this.#wake();
  };

  readonly #onBroken = (error: Error): void => {
    this.#fail(error);
  };

  /** Hands bytes of TCP to TLS, which decrypts them before this returns. */
  #feed(bytes: Uint8Array<ArrayBuffer>): void {
    const { Buffer } = process.getBuiltinModule("node:buffer");
    this.#barrenBytes += bytes.byteLength;
    const limit = this.#isSecured ? MAX_BARREN_BYTES : MAX_HANDSHAKE_BYTES;
    if (this.#barrenBytes > limit) {
      const when = this.#isSecured ? "without plaintext" : "before the end of the TLS handshake";
      return this.#fail(new TlsError(`Peer sent more than ${limit} bytes ${when}`));
    }
    this.#push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
  }

  /** Hands bytes or the end of TCP over; what the runtime's TLS throws ends this connection, and not the process. */
  #push(piece: Uint8Array | null): void {
    const [stream, tls] = [this.#stream, this.#tls];
    if (stream === undefined || tls === undefined || this.#error) return;
    try {
      stream.push(piece);
    } catch (error) {
      return this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
    // Bytes that TLS has not taken yet must not be written over.
    if (stream.readableLength > 0) this.#into = new Uint8Array(PIECE_BYTES);
    if (tls.readableLength > 0) this.#barrenBytes = 0;
    if (tls.errored) this.#fail(tls.errored);
  }

  /** Says why a handshake comes to nothing, in the clear as long as there is no key (RFC 8446 section 6.2). */
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

  /** Waits for a write, or for the end of the connection: what is destroyed may call nobody back. */
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

/** Makes a {@linkcode TlsError} of the runtime's error about a peer that breaks TLS; `undefined` for another error. */
function asTlsError(error: unknown): TlsError | undefined {
  if (error instanceof TlsError) return error;
  if (!(error instanceof Error && "code" in error) || !/^ERR_(SSL|TLS)_/.test(String(error.code))) return undefined;
  return new TlsError(error.message, { cause: error });
}
