/** A peer of the fuzzer of counts: it knows what the server has to count of it. */

import { connectTo, type Target } from "./harness.ts";
import { Tally } from "./counts_tally.ts";
import type { Random } from "./random.ts";

/** The server has reached its limit of connections. */
export class Refused extends Error {}

/** A frame from the server. */
export interface Frame {
  readonly opcode: number;
  readonly final: boolean;
  readonly payload: Uint8Array<ArrayBuffer>;
}

const NO_MASK = [0, 0, 0, 0];

/** A frame of a client, masked with zeros. */
function frameOf(opcode: number, payload: Uint8Array, { final = true, reserved = 0 } = {}): Uint8Array<ArrayBuffer> {
  const { byteLength: length } = payload;
  const size = length < 126
    ? [128 | length]
    : length < 65_536
    ? [254, length >> 8, length & 255]
    : [255, 0, 0, 0, 0, length >>> 24, (length >> 16) & 255, (length >> 8) & 255, length & 255];
  const head = [(final ? 128 : 0) | reserved | opcode, ...size, ...NO_MASK];
  const frame = new Uint8Array(head.length + length);
  frame.set(head);
  frame.set(payload, head.length);
  return frame;
}

/** One connection to the server. */
export class Peer {
  readonly counts = new Tally();
  readonly #target: Target;
  /** Over the built-in transport a frame that is read is all that there is: its bytes are not counted. */
  readonly #isWire: boolean;
  #conn: Deno.Conn | undefined;
  #rest = new Uint8Array(0);
  #isClosed = false;

  constructor(target: Target, isWire: boolean) {
    this.#target = target;
    this.#isWire = isWire;
  }

  async connect(): Promise<void> {
    this.#conn = await connectTo(this.#target);
  }

  drop(): void {
    if (this.#conn && !this.#isClosed) this.#conn.close();
    this.#isClosed = true;
  }

  /** The connection has ended with this close. */
  ended(close: string): void {
    this.counts.add(`closed ${close}`, 1);
  }

  async raw(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength;) at += await this.#open().write(bytes.subarray(at));
  }

  /** Sends a head; fields replace those of a handshake, or remove them. */
  async sendHead(
    random: Random | undefined,
    more: Record<string, string | undefined> = {},
    behind: Uint8Array = new Uint8Array(0),
    path = "/echo",
  ): Promise<void> {
    await this.connect();
    const { hostname, port } = this.#target;
    const fields: Record<string, string | undefined> = {
      Host: `${hostname}:${port}`,
      Upgrade: "websocket",
      Connection: "Upgrade",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      ...more,
    };
    const lines = Object.entries(fields).filter(([, value]) => value !== undefined).map(([name, value]) =>
      `${name}: ${value}`
    );
    const head = new TextEncoder().encode([`GET ${path} HTTP/1.1`, ...lines, "", ""].join("\r\n"));
    const bytes = new Uint8Array(head.byteLength + behind.byteLength);
    bytes.set(head);
    bytes.set(behind, head.byteLength);
    await this.#cut(random, bytes);
  }

