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
import { writeAll } from "./dial.ts";

/** How much is read of TCP, and handed to TLS, at once, in bytes: 32 KiB, two records. */
const PIECE_BYTES = 32 * 1024;

/** What our own frames need of a connection. */
export type ByteStream = Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;

/**
 * Makes what {@linkcode SecureConn} needs of a certificate. Whether the two belong together is found out by the first
 * handshake only.
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
 * TLS over a connection that was accepted. It reads no more than a few records ahead, and a write has gone to TCP when it
 * resolves.
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
 * await assertRejects(() => secure.handshake(), Error);
 * secure.close();
 * peer.close();
 * listener.close();
 * ```
 */
export class SecureConn implements ByteStream {
  readonly #tcp: Deno.TcpConn;
  readonly #tls: TLSSocket;
  readonly #secured = Promise.withResolvers<void>();
  /** Those who wait for a write. */
  readonly #writing = new Set<(error: Error) => void>();
  #changed = Promise.withResolvers<void>();
  #rest: Uint8Array = new Uint8Array(0);
  #hasEnded = false;
  #isClosed = false;
  #isSecured = false;
  #error: Error | undefined;

  /**
   * Takes over a connection; nothing is sent before the peer begins.
   *
   * @param tcp The connection.
   * @param context Its certificate.
   */
  constructor(tcp: Deno.TcpConn, context: SecureContext) {
    this.#tcp = tcp;
    // Who waits sees it, and there need not be anybody.
    this.#secured.promise.catch(() => {});
    const { TLSSocket } = process.getBuiltinModule("node:tls");
    const stream = streamOf(tcp);
    stream.on("error", (error) => this.#fail(error));
    // TLS would wait for the rest of a handshake for ever.
    stream.on("end", () => this.#isSecured || this.#fail(new Error("Unexpected EOF")));
    this.#tls = new TLSSocket(stream, { isServer: true, secureContext: context });
    this.#tls.on("secure", () => {
      this.#isSecured = true;
      this.#secured.resolve();
    });
    this.#tls.on("error", (error) => this.#fail(error));
    this.#tls.on("readable", () => this.#change());
    this.#tls.on("end", () => {
      this.#hasEnded = true;
      this.#change();
    });
    this.#tls.on("close", () => this.#fail(new Error("Connection closed")));
  }

  /**
   * Waits for the handshake.
   *
   * @throws {Error} If it fails, with a `code` that begins with `ERR_SSL` or `ERR_TLS` if the peer does not speak TLS as it
   * should.
   */
  handshake(): Promise<void> {
    return this.#secured.promise;
  }

  /**
   * Reads what has arrived, or waits for it.
   *
   * @param into Where to.
   * @returns How many bytes; `null` if the peer has ended its side.
   */
  async read(into: Uint8Array): Promise<number | null> {
    while (this.#rest.byteLength === 0) {
      if (this.#isClosed) throw this.#error ?? new Error("Connection closed");
      const changed = this.#changed.promise;
      const piece: Uint8Array | null = this.#tls.read();
      if (piece !== null) this.#rest = piece;
      else if (this.#hasEnded) return null;
      else await changed;
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
    await this.#untilDone((done) => this.#tls.write(piece, done));
    return piece.byteLength;
  }

  /** Ends the own side, with a `close_notify` (RFC 8446 section 6.1). */
  async closeWrite(): Promise<void> {
    await this.#untilDone((done) => this.#tls.end(done));
  }

  /** Drops the connection at once, in whatever state it is. */
  close(): void {
    this.#fail(new Error("Connection closed"));
    this.#tls.destroy();
  }

  #fail(error: Error): void {
    this.#error ??= error;
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      this.#tcp.close();
    } catch {
      // The stream has closed it.
    }
    this.#secured.reject(this.#error);
    for (const reject of this.#writing) reject(this.#error);
    this.#writing.clear();
    this.#change();
  }

  /** Waits for a write, or for the end of the connection: what is destroyed may call nobody back. */
  #untilDone(write: (done: (error?: Error | null) => void) => void): Promise<void> {
    if (this.#isClosed) return Promise.reject(this.#error);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#writing.add(reject);
    write((error) => {
      this.#writing.delete(reject);
      if (error) reject(error);
      else resolve();
    });
    return promise;
  }

  #change(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

/** TCP as the stream that the runtime's TLS for a server works on. */
function streamOf(tcp: Deno.TcpConn): Duplex {
  const { Duplex } = process.getBuiltinModule("node:stream");
  const { Buffer } = process.getBuiltinModule("node:buffer");
  const into = new Uint8Array(PIECE_BYTES);
  return new Duplex({
    allowHalfOpen: true,
    read() {
      tcp.read(into).then(
        (count) => this.push(count === null ? null : Buffer.from(into.slice(0, count))),
        (error) => this.destroy(error),
      );
    },
    write(bytes: Uint8Array, _encoding, done) {
      writeAll(tcp, bytes).then(() => done(), done);
    },
    final(done) {
      tcp.closeWrite().then(() => done(), done);
    },
    destroy(error, done) {
      try {
        tcp.close();
      } catch {
        // It is closed already.
      }
      done(error);
    },
  });
}
