/**
 * The options of an exchange.
 *
 * @module
 */

import type { CloseFrame, ExpectedClose } from "../protocol/close.ts";
import type { Message } from "../protocol/message.ts";
import type { OpenOptions, TransportName } from "../connection/connection.ts";
import type { Expectation } from "./diagnosis.ts";
import type { ExchangeEvent } from "./exchange_report.ts";

/** Options of `exchange()`. */
export interface ExchangeOptions extends OpenOptions {
  /** What moves the bytes; the built-in WebSocket by default. */
  transport?: TransportName;
  /** What to send; made as it is needed. One text message, "Hello world", by default. */
  messages?: Iterable<Message> | AsyncIterable<Message>;
  /** What each message should be answered with; the echo by default. */
  expectation?: Expectation;
  /** How many messages come first, unasked, and are skipped; 0 by default. */
  skip?: number;
  /** How many bytes may be on their way at once; by default each reply is awaited before the next message. */
  windowBytes?: number;
  /**
   * How long each reply may take after its message was handed over, and how long a message may wait for room to be handed
   * over, in milliseconds; 10 s by default. A large message over a slow path needs more.
   */
  replyTimeoutMs?: number;
  /** How long the answer to the close frame may take, in milliseconds; 10 s by default. */
  closeTimeoutMs?: number;
  /** The close frame to send; 1000 without a reason by default. */
  close?: CloseFrame;
  /** What the peer's close frame should say; the code that was sent, and any reason, by default. */
  expectedClose?: ExpectedClose;
  /** Whether the report has the SHA-256 of each message; `false` by default. */
  digest?: boolean;
  /** Told when a message has got its right reply and is not needed any more, for those who want to use its memory again. */
  onVerified?: (message: Message) => void;
  /** Told of each event as it happens. */
  onEvent?: (event: ExchangeEvent) => void;
}
