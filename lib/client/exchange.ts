/**
 * One run of the client: connect, upgrade, send, receive, verify, close.
 *
 * @module
 */

import { type Difference, differenceOf, type Expectation } from "./diagnosis.ts";
import { PayloadError } from "./usage.ts";
import { type CloseRecord, describeConfirmation, verifyClose } from "../protocol/close.ts";
import { byteLengthOf, kindOf, type Message, payloadOf, withoutPassword, withoutToken } from "../protocol/message.ts";
import { ProtocolError } from "../protocol/error.ts";
import {
  type Connection,
  ConnectionClosedError,
  DEFAULT_TIMEOUT_MS,
  type HandshakeRefusal,
  INTERRUPTED_CLOSE_TIMEOUT_MS,
  OpenError,
  type TransportName,
  type WireTotals,
} from "../connection/connection.ts";
import { MESSAGE_OVERHEAD_BYTES } from "../connection/inbox.ts";
import { openConnection } from "../connection/open.ts";
import { proxyNameFor, wayText } from "../net/proxy.ts";
import type { ExchangeOptions } from "./exchange_options.ts";
import {
  agreementText,
  type ExchangeEventKind,
  type ExchangeReport,
  type MessageRecord,
  type Stage,
  type StageName,
  type Totals,
  totalsText,
  VERIFIED_TEXT,
} from "./exchange_report.ts";
import { EXIT_CODES, type Failure } from "./verdict.ts";

/** The most messages in a report; the totals count all. */
export const MAX_MESSAGE_RECORDS = 1000;

/** Time to look for the right reply behind a wrong one, in milliseconds: 500 ms. */
export const SECOND_LOOK_MS = 500;

/** The smallest verified reply whose memory is freed at once, in bytes: 64 KiB. */
const RELEASED_BYTES = 64 * 1024;

/**
 * Runs one exchange, which never throws for what a peer does, ends within the sum of its deadlines, and closes the
 * connection after a failure too.
 *
 * @param url The URL: `ws:` or `wss:`, or `http:` or `https:` in their place.
 * @param options The messages, the expectations and the deadlines.
 * @returns The proof, or the failed stage and the cause.
 * @throws {OptionError} If the URL or an option of the connection cannot be used, before anything is sent.
 *
 * @example
 * ```ts
 * import { exchange } from "./exchange.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const report = await exchange(server.url, { messages: ["Hello world"] });
 * assertEquals(report.verdict, "proven");
 * await server.shutdown();
 * ```
 */
export async function exchange(url: string, options: ExchangeOptions = {}): Promise<ExchangeReport> {
  const run = new Run(url, options);
  const connection = await run.open();
  if (connection) {
    await run.converse(connection);
    await run.close(connection);
  }
  return run.report();
}

/** A message whose reply has not arrived. */
interface Awaited {
  readonly message: Message;
  readonly bytes: number;
  readonly sha256: string | null;
}

