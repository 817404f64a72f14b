/** The closing handshake of the server over our own frames: traffic around the close frames of both sides. */

import { assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { OPCODE } from "../../lib/protocol/frame.ts";
import type { RawSocket } from "../support/raw_peer.ts";
import { frame, joined, WAIT, type WireScene, wireScene } from "../support/wire.ts";

const close = (code: number) => frame(OPCODE.close, Uint8Array.of(code >> 8, code & 255));

/** Reads the next frame: its opcode, and its text, or its code and reason. */
async function next(socket: RawSocket): Promise<[opcode: number, content: string]> {
  const { opcode, payload } = await within(socket.readFrame(), "frame", WAIT);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (opcode !== OPCODE.close || payload.byteLength < 2) return [opcode, text(payload)];
  return [opcode, `${payload[0]! * 256 + payload[1]!} ${text(payload.subarray(2))}`.trimEnd()];
}

async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}

async function endOf(scene: WireScene) {
  const [told] = await scene.untilTold(1);
  if (told?.type !== "end") throw new Error("No end was told");
  return told.end;
}

for (
  const [what, behind] of [
    ["a ping", frame(OPCODE.ping, "?")],
    ["a pong", frame(OPCODE.pong)],
    ["a second close frame", close(1001)],
    ["all of them", joined(frame(OPCODE.ping), frame(OPCODE.pong), close(4000), frame(OPCODE.ping, "x"))],
  ] as const
) {
  for (const isSameWrite of [true, false]) {
    const when = isSameWrite ? "in the same write" : "once it was answered";
    Deno.test(`WireEcho ignores ${what} after the peer's close frame, ${when}`, async () => {
      await using scene = wireScene();
      const socket = await scene.connect();
      await socket.write(isSameWrite ? joined(close(1000), behind) : close(1000));
      assertEquals(await next(socket), [OPCODE.close, "1000"]);
      if (!isSameWrite) await socket.write(behind);
      await untilEnd(socket);
      const { received, end, initiator } = await endOf(scene);
      assertEquals([received, end, initiator], [{ code: 1000, reason: "" }, "close-frame", "peer"]);
    });
  }
}

Deno.test("WireEcho answers pings after its 1001, and not the messages, until the peer's close frame comes", async () => {
  await using scene = wireScene();
  const socket = await scene.connect();
  scene.server.closeAll(1001, "going");
  assertEquals(await next(socket), [OPCODE.close, "1001 going"]);
  await socket.write(joined(frame(OPCODE.ping, "one"), frame(OPCODE.text, "unread"), frame(OPCODE.ping, "two")));
  assertEquals(await next(socket), [OPCODE.pong, "one"]);
  assertEquals(await next(socket), [OPCODE.pong, "two"]);
  await socket.write(joined(close(1001), frame(OPCODE.ping, "late")));
  await untilEnd(socket);
  const { messages, received, sent, initiator } = await endOf(scene);
  assertEquals([messages, received?.code, sent?.code, initiator], [0, 1001, 1001, "local"]);
});

Deno.test("WireEcho charges the pings after its 1001 to the rate", async () => {
  await using scene = wireScene({ rate: { messagesPerSecond: 2, bytesPerSecond: Infinity } });
  const socket = await scene.connect();
  scene.server.closeAll(1001, "");
  assertEquals(await next(socket), [OPCODE.close, "1001"]);
  await socket.write(joined(...["a", "b", "c", "d"].map((payload) => frame(OPCODE.ping, payload)), close(1001)));
  assertEquals([await next(socket), await next(socket)], [[OPCODE.pong, "a"], [OPCODE.pong, "b"]]);
  await untilEnd(socket);
  assertEquals((await endOf(scene)).received?.code, 1001);
});

for (
  const [what, wrong, code, options] of [
    ["1009", frame(OPCODE.text, "too long"), 1009, { maxMessageBytes: 4 }],
    ["1008", joined(frame(OPCODE.text, "a"), frame(OPCODE.text, "b")), 1008, {
      rate: { messagesPerSecond: 1, bytesPerSecond: Infinity },
    }],
  ] as const
) {
  Deno.test(`WireEcho does not answer pings once it has refused the peer with ${what}`, async () => {
    await using scene = wireScene(options);
    const socket = await scene.connect();
    await socket.write(wrong);
    let answer = await next(socket);
    while (answer[0] !== OPCODE.close) answer = await next(socket);
    await socket.write(joined(frame(OPCODE.ping, "?"), close(code)));
    assertEquals(await within(socket.readToEnd(), "end of TCP", WAIT), new Uint8Array(0));
    assertEquals((await endOf(scene)).received?.code, code);
  });
}

Deno.test("WireEcho answers ten pings of one write with ten pongs, in order", async () => {
  await using scene = wireScene();
  const socket = await scene.connect();
  const names = Array.from({ length: 10 }, (_, index) => `ping ${index}`);
  await socket.write(joined(...names.map((name) => frame(OPCODE.ping, name))));
  const pongs = [];
  for (const _ of names) pongs.push(await next(socket));
  assertEquals(pongs, names.map((name) => [OPCODE.pong, name]));
});

for (const opcode of [OPCODE.text, OPCODE.binary]) {
  const kind = opcode === OPCODE.text ? "text" : "binary";
  Deno.test(`WireEcho echoes a ${kind} message that is complete before a violation, and then closes`, async () => {
    await using scene = wireScene();
    const socket = await scene.connect();
    await socket.write(joined(frame(opcode, "whole"), Uint8Array.of(0xff, 0xff)));
    assertEquals(await next(socket), [opcode, "whole"]);
    assertEquals(await next(socket), [OPCODE.close, "1002 Frame has a reserved bit set"]);
    await untilEnd(socket);
    const { messages, end, sent, detail } = await endOf(scene);
    assertEquals([messages, end, sent?.code, detail], [1, "protocol-error", 1002, "Frame has a reserved bit set"]);
  });
}

for (
  const [what, begun, code, options] of [
    ["1009", frame(OPCODE.binary, new Uint8Array(5000)).subarray(0, 100), 1009, { maxMessageBytes: 4 }],
    ["1007", frame(OPCODE.text, new Uint8Array(5000).fill(0xff)).subarray(0, 100), 1007, {}],
  ] as const
) {
  Deno.test(`WireEcho finds the answer to its ${what} inside the frame that the peer had begun`, async () => {
    await using scene = wireScene(options);
    const socket = await scene.connect();
    await socket.write(begun);
    const [opcode, content] = await next(socket);
    assertEquals([opcode, content.slice(0, 4)], [OPCODE.close, `${code}`]);
    await socket.write(close(code));
    await untilEnd(socket);
    // Without a visible answer, the peer would be dropped after 2 s.
    const { received } = await endOf(scene);
    assertEquals(received, { code, reason: "" });
  });
}

Deno.test("WireEcho says that the peer did not answer its close frame", async () => {
  await using scene = wireScene({ maxMessageBytes: 1 });
  const socket = await scene.connect();
  await socket.write(frame(OPCODE.text, "too long"));
  assertEquals(await next(socket), [OPCODE.close, "1009 at most 1 bytes"]);
  const { end, tcp, initiator, received } = await endOf(scene);
  assertEquals([end, tcp, initiator, received], ["no-answer", "local", "local", null]);
});

Deno.test("WireEcho says that the peer ended TCP without a close frame", async () => {
  await using scene = wireScene();
  const socket = await scene.connect();
  await socket.closeWrite();
  const { end, tcp, initiator, detail } = await endOf(scene);
  assertEquals([end, tcp, initiator, detail], ["no-close-frame", "peer", null, "Unexpected EOF"]);
});
