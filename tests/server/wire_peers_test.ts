/** Peers of the wire server: silent, slow, gone, many, and the client of npm ws. */

import { assert, assertEquals } from "@std/assert";
import { WebSocket as WsClient } from "npm:ws@8.23.0";
import type { EchoEvent } from "../../lib/server/policy.ts";
import { OPCODE } from "../../lib/protocol/frame.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { within } from "../../lib/net/deadline.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { serverProcess } from "../support/command.ts";
import { connectRaw, requestHead } from "../support/raw_peer.ts";
import { frame, WAIT } from "../support/wire.ts";
import { closeOf, concat, onWire, untilEnd, utf8 } from "../support/wire_scene.ts";

Deno.test("wire server ignores unsolicited pongs", async () => {
  await onWire(async ({ socket, next }) => {
    await socket.write(concat(frame(OPCODE.pong, "x"), frame(OPCODE.text, "y")));
    assertEquals((await next()).payload, utf8("y"));
  });
});

Deno.test("wire server pings a silent peer again and again as long as it answers", async () => {
  await onWire(async ({ socket, next }) => {
    for (let count = 0; count < 2; count++) {
      assertEquals((await next()).opcode, OPCODE.ping);
      await socket.write(frame(OPCODE.pong));
    }
    // Long enough for a busy machine to answer in time.
  }, { idleTimeoutSeconds: 1 });
});

Deno.test("wire server closes with 1001 and drops a peer that does not answer the ping", async () => {
  await onWire(async ({ socket, next, closed }) => {
    assertEquals((await next()).opcode, OPCODE.ping);
    assertEquals(closeOf(await next()), [1001, "no answer to the ping"]);
    await untilEnd(socket);
    const { received, detail } = await closed;
    assertEquals([received, detail], [null, "No answer to the ping"]);
  }, { idleTimeoutSeconds: 0.2 });
});

Deno.test("wire server drops a peer that stops inside a frame, where no close frame fits", async () => {
  await onWire(async ({ socket, closed }) => {
    await socket.write(frame(OPCODE.binary, "0123456789").subarray(0, 10));
    await untilEnd(socket);
    assertEquals((await closed).detail, "No answer to the ping");
  }, { idleTimeoutSeconds: 0.2 });
});

Deno.test("wire server drops a peer that does not read, after its writes have stalled for the idle timeout", async () => {
  await onWire(async ({ socket, closed }) => {
    const message = frame(OPCODE.binary, new Uint8Array(1024 * 1024));
    try {
      // Fills the buffers of TCP in both directions, then goes on until dropped.
      while (true) await within(socket.write(message), "room", WAIT);
    } catch {
      assertEquals((await closed).detail, "Peer does not read");
    }
  }, { idleTimeoutSeconds: 1 });
});

Deno.test("shutdown() drops peers that do not answer, and leaves nothing of them", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const sockets = await Promise.all([1, 2, 3].map(() => connectRaw(server.url)));
  for (const socket of sockets.slice(0, 2)) {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
  }
  // The third has sent no request, and is no connection yet.
  assertEquals(await server.shutdown({ timeoutMs: 50 }), 2);
  for (const socket of sockets) {
    await untilEnd(socket);
    socket.close();
  }
});

Deno.test({
  name: "wire server stays below 128 MiB when a peer sends up to 2 GiB and never reads",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    await using server = await serverProcess("--transport", "wire", "--idle-timeout", "2", "--log", "json");
    const socket = await connectRaw(server.url);
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
    const message = frame(OPCODE.binary, new Uint8Array(1024 * 1024));
    const ended = (async () => {
      await server.nextLine();
      return JSON.parse(await server.nextLine());
    })();
    try {
      for (let sent = 0; sent < 2048; sent++) await within(socket.write(message), "room", WAIT);
    } catch {
      // Dropped long before.
    }
    assertEquals((await within(ended, "end", WAIT)).error, "Peer does not read");
    const { stdout } = await new Deno.Command("cat", { args: [`/proc/${server.child.pid}/status`] }).output();
    const [, kibibytes] = /^VmHWM:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout)) ?? [];
    assert(Number(kibibytes) < 128 * 1024, `${kibibytes} KiB`);
    socket.close();
  },
});

Deno.test("wire server serves the client of npm ws: fragments, pings, text and binary, and the close", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const socket = new WsClient(server.url, ["chat"], { perMessageDeflate: false });
  const event = (name: string) =>
    within(new Promise<unknown[]>((resolve) => socket.once(name, (...args: unknown[]) => resolve(args))), name, WAIT);
  await event("open");
  assertEquals([socket.protocol, socket.extensions], ["chat", ""]);
  for (const isBinary of [false, true]) {
    const [message, pong] = [event("message"), event("pong")];
    socket.send("frag", { fin: false, binary: isBinary });
    socket.ping("?");
    socket.send("ments", { fin: true, binary: isBinary });
    const [[data, kind], [payload]] = [await message, await pong];
    assertEquals([String(data), kind, String(payload)], ["fragments", isBinary, "?"]);
  }
  const closed = event("close");
  socket.close(4000, "bye");
  const [code, reason] = await closed;
  assertEquals([code, String(reason)], [4000, "bye"]);
  await server.shutdown();
});

Deno.test("wire server continues with the others when one connection breaks", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const [bad, good] = [await connectRaw(server.url), await connectRaw(server.url)];
  for (const socket of [bad, good]) {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
  }
  await bad.write(Uint8Array.of(0xff, 0xff));
  await untilEnd(bad);
  await good.write(frame(OPCODE.text, "still here"));
  assertEquals((await within(good.readFrame(), "echo", WAIT)).payload, utf8("still here"));
  bad.close();
  good.close();
  await server.shutdown();
});

Deno.test("wire server is fair: of 100 busy connections each is served", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  const sockets = await Promise.all(Array.from({ length: 100 }, () => connectRaw(server.url)));
  await Promise.all(sockets.map(async (socket) => {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
    for (let count = 0; count < 20; count++) {
      await socket.write(frame(OPCODE.binary, `${count}`));
      assertEquals((await within(socket.readFrame(), "echo", WAIT)).payload, utf8(`${count}`));
    }
    socket.close();
  }));
  await server.shutdown();
});

Deno.test("wire server is not held up by peers that have left before they are accepted", async () => {
  const events: EchoEvent[] = [];
  const server = serveEcho({ transport: "wire", port: 0, onEvent: (event) => events.push(event) });
  // While this process waits it accepts nothing, so that all of them are gone by then.
  const script = `import { connect } from "node:net";
    const { hostname: host, port } = new URL(Deno.args[0]);
    for (let count = 0; count < 50; count++) {
      const socket = connect({ host, port: Number(port) }, () => socket.resetAndDestroy());
      socket.on("error", () => {});
    }`;
  const { success } = new Deno.Command(Deno.execPath(), { args: ["eval", script, server.url] }).outputSync();
  assert(success);
  const connection = await openWire(server.url);
  await connection.send("still here");
  assertEquals(await connection.receive(WAIT), "still here");
  await connection.close(WAIT);
  await server.shutdown();
  assertEquals(events.filter(({ type }) => type === "trouble"), []);
});
