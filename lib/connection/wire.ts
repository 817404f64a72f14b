/**
 * A connection over our own frames: sees, checks and reports everything on the wire.
 *
 * @module
 */

import type { CloseRecord, TcpEnd } from "../protocol/close.ts";
import { Endpoint } from "../protocol/endpoint.ts";
import type { ConnectionEnd } from "../protocol/endpoint_handler.ts";
import { messageOf, type ProtocolError } from "../protocol/error.ts";
import { type FrameHeader, headerBytes, MAX_CONTROL_PAYLOAD_BYTES, OPCODE, RSV1 } from "../protocol/frame.ts";
import { kindOf, type Message, type MessageKind, payloadOf } from "../protocol/message.ts";
import {
  type CloseOptions,
  type Connection,
  ConnectionClosedError,
  DEFAULT_MAX_BUFFERED_BYTES,
  DEFAULT_TIMEOUT_MS,
  type FrameTrace,
  MAX_BUILTIN_FRAME_BYTES,
  OpenError,
  type OpenOptions,
  type WireTotals,
} from "./connection.ts";
import { BreachFinder } from "./breach.ts";
import { FrameWriter } from "./frame_writer.ts";
import { TimeoutError, type WaitOptions, within } from "../net/deadline.ts";
import { closeQuietly, dial, refusedByTls } from "../net/dial.ts";
import { destinationOf, endWordsOf, isEndWithoutNotice, placeOf, unfinishedText } from "../net/failure.ts";
import { Inbox } from "./inbox.ts";
import { deflateInSlices, MAX_WHOLE_BYTES, SendOrder } from "./long_message.ts";
import { routeTo, serverUrlOf } from "../net/proxy.ts";
import { upgrade } from "./wire_handshake.ts";
import { MAX_PERIOD_WORK, untilEvents, workOfBytes } from "../net/turns.ts";
import { MessageDeflate } from "../net/zlib.ts";

/** The size of one read, in bytes: 256 KiB. */
const READ_BYTES = 256 * 1024;

/** Above this many unread bytes, reading stops until messages are received: 8 MiB. */
export const MAX_UNREAD_WIRE_BYTES = 8 * 1024 * 1024;

/** Deadline for the peer's end of TCP after both close frames, in milliseconds: 1 s (RFC 6455 section 7.1.1). */
const TCP_END_TIMEOUT_MS = 1000;

/**
 * Opens a connection with our own frames.
 *
 * @param url The URL: `ws:` or `wss:`, or `http:` or `https:` in their place; a user name and password become Basic
 * authentication.
 * @param options Subprotocols, fields, TLS, proxy and deadlines.
 * @returns The open connection.
 * @throws {OpenError} If there is no connection, the upgrade was refused or is not valid in every field (RFC 6455
 * section 4.1), or `connectTimeoutMs` has passed.
 * @throws {OptionError} If an option cannot be used, before anything is sent.
 *
 * @example
 * ```ts
 * import { openWire } from "./wire.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const connection = await openWire(server.url, { connectTimeoutMs: 5000 });
 * await connection.send("Hello world");
 * assertEquals(await connection.receive({ timeoutMs: 5000 }), "Hello world");
 * const record = await connection.close({ timeoutMs: 5000 });
 * assertEquals([record.received?.code, record.tcp], [1000, "peer"]);
 * await server.shutdown();
 * ```
 */
