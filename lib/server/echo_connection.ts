/**
 * The echo of one connection over the runtime's WebSocket, with the limits that the runtime does not have.
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
 * How long an accepted upgrade may take to become an open connection, in milliseconds: 10 s. It waits for nothing of the peer, but
 * behind ten thousand others that connect at once it takes seconds.
 */
const OPEN_TIMEOUT_MS = 10_000;

/**
 * A message that comes while the runtime closes cuts the connection, and the peer may never see the close frame, nor what was
 * sent before it. So the close waits until everything has gone out and no message has come for this long, in milliseconds, which
 * is time for a round trip: 200.
 */
const QUIET_MS = 200;

/** How many messages are forgotten at most while the close waits: handling more of them would hold up everybody else. */
const MAX_FORGOTTEN_MESSAGES = 10_000;

/** What the runtime takes for a message that waits besides its payload, in bytes, roughly. */
const MESSAGE_OVERHEAD_BYTES = 512;

/**
 * Empty messages weigh nothing in what the runtime says to be waiting. Of them a peer may send so many, and 100 more a second,
 * before it is taken for one that does not read: 65,536.
 */
const MAX_EMPTY_MESSAGES = 65_536;
const FORGIVEN_A_TICK = 25;

/** How long the close waits at most for a peer that goes on sending, or does not read, in milliseconds: 2 s. */
const MAX_QUIET_WAIT_MS = 2000;

/** What the runtime says of a peer that did not answer its ping. */
const NO_PONG = "No response from ping frame.";

/** What an {@linkcode EchoConnection} belongs to, and what it accepts. */
export interface EchoConnectionOptions extends EchoPolicy {
  /** Counts it. */
  readonly gate: Gatekeeper;
  /** Shared by all connections of a server. */
  readonly budget: MemoryBudget;
  /** The runtime holds nothing of it any more, which can be long after its end for a peer that does not read. */
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
  /** From so much that may wait on, it is asked for how much does. */
  readonly #askFrom: number;
  readonly #guard: Guard;
  /** Made when somebody asks: ten thousand idle connections have none. */
  #end: PromiseWithResolvers<EchoClosed> | undefined;
  #closed: EchoClosed | undefined;
  readonly #since = performance.now();
  #messages = 0;
  #bytes = 0;
  /** What can wait for the peer at most: what waited when it was asked for, and what was sent since, with its overhead. */
  #mostWaiting = 0;
  /** How many had been echoed when nothing waited. */
  #drainedMessages = 0;
  #emptyMessages = 0;
  /** The time of the last tick. */
  #now: number;
  #error = "";
  #sent: CloseFrame | null = null;
  /** What it is being closed with: nothing is answered any more. */
  #closing: CloseFrame | undefined;
  #quietTimer: ReturnType<typeof setTimeout> | undefined;
  #quietLimit = Infinity;
  #forgotten = 0;
  /** When a message came last, as far as the close has to know. */
  #messageAt = -Infinity;
  /** How many there had been when the clock looked last. */
  #tickMessages = 0;
  /** What was waiting for the peer when the close began: the runtime does not say it any more. */
  #heldAtClose = 0;
  /** How far the peer has read. */
  #readBytes = 0;

  /**
   * Begins to echo.
   *
   * @param socket The socket, as the upgrade gave it.
   * @param opened What is known of the connection.
   * @param options What it accepts.
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
    // Of a peer that is gone before the socket is open the runtime tells nothing at all.
    this.#guard.openBy(this.#since + OPEN_TIMEOUT_MS);
    socket.binaryType = "arraybuffer";
    // One listener for all: closures would be most of what an idle connection takes.
    for (const type of ["open", "message", "error", "close"]) socket.addEventListener(type, this);
  }

  /**
   * Takes what the runtime tells of the socket.
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

  /** Resolves when the connection has ended, as far as it can be told. */
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

  /** Whether it has ended, as far as it can be told. */
  get isOver(): boolean {
    return this.#closed !== undefined;
  }

  /**
   * Begins to close the connection: from now on messages are neither read nor answered.
   *
   * @param code The close code.
   * @param reason The reason, at most 123 bytes of UTF-8.
   * @param options How long the peer may take to answer, in milliseconds, 2 s by default; and what its end says of it.
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
    // Of a peer that does not read, nothing is worth to be waited for.
    this.#closeWhenQuiet(error === "" ? now + MAX_QUIET_WAIT_MS : now);
  }

  /**
   * Looks at the deadlines: called now and then for every connection, so that none needs a timer.
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
    // Nothing was sent since nothing waited: that is asked for none of the idle ones.
    if (this.#mostWaiting === 0 || this.#closing) return true;
    // The runtime's own idle timeout waits for a ping to go out, which for a peer that does not read it never does.
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
    // The event loop was away for so long that the close has not gone out.
    this.#guard.closeBy(now + CLOSE_ANSWER_TIMEOUT_MS);
    this.#closeNow(this.#closing);
  }

  /** How many bytes wait for the peer. */
  heldBytes(): number {
    return this.#sent ? this.#heldAtClose : this.#weigh(this.#socket.bufferedAmount);
  }

  /** Gives nothing back: what waits for a peer goes when it reads, or when it leaves, and not before. */
  shed(): boolean {
    return false;
  }

  /** Does not wait any longer for the answer to the close frame. */
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

  /** What the messages that wait take, each with its overhead: there are not more of them than bytes. */
  #weigh(waiting: number): number {
    if (waiting === 0) this.#drainedMessages = this.#messages;
    return waiting + MESSAGE_OVERHEAD_BYTES * Math.min(waiting, this.#messages - this.#drainedMessages);
  }

  /** Nothing was told of it, so nothing is told of its end, but that it could not be let in. */
  #neverOpened(): void {
    if (this.isOver) return;
    this.#closed = this.#describeEnd({ code: 0, reason: "" });
    this.#end?.resolve(this.#closed);
    this.#options.gate.gone(this.#opened);
    this.#options.onGone(this);
  }

  #onOpen(): void {
    // It has been given up, and a close that was asked for before the socket was open had no effect.
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
    // send() has copied the bytes. Given back at once, they do not pile up until the garbage is collected, which takes longer
    // than all the rest from 1 KiB on (perf/README.md).
    if (typeof data !== "string") data.transfer(0);
  }

  /** Waits for quiet, but not for ever: as long as messages come one behind the other, no timer runs. */
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
    // How much waits is asked for only when it can be much: that takes a sixth of the time of a short message.
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
    // What it adds to the buffer is the size in bytes, which would take a second pass to count.
    const bytes = this.#socket.bufferedAmount - waiting;
    this.#guard.takes(0, bytes, this.#now);
    this.#bytes += bytes;
    this.#messages++;
  }

  /** Whether the peer keeps to the rate; the time of the last tick is good enough until it seems not to. */
  #isInTime(bytes: number): boolean {
    if (this.#guard.takes(1, bytes, this.#now) || this.#guard.takes(1, bytes, performance.now())) return true;
    this.#refuse(1008, this.#guard.rateReason);
    return false;
  }

  /** Whether a message may wait behind the others; if not, the connection is closed. */
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

  /** The runtime can report one end twice, the first report is the true one; abnormal ends have code 0. */
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
    // A close of the peer with another code may have come before ours went out: then close() sends nothing.
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
