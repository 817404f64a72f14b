/** An exchange's use of its messages and their memory. */

import { assert, assertEquals } from "@std/assert";
import { exchange } from "../../lib/client/exchange.ts";
import { within } from "../../lib/net/deadline.ts";
import type { Message } from "../../lib/protocol/message.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { BINARY, CLOSE, rawPeer, type RawSocket, TEXT } from "../support/raw_peer.ts";

for (const transport of ["builtin", "wire"] as const) {
  Deno.test(`exchange() keeps its window with empty messages, over ${transport}`, async () => {
    const server = serveEcho({ port: 0 });
    let [underWay, most] = [0, 0];
    const report = await exchange(server.url, {
      transport,
      messages: Array.from({ length: 500 }, () => ""),
      windowBytes: 640,
      onEvent: ({ type }) => {
        if (type === "sent") most = Math.max(most, ++underWay);
        if (type === "received") underWay--;
      },
    });
    await server.shutdown();
    // Each message counts 64 bytes on top of its own.
    assertEquals([report.verdict, most], ["proven", 10]);
  });

  Deno.test(`exchange() compares every reply although it reuses the memory of verified ones, over ${transport}`, async () => {
    const server = serveEcho({ port: 0 });
    const verified: Message[] = [];
    const parts = Array.from({ length: 30 }, (_, index) => new Uint8Array(100_000).fill(index));
    const report = await exchange(server.url, {
      transport,
      messages: parts,
      windowBytes: 300_000,
      digest: true,
      onVerified: (message) => verified.push(message),
    });
    await server.shutdown();
    assertEquals(report.verdict, "proven");
    assertEquals(verified, parts);
    const [sent, received] = ["sentAt", "receivedAt"].map((field) =>
      report.messages.filter((message) => field in message).map(({ sha256 }) => sha256)
    );
    assertEquals(sent, received);
    assertEquals(new Set(sent).size, 30);
  });

  Deno.test(`exchange() tells of messages that nobody judged, over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      for (let frame = await socket.readFrame();; frame = await socket.readFrame()) {
        await socket.frame(TEXT, "news");
        if (frame.opcode !== CLOSE) continue;
        await socket.frame(CLOSE, frame.payload);
        return;
      }
    });
    const detailsOf = async (messages: string[]) => {
      const { verdict, stages, received } = await exchange(peer.url, {
        transport,
        messages,
        expectation: messages.length > 0 ? { type: "any" } : { type: "echo" },
      });
      const details = stages.filter(({ name }) => /^(receive|verify)$/.test(name)).map(({ detail }) => detail);
      return [verdict, received.messages, ...details];
    };
    assertEquals(await detailsOf([]), ["proven", 1, 'text, 4 bytes: "news"', "not judged"]);
    const judged = ["proven", 2, 'text, 4 bytes: "news"', "not compared; 1 more, not judged"];
    assertEquals(await detailsOf(["any news?"]), judged);
  });

  /** An exchange that is still sending when the peer, after one message, answers and then breaks the protocol. */
  const whileSending = async (answer: (socket: RawSocket, message: Uint8Array<ArrayBuffer>) => Promise<void>) => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await answer(socket, (await socket.readFrame()).payload);
      await socket.frame(3);
      await socket.untilStopped();
    });
    let verified = 0;
    const report = await exchange(peer.url, {
      transport,
      messages: Array.from({ length: 64 }, () => new Uint8Array(1024 * 1024)),
      windowBytes: 128 * 1024 * 1024,
      replyTimeoutMs: 60_000,
      closeTimeoutMs: 100,
      onVerified: () => verified++,
    });
    return { verified, verdict: report.verdict, failed: report.stages.find(({ ok }) => ok === false)?.name };
  };

  Deno.test(`exchange() counts a right reply that came before the peer broke the protocol, while it sends, over ${transport}`, async () => {
    const outcome = await whileSending((socket, message) => socket.frame(BINARY, message));
    assertEquals(outcome, { verified: 1, verdict: "connection-lost", failed: "send" });
  });

  Deno.test(`exchange() says wrong-reply, when a wrong reply came before the peer broke the protocol, while it sends, over ${transport}`, async () => {
    const outcome = await whileSending((socket) => socket.frame(BINARY, Uint8Array.of(1)));
    assertEquals(outcome, { verified: 0, verdict: "wrong-reply", failed: "verify" });
  });

  Deno.test(`exchange() counts the reply that came in one write with a broken protocol, over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      const { payload } = await socket.readFrame();
      await socket.write(Uint8Array.of(0x80 | BINARY, payload.byteLength, ...payload, 0x83, 0));
      await socket.untilGone();
    });
    const report = await exchange(peer.url, { transport, messages: [Uint8Array.of(1, 2)], closeTimeoutMs: 1000 });
    const passed = report.stages.filter(({ ok }) => ok).map(({ name }) => name);
    assertEquals(passed, ["connect", "upgrade", "send", "receive", "verify"]);
    assertEquals([report.verdict, report.close?.end], ["close-not-confirmed", "protocol-error"]);
  });
}

Deno.test("exchange() lets a greeting pass when nothing was sent", async () => {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onopen = () => socket.send("welcome");
    return response;
  });
  const report = await exchange(`ws://127.0.0.1:${server.addr.port}/`, { messages: [] });
  assertEquals(report.verdict, "proven", report.problem);
  await server.shutdown();
});

Deno.test("exchange() reports a failing source of messages as a bug, in one line, and closes the connection", async () => {
  const server = serveEcho({ port: 0 });
  const broken = (function* (): Generator<Message> {
    yield "one";
    throw new Error("two\nlines");
  })();
  const report = await exchange(server.url, { messages: broken });
  await server.shutdown();
  assertEquals([report.verdict, report.close?.received?.code], ["internal-error", 1000]);
  assert(!report.problem.includes("\n"));
});

for (const transport of ["builtin", "wire"] as const) {
  Deno.test(`exchange() sends no text that UTF-8 cannot carry, over ${transport}`, async () => {
    const server = serveEcho({ port: 0 });
    const report = await exchange(server.url, { transport, messages: ["a\ud800"] });
    await server.shutdown();
    assertEquals([report.verdict, report.sent.messages], ["usage", 0]);
  });
}

Deno.test("exchange() does not suggest --reply-none, when a run without replies loses its connection to a close with 1000", async () => {
  const closed = Promise.withResolvers<void>();
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.readFrame();
    await socket.closeFrame(1000);
    await socket.readFrame();
    closed.resolve();
  });
  async function* messages() {
    yield "one";
    await within(closed.promise, "answer to the close frame", { timeoutMs: 60_000 });
    yield "two";
  }
  const report = await exchange(peer.url, {
    transport: "wire",
    messages: messages(),
    expectation: { type: "none" },
  });
  assertEquals([report.verdict, report.hint], ["connection-lost", ""]);
});
