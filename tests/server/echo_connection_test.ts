/** One connection over the built-in WebSocket: empty messages, and places. */

import { assert, assertEquals } from "@std/assert";
import type { EchoClosed, EchoEvent } from "../../lib/server/policy.ts";
import { createEcho } from "../../lib/server/builtin_echo.ts";
import { EchoConnection } from "../../lib/server/echo_connection.ts";
import { Gatekeeper } from "../../lib/server/gatekeeper.ts";
import { type EchoServer, serveEcho } from "../../lib/server/serve.ts";
import { MemoryBudget } from "../../lib/server/budget.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { CLOSE, rawClient, type RawSocket, TEXT } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";
import { closeCodeOf } from "../support/close_code.ts";

const WAIT = { timeoutMs: 60_000 };
Deno.test("createEcho() does not upgrade for a peer that has left already, of whom the runtime has no address", async () => {
  const request = new Request("http://127.0.0.1/", { headers: { upgrade: "websocket" } });
  const gone = { transport: "tcp", hostname: "0.0.0.0", port: 0 } as const;
  const echo = createEcho();
  const response = await echo.fetch(request, { remoteAddr: gone, completed: Promise.resolve() });
  assertEquals([response.status, echo.stats().refusals], [400, []]);
});

Deno.test("EchoConnection counts 512 bytes for each message that waits besides its payload", async () => {
  const held = Promise.withResolvers<[number, number]>();
  const opened = { type: "opened", id: 1, peer: "", path: "/", protocol: "" } as const;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    const budget = new MemoryBudget(Infinity);
    // Called on each echo; a peer that does not read fills the socket buffers first.
    budget.hold = (holder) => {
      if (socket.bufferedAmount > 1000) held.resolve([holder.heldBytes(), socket.bufferedAmount]);
      return true;
    };
    new EchoConnection(socket, opened, { gate: new Gatekeeper({}), budget, onGone() {} });
    return response;
  });
  const peer = await rawClient(`ws://127.0.0.1:${server.addr.port}/`);
  const sending = flood(peer, new Uint8Array(7 * 1024).map((_, index) => [0x82, 0x81, 0, 0, 0, 0, 1][index % 7] ?? 0));
  const [bytes, payload] = await held.promise;
  assertEquals(bytes, payload + 512 * payload);
  peer.close();
  await sending;
  await server.shutdown();
});

Deno.test("EchoConnection closes a peer that sends 65,536 empty messages at once", async () => {
  const ended = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: EchoEvent) => event.type === "closed" && ended.resolve(event);
  const server = serveEcho({ port: 0, onEvent });
  const socket = await rawClient(server.url);
  const sending = flood(socket, new Uint8Array(6 * 1024).map((_, index) => [0x82, 0x80, 0, 0, 0, 0][index % 6] ?? 0));
  const { sent, messages } = await ended.promise;
  assertEquals(sent, { code: 1008, reason: "too many empty messages" });
  assert(messages >= 65_536, `${messages}`);
  socket.close();
  await sending;
  await server.shutdown({ timeoutMs: 1000 });
});

/** Writes the same bytes until the peer is gone. */
async function flood(socket: RawSocket, bytes: Uint8Array): Promise<void> {
  try {
    while (true) await socket.write(bytes);
  } catch {
    // Closed by the server or by the test.
  }
}

/** A connection that waits for quiet before its close; and its peer. */
async function closingScene(test: (connection: EchoConnection, socket: WebSocket) => void): Promise<void> {
  const scene = Promise.withResolvers<[EchoConnection, WebSocket]>();
  const opened = { type: "opened", id: 1, peer: "", path: "/", protocol: "" } as const;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    const options = { gate: new Gatekeeper({}), budget: new MemoryBudget(Infinity), onGone() {} };
    scene.resolve([new EchoConnection(socket, opened, options), socket]);
    return response;
  });
  const peer = await rawClient(`ws://127.0.0.1:${server.addr.port}/`);
  await peer.frame(TEXT, "busy");
  assertEquals((await peer.readFrame()).opcode, TEXT);
  const [connection, socket] = await scene.promise;
  connection.close(4000, "enough");
  assertEquals(socket.readyState, WebSocket.OPEN);
  test(connection, socket);
  assertEquals(socket.readyState, WebSocket.CLOSING);
  assertEquals(await closeCodeOf(peer), 4000);
  await peer.frame(CLOSE, Uint8Array.of(0x0f, 0xa0));
  assertEquals((await connection.closed).sent, { code: 4000, reason: "enough" });
  peer.close();
  await server.shutdown();
}

Deno.test("EchoConnection sends its close frame even after the event loop was blocked for longer than the close may take", async () => {
  await closingScene((connection) => connection.tick(performance.now() + 60_000));
});

Deno.test("EchoConnection forgives 100 empty messages a second", async () => {
  const scene = Promise.withResolvers<EchoConnection>();
  const opened = { type: "opened", id: 1, peer: "", path: "/", protocol: "" } as const;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    const options = { gate: new Gatekeeper({}), budget: new MemoryBudget(Infinity), onGone() {} };
    const connection = new EchoConnection(socket, opened, options);
    socket.addEventListener("open", () => scene.resolve(connection));
    return response;
  });
  const peer = await rawClient(`ws://127.0.0.1:${server.addr.port}/`);
  const connection = await scene.promise;
  const event = new MessageEvent("message", { data: "" });
  for (let count = 0; count < 65_536; count++) connection.handleEvent(event);
  // Four ticks of the clock are a second.
  for (let tick = 0; tick < 4; tick++) connection.tick(performance.now());
  for (let count = 0; count < 101; count++) connection.handleEvent(event);
  assertEquals(connection.messages, 65_536 + 100);
  assertEquals(await closeCodeOf(peer), 1008);
  await peer.frame(CLOSE, Uint8Array.of(0x03, 0xf0));
  assertEquals((await connection.closed).sent, { code: 1008, reason: "too many empty messages" });
  peer.close();
  await server.shutdown();
});

Deno.test("EchoConnection closes after 10,000 discarded messages, as no timer runs while they come", async () => {
  await closingScene((connection, socket) => {
    const event = new MessageEvent("message", { data: "more" });
    for (let count = 1; count < 10_000; count++) connection.handleEvent(event);
    assertEquals(socket.readyState, WebSocket.OPEN);
    connection.handleEvent(event);
  });
});

testBoth("serveEcho() keeps the place of a connection until it has ended completely", async (transport) => {
  const counts: number[] = [];
  const server: EchoServer = serveEcho({
    transport,
    port: 0,
    onEvent: (event) => event.type === "closed" && counts.push(server.stats().connections),
  });
  const connection = await openBuiltin(server.url);
  await connection.close(WAIT);
  await server.shutdown();
  assertEquals([counts, server.stats().connections], [[1], 0]);
});
