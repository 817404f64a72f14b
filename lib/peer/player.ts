/**
 * Plays a script over a connection after the opening handshake, and records all that the other side does.
 *
 * @module
 */

import { encodeClosePayload } from "../protocol/close.ts";
import { OPCODE } from "../protocol/frame.ts";
import { concatBytes } from "../protocol/message.ts";
import { closeCodeOf, encodeRawFrame } from "./frame.ts";
import { RawReader, type SeenFrame } from "./raw_reader.ts";
import type { ScriptFrame, Step } from "./script.ts";
import type { RawTransport } from "./transport.ts";
import { type WireEntry, WireLog } from "./wire_log.ts";

/** A frame of the other side, with its time. */
export interface ReceivedFrame extends SeenFrame {
  /** Its time of arrival, in milliseconds since the start. */
  readonly atMs: number;
}

/** The record of the other side. */
export interface Seen {
  /** Its frames, in order. */
  readonly frames: readonly ReceivedFrame[];
  /** The first and last entries of the traffic; {@linkcode omitted} stand between them. */
  readonly wire: readonly WireEntry[];
  /** The number of entries left out. */
  readonly omitted: number;
  /** The other side's end of TCP; `"none"` if it did not end. */
  readonly end: "fin" | "reset" | "none";
  /** The step during which the close frame or the end arrived; `Infinity` without either. */
  readonly endStep: number;
  /** Time of the close frame or the end, in milliseconds since the start; `Infinity` without either. */
  readonly endMs: number;
  /** Whether a frame, or all together, passed the limit of a player, which then closed the connection. */
  readonly isTooLong: boolean;
  /** Our close code; `null` if no close frame of ours went out. */
  readonly sentClose: number | null;
  /** Whether the other side goes on: it answered the ping at the end. */
  readonly wentOn: boolean;
  /** Whether the other side missed a deadline: a whole silence passed. */
  readonly isLate: boolean;
}

/** Options of a {@linkcode Player}. */
export interface PlayOptions {
  /** Our role: a client masks its frames, and waits for the server to end TCP. */
  readonly role: "client" | "server";
  /** The longest silence of the other side before it is late, in milliseconds. */
  readonly silenceMs: number;
  /** Receives each frame, for a trace. */
  readonly onFrame?: ((entry: WireEntry) => void) | undefined;
}

/** The most frames to keep: 131,072, twice as many as the longest case sends. One more ends the connection. */
export const MAX_SEEN_FRAMES = 128 * 1024;

/** Time for the other side to fail the connection before a ping asks, in milliseconds: 250. */
const FAILURE_GRACE_MS = 250;

/** The size of one read, in bytes: 128 KiB. */
const READ_BYTES = 128 * 1024;

/** The size that ends a batch for one write: 128 KiB. */
const BATCH_BYTES = 128 * 1024;

/** The payload of the ping that asks whether the other side goes on. */
const PROBE: Uint8Array<ArrayBuffer> = new TextEncoder().encode("still there?");

/**
 * One connection that plays a script. Closing its transport ends everything.
 *
 * @example
 * ```ts
 * import { Player } from "./player.ts";
 * import { clientTransport } from "./transport.ts";
 * import { readAnswer } from "../net/answer.ts";
 * import { dial } from "../net/dial.ts";
 * import { createKey, encodeRequest } from "../protocol/handshake.ts";
 * import { serveEcho } from "../server/serve.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const server = serveEcho({ port: 0 });
 * const url = new URL(server.url);
 * const transport = clientTransport(await dial(url, {}));
 * await transport.write(new TextEncoder().encode(encodeRequest({ url, key: createKey() })));
 * const { rest } = await readAnswer(transport);
 * const player = new Player(transport, { role: "client", silenceMs: 5000 });
 * player.begin(rest);
 * const payload = new TextEncoder().encode("hi");
 * await player.play([{ do: "send", frames: [{ opcode: 1, payload }] }, { do: "await", messages: 1 }]);
 * await player.finish(1000);
 * const { frames } = player.seen();
 * assertEquals(frames.map(({ opcode }) => opcode), [1, 8]);
 * transport.close();
 * await server.shutdown();
 * ```
 */
