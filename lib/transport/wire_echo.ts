/**
 * The echo of one connection over our own frames: strict, bounded, and as a rule one write for each read.
 *
 * @module
 */

import { MessageAssembler } from "../protocol/assembler.ts";
import { type CloseFrame, encodeClosePayload, parseClosePayload } from "../protocol/close.ts";
import { messageOf, ProtocolError } from "../protocol/error.ts";
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
import { type Holder, type MemoryBudget, MIN_COUNTED_BYTES, SHED_REASON } from "./budget.ts";
import { concatBytes } from "../protocol/message.ts";
import { writeAll } from "./dial.ts";
import { describeRate, type RateLimit, RateMeter } from "./rate.ts";
import type { ByteStream } from "./tls.ts";
import { MAX_WORK, Turns, workOfBytes } from "./turns.ts";

/** How long a peer may take to answer a close frame of the server, and to end its side of TCP, in milliseconds: 2 s. */
export const CLOSE_ANSWER_TIMEOUT_MS = 2000;

/** The first read buffer of a connection, in bytes: 4 KiB, so that many that are silent cost little. */
export const MIN_READ_BYTES = 4 * 1024;

/** The largest read buffer of a connection, in bytes: 128 KiB, for those that fill it; more is not faster. */
export const MAX_READ_BYTES = 128 * 1024;

/** What is longer is written by itself, in bytes: 64 KiB; joining it with others would cost more than it saves. */
const MAX_JOINED_BYTES = 64 * 1024;

/** A fragment that is shorter costs as much as a message, in bytes: 128. */
const MIN_FRAGMENT_BYTES = 128;

/**
 * A read that brings more frames than this does not make the read buffer larger: 2,048. Such a read takes about half a
 * millisecond, in which nobody else is served.
 */
const MAX_READ_FRAMES = 2048;

/** The memory of a message up to this, in bytes, is kept for the next one: 1 KiB. */
const MAX_RECYCLED_BYTES = 1024;

/**
 * How much is read behind a close frame of the server to find that of the peer: so many frames, or 64 MiB. Whoever sends more is
 * taken for one that does not answer.
 */
const MAX_DISCARDED_WORK = 128 * 1024;

/** What a connection accepts. */
export interface WireLimits {
  /** The longest message in bytes; a longer one is answered with 1009. */
  readonly maxMessageBytes: number;
  /** How long a peer may be silent before it is dropped, in milliseconds, with a ping at half of it; 0 for ever. */
  readonly idleTimeoutMs: number;
  /**
   * How fast the peer may send: a message or control frame beyond it is answered with 1008. A fragment belongs to the message
   * that has begun; one shorter than 128 bytes counts as a message itself, unless it is the last. Without limit by default.
   */
  readonly rate?: RateLimit | undefined;
  /**
   * The memory that the peer shares with others. The room for text that is not complete, text that the peer has not taken yet,
   * what is joined to be written, and what came early count from 4 KiB on: whoever holds the most when it is too much is
   * answered with 1013. Of a read buffer all but the first 4 KiB counts: if there is no room for a larger one, the connection
   * goes on with the one that it has. Without limit by default.
   */
  readonly budget?: MemoryBudget | undefined;
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
export class WireEcho implements Holder {
  /** Resolves when the close handshake is through, or can no more come to its end. It never rejects. */
  readonly ended: Promise<WireEnd>;

  readonly #conn: ByteStream;
  readonly #byteCost: number;
  readonly #limits: WireLimits;
  readonly #turns: Turns;
  readonly #end = Promise.withResolvers<WireEnd>();
  #assembler: MessageAssembler;
  readonly #decoder: FrameDecoder;
  #buffer = new Uint8Array(READ_AT + MIN_READ_BYTES);
  #readable = this.#buffer.subarray(READ_AT);

  /** The echoes of this read that stand in the read buffer: they are written where they were read. */
  #outStart = -1;
  #outEnd = -1;
  /** Before this stand echoes of this read that are in the queue. */
  #sealedEnd = 0;
  /** What goes out before them and does not stand there. */
  #queue: Uint8Array[] = [];
  readonly #scratch: Scratch = { final: true, reserved: 0, opcode: 0, isMasked: false, length: 0 };

  readonly #meter: RateMeter | undefined;
  /** When the last bytes came, if they are metered. */
  #readAt = 0;

  /** Text of several reads that is complete and has not been written, with what it is joined with, in bytes. */
  #waitingBytes = 0;
  /** What came behind the head and has not been read, in bytes. */
  #earlyBytes = 0;
  /** What the budget knows of all that is held. */
  #notedBytes = 0;
  /** What the read buffer has reserved of the budget, in bytes. */
  #reservedBytes = 0;

