/** Every verdict that the built-in transport can reach, through the real command line against real sockets. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createAuthority } from "../support/certificates.ts";
import { client, outcomeOf, reportOf, standIns, start } from "../support/command.ts";
import { CLOSE, rawPeer, type Script, TEXT } from "../support/raw_peer.ts";
import { hasTerminal, Terminal } from "../support/terminal.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { closing, replying } from "../support/faults.ts";

/** The first close after the echo, the expected one, and the exit code. */
const EMPTY_CLOSES: readonly [string, Script, string[], number, string][] = [
  ["answers the close with an empty frame", closing((s) => s.frame(CLOSE)), ["--expect-close", "none"], 0, ""],
  ["answers the close with an empty frame", closing((s) => s.frame(CLOSE)), [], 8, "--expect-close none"],
  ["answers the close with a code", closing((s) => s.closeFrame(1000)), ["--expect-close", "none"], 8, "1000 (normal"],
  [
    "drops the connection instead of closing",
    closing(async () => {}),
    ["--expect-close", "none"],
    8,
    "without a close",
  ],
  [
    "begins the close with an empty frame",
    async (socket) => {
      await socket.upgrade();
      await socket.echoOne();
      await socket.frame(CLOSE);
      await socket.untilGone();
    },
    ["--expect-close", "none"],
    0,
    "",
  ],
];
for (const [does, script, args, code, says] of EMPTY_CLOSES) {
  for (const mode of [[], ["-i"]]) {
    const words = [...mode, ...args].join(" ");
    Deno.test(`client ${words} exits with ${code} when the peer ${does}, over wire`, async () => {
      await using peer = rawPeer(script);
      const outcome = await client([...mode, "--transport", "wire", ...args, peer.url], "Hello world\n");
      assertEquals(outcome.code, code, outcome.stderr);
      assertStringIncludes(outcome.stderr, says);
    });
  }
}

/** Text that would control a terminal or reorder a line, and its bytes on the wire. */
const HOSTILE = "a\u009b31m\u0085\u2028\u202eb";

for (const transport of ["builtin", "wire"]) {
  Deno.test(`client prints no control or direction characters of a close reason or a subprotocol, over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.echoOne();
      await socket.readFrame();
      await socket.closeFrame(4000, HOSTILE);
    });
    for (const args of [["--json"], ["-v"], ["-i"]]) {
      const { code, stdout, stderr } = await client([...args, "--transport", transport, peer.url], "Hello world\n");
      assertEquals(code, 8);
      assertEquals(/[\x80-\x9f\u2028-\u202e]/.test(stdout + stderr), false, JSON.stringify(stdout + stderr));
      assertStringIncludes(stdout + stderr, String.raw`a\u009b31m\u0085\u2028\u202eb`);
      if (args[0] === "--json") assertEquals(JSON.parse(stdout).close.received.reason, HOSTILE);
    }
  });
}

Deno.test("client prints no control or direction characters of a refusal", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write(`HTTP/1.1 403 Forbidden\r\nX-Why: ${HOSTILE}\r\nContent-Length: 15\r\n\r\n${HOSTILE}`);
  });
  const { code, stdout, stderr } = await client(["--json", "--transport", "wire", peer.url]);
  assertEquals(code, 4);
  assertEquals(/[\x80-\x9f\u2028-\u202e]/.test(stdout + stderr), false, JSON.stringify(stdout + stderr));
  assertStringIncludes(stdout, String.raw`\u202eb`);
});

for (const transport of ["builtin", "wire"]) {
  Deno.test(`client prints no control characters of a certificate's names, over ${transport}`, async () => {
    const authority = await createAuthority();
    await using peer = rawPeer(
      async (socket) => void await socket.readHead(),
      await authority.sign("x", { name: "a\u001b[31mb" }),
    );
    const ca = await Deno.makeTempFile();
    try {
      await Deno.writeTextFile(ca, authority.cert);
      for (const mode of ["--json", "-v", "-i"]) {
        const { code, stdout, stderr } = await client([mode, "--transport", transport, "--ca", ca, peer.url]);
        assertEquals(code, 3, stderr);
        assertEquals(`${stdout}${stderr}`.includes("\u001b"), false, JSON.stringify(stdout + stderr));
      }
    } finally {
      await Deno.remove(ca);
    }
  });

  Deno.test(`client shows no token that it offers as a subprotocol, when the server selects it or none, over ${transport}`, async () => {
    await using selecting = rawPeer(async (socket) => {
      await socket.upgrade("Sec-WebSocket-Protocol: wsproof.bearer.czNjcmV0");
      await socket.echoOne();
      await socket.answerClose();
    });
    await using ignoring = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.answerClose();
    });
    for (const peer of [selecting, ignoring]) {
      for (const mode of [["--json"], ["-v"], ["-i"], ...(transport === "wire" ? [["--trace"]] : [])]) {
        const args = [...mode, "--transport", transport, "-p", "wsproof.bearer.czNjcmV0", peer.url];
        const { stdout, stderr } = await client(args, "Hello world\n");
        assertEquals(`${stdout}${stderr}`.includes("czNjcmV0"), false, stderr);
      }
    }
  });
}

