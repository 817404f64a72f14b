/** A wire server whose handler is no echo: its calls to the handler, in order. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import type { AcceptedStream, StreamListener } from "../../lib/net/tls.ts";
import { untilEvents } from "../../lib/net/turns.ts";
import type { WireConnection, WireHandler, WireUpgrade } from "../../lib/net/wire_handler.ts";
import { WireServer } from "../../lib/net/wire_server.ts";
import { connectRaw, type RawSocket, requestHead } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const bytesOf = (text: string) => new TextEncoder().encode(text);

/** A connection that writes some bytes, records its calls, and ends when closed or dropped. */
class Noted implements WireConnection {
  readonly notes: string[] = [];
  readonly ended: Promise<void>;
  readonly #end = Promise.withResolvers<void>();
  readonly #upgrade: WireUpgrade;
  readonly #greeting: string;

  constructor(upgrade: WireUpgrade, greeting: string) {
    this.#upgrade = upgrade;
    this.#greeting = greeting;
    this.ended = this.#end.promise;
  }

  async run(early: Uint8Array): Promise<void> {
    this.notes.push(`run ${new TextDecoder().decode(early)}`);
    await this.#upgrade.stream.write(bytesOf(this.#greeting));
    await this.ended;
    this.#upgrade.stream.close();
  }

  tick(): void {
    if (this.notes.at(-1) !== "tick") this.notes.push("tick");
  }

  close(code: number, reason: string): void {
    this.notes.push(`close ${code} ${reason}`);
    this.#end.resolve();
  }

  destroy(error = ""): void {
    this.notes.push(`destroy ${error}`);
    this.#end.resolve();
  }
}

interface Scene extends AsyncDisposable {
  readonly server: WireServer;
  readonly upgrades: WireUpgrade[];
  readonly connections: Noted[];
  /** Sends a head followed by bytes. */
  send(text: string): Promise<RawSocket>;
}

function scene(greeting: string, handler: Partial<WireHandler> = {}): Scene {
  const upgrades: WireUpgrade[] = [];
  const connections: Noted[] = [];
  const sockets: RawSocket[] = [];
  const server = new WireServer({ hostname: "127.0.0.1", port: 0 }, {
    decide: () => "",
    serve(upgrade) {
      const connection = new Noted(upgrade, greeting);
      upgrades.push(upgrade);
      connections.push(connection);
      return connection;
    },
    ...handler,
  });
  return {
    server,
    upgrades,
    connections,
    async send(text) {
      const socket = await connectRaw(`ws://127.0.0.1:${server.port}/`);
      sockets.push(socket);
      await socket.write(text);
      return socket;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.close();
      await within(server.stop(), "stop", WAIT);
    },
  };
}

Deno.test("WireServer gives the upgraded connection to its handler, with the early bytes, the target and the subprotocol", async () => {
  await using it = scene("hello", { decide: () => "chat" });
  const socket = await it.send(`${requestHead({ "Sec-WebSocket-Protocol": "chat" }, "GET /a/../b HTTP/1.1")}early`);
  const head = await within(socket.readHead(), "upgrade", WAIT);
  assertMatch(head, /^HTTP\/1\.1 101 Switching Protocols\r\n[^]*Sec-WebSocket-Protocol: chat/);
  assertEquals(await within(socket.readBytes(5), "greeting", WAIT), bytesOf("hello"));
  const [upgrade] = it.upgrades;
  assert(upgrade);
  assertEquals([upgrade.target, new URL(upgrade.request.url).pathname, upgrade.protocol], ["/a/../b", "/b", "chat"]);
  assertEquals(it.connections[0]?.notes[0], "run early");
});

Deno.test("WireServer writes nothing before its handler does, when the handler answers itself", async () => {
  await using it = scene("HTTP/1.1 418 x\r\n\r\n", { answersItself: true });
  const socket = await it.send(requestHead());
  assertEquals(await within(socket.readHead(), "answer", WAIT), "HTTP/1.1 418 x");
});

Deno.test("WireServer tells its handler the version of HTTP", async () => {
  await using it = scene("", { decide: (_request, _addr, _target, version) => new Response(version) });
  for (const version of ["1.0", "1.1"]) {
    const socket = await it.send(requestHead({ Upgrade: undefined }, `GET / HTTP/${version}`));
    const answer = new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT));
    assertMatch(answer, new RegExp(`\r\n\r\n${version}$`));
  }
});

Deno.test("WireServer.closeAll() closes what is open, and what opens later", async () => {
  const deciding = Promise.withResolvers<void>();
  const decision = Promise.withResolvers<string>();
  await using it = scene("x", {
    decide(_request, _addr, target) {
      if (target !== "/late") return "";
      deciding.resolve();
      return decision.promise;
    },
  });
  const early = await it.send(requestHead());
  await within(early.readHead(), "upgrade", WAIT);
  await within(early.readBytes(1), "greeting", WAIT);
  const late = await it.send(requestHead({}, "GET /late HTTP/1.1"));
  await within(deciding.promise, "request", WAIT);
  const open = it.server.closeAll(1001, "bye");
  decision.resolve("");
  await within(late.untilGone().catch(() => {}), "end", WAIT);
  await within(Promise.all(open.map(({ ended }) => ended)), "ends", WAIT);
  assertEquals([open.length, it.connections.length], [1, 2]);
  for (const { notes } of it.connections) assert(notes.includes("close 1001 bye"), `${notes}`);
});