export async function openWire(url: string | URL, options: OpenOptions = {}): Promise<Connection> {
  const { connectTimeoutMs: timeoutMs = DEFAULT_TIMEOUT_MS, signal, onConnected = () => {} } = options;
  const target = serverUrlOf(url);
  const destination = destinationOf(target, routeTo(target, options, "wire").proxy, options);
  signal?.throwIfAborted();
  const deadline = performance.now() + timeoutMs;
  let latest: Deno.Conn | undefined;
  const dialing = dial(target, options, (connection) => latest = connection);
  let tcp: Deno.Conn;
  try {
    tcp = await within(dialing, "connection", { timeoutMs, signal });
  } catch (error) {
    // Drop a half-made or late connection.
    if (latest) closeQuietly(latest);
    dialing.then(closeQuietly, () => {});
    if (!(error instanceof TimeoutError)) throw error;
    const message = `${unfinishedText(destination, latest !== undefined)} within ${timeoutMs / 1000} s`;
    // A connection to a proxy waits for its tunnel, or for TLS through it.
    throw new OpenError("no-connection", message, { reason: destination.proxy && latest ? "proxy" : "silent" });
  }
  try {
    onConnected();
    const left = Math.max(1, deadline - performance.now());
    const upgrading = upgrade(tcp, target, options, deadline);
    const upgraded = await within(upgrading, "answer", { timeoutMs: left, signal });
    return new WireConnection(tcp, upgraded, options);
  } catch (error) {
    closeQuietly(tcp);
    if (error instanceof OpenError) throw await refusedByTls(error, options, destination);
    if (!(error instanceof TimeoutError)) throw error;
    const message = `Connected${placeOf(destination)}, but no answer to the handshake within ${timeoutMs / 1000} s`;
    throw new OpenError("no-connection", message, { stage: "upgrade", reason: "silent" });
  }
}

class WireConnection implements Connection {
  readonly transport = "wire";
  readonly protocol: string;
  readonly extensions: string;
  readonly closed: Promise<CloseRecord>;

  readonly #tcp: Deno.Conn;
  readonly #options: OpenOptions;
  readonly #endpoint: Endpoint;
  readonly #codec: MessageDeflate | undefined;
  /** Whether the peer's message is compressed. */
  #isInflated = false;
  readonly #writer: FrameWriter;
  /** Finds the start of a breach, if a listener wants it. */
  readonly #breach: BreachFinder | undefined;
  readonly #order = new SendOrder();
  readonly #inbox = new Inbox(() => this.#room?.resolve());
  readonly #end = Promise.withResolvers<CloseRecord>();
  readonly #pings = new Map<string, () => void>();
  #receivedBytes = 0;
  #room: PromiseWithResolvers<void> | undefined;
  #isBroken = false;
  /** The work since timers and signals last ran, in frames. */
  #work = 0;
  #record: CloseRecord | undefined;

