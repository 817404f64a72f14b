/** The close record of the echo server, over both transports; it marks facts that the runtime's WebSocket hides. */

import { assert, assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { serveEcho, type ServeEchoOptions } from "../../lib/server/serve.ts";
import type { EchoClosed } from "../../lib/server/policy.ts";
import type { TransportName } from "../../lib/connection/connection.ts";
import { BINARY, CLOSE, rawClient, type RawSocket, TEXT } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const WAIT = { timeoutMs: 60_000 };
const TOO_LONG = { maxMessageBytes: 1 };
const REFUSAL = { code: 1009, reason: "at most 1 bytes" };

/** The server's event for the end of a connection, after a peer's action. */
async function endAfter(
  transport: TransportName,
  options: ServeEchoOptions,
  act: (peer: RawSocket) => Promise<void>,
): Promise<EchoClosed> {
  const closed = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: { type: string } | EchoClosed) => "tcp" in event && closed.resolve(event);
  const server = serveEcho({ transport, port: 0, onEvent, ...options });
  const peer = await rawClient(server.url);
  try {
    await act(peer);
    return await within(closed.promise, "end", WAIT);
  } finally {
    peer.close();
    await server.shutdown();
  }
}

/** Makes the server close with 1009, and reads its close frame. */
async function provoke(peer: RawSocket): Promise<void> {
  await peer.frame(TEXT, "too long");
  assertEquals((await within(peer.readFrame(), "close frame", WAIT)).opcode, CLOSE);
}

testBoth("EchoClosed has both close frames, and the peer as initiator", async (transport) => {
  const { sent, received, initiator, end, tcp } = await endAfter(
    transport,
    {},
    (peer) => peer.frame(CLOSE, Uint8Array.of(0x0f, 0xa0, 0x62)),
  );
  const frame = { code: 4000, reason: "b" };
  assertEquals([sent, received, initiator, end], [frame, frame, "peer", "close-frame"]);
  assertEquals(tcp, transport === "wire" ? "local" : "not-known");
});

testBoth("EchoClosed has the server as initiator, when the peer answers with the same code", async (transport) => {
  const { sent, received, initiator, end } = await endAfter(transport, TOO_LONG, async (peer) => {
    await provoke(peer);
    await peer.frame(CLOSE, Uint8Array.of(0x03, 0xf1));
  });
  assertEquals([sent, received, initiator, end], [REFUSAL, { code: 1009, reason: "" }, "local", "close-frame"]);
});

testBoth("EchoClosed does not know over builtin who began, when the peer's code is another", async (transport) => {
  const { sent, received, initiator, end } = await endAfter(transport, TOO_LONG, async (peer) => {
    await provoke(peer);
    await peer.frame(CLOSE, Uint8Array.of(0x03, 0xe8));
  });
  assertEquals([sent, received, end], [REFUSAL, { code: 1000, reason: "" }, "close-frame"]);
  assertEquals(initiator, transport === "wire" ? "local" : "not-known");
});

testBoth("EchoClosed over builtin leaves open what a peer did that did not answer with a code", async (transport) => {
  const { received, initiator, end } = await endAfter(transport, TOO_LONG, async (peer) => {
    await provoke(peer);
    await peer.frame(CLOSE);
  });
  assertEquals([received, initiator, end], [
    transport === "wire" ? { code: 1005, reason: "" } : null,
    "local",
    transport === "wire" ? "close-frame" : "not-known",
  ]);
});

testBoth("EchoClosed says that a peer vanished without a close frame", async (transport) => {
  const { sent, received, initiator, end, tcp } = await endAfter(transport, {}, async (peer) => {
    await peer.frame(BINARY, "x");
    await within(peer.readFrame(), "echo", WAIT);
    peer.close();
  });
  assertEquals([sent, received, initiator, end], [null, null, null, "no-close-frame"]);
  assert(transport === "wire" ? tcp === "peer" || tcp === "reset" : tcp === "not-known", tcp);
});

testBoth("EchoClosed says that a peer did not answer in time", async (transport) => {
  const { sent, received, initiator, end, detail } = await endAfter(transport, TOO_LONG, provoke);
  assertEquals([sent, received, initiator, end, detail], [
    REFUSAL,
    null,
    "local",
    "no-answer",
    "No answer to the close frame",
  ]);
});

for (
  const [what, opcode, firstByte, payload, known] of [
    ["a text message", TEXT, 0, "Hel", { kind: "text", bytes: 3 }],
    ["a binary message", BINARY, 0, "Hel", { kind: "binary", bytes: 3 }],
    ["no message", BINARY, 0x80, "Hel", null],
  ] as const
) {
  testBoth(`EchoClosed has, where the transport can tell, that the peer ended inside ${what}`, async (transport) => {
    const { incomplete } = await endAfter(transport, {}, async (peer) => {
      await peer.frame(opcode, payload, firstByte);
      await peer.closeWrite();
    });
    assertEquals(incomplete, transport === "wire" ? known : "not-known");
  });
}

Deno.test("EchoClosed over wire does not count the bytes of a relayed frame", async () => {
  const { incomplete } = await endAfter("wire", {}, async (peer) => {
    await peer.write(Uint8Array.of(0x82, 0x85, 0, 0, 0, 0, 0x48));
    await peer.closeWrite();
  });
  assertEquals(incomplete, "not-known");
});
