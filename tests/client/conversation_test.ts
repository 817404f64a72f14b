/** Conversations through a pipe, and as a function. */

import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { MAX_LINE_CHARS, splitLines } from "../../lib/client/conversation.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { client, outcomeOf, reportOf, start } from "../support/command.ts";
import { rawPeer, type Script, TEXT } from "../support/raw_peer.ts";

const CLOCK = String.raw`\d\d:\d\d:\d\d\.\d{3}`;

/** The lines of a stream without their clock times. */
function withoutClock(text: string): string {
  return text.replaceAll(new RegExp(`^${CLOCK} `, "gm"), "");
}

Deno.test("client -i sends each line of a pipe, waits for the replies and verifies the close", async () => {
  const server = serveEcho({ port: 0 });
  const { code, stdout, stderr } = await client(["-i", server.url], "one\ntwo\r\n\nlast without an end");
  await server.shutdown();
  assertEquals(code, 0, stderr);
  assertMatch(stdout, new RegExp(`^${CLOCK} < one\n`));
  assertEquals(withoutClock(stdout), "< one\n< two\n< \n< last without an end\n");
  assertMatch(stderr, /^Connected to ws:\/\/127\.0\.0\.1:\d+\/ in [\d.]+ ms\n/);
  assertMatch(
    stderr,
    new RegExp(
      `${CLOCK} closed with 1000 \\(normal closure\\), confirmed by the peer\nproven in .*: upgraded; 4 replies the same as sent; close confirmed\n$`,
    ),
  );
});