  /** Sends a head; returns the status. */
  async ask(random: Random | undefined, more: Record<string, string | undefined>, path?: string): Promise<number> {
    await this.sendHead(random, more, undefined, path);
    return Number((await this.#head()).split(" ")[1]);
  }

  /** The body of a page. */
  async page(path: string): Promise<string> {
    await this.sendHead(undefined, { Upgrade: undefined, Connection: "close" }, undefined, path);
    await this.#head();
    const pieces: Uint8Array<ArrayBuffer>[] = [this.#rest];
    for (let piece = await this.#read(); piece !== undefined; piece = await this.#read()) pieces.push(piece);
    return await new Blob(pieces).text();
  }

  /** Connects and upgrades. */
  async open(random: Random, { offer }: { offer?: string } = {}): Promise<void> {
    const status = await this.ask(random, offer === undefined ? {} : { "Sec-WebSocket-Extensions": offer });
    this.#upgraded(status);
  }

  /** Sends messages with the head, perhaps a close frame, and then the end of its side; reads the answer to the head. */
  async openWith(random: Random, messages: number, isClosed: boolean): Promise<void> {
    const text = new TextEncoder().encode("early");
    const frames = Array.from({ length: messages }, () => frameOf(2, text));
    if (isClosed) frames.push(frameOf(8, Uint8Array.of(0x03, 0xe8)));
    const bytes = new Uint8Array(await new Blob(frames).arrayBuffer());
    try {
      await this.sendHead(random, {}, bytes);
      await this.#open().closeWrite();
    } catch {
      // The runtime answers a refused peer and closes, before it has read all.
      throw new Refused();
    }
    this.#upgraded(Number((await this.#head()).split(" ")[1]));
    this.counts.add("received", bytes.byteLength);
    this.#echoed(messages, messages * text.byteLength);
    for (let left = messages; left > 0; left--) await this.frame();
    if (isClosed) await this.frame();
  }

  async ping(payload: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.#send(frameOf(9, payload));
    await this.#expect(10, payload.byteLength);
  }

  /** Sends a message in fragments, with pings between, and reads the answers. */
  async message(random: Random, opcode: number, payload: Uint8Array<ArrayBuffer>): Promise<void> {
    const parts = random.whole(1, 3);
    let pongs = 0;
    for (let part = 1, at = 0; part <= parts; part++) {
      const final = part === parts;
      const end = final ? payload.byteLength : at + random.below(payload.byteLength - at + 1);
      await this.#send(frameOf(part === 1 ? opcode : 0, payload.subarray(at, end), { final }), random);
      at = end;
      if (final || random.chance(0.7)) continue;
      await this.#send(frameOf(9, new Uint8Array(3)));
      pongs++;
    }
    this.#echoed(1, payload.byteLength);
    let received = 0;
    for (let isWhole = false; !isWhole || pongs > 0;) {
      const frame = await this.frame();
      if (frame.opcode === 10) pongs--;
      else if (frame.opcode > 2) throw new Error(`opcode ${frame.opcode} instead of an echo`);
      else [received, isWhole] = [received + frame.payload.byteLength, frame.final];
    }
    if (received !== payload.byteLength) throw new Error(`${received} bytes instead of ${payload.byteLength}`);
  }

  /** Sends small and large messages, and reads their echoes meanwhile. */
  async pile(random: Random, messages: number): Promise<void> {
    const sending = (async () => {
      for (let left = messages; left > 0; left--) {
        const payload = new Uint8Array(random.chance(0.1) ? random.below(70_000) : random.below(200));
        await this.#send(frameOf(2, payload));
        this.#echoed(1, payload.byteLength);
      }
    })();
    for (let left = messages; left > 0;) if ((await this.frame()).final) left--;
    await sending;
  }

  /** Sends a compressed message, and reads its echo. */
  async compressed(payload: Uint8Array, plainBytes: number): Promise<void> {
    await this.#send(frameOf(2, payload, { reserved: 0x40 }));
    this.#echoed(1, plainBytes);
    while (!(await this.frame()).final);
  }

  /** Sends a message that the server reads at once, and reads only the beginning of its echo. */
  async unread(length: number): Promise<void> {
    await this.#send(frameOf(2, new Uint8Array(length)));
    this.#echoed(1, length);
    const piece = new Uint8Array(1);
    await this.#open().read(piece);
    // Two bytes of the opcode and length, two of the length.
    this.counts.add("sent", 4 + length);
  }

  /** Closes with a code, 0 for none; waits for the answer and the end of TCP. */
  async close(code: number): Promise<void> {
    await this.#send(frameOf(8, code === 0 ? new Uint8Array(0) : Uint8Array.of(code >> 8, code & 255)));
    await this.#expect(8, code === 0 ? 0 : 2);
    await this.toEnd();
    this.ended(`${code === 0 ? 1005 : code >= 4000 ? "4xxx" : code > 3000 ? "3xxx" : code} peer`);
  }

  /** Waits for the end of TCP, without a byte before it. */
  async toEnd(): Promise<void> {
    const piece = this.#rest.byteLength > 0 ? this.#rest : await this.#read();
    if (piece !== undefined) throw new Error(`${piece.byteLength} bytes after the end`);
  }

  /** Reads a frame. */
  async frame(): Promise<Frame> {
    const [first = 0, second = 0] = await this.#take(2);
    let [length, head] = [second & 127, 2];
    if (length >= 126) {
      const size = await this.#take(length === 126 ? 2 : 8);
      head += size.byteLength;
      length = size.reduce((sum, byte) => sum * 256 + byte, 0);
    }
    const payload = await this.#take(length);
    this.counts.add("sent", head + length);
    return { opcode: first & 15, final: first >= 128, payload };
  }

  #open(): Deno.Conn {
    if (this.#conn === undefined) throw new Error("There is no connection");
    return this.#conn;
  }

  #upgraded(status: number): void {
    if (status === 503) throw new Refused();
    if (status !== 101) throw new Error(`status ${status}`);
    this.counts.add("accepted", 1);
  }

  #echoed(messages: number, bytes: number): void {
    this.counts.add("messages", messages);
    this.counts.add("bytes", bytes);
  }

  async #expect(opcode: number, length: number): Promise<void> {
    const frame = await this.frame();
    if (frame.opcode === opcode && frame.payload.byteLength === length) return;
    throw new Error(`opcode ${frame.opcode} with ${frame.payload.byteLength} bytes, not ${opcode} with ${length}`);
  }

  async #send(bytes: Uint8Array, random?: Random): Promise<void> {
    this.counts.add("received", bytes.byteLength);
    await this.#cut(random, bytes);
  }

  /** Writes bytes in random pieces, the head in single bytes at times. */
  async #cut(random: Random | undefined, bytes: Uint8Array): Promise<void> {
    let at = 0;
    for (let cuts = random?.chance(0.1) ? 20 : random?.below(3) ?? 0; cuts > 0; cuts--) {
      const end = at + (random?.below(Math.min(200, bytes.byteLength - at + 1)) ?? 0);
      await this.raw(bytes.subarray(at, end));
      at = end;
    }
    await this.raw(bytes.subarray(at));
  }

  async #head(): Promise<string> {
    let text = "";
    while (true) {
      const end = text.indexOf("\r\n\r\n");
      if (end !== -1) {
        this.#rest = this.#rest.slice(end + 4);
        return text.slice(0, end);
      }
      await this.#more();
      text = String.fromCharCode(...this.#rest);
    }
  }

  async #take(length: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#rest.byteLength < length) await this.#more();
    const taken = this.#rest.slice(0, length);
    this.#rest = this.#rest.slice(length);
    return taken;
  }

  async #more(): Promise<void> {
    const piece = await this.#read();
    if (piece === undefined) throw new Error("Unexpected EOF");
    const joined = new Uint8Array(this.#rest.byteLength + piece.byteLength);
    joined.set(this.#rest);
    joined.set(piece, this.#rest.byteLength);
    this.#rest = joined;
  }

  async #read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const buffer = new Uint8Array(16_384);
    const count = await this.#open().read(buffer);
    return count === null ? undefined : buffer.slice(0, count);
  }
}
