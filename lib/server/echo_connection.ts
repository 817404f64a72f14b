/**
 * The echo of one connection over the runtime's WebSocket, with the limits that the runtime lacks.
 *
 * @module
 */

import {
  DEFAULT_IDLE_TIMEOUT_SECONDS,
  DEFAULT_MAX_BUFFERED_BYTES,
  type EchoClosed,
  type EchoOpened,
  type EchoPolicy,
} from "./policy.ts";
import type { EchoCounts, Gatekeeper } from "./gatekeeper.ts";
import { DEFAULT_MAX_MESSAGE_BYTES } from "../protocol/assembler.ts";
import type { CloseEnd, CloseFrame, CloseRecord } from "../protocol/close.ts";
import { messageOf } from "../protocol/error.ts";
import { exceeds } from "../protocol/message.ts";
import { type Holder, type MemoryBudget, MIN_HELD_BYTES, SHED_REASON } from "./budget.ts";
import { CLOSE_ANSWER_TIMEOUT_MS, Guard, NO_ANSWER, NOT_READING } from "./guard.ts";

/**
 * Deadline for an accepted upgrade to become an open connection, in milliseconds: 10 s. Nothing depends on the peer,
 * but after ten thousand simultaneous connects the upgrade takes seconds.
 */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * A message that arrives while the runtime closes cuts the connection; the peer may then lose the close frame and
 * earlier data. So the close waits until all output is sent and no message has come for this long, in milliseconds,
 * which is time for a round trip: 200.
 */
const QUIET_MS = 200;

/** Most messages dropped while the close waits: more would hold up everybody else. */
const MAX_FORGOTTEN_MESSAGES = 10_000;

/** Rough overhead of the runtime for a pending message, in bytes. */
const MESSAGE_OVERHEAD_BYTES = 512;

/**
 * Empty messages add nothing to `bufferedAmount`. A peer may send this many, and 100 more a second, before it counts as
 * not reading: 65,536.
 */
const MAX_EMPTY_MESSAGES = 65_536;
const FORGIVEN_A_TICK = 25;

/** The close waits at most this long for a peer that keeps sending, or does not read, in milliseconds: 2 s. */
const MAX_QUIET_WAIT_MS = 2000;

/** The runtime's error for a peer that did not answer its ping. */
const NO_PONG = "No response from ping frame.";

/** Surroundings and limits of an {@linkcode EchoConnection}. */
export interface EchoConnectionOptions extends EchoPolicy {
  /** Its gatekeeper. */
  readonly gate: Gatekeeper;
  /** Shared by all connections of a server. */
  readonly budget: MemoryBudget;
  /** The runtime has freed the connection: for a peer that does not read, long after its end. */
  onGone(connection: EchoConnection): void;
}

/** One socket of the echo server. */
export class EchoConnection implements EchoCounts, Holder, EventListenerObject {
  /** Its place among the connections of the server. */
  place = -1;
  readonly #socket: WebSocket;
  readonly #opened: EchoOpened;
  readonly #options: EchoConnectionOptions;
  readonly #maxMessageBytes: number;
  readonly #maxBufferedBytes: number;
  /** Above this many queued bytes, ask the socket how many are really pending. */
  readonly #askFrom: number;
  readonly #guard: Guard;
  /** Made on demand: ten thousand idle connections have none. */
  #end: PromiseWithResolvers<EchoClosed> | undefined;
  #closed: EchoClosed | undefined;
  readonly #since = performance.now();
  #messages = 0;
  #bytes = 0;
  /** Upper bound of pending bytes: the last `bufferedAmount`, and all sent since, with overhead. */
  #mostWaiting = 0;
  /** `#messages` when nothing was last pending. */
  #drainedMessages = 0;
  #emptyMessages = 0;
  /** Time of the last tick. */
  #now: number;
  #error = "";
  #sent: CloseFrame | null = null;
  /** Close frame to send: nothing is answered any more. */
  #closing: CloseFrame | undefined;
  #quietTimer: ReturnType<typeof setTimeout> | undefined;
  #quietLimit = Infinity;
  #forgotten = 0;
  /** Time of the last message, as far as the close has to know. */
  #messageAt = -Infinity;
  /** `#messages` at the last tick. */
  #tickMessages = 0;
  /** Pending bytes at the start of the close: the runtime does not tell them afterwards. */
  #heldAtClose = 0;
  /** Bytes the peer has read. */
  #readBytes = 0;