export class Player {
  readonly #transport: RawTransport;
  readonly #options: PlayOptions;
  readonly #reader: RawReader;
  readonly #frames: ReceivedFrame[] = [];
  readonly #log: WireLog;
  #step = 0;
  #messages = 0;
  #pongs = 0;
  #heard = 0;
  #end: Seen["end"] = "none";
  #endStep = Infinity;
  #endMs = Infinity;
  readonly #start = performance.now();
  #isReading = true;
  #isLooking = true;
  #isStopped = false;
  #hasClosed = false;
  #sentClose: number | null = null;
  #wentOn = false;
  #isLate = false;
  #isBroken = false;
  #isTooLong = false;
  #wake: (() => void) | undefined;
  readonly #wholes = new WeakMap<ScriptFrame, Uint8Array>();

  /**
   * Starts after the opening handshake.
   *
   * @param transport The transport below.
   * @param options The role and the deadlines.
   */
  constructor(transport: RawTransport, options: PlayOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#log = new WireLog(options.onFrame);
    this.#reader = new RawReader((frame) => this.#take(frame));
  }

  /**
   * Starts reading in the background.
   *
   * @param early Bytes that arrived behind the handshake.
   */
  begin(early: Uint8Array): void {
    this.#reader.push(early);
    this.#readAll();
  }

  /** Whether the other side has sent its close frame, or ended TCP. */
  get isOver(): boolean {
    return this.#hasClosed || this.#end !== "none";
  }

