/**
 * Our end of a TCP connection: reads when asked to, writes no faster than the other side reads, and can end in every way that
 * TCP knows.
 *
 * It stands on `node:net`, as `Deno.Conn` cannot reset a connection.
 *
 * @module
 */

import type { Socket } from "node:net";
import { within } from "../net/deadline.ts";
import { messageOf } from "../protocol/error.ts";
import { Pace } from "./pace.ts";

/** How long a connection that is being ended waits for the other side to end it too, in milliseconds: 2 s. */
const LINGER_MS = 2000;

/** How long a turn is, in milliseconds: 2. */
const TURN_MS = 2;

/**
 * Thrown when something is wanted of a connection that has ended.
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
 * A TCP connection. Everything that waits ends with the signal.
 *
 * @example
 * ```ts
 * import { createServer } from "node:net";
 * import { RawSocket } from "./socket.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = createServer({ allowHalfOpen: true }, async (accepted) => {
 *   const socket = new RawSocket(accepted, AbortSignal.timeout(5000));
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
export class RawSocket {
  /** Ends every wait. */
  readonly signal: AbortSignal;
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #pace: Pace;
  #interruption = new AbortController();
  #turnEnd = 0;
  #isOver = false;

  /**
   * Takes over a connection.
   *
   * @param socket The connection; its server allows it to be half open.
   * @param signal Drops the connection and ends every wait.
   * @param pace The turns of all connections.
   */
  constructor(socket: Socket, signal: AbortSignal, pace: Pace = new Pace()) {
    this.signal = signal;
    this.#pace = pace;
    this.#socket = socket;
    this.#chunks = socket.iterator({ destroyOnReturn: false });
    socket.setNoDelay(true);
    // What went wrong is thrown by the read or write that met it; unheard, the event would end the process.
    socket.on("error", () => {});
    if (signal.aborted) this.destroy();
    signal.addEventListener("abort", () => {
      this.destroy();
      this.#interruption.abort(signal.reason);
    }, { once: true });
  }

  /** Whether our side has ended. */
  get isOver(): boolean {
    return this.#isOver;
  }

  /**
   * Reads what has arrived, or waits for it.
   *
   * @returns The bytes, at most 64 KiB.
   * @throws {PeerGoneError} If the other side has ended the connection.
   */
  async read(): Promise<Uint8Array<ArrayBuffer>> {
    const chunk = await this.#wait(this.#chunks.next());
    if (chunk.done) throw new PeerGoneError("Client ended the connection");
    return new Uint8Array(chunk.value);
  }

  /**
   * Writes, and waits until the system has taken the bytes.
   *
   * @param bytes The bytes.
   * @throws {PeerGoneError} If the other side has ended the connection.
   */
  async write(bytes: Uint8Array): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#socket.write(bytes, (error) => error ? reject(error) : resolve());
    await this.#wait(promise);
  }

  /**
   * Waits until it is this connection's turn to work, unless it is already: nothing that one does keeps the others waiting.
   *
   * @throws {PeerGoneError} If the signal has ended every wait meanwhile.
   */
  async turn(): Promise<void> {
    if (performance.now() < this.#turnEnd) return;
    await this.#wait(this.#pace.turn());
    this.#turnEnd = performance.now() + TURN_MS;
  }

  /**
   * Ends the wait that is under way, or the next one, with an error. The connection goes on.
   *
   * @param error The error, which that wait throws.
   */
  interrupt(error: Error): void {
    this.#interruption.abort(error);
  }

  /**
   * Waits.
   *
   * @param ms How long, in milliseconds.
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
   * Reads and forgets until the other side ends the connection.
   *
   * @throws {PeerGoneError} If the signal does.
   */
  async discard(): Promise<void> {
    try {
      while (true) {
        await this.read();
        await this.turn();
      }
    } catch (error) {
      if (this.signal.aborted || !(error instanceof PeerGoneError)) throw error;
    }
  }

  /**
   * Ends the connection in order (TCP FIN). To close it with bytes unread would turn the end into a reset, so that what
   * still comes is read for a while.
   */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#socket.end();
    await within(this.discard(), "end of the client", { timeoutMs: LINGER_MS }).catch(() => {});
    this.#socket.destroy();
  }

  /** Ends the connection with a reset (TCP RST): what the other side has not read yet is lost. */
  reset(): void {
    this.#isOver = true;
    this.#socket.resetAndDestroy();
  }

  /** Lets go of the connection, whatever state it is in. */
  destroy(): void {
    this.#isOver = true;
    this.#socket.destroy();
  }

  async #wait<T>(promise: Promise<T>): Promise<T> {
    const { signal } = this.#interruption;
    try {
      return await within(promise, "answer", { signal });
    } catch (error) {
      if (signal.aborted && !this.signal.aborted) {
        this.#interruption = new AbortController();
        throw signal.reason;
      }
      // What ends with the signal may fail before or after the wait does; the reason is one.
      const { aborted, reason } = this.signal;
      const cause = aborted ? reason : error;
      const text = messageOf(cause);
      throw new PeerGoneError(aborted ? text : `Client is gone (${text})`, { cause });
    }
  }
}