  /** The work since the connection has last queued, in frames. */
  #work = 0;
  #discardedWork = 0;

  #isText = false;
  /** Inside a frame whose header went out and whose payload has not all gone: no other frame may go out. */
  #isInsideEcho = false;
  /** Frames are read only to find the peer's close frame. */
  #isDiscarding = false;
  #isDecoding = false;
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
  constructor(conn: ByteStream, limits: WireLimits, turns: Turns = new Turns()) {
    this.#turns = turns;
    this.ended = this.#end.promise;
    this.#conn = conn;
    this.#byteCost = conn.byteCost ?? 1;
    this.#limits = limits;
    this.#assembler = new MessageAssembler(limits);
    this.#movedAt = performance.now();
    this.#meter = limits.rate && new RateMeter(limits.rate, this.#movedAt);
    const sink: FrameSink = {
      onHeader: (header) => this.#onHeader(header),
      onData: (header, piece, isFirst, isLast) => this.#onData(header, piece, isFirst, isLast),
      onControl: (header, payload) => this.#onControl(header, payload),
    };
    this.#decoder = new FrameDecoder("client", sink);
  }

  /** How many messages were echoed so far. */
  get messages(): number {
    return this.#messages;
  }

  /** How many payload bytes were echoed so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Echoes until the connection is gone.
   *
   * @param early What came behind the head of the handshake.
   */
  async run(early: Uint8Array = new Uint8Array(0)): Promise<void> {
    this.#turns.enter();
    try {
      const former = this.#takeEarly(early);
      // What runs as long as the connection would keep it as long.
      early = new Uint8Array(0);
      await former;
      while (!this.#isOver) {
        const count = await this.#conn.read(this.#readable);
        if (count === null) throw new Error("Unexpected EOF");
        this.#hasMoved = true;
        const frames = this.#decode(count);
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
        if (count === this.#readable.byteLength) this.#grow(frames);
        else if (count <= MIN_READ_BYTES && this.#reservedBytes > 0 && this.#limits.budget?.isTight) {
          this.#resize(MIN_READ_BYTES);
        }
        const turn = this.#nextTurn();
        if (turn) await turn;
      }
      await this.#drain();
    } catch (error) {
      this.#error ||= messageOf(error);
    }
    this.#turns.leave();
    this.#forgetText();
    this.#limits.budget?.giveBack(this.#reservedBytes);
    this.#reservedBytes = 0;
    this.#report();
    this.destroy();
  }

  async #takeEarly(early: Uint8Array): Promise<void> {
    this.#earlyBytes = early.byteLength;
    this.#noteHeld();
    for (let at = 0; at < early.byteLength && !this.#isOver; at += this.#readable.byteLength) {
      const piece = early.subarray(at, at + this.#readable.byteLength);
      this.#readable.set(piece);
      this.#decode(piece.byteLength);
      if (this.#hasMore()) await this.#flush();
      const turn = this.#nextTurn();
      if (turn) await turn;
    }
    this.#earlyBytes = 0;
    this.#noteLess();
  }

  #nextTurn(): Promise<void> | undefined {
    const turn = this.#turns.next(this.#work);
    if (this.#work >= MAX_WORK) this.#work = 0;
    return turn;
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

  /** How many bytes it holds: the room for text that is not complete, what the peer has not taken, and what came early. */
  heldBytes(): number {
    return this.#assembler.roomBytes + this.#waitingBytes + this.#earlyBytes;
  }

  /**
   * Gives back what it holds, and closes with 1013, which the peer has {@linkcode CLOSE_ANSWER_TIMEOUT_MS} to answer. If the
   * peer does not take its echo, nothing can be said inside the frame, and it is dropped.
   *
   * @returns Whether there was anything to give back.
   */
  shed(): boolean {
    if (this.heldBytes() === 0) return false;
    const isStuck = this.#waitingBytes > 0;
    this.#forgetText();
    if (isStuck) this.destroy(SHED_REASON);
    // Echoes of the same read have not gone out yet, and must not come behind the close frame.
    else if (this.#isDecoding) this.#refuse(1013, SHED_REASON);
    else this.close(1013, SHED_REASON);
    return true;
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
    if (idleTimeoutMs === 0 || silentMs < idleTimeoutMs / 2 || this.#sent || this.#isOver) return;
    if (!this.#isPinged) {
      this.#isPinged = true;
      if (!this.#isInsideEcho && !this.#isWriting) this.#writeAside(PING);
    } else if (silentMs >= idleTimeoutMs) {
      if (this.#isWriting) return this.destroy("Peer does not read");
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
    this.#forgetText();
    this.#resize(MIN_READ_BYTES);
    this.#dueAt = Math.min(this.#dueAt, performance.now() + CLOSE_ANSWER_TIMEOUT_MS);
    await this.#aside;
    await this.#conn.closeWrite();
    // One read a turn: whoever goes on sending takes no time from others.
    while (await this.#conn.read(this.#readable) !== null) await this.#turns.next(MAX_WORK);
  }

  /** Reads frames, and gives how many have begun. */
  #decode(count: number): number {
    if (this.#isSpent) return 0;
    const before = this.#work;
    const wasDiscarding = this.#isDiscarding;
    if (this.#meter !== undefined) this.#readAt = performance.now();
    this.#isDecoding = true;
    this.#sealedEnd = 0;
    try {
      this.#decoder.push(count === this.#readable.byteLength ? this.#readable : this.#readable.subarray(0, count));
    } catch (error) {
      this.#isSpent = true;
      this.#fail(error);
    } finally {
      this.#isDecoding = false;
    }
    const frames = this.#work - before;
    this.#work += workOfBytes(count * this.#byteCost);
    if (wasDiscarding) this.#discard(frames + workOfBytes(count));
    return frames;
  }

  /** Looks for the peer's close frame no longer than is worth while. */
  #discard(work: number): void {
    this.#discardedWork += work;
    if (this.#discardedWork <= MAX_DISCARDED_WORK || this.#received) return;
    this.#isSpent = true;
    this.#error ||= NO_ANSWER;
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
    this.#refuse(error.closeCode, isTooBig ? `at most ${this.#limits.maxMessageBytes} bytes` : error.message);
  }

  /** Begins to close between two frames: behind the echoes of what came before. */
  #refuse(code: number, reason: string): void {
    this.#isDiscarding = true;
    this.#sent = { code, reason };
    this.#dueAt = performance.now() + CLOSE_ANSWER_TIMEOUT_MS;
    this.#enqueue(encodeFrame(OPCODE.close, encodeClosePayload(code, reason)));
  }

  /** Whether a frame is within the rate. The peer's close frame always is. */
  #isInTime(meter: RateMeter, { opcode, length, final }: FrameHeader): boolean {
    if (opcode === OPCODE.close) return true;
    const isMore = opcode === OPCODE.continuation && (length >= MIN_FRAGMENT_BYTES || final);
    return meter.take(isMore ? 0 : 1, length, this.#readAt);
  }

  #onHeader(header: FrameHeader): void {
    const { opcode, length, final } = header;
    this.#work++;
    if (this.#isDiscarding) return;
    const meter = this.#meter;
    if (meter !== undefined && !this.#isInTime(meter, header)) {
      return this.#refuse(1008, describeRate(meter.limit, meter.passed));
    }
    if (opcode >= OPCODE.close) return;
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
      if (message === undefined) return this.#noteHeld();
      this.#messages++;
      this.#bytes += message.byteLength;
      if (message === piece) return this.#echo(header, piece, true);
      this.#echoText(message, piece.byteOffset + piece.byteLength);
    } catch (error) {
      this.#fail(error);
    }
  }

  /**
   * Answers text that came in pieces. Where the pieces stood in the read buffer there is room for all of it, unless it began in
   * an earlier read: of many short messages none holds memory of its own.
   *
   * @param message The text.
   * @param readEnd Where its last piece ends in the read buffer.
   */
  #echoText(message: Uint8Array<ArrayBuffer>, readEnd: number): void {
    const { byteLength: length } = message;
    const size = headerBytes(length, false) + length;
    const at = this.#outStart === -1 ? readEnd - size : this.#outEnd;
    const scratch = this.#scratch;
    scratch.final = true;
    scratch.opcode = OPCODE.text;
    scratch.length = length;
    if (at >= this.#sealedEnd && at + size <= readEnd) {
      if (this.#outStart === -1) this.#outStart = at;
      this.#outEnd = at + size;
      this.#buffer.set(message, writeHeader(this.#buffer, at, scratch));
      if (message.buffer.byteLength <= MAX_RECYCLED_BYTES) this.#assembler.recycle(message);
      else message.buffer.transfer(0);
      return this.#noteLess();
    }
    const head = new Uint8Array(headerBytes(length, false));
    writeHeader(head, 0, scratch);
    this.#enqueue(head);
    this.#enqueue(message);
    this.#waitingBytes += message.buffer.byteLength;
    this.#noteHeld();
  }

  /** Tells the budget of more that is held, now and then: it knows of all but the last 4 KiB. */
  #noteHeld(): void {
    const { budget } = this.#limits;
    const held = this.heldBytes();
    if (budget === undefined || held < this.#notedBytes + MIN_COUNTED_BYTES) return;
    this.#notedBytes = held;
    if (!budget.hold(this, held)) this.shed();
  }

  /** Text has memory of its own, which others may need before the garbage is collected. */
  #forgetWritten(queue: readonly Uint8Array[]): void {
    for (const { buffer } of queue) {
      if (buffer instanceof ArrayBuffer && buffer !== this.#buffer.buffer) buffer.transfer(0);
    }
    this.#waitingBytes = 0;
    this.#noteLess();
  }

  #forgetText(): void {
    if (this.#assembler.roomBytes > 0) {
      try {
        // The end of the message gives its memory, unless it is in the middle of a character.
        this.#assembler.pushBytes("continuation", new Uint8Array(0), true)?.buffer.transfer(0);
      } catch {
        // The collector finds it.
      }
      this.#assembler = new MessageAssembler(this.#limits);
    }
    this.#waitingBytes = this.#earlyBytes = 0;
    this.#noteLess();
  }

  /** Tells the budget of less that is held. */
  #noteLess(): void {
    if (this.#notedBytes === 0) return;
    const held = this.heldBytes();
    this.#notedBytes = held < MIN_COUNTED_BYTES ? 0 : held;
    this.#limits.budget?.hold(this, this.#notedBytes);
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
    this.#sealedEnd = this.#outEnd;
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
    if (queue.length > 1) this.#waitingBytes += joinedBytes(queue);
    const isLong = this.#waitingBytes > 0;
    if (isLong) this.#noteHeld();
    try {
      for (const bytes of queue.length === 1 ? queue : coalesce(queue)) await this.#write(bytes);
    } finally {
      if (isLong) this.#forgetWritten(queue);
    }
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

  /** A peer that fills its read buffer gets a larger one, or a smaller one if it fills it with many small frames. */
  #grow(frames: number): void {
    const size = this.#readable.byteLength;
    if (frames > MAX_READ_FRAMES) {
      if (frames > 2 * MAX_READ_FRAMES) this.#resize(Math.max(MIN_READ_BYTES, size / 2));
    } else if (size < MAX_READ_BYTES) {
      this.#resize(2 * size);
    }
  }

  /** Changes the read buffer, if the budget has the memory; what stood in the old one is lost. */
  #resize(size: number): void {
    const reserved = size - MIN_READ_BYTES;
    const { budget } = this.#limits;
    if (reserved === this.#reservedBytes) return;
    if (reserved < this.#reservedBytes) budget?.giveBack(this.#reservedBytes - reserved);
    else if (budget?.reserve(reserved - this.#reservedBytes) === false) return;
    this.#reservedBytes = reserved;
    // Others may need the memory before the garbage is collected.
    this.#buffer.buffer.transfer(0);
    this.#buffer = new Uint8Array(READ_AT + size);
    this.#readable = this.#buffer.subarray(READ_AT);
  }
}

/** What a {@linkcode WireEnd} says of a peer that did not answer the close frame of the server in time. */
export const NO_ANSWER = "No answer to the close frame";

const NO_PONG = "No answer to the ping";

/** Joins small neighbours, when it is their turn: many small echoes are one write, and a large one is not copied. */
function* coalesce(parts: readonly Uint8Array[]): Generator<Uint8Array> {
  let small: Uint8Array[] = [];
  let length = 0;
  for (const part of parts) {
    if (length > 0 && length + part.byteLength > MAX_JOINED_BYTES) {
      yield concatBytes(small, length);
      small = [];
      length = 0;
    }
    if (part.byteLength > MAX_JOINED_BYTES) {
      yield part;
    } else {
      small.push(part);
      length += part.byteLength;
    }
  }
  if (length > 0) yield concatBytes(small, length);
}

/** The most that {@linkcode coalesce} holds at once, in bytes. */
function joinedBytes(parts: readonly Uint8Array[]): number {
  const small = parts.filter(({ byteLength }) => byteLength <= MAX_JOINED_BYTES);
  return Math.min(MAX_JOINED_BYTES, small.reduce((sum, { byteLength }) => sum + byteLength, 0));
}

/** Ends the decoding: a close frame is the last. */
const CLOSED = Symbol("closed");
