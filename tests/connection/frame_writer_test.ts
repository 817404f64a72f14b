/** The writing half of a connection over our own frames, over a connection whose writes the test holds. */

import { assertEquals } from "@std/assert";
import { FrameWriter } from "../../lib/connection/frame_writer.ts";
import { within } from "../../lib/net/deadline.ts";
import { FrameDecoder, OPCODE } from "../../lib/protocol/frame.ts";

const WAIT = { timeoutMs: 60_000 };

/** A connection that records the frames written, each once `held` has resolved; a failing one takes none. */
class Recorder {
  readonly frames: [opcode: number, payload: string][] = [];
  held: Promise<unknown> = Promise.resolve();
  isFailing = false;
  readonly #decoder = new FrameDecoder("client", {
    onHeader: ({ opcode }) => this.frames.push([opcode, ""]),
    onData: (_, payload) => this.#add(payload),
    onControl: (_, payload) => this.#add(payload),
  });

  #add(payload: Uint8Array): void {
    const last = this.frames.at(-1);
    if (last) last[1] += new TextDecoder().decode(payload);
  }

  async write(bytes: Uint8Array): Promise<number> {
    await this.held;
    if (this.isFailing) throw new Deno.errors.BrokenPipe("Broken pipe");
    this.#decoder.push(bytes.slice());
    return bytes.byteLength;
  }
}

function frame(opcode: number, text: string) {
  return { opcode, payload: new TextEncoder().encode(text), final: true, reserved: 0 };
}

function setUp(onBroken: () => Promise<unknown> = () => Promise.resolve()) {
  const tcp = new Recorder();
  const traced: number[] = [];
  const writer = new FrameWriter(tcp, { onFrame: ({ opcode }) => traced.push(opcode), onBroken });
  return { tcp, traced, writer };
}

Deno.test("FrameWriter writes masked frames in order, and counts the data among them", async () => {
  const { tcp, traced, writer } = setUp();
  writer.queue(frame(OPCODE.text, "one"));
  writer.queue(frame(OPCODE.ping, "two"));
  assertEquals(writer.queuedBytes, 2 * (3 + 512));
  await within(writer.written, "end of the queue", WAIT);
  assertEquals(tcp.frames, [[OPCODE.text, "one"], [OPCODE.ping, "two"]]);
  assertEquals([traced, writer.dataBytes, writer.queuedBytes], [[OPCODE.text, OPCODE.ping], 2 + 4 + 3, 0]);
});

Deno.test("FrameWriter keeps the payload of a control frame as it was, when the caller goes on with its memory", async () => {
  const { tcp, writer } = setUp();
  const hold = Promise.withResolvers<void>();
  tcp.held = hold.promise;
  writer.queue(frame(OPCODE.text, "first"));
  const [close, pong] = [frame(OPCODE.close, ""), frame(OPCODE.pong, "pong")];
  const code = { ...close, payload: Uint8Array.of(0x03, 0xe8, 0x6f) };
  writer.queue(pong);
  writer.queue(code);
  pong.payload.fill(0);
  code.payload.fill(0);
  hold.resolve();
  await within(writer.written, "end of the queue", WAIT);
  assertEquals(tcp.frames.map(([, payload]) => payload.slice(-1)), ["t", "g", "o"]);
});

Deno.test("FrameWriter drops what is queued, when it stops", async () => {
  const { tcp, writer } = setUp();
  const hold = Promise.withResolvers<void>();
  tcp.held = hold.promise;
  writer.queue(frame(OPCODE.text, "first"));
  writer.queue(frame(OPCODE.text, "second"));
  writer.queue(frame(OPCODE.pong, "third"));
  // The first write is under way by then.
  await Promise.resolve();
  writer.stop();
  hold.resolve();
  await within(writer.written, "end of the queue", WAIT);
  assertEquals([tcp.frames, writer.queuedBytes], [[[OPCODE.text, "first"]], 0]);
});

Deno.test("FrameWriter holds the frames behind a failed write until the connection has ended", async () => {
  const ended = Promise.withResolvers<void>();
  const broken = Promise.withResolvers<void>();
  const { tcp, writer } = setUp(() => {
    broken.resolve();
    return ended.promise;
  });
  tcp.isFailing = true;
  writer.queue(frame(OPCODE.text, "first"));
  writer.queue(frame(OPCODE.text, "second"));
  await within(broken.promise, "failed write", WAIT);
  assertEquals(writer.queuedBytes, 5 + 512 + 6 + 512);
  writer.stop();
  ended.resolve();
  await within(writer.written, "end of the queue", WAIT);
  assertEquals([tcp.frames, writer.queuedBytes], [[], 0]);
});