Deno.test("client says no-connection when nothing listens", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  const outcome = await client(["--json", `ws://127.0.0.1:${port}/`]);
  assertEquals([reportOf(outcome).verdict, outcome.code], ["no-connection", 3]);
  assertStringIncludes(outcome.stderr, "nothing answered there\n  nothing listens there");
});

Deno.test("client says no-connection when the name does not exist", async () => {
  const outcome = await client(["--json", "ws://no-such-host.invalid/"]);
  assertEquals([reportOf(outcome).verdict, outcome.code], ["no-connection", 3]);
});

for (const transport of ["builtin", "wire"]) {
  Deno.test(`client says interrupted when Ctrl-C comes, and closes the connection first, over ${transport}`, async () => {
    const closed = Promise.withResolvers<number>();
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      child.kill("SIGINT");
      const { payload } = await socket.answerClose();
      closed.resolve(new DataView(payload.buffer).getUint16(0));
    });
    const child = start("main.ts", ["--json", "--transport", transport, peer.url]);
    const outcome = await outcomeOf(child);
    assertEquals([reportOf(outcome).verdict, outcome.code], ["interrupted", 130]);
    assertEquals(await closed.promise, 1000);
  });

  Deno.test(`client says interrupted when Ctrl-C comes while it connects, over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      child.kill("SIGINT");
      await socket.untilGone();
    });
    const child = start("main.ts", ["--json", "--transport", transport, peer.url]);
    const outcome = await outcomeOf(child);
    assertEquals([reportOf(outcome).verdict, outcome.code], ["interrupted", 130]);
  });
}

Deno.test("client sends the payload of -m, -b, -f and --size", async () => {
  const path = await Deno.makeTempFile();
  const bytes = Uint8Array.of(0, 255, 13, 10);
  await Deno.writeFile(path, bytes);
  const server = serveEcho({ port: 0 });
  const sent = async (args: string[], input: string | Uint8Array = "") => {
    const report = reportOf(await client(["--json", ...args, server.url], input));
    assertEquals(report.verdict, "proven");
    const [first] = report.messages;
    return [report.sent.messages, first?.kind, first?.bytes, first?.sha256];
  };
  const sha256 = async (data: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
  const text = (words: string) => sha256(new TextEncoder().encode(words));
  try {
    assertEquals(await sent([]), [1, "text", 11, await text("Hello world")]);
    assertEquals(await sent(["-m", "é€😀"]), [1, "text", 9, await text("é€😀")]);
    assertEquals(await sent(["-m", ""]), [1, "text", 0, await text("")]);
    assertEquals(await sent(["-bm", "hi"]), [1, "binary", 2, await text("hi")]);
    assertEquals(await sent(["-b", "-f", path]), [1, "binary", 4, await sha256(bytes)]);
    assertEquals(await sent(["-f", "-"], "two\nlines\n"), [1, "text", 10, await text("two\nlines\n")]);
    assertEquals(await sent(["-bf-"], bytes), [1, "binary", 4, await sha256(bytes)]);
    assertEquals((await sent(["--size", "64KiB"])).slice(0, 3), [1, "binary", 65536]);
    assertEquals((await sent(["-n", "3"])).slice(0, 3), [3, "text", 11]);
    assertEquals((await sent(["-n", "0"])).slice(0, 1), [0]);
    assertEquals((await sent(["--size", "10", "--split", "4"])).slice(0, 3), [3, "binary", 4]);
    assertEquals((await sent(["-m", "ééééé", "--split", "5"])).slice(0, 3), [3, "text", 4]);
    assertEquals((await sent(["-f", "-", "--split", "4"], "Hello world")).slice(0, 3), [3, "text", 4]);
  } finally {
    await server.shutdown();
    await Deno.remove(path);
  }
});

Deno.test("client sends the header fields, the origin and the credentials it was given", async () => {
  const head = Promise.withResolvers<string>();
  await using peer = rawPeer(async (socket) => {
    head.resolve(await socket.upgrade("Sec-WebSocket-Protocol: chat"));
    await socket.echoOne();
    await socket.answerClose();
  });
  const url = peer.url.replace("ws://", "ws://user:secret@");
  const args = ["-H", "X-One: 1", "-H", "X-Two: a: b", "--origin", "https://example.com", "-p", "chat", "-p", "soap"];
  const outcome = await client(["--json", ...args, url]);
  assertEquals(outcome.code, 0, outcome.stderr);
  const sent = (await head.promise).toLowerCase();
  assertStringIncludes(sent, "\r\nx-one: 1");
  assertStringIncludes(sent, "\r\nx-two: a: b");
  assertStringIncludes(sent, "\r\norigin: https://example.com");
  assertMatch(sent, /\r\nsec-websocket-protocol: chat, ?soap/);
  assertStringIncludes(sent, `\r\nauthorization: basic ${btoa("user:secret").toLowerCase()}`);
  assertEquals(outcome.stdout.includes("secret"), false);
  assertEquals(reportOf(outcome).protocol, "chat");
});

Deno.test("client prints four steps and the verdict for a person, one line each", async () => {
  const server = serveEcho({ port: 0 });
  const { code, stdout, stderr } = await client([server.url]);
  await server.shutdown();
  const lines = stdout.trimEnd().split("\n");
  assertEquals([code, stderr, lines.length], [0, "", 5]);
  for (const [index, name] of ["upgraded", "sent", "received", "closed"].entries()) {
    assertMatch(lines[index] ?? "", new RegExp(`^  ✓ ${name} .* m?s$`));
  }
  assertMatch(lines[4] ?? "", /^proven in .*: upgraded; reply the same as sent; close confirmed$/);
  assertEquals(lines.filter((line) => line.length > 80), []);
});

for (const columns of [60, 80, 140]) {
  Deno.test({
    name: `client breaks a failure at words and shows it once, whole, in a terminal of ${columns} columns`,
    ignore: !hasTerminal,
    fn: async () => {
      await using peer = rawPeer(replying(TEXT, "the quick brown fox jumps over the lazy dog"));
      const words = ["run", "--no-prompt", ...standIns, "--allow-net", "--allow-read", "main.ts", "-v"];
      await using terminal = new Terminal(
        { columns },
        ...words,
        `${peer.url}a/path/that/is/longer/than/sixty/columns/are`,
      );
      assertEquals(await terminal.ended(), 6, terminal.screen);
      const lines = terminal.screen.split("\r\n");
      const isUrl = (line: string) => /^ +ws:\S+$/.test(line);
      assertEquals(lines.filter((line) => line.length > columns && !isUrl(line)), []);
      // The only URLs are the given ones, unchanged.
      assertEquals(
        lines.join(" ").match(/ws:[^\s,]+/g),
        [...Array(2)].map(() => `${peer.url}a/path/that/is/longer/than/sixty/columns/are`),
      );
      assertEquals(lines.join(" ").replace(/ +/g, " ").match(/instead of text, 11 bytes;/g)?.length, 1);
    },
  });
}

Deno.test("client prints a failure on standard error, and the reached stages on standard output", async () => {
  await using peer = rawPeer(replying(TEXT, "Hello World"));
  const { code, stdout, stderr } = await client([peer.url]);
  assertEquals(code, 6);
  assertMatch(stdout, /✗ received/);
  assertMatch(
    stderr,
    /^wrong-reply \(exit 6\): Wrong reply: text, 11 bytes, instead of text, 11 bytes; the first diff/,
  );
});

Deno.test("client prints nothing with --quiet, and the exit code is the same", async () => {
  await using peer = rawPeer(replying(TEXT, "no"));
  assertEquals(await client(["-q", peer.url]), { code: 6, stdout: "", stderr: "" });
});

Deno.test("client starts its own server, or uses the one on the usual port, without a URL", async () => {
  const outcome = await client(["--json"]);
  assertEquals(outcome.code, 0, outcome.stderr);
  assertMatch(reportOf(outcome).url, /^ws:\/\/127\.0\.0\.1:\d+\/$/);
});

Deno.test("client shows each event with its time on standard error with --verbose", async () => {
  const server = serveEcho({ port: 0 });
  const { stdout, stderr } = await client(["-v", server.url]);
  await server.shutdown();
  const words = [
    "connecting to",
    "upgraded",
    "sent text",
    "received text",
    "closing with 1000",
    "ended: Peer closed with 1000",
  ];
  for (const word of words) assertMatch(stderr, new RegExp(`^ +[\\d.]+ m?s  ${word}`, "m"));
  assertMatch(stdout, /^proven/m);
});

for (
  const [args, line] of [
    [["--mesage", "x"], "Option --mesage does not exist: did you mean --message?"],
    [["--size", "10XB"], 'Option --size cannot be "10XB": give bytes, or a number with KiB, MiB or GiB'],
    [["--reply-timeout", "0"], 'Option --reply-timeout cannot be "0": give seconds, above 0 and at most 86400'],
    [["localhost:80"], 'URL "localhost:80" does not begin with ws:// or wss://: try "ws://localhost:80"'],
    [["ws:/host"], 'URL "ws:/host" does not begin with ws:// or wss://: try "ws://host"'],
    [[""], 'URL "" does not begin with ws:// or wss://, as in ws://host:port/path'],
    [
      ["ws://user:secret@host:99999/"],
      'URL "ws://user:***@host:99999/" is not valid: port 99999 is too high: give one from 1 to 65535',
    ],
    [
      ["--proxy", "foo://u:secret@h"],
      'Option --proxy cannot be "foo://u:***@h": give a URL such as http://host:port, or none',
    ],
    [
      ["-H", "Content-Length: 5"],
      "Option --header cannot set Content-Length: the handshake does that; for subprotocols use --protocol",
    ],
    [["--max-message", "64MiB"], 'Option --max-message cannot be "64MiB": at most 67108863 bytes over builtin'],
    [["-m", "a", "-f", "b"], "Options --message and --file exclude each other: give one of them"],
    [
      ["-f", "/no/such/file"],
      'Cannot read "/no/such/file": no such file; check the path',
    ],
    [["--close-code", "1001"], 'Option --close-code cannot be "1001": give 1000 or 3000-4999, or use --transport wire'],
    [["-f", "-", "ws://127.0.0.1:1/"], "Input is not UTF-8 at byte 1, so it cannot be sent as text: use --binary"],
  ] as const
) {
  Deno.test(`client says usage in one line for ${args.join(" ")}`, async () => {
    assertEquals(await client(args, Uint8Array.of(65, 255)), { code: 2, stdout: "", stderr: `wsproof: ${line}\n` });
  });
}

Deno.test("client says usage when the split input is not UTF-8, and closes the connection", async () => {
  const server = serveEcho({ port: 0 });
  const outcome = await client(
    ["--json", "--split", "4", "-f", "-", server.url],
    Uint8Array.of(65, 65, 65, 65, 65, 255),
  );
  await server.shutdown();
  const report = reportOf(outcome);
  assertEquals([outcome.code, report.verdict, report.stages.at(-1).ok], [2, "usage", true]);
  assertStringIncludes(report.problem, "not UTF-8 at byte 5");
});

Deno.test({
  name: "client says in one line that standard output is full",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const server = serveEcho({ port: 0 });
    const deno = `${Deno.execPath()} run --no-prompt ${standIns.join(" ")} --allow-net --allow-read main.ts`;
    const { code, stderr } = await new Deno.Command("sh", {
      args: ["-c", `${deno} ${server.url} > /dev/full`],
      cwd: new URL("../../", import.meta.url),
    }).output();
    await server.shutdown();
    assertEquals(code, 1);
    assertMatch(new TextDecoder().decode(stderr), /^wsproof: Cannot write to standard output: No space left.*\n$/);
  },
});

/** Runs a shell script, which can pass bytes that no JavaScript string has. */
async function shell(script: string) {
  const deno = `${Deno.execPath()} run --no-prompt ${
    standIns.join(" ")
  } --allow-net --allow-read --allow-env=WSPROOF_*`;
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-c", `bytes=$(printf 'a\\377b'); ${script.replace("DENO", deno)}`],
    cwd: new URL("../../", import.meta.url),
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

for (
  const [args, what] of [
    ['-m "$bytes" ws://127.0.0.1:1/', "Option -m"],
    ['--reply="$bytes" ws://127.0.0.1:1/', "Option --reply"],
    ['--close-reason "$bytes" ws://127.0.0.1:1/', "Option --close-reason"],
    ['--unix "$bytes"', "Option --unix"],
    ['"ws://127.0.0.1:1/$bytes"', "An argument"],
  ] as const
) {
  Deno.test({
    name: `client says usage and sends nothing, when bytes are not UTF-8 in ${args}`,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      const { code, stdout, stderr } = await shell(`DENO main.ts --json ${args}`);
      assertEquals([code, stdout], [2, ""]);
      assertMatch(stderr, new RegExp(`^wsproof: ${what} is not UTF-8, .*\n$`));
    },
  });
}

for (const name of ["WSPROOF_TOKEN", "WSPROOF_PROTOCOL"]) {
  Deno.test({
    name: `server says usage and does not quote the value, when ${name} is not UTF-8`,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      const { code, stderr } = await shell(`${name}="$bytes" DENO server.ts --port 0`);
      assertEquals([code, stderr], [2, `wsproof: Variable ${name} is not UTF-8: give UTF-8\n`]);
    },
  });
}

Deno.test("client shows its help and version", async () => {
  const help = await client(["--help"]);
  assertEquals([help.code, help.stderr], [0, ""]);
  assertMatch(help.stdout, /Usage: wsproof .*, or deno task -q client/);
  assertMatch((await client(["-V"])).stdout, /^wsproof \d+\.\d+\.\d+ \(Deno \d+/);
});