Deno.test("WireServer.stop() drops what is open, with the reason that it was given", async () => {
  await using it = scene("x");
  const socket = await it.send(requestHead());
  await within(socket.readHead(), "upgrade", WAIT);
  await within(socket.readBytes(1), "greeting", WAIT);
  await within(it.server.stop("no answer"), "stop", WAIT);
  assertEquals(it.connections[0]?.notes.at(-1), "destroy no answer");
});

Deno.test("WireServer drops the connection and abandons the request, when serve() throws", async () => {
  const abandoned = Promise.withResolvers<string>();
  await using it = scene("", {
    serve() {
      throw new Error("mistake");
    },
    abandoned: (request) => abandoned.resolve(request.url),
  });
  const socket = await it.send(requestHead({}, "GET /x HTTP/1.1"));
  assertEquals(await within(abandoned.promise, "news", WAIT), "http://127.0.0.1/x");
  await within(socket.untilGone().catch(() => {}), "end", WAIT);
});

Deno.test("WireServer reads what came in time before it drops, when its process stood still past the deadline", async () => {
  const server = new WireServer({ hostname: "127.0.0.1", port: 0, headTimeoutMs: 2000 }, {
    decide: () => new Response("no\n", { status: 403 }),
    serve: () => {
      throw new Error("Nobody is let through");
    },
  });
  const socket = await connectRaw(`ws://127.0.0.1:${server.port}/`);
  // More than one read.
  const head = requestHead({ "X-Long": "x".repeat(6000) });
  await socket.write(head.slice(0, 20));
  // The server has begun to read.
  while (server.connections === 0) await new Promise((resolve) => setTimeout(resolve));
  const written = socket.write(head.slice(20));
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3000);
  await written;
  assertMatch(await within(socket.readHead(), "answer", WAIT), /^HTTP\/1\.1 403 /);
  socket.close();
  await server.stop();
});

Deno.test("WireServer refuses a head past its deadline, when the bytes of its peer come without a pause", async () => {
  const refused = Promise.withResolvers<string>();
  let isClosed = false;
  const conns: AcceptedStream[] = [{
    remoteAddr: { transport: "tcp", hostname: "127.0.0.1", port: 1 },
    read(into) {
      into.set([0x61]);
      return isClosed ? Promise.reject(new Error("Connection closed")) : Promise.resolve(1);
    },
    write: ({ byteLength }) => Promise.resolve(byteLength),
    closeWrite: () => Promise.resolve(),
    close: () => void (isClosed = true),
  }];
  const closed = Promise.withResolvers<AcceptedStream>();
  const listener: StreamListener = {
    addr: { transport: "tcp", hostname: "127.0.0.1", port: 2 },
    accept() {
      const conn = conns.pop();
      return conn ? Promise.resolve(conn) : closed.promise;
    },
    close: () => closed.reject(new Error("Listener closed")),
  };
  const server = new WireServer({ hostname: "127.0.0.1", port: 2, listener, headTimeoutMs: 0 }, {
    decide: () => "",
    serve: () => {
      throw new Error("Nobody is let through");
    },
    onRefused: (_addr, { cause }) => refused.resolve(cause),
  });
  // Without a look at the clock, the limit of a head would end it: head-too-long.
  assertEquals(await within(refused.promise, "refusal", WAIT), "head-timeout");
  await server.stop();
});

Deno.test("WireServer.stop() answers a request that has come before it drops the rest, within its grace", async () => {
  const decision = Promise.withResolvers<Response>();
  const decided = Promise.withResolvers<void>();
  // Longer than the test waits: the answer alone ends the grace.
  const graceMs = 2 * WAIT.timeoutMs;
  const server = new WireServer({ hostname: "127.0.0.1", port: 0, headTimeoutMs: graceMs }, {
    decide() {
      decided.resolve();
      return decision.promise;
    },
    serve: () => {
      throw new Error("Nobody is let through");
    },
  });
  const url = `ws://127.0.0.1:${server.port}/`;
  const [asking, silent] = [await connectRaw(url), await connectRaw(url)];
  await asking.write(requestHead());
  await within(decided.promise, "request", WAIT);
  const stopping = server.stop("", graceMs);
  // Longer than it waits for requests.
  for (let asks = 0; asks < 8; asks++) await untilEvents();
  decision.resolve(new Response("late\n", { status: 403 }));
  assertMatch(await within(asking.readHead(), "answer", WAIT), /^HTTP\/1\.1 403 /);
  // The peer that has sent nothing is not waited for.
  await within(stopping, "stop", WAIT);
  asking.close();
  silent.close();
});
