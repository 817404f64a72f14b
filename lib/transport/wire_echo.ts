/**
 * The echo of one connection over our own frames: strict, bounded, and one write for each read.
 *
 * @module
 */

import { MessageAssembler } from "../protocol/assembler.ts";
import { type CloseFrame, encodeClosePayload, parseClosePayload } from "../protocol/close.ts";
import { ProtocolError } from "../protocol/error.ts";
import {
  encodeFrame,
  FrameDecoder,
  type FrameHeader,
  type FrameSink,
  headerBytes,
  MAX_HEADER_BYTES,
  OPCODE,
  writeHeader,
} from "../protocol/frame.ts";
import { writeAll } from "./dial.ts";
import { Turns } from "./turns.ts";

/** How long a peer may take to answer a close frame of the server, and to end its side of TCP, in milliseconds: 2 s. */
export const CLOSE_ANSWER_TIMEOUT_MS = 2000;

/** The smallest read buffer of a connection, in bytes: 64 KiB. */
export const MIN_READ_BYTES = 64 * 1024;

/** The largest read buffer of a connection, in bytes: 128 KiB; more is not faster. */
export const MAX_READ_BYTES = 128 * 1024;

/** What a connection accepts. */
export interface WireLimits {
  /** The longest message in bytes; a longer one is answered with 1009. */
  readonly maxMessageBytes: number;
  /** How long a peer may be silent before it is pinged, and then again before it is dropped, in milliseconds; 0 for ever. */
  readonly idleTimeoutMs: number;
}

/** How a connection has ended. */
export interface WireEnd {
  /** The close frame of the peer, or `null` if none came. */
  readonly received: CloseFrame | null;
  /** The close frame with which the server began, or `null` if the peer began or nobody did. */
  readonly sent: CloseFrame | null;
  /** What ended the connection other than a close; empty if nothing. */
  readonly error: string;
  /** How many messages were echoed. */
  readonly messages: number;
  /** How many payload bytes were echoed. */
  readonly bytes: number;
}

const PING = encodeFrame(OPCODE.ping, new Uint8Array(0));

/** Where frames are read to: what is in front takes the header of an echo whose frame had its header in the last read. */
const READ_AT = MAX_HEADER_BYTES;

/** A header that is written over and over. */
type Scratch = { -readonly [Field in keyof FrameHeader]: FrameHeader[Field] };

/**
 * Echoes the frames of one connection whose handshake is done. Binary messages go back piece by piece as they come; text is
 * held until all of it is known to be UTF-8. It stores one read, and at most one text message of `maxMessageBytes`.
 *
 * While it writes it does not read: a peer that does not take its echoes is not listened to.
 *
 * @example
 * ```ts
 * import { WireEcho } from "./wire_echo.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const peer = await Deno.connect({ hostname: "127.0.0.1", port: (listener.addr as Deno.NetAddr).port });
 * const echo = new WireEcho(await listener.accept(), { maxMessageBytes: 1024, idleTimeoutMs: 0 });
 * const running = echo.run();
 * // A close frame with the code 1000, masked with zeros.
 * await peer.write(Uint8Array.of(0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8));
 * assertEquals((await echo.ended).received, { code: 1000, reason: "" });
 * peer.close();
 * await running;
 * listener.close();
 * ```
 */
export class WireEcho {
  /** Resolves when the close handshake is through, or can no more come to its end. It never rejects. */
  readonly ended: Promise<WireEnd>;

  readonly #conn: Deno.Conn;
  readonly #limits: WireLimits;
  readonly #turns: Turns;
  readonly #end = Promise.withResolvers<WireEnd>();
  readonly #assembler: MessageAssembler;
  readonly #decoder: FrameDecoder;
  #buffer = new Uint8Array(READ_AT + MIN_READ_BYTES);
  #readable = this.#buffer.subarray(READ_AT);

  /** The echoes of this read that stand in the read buffer: they are written where they were read. */
  #outStart = -1;
  #outEnd = -1;
  /** What goes out before them and does not stand there. */
  #queue: Uint8Array[] = [];
  readonly #scratch: Scratch = { final: true, reserved: 0, opcode: 0, isMasked: false, length: 0 };

  #isText = false;
  /** Inside a frame whose header went out and whose payload has not all gone: no other frame may go out. */
  #isInsideEcho = false;
  /** Frames are read only to find the peer's close frame. */
  #isDiscarding = false;
  /** The bytes of the peer cannot be read as frames any more. */
  #isSpent = false;
  #isWriting = false;
  /** A write that did not begin in the loop, and that its next write has to wait for. */
  #aside: Promise<void> | undefined;
  #closeWaiting: Uint8Array | undefined;

