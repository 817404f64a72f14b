import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ListenError, serveEcho } from "../../lib/server/serve.ts";
import { respawnDelayMs, serveOverWorkers, WORKER_DIED, type WorkersServer } from "../../lib/server/workers.ts";
import type { ServerEvent } from "../../lib/server/log.ts";
import { within } from "../../lib/net/deadline.ts";
import { outcomeOf, startScript } from "../support/command.ts";
import { CHANNEL, type Death } from "../support/mortal_worker.ts";
import { CLOSE, connectRaw, type RawSocket, requestHead, TEXT } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const linuxOnly = { ignore: Deno.build.os !== "linux" };

/** A server of several workers that can be killed, and its events. */
async function mortalServer(workers: number, limits: { maxConnections?: number; maxBufferedTotalBytes?: number } = {}) {
  const events: ServerEvent[] = [];
  let changed = Promise.withResolvers<void>();
  const server = await serveOverWorkers({
    workers,
    module: new URL("../support/mortal_worker.ts", import.meta.url),
    serve: { port: 0, ...limits },
    version: "1.2.3",
    tell(event) {
      events.push(event);
      changed.resolve();
      changed = Promise.withResolvers();
    },
    tells: true,
    droppedLogLines: () => 0,
  });
  const channel = new BroadcastChannel(CHANNEL);
  return {
    server,
    events,
    kill: (death: Death) => channel.postMessage(death),
    /** Waits for a match in its events. */
    async until<T>(find: (events: readonly ServerEvent[]) => T | undefined): Promise<T> {
      while (true) {
        const found = find(events);
        if (found !== undefined) return found;
        await within(changed.promise, "event", WAIT);
      }
    },
    async [Symbol.asyncDispose]() {
      channel.close();
      await server.shutdown({ timeoutMs: 1000 });
    },
  };
}

/** A peer after its upgrade; `undefined` after a 503. */
async function connect(url: string): Promise<RawSocket | undefined> {
  const socket = await connectRaw(url);
  await socket.write(requestHead());
  const head = await within(socket.readHead(), "answer", WAIT);
  if (head.startsWith("HTTP/1.1 101 ")) return socket;
  assertMatch(head, /^HTTP\/1\.1 503 /);
  socket.close();
  return undefined;
}

/** This many peers, all of them admitted. */
async function connectMany(url: string, count: number): Promise<RawSocket[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => connect(url)));
  return sockets.filter((socket) => socket !== undefined);
}

async function metricsOf(server: WorkersServer): Promise<string> {
  return await (await fetch(new URL("/metrics", server.url.replace("ws:", "http:")))).text();
}

Deno.test({
  name: "serveOverWorkers() replaces a worker that has thrown, reports it, and ends each of its connections",
  ...linuxOnly,
  async fn() {
    await using scene = await mortalServer(2, { maxConnections: 20 });
    const { server, events, until } = scene;
    const sockets = await connectMany(server.url, 20);
    assertEquals([sockets.length, await connect(server.url)], [20, undefined]);
    const isAllTold = (events: readonly ServerEvent[]) => events.filter(({ type }) => type === "opened").length === 20;
    await until((events) => isAllTold(events) || undefined);
    await server.stats();
    scene.kill({ index: 0, way: "throw" });
    const trouble = await until((events) => events.find(({ type }) => type === "trouble"));
    assert(trouble.type === "trouble");
    const [, lost = ""] = /^Worker 1 with (\d+) connections?: Thrown as told$/.exec(trouble.error) ?? [];
    assertEquals(trouble.kind, "worker");
    const closed = events.filter((event) => event.type === "closed");
    assertEquals(closed.length, Number(lost));
    for (const { detail, end, initiator } of closed) {
      assertEquals([detail, end, initiator], [WORKER_DIED, "no-close-frame", null]);
    }
    const opened = events.filter((event) => event.type === "opened").map(({ id }) => id);
    assertEquals(opened.toSorted((a, b) => a - b), Array.from({ length: 20 }, (_, index) => index + 1));
    // The places are free again, and the counts agree: each accepted connection is open or has ended.
    const again = await connectMany(server.url, Number(lost));
    assertEquals([again.length, await connect(server.url)], [Number(lost), undefined]);
    const { connections, accepted, closes, refusals, troubles } = await server.stats();
    assertEquals([connections, accepted], [20, 20 + Number(lost)]);
    assertEquals(closes.reduce((sum, { count }) => sum + count, 0), Number(lost));
    assertEquals(refusals, [{ cause: "connections", count: 2 }]);
    assertEquals(troubles, [{ kind: "worker", count: 1 }]);
    for (const socket of [...sockets, ...again]) socket.close();
  },
});