Deno.test("client -i sends every one of many lines", async () => {
  const server = serveEcho({ port: 0 });
  const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}`);
  const { code, stdout } = await client(["-i", server.url], lines.join("\n"));
  await server.shutdown();
  assertEquals(code, 0);
  assertEquals(withoutClock(stdout), lines.map((line) => `< ${line}\n`).join(""));
});

/** A peer whose first connection runs a script after the upgrade. */
function upgraded(script: Script) {
  return rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
}

Deno.test("client -i shows the peer's close with code and reason, and exits with 7 when a line has no reply", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.closeFrame(1001, "restart");
    await socket.untilGone();
  });
  const { code, stdout, stderr } = await client(["-i", peer.url], "one\ntwo\n");
  assertEquals([code, withoutClock(stdout)], [7, "< one\n"]);
  assertEquals(stderr.match(/Peer closed with 1001 \(going away\), reason "restart"/g)?.length, 1);
  assertMatch(
    stderr,
    /connection-lost \(exit 7\): Peer closed .*, after 1 reply to \d lines?\n {2}The server is shutting down/,
  );
});

Deno.test("client -i exits with 8 when the peer closes with another code than expected, and nothing was left to send", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.closeFrame(1001);
    await socket.untilGone();
  });
  const { code, stderr } = await client(["-i", peer.url], "one\n");
  assertEquals(code, 8);
  assertStringIncludes(stderr, "Peer closed with 1001 (going away), instead of 1000 (normal closure)");
});

Deno.test("client -i says how many replies came when the peer closes before the last line", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    await socket.closeFrame(1000);
    await socket.untilGone();
  });
  const { code, stderr } = await client(["-i", peer.url], "one\ntwo\nthree\n");
  assertEquals(code, 7);
  assertMatch(
    stderr,
    /connection-lost \(exit 7\): Peer closed with 1000 \(normal closure\), after 0 replies to \d lines?\n/,
  );
});

Deno.test("client -i does not mistake a greeting for a reply with --skip", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.frame(TEXT, "welcome");
    await socket.echoOne();
    await socket.echoOne();
    await socket.answerClose();
  });
  const { code, stdout } = await client(["-i", "--skip", "1", peer.url], "one\ntwo\n");
  assertEquals([code, withoutClock(stdout)], [0, "< welcome\n< one\n< two\n"]);
});

Deno.test("client -i says that a message is too long", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.frame(TEXT, "too long");
    await socket.answerClose();
  });
  const { code, stderr } = await client(["-i", "--max-message", "4", peer.url], "one\n");
  assertEquals(code, 6);
  assertStringIncludes(stderr, "wrong-reply (exit 6): Message is longer than the limit of 4 bytes");
});

Deno.test("client -i -q prints nothing of a script: the exit code says it", async () => {
  const server = serveEcho({ port: 0 });
  const right = await client(["-i", "-q", server.url], "one\n/binary ff\n");
  const wrong = await client(["-i", "-q", "--reply", "two", server.url], "one\n");
  await server.shutdown();
  assertEquals([right.code, right.stdout, right.stderr], [0, "", ""]);
  assertEquals([wrong.code, wrong.stdout, wrong.stderr], [6, "", ""]);
});

Deno.test("client -i does not show a password", async () => {
  const server = serveEcho({ port: 0 });
  const { stderr } = await client(["-i", server.url.replace("ws://", "ws://user:secret@")]);
  await server.shutdown();
  assertStringIncludes(stderr, "Connected to ws://user:***@127.0.0.1:");
});

Deno.test("splitLines() refuses a line without an end, at 16 MiB characters", async () => {
  assertEquals(MAX_LINE_CHARS, 16_777_216);
  const lines = (text: string) => Array.fromAsync(ReadableStream.from([text]).pipeThrough(splitLines()));
  assertEquals((await lines("x".repeat(MAX_LINE_CHARS))).length, 1);
  await assertRejects(() => lines("x".repeat(MAX_LINE_CHARS + 1)), RangeError, "longer than 16777216 characters");
});

Deno.test("client -i exits with 0 when the peer closes with the code that is expected", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.closeFrame(4001);
    await socket.untilGone();
  });
  assertEquals((await client(["-i", "--expect-close", "4001", peer.url], "one\n")).code, 0);
});

Deno.test("client -i exits with 7 when the connection drops", async () => {
  await using peer = upgraded((socket) => socket.readFrame().then(() => {}));
  const { code, stderr } = await client(["-i", peer.url], "one\n");
  assertEquals(code, 7);
  assertStringIncludes(stderr, "connection-lost (exit 7): Connection ended without a close frame");
});

Deno.test("client -i exits with 5 when replies to a pipe do not come", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    await socket.answerClose();
  });
  const { code, stderr } = await client(["-i", "--reply-timeout", "0.3", peer.url], "one\n");
  assertEquals(code, 5);
  assertStringIncludes(stderr, "no-reply (exit 5): No complete message within 0.3 s");
});

Deno.test("client -i pings with /ping over wire", async () => {
  const server = serveEcho({ port: 0 });
  const { code, stderr } = await client(["-i", "--transport", "wire", server.url], "/ping\none\n");
  await server.shutdown();
  assertEquals(code, 0);
  assertMatch(stderr, new RegExp(`^${CLOCK} pong after [\\d.]+ ms$`, "m"));
});

Deno.test("client -i closes with /close CODE REASON and sends no line after it", async () => {
  const server = serveEcho({ port: 0 });
  const { code, stdout, stderr } = await client(
    ["-i", "--transport", "wire", server.url],
    "/close 1001 going home\nnever sent\n",
  );
  await server.shutdown();
  assertEquals([code, stdout], [0, ""]);
  assertMatch(stderr, /closed with 1001 \(going away\), reason "going home", confirmed by the peer/);
});

for (
  const [line, transport, problem] of [
    ["/close 1005", "wire", "Cannot close with code 1005: use"],
    ["/close 1006", "builtin", "Cannot close with code 1006: use"],
    ["/close 1001", "builtin", "Cannot close with code 1001 over the built-in WebSocket"],
    [`/close 4001 ${"x".repeat(124)}`, "wire", "a reason of 124 bytes"],
    [`/close 4001 ${"x".repeat(124)}`, "builtin", "a reason of 124 bytes"],
    ["/close now", "wire", 'Cannot read "/close now": give /close CODE REASON'],
    ["/ping 3", "wire", 'Cannot read "/ping 3": give /ping alone'],
    ["/ping", "builtin", "The built-in WebSocket cannot ping: use --transport wire"],
  ] as const
) {
  Deno.test(`client -i exits with 2 and sends no more, when ${line.slice(0, 15)} fails in a pipe, over ${transport}`, async () => {
    const messages: string[] = [];
    const server = serveEcho({
      port: 0,
      onEvent: (event) => event.type === "closed" && messages.push(`${event.messages}`),
    });
    const { code, stderr } = await client(["-i", "--transport", transport, server.url], `one\n${line}\ntwo\n`);
    await server.shutdown();
    assertEquals([code, messages], [2, ["1"]]);
    assertStringIncludes(stderr, "usage (exit 2): ");
    assertStringIncludes(stderr, problem);
  });
}

Deno.test("client -i exits with 5 when a /ping in a pipe has no pong", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    await socket.answerClose();
  });
  const { code, stderr } = await client(["-i", "--transport", "wire", "--reply-timeout", "0.3", peer.url], "/ping\n");
  assertEquals(code, 5);
  assertStringIncludes(stderr, "no-reply (exit 5): No pong within 0.3 s");
});

Deno.test("client -i exits with 7 when the connection ends instead of a pong", async () => {
  await using peer = upgraded((socket) => socket.readFrame().then(() => {}));
  const { code, stderr } = await client(["-i", "--transport", "wire", peer.url], "/ping\n");
  assertEquals(code, 7);
  assertStringIncludes(stderr, "connection-lost (exit 7): Connection ended without a close frame");
});

Deno.test("client -i exits with 7 when the peer closes as expected and the input has not ended", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.closeFrame(1000);
    await socket.untilGone();
  });
  const child = start("main.ts", ["-i", peer.url], { stdin: "piped" });
  const outcome = outcomeOf(child);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("one\n"));
  const { code, stderr } = await outcome;
  await writer.close().catch(() => {});
  assertEquals(code, 7);
  assertStringIncludes(
    stderr,
    "connection-lost (exit 7): Peer closed with 1000 (normal closure), after 1 reply to 1 line",
  );
});

Deno.test("client -i shows the hints of a plain run", async () => {
  await using forbidden = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  });
  await using dropping = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.readFrame();
  });
  for (const peer of [forbidden, dropping]) {
    const hint = reportOf(await client(["--json", peer.url])).hint;
    assertStringIncludes((await client(["-i", peer.url], "Hello world\n")).stderr, `\n  ${hint}\n`);
  }
});

Deno.test("client -i sends a line with a doubled slash as the command's text, and other slashes unchanged", async () => {
  const server = serveEcho({ port: 0 });
  const { stdout } = await client(["-i", server.url], "//ping\n//close 1000\n/join\n//x\n");
  assertEquals(withoutClock(stdout), "< /ping\n< /close 1000\n< /join\n< //x\n");
  await server.shutdown();
});

Deno.test("client -i does not wait for replies with --reply-none", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    await socket.answerClose();
  });
  assertEquals((await client(["-i", "--reply-none", peer.url], "one\n")).code, 0);
});

Deno.test("client -i keeps a peer's text from steering the terminal", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    await socket.frame(TEXT, 'say "hi"\\\u001b[2J');
    await socket.answerClose();
  });
  const { stdout } = await client(["-i", peer.url], "one\n");
  assertEquals(withoutClock(stdout), '< say "hi"\\\\u001b[2J\n');
});

Deno.test("client -i says no-connection, handshake-refused and usage as the plain client does", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  });
  assertEquals((await client(["-i", peer.url])).code, 4);
  assertEquals((await client(["-i", "ws://127.0.0.1:1/"])).code, 3);
  assertEquals((await client(["-i", "-m", "x", peer.url])).code, 2);
});

Deno.test("client -i says usage when the input is not UTF-8", async () => {
  const server = serveEcho({ port: 0 });
  const { code, stderr } = await client(["-i", server.url], Uint8Array.of(0xff, 0x0a));
  await server.shutdown();
  assertEquals(code, 2);
  assertMatch(stderr, /usage \(exit 2\): .*UTF-8/);
});

Deno.test("client -i waits at most 2 s for the answer to its close frame after Ctrl-C", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    child.kill("SIGINT");
    await socket.untilGone();
  });
  // If the close timeout counted, the command would outlast the test's deadline.
  const child = start("main.ts", ["-i", "--close-timeout", "3600", peer.url], { stdin: "piped" });
  const outcome = outcomeOf(child);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("one\n"));
  assertEquals((await outcome).code, 130);
  await writer.close().catch(() => {});
});

Deno.test("client -i closes the connection at Ctrl-C and exits with 130", async () => {
  const code = Promise.withResolvers<number>();
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    child.kill("SIGINT");
    const { payload } = await socket.answerClose();
    code.resolve(new DataView(payload.buffer).getUint16(0));
  });
  const child = start("main.ts", ["-i", peer.url], { stdin: "piped" });
  const outcome = outcomeOf(child);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("one\n"));
  assertEquals([(await outcome).code, await code.promise], [130, 1000]);
  await writer.close().catch(() => {});
});
