/** The raw peer over a socket: reads strictly, and writes frames in any shape. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { createServer } from "node:net";
import { encodeRawFrame, type RawFrame } from "../../lib/peer/frame.ts";
import { closePayload } from "../../lib/peer/frame.ts";
import { RawPeer } from "../../lib/peer/peer.ts";
import { RawSocket } from "../../lib/peer/socket.ts";
import { within } from "../../lib/net/deadline.ts";
import { MessageDeflate } from "../../lib/net/zlib.ts";
import type { MessageInflater } from "../../lib/protocol/endpoint_handler.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";
import { encodeFrame, OPCODE, RSV1 } from "../../lib/protocol/frame.ts";
import { concatBytes } from "../../lib/protocol/message.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const MIB = 1024 * 1024;
const NORMAL = Uint8Array.of(0x03, 0xe8);

/** A client's frame on the wire. */
function masked(opcode: number, payload: string | Uint8Array): Uint8Array {
  const bytes = typeof payload === "string" ? utf8(payload) : payload;
  return encodeFrame(opcode, bytes, { maskingKey: Uint8Array.of(1, 2, 3, 4) });
}

/** Runs a script with a raw peer that receives all frames in one write; returns the peer's output in hexadecimal. */
async function run(
  frames: readonly Uint8Array[],
  script: (peer: RawPeer) => Promise<void>,
  inflater?: MessageInflater,
): Promise<string> {
  const ended = Promise.withResolvers<void>();
  const server = createServer({ allowHalfOpen: true }, (accepted) => {
    const peer = new RawPeer(new RawSocket(accepted), undefined, inflater);
    script(peer).then(() => peer.socket.end()).then(ended.resolve, (error) => {
      peer.socket.close();
      ended.reject(error);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const bytes = concatBytes(frames);
  for (let at = 0; at < bytes.byteLength;) at += await connection.write(bytes.subarray(at));
  const done = Promise.all([new Response(connection.readable).bytes(), ended.promise]);
  const [written] = await within(done, "script", { timeoutMs: 60_000 });
  await new Promise((resolve) => server.close(resolve));
  return written.toHex();
}

for (
  const [what, frame, bytes] of [
    ["an opcode that is not defined", { opcode: 3, payload: utf8("a") }, "830161"],
    ["reserved bits and no end", { opcode: 1, payload: utf8("a"), reserved: 7, final: false }, "710161"],
    ["a length in more bytes than needed", { opcode: 2, payload: utf8("a"), isLengthened: true }, "827e000161"],
    ["a control frame that is too long", { opcode: 9, payload: new Uint8Array(126) }, `897e007e${"00".repeat(126)}`],
  ] as const satisfies readonly (readonly [string, RawFrame, string])[]
) {
  Deno.test(`RawPeer.sendFrames() writes ${what}`, async () => {
    assertEquals(await run([], (peer) => peer.sendFrames([frame])), bytes);
  });
}

Deno.test("RawPeer.receive() inflates 4 KiB of a read at a time, so that it never holds a thousand times a read", async () => {
  const direction = { takeover: true, windowBits: 15 };
  const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: MIB });
  const bytes = new Uint8Array(MIB).fill(0x61);
  const key = { maskingKey: Uint8Array.of(1, 2, 3, 4), reserved: RSV1 };
  const frames = Array.from({ length: 40 }, () => encodeFrame(OPCODE.text, codec.deflateWhole(bytes), key));
  await run([...frames, masked(OPCODE.close, NORMAL)], async (peer) => {
    let messages = 0;
    for (let message = await peer.receive(); message; message = await peer.receive()) {
      assertEquals(message.payload.byteLength, MIB);
      assert(peer.pendingBytes <= 6 * MIB, `${peer.pendingBytes} bytes are pending`);
      messages++;
    }
    assertEquals(messages, 40);
  }, codec);
  codec.release();
});

Deno.test("encodeRawFrame() masks a long frame piece by piece, with one key", () => {
  const payload = crypto.getRandomValues(new Uint8Array(60_000)).slice();
  const frame: RawFrame = { opcode: 2, payload: new Uint8Array(200_000).fill(7), isMasked: true };
  frame.payload.set(payload);
  const [header = new Uint8Array(), ...pieces] = encodeRawFrame(frame);
  const key = header.slice(-4);
  const bytes = concatBytes(pieces, 200_000).map((byte, at) => byte ^ (key[at & 3] ?? 0));
  assertEquals([pieces.length, bytes.toHex() === frame.payload.toHex()], [4, true]);
});

Deno.test("RawPeer.sendHalf() writes the first half of a frame", async () => {
  assertEquals(await run([], (peer) => peer.sendHalf({ opcode: 1, payload: utf8("Hello") })), "81054865");
});

Deno.test("RawPeer says which close frame would be right, and sends another", async () => {
  const written = await run([masked(OPCODE.close, NORMAL)], async (peer) => {
    assertEquals(await peer.receive(), undefined);
    assertEquals(peer.answer, NORMAL);
    await peer.sendClose(closePayload(1005, ""));
    const { sent, received, initiator, end } = peer.closeRecord("");
    assertEquals([sent?.code, received?.code, initiator, end], [1005, 1000, "peer", "close-frame"]);
  });
  assertEquals(written, "880203ed");
});

Deno.test("RawPeer.receive() returns the messages before a breach, then throws it, and ignores the close frame after it", async () => {
  const frames = [masked(OPCODE.text, "a"), masked(OPCODE.continuation, "b"), masked(OPCODE.close, NORMAL)];
  await run(frames, async (peer) => {
    assertEquals(await peer.receive(), { kind: "text", payload: utf8("a") });
    await assertRejects(() => peer.receive(), ProtocolError, "Continuation came without a message");
    assertEquals([peer.received, peer.answer.slice(0, 2).toHex()], [null, "03ea"]);
    assertEquals(peer.closeRecord("").end, "protocol-error");
  });
});

Deno.test("RawPeer reads nothing until it needs a message, then answers pings", async () => {
  const frames = [masked(OPCODE.ping, "x"), masked(OPCODE.binary, "a"), masked(OPCODE.ping, "y")];
  const written = await run(frames, async (peer) => {
    await peer.sendFrames([{ opcode: OPCODE.text, payload: utf8("b") }]);
    assertEquals(await peer.receive(), { kind: "binary", payload: utf8("a") });
  });
  assertEquals(written, "810162" + "8a0178" + "8a0179");
});