Deno.test({
  name: "serveOverWorkers() continues when one worker after another dies",
  ...linuxOnly,
  async fn() {
    await using scene = await mortalServer(2);
    for (const index of [0, 1, 0]) {
      // Counts before this survive the worker.
      await scene.server.stats();
      const deaths = scene.events.length + 1;
      scene.kill({ index, way: "exit" });
      await scene.until((events) => events.length >= deaths || undefined);
      const socket = await connectWhenever(scene.server.url);
      await socket.frame(TEXT, "still here");
      assertEquals(new TextDecoder().decode((await within(socket.readFrame(), "echo", WAIT)).payload), "still here");
      socket.close();
      await scene.until((events) => events.length >= deaths + 2 || undefined);
    }
    const troubles = scene.events.filter((event) => event.type === "trouble").map(({ error }) => error);
    const words = (worker: number) => `Worker ${worker} with 0 connections: It has ended with 3`;
    assertEquals(troubles, [words(1), words(2), words(1)]);
    assertEquals((await scene.server.stats()).accepted, 3);
  },
});

Deno.test({
  name:
    "serveOverWorkers() counts an end for each accepted connection, when a worker dies before it could tell of the last",
  ...linuxOnly,
  async fn() {
    await using scene = await mortalServer(1);
    const { server, until } = scene;
    const ended = await connectMany(server.url, 3);
    assertEquals((await server.stats()).accepted, 3);
    for (const socket of ended) {
      await socket.frame(CLOSE, Uint8Array.of(0x03, 0xe8));
      await within(socket.readFrame(), "close", WAIT);
      socket.close();
    }
    scene.kill({ index: 0, way: "exit" });
    await until((events) => events.find(({ type }) => type === "trouble"));
    const { connections, accepted, closes } = await server.stats();
    assertEquals([connections, accepted, closes.reduce((sum, { count }) => sum + count, 0)], [0, 3, 3]);
  },
});

for (const way of ["exit", "hang"] as const) {
  Deno.test({
    name:
      `serveOverWorkers() tells of the end of each connection, when a worker gets the order to ${way} in a shutdown`,
    ...linuxOnly,
    async fn() {
      await using scene = await mortalServer(2);
      const { server, events, until } = scene;
      // Peers that do not answer the close frame.
      const sockets = await connectMany(server.url, 20);
      await until((events) => events.filter(({ type }) => type === "opened").length === 20 || undefined);
      scene.kill({ index: 0, way });
      assertEquals(await server.shutdown({ timeoutMs: 500 }), 20);
      assertEquals(endsOf(events), endsOf(events).map(([id]) => [id, 1]));
      for (const socket of sockets) socket.close();
    },
  });
}

/** Number of ends of each opened connection. */
function endsOf(events: readonly ServerEvent[]): [id: number, ends: number][] {
  const opened = events.filter((event) => event.type === "opened");
  const closed = events.filter((event) => event.type === "closed");
  return opened.map(({ id }) => [id, closed.filter((each) => each.id === id).length]);
}

/** A peer of any live worker: pending connections of the dead one are reset. */
async function connectWhenever(url: string): Promise<RawSocket> {
  const deadline = AbortSignal.timeout(WAIT.timeoutMs);
  while (!deadline.aborted) {
    const socket = await connect(url).catch(() => undefined);
    if (socket) return socket;
  }
  throw new Error("Nobody listens");
}

