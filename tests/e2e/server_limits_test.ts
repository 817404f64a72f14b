/** The limits of the server, through its command line, over both front doors. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { client, reportOf, serverProcess } from "../support/command.ts";
import { BINARY, CLOSE, rawClient, type RawSocket, TEXT } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";
import { assertProven, nextEvent } from "../support/server_events.ts";

testBoth("server --rate closes a peer that sends too many messages with 1008", async (transport) => {
  await using server = await serverProcess("-q", "--transport", transport, "--rate", "1");
  await assertProven(server.url);
  // More than one a second on any machine: under the limit these messages would take five minutes.
  const report = reportOf(await client(["--json", "-n", "300", server.url]));
  assertEquals([report.verdict, report.close.received], [
    "connection-lost",
    { code: 1008, reason: "at most 1 messages a second" },
  ]);
});

testBoth(
  "server --rate closes with 1008 who sends too many bytes, and not for one large message",
  async (transport) => {
    await using server = await serverProcess("-q", "--transport", transport, "--rate", ",1KiB");
    await assertProven("--size", "300KiB", server.url);
    const report = reportOf(await client(["--json", "-n", "2", "--size", "300KiB", server.url]));
    assertEquals([report.verdict, report.close.received], [
      "connection-lost",
      { code: 1008, reason: "at most 1024 bytes a second" },
    ]);
  },
);

async function sendUntilGone(socket: RawSocket, payload: Uint8Array): Promise<void> {
  try {
    while (true) await socket.frame(BINARY, payload);
  } catch {
    // Ended by the server or by the test.
  }
}

Deno.test("server --max-buffered closes a peer that does not read, and frees its memory (builtin)", async () => {
  await using server = await serverProcess("--log", "json", "--max-buffered", "1MiB");
  const socket = await rawClient(server.url);
  const sending = sendUntilGone(socket, new Uint8Array(256 * 1024));
  const closed = await nextEvent(server, "closed");
  assertEquals([closed.sent, closed.received, closed.error], [
    { code: 1008, reason: "not reading" },
    null,
    "Peer does not read",
  ]);
  socket.close();
  await sending;
  await assertProven(server.url);
});

Deno.test("server --max-buffered-total closes a peer that needs more than is left (builtin)", async () => {
  await using server = await serverProcess("--log", "json", "--max-buffered-total", "1MiB");
  const socket = await rawClient(server.url);
  const sending = sendUntilGone(socket, new Uint8Array(256 * 1024));
  assertEquals((await nextEvent(server, "closed")).sent, {
    code: 1013,
    reason: "too much pending data, try again later",
  });
  socket.close();
  await sending;
  await assertProven("--size", "512KiB", server.url);
});

Deno.test("server --max-buffered-total closes the one whose unfinished text is largest (wire)", async () => {
  await using server = await serverProcess("--transport", "wire", "--log", "json", "--max-buffered-total", "1MiB");
  const socket = await rawClient(server.url);
  // Endless text must be buffered; binary goes back piece by piece.
  await socket.frame(TEXT, new Uint8Array(300 * 1024).fill(97), 0);
  const other = await rawClient(server.url);
  await other.frame(TEXT, new Uint8Array(800 * 1024).fill(97), 0);
  const { opcode, payload } = await other.readFrame();
  assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1013]);
  await assertProven("-m", "still here", server.url);
  socket.close();
  other.close();
});

testBoth(
  "server --idle-timeout drops a peer that neither reads nor leaves, with one close event",
  async (transport) => {
    await using server = await serverProcess("--transport", transport, "--log", "json", "--idle-timeout", "1");
    const socket = await rawClient(server.url);
    // The socket buffers fill up long before, so that the last write waits; the built-in door takes all of it.
    const payload = new Uint8Array(256 * 1024);
    const sending = (async () => {
      for (let count = 0; count < 60; count++) await socket.frame(BINARY, payload);
    })().catch(() => {});
    const closed = await nextEvent(server, "closed");
    assertEquals([closed.id, closed.received], [1, null]);
    assertStringIncludes(closed.error, "not read");
    socket.close();
    await sending;
    // The next event belongs to the next connection: this one had no second event.
    await assertProven(server.url);
    assertEquals((await nextEvent(server, "opened")).id, 2);
    assertEquals((await nextEvent(server, "closed")).id, 2);
  },
);

Deno.test("server answers others while a peer that was refused for its rate floods it (builtin)", async () => {
  await using server = await serverProcess("--rate", "10", "--log", "json");
  const flooder = await rawClient(server.url);
  const frames = new Uint8Array(7 * 1024).map((_, index) => [0x82, 0x81, 0, 0, 0, 0, 1][index % 7] ?? 0);
  const flooding = (async () => {
    while (true) await flooder.write(frames);
  })().catch(() => {});
  // The event arrives during the flood, which only the server ends.
  assertEquals((await nextEvent(server, "closed")).sent.code, 1008);
  await assertProven(server.url);
  await flooding;
  flooder.close();
});
