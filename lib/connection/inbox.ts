/**
 * Messages between their arrival and their receiver.
 *
 * @module
 */

import type { CloseRecord } from "../protocol/close.ts";
import { ProtocolError } from "../protocol/error.ts";
import type { Message } from "../protocol/message.ts";
import { ConnectionClosedError } from "./connection.ts";
import { type WaitOptions, within } from "../net/deadline.ts";

/** How much may have arrived without being received, in UTF-16 units or bytes: 64 MiB. Beyond, the peer is cut off. */
export const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** What an unread message costs besides its payload, in bytes, so that empty ones are bounded as well: 64. */
export const MESSAGE_OVERHEAD_BYTES = 64;

/** How many messages are kept that come after our own close frame, which nobody waits for: 1000. */
export const MAX_SURPLUS_MESSAGES = 1000;

/**
 * The messages that have arrived and that nobody has received: first in first out, bounded, and with the end of the
 * connection behind them.
 *
 * @example
 * ```ts
 * import { Inbox } from "./inbox.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const inbox = new Inbox();
 * inbox.add("one");
 * inbox.add("two");
 * assertEquals(await inbox.receive(), "one");
 * assertEquals(inbox.drain(), ["two"]);
 * ```
 */
export class Inbox {
  #arriving: Message[] = [];
  #leaving: Message[] = [];
  #bytes = 0;
  #surplus = 0;
  #arrival: PromiseWithResolvers<void> | undefined;
  #fault: ProtocolError | undefined;
  #record: CloseRecord | undefined;
  readonly #onTake: () => void;

  /**
   * Begins empty.
   *
   * @param onTake Told whenever a message was taken out.
   */
  constructor(onTake: () => void = () => {}) {
    this.#onTake = onTake;
  }

  /** How much there is, in UTF-16 units or bytes, with 64 for each message. */
  get bytes(): number {
    return this.#bytes;
  }

  /** What made further messages impossible, if something did. */
  get fault(): ProtocolError | undefined {
    return this.#fault;
  }

  /**
   * Keeps a message.
   *
   * @param message The message.
   * @throws {ProtocolError} `too-much-unread` if more than 64 MiB would be there, and not just this one.
   */
  add(message: Message): void {
    const bytes = message.length + MESSAGE_OVERHEAD_BYTES;
    if (this.#bytes > 0 && this.#bytes + bytes > MAX_UNREAD_BYTES) {
      throw new ProtocolError("too-much-unread", `More than ${MAX_UNREAD_BYTES} bytes arrived unread`);
    }
    this.#put(message);
  }

  /**
   * Keeps a message that comes after our own close frame, unless there are enough of them.
   *
   * @param message The message.
   */
  addSurplus(message: Message): void {
    if (this.#surplus++ < MAX_SURPLUS_MESSAGES && this.#bytes < MAX_UNREAD_BYTES) this.#put(message);
  }

  /**
   * Lets `receive` throw once all messages are taken.
   *
   * @param error What it throws.
   */
  fail(error: ProtocolError): void {
    this.#fault ??= error;
    this.#wake();
  }

  /**
   * Lets `receive` throw a {@linkcode ConnectionClosedError} once all messages are taken.
   *
   * @param record How the connection ended.
   */
  end(record: CloseRecord): void {
    this.#record ??= record;
    this.#wake();
  }

  /**
   * Gives the oldest message, or waits for one.
   *
   * @param options How long to wait.
   * @returns The message.
   * @throws {ConnectionClosedError} If the connection has ended.
   * @throws {ProtocolError} If the connection was failed.
   * @throws {TimeoutError} If no message arrives in time.
   */
  async receive(options: WaitOptions = {}): Promise<Message> {
    while (true) {
      const message = this.#take();
      if (message !== undefined) return message;
      if (this.#fault) throw this.#fault;
      if (this.#record) throw new ConnectionClosedError(this.#record);
      this.#arrival ??= Promise.withResolvers<void>();
      await within(this.#arrival.promise, "complete message", options);
    }
  }

  /** Gives all messages, oldest first. */
  drain(): Message[] {
    const messages = [...this.#leaving.reverse(), ...this.#arriving];
    this.#leaving = [];
    this.#arriving = [];
    this.#bytes = 0;
    this.#onTake();
    return messages;
  }

  /** The messages in the order of arrival; ends with a close frame of the peer, and throws at any other end. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Message> {
    while (true) {
      try {
        yield await this.receive();
      } catch (error) {
        if (error instanceof ConnectionClosedError && error.record.end === "close-frame") return;
        throw error;
      }
    }
  }

  #put(message: Message): void {
    this.#bytes += message.length + MESSAGE_OVERHEAD_BYTES;
    this.#arriving.push(message);
    this.#wake();
  }

  #take(): Message | undefined {
    // Turning the pile over once for many messages keeps each step cheap, however long the queue is.
    if (this.#leaving.length === 0) {
      this.#leaving = this.#arriving.reverse();
      this.#arriving = [];
    }
    const message = this.#leaving.pop();
    if (message === undefined) return undefined;
    this.#bytes -= message.length + MESSAGE_OVERHEAD_BYTES;
    this.#onTake();
    return message;
  }

  #wake(): void {
    this.#arrival?.resolve();
    this.#arrival = undefined;
  }
}
