/** Conversations: through the real command line with a pipe, in a real terminal, and as a function. */

import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { MAX_LINE_CHARS, splitLines } from "../../lib/client/conversation.ts";
import { SECOND_SIGNAL_MS } from "../../lib/cli/signals.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { client, outcomeOf, reportOf, standIns, start } from "../support/command.ts";
import { rawPeer, type Script, TEXT } from "../support/raw_peer.ts";
import { COOKED, hasTerminal, Terminal, type TerminalOptions } from "../support/terminal.ts";

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
  assertMatch(
    stderr,
    new RegExp(
      `${CLOCK} closed with 1000 \\(normal closure\\), confirmed by the peer\nproven in .*: upgraded; 4 replies the same as sent; close confirmed\n$`,
    ),
  );
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
    /connection-lost \(exit 7\): Peer closed .*, after 1 reply to \d lines?\n {2}A server goes down/,
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

/** A peer that does not what the lines of a script want, and what the client has to say of it. */
const SCRIPTS: readonly {
  readonly does: string;
  readonly script: Script;
  readonly args?: readonly string[];
  readonly input?: string;
  readonly code: number;
  readonly says?: string;
}[] = [
  {
    does: "greets, answers the first line and never the second",
    args: ["--close-timeout", "0.3"],
    script: async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.echoOne();
      await socket.untilGone();
    },
    code: 6,
    says: "use --skip 1",
  },
  {
    does: "answers the first line twice and never the second",
    args: ["--close-timeout", "0.3"],
    script: async (socket) => {
      const { payload } = await socket.readFrame();
      await socket.frame(TEXT, payload);
      await socket.frame(TEXT, payload);
      await socket.untilGone();
    },
    code: 6,
    says: "wrong-reply (exit 6): ",
  },
  {
    does: "answers the last line twice",
    script: async (socket) => {
      await socket.echoOne();
      const { payload } = await socket.readFrame();
      await socket.frame(TEXT, payload);
      await socket.frame(TEXT, payload);
      await socket.answerClose();
    },
    code: 6,
    says: 'A message came that nothing asked for: text, 3 bytes: "two"\n  the reply came twice\n',
  },
  {
    does: "answers with something else",
    script: async (socket) => {
      await socket.readFrame();
      await socket.frame(TEXT, "One");
      await socket.answerClose();
    },
    code: 6,
    says: 'at byte 0: "One" instead of "one"',
  },
  {
    does: "answers with anything, with --reply-any",
    args: ["--reply-any"],
    script: async (socket) => {
      for (const reply of ["1", "2"]) {
        await socket.readFrame();
        await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 0,
  },
  {
    does: "says more than one thing to the last line, with --reply-any",
    args: ["--reply-any"],
    script: async (socket) => {
      for (const replies of [["1"], ["2", "3"]]) {
        await socket.readFrame();
        for (const reply of replies) await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 6,
    says: 'A message came that nothing asked for: text, 1 byte: "3"',
  },
  {
    does: "does not answer the second line, with --reply-any",
    args: ["--reply-any", "--reply-timeout", "0.3"],
    script: async (socket) => {
      await socket.echoOne();
      await socket.readFrame();
      await socket.answerClose();
    },
    code: 5,
  },
  {
    does: "answers each line with what matches",
    args: ["--reply-match", "^ok"],
    script: async (socket) => {
      for (const reply of ["ok 1", "ok 2"]) {
        await socket.readFrame();
        await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 0,
  },
  {
    does: "answers a line with what does not match",
    args: ["--reply-match", "^ok"],
    script: async (socket) => {
      for (const reply of ["ok 1", "no 2"]) {
        await socket.readFrame();
        await socket.frame(TEXT, reply);
      }
      await socket.answerClose();
    },
    code: 6,
    says: "which does not match",
  },
  {
    does: "speaks where --reply-none expects silence",
    args: ["--reply-none"],
    script: async (socket) => {
      await socket.echoOne();
      await socket.readFrame();
      await socket.answerClose();
    },
    code: 6,
    says: "nothing asked for",
  },
  {
    does: "greets although no line comes",
    input: "",
    script: async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.answerClose();
    },
    code: 0,
  },
  {
    does: "greets although nothing is expected and no line comes",
    input: "",
    args: ["--reply-none"],
    script: async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.answerClose();
    },
    code: 6,
  },
  {
    does: "finds a line too big",
    script: async (socket) => {
      await socket.readFrame();
      await socket.closeFrame(1009);
      await socket.untilGone();
    },
    code: 7,
    says: "after 0 replies to 1 line\n  the server takes shorter messages only",
  },
];
for (const { does, script, args = [], input = "one\ntwo\n", code, says = "" } of SCRIPTS) {
  for (const transport of ["builtin", "wire"]) {
    Deno.test(`client -i exits with ${code} when the peer ${does}, over ${transport}`, async () => {
      await using peer = upgraded(script);
      const outcome = await client(
        ["-i", "--transport", transport, ...args, peer.url],
        input,
      );
      assertEquals(outcome.code, code, outcome.stderr);
      assertStringIncludes(outcome.stderr, says);
    });
  }
}

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

Deno.test("client -i says the hints of a plain run", async () => {
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

/** The client in a terminal of its own. */
function terminal(...args: readonly (string | TerminalOptions)[]): Terminal {
  const options = args.filter((arg) => typeof arg !== "string");
  const words = args.filter((arg) => typeof arg === "string");
  const permissions = ["--allow-net", "--allow-read", "--allow-env=COLUMNS,TERM"];
  return new Terminal(...options, "run", "--no-prompt", ...standIns, ...permissions, "main.ts", ...words);
}

const CTRL_D = "\x04";

Deno.test({
  name: "client -i holds a conversation in a terminal until Ctrl-D, and judges no reply",
  ignore: !hasTerminal,
  fn: async () => {
    await using peer = upgraded(async (socket) => {
      await socket.frame(TEXT, "welcome");
      await socket.readFrame();
      await socket.frame(TEXT, "what?");
      await socket.answerClose();
    });
    await using shown = terminal("-i", peer.url);
    await shown.until("Ctrl-D closes");
    await shown.until("< welcome");
    await shown.type("hello\r");
    await shown.until("< what?");
    await shown.type("/close 1005\r");
    await shown.until("Cannot close with code 1005");
    await shown.type(CTRL_D);
    await shown.until("confirmed by the peer");
    assertEquals(await shown.ended(), 0);
  },
});

Deno.test({
  name: "client -i does not send a line that a dumb terminal has cut, says so and exits with 2, without a code",
  ignore: !hasTerminal,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    await using shown = terminal({ kind: "dumb" }, "-i", server.url);
    await shown.until("Ctrl-D closes");
    await shown.type(`${"x".repeat(5000)}\r`);
    await shown.until("A line was not sent: the terminal cuts lines at 4095 bytes");
    await shown.type(`${"y".repeat(4094)}\r`);
    await shown.until(`< ${"y".repeat(4094)}`);
    await shown.type(CTRL_D);
    await shown.until("usage (exit 2): A line was not sent");
    assertEquals(await shown.ended(), 2);
    assertEquals(shown.screen.includes("\x1b"), false);
    await server.shutdown();
  },
});

Deno.test({
  name: "client -i exits with 6 in a terminal when messages came with --reply-none",
  ignore: !hasTerminal,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    await using shown = terminal("-i", "--reply-none", server.url);
    await shown.until("Ctrl-D closes");
    await shown.type("hello\r");
    await shown.until("< hello");
    await shown.type(CTRL_D);
    await shown.until("wrong-reply (exit 6): A message came that nothing asked for");
    assertEquals(await shown.ended(), 6);
    await server.shutdown();
  },
});

Deno.test({
  name: "client -i refuses --reply and --reply-match in a terminal",
  ignore: !hasTerminal,
  fn: async () => {
    await using shown = terminal("-i", "--reply", "pong", "ws://127.0.0.1:1/");
    await shown.until("--reply and --reply-match need lines from a pipe");
    assertEquals(await shown.ended(), 2);
  },
});

Deno.test({
  name: "client -i shows what arrives above a half typed line, which stays",
  ignore: !hasTerminal,
  fn: async () => {
    const half = "a half line that is longer than sixty columns, so that it takes two rows";
    // A blank at the end of a row cannot be seen.
    const withoutBlanks = (text: string) => text.replaceAll(" ", "");
    const isTyped = (lines: string[]) => withoutBlanks(lines.slice(-2).join("")) === withoutBlanks(`> ${half}`);
    await using peer = upgraded(async (socket) => {
      await shown.untilSeen((lines) => lines.at(-1) === ">");
      await shown.type(half);
      await shown.untilSeen((lines) => isTyped(lines));
      await socket.frame(TEXT, "news");
      await shown.untilSeen((lines) => isTyped(lines) && / < news$/.test(lines.at(-3) ?? ""));
      // Two characters to the left, and one more: the cursor has stayed in the line as well.
      await shown.type("\x1b[D\x1b[D");
      await socket.frame(TEXT, "more");
      await shown.untilSeen((lines) => / < more$/.test(lines.at(-3) ?? ""));
      await shown.type("X\r");
      const { payload } = await socket.readFrame();
      assertEquals(new TextDecoder().decode(payload), half.replace(/ws$/, "Xws"));
      await shown.untilSeen((lines) => lines.at(-1) === ">" && / > a half line/.test(lines.join("\n")));
      await shown.type(CTRL_D);
      await socket.answerClose();
    });
    await using shown = terminal({ columns: 60, after: "stty -a" }, "-i", peer.url);
    assertEquals(await shown.ended(), 0, shown.screen);
    assertMatch(shown.screen, COOKED);
    const lines = shown.lines;
    assertEquals(lines.filter((line) => line.startsWith(">")), []);
    assertMatch(
      lines.join(" ").replace(/ +/g, " "),
      /proven in .*: upgraded; 1 message sent, 2 received; close confirmed/,
    );
  },
});

Deno.test({
  name: "client -i sends a line of 8192 bytes from a terminal, and finds it in the history",
  ignore: !hasTerminal,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    await using shown = terminal("-i", server.url);
    await shown.untilSeen((lines) => lines.at(-1) === ">");
    await shown.type(`${"x".repeat(8192)}\r`);
    await shown.until(`< ${"x".repeat(8192)}`);
    await shown.type("second\r");
    await shown.until("< second");
    // Twice up, and back: the latest line comes first.
    await shown.type("\x1b[A\x1b[A\x1b[B again\r");
    await shown.until("< second again");
    await shown.type(CTRL_D);
    assertEquals(await shown.ended(), 0);
    await server.shutdown();
  },
});

Deno.test({
  name: "client -i obeys its commands in a terminal, tells of mistakes, and goes on",
  ignore: !hasTerminal,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    const path = await Deno.makeTempFile();
    await Deno.writeTextFile(path, "from a file");
    await using shown = terminal("-i", "--transport", "wire", server.url);
    await shown.until("Commands: /help, /ping, /close [CODE");
    for (
      const [line, answer] of [
        ["/help", "Send bytes, given in hexadecimal"],
        ["/ping", "pong after "],
        ["/binary 00 fF", "< binary, 2 bytes: 00 ff"],
        ["/binary 0", "give pairs of hexadecimal digits"],
        [`/file ${path}`, "< from a file"],
        [`/file -b ${path}`, "< binary, 11 bytes: 66 72"],
        ["/file /no/such/file", "no such file"],
        ["//ping", "< /ping"],
        ["/close 1000 bye", "confirmed by the peer"],
      ] as const
    ) {
      await shown.type(`${line}\r`);
      await shown.until(answer);
    }
    assertEquals(await shown.ended(), 0, shown.screen);
    await Deno.remove(path);
    await server.shutdown();
  },
});

for (
  const [what, end] of [
    ["Ctrl-C", (shown: Terminal) => shown.type("\x03")],
    ["SIGTERM", (shown: Terminal) => shown.kill("SIGTERM")],
  ] as const
) {
  Deno.test({
    name: `client -i restores the terminal, when ${what} ends it, and exits with 130`,
    ignore: !hasTerminal,
    fn: async () => {
      const server = serveEcho({ port: 0 });
      await using shown = terminal({ after: "stty -a" }, "-i", server.url);
      await shown.untilSeen((lines) => lines.at(-1) === ">");
      await shown.type("half");
      await shown.untilSeen((lines) => lines.at(-1) === "> half");
      await end(shown);
      assertEquals(await shown.ended(), 130, shown.screen);
      assertMatch(shown.screen, COOKED);
      assertMatch(shown.screen, /interrupted \(exit 130\)/);
      await server.shutdown();
    },
  });
}

Deno.test({
  name: "client -i restores the terminal at once, when a second Ctrl-C comes and the peer does not answer",
  ignore: !hasTerminal,
  fn: async () => {
    await using peer = upgraded((socket) => socket.untilGone());
    await using shown = terminal({ after: "stty -a" }, "-i", "--close-timeout", "3600", peer.url);
    await shown.untilSeen((lines) => lines.at(-1) === ">");
    const ended = shown.ended();
    let isOver = false;
    ended.finally(() => isOver = true);
    while (!isOver) {
      await shown.kill("SIGINT").catch(() => {});
      await new Promise((resolve) => setTimeout(resolve, SECOND_SIGNAL_MS / 5));
    }
    assertEquals(await ended, 130, shown.screen);
    assertMatch(shown.screen, COOKED);
  },
});

/** A module that does something at SIGUSR1. */
const atSignal = (code: string) =>
  `data:text/javascript,${
    encodeURIComponent(`Deno.addSignalListener("SIGUSR1", () => ${code})`).replaceAll("'", "%27")
  }`;

for (
  const [what, module] of [
    ["an error", atSignal(`{ throw new Error("boom"); }`)],
    ["a rejection", atSignal(`Promise.reject(new Error("boom"))`)],
  ]
) {
  Deno.test({
    name: `client -i restores the terminal, when ${what} that nobody catches ends it`,
    ignore: !hasTerminal,
    fn: async () => {
      const server = serveEcho({ port: 0 });
      const words = ["run", "--no-prompt", `'--preload=${module}'`, ...standIns, "--allow-net", "--allow-read"];
      await using shown = new Terminal({ after: "stty -a" }, ...words, "main.ts", "-i", server.url);
      await shown.untilSeen((lines) => lines.at(-1) === ">");
      await shown.kill("SIGUSR1");
      assertEquals(await shown.ended(), 1, shown.screen);
      assertMatch(shown.screen, /boom/);
      assertMatch(shown.screen, COOKED);
      await server.shutdown();
    },
  });
}
