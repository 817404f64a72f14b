/**
 * The echo of one connection over our own frames: strict, bounded, and usually one write for each read.
 *
 * @module
 */

import type { TcpEnd } from "../protocol/close.ts";
import type { Endpoint } from "../protocol/endpoint.ts";
import { messageOf } from "../protocol/error.ts";
import { writeAll } from "../net/dial.ts";
import { isEndWithoutNotice } from "../net/failure.ts";
import type { ByteStream } from "../net/tls.ts";
import type { MessageDeflate } from "../net/zlib.ts";
import { Pace, Turns, workOfBytes } from "../net/turns.ts";
import { type Holder, SHED_REASON } from "./budget.ts";
import { coalesce, EchoBuffer, MIN_READ_BYTES } from "./echo_buffer.ts";
import { EchoRelay } from "./echo_relay.ts";
import { CLOSE_ANSWER_TIMEOUT_MS, Guard, NO_ANSWER, NOT_READING } from "./guard.ts";
import type { WireTotals } from "../connection/connection.ts";
import type { WireEnd, WireLimits } from "./wire_limits.ts";

/**
 * Most that is read after the server's close frame to find the peer's: this many frames, or 64 MiB. A peer that sends
 * more counts as not answering.
 */
const MAX_DISCARDED_WORK = 128 * 1024;

/** A read after the close handshake, in frames: 1,024, so that a peer that keeps sending delays nobody. */
const DISCARD = { standing: "heavy", expectedWork: 1024 } as const;

/** Slice of a read with compressed messages, in bytes: at first, and after a dense one. */
const MIN_SLICE_BYTES = 128;

/** The largest slice, in bytes: at worst it inflates to 2 MiB. */
const MAX_SLICE_BYTES = 2048;

/** More work than this makes a slice dense, in frames: 64 KiB inflated and compressed again. */
const DENSE_WORK = 256;

const NO_PONG = "No answer to the ping";

const NOTHING = new Uint8Array(0);

