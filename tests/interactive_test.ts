/** Conversations: through the real command line with a pipe, in a real terminal, and as a function. */

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { MAX_LINE_CHARS, splitLines } from "../lib/interactive.ts";
import { serveEcho } from "../lib/serve.ts";
import { client, COMMAND_TIMEOUT_MS, outcomeOf, standIns, start } from "./support/command.ts";
import { rawPeer, type Script, TEXT } from "./support/raw_peer.ts";

/** A terminal is made by `script` of util-linux, which every Debian has. */
const hasScript = Deno.build.os === "linux" && await Deno.stat("/usr/bin/script").then(() => true, () => false);

const CLOCK = String.raw`\d\d:\d\d:\d\d\.\d{3}`;

/** The lines on a stream without their clock times. */
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
  assertMatch(stderr, new RegExp(`${CLOCK} closed with 1000 \\(normal closure\\), confirmed by the peer\n$`));
});

Deno.test("client -i loses none of many lines", async () => {
  const server = serveEcho({ port: 0 });
  const lines = Array.from({ length: 5000 }, (_, index) => `line ${index}`);
  const { code, stdout } = await client(["-i", server.url], lines.join("\n"));
  await server.shutdown();
  assertEquals(code, 0);
  assertEquals(withoutClock(stdout), lines.map((line) => `< ${line}\n`).join(""));
});

/** A peer of which the first connection runs a script after the upgrade. */
function upgraded(script: Script) {
  return rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
}

Deno.test("client -i shows the peer's close with code and reason, and exits with 8 for another code", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.closeFrame(1001, "restart");
    await socket.untilGone();
  });
  const { code, stdout, stderr } = await client(["-i", peer.url], "one\ntwo\n");
  assertEquals([code, withoutClock(stdout)], [8, "< one\n"]);
  assertMatch(stderr, new RegExp(`${CLOCK} Peer closed with 1001 \\(going away\\), reason "restart"\n`));
  assertStringIncludes(stderr, "close-not-confirmed (exit 8): ");
});

