/**
 * An exchange as a HAR file, version 1.2, with its messages as Chrome exports them: `_webSocketMessages`.
 *
 * @module
 */

import type { Direction } from "./message_line.ts";
import type { HandshakeRefusal, HeadTrace } from "../connection/connection.ts";
import { VERSION } from "../net/version.ts";
import { type CloseRecord, describeEnd } from "../protocol/close.ts";
import { OPCODE } from "../protocol/frame.ts";
import { parseStatusLine } from "../protocol/http_lines.ts";
import {
  byteLengthOf,
  escapeUnprintable,
  harmlessValue,
  type Message,
  withoutPassword,
  withoutToken,
  withoutTokens,
} from "../protocol/message.ts";

/** The most payload bytes in a file: 64 MiB. The file counts the messages that it omits. */
export const MAX_HAR_BYTES = 64 * 1024 * 1024;

/** The most messages in a file: 500,000. The JSON of millions passes the longest string of the runtime. */
export const MAX_HAR_MESSAGES = 500_000;

/** The request. */
export interface HarRequest {
  /** The URL, with the scheme `ws:` or `wss:`. */
  readonly url: string;
  /** The added header fields. */
  readonly headers?: Iterable<readonly [name: string, value: string]>;
  /** The offered subprotocols. */
  readonly protocols?: readonly string[];
}

/** The end of the exchange. */
export interface HarEnd {
  /** The answer without a valid upgrade, if any. */
  readonly refusal?: HandshakeRefusal | null | undefined;
  /** The close record, if there was a connection. */
  readonly close?: CloseRecord | null | undefined;
}

interface HarMessage {
  readonly type: "send" | "receive";
  readonly time: number;
  readonly opcode: number;
  readonly data: string;
}

/**
 * Records an exchange without its secrets, except those in messages and in the query of the URL.
 *
 * @example
 * ```ts
 * import { HarRecorder } from "./har.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const recorder = new HarRecorder({ url: "ws://127.0.0.1/" });
 * recorder.onMessage("hi", "out");
 * const { log } = JSON.parse(recorder.toJson({}));
 * assertEquals([log.version, log.entries[0]._webSocketMessages[0].data], ["1.2", "hi"]);
 * ```
 */
export class HarRecorder {
  readonly #asked: HarRequest;
  readonly #start = Date.now();
  readonly #heads: Partial<Record<Direction, HeadTrace>> = {};
  readonly #messages: HarMessage[] = [];
  #upgradedAt: number | undefined;
  #bytes = 0;
  #omitted = 0;

  /**
   * Starts with the exchange.
   *
   * @param asked The request.
   */
  constructor(asked: HarRequest) {
    this.#asked = asked;
  }

  /**
   * Takes a head of the opening handshake.
   *
   * @param head The head.
   */
  onHead(head: HeadTrace): void {
    this.#heads[head.direction] = head;
  }

  /** Records that the connection is open. */
  onUpgraded(): void {
    this.#upgradedAt = Date.now();
  }

  /**
   * Takes a message.
   *
   * @param message The message; its bytes are copied.
   * @param direction Its direction.
   */
  onMessage(message: Message, direction: Direction): void {
    this.#bytes += byteLengthOf(message);
    if (this.#bytes > MAX_HAR_BYTES || this.#messages.length === MAX_HAR_MESSAGES) {
      this.#omitted++;
      return;
    }
    const isText = typeof message === "string";
    this.#messages.push({
      type: direction === "out" ? "send" : "receive",
      time: Date.now() / 1000,
      opcode: isText ? OPCODE.text : OPCODE.binary,
      data: isText ? message : message.toBase64(),
    });
  }

  /**
   * Writes the file.
   *
   * @param end The end of the exchange.
   * @returns JSON.
   */
  toJson({ refusal, close }: HarEnd): string {
    const now = Date.now();
    const wait = (this.#upgradedAt ?? now) - this.#start;
    const entry = {
      startedDateTime: new Date(this.#start).toISOString(),
      time: now - this.#start,
      request: this.#request(),
      response: this.#response(refusal),
      cache: {},
      timings: { send: 0, wait, receive: now - this.#start - wait },
      _resourceType: "websocket",
      _webSocketMessages: this.#messages,
      comment: this.#comment(close),
    };
    const creator = { name: "wsproof", version: VERSION };
    const json = JSON.stringify({ log: { version: "1.2", creator, pages: [], entries: [entry] } }, undefined, 2);
    // The line ends are those of the JSON: inside of its strings they are escapes.
    return `${json.replace(/[^\n -~]+/g, escapeUnprintable)}\n`;
  }

  #request() {
    const { url: given, headers = [], protocols = [] } = this.#asked;
    const { out } = this.#heads;
    const offered = protocols.length === 0 ? [] : [["Sec-WebSocket-Protocol", protocols.join(", ")] as const];
    const url = withoutPassword(given);
    return {
      method: "GET",
      url,
      httpVersion: "HTTP/1.1",
      cookies: [],
      headers: nameValues(out?.fields ?? [...headers, ...offered]),
      queryString: [...URL.parse(url)?.searchParams ?? []].map(([name, value]) => ({ name, value })),
      headersSize: -1,
      bodySize: 0,
    };
  }

  /** The answer; over the built-in WebSocket only the success of the opening is known. */
  #response(refusal: HandshakeRefusal | null | undefined) {
    const head = this.#heads.in;
    const known = refusal?.status ?? (this.#upgradedAt === undefined ? 0 : 101);
    const { status = known, reason: statusText = "" } = parseStatusLine(head?.startLine ?? "") ?? {};
    const body = withoutTokens(refusal?.body ?? "");
    return {
      status,
      statusText,
      httpVersion: "HTTP/1.1",
      cookies: [],
      headers: nameValues(head?.fields ?? refusal?.fields ?? []),
      content: { size: byteLengthOf(body), mimeType: "x-unknown", ...(body !== "" && { text: body }) },
      redirectURL: "",
      headersSize: -1,
      bodySize: -1,
    };
  }

  #comment(close: CloseRecord | null | undefined): string {
    const parts = [
      close ? withoutTokens(describeEnd(close)) : "",
      this.#heads.out ? "" : "The built-in WebSocket hides the handshake: these are the requested fields",
      this.#omitted === 0
        ? ""
        : `${this.#omitted} messages are left out: the file holds at most ${MAX_HAR_BYTES} bytes` +
          ` and ${MAX_HAR_MESSAGES} messages`,
    ];
    return parts.filter((part) => part !== "").join("; ");
  }
}

function nameValues(fields: readonly (readonly [name: string, value: string])[]) {
  return fields.map(([name, value]) => ({ name, value: withoutToken(harmlessValue([name, value])) }));
}