  /**
   * Plays steps while the other side keeps the connection. Once our close frame is out, all steps are played.
   *
   * @param steps The steps.
   */
  async play(steps: Iterable<Step>): Promise<void> {
    for (const step of steps) {
      if (this.#end !== "none" || (this.#hasClosed && this.#sentClose === null)) break;
      await this.#do(step);
      this.#step++;
    }
  }

  /**
   * Waits for the replies, sends a close frame unless one is out, and awaits the answer and the end of TCP.
   *
   * @param code The close code to send.
   * @param messages The number of messages to await first.
   * @param pongs The number of pongs to await first.
   */
  async finish(code: number, messages = 0, pongs = 0): Promise<void> {
    await this.#until(() => this.isOver || (this.#messages >= messages && this.#pongs >= pongs));
    if (this.#sentClose === null && !this.isOver && !this.#isBroken) await this.#sendClose(code);
    await this.#awaitEnd();
  }

  /** Waits for the other side to fail the connection; otherwise a ping asks whether it goes on. */
  async awaitFailure(): Promise<void> {
    await this.#until(() => this.isOver, FAILURE_GRACE_MS);
    if (!this.isOver && this.#sentClose === null) {
      const before = this.#pongs;
      await this.#sendFrames([{ opcode: OPCODE.ping, payload: PROBE }]);
      await this.#until(() => this.isOver || this.#pongs > before);
      this.#wentOn = !this.isOver && this.#pongs > before;
      if (this.#wentOn) return await this.finish(1000);
    }
    await this.#awaitEnd();
  }

  /** Ends every wait after we closed the transport; this does not count as an end by the other side. */
  stop(): void {
    this.#isStopped = true;
    this.#wake?.();
  }

  /** The record of the other side so far. */
  seen(): Seen {
    return {
      frames: this.#frames,
      wire: this.#log.entries,
      omitted: this.#log.omitted,
      end: this.#end,
      endStep: this.#endStep,
      endMs: this.#endMs,
      isTooLong: this.#isTooLong || this.#reader.isSpent,
      sentClose: this.#sentClose,
      wentOn: this.#wentOn,
      isLate: this.#isLate,
    };
  }

  /** Answers the close frame; then a client waits for the end of TCP, and a server ends it. */
  async #awaitEnd(): Promise<void> {
    // A peer that did nothing until now would end TCP only because we do.
    if (!await this.#until(() => this.isOver)) return;
    if (this.#hasClosed && this.#sentClose === null && this.#end === "none") {
      const close = this.#frames.find(({ opcode }) => opcode === OPCODE.close);
      await this.#sendClose(closeCodeOf(close?.payload ?? new Uint8Array(0)));
    }
    if (this.#options.role === "server") await this.#transport.closeWrite().catch(() => {});
    await this.#until(() => this.#end !== "none");
  }

  async #do(step: Step): Promise<void> {
    switch (step.do) {
      case "send":
        return await this.#sendFrames(step.frames, step.chopBytes, step.choppedBytes);
      case "repeat":
        return await this.#repeat(step.frame, step.count);
      case "send-part":
        if (step.to === undefined) this.#noteSent(step.frame);
        return await this.#write(this.#partOf(step));
      case "take-turns":
        for (let turn = 0; turn < step.count && !this.isOver; turn++) {
          const before = this.#messages;
          await this.#sendFrames([step.frame]);
          if (!await this.#until(() => this.isOver || this.#messages > before)) return;
        }
        return;
      case "await": {
        const { messages = 0, pongs = 0 } = step;
        await this.#until(() => this.isOver || (this.#messages >= messages && this.#pongs >= pongs));
        return;
      }
      case "settle":
        await this.#until(() => this.isOver, step.ms);
        return;
      case "pause":
        await this.#until(() => false, step.ms);
        return;
      case "discard":
        this.#isLooking = false;
        return;
      case "stop-reading":
        this.#isReading = false;
        return;
      case "half-close":
        // A write behind it would break the connection.
        this.#isBroken = true;
        return await this.#transport.closeWrite().catch(() => {});
    }
  }

  /** Encodes the frame once: a flood must cost us less than the other side. */
  async #repeat(frame: ScriptFrame, count: number): Promise<void> {
    this.#noteSent(frame);
    const once = this.#wholeOf(frame);
    const batch = Math.max(1, Math.min(count, Math.floor(BATCH_BYTES / 4 / once.byteLength)));
    const bytes = concatBytes(Array.from({ length: batch }, () => once), batch * once.byteLength);
    for (let sent = 0; sent < count && this.#end === "none" && !this.#isBroken; sent += batch) {
      await this.#write(bytes.subarray(0, Math.min(batch, count - sent) * once.byteLength));
    }
  }

  /** Encodes a frame once, as its parts share one mask. */
  #wholeOf(frame: ScriptFrame): Uint8Array {
    const known = this.#wholes.get(frame);
    if (known) return known;
    const pieces = [...this.#encode(frame)];
    const whole = concatBytes(pieces);
    this.#wholes.set(frame, whole);
    return whole;
  }

  #partOf({ frame, from, to }: Step & { do: "send-part" }): Uint8Array {
    const whole = this.#wholeOf(frame);
    const head = whole.byteLength - frame.payload.byteLength;
    return whole.subarray(from === 0 ? 0 : head + from, to === undefined ? undefined : head + to);
  }

  #encode(frame: ScriptFrame): Iterable<Uint8Array> {
    return encodeRawFrame({ ...frame, isMasked: this.#isMasked(frame) });
  }

  #isMasked({ isWronglyMasked = false }: ScriptFrame): boolean {
    return (this.#options.role === "client") !== isWronglyMasked;
  }

  #noteSent(frame: ScriptFrame): void {
    const { opcode, payload, final = true, reserved = 0, claimedLength } = frame;
    const length = claimedLength === undefined ? payload.byteLength : Number(claimedLength);
    this.#log.add("out", { final, reserved, opcode, isMasked: this.#isMasked(frame), length }, payload);
  }

  async #sendClose(code: number): Promise<void> {
    await this.#sendFrames([{ opcode: OPCODE.close, payload: sendableClose(code) }]);
  }

  async #sendFrames(frames: Iterable<ScriptFrame>, chopBytes?: number, choppedBytes?: number): Promise<void> {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    const flush = async () => {
      const joined = batch.length === 1 && batch[0] ? batch[0] : concatBytes(batch, bytes);
      batch = [];
      bytes = 0;
      await this.#writeChopped(joined, chopBytes, choppedBytes);
    };
    for (const frame of frames) {
      if (frame.opcode === OPCODE.close) this.#sentClose ??= closeCodeOf(frame.payload);
      this.#noteSent(frame);
      for (const piece of this.#encode(frame)) {
        batch.push(piece);
        bytes += piece.byteLength;
        if (bytes >= BATCH_BYTES) await flush();
      }
    }
    if (bytes > 0) await flush();
  }

  async #writeChopped(bytes: Uint8Array, chopBytes = bytes.byteLength, choppedBytes = Infinity): Promise<void> {
    let at = 0;
    while (at < bytes.byteLength) {
      const end = at < choppedBytes ? at + chopBytes : bytes.byteLength;
      await this.#write(bytes.subarray(at, end));
      at = end;
    }
  }

  async #write(bytes: Uint8Array): Promise<void> {
    if (this.#isBroken) return;
    try {
      await this.#transport.write(bytes);
      this.#heard++;
    } catch {
      // The reader sees the end, and the bytes before it.
      this.#isBroken = true;
    }
  }

  async #readAll(): Promise<void> {
    const buffer = new Uint8Array(READ_BYTES);
    try {
      while (this.#isReading) {
        const read = await this.#transport.read(buffer);
        if (read === null) return this.#ended("fin");
        this.#heard++;
        if (this.#isLooking) this.#reader.push(buffer.subarray(0, read));
        this.#wake?.();
        this.#isTooLong ||= this.#reader.isSpent;
        if (!this.#isTooLong) continue;
        this.stop();
        return this.#transport.close();
      }
    } catch {
      this.#ended("reset");
    }
  }

  #ended(end: Seen["end"]): void {
    this.#end = end;
    this.#noteEnd();
    this.#wake?.();
  }

  #take(frame: SeenFrame): void {
    this.#isTooLong ||= this.#frames.length >= MAX_SEEN_FRAMES;
    if (this.#isTooLong) return;
    this.#frames.push({ ...frame, atMs: performance.now() - this.#start });
    this.#log.add("in", frame, frame.payload);
    if (frame.opcode === OPCODE.pong) this.#pongs++;
    if (frame.opcode < OPCODE.close && frame.final) this.#messages++;
    if (frame.opcode === OPCODE.close) {
      this.#hasClosed = true;
      this.#noteEnd();
    }
  }

  #noteEnd(): void {
    this.#endStep = Math.min(this.#endStep, this.#step);
    this.#endMs = Math.min(this.#endMs, performance.now() - this.#start);
  }

  /** Waits for a condition; gives up after a fixed time if one is given, else after a silence. */
  async #until(isSo: () => boolean, fixedMs?: number): Promise<boolean> {
    const ms = fixedMs ?? this.#options.silenceMs;
    let isTimeUp = false;
    let heard = this.#heard;
    const ring = () => {
      if (fixedMs === undefined && this.#heard !== heard) {
        heard = this.#heard;
        timer = setTimeout(ring, ms);
        return;
      }
      isTimeUp = true;
      this.#wake?.();
    };
    let timer = setTimeout(ring, ms);
    try {
      while (!isSo() && !isTimeUp && !this.#isStopped && this.#end === "none") {
        const { promise, resolve } = Promise.withResolvers<void>();
        this.#wake = resolve;
        await promise;
      }
      const is = isSo();
      if (!is && fixedMs === undefined && this.#end === "none") this.#isLate = true;
      return is;
    } finally {
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }
}

/** A code that must not be sent becomes 1002. */
function sendableClose(code: number): Uint8Array<ArrayBuffer> {
  try {
    return encodeClosePayload(code);
  } catch {
    return encodeClosePayload(1002);
  }
}