/**
 * Echoes the frames of one connection after its handshake. Binary messages go back piece by piece; text is held until
 * all of it is known to be UTF-8. The echo stores one read, and at most one text message of `maxMessageBytes`.
 *
 * A write blocks reading: a peer that does not take its echoes is not listened to.
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
  readonly #conn: ByteStream;
  /** Cost of a byte, relative to plain TCP. */
  readonly #byteCost: number;
  readonly #codec: MessageDeflate | undefined;
  readonly #turns: Turns;
  /** Made on demand: ten thousand idle connections have none. */
  #ended: PromiseWithResolvers<WireEnd> | undefined;
  #end: WireEnd | undefined;
  readonly #guard: Guard;
  readonly #buffer: EchoBuffer;
  readonly #relay: EchoRelay;
  readonly #endpoint: Endpoint;

  /** The step of the loop: waits in a read, takes the bytes, or writes the output. */
  #step: "read" | "take" | "write" = "read";
  /** A write from outside of the loop; the loop's next write waits for it. */
  #aside: Promise<void> | undefined;
  /** Bytes after the head that have not been taken. */
  #earlyBytes = 0;
  #discardedWork = 0;
  #sliceBytes = MIN_SLICE_BYTES;
  readonly #pace = new Pace();
  #receivedBytes = 0;
  #sentBytes = 0;
  /** The reason of an end without a close, or of our own close. */
  #detail = "";
  /** Whether the end is reported. */
  #isOver = false;
  #isGone = false;

  /**
   * Takes over a connection; nothing is read before {@linkcode run}.
   *
   * @param conn The connection, after the handshake.
   * @param limits Its limits.
   * @param turns The queue of its server.
   * @param codec Inflates and compresses, if permessage-deflate was negotiated; freed with the connection.
   */
  constructor(conn: ByteStream, limits: WireLimits, turns: Turns = new Turns(), codec?: MessageDeflate) {
    const { maxMessageBytes, budget } = limits;
    this.#turns = turns;
    this.#conn = conn;
    this.#byteCost = conn.byteCost ?? 1;
    this.#guard = new Guard(this, limits, performance.now());
    this.#buffer = new EchoBuffer(budget);
    this.#relay = new EchoRelay({ maxMessageBytes, guard: this.#guard, buffer: this.#buffer, holder: this, codec });
    this.#codec = codec;
    this.#endpoint = this.#relay.endpoint;
  }

  /** Resolves when the close handshake is through, or can no longer complete. Never rejects. */
  get ended(): Promise<WireEnd> {
    if (this.#end) return Promise.resolve(this.#end);
    this.#ended ??= Promise.withResolvers();
    return this.#ended.promise;
  }

  /** How many messages were echoed so far. */
  get messages(): number {
    return this.#relay.messages;
  }

  /** How many payload bytes were echoed so far. */
  get bytes(): number {
    return this.#relay.bytes;
  }

  /** Bytes of its frames on the wire so far. */
  get wire(): WireTotals {
    return { received: this.#receivedBytes, sent: this.#sentBytes };
  }

  /**
   * Echoes until the connection is gone.
   *
   * @param early The bytes after the head of the handshake.
   */
  async run(early: Uint8Array = NOTHING): Promise<void> {
    let tcp: TcpEnd = "local";
    this.#turns.enter();
    try {
      // Usually nothing is early; otherwise the bytes would live as long as the connection.
      const former = early.byteLength > 0 ? this.#takeEarly(early) : undefined;
      early = NOTHING;
      if (former) await former;
      while (!this.#isOver) {
        // A large read waits for its turn while its bytes are still in the system.
        const isLarge = !this.#codec && this.#buffer.room.byteLength > MIN_READ_BYTES;
        const turn = isLarge && this.#turns.turn(this.#pace);
        if (turn) await turn;
        const count = await this.#conn.read(this.#buffer.room);
        if (count === null) {
          tcp = "peer";
          throw new Error("Unexpected EOF");
        }
        this.#guard.moved();
        // The bytes may have come long after the turn, with those of many others.
        const taking = isLarge && count > MIN_READ_BYTES && this.#turns.turn(this.#pace, true);
        if (taking) {
          this.#step = "take";
          await taking;
        }
        const frames = this.#codec ? await this.#takeSlices(count) : this.#take(this.#buffer.begin(count));
        const echoes = this.#aside === undefined ? this.#buffer.takeEchoes() : undefined;
        if (echoes !== undefined) {
          // Nearly always: one write, without the promises of a method around it.
          this.#step = "write";
          const written = await this.#conn.write(echoes);
          this.#guard.moved();
          this.#sentBytes += written;
          if (written < echoes.byteLength) await this.#write(echoes.subarray(written));
          this.#step = "read";
        }
        if (!this.#buffer.isEmpty || (this.#isThrough && this.#aside)) await this.#flush();
        else if (this.#isThrough) this.#report("local");
        this.#buffer.fit(count, frames, this.#guard.wasSilent);
        this.#pace.onEnd();
        const round = this.#turns.round(this.#pace.standing);
        if (round) await round;
      }
      await this.#drain();
    } catch (error) {
      const words = messageOf(error);
      this.#detail ||= words;
      if (tcp === "local" && !this.#isGone) tcp = isEndWithoutNotice(words) ? "peer" : "reset";
    }
    this.#turns.leave();
    this.#report(tcp);
    this.#endpoint.forget();
    this.#relay.release();
    this.#guard.release();
    this.#buffer.release();
    this.destroy();
    this.onGone();
  }

  async #takeEarly(early: Uint8Array): Promise<void> {
    this.#earlyBytes = early.byteLength;
    this.#relay.onStored();
    for (let at = 0; at < early.byteLength && !this.#isOver; at += this.#buffer.room.byteLength) {
      const turn = at > 0 && this.#turns.turn(this.#pace);
      if (turn) await turn;
      const piece = early.subarray(at, at + this.#buffer.room.byteLength);
      this.#buffer.room.set(piece);
      if (this.#codec) await this.#takeSlices(piece.byteLength);
      else this.#take(this.#buffer.begin(piece.byteLength));
      if (!this.#buffer.isEmpty || this.#isThrough) await this.#flush();
      this.#pace.onEnd();
    }
    this.#earlyBytes = 0;
    this.#guard.holds(this.heldBytes());
  }

  /**
   * Begins to close: messages that begin from now on are not answered. The close frame waits for the end of a frame
   * that is being echoed.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options Deadline for the peer's answer, in milliseconds, and the detail of the {@linkcode WireEnd}.
   */
  close(code: number, reason: string, options: { timeoutMs?: number; error?: string } = {}): void {
    const { timeoutMs = CLOSE_ANSWER_TIMEOUT_MS, error = "" } = options;
    if (this.#isOver || this.#endpoint.sent) return;
    this.#endpoint.close(code, reason);
    this.#detail ||= error;
    this.#guard.closeBy(performance.now() + timeoutMs);
    this.#writeAside();
  }

  /** Bytes held: room for incomplete text, echoes that the peer has not taken, and early bytes. */
  heldBytes(): number {
    return this.#endpoint.heldBytes + this.#buffer.heldBytes + this.#relay.heldBytes + this.#earlyBytes;
  }

  /**
   * Frees its memory, and closes with 1013, which the peer has {@linkcode CLOSE_ANSWER_TIMEOUT_MS} to answer. A peer
   * that does not take its echo is dropped, as no close frame fits inside the frame.
   *
   * @returns Whether there was anything to free.
   */
  shed(): boolean {
    if (this.heldBytes() === 0) return false;
    this.#endpoint.forget();
    this.#relay.release();
    this.#earlyBytes = 0;
    this.#guard.release();
    if (this.#buffer.heldBytes > 0) {
      this.destroy(SHED_REASON);
    } else if (!this.#isOver && !this.#endpoint.sent) {
      this.#endpoint.refuse(1013, SHED_REASON);
      this.#guard.closeBy(performance.now() + CLOSE_ANSWER_TIMEOUT_MS);
      this.#writeAside();
    }
    return true;
  }

  /**
   * Drops the connection at once: reads and writes fail.
   *
   * @param error Why: the detail of the {@linkcode WireEnd}.
   */
  destroy(error = ""): void {
    if (this.#isGone) return;
    this.#detail ||= error;
    this.#isGone = true;
    this.#conn.close();
  }

  /**
   * Checks the deadlines: one clock calls this for every connection, so that none needs a timer.
   *
   * @param now The time, in milliseconds, as of `performance.now()`.
   */
  tick(now: number): void {
    this.#relay.tickAt = now;
    const overdue = this.#guard.look(now);
    if (overdue === undefined) return;
    if (overdue === "late") return this.destroy(NO_ANSWER);
    const isWriting = this.#step === "write";
    if (overdue === "ping") {
      if (isWriting || this.#relay.isInsideFrame || this.#endpoint.phase !== "open") return;
      this.#endpoint.ping(NOTHING);
      return this.#writeAside();
    }
    if (isWriting) return this.destroy(NOT_READING);
    if (this.#relay.isInsideFrame) return this.destroy(NO_PONG);
    this.close(1001, "no answer to the ping", { error: NO_PONG });
    this.#aside?.finally(() => this.destroy());
  }

  /** Whether the close handshake is through, or can no longer complete. */
  get #isThrough(): boolean {
    return this.#endpoint.isOver || this.#discardedWork > MAX_DISCARDED_WORK;
  }

  #report(tcp: TcpEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const { closed, messages, bytes } = this.#relay;
    const detail = this.#detail;
    const record = closed ?? this.#endpoint.closeRecord({ tcp, detail, isLate: detail === NO_ANSWER });
    // The received part of a relayed frame is not counted here.
    const incomplete = this.#relay.isInsideFrame ? "not-known" : record.incomplete ?? null;
    this.#end = { ...record, incomplete, detail: record.detail || detail, messages, bytes, wire: this.wire };
    this.#ended?.resolve(this.#end);
    this.onEnd(this.#end);
  }

  /**
   * Called once at the end, for subclasses. It must not throw.
   *
   * @param _end The end.
   */
  protected onEnd(_end: WireEnd): void {}

  /** Called once when the connection is freed. It must not throw. */
  protected onGone(): void {}

  /** Both sides have closed: ends TCP without loss, and discards what still comes. */
  async #drain(): Promise<void> {
    this.#endpoint.forget();
    this.#relay.release();
    this.#guard.release();
    this.#buffer.resize(MIN_READ_BYTES);
    this.#guard.endBy(performance.now() + CLOSE_ANSWER_TIMEOUT_MS);
    if (this.#aside) await this.#aside;
    await this.#conn.closeWrite();
    while (await this.#conn.read(this.#buffer.room) !== null) {
      this.#turns.spend(DISCARD.expectedWork);
      await this.#turns.turn(DISCARD);
    }
  }

  /** Takes compressed bytes in slices, so that dense ones never block others; none once dropped. Returns the work in frames. */
  async #takeSlices(count: number): Promise<number> {
    const bytes = this.#buffer.begin(count);
    let frames = 0;
    for (let at = 0; at < count;) {
      const turn = this.#turns.turn(this.#pace);
      // Nothing is written aside: the echoes so far stand in the read buffer.
      if (turn) this.#step = "take";
      if (turn) await turn;
      if (this.#isGone) break;
      const piece = bytes.subarray(at, at + this.#sliceBytes);
      const work = this.#take(piece);
      at += piece.byteLength;
      frames += work;
      this.#sliceBytes = work > DENSE_WORK ? MIN_SLICE_BYTES : Math.min(2 * this.#sliceBytes, MAX_SLICE_BYTES);
    }
    return frames;
  }

  /** Takes read bytes; returns how many frames have begun. */
  #take(bytes: Uint8Array<ArrayBuffer>): number {
    const { byteLength: count } = bytes;
    const relay = this.#relay;
    const endpoint = this.#endpoint;
    const before = relay.work;
    const wasClosing = endpoint.sent !== null;
    const wasInside = relay.isInsideFrame;
    this.#step = "take";
    endpoint.receive(bytes);
    this.#step = "read";
    this.#receivedBytes += count;
    // Not while a message is being inflated: whoever holds too much loses its engines. After our close frame none is needed.
    if (this.#codec) {
      relay.work += workOfBytes(this.#codec.takeCost());
      endpoint.sent === null ? relay.onStored() : relay.release();
    }
    const frames = relay.work - before;
    relay.work += workOfBytes(count * this.#byteCost);
    this.#turns.spend(relay.work - before);
    this.#pace.onWork(relay.work - before);
    if (!wasClosing && endpoint.initiator === "local") this.#guard.closeBy(performance.now() + CLOSE_ANSWER_TIMEOUT_MS);
    if (wasClosing && !wasInside) this.#discard(frames + workOfBytes(count));
    return frames;
  }

  /** Bounds the search for the peer's close frame. */
  #discard(work: number): void {
    this.#discardedWork += work;
    if (this.#discardedWork > MAX_DISCARDED_WORK) this.#detail ||= NO_ANSWER;
  }

  async #flush(): Promise<void> {
    this.#step = "write";
    if (this.#aside) await this.#aside;
    // A close during a write queues behind it.
    while (!this.#buffer.isEmpty) {
      const queue = this.#buffer.takeQueue();
      this.#relay.onStored();
      try {
        for (const bytes of queue.length === 1 ? queue : coalesce(queue)) await this.#write(bytes);
      } finally {
        this.#buffer.forget(queue);
        this.#guard.holds(this.heldBytes());
      }
    }
    this.#step = "read";
    if (this.#isThrough) this.#report("local");
  }

  async #write(bytes: Uint8Array): Promise<void> {
    let written = await this.#conn.write(bytes);
    this.#sentBytes += bytes.byteLength;
    // A peer that takes its echoes, however slowly, is not idle.
    this.#guard.moved();
    while (written < bytes.byteLength) {
      written += await this.#conn.write(bytes.subarray(written));
      this.#guard.moved();
    }
  }

  /** Writes pending output while the loop waits in a read. Otherwise the loop does. */
  #writeAside(): void {
    if (this.#step !== "read" || this.#buffer.isEmpty) return;
    const queue = this.#buffer.takeQueue();
    // The loop finds out why a write fails.
    const aside = this.#writeBehind(this.#aside, queue).catch(() => {}).finally(() => {
      this.#buffer.forget(queue);
      if (this.#aside === aside) this.#aside = undefined;
    });
    this.#aside = aside;
  }

  async #writeBehind(former: Promise<void> | undefined, queue: readonly Uint8Array[]): Promise<void> {
    await former;
    for (const bytes of coalesce(queue)) {
      await writeAll(this.#conn, bytes);
      this.#sentBytes += bytes.byteLength;
    }
  }
}
