/** Control frames at the lab, and frames around a close frame (RFC 6455 sections 5.5 and 7). */

import { assertEquals, assertMatch } from "@std/assert";
import { encodeFrame, OPCODE } from "../../lib/protocol/frame.ts";
import { concatBytes } from "../../lib/protocol/message.ts";
import { startLab } from "../support/lab.ts";
import { CLOSE, rawClient } from "../support/raw_peer.ts";

const NORMAL = Uint8Array.of(0x03, 0xe8);
const CLOSED = "880203e8";
const BROKEN = { unmasked: Uint8Array.of(0x81, 0x01, 0x61), continuation: masked(0, "a") };

/** A client's frame on the wire. */
function masked(opcode: number, payload: string | Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  return encodeFrame(opcode, bytes, { maskingKey: Uint8Array.of(1, 2, 3, 4) });
}

function joined(...frames: readonly Uint8Array[]): Uint8Array {
  return concatBytes(frames);
}

Deno.test("lab answers a ping that comes after its close frame and before the client's", async () => {
  await using lab = await startLab();
  const socket = await rawClient(`${lab.url}close/1001`);
  assertEquals((await socket.readBytes(4)).toHex(), "880203e9");
  await socket.write(masked(OPCODE.ping, "x"));
  assertEquals((await socket.readBytes(3)).toHex(), "8a0178");
  await socket.frame(CLOSE, NORMAL);
  assertEquals((await socket.readToEnd()).byteLength, 0);
  await socket.closeWrite();
  assertEquals((await lab.closed).detail, "");
  socket.close();
});

for (const [where, path] of [["at /", ""], ["at /mute", "mute"], ["that it answers late", "late-close/1"]] as const) {
  Deno.test(`lab ignores ping, pong and a second close after the close frame of a client ${where}`, async () => {
    await using lab = await startLab();
    const socket = await rawClient(`${lab.url}${path}`);
    const second = masked(CLOSE, Uint8Array.of(0x03, 0xe9));
    await socket.write(joined(masked(CLOSE, NORMAL), masked(OPCODE.ping, "x"), masked(OPCODE.pong, "y"), second));
    assertEquals((await socket.readBytes(4)).toHex(), CLOSED);
    // After the answer, too.
    await socket.write(joined(masked(OPCODE.ping, "z"), second));
    await socket.closeWrite();
    assertEquals((await socket.readToEnd()).byteLength, 0);
    const { received, detail } = await lab.closed;
    assertEquals([received, detail], [{ code: 1000, reason: "" }, ""]);
    socket.close();
  });
}

Deno.test("lab answers ten pings in one write with ten pongs", async () => {
  await using lab = await startLab();
  const socket = await rawClient(lab.url);
  const digits = [..."0123456789"];
  await socket.write(joined(...digits.map((digit) => masked(OPCODE.ping, digit)), masked(CLOSE, NORMAL)));
  const pongs = digits.map((_, digit) => `8a013${digit}`).join("");
  assertEquals((await socket.readToEnd()).toHex(), pongs + CLOSED);
  socket.close();
});

for (const [what, breach] of Object.entries(BROKEN)) {
  Deno.test(`lab echoes a message that was complete before a breach (${what}) in the same write`, async () => {
    await using lab = await startLab();
    const socket = await rawClient(lab.url);
    await socket.write(joined(masked(OPCODE.text, "a"), masked(OPCODE.text, "b"), breach));
    const bytes = (await socket.readToEnd()).toHex();
    assertMatch(bytes, /^81016181016288..03ea/);
    await socket.closeWrite();
    const { messages, sent, detail } = await lab.closed;
    assertEquals([messages, sent?.code], [2, 1002]);
    assertMatch(detail, /^(Frame|Continuation) /);
    socket.close();
  });
}

for (const [what, breach] of Object.entries(BROKEN)) {
  Deno.test(`lab answers a close frame with a breach (${what}) behind it, and reports the breach`, async () => {
    await using lab = await startLab();
    const socket = await rawClient(lab.url);
    await socket.write(joined(masked(OPCODE.text, "a"), masked(CLOSE, NORMAL), breach));
    assertEquals((await socket.readToEnd()).toHex(), "810161" + CLOSED);
    await socket.closeWrite();
    const { received, detail } = await lab.closed;
    assertEquals(received, { code: 1000, reason: "" });
    assertMatch(detail, /^(Frame|Bytes) /);
    socket.close();
  });
}

Deno.test("lab at /echo/1 fails a breach that comes before the close frame of a client, and does not answer that", async () => {
  await using lab = await startLab();
  const socket = await rawClient(`${lab.url}echo/1/answer-close/4000`);
  await socket.write(joined(masked(OPCODE.text, "a"), BROKEN.continuation, masked(CLOSE, NORMAL)));
  assertMatch((await socket.readToEnd()).toHex(), /^81016188..03ea/);
  await socket.closeWrite();
  const { received, sent } = await lab.closed;
  assertEquals([received, sent?.code], [null, 1002]);
  socket.close();
});
