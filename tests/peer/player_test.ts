/** A player over a transport in memory: its output in either role, and its record of the other side. */

import { assert, assertEquals } from "@std/assert";
import { Player } from "../../lib/peer/player.ts";
import { RawReader, type SeenFrame } from "../../lib/peer/raw_reader.ts";
import type { RawTransport } from "../../lib/peer/transport.ts";
import { encodeFrame, OPCODE } from "../../lib/protocol/frame.ts";

/** The other side, played by a test. */
class Pipe implements RawTransport {
  readonly written: Uint8Array[] = [];
  readonly #incoming: (Uint8Array | null)[] = [];
  #wake = () => {};
  onWrite: (bytes: Uint8Array) => void = () => {};

  give(...pieces: (Uint8Array | null)[]): void {
    this.#incoming.push(...pieces);
    this.#wake();
  }

  async read(into: Uint8Array): Promise<number | null> {
    while (this.#incoming.length === 0) await new Promise<void>((resolve) => this.#wake = resolve);
    const piece = this.#incoming.shift();
    if (piece === null || piece === undefined) return null;
    into.set(piece);
    return piece.byteLength;
  }

  write(bytes: Uint8Array): Promise<void> {
    this.written.push(bytes.slice());
    this.onWrite(bytes);
    return Promise.resolve();
  }

  closeWrite(): Promise<void> {
    return Promise.resolve();
  }

  isClosed = false;

  close(): void {
    this.isClosed = true;
    this.give(null);
  }

  /** The written frames. */
  get frames(): SeenFrame[] {
    const frames: SeenFrame[] = [];
    const reader = new RawReader((frame) => frames.push(frame));
    for (const bytes of this.written) reader.push(bytes);
    return frames;
  }
}

const HI = new TextEncoder().encode("hi");
const TEXT = { opcode: OPCODE.text, payload: HI };

for (const [role, isMasked] of [["client", true], ["server", false]] as const) {
  Deno.test(`Player masks ${isMasked ? "every frame" : "no frame"}, when it plays the ${role}`, async () => {
    const pipe = new Pipe();
    const player = new Player(pipe, { role, silenceMs: 60_000 });
    await player.play([{ do: "send", frames: [TEXT, { ...TEXT, isWronglyMasked: true }] }]);
    assertEquals(pipe.frames.map((frame) => [frame.isMasked, frame.payload]), [[isMasked, HI], [!isMasked, HI]]);
  });

  Deno.test(`Player sends a frame in parts under one mask, when it plays the ${role}`, async () => {
    const pipe = new Pipe();
    const player = new Player(pipe, { role, silenceMs: 60_000 });
    await player.play([{ do: "send-part", frame: TEXT, from: 0, to: 1 }, { do: "send-part", frame: TEXT, from: 1 }]);
    assertEquals(pipe.written.map(({ byteLength }) => byteLength), [isMasked ? 7 : 3, 1]);
    assertEquals(pipe.frames.map(({ payload }) => payload), [HI]);
  });
}

Deno.test("Player cuts what it sends into writes, or only its first bytes", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "server", silenceMs: 60_000 });
  await player.play([
    { do: "send", frames: [TEXT], chopBytes: 3 },
    { do: "send", frames: [TEXT], chopBytes: 1, choppedBytes: 2 },
  ]);
  assertEquals(pipe.written.map(({ byteLength }) => byteLength), [3, 1, 1, 1, 2]);
});

Deno.test("Player stops at a close frame of the other side, answers it, and records the step", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "client", silenceMs: 60_000 });
  player.begin(new Uint8Array(0));
  pipe.onWrite = () => {
    if (pipe.written.length === 2) pipe.give(encodeFrame(OPCODE.close, Uint8Array.of(0x03, 0xea)));
    if (pipe.written.length === 3) pipe.give(null);
  };
  const ping = { do: "send", frames: [{ opcode: OPCODE.ping, payload: HI }] } as const;
  await player.play([ping, ping, { do: "settle", ms: 60_000 }, ping]);
  await player.finish(1000);
  const seen = player.seen();
  // The end comes during the second ping, or right after.
  assert(seen.endStep === 1 || seen.endStep === 2, `${seen.endStep}`);
  assertEquals([seen.end, seen.sentClose, seen.isLate], ["fin", 1002, false]);
  assertEquals(pipe.frames.map(({ opcode }) => opcode), [OPCODE.ping, OPCODE.ping, OPCODE.close]);
});

Deno.test("Player asks with a ping whether the other side continues, when no failure comes", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "client", silenceMs: 60_000 });
  player.begin(new Uint8Array(0));
  pipe.onWrite = () => {
    const last = pipe.frames.at(-1);
    if (last?.opcode === OPCODE.ping) pipe.give(encodeFrame(OPCODE.pong, last.payload));
    if (last?.opcode === OPCODE.close) pipe.give(encodeFrame(OPCODE.close, last.payload), null);
  };
  await player.play([{ do: "send", frames: [{ opcode: 3, payload: HI }] }]);
  await player.awaitFailure();
  assertEquals([player.seen().wentOn, player.seen().end], [true, "fin"]);
});

Deno.test("Player says that the other side is late, when nothing comes for the silence", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "client", silenceMs: 20 });
  player.begin(new Uint8Array(0));
  await player.play([{ do: "await", pongs: 1 }]);
  assertEquals([player.seen().isLate, player.seen().end, player.seen().endStep], [true, "none", Infinity]);
  pipe.close();
});

Deno.test("Player writes nothing after the end of its half, and claims no close frame", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "server", silenceMs: 60_000 });
  player.begin(new Uint8Array(0));
  await player.play([{ do: "half-close" }]);
  const finished = player.finish(1000);
  pipe.give(encodeFrame(OPCODE.text, HI), null);
  await finished;
  const { frames, sentClose, end, wire } = player.seen();
  assertEquals([pipe.written.length, frames.length, sentClose, end, wire.length], [0, 1, null, "fin", 1]);
});

Deno.test("Player does not record the end as the other side's own, when it follows ours", async () => {
  const pipe = new Pipe();
  let isEnded = false;
  pipe.closeWrite = () => {
    isEnded = true;
    pipe.give(null);
    return Promise.resolve();
  };
  const player = new Player(pipe, { role: "server", silenceMs: 20 });
  player.begin(new Uint8Array(0));
  await player.play([{ do: "send", frames: [{ opcode: 3, payload: HI }] }]);
  await player.awaitFailure();
  assertEquals([player.seen().end, isEnded], ["none", false]);
  pipe.close();
});

Deno.test("Player closes the connection of a peer that sends too much, and waits for nothing more", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "client", silenceMs: 60_000 });
  player.begin(new Uint8Array(0));
  const waiting = player.play([{ do: "await", messages: 1 }]).then(() => player.finish(1000));
  // A frame of 1 TiB begins.
  pipe.give(Uint8Array.of(0x82, 127, 0, 0, 1, 0, 0, 0, 0, 0));
  await waiting;
  assertEquals([player.seen().isTooLong, player.seen().end, pipe.isClosed], [true, "none", true]);
});

Deno.test("Player.stop() ends a wait", async () => {
  const pipe = new Pipe();
  const player = new Player(pipe, { role: "client", silenceMs: 60_000 });
  player.begin(new Uint8Array(0));
  const waiting = player.play([{ do: "await", messages: 1 }]);
  player.stop();
  await waiting;
  pipe.close();
});
