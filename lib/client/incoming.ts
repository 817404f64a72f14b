/**
 * The messages of the peer in a conversation.
 *
 * @module
 */

import { ProtocolError } from "../protocol/error.ts";
import type { Message } from "../protocol/message.ts";
import { type Connection, ConnectionClosedError } from "../connection/connection.ts";
import { type WaitOptions, within } from "../net/deadline.ts";

/** How many messages that nobody waits for are kept, to be told of, and how many UTF-16 units or bytes of them: 16 MiB. */
const MAX_EARLY_MESSAGES = 1000;
const MAX_EARLY_LENGTH = 16 * 1024 * 1024;

/** The messages of the peer: shown as they come, and handed to the one who waits. */
export class Incoming {
  /** Resolves when no message will come any more. */
  readonly ended: Promise<void>;
  /** Those for which nobody waited. */
  readonly early: Message[] = [];
  /** How many have come. */
  count = 0;
  /** What made the connection fail, if a message of the peer did. */
  fault: ProtocolError | undefined;
  #arrival: PromiseWithResolvers<Message> | undefined;
  #earlyLength = 0;
  #end: unknown;

  constructor(connection: Connection, show: (message: Message) => void) {
    this.ended = this.#receive(connection, show);
    // Whoever waits for a message sees it fail as well.
    this.ended.catch(() => {});
  }

  /** Waits for a message that comes from now on. */
  async next(wait: WaitOptions): Promise<Message> {
    if (this.#end) throw this.#end;
    this.#arrival = Promise.withResolvers();
    // Its failure has no handler when the wait has ended early.
    this.#arrival.promise.catch(() => {});
    try {
      return await within(this.#arrival.promise, "complete message", wait);
    } finally {
      this.#arrival = undefined;
    }
  }

  /** Gives the oldest message for which nobody waited, or waits for one. */
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
      // How else the connection ended is in its close record, which is shown and judged.
      else if (!(error instanceof ConnectionClosedError)) throw error;
    } finally {
      this.#arrival?.reject(this.#end);
    }
  }
}
