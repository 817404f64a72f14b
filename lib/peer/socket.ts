/**
 * Our end of a TCP connection: reads on demand, writes no faster than the other side reads, and ends in every way of
 * TCP. `Deno.Conn` cannot reset a connection, `node:net` can.
 *
 * @module
 */

import type { Socket } from "node:net";
import { within } from "../net/deadline.ts";
import type { AcceptedStream } from "../net/tls.ts";
import { Turns } from "../net/turns.ts";
import { messageOf } from "../protocol/error.ts";

/** Deadline for the other side's FIN after ours, in milliseconds: 2 s. */
const LINGER_MS = 2000;

/** The size of one read, in bytes: 16 KiB, which is 2,700 empty messages. */
const READ_BYTES = 16 * 1024;

/** The length of a turn, in milliseconds: 2. */
const TURN_MS = 2;

/** A turn, in frames: 4,096, so that timers and new connections run after two turns. */
const TURN = { standing: "heavy", expectedWork: 4096 } as const;

/**
 * Thrown when a connection has ended and cannot read or write.
 *
 * @example
 * ```ts
 * import { PeerGoneError } from "./socket.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(new PeerGoneError("Client ended the connection").name, "PeerGoneError");
 * ```
 */
export class PeerGoneError extends Error {
  /** The name of the class. */
  override readonly name = "PeerGoneError";
}

/**
 * A TCP connection. Closing it ends every wait.
 *
 * @example
 * ```ts
 * import { createServer } from "node:net";
 * import { RawSocket } from "./socket.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = createServer({ allowHalfOpen: true }, async (accepted) => {
 *   const socket = new RawSocket(accepted);
 *   await socket.write(new TextEncoder().encode("hi"));
 *   await socket.end();
 * });
 * await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
 * const address = server.address();
 * const port = typeof address === "object" && address !== null ? address.port : 0;
 * const connection = await Deno.connect({ hostname: "127.0.0.1", port });
 * assertEquals(await new Response(connection.readable).text(), "hi");
 * await new Promise((resolve) => server.close(resolve));
 * ```
 */
export class RawSocket implements AcceptedStream {
  /** The address of the other side. */
  readonly remoteAddr: Deno.NetAddr;
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #turns: Turns;
  #rest: Uint8Array = new Uint8Array(0);
  #interruption = new AbortController();
  /** The error that ended every wait. */
  #closed: Error | undefined;
  #turnEnd = 0;
  #isOver = false;

  /**
   * Takes over a connection.
   *
   * @param socket The connection, from a server with `allowHalfOpen`.
   * @param turns The queue of all connections.
   */
  constructor(socket: Socket, turns: Turns = new Turns()) {
    const { remoteAddress: hostname = "", remotePort: port = 0 } = socket;
    this.remoteAddr = { transport: "tcp", hostname, port };
    this.#turns = turns;
    this.#socket = socket;
    this.#chunks = socket.iterator({ destroyOnReturn: false });
    socket.setNoDelay(true);
    // Reads and writes throw the error; without a listener the event would end the process.
    socket.on("error", () => {});
  }

  /** Whether our side has ended. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * Reads the bytes that arrived, or waits for some.
   *
   * @param into The buffer.
   * @returns The number of bytes; `null` if the other side has ended the connection.
   * @throws {PeerGoneError} If the connection breaks, or is closed.
   */
  async read(into: Uint8Array): Promise<number | null> {
    if (this.#rest.byteLength === 0) {
      const chunk = await this.#wait(this.#chunks.next());
      if (chunk.done) return null;
      this.#rest = chunk.value;
    }
    const piece = this.#rest.subarray(0, into.byteLength);
    this.#rest = this.#rest.subarray(piece.byteLength);
    into.set(piece);
    return piece.byteLength;
  }

  /**
   * Reads the bytes that arrived, or waits for some.
   *
   * @returns The bytes, at most 16 KiB.
   * @throws {PeerGoneError} If the other side has ended the connection.
   */
  async take(): Promise<Uint8Array<ArrayBuffer>> {
    const into = new Uint8Array(READ_BYTES);
    const count = await this.read(into);
    if (count === null) throw new PeerGoneError("Client ended the connection");
    return into.slice(0, count);
  }

  /**
   * Writes, and waits until the system has taken the bytes.
   *
   * @param bytes The bytes.
   * @returns The number of bytes written: all.
   * @throws {PeerGoneError} If the other side has ended the connection.
   */
  async write(bytes: Uint8Array): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.write(bytes, (error) => error ? reject(error) : resolve());
    await this.#wait(promise);
    return bytes.byteLength;
  }

  /**
   * Waits for this connection's turn, unless its turn is on: no connection keeps the others waiting.
   *
   * @throws {PeerGoneError} If the connection is closed meanwhile.
   */
  async turn(): Promise<void> {
    if (performance.now() < this.#turnEnd) return;
    this.#turns.spend(TURN.expectedWork);
    const turn = this.#turns.turn(TURN);
    if (turn) await this.#wait(turn);
    this.#turnEnd = performance.now() + TURN_MS;
  }

  /**
   * Ends the current wait, or the next one, with an error. The connection stays open.
   *
   * @param error The error for that wait to throw.
   */
  interrupt(error: Error): void {
    this.#interruption.abort(error);
  }

  /**
   * Waits for a time.
   *
   * @param ms The time in milliseconds.
   */
  async pause(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    try {
      await this.#wait(promise);
    } finally {
      clearTimeout(timer);
    }
  }

  /**
   * Drops bytes until the other side ends the connection.
   *
   * @throws {PeerGoneError} If {@linkcode close} ends it.
   */
  async discard(): Promise<void> {
    const into = new Uint8Array(READ_BYTES);
    try {
      while (await this.read(into) !== null) await this.turn();
    } catch (error) {
      if (this.#closed || !(error instanceof PeerGoneError)) throw error;
    }
  }

  /** Ends our side (TCP FIN). */
  closeWrite(): Promise<void> {
    this.#socket.end();
    return Promise.resolve();
  }

  /** Ends the connection in order (TCP FIN), and reads for a while: closing with unread bytes would send a reset. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.end();
    await within(this.discard(), "end of the client", { timeoutMs: LINGER_MS }).catch(() => {});
    this.close();
  }

  /** Ends the connection with a reset (TCP RST): bytes that the other side has not read are lost. */
  reset(): void {
    this.#isOver = true;
    this.#socket.resetAndDestroy();
  }

  /**
   * Drops the connection in any state, and ends every wait.
   *
   * @param reason The error message.
   */
  close(reason = "Connection is closed"): void {
    this.#isOver = true;
    this.#closed ??= new Error(reason);
    this.#socket.destroy();
    this.#interruption.abort(this.#closed);
  }

  async #wait<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#interruption;
    try {
      return await within(promise, "answer", { signal });
    } catch (error) {
      const cause = this.#closed;
      if (cause) throw new PeerGoneError(cause.message, { cause });
      if (!signal.aborted) throw new PeerGoneError(`Client is gone (${messageOf(error)})`, { cause: error });
      this.#interruption = new AbortController();
      throw signal.reason;
    }
  }
}
