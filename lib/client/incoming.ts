/**
 * The messages of the peer in a conversation.
 *
 * @module
 */

import { ProtocolError } from "../protocol/error.ts";
import type { Message } from "../protocol/message.ts";
import { type Connection, ConnectionClosedError } from "../connection/connection.ts";
import { type WaitOptions, within } from "../net/deadline.ts";

/** The most unsolicited messages to keep for a report, and their UTF-16 units or bytes: 16 MiB. */
const MAX_EARLY_MESSAGES = 1000;
const MAX_EARLY_LENGTH = 16 * 1024 * 1024;

/** Shows the messages of the peer as they arrive, and passes them to a pending wait. */
export class Incoming {
  /** Resolves when no more messages can arrive. */
  readonly ended: Promise<void>;
  /** Messages that nobody awaited. */
  readonly early: Message[] = [];
  /** Messages received. */
  count = 0;
  /** The breach by a message of the peer, if any. */
  fault: ProtocolError | undefined;
  #arrival: PromiseWithResolvers<Message> | undefined;
  #earlyLength = 0;
  #end: unknown;

  constructor(connection: Connection, show: (message: Message) => void) {
    this.ended = this.#receive(connection, show);
    // A pending wait reports the rejection as well.
    this.ended.catch(() => {});
  }

  /** Waits for the next message to arrive. */
  async next(wait: WaitOptions): Promise<Message> {
    if (this.#end) throw this.#end;
    this.#arrival = Promise.withResolvers();
    // Mark the rejection as handled: the wait may have ended early.
    this.#arrival.promise.catch(() => {});
    try {
      return await within(this.#arrival.promise, "complete message", wait);
    } finally {
      this.#arrival = undefined;
    }
  }

  /** Returns the oldest message that nobody awaited, or waits for one. */
  async take(wait: WaitOptions): Promise<Message> {
    const message = this.early.shift();
    if (message === undefined) return await this.next(wait);
    this.#earlyLength -= message.length;
    return message;
  }

  #keep(message: Message): void {
    const hasRoom = this.early.length < MAX_EARLY_MESSAGES && this.#earlyLength < MAX_EARLY_LENGTH;
    if (!hasRoom) return;
    this.early.push(message);
    this.#earlyLength += message.length;
  }

  async #receive(connection: Connection, show: (message: Message) => void): Promise<void> {
    try {
      for await (const message of connection) {
        this.count++;
        show(message);
        if (this.#arrival) this.#arrival.resolve(message);
        else this.#keep(message);
        this.#arrival = undefined;
      }
      this.#end = new ConnectionClosedError(await connection.closed);
    } catch (error) {
      this.#end = error;
      if (error instanceof ProtocolError) this.fault = error;
      // Any other end is in the close record, which is shown and judged.
      else if (!(error instanceof ConnectionClosedError)) throw error;
    } finally {
      this.#arrival?.reject(this.#end);
    }
  }
}