  /**
   * Begins to echo.
   *
   * @param socket The socket from the upgrade.
   * @param opened Facts about the connection.
   * @param options The limits.
   */
  constructor(socket: WebSocket, opened: EchoOpened, options: EchoConnectionOptions) {
    this.#socket = socket;
    this.#opened = opened;
    this.#options = options;
    this.#maxMessageBytes = options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES;
    this.#maxBufferedBytes = options.maxBufferedBytes ?? DEFAULT_MAX_BUFFERED_BYTES;
    this.#askFrom = Math.min(MIN_HELD_BYTES, this.#maxBufferedBytes);
    this.#now = this.#since;
    const { rate, budget, idleTimeoutSeconds = DEFAULT_IDLE_TIMEOUT_SECONDS } = options;
    // The runtime pings by itself.
    const limits = { rate, idleTimeoutMs: idleTimeoutSeconds * 1000, pings: false, budget };
    this.#guard = new Guard(this, limits, this.#since);
    // The runtime reports nothing about a peer that leaves before the socket is open.
    this.#guard.openBy(this.#since + OPEN_TIMEOUT_MS);
    socket.binaryType = "arraybuffer";
    // One listener for all: closures would be most of an idle connection.
    for (const type of ["open", "message", "error", "close"]) socket.addEventListener(type, this);
  }