Deno.test("client -i says how many replies came when the peer closes before the lines are through", async () => {
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

Deno.test("client -i does not take a greeting for a reply with --skip", async () => {
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

Deno.test("client -i exits with 0 when the end of a pipe comes after the close that is expected", async () => {
  const answered = Promise.withResolvers<void>();
  await using peer = upgraded(async (socket) => {
    await socket.echoOne();
    await socket.closeFrame(4001);
    await socket.readFrame();
    answered.resolve();
    await socket.untilGone();
  });
  const child = start("main.ts", ["-i", "--expect-close", "4001", peer.url], { stdin: "piped" });
  const outcome = outcomeOf(child);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("one\n"));
  await answered.promise;
  await writer.close();
  const { code, stderr } = await outcome;
  assertEquals(code, 0, stderr);
});

Deno.test("client -i exits with 7 when the connection drops", async () => {
  await using peer = upgraded((socket) => socket.readFrame().then(() => {}));
  const { code, stderr } = await client(["-i", peer.url], "one\n");
  assertEquals(code, 7);
  assertStringIncludes(stderr, "connection-lost (exit 7): Connection ended without a close frame");
});

Deno.test("client -i exits with 5 when replies to a pipe stay out", async () => {
  await using peer = upgraded(async (socket) => {
    await socket.readFrame();
    await socket.answerClose();
  });
  const { code, stderr } = await client(["-i", "--reply-timeout", "0.3", peer.url], "one\n");
  assertEquals(code, 5);
  assertStringIncludes(stderr, "no-reply (exit 5): No complete message within 0.3 s");
});

Deno.test("client -i pings with /ping over wire, and says that the built-in WebSocket cannot", async () => {
  const server = serveEcho({ port: 0 });
  const wire = await client(["-i", "--transport", "wire", server.url], "/ping\n");
  assertMatch(wire.stderr, new RegExp(`^${CLOCK} pong after [\\d.]+ ms$`, "m"));
  const builtin = await client(["-i", server.url], "/ping\n");
  assertMatch(builtin.stderr, /cannot ping: use --transport wire/);
  assertEquals([wire.code, builtin.code], [0, 0]);
  await server.shutdown();
});

Deno.test("client -i closes with /close CODE REASON, and says what is wrong about a code", async () => {
  const server = serveEcho({ port: 0 });
  const wire = await client(
    ["-i", "--transport", "wire", server.url],
    "/close 1006\n/close 1001 going home\nnever sent\n",
  );
  assertEquals([wire.code, wire.stdout], [0, ""]);
  assertMatch(wire.stderr, /Cannot close with code 1006/);
  assertMatch(wire.stderr, /closed with 1001 \(going away\), reason "going home", confirmed by the peer/);
  const builtin = await client(["-i", server.url], "/close 1001\n/close\n");
  assertEquals(builtin.code, 0);
  assertMatch(builtin.stderr, /Cannot close with code 1001 over the built-in WebSocket/);
  await server.shutdown();
});

Deno.test("client -i sends a line that looks like a command when its slash is doubled, and other slashes as they are", async () => {
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

Deno.test("client -i keeps what a peer sends from steering the terminal", async () => {
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
  // Were the close timeout what counts, the test would give up on the command.
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

Deno.test({
  name: "client -i holds a conversation in a terminal until Ctrl-D",
  ignore: !hasScript,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    const deno = `${Deno.execPath()} run --no-prompt ${standIns.join(" ")} --allow-net --allow-read main.ts`;
    const command = new Deno.Command("script", {
      args: ["-qec", `${deno} -i ${server.url}`, "/dev/null"],
      cwd: new URL("..", import.meta.url),
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const timer = setTimeout(() => command.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
    const writer = command.stdin.getWriter();
    const reader = command.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let screen = "";
    const until = async (text: string) => {
      while (!screen.includes(text)) {
        const { done, value } = await reader.read();
        assert(!done, `The terminal ended before ${text}:\n${screen}`);
        screen += value;
      }
    };
    await until("Ctrl-D closes");
    await writer.write(new TextEncoder().encode("hello\r"));
    await until("< hello");
    await writer.write(Uint8Array.of(4));
    await until("confirmed by the peer");
    assertEquals((await command.status).code, 0);
    clearTimeout(timer);
    await writer.close().catch(() => {});
    await reader.cancel();
    await server.shutdown();
  },
});

Deno.test({
  name: "client draws a progress bar in a terminal when the work takes longer than a second, and removes it",
  ignore: !hasScript,
  fn: async () => {
    // The bar comes with the first reply after a second. As long as there is none, replies take their time: 4 s at least.
    let isDrawn = false;
    await using peer = upgraded(async (socket) => {
      for (let reply = 0; reply < 40; reply++) {
        const { opcode, payload } = await socket.readFrame();
        if (!isDrawn) await new Promise((resolve) => setTimeout(resolve, 100));
        await socket.frame(opcode, payload);
      }
      await socket.answerClose();
    });
    const deno = `${Deno.execPath()} run --no-prompt ${standIns.join(" ")} --allow-net --allow-read main.ts`;
    const command = new Deno.Command("script", {
      args: ["-qec", `${deno} --size 64KiB -n 40 ${peer.url}`, "/dev/null"],
      cwd: new URL("..", import.meta.url),
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const timer = setTimeout(() => command.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
    let screen = "";
    for await (const text of command.stdout.pipeThrough(new TextDecoderStream())) {
      screen += text;
      isDrawn ||= /\d\d:\d\d \[[#-]{40}\] \d\.\d of 2\.5 MiB/.test(screen);
    }
    clearTimeout(timer);
    assertEquals([(await command.status).code, isDrawn], [0, true], screen);
    // The last thing on the bar's line is what replaces it.
    assertEquals(screen.split("\n")[0]?.split("\r\u001b[K").at(-1)?.includes("MiB"), false);
  },
});