Deno.test("respawnDelayMs() doubles each time, and starts again after a worker has lived for a minute", () => {
  const delays = [respawnDelayMs(undefined, 0)];
  while (delays.length < 9) delays.push(respawnDelayMs(delays.at(-1), 59_999));
  assertEquals(delays, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  assertEquals(respawnDelayMs(10_000, 60_000), 100);
});

Deno.test({
  name: "serveOverWorkers() survives a worker whose heap is full, and reports it",
  ...linuxOnly,
  async fn() {
    const program = `
      import { serveOverWorkers } from ${JSON.stringify(new URL("../../lib/server/workers.ts", import.meta.url).href)};
      import { CHANNEL } from ${JSON.stringify(new URL("../support/mortal_worker.ts", import.meta.url).href)};
      const died = Promise.withResolvers();
      const server = await serveOverWorkers({
        workers: 2,
        module: new URL(${JSON.stringify(new URL("../support/mortal_worker.ts", import.meta.url).href)}),
        serve: { port: 0 },
        version: "",
        tell: (event) => event.type === "trouble" && died.resolve(event.error),
        tells: true,
        droppedLogLines: () => 0,
      });
      new BroadcastChannel(CHANNEL).postMessage({ index: 1, way: "fill" });
      console.log(await died.promise);
      const answer = await fetch(server.url.replace("ws:", "http:") + "healthz");
      console.log(await answer.text());
      Deno.exit(await server.shutdown({ timeoutMs: 1000 }));
    `;
    const outcome = await outcomeOf(startScript(program, { flags: ["--v8-flags=--max-old-space-size=64"] }));
    assertEquals(outcome, {
      code: 0,
      stdout:
        "Worker 2 with 0 connections: Worker terminated due to reaching memory limit: JS heap out of memory\nok\n\n",
      stderr: "",
    });
  },
});

Deno.test({
  name: "serveOverWorkers() closes with 1001 over all workers, and counts who did not answer",
  ...linuxOnly,
  async fn() {
    await using scene = await mortalServer(2);
    const sockets = await connectMany(scene.server.url, 12);
    const frames = within(Promise.all(sockets.map((socket) => socket.readFrame())), "close frames", WAIT);
    const unanswered = scene.server.shutdown({ timeoutMs: 8000 });
    for (const { opcode, payload } of await frames) {
      assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1001]);
    }
    // Three peers do not answer.
    for (const socket of sockets.slice(3)) await socket.frame(CLOSE, Uint8Array.of(0x03, 0xe9));
    assertEquals(await within(unanswered, "end", WAIT), 3);
    assertEquals(scene.events.filter(({ type }) => type === "closed").length, 12);
    for (const socket of sockets) socket.close();
  },
});

Deno.test({
  name: "serveOverWorkers() answers /metrics with the sum over all workers, whichever of them answers",
  ...linuxOnly,
  async fn() {
    await using scene = await mortalServer(2);
    const sockets = await connectMany(scene.server.url, 10);
    for (const socket of sockets) {
      await socket.frame(TEXT, "four");
      await within(socket.readFrame(), "echo", WAIT);
    }
    for (let times = 0; times < 8; times++) {
      const text = await metricsOf(scene.server);
      for (
        const line of ["connections 10", "connections_accepted_total 10", "messages_total 10", "message_bytes_total 40"]
      ) {
        assert(text.includes(`\nwsproof_${line}\n`), text);
      }
    }
    for (const socket of sockets) socket.close();
  },
});

Deno.test({
  name: "serveOverWorkers() counts memory over all workers, and closes the one that holds the most",
  ...linuxOnly,
  async fn() {
    const maxBufferedTotalBytes = 2 * 1024 * 1024;
    await using scene = await mortalServer(2, { maxBufferedTotalBytes });
    const sockets = await connectMany(scene.server.url, 12);
    const [largest, ...others] = sockets;
    assert(largest);
    // Endless text must be buffered. The sum exceeds the limit; each worker alone is usually below it.
    await largest.frame(TEXT, new Uint8Array(500 * 1024).fill(97), 0);
    for (const socket of others) await socket.frame(TEXT, new Uint8Array(200 * 1024).fill(97), 0);
    const { opcode, payload } = await within(largest.readFrame(), "close frame", WAIT);
    assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1013]);
    for (const socket of sockets) socket.close();
  },
});

Deno.test({
  name: "serveOverWorkers() starts no worker any more when it shuts down",
  ...linuxOnly,
  async fn() {
    await using scene = await mortalServer(2);
    scene.kill({ index: 0, way: "exit" });
    await scene.until((events) => events.find(({ type }) => type === "trouble"));
    // The replacement waits; a leftover timer would be a leak.
    assertEquals(await scene.server.shutdown({ timeoutMs: 2000 }), 0);
  },
});

Deno.test({
  name: "serveOverWorkers() fails on a port in use, with or without workers",
  ...linuxOnly,
  async fn() {
    const alone = serveEcho({ port: 0 });
    await using scene = await mortalServer(2);
    for (const url of [alone.url, scene.server.url]) {
      const options = {
        workers: 2,
        module: new URL("../support/mortal_worker.ts", import.meta.url),
        serve: { port: Number(new URL(url).port) },
        version: "",
        tell() {},
        tells: false,
        droppedLogLines: () => 0,
      };
      await assertRejects(() => serveOverWorkers(options), ListenError, "the port is in use");
    }
    await alone.shutdown();
  },
});

Deno.test({
  name: "serveOverWorkers() says what is wrong when a worker cannot start",
  ...linuxOnly,
  async fn() {
    const options = {
      workers: 2,
      module: new URL("data:text/javascript,throw new Error('No such luck')"),
      serve: { port: 0 },
      version: "",
      tell() {},
      tells: false,
      droppedLogLines: () => 0,
    };
    await assertRejects(() => serveOverWorkers(options), Error, "No such luck");
  },
});
