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
  /** The transport; the built-in WebSocket by default. */
  transport?: TransportName;
  /** The messages to send, made on demand; one text message, "Hello world", by default. */
  messages?: Iterable<Message> | AsyncIterable<Message>;
  /** The expected reply to each message; the echo by default. */
  expectation?: Expectation;
  /** The number of unsolicited messages to skip at the start; 0 by default. */
  skip?: number;
  /** The most bytes without a reply; by default each message waits for the reply to the last one. */
  windowBytes?: number;
  /**
   * Deadline for each reply after its message was queued, and for each message to be queued, in milliseconds; 10 s by
   * default. A large message over a slow path needs more.
   */
  replyTimeoutMs?: number;
  /** Deadline for the answer to the close frame, in milliseconds; 10 s by default. */
  closeTimeoutMs?: number;
  /** The close frame to send; 1000 without a reason by default. */
  close?: CloseFrame;
  /** The expected close frame of the peer; our code, and any reason, by default. */
  expectedClose?: ExpectedClose;
  /** Whether the report has the SHA-256 of each message; `false` by default. */
  digest?: boolean;
  /** Called when a message has its right reply and its memory can be reused. */
  onVerified?: (message: Message) => void;
  /** Receives each event as it happens. */
  onEvent?: (event: ExchangeEvent) => void;
}