  constructor(tcp: Deno.Conn, { protocol, deflate, rest }: Awaited<ReturnType<typeof upgrade>>, options: OpenOptions) {
    // The default limit is the same over both transports.
    const { maxMessageBytes = MAX_BUILTIN_FRAME_BYTES } = options;
    if (options.onBreach) this.#breach = new BreachFinder();
    this.protocol = protocol;
    this.extensions = deflate?.text ?? "";
    this.#codec = deflate && new MessageDeflate({ own: deflate.client, peer: deflate.server, maxMessageBytes });
    this.closed = this.#end.promise;
    this.#tcp = tcp;
    // A copy, as the caller may change the object.
    this.#options = { ...options };
    this.#writer = new FrameWriter(tcp, {
      onFrame: (header, payload) => this.#trace("out", header, payload),
      onBroken: () => this.#onBroken(),
    });
    this.#endpoint = new Endpoint("client", {
      onOutput: (opcode, payload, final, reserved) => this.#onOutput(opcode, payload, final, reserved),
      onHeader: (header) => this.#onHeader(header),
      onFrame: (header, start) => this.#trace("in", header, start),
      onMessage: (message) => this.#onMessage(message),
      onPong: (payload) => this.#pings.get(payload.toHex())?.(),
      onFailure: (error) => this.#onFailure(error),
    }, { maxMessageBytes, inflater: this.#codec });
    this.#readAll(rest);
  }

  async send(message: Message, options: WaitOptions = {}): Promise<void> {
    if (this.#inbox.fault) throw this.#inbox.fault;
    const plain = payloadOf(message);
    const isLong = this.#codec !== undefined && plain.byteLength > MAX_WHOLE_BYTES;
    await this.#order.run(isLong, () => this.#sendNow(kindOf(message), plain, options), options);
  }

  async #sendNow(kind: MessageKind, plain: Uint8Array<ArrayBuffer>, options: WaitOptions): Promise<void> {
    const { maxBufferedBytes = DEFAULT_MAX_BUFFERED_BYTES, fragmentBytes = Infinity } = this.#options;
    const codec = !this.#record && this.#codec?.isWorth(plain.byteLength) ? this.#codec : undefined;
    const check = () => {
      if (this.#record) throw new ConnectionClosedError(this.#record);
    };
    // Fragmentation comes after compression (RFC 7692 section 6.1).
    const payload = codec ? await deflateInSlices(codec, plain, { ...options, check }) : plain;
    if (codec) this.#traceMessage("out", OPCODE[kind], plain);
    let at = 0;
    do {
      // The peer may close inside the message, and no data may follow the close frame (RFC 6455 section 5.5.1).
      if (this.#record || this.#endpoint.sent) await this.#refuse(options);
      const end = Math.min(payload.byteLength, at + fragmentBytes);
      const former = this.#writer.written;
      this.#endpoint.sendFragment(kind, payload.subarray(at, end), end === payload.byteLength, codec !== undefined);
      // Above the limit, the next fragment waits for the write before this one.
      if (this.#writer.queuedBytes > maxBufferedBytes) await within(former, "room to send", options);
      at = end;
    } while (at < payload.byteLength);
  }

  get wire(): WireTotals {
    return { sent: this.#writer.dataBytes, received: this.#receivedBytes };
  }

  receive(options: WaitOptions = {}): Promise<Message> {
    return this.#inbox.receive(options);
  }

  release(message: Uint8Array<ArrayBuffer>): void {
    this.#endpoint.reuse(message);
  }

  drain(): Message[] {
    return this.#inbox.drain();
  }

  [Symbol.asyncIterator](): AsyncIterator<Message> {
    return this.#inbox[Symbol.asyncIterator]();
  }

  async ping(options: WaitOptions = {}): Promise<number> {
    if (this.#record || this.#endpoint.sent) await this.#refuse(options);
    const payload = crypto.getRandomValues(new Uint8Array(8));
    const key = payload.toHex();
    const pong = Promise.withResolvers<void>();
    this.#pings.set(key, pong.resolve);
    // The clock starts when the ping goes out, not while the ping is queued.
    let since = performance.now();
    const going = this.#writer.written.then(() => since = performance.now());
    this.#endpoint.ping(payload);
    const answered = Promise.all([going, this.#writer.written]).then(() => pong.promise);
    const ended = this.closed.then((record) => Promise.reject(new ConnectionClosedError(record)));
    try {
      await within(Promise.race([answered, ended]), "pong", options);
      return performance.now() - since;
    } finally {
      this.#pings.delete(key);
    }
  }

  async close(options: CloseOptions = {}): Promise<CloseRecord> {
    const { code = 1000, reason = "", timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
    this.#endpoint.close(code, reason);
    try {
      return await within(this.closed, "answer to the close frame", { timeoutMs, signal });
    } catch (error) {
      this.#settle({ tcp: "local", detail: messageOf(error), isLate: true });
      return this.closed;
    }
  }

  async #refuse(options: WaitOptions): Promise<never> {
    throw this.#inbox.fault ?? new ConnectionClosedError(await within(this.closed, "end", options));
  }

  #onHeader(header: FrameHeader): void {
    this.#work++;
    this.#breach?.onHeader(header);
    if (header.opcode >= OPCODE.close) return;
    this.#receivedBytes += headerBytes(header.length, header.isMasked) + header.length;
    if (header.opcode !== OPCODE.continuation) this.#isInflated = header.reserved !== 0;
  }

  #onMessage(message: Message): void {
    if (this.#isInflated && this.#options.onFrame) {
      this.#traceMessage("in", OPCODE[kindOf(message)], payloadOf(message));
    }
    if (this.#endpoint.sent) this.#inbox.addSurplus(message);
    else this.#inbox.add(message);
  }

  /** Fails a wait for a message at once: the connection may take long to end. */
  #onFailure(error: ProtocolError): void {
    if (this.#breach) this.#options.onBreach?.({ problem: error.message, start: this.#breach.bytes() });
    if (error.code === "message-too-big" || error.code === "too-much-unread") this.#inbox.fail(error);
  }

  #onOutput(opcode: number, payload: Uint8Array<ArrayBuffer>, final: boolean, reserved: number): void {
    if (opcode === OPCODE.close) this.#room?.resolve();
    this.#writer.queue({ opcode, payload, final, reserved });
  }

  /** The reader finds the cause of a failed write, and may still find a close frame: it must not pause now. */
  #onBroken(): Promise<unknown> {
    this.#isBroken = true;
    this.#room?.resolve();
    return this.closed;
  }

  async #readAll(rest: Uint8Array<ArrayBuffer>): Promise<void> {
    let tcp: TcpEnd = "peer";
    let detail = "";
    try {
      this.#receive(rest);
      // Compressed bytes may inflate to a thousand times as many.
      const buffer = new Uint8Array(this.#codec ? READ_BYTES / 16 : READ_BYTES);
      while (!this.#isOver()) {
        while (this.#mayPause()) await this.#hasRoom();
        const read = await this.#tcp.read(buffer);
        if (read === null) {
          detail = "Unexpected EOF";
          break;
        }
        this.#receive(buffer.subarray(0, read));
        this.#work += workOfBytes(read);
        if (this.#work < MAX_PERIOD_WORK) continue;
        // Reads of available bytes complete at once: a flood would starve deadlines and Ctrl-C.
        this.#work = 0;
        await untilEvents();
      }
      if (this.#isOver()) tcp = await this.#peerEnds(buffer);
    } catch (error) {
      const words = messageOf(error);
      tcp = isEndWithoutNotice(words) ? "peer" : "reset";
      detail = endWordsOf(words);
    }
    this.#settle({ tcp, detail });
  }

  #receive(bytes: Uint8Array<ArrayBuffer>): void {
    this.#breach?.onRead(bytes);
    this.#endpoint.receive(bytes);
  }

  /** Whether to stop reading until messages are received; not once the end is near. */
  #mayPause(): boolean {
    return this.#inbox.bytes > MAX_UNREAD_WIRE_BYTES && !this.#endpoint.sent && !this.#isBroken;
  }

  /** Whether further bytes cannot matter: a failed connection is not read (section 7.1.7). */
  #isOver(): boolean {
    return this.#record !== undefined || this.#endpoint.phase === "closed" || this.#endpoint.phase === "failed";
  }

  /** After both close frames the server ends TCP (RFC 6455 section 7.1.1); until then only data is wrong. */
  async #peerEnds(buffer: Uint8Array<ArrayBuffer>): Promise<TcpEnd> {
    const deadline = performance.now() + TCP_END_TIMEOUT_MS;
    await within(this.#writer.written, "room to send", { timeoutMs: TCP_END_TIMEOUT_MS }).catch(() => {});
    try {
      while (this.#endpoint.phase === "closed") {
        const timeoutMs = Math.max(1, deadline - performance.now());
        const read = await within(this.#tcp.read(buffer), "end of TCP", { timeoutMs });
        if (read === null) return "peer";
        this.#receive(buffer.subarray(0, read));
      }
    } catch (error) {
      if (error instanceof TimeoutError) return "local";
      return isEndWithoutNotice(messageOf(error)) ? "peer" : "reset";
    }
    return "local";
  }

  #hasRoom(): Promise<void> {
    this.#room ??= Promise.withResolvers<void>();
    return this.#room.promise.finally(() => this.#room = undefined);
  }

  #settle(end: ConnectionEnd): void {
    if (this.#record) return;
    this.#record = this.#endpoint.closeRecord(end);
    this.#writer.stop();
    closeQuietly(this.#tcp);
    this.#codec?.release();
    this.#room?.resolve();
    this.#inbox.end(this.#record);
    this.#end.resolve(this.#record);
  }

  #traceMessage(direction: FrameTrace["direction"], opcode: number, message: Uint8Array): void {
    const { byteLength: length } = message;
    this.#trace(direction, { final: true, reserved: RSV1, opcode, isMasked: false, length }, message, length);
  }

  #trace(direction: FrameTrace["direction"], header: FrameHeader, payload: Uint8Array, inflatedBytes?: number): void {
    const { onFrame } = this.#options;
    if (!onFrame) return;
    try {
      const start = payload.slice(0, MAX_CONTROL_PAYLOAD_BYTES);
      onFrame({ direction, header, start, ...(inflatedBytes !== undefined && { inflatedBytes }) });
    } catch {
      // An error of a listener does not end the connection.
    }
  }
}