class Run {
  readonly #url: string;
  readonly #shownUrl: string;
  readonly #options: ExchangeOptions;
  readonly #transport: TransportName;
  readonly #proxy: string | null;
  readonly #expectation: Expectation;
  readonly #replyTimeoutMs: number;
  readonly #start = performance.now();
  readonly #stages: Record<StageName, Stage> = {
    connect: { name: "connect", ok: null, ms: null, detail: "" },
    upgrade: { name: "upgrade", ok: null, ms: null, detail: "" },
    send: { name: "send", ok: null, ms: null, detail: "" },
    receive: { name: "receive", ok: null, ms: null, detail: "" },
    verify: { name: "verify", ok: null, ms: null, detail: "" },
    close: { name: "close", ok: null, ms: null, detail: "" },
  };
  readonly #records: MessageRecord[] = [];
  readonly #sent: Totals = { messages: 0, bytes: 0 };
  readonly #received: Totals = { messages: 0, bytes: 0 };
  readonly #awaited: Awaited[] = [];
  #awaitedBytes = 0;
  #previous: Message | undefined;
  #lastReply: Message | undefined;
  #protocol = "";
  #extensions = "";
  #wire: WireTotals | null = null;
  #refusal: HandshakeRefusal | null = null;
  #close: CloseRecord | null = null;
  #failure: Failure | undefined;

  constructor(url: string, options: ExchangeOptions) {
    this.#url = url;
    this.#shownUrl = withoutPassword(url);
    this.#options = options;
    this.#transport = options.transport ?? "builtin";
    this.#proxy = proxyNameFor(url, options, this.#transport);
    this.#expectation = options.expectation ?? { type: "echo" };
    this.#replyTimeoutMs = options.replyTimeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  async open(): Promise<Connection | undefined> {
    const { connect, upgrade } = this.#stages;
    this.#emit({ type: "connecting", url: this.#shownUrl, proxy: this.#proxy });
    const since = this.#now();
    let connectedAt: number | undefined;
    const onConnected = () => {
      connectedAt = this.#now();
      connect.ms = connectedAt - since;
      this.#pass(connect, "TCP, and TLS if the URL asks for it");
      this.#emit({ type: "connected" });
    };
    try {
      const connection = await openConnection(this.#url, this.#transport, { ...this.#options, onConnected });
      upgrade.ms = this.#now() - (connectedAt ?? since);
      this.#protocol = withoutToken(connection.protocol);
      const extensions = this.#extensions = connection.extensions ?? "";
      if (connectedAt === undefined) {
        connect.ok = true;
        connect.detail = "part of the upgrade: the built-in WebSocket does both in one step";
      }
      const agreement = agreementText(connection, this.#options.deflate);
      this.#pass(upgrade, `${this.#shownUrl}${wayText(this.#proxy)}${agreement}`);
      this.#emit({ type: "upgraded", protocol: this.#protocol, ...(extensions !== "" && { extensions }) });
      return connection;
    } catch (error) {
      const ms = this.#now() - (connectedAt ?? since);
      if (error instanceof OpenError) {
        const failed = this.#stages[error.stage];
        failed.ms = ms;
        if (failed === upgrade) connect.ok = true;
        this.#refusal = error.refusal ?? null;
        this.#failWith(
          failed,
          (await failures()).openingFailure(error, this.#url, this.#options, this.#transport),
          error.detail,
        );
      } else if (this.#options.signal?.aborted) {
        upgrade.ms = ms;
        this.#failWith(upgrade, (await failures()).interruption(" while connecting"));
      } else {
        throw error;
      }
      return undefined;
    }
  }

  async converse(connection: Connection): Promise<void> {
    const { messages = ["Hello world"], skip = 0, windowBytes = 0 } = this.#options;
    const { send, receive, verify } = this.#stages;
    let stage = receive;
    try {
      for (let skipped = 0; skipped < skip; skipped++) await this.#receive(connection);
      for await (const message of messages) {
        const bytes = byteLengthOf(message);
        stage = receive;
        // Each message has an overhead, or a window would hold millions of small ones.
        while (this.#awaited.length > 0 && this.#awaitedBytes + bytes + MESSAGE_OVERHEAD_BYTES > windowBytes) {
          if (await this.#receiveReply(connection) === undefined) return;
        }
        stage = send;
        await this.#send(connection, message, bytes);
      }
      this.#pass(send, totalsText(this.#sent, this.#sent.messages === 1 ? this.#previous : undefined));
      stage = receive;
      let reply: Message | undefined;
      while (this.#awaited.length > 0) {
        reply = await this.#receiveReply(connection);
        if (reply === undefined) return;
      }
      this.#pass(receive, totalsText(this.#received, this.#received.messages === 1 ? reply : undefined));
      this.#pass(verify, VERIFIED_TEXT[this.#sent.messages === 0 ? "none" : this.#expectation.type]);
    } catch (error) {
      const isEnded = error instanceof ConnectionClosedError || error instanceof ProtocolError;
      // Replies that arrived before the end count: a wrong one failed first.
      if (stage === send && isEnded && !await this.#areRepliesRight(connection)) return;
      await this.#failFor(stage, error);
    }
  }

  async close(connection: Connection): Promise<void> {
    const { close: frame = { code: 1000, reason: "" }, closeTimeoutMs = DEFAULT_TIMEOUT_MS, signal } = this.#options;
    const expected = this.#options.expectedClose ?? { code: frame.code };
    const { close } = this.#stages;
    const isInterrupted = this.#failure?.verdict === "interrupted";
    this.#emit({ type: "closing", frame });
    const record = await this.#timed(close, () =>
      connection.close(
        isInterrupted
          ? { ...frame, timeoutMs: Math.min(closeTimeoutMs, INTERRUPTED_CLOSE_TIMEOUT_MS) }
          : { ...frame, timeoutMs: closeTimeoutMs, signal },
      ));
    this.#close = record;
    this.#wire = connection.wire ?? null;
    this.#emit({ type: "closed", record });
    await this.#takeSurplus(connection.drain());
    const outcome = verifyClose(record, expected);
    if (outcome === "confirmed") {
      this.#pass(close, describeConfirmation(record, frame));
    } else if (signal?.aborted) {
      this.#failWith(close, (await failures()).interruption(" while closing"));
    } else {
      this.#failWith(close, (await failures()).closeFailure(outcome, record, expected));
    }
  }

  report(): ExchangeReport {
    const verdict = this.#failure?.verdict ?? "proven";
    return {
      schema: "wsproof.exchange/1",
      url: this.#shownUrl,
      transport: this.#transport,
      proxy: this.#proxy,
      protocol: this.#protocol,
      extensions: this.#extensions,
      ok: verdict === "proven",
      verdict,
      exitCode: EXIT_CODES[verdict],
      problem: this.#failure?.problem ?? "",
      hint: this.#failure?.hint ?? "",
      stages: Object.values(this.#stages),
      refusal: this.#refusal,
      messages: this.#records,
      messagesOmitted: this.#sent.messages + this.#received.messages - this.#records.length,
      sent: this.#sent,
      received: this.#received,
      wire: this.#wire,
      close: this.#close,
      ms: this.#now(),
    };
  }

  async #send(connection: Connection, message: Message, bytes: number): Promise<void> {
    // A lone surrogate would go out and come back as U+FFFD.
    if (typeof message === "string" && !message.isWellFormed()) {
      throw new PayloadError("Text has half a surrogate pair, which UTF-8 cannot encode: send it as binary");
    }
    const wait = { timeoutMs: this.#replyTimeoutMs, signal: this.#options.signal };
    await this.#timed(this.#stages.send, () => connection.send(message, wait));
    const sentAt = this.#now();
    const sha256 = await this.#digest(message);
    this.#count(this.#sent, { kind: kindOf(message), bytes, sha256, sentAt });
    this.#emit({ type: "sent", message, total: this.#sent });
    this.#previous = message;
    if (this.#expectation.type === "none") return;
    this.#awaited.push({ message, bytes, sha256 });
    this.#awaitedBytes += bytes + MESSAGE_OVERHEAD_BYTES;
  }

  async #receive(connection: Connection): Promise<Message> {
    const wait = { timeoutMs: this.#replyTimeoutMs, signal: this.#options.signal };
    const message = await this.#timed(this.#stages.receive, () => connection.receive(wait));
    await this.#recordReceived(message, undefined);
    return message;
  }

  /** Verifies the replies that have arrived, without waiting for more. */
  async #areRepliesRight(connection: Connection): Promise<boolean> {
    try {
      while (this.#awaited.length > 0) {
        if (await this.#receiveReply(connection, 0) === undefined) return false;
      }
    } catch {
      // No more has arrived; the caller knows the cause.
    }
    return true;
  }

  /** Receives the reply to the oldest pending message; `undefined` if it is wrong. */
  async #receiveReply(connection: Connection, timeoutMs = this.#replyTimeoutMs): Promise<Message | undefined> {
    const wait = { timeoutMs, signal: this.#options.signal };
    const reply = await this.#timed(this.#stages.receive, () => connection.receive(wait));
    const awaited = this.#awaited.shift();
    if (awaited === undefined) return undefined;
    this.#awaitedBytes -= awaited.bytes + MESSAGE_OVERHEAD_BYTES;
    const verifying = performance.now();
    const difference = differenceOf(this.#expectation, awaited.message, reply);
    this.#stages.verify.ms = (this.#stages.verify.ms ?? 0) + performance.now() - verifying;
    this.#release(connection, reply);
    const isEcho = this.#expectation.type === "echo" && difference === undefined;
    await this.#recordReceived(reply, isEcho ? awaited.sha256 ?? undefined : undefined);
    if (difference === undefined) {
      this.#options.onVerified?.(awaited.message);
      return reply;
    }
    await this.#failForReply(connection, awaited.message, reply, difference);
    return undefined;
  }

  /** Frees the memory of the previous reply when many are expected. */
  #release(connection: Connection, reply: Message): void {
    if (!this.#options.windowBytes) return;
    const former = this.#lastReply;
    if (former instanceof Uint8Array && former.byteLength >= RELEASED_BYTES) connection.release(former);
    this.#lastReply = reply;
  }

  async #failForReply(connection: Connection, sent: Message, reply: Message, difference: Difference): Promise<void> {
    const { verify, receive } = this.#stages;
    const cause = this.#misplacedCause(reply) || await this.#lateCause(connection, sent);
    this.#pass(receive, totalsText(this.#received, this.#received.messages === 1 ? reply : undefined));
    this.#failWith(verify, (await failures()).replyFailure(difference, cause));
  }

  /** Checks whether the reply answers a later message. */
  #misplacedCause(reply: Message): string {
    if (this.#expectation.type !== "echo") return "";
    const later = this.#awaited.findIndex(({ message }) => differenceOf(ECHO, message, reply) === undefined);
    return later === -1 ? "" : `it answers the message ${later + 1} later: replies are out of order, or one is missing`;
  }

  /** Checks whether the right reply follows an extra message. */
  async #lateCause(connection: Connection, sent: Message): Promise<string> {
    try {
      const timeoutMs = Math.min(this.#replyTimeoutMs, SECOND_LOOK_MS);
      const next = await connection.receive({ timeoutMs, signal: this.#options.signal });
      await this.#recordReceived(next, undefined);
      if (differenceOf(this.#expectation, sent, next) !== undefined) return "";
      return (await failures()).lateReplyHint(this.#received.messages);
    } catch {
      return "";
    }
  }

  /** Records unsolicited messages: a failure if the server should only echo, or be silent. */
  async #takeSurplus(surplus: readonly Message[]): Promise<void> {
    const [first] = surplus;
    for (const message of surplus) await this.#recordReceived(message, undefined);
    if (first === undefined || this.#failure) return;
    const { type } = this.#expectation;
    const { receive, verify } = this.#stages;
    if (type !== "none" && (type !== "echo" || this.#sent.messages === 0)) {
      const isAll = this.#received.messages === surplus.length;
      if (isAll) this.#pass(receive, totalsText(this.#received, surplus.length === 1 ? first : undefined));
      this.#pass(verify, isAll ? UNJUDGED_TEXT : `${verify.detail}; ${surplus.length} more, ${UNJUDGED_TEXT}`);
      return;
    }
    this.#pass(receive, totalsText(this.#received, this.#received.messages === 1 ? first : undefined));
    const { surplusFailure } = await failures();
    this.#failWith(verify, surplusFailure(first, surplus.length, this.#expectation, this.#previous));
  }

  async #failFor(stage: Stage, error: unknown): Promise<void> {
    const { failureOf, interruption } = await failures();
    if (this.#options.signal?.aborted) return this.#failWith(stage, interruption());
    const failure = failureOf(error, this.#transport, { awaitsReplies: this.#expectation.type !== "none" });
    const isWaiting = failure.verdict === "no-reply" && this.#awaited.length > 1;
    const waiting = isWaiting ? ` (${this.#awaited.length} messages wait for their replies)` : "";
    this.#failWith(stage, { ...failure, problem: `${failure.problem}${waiting}` });
  }

  async #recordReceived(message: Message, knownSha256: string | undefined): Promise<void> {
    const receivedAt = this.#now();
    const sha256 = knownSha256 ?? await this.#digest(message);
    this.#count(this.#received, { kind: kindOf(message), bytes: byteLengthOf(message), sha256, receivedAt });
    this.#emit({ type: "received", message, total: this.#received });
  }

  #count(totals: Totals, record: MessageRecord): void {
    totals.messages++;
    totals.bytes += record.bytes;
    if (this.#records.length < MAX_MESSAGE_RECORDS) this.#records.push(record);
  }

  async #digest(message: Message): Promise<string | null> {
    if (!this.#options.digest || this.#records.length >= MAX_MESSAGE_RECORDS) return null;
    return new Uint8Array(await crypto.subtle.digest("SHA-256", payloadOf(message))).toHex();
  }

  async #timed<T>(stage: Stage, step: () => Promise<T>): Promise<T> {
    const from = performance.now();
    try {
      return await step();
    } finally {
      stage.ms = (stage.ms ?? 0) + performance.now() - from;
    }
  }

  #pass(stage: Stage, detail: string): void {
    stage.ok = true;
    stage.ms ??= 0;
    stage.detail = detail;
  }

  #failWith(stage: Stage, failure: Failure, detail = ""): void {
    stage.ok = false;
    stage.detail = failure.problem;
    this.#failure ??= failure;
    this.#emit({ type: "failed", stage: stage.name, problem: failure.problem, ...(detail !== "" && { detail }) });
  }

  #emit(event: ExchangeEventKind): void {
    this.#options.onEvent?.({ atMs: this.#now(), ...event });
  }

  #now(): number {
    return performance.now() - this.#start;
  }
}

/** Loaded on the first failure: a run without one starts sooner. */
function failures(): Promise<typeof import("./failure.ts")> {
  return import("./failure.ts");
}

/** Messages that nothing was said about: a greeting, or news of a server that does not only reply. */
const UNJUDGED_TEXT = "not judged";

const ECHO: Expectation = { type: "echo" };