  #hasMoved = false;
  #movedAt: number;
  #isPinged = false;
  #dueAt = Infinity;

  #received: CloseFrame | null = null;
  #sent: CloseFrame | null = null;
  #error = "";
  #messages = 0;
  #bytes = 0;
  #isOver = false;
  #isGone = false;

  /**
   * Takes over a connection; nothing is read before {@linkcode run}.
   *
   * @param conn The connection, behind the handshake.
   * @param limits What it accepts.
   * @param turns The queue of the server that it belongs to.
   */
  constructor(conn: Deno.Conn, limits: WireLimits, turns: Turns = new Turns()) {
    this.#turns = turns;
    this.ended = this.#end.promise;
    this.#conn = conn;
    this.#limits = limits;
    this.#assembler = new MessageAssembler(limits);
    this.#movedAt = performance.now();
    const sink: FrameSink = {
      onHeader: (header) => this.#onHeader(header),
      onData: (header, piece, isFirst, isLast) => this.#onData(header, piece, isFirst, isLast),
      onControl: (header, payload) => this.#onControl(header, payload),
    };
    this.#decoder = new FrameDecoder("client", sink);
  }

  /**
   * Echoes until the connection is gone.
   *
   * @param early What came behind the head of the handshake.
   */
  async run(early: Uint8Array = new Uint8Array(0)): Promise<void> {
    this.#turns.enter();
    try {
      // Early bytes are fewer than a head may have, and so fit.
      this.#readable.set(early);
      if (early.byteLength > 0) this.#decode(early.byteLength);
      if (this.#hasMore()) await this.#flush();
      while (!this.#isOver) {
        const count = await this.#conn.read(this.#readable);
        if (count === null) throw new Error("Unexpected EOF");
        this.#hasMoved = true;
        this.#decode(count);
        if (this.#queue.length === 0 && this.#outStart !== -1 && this.#aside === undefined) {
          // Nearly always: one write, without the promises of a method around it.
          const echoes = this.#buffer.subarray(this.#outStart, this.#outEnd);
          this.#outStart = this.#outEnd = -1;
          this.#isWriting = true;
          const written = await this.#conn.write(echoes);
          this.#hasMoved = true;
          if (written < echoes.byteLength) await this.#write(echoes.subarray(written));
          this.#isWriting = false;
        }
        if (this.#hasMore()) await this.#flush();
        if (count === this.#readable.byteLength) this.#grow();
        const turn = this.#turns.next();
        if (turn) await turn;
      }
      await this.#drain();
    } catch (error) {
      this.#error ||= error instanceof Error ? error.message : String(error);
    }
    this.#turns.leave();
    this.#report();
    this.destroy();
  }

  /**
   * Begins to close: messages that begin from now on are not answered. Inside a message that is being echoed, the close frame
   * waits for the end of its frame.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options How long the peer may take to answer, in milliseconds, and what the {@linkcode WireEnd} says of it.
   */
  close(code: number, reason: string, options: { timeoutMs?: number; error?: string } = {}): void {
    const { timeoutMs = CLOSE_ANSWER_TIMEOUT_MS, error = "" } = options;
    if (this.#isOver || this.#sent) return;
    this.#error ||= error;
    this.#sent = { code, reason };
    this.#dueAt = performance.now() + timeoutMs;
    this.#closeWaiting = encodeFrame(OPCODE.close, encodeClosePayload(code, reason));
    if (!this.#isInsideEcho) this.#isDiscarding = true;
    if (!this.#isWriting && !this.#isInsideEcho) this.#writeAside(this.#takeClose());
  }

  /**
   * Drops the connection at once; what is under way fails.
   *
   * @param error Why, for the {@linkcode WireEnd}.
   */
  destroy(error = ""): void {
    if (this.#isGone) return;
    this.#error ||= error;
    this.#isGone = true;
    this.#conn.close();
  }

  /**
   * Looks at the deadlines: called now and then for every connection, so that none needs a timer.
   *
   * @param now The time, in milliseconds, as of `performance.now()`.
   */
  tick(now: number): void {
    if (now >= this.#dueAt) return this.destroy(NO_ANSWER);
    if (this.#hasMoved) {
      // When exactly does not matter: it is only ever taken as later than it was.
      this.#hasMoved = false;
      this.#isPinged = false;
      this.#movedAt = now;
    }
    const { idleTimeoutMs } = this.#limits;
    const silentMs = now - this.#movedAt;
    if (idleTimeoutMs === 0 || silentMs < idleTimeoutMs || this.#sent || this.#isOver) return;
    if (this.#isWriting) return this.destroy("Peer does not read");
    if (!this.#isPinged) {
      this.#isPinged = true;
      if (!this.#isInsideEcho) this.#writeAside(PING);
    } else if (silentMs >= 2 * idleTimeoutMs) {
      if (this.#isInsideEcho) return this.destroy(NO_PONG);
      this.close(1001, "no answer to the ping", { error: NO_PONG });
      this.#aside?.finally(() => this.destroy());
    }
  }

  #report(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#end.resolve({
      received: this.#received,
      sent: this.#sent,
      error: this.#error,
      messages: this.#messages,
      bytes: this.#bytes,
    });
  }

  /** Both sides have said that it is over: TCP is ended so that nothing of it is lost, and what still comes is forgotten. */
  async #drain(): Promise<void> {
    this.#dueAt = Math.min(this.#dueAt, performance.now() + CLOSE_ANSWER_TIMEOUT_MS);
    await this.#aside;
    await this.#conn.closeWrite();
    while (await this.#conn.read(this.#readable) !== null);
  }

  #decode(count: number): void {
    if (this.#isSpent) return;
    try {
      this.#decoder.push(count === this.#readable.byteLength ? this.#readable : this.#readable.subarray(0, count));
    } catch (error) {
      this.#isSpent = true;
      this.#fail(error);
    }
  }

  /** Answers what the peer did wrong with the close code for it. */
  #fail(error: unknown): void {
    this.#isDiscarding = true;
    if (error === CLOSED) return;
    if (!(error instanceof ProtocolError)) throw error;
    // What comes after the close frames of both sides is nobody's business.
    if (this.#sent || this.#received) return void (this.#error ||= error.message);
    const isTooBig = error.code === "message-too-big";
    if (!isTooBig) this.#error = error.message;
    const reason = isTooBig ? `at most ${this.#limits.maxMessageBytes} bytes` : error.message;
    this.#sent = { code: error.closeCode, reason };
    this.#dueAt = performance.now() + CLOSE_ANSWER_TIMEOUT_MS;
    this.#enqueue(encodeFrame(OPCODE.close, encodeClosePayload(error.closeCode, reason)));
  }

  #onHeader({ opcode, length, final }: FrameHeader): void {
    if (opcode >= OPCODE.close || this.#isDiscarding) return;
    const kind = opcode === OPCODE.text ? "text" : opcode === OPCODE.binary ? "binary" : "continuation";
    try {
      this.#isText = this.#assembler.check(kind, length) === "text";
      if (!this.#isText) this.#assembler.skip(kind, length, final);
    } catch (error) {
      // The frame itself is in order, so that the frames behind it can be read: one of them is the peer's close frame.
      this.#fail(error);
    }
  }

  #onData(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isLast: boolean): void {
    if (this.#isDiscarding) return;
    const isEnd = header.final && isLast;
    if (this.#isText) return this.#onText(header, piece, isFirst, isEnd);
    this.#echo(header, piece, isFirst);
    this.#bytes += piece.byteLength;
    if (isEnd) this.#messages++;
    this.#isInsideEcho = !isLast;
    // A close that was asked for inside this frame had to wait for its end.
    if (isLast && this.#closeWaiting) {
      this.#enqueue(this.#takeClose());
      this.#isDiscarding = true;
    }
  }

  #onText(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, isEnd: boolean): void {
    const begins = isFirst && header.opcode === OPCODE.text;
    try {
      const message = this.#assembler.pushBytes(begins ? "text" : "continuation", piece, isEnd);
      if (message === undefined) return;
      this.#messages++;
      this.#bytes += message.byteLength;
      if (message === piece) return this.#echo(header, piece, true);
      const { byteLength: length } = message;
      const head = new Uint8Array(headerBytes(length, false));
      writeHeader(head, 0, { final: true, reserved: 0, opcode: OPCODE.text, isMasked: false, length });
      this.#enqueue(head);
      this.#enqueue(message);
    } catch (error) {
      this.#fail(error);
    }
  }

  #onControl(header: FrameHeader, payload: Uint8Array<ArrayBuffer>): void {
    if (header.opcode === OPCODE.close) return this.#onClose(payload);
    if (header.opcode === OPCODE.ping && !this.#isDiscarding) this.#pong(header, payload);
  }

  #onClose(payload: Uint8Array<ArrayBuffer>): void {
    try {
      this.#received = parseClosePayload(payload);
      // The same code and reason go back, unless they are an answer themselves.
      if (!this.#sent) this.#enqueue(encodeFrame(OPCODE.close, payload));
    } catch (error) {
      this.#fail(error);
    }
    throw CLOSED;
  }

  #pong(header: FrameHeader, payload: Uint8Array<ArrayBuffer>): void {
    // One that came in two reads does not stand in the read buffer.
    if (payload.buffer !== this.#buffer.buffer) return this.#enqueue(encodeFrame(OPCODE.pong, payload));
    this.#echo(header, payload, true, OPCODE.pong);
  }

  /** Puts a piece of an echo behind those that stand in the read buffer; the first is not moved at all. */
  #echo(header: FrameHeader, piece: Uint8Array<ArrayBuffer>, isFirst: boolean, opcode = header.opcode): void {
    const { byteOffset: at, byteLength: length } = piece;
    const buffer = this.#buffer;
    if (this.#outStart === -1) {
      this.#outStart = this.#outEnd = at - (isFirst ? headerBytes(header.length, false) : 0);
    }
    if (isFirst) {
      const scratch = this.#scratch;
      scratch.final = header.final;
      scratch.opcode = opcode;
      scratch.length = header.length;
      this.#outEnd = writeHeader(buffer, this.#outEnd, scratch);
    }
    // An echo has no masking key, so that it is never ahead of what is still to be read.
    if (this.#outEnd !== at) buffer.copyWithin(this.#outEnd, at, at + length);
    this.#outEnd += length;
  }

  /** Puts bytes that stand elsewhere behind the echoes so far. */
  #enqueue(bytes: Uint8Array): void {
    this.#seal();
    this.#queue.push(bytes);
  }

  #seal(): void {
    if (this.#outStart === -1) return;
    this.#queue.push(this.#buffer.subarray(this.#outStart, this.#outEnd));
    this.#outStart = this.#outEnd = -1;
  }

  #takeClose(): Uint8Array {
    const frame = this.#closeWaiting ?? new Uint8Array(0);
    this.#closeWaiting = undefined;
    return frame;
  }

  /** Whether there is anything to write, or to report. */
  #hasMore(): boolean {
    return this.#queue.length > 0 || this.#outStart !== -1 || this.#closeWaiting !== undefined ||
      this.#received !== null || this.#isSpent;
  }

  async #flush(): Promise<void> {
    this.#seal();
    this.#isWriting = true;
    if (this.#aside) await this.#aside;
    const queue = this.#queue;
    this.#queue = [];
    for (const bytes of queue.length === 1 ? queue : coalesce(queue)) await this.#write(bytes);
    if (this.#closeWaiting && !this.#isInsideEcho) await this.#write(this.#takeClose());
    this.#isWriting = false;
    if (this.#received || (this.#isSpent && this.#sent)) this.#report();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let written = await this.#conn.write(bytes);
    // A peer that takes its echoes, however slowly, is not idle.
    this.#hasMoved = true;
    while (written < bytes.byteLength) {
      written += await this.#conn.write(bytes.subarray(written));
      this.#hasMoved = true;
    }
  }

  /** Writes while the loop does not: it waits in a read. */
  #writeAside(bytes: Uint8Array): void {
    // Why it fails is found out by the loop.
    const aside = Promise.resolve(this.#aside).then(() => writeAll(this.#conn, bytes)).catch(() => {}).finally(() => {
      if (this.#aside === aside) this.#aside = undefined;
    });
    this.#aside = aside;
  }

  #grow(): void {
    if (this.#readable.byteLength >= MAX_READ_BYTES) return;
    this.#buffer = new Uint8Array(READ_AT + 2 * this.#readable.byteLength);
    this.#readable = this.#buffer.subarray(READ_AT);
  }
}

/** What a {@linkcode WireEnd} says of a peer that did not answer the close frame of the server in time. */
export const NO_ANSWER = "No answer to the close frame";

const NO_PONG = "No answer to the ping";

/** Joins small neighbours: many small echoes are one write, and a large one is not copied. */
function coalesce(parts: readonly Uint8Array[]): Uint8Array[] {
  const writes: Uint8Array[] = [];
  let small: Uint8Array[] = [];
  let length = 0;
  const join = () => {
    if (small.length > 0) writes.push(concat(small, length));
    small = [];
    length = 0;
  };
  for (const part of parts) {
    if (length + part.byteLength > MIN_READ_BYTES) join();
    if (part.byteLength > MIN_READ_BYTES) {
      writes.push(part);
    } else {
      small.push(part);
      length += part.byteLength;
    }
  }
  join();
  return writes;
}

function concat(parts: readonly Uint8Array[], length: number): Uint8Array {
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.byteLength;
  }
  return joined;
}

/** Ends the decoding: a close frame is the last. */
const CLOSED = Symbol("closed");
