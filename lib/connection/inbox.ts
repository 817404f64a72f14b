/**
 * The queue of received messages.
 *
 * @module
 */

import type { CloseRecord } from "../protocol/close.ts";
import { ProtocolError } from "../protocol/error.ts";
import type { Message } from "../protocol/message.ts";
import { ConnectionClosedError } from "./connection.ts";
import { type WaitOptions, within } from "../net/deadline.ts";

/** The limit of unread messages, in UTF-16 units or bytes: 64 MiB. Beyond, the connection is failed. */
export const MAX_UNREAD_BYTES = 64 * 1024 * 1024;

/** The cost of an unread message besides its payload, in bytes, which bounds empty ones as well: 64. */
export const MESSAGE_OVERHEAD_BYTES = 64;

/** The most messages to keep after our own close frame, as nobody waits for them: 1000. */
export const MAX_SURPLUS_MESSAGES = 1000;

/**
 * A bounded queue of messages that nobody has received yet, with the end of the connection behind them.
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
   * Starts empty.
   *
   * @param onTake Called whenever a message is taken.
   */
  constructor(onTake: () => void = () => {}) {
    this.#onTake = onTake;
  }

  /** The size of the queue, in UTF-16 units or bytes, with 64 for each message. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The error that ended the queue, if any. */
  get fault(): ProtocolError | undefined {
    return this.#fault;
  }

  /**
   * Queues a message.
   *
   * @param message The message.
   * @throws {ProtocolError} `too-much-unread` if the queue would pass 64 MiB with more than this message.
   */
  add(message: Message): void {
    const bytes = message.length + MESSAGE_OVERHEAD_BYTES;
    if (this.#bytes > 0 && this.#bytes + bytes > MAX_UNREAD_BYTES) {
      throw new ProtocolError("too-much-unread", `More than ${MAX_UNREAD_BYTES} bytes arrived unread`);
    }
    this.#put(message);
  }

  /**
   * Queues a message that arrives after our own close frame, up to a limit.
   *
   * @param message The message.
   */
  addSurplus(message: Message): void {
    if (this.#surplus++ < MAX_SURPLUS_MESSAGES && this.#bytes < MAX_UNREAD_BYTES) this.#put(message);
  }

  /**
   * Makes `receive` throw once all messages are taken.
   *
   * @param error The error.
   */
  fail(error: ProtocolError): void {
    this.#fault ??= error;
    this.#wake();
  }

  /**
   * Makes `receive` throw a {@linkcode ConnectionClosedError} once all messages are taken.
   *
   * @param record The end of the connection.
   */
  end(record: CloseRecord): void {
    this.#record ??= record;
    this.#wake();
  }

  /**
   * Returns the oldest message, or waits for one.
   *
   * @param options The deadline.
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

  /** Returns all messages, oldest first. */
  drain(): Message[] {
    const messages = [...this.#leaving.reverse(), ...this.#arriving];
    this.#leaving = [];
    this.#arriving = [];
    this.#bytes = 0;
    this.#onTake();
    return messages;
  }

  /** The messages in the order of arrival; a close frame of the peer ends them, any other end throws. */
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
    // Two stacks make a queue: reversing one for many messages keeps each step cheap, at any length.
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
