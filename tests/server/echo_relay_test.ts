/** The echo without its socket: bytes in, outgoing parts out. */

import { assertEquals } from "@std/assert";
import { encodeFrame, OPCODE } from "../../lib/protocol/frame.ts";
import { coalesce, EchoBuffer } from "../../lib/server/echo_buffer.ts";
import { EchoRelay } from "../../lib/server/echo_relay.ts";
import { Guard } from "../../lib/server/guard.ts";
import { frame, joined } from "../support/wire.ts";

function scene() {
  const holder = { heldBytes: () => 0, shed: () => false };
  const guard = new Guard(holder, { idleTimeoutMs: 0, pings: true }, 0);
  const buffer = new EchoBuffer();
  buffer.resize(4096);
  const relay = new EchoRelay({ maxMessageBytes: 1024, guard, buffer, holder });
  /** Takes one read; returns all output for it. */
  const read = (bytes: Uint8Array): Uint8Array => {
    buffer.room.set(bytes);
    relay.endpoint.receive(buffer.begin(bytes.byteLength));
    return out();
  };
  const out = (): Uint8Array => {
    const queue = buffer.takeQueue();
    const bytes = joined(...coalesce(queue));
    buffer.forget(queue);
    return bytes;
  };
  return { relay, buffer, read, out };
}

const said = (opcode: number, text: string) => encodeFrame(opcode, new TextEncoder().encode(text));

Deno.test("EchoRelay() keeps the order of echoes, pongs and the answering close frame of one read", () => {
  const { relay, read } = scene();
  const frames = [[OPCODE.text, "a"], [OPCODE.ping, "b"], [OPCODE.binary, "c"]] as const;
  const bytes = read(joined(...frames.map(([opcode, text]) => frame(opcode, text))));
  assertEquals(bytes, joined(said(OPCODE.text, "a"), said(OPCODE.pong, "b"), said(OPCODE.binary, "c")));
  const close = Uint8Array.of(0x03, 0xe8);
  assertEquals(
    read(joined(frame(OPCODE.text, "d"), frame(OPCODE.close, close))),
    joined(
      said(OPCODE.text, "d"),
      encodeFrame(OPCODE.close, close),
    ),
  );
  assertEquals([relay.messages, relay.bytes, relay.closed?.initiator], [3, 3, "peer"]);
});

Deno.test("EchoRelay() holds its close frame back until the frame that it echoes has ended", () => {
  const { relay, read, out } = scene();
  const whole = frame(OPCODE.binary, "0123456789");
  const first = read(whole.subarray(0, 10));
  relay.endpoint.close(1001);
  assertEquals([relay.isInsideFrame, out().byteLength], [true, 0]);
  const rest = read(joined(whole.subarray(10), frame(OPCODE.text, "unread"), frame(OPCODE.ping, "?")));
  assertEquals(
    joined(first, rest),
    joined(
      said(OPCODE.binary, "0123456789"),
      encodeFrame(OPCODE.close, Uint8Array.of(0x03, 0xe9)),
      said(OPCODE.pong, "?"),
    ),
  );
  assertEquals([relay.messages, relay.bytes], [1, 10]);
});

Deno.test("EchoRelay() echoes text of two reads as one frame, once it is complete", () => {
  const { relay, read, buffer } = scene();
  assertEquals(read(frame(OPCODE.text, "é€", { final: false })).byteLength, 0);
  assertEquals(read(frame(OPCODE.continuation, "😀")), said(OPCODE.text, "é€😀"));
  assertEquals([relay.messages, relay.bytes, relay.endpoint.heldBytes, buffer.heldBytes], [1, 9, 0, 0]);
});

Deno.test("EchoRelay() refuses a message over the limit, which is not an error of the peer", () => {
  const { relay, read } = scene();
  read(frame(OPCODE.binary, new Uint8Array(1025)));
  assertEquals(relay.endpoint.sent, { code: 1009, reason: "at most 1024 bytes" });
  read(frame(OPCODE.close, Uint8Array.of(0x03, 0xf1)));
  assertEquals([relay.closed?.end, relay.closed?.detail], ["close-frame", ""]);
});