  /**
   * Handles an event of the socket.
   *
   * @param event The event.
   */
  handleEvent(event: Event): void {
    // An exception that leaves a listener would end the process.
    try {
      if (event instanceof MessageEvent) {
        this.#echo(event.data);
      } else if (event instanceof CloseEvent) {
        this.#report(event);
        this.#leave();
      } else if (event instanceof ErrorEvent) {
        this.#error ||= event.message;
      } else if (event.type === "open") {
        this.#onOpen();
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Resolves at the end of the connection, as far as that is known. */
  get closed(): Promise<EchoClosed> {
    if (this.#closed) return Promise.resolve(this.#closed);
    this.#end ??= Promise.withResolvers();
    return this.#end.promise;
  }

  /** How many messages have been echoed. */
  get messages(): number {
    return this.#messages;
  }

  /** How many payload bytes have been echoed. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether it has ended, as far as that is known. */
  get isOver(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * Begins to close the connection: messages are neither read nor answered any more.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options Deadline for the peer's answer, in milliseconds, 2 s by default; and the detail of the end.
   */
  close(code: number, reason: string, options: { timeoutMs?: number; error?: string } = {}): void {
    if (this.#closing || this.isOver) return;
    const { timeoutMs = CLOSE_ANSWER_TIMEOUT_MS, error = "" } = options;
    const now = performance.now();
    this.#error ||= error;
    this.#closing = { code, reason };
    this.#guard.closeBy(now + MAX_QUIET_WAIT_MS + timeoutMs);
    if (this.#socket.readyState === WebSocket.CONNECTING) return this.#neverOpened();
    if (this.#messages !== this.#tickMessages) this.#messageAt = now;
    // A peer that does not read is not worth a wait.
    this.#closeWhenQuiet(error === "" ? now + MAX_QUIET_WAIT_MS : now);
  }

  /**
   * Checks the deadlines: one clock calls this for every connection, so that none needs a timer.
   *
   * @param now The time, in milliseconds, as of `performance.now()`.
   */
  tick(now: number): void {
    this.#now = now;
    if (this.isOver) return;
    this.#emptyMessages = Math.max(0, this.#emptyMessages - FORGIVEN_A_TICK);
    if (this.#messages !== this.#tickMessages) {
      this.#tickMessages = this.#messages;
      this.#messageAt = now;
    }
    if (this.#hasTaken()) this.#guard.moved();
    const overdue = this.#guard.look(now);
    if (overdue === "silent") this.close(1001, "not reading", { error: NOT_READING });
    else if (overdue === "late") this.#onLate(now);
  }

  /** Whether the peer has taken something since the last tick, or has nothing to take. */
  #hasTaken(): boolean {
    // Nothing was sent since the last drain: idle connections are not asked.
    if (this.#mostWaiting === 0 || this.#closing) return true;
    // The runtime's idle timeout waits for its ping to go out, which never happens for a peer that does not read.
    const waiting = this.#socket.bufferedAmount;
    this.#mostWaiting = this.#weigh(waiting);
    const readBytes = this.#bytes - waiting;
    const hasTaken = waiting === 0 || readBytes !== this.#readBytes;
    this.#readBytes = readBytes;
    return hasTaken;
  }

  #onLate(now: number): void {
    if (this.#socket.readyState === WebSocket.CONNECTING) return this.#neverOpened();
    if (!this.#closing || this.#sent) return this.giveUp();
    // The event loop was stuck so long that the close has not gone out.
    this.#guard.closeBy(now + CLOSE_ANSWER_TIMEOUT_MS);
    this.#closeNow(this.#closing);
  }

  /** Bytes pending for the peer. */
  heldBytes(): number {
    return this.#sent ? this.#heldAtClose : this.#weigh(this.#socket.bufferedAmount);
  }

  /** Frees nothing: pending bytes go when the peer reads or leaves, and not before. */
  shed(): boolean {
    return false;
  }

  /** Stops waiting for the answer to the close frame. */
  giveUp(): void {
    this.#error ||= NO_ANSWER;
    this.#report({ code: 0, reason: "" });
  }

  #closeWhenQuiet(limit: number): void {
    if (this.isOver || !this.#closing || this.#sent) return;
    this.#quietLimit = limit;
    const now = performance.now();
    if (this.#socket.bufferedAmount > 0) this.#messageAt = now;
    const waitMs = Math.min(this.#messageAt + QUIET_MS, limit) - now;
    if (waitMs > 0) {
      this.#quietTimer = setTimeout(() => this.#closeWhenQuiet(limit), waitMs);
      return;
    }
    this.#closeNow(this.#closing);
  }

  #closeNow(frame: CloseFrame): void {
    this.#heldAtClose = this.#weigh(this.#socket.bufferedAmount);
    this.#sent = frame;
    this.#socket.close(frame.code, frame.reason);
  }

  /** Bytes of the pending messages, each with its overhead: there are no more messages than bytes. */
  #weigh(waiting: number): number {
    if (waiting === 0) this.#drainedMessages = this.#messages;
    return waiting + MESSAGE_OVERHEAD_BYTES * Math.min(waiting, this.#messages - this.#drainedMessages);
  }

  /** No start was reported, so no end is either: only that the peer was not let in. */
  #neverOpened(): void {
    if (this.isOver) return;
    this.#closed = this.#describeEnd({ code: 0, reason: "" });
    this.#end?.resolve(this.#closed);
    this.#options.gate.gone(this.#opened);
    this.#options.onGone(this);
  }

  #onOpen(): void {
    // The connection was given up; a close before `open` had no effect.
    if (this.isOver) {
      return this.#socket.close(this.#closing?.code ?? 1001, this.#closing?.reason ?? "opened too late");
    }
    this.#guard.openBy(Infinity);
    this.#options.gate.opened(this.#opened, this);
  }

  #fail(error: unknown): void {
    this.#error ||= messageOf(error);
    this.close(1011, "internal error");
  }

  /** The runtime hands over messages only while the socket is open. */
  #echo(data: string | ArrayBuffer): void {
    if (this.#closing) this.#forget(this.#closing);
    else if (typeof data === "string") this.#echoText(data);
    else this.#echoBinary(data);
    // send() has copied the bytes. Freed at once, they do not pile up until garbage collection, which takes longer than
    // all the rest from 1 KiB on (perf/README.md).
    if (typeof data !== "string") data.transfer(0);
  }

  /** Waits for quiet, but not for ever: no timer runs while messages come back to back. */
  #forget(frame: CloseFrame): void {
    this.#messageAt = performance.now();
    this.#forgotten++;
    const isEnough = this.#messageAt >= this.#quietLimit || this.#forgotten >= MAX_FORGOTTEN_MESSAGES;
    if (isEnough && !this.#sent) this.#closeNow(frame);
  }

  #echoBinary(data: ArrayBuffer): void {
    const length = data.byteLength;
    if (length > this.#maxMessageBytes) return this.#refuse(1009, `at most ${this.#maxMessageBytes} bytes`);
    if (this.#guard.isMetered && !this.#isInTime(length)) return;
    // Asking for `bufferedAmount` takes a sixth of the time of a short message.
    this.#mostWaiting += length + MESSAGE_OVERHEAD_BYTES;
    if (this.#mostWaiting >= this.#askFrom && !this.#hasRoom(this.#socket.bufferedAmount, length)) return;
    if (length === 0 && !this.#takesEmpty()) return;
    this.#socket.send(data);
    this.#bytes += length;
    this.#messages++;
  }

  #echoText(text: string): void {
    if (exceeds(text, this.#maxMessageBytes)) return this.#refuse(1009, `at most ${this.#maxMessageBytes} bytes`);
    if (this.#guard.isMetered && !this.#isInTime(0)) return;
    const waiting = this.#socket.bufferedAmount;
    if (!this.#hasRoom(waiting, text.length) || (text === "" && !this.#takesEmpty())) return;
    this.#socket.send(text);
    // The growth of the buffer is the size in bytes; counting it would take a second pass.
    const bytes = this.#socket.bufferedAmount - waiting;
    this.#guard.takes(0, bytes, this.#now);
    this.#bytes += bytes;
    this.#messages++;
  }

  /** Whether the peer keeps to the rate; the last tick's time is good enough until it seems not to. */
  #isInTime(bytes: number): boolean {
    if (this.#guard.takes(1, bytes, this.#now) || this.#guard.takes(1, bytes, performance.now())) return true;
    this.#refuse(1008, this.#guard.rateReason);
    return false;
  }

  /** Whether a message may queue behind the others; if not, the connection closes. */
  #hasRoom(waiting: number, length: number): boolean {
    const held = this.#weigh(waiting);
    this.#mostWaiting = held + length + MESSAGE_OVERHEAD_BYTES;
    if (held > this.#maxBufferedBytes) {
      this.close(1008, "not reading", { error: NOT_READING });
    } else if (held + length >= MIN_HELD_BYTES && !this.#guard.holds(held + length)) {
      this.close(1013, SHED_REASON, { error: SHED_REASON });
    }
    return this.#closing === undefined;
  }

  #takesEmpty(): boolean {
    if (++this.#emptyMessages > MAX_EMPTY_MESSAGES) this.#refuse(1008, "too many empty messages");
    return this.#closing === undefined;
  }

  /** Closes because of a message that has just come. */
  #refuse(code: number, reason: string): void {
    this.#messageAt = performance.now();
    this.close(code, reason);
  }

  /** The runtime can report one end twice; the first report is the true one. Abnormal ends have code 0. */
  #report({ code, reason }: Pick<CloseEvent, "code" | "reason">): void {
    if (this.isOver) return;
    if (this.#quietTimer !== undefined) clearTimeout(this.#quietTimer);
    // The runtime's idle timeout has sent a close frame of its own.
    if (this.#error === NO_PONG) this.#sent ??= { code, reason };
    this.#closed = this.#describeEnd({ code, reason });
    this.#end?.resolve(this.#closed);
    this.#options.gate.closed(this.#closed);
  }

  #describeEnd(frame: CloseFrame): EchoClosed {
    return {
      type: "closed",
      id: this.#opened.id,
      peer: this.#opened.peer,
      ...this.#recordOf(frame),
      messages: this.#messages,
      bytes: this.#bytes,
      ms: performance.now() - this.#since,
    };
  }

  #recordOf({ code, reason }: CloseFrame): CloseRecord {
    const [ours, detail] = [this.#sent, this.#error];
    // 1005 after our own close is an empty close frame or a dropped connection: not known, so not claimed.
    const isKnown = code !== 0 && !(code === 1005 && ours) && detail === "";
    const received = isKnown ? { code, reason } : null;
    // Without a close() of ours the peer began, and the runtime answered with the same code and reason.
    let initiator: CloseRecord["initiator"] = ours ? "local" : received ? "peer" : null;
    // The peer's close with another code may have come before ours went out: close() then sends nothing.
    if (ours && received && received.code !== ours.code) initiator = "not-known";
    return {
      sent: ours ?? received,
      received,
      initiator,
      end: this.#endOf(code, received),
      tcp: "not-known",
      detail,
      incomplete: "not-known",
    };
  }

  #endOf(code: number, received: CloseFrame | null): CloseEnd {
    if (received) return "close-frame";
    if (this.#error === NO_ANSWER) return "no-answer";
    return code === 0 || this.#error === NO_PONG ? "no-close-frame" : "not-known";
  }

  #leave(): void {
    this.#options.gate.leave(this.#opened.id);
    this.#guard.release();
    this.#options.onGone(this);
  }
}
