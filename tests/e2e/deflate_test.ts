/** Compression through the command lines: the client against npm ws and faulty peers, and our own server. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { type WebSocket as WsClient, WebSocketServer } from "npm:ws@8.23.0";
import { MessageDeflate } from "../../lib/net/zlib.ts";
import { client, outcomeOf, reportOf, serverProcess, start } from "../support/command.ts";
import { CLOSE, rawPeer, type RawSocket, TEXT } from "../support/raw_peer.ts";

/** Runs the client against the echo server of `ws`. */
async function againstWs(args: readonly string[], perMessageDeflate: unknown) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket: WsClient) => {
    socket.on("error", () => {});
    socket.on("message", (data: unknown, binary: boolean) => socket.send(data, { binary }));
  });
  const outcome = await client(["--transport", "wire", ...args, `ws://127.0.0.1:${server.address().port}/`]);
  await new Promise((resolve) => server.close(resolve));
  return outcome;
}

const WS_OPTIONS: [perMessageDeflate: Record<string, unknown>, args: string[], extensions: RegExp][] = [
  [{ threshold: 0 }, ["--deflate"], /^permessage-deflate$/],
  [{ threshold: 0 }, ["--deflate", "--binary", "--fragment", "100"], /^permessage-deflate$/],
  [{ serverNoContextTakeover: true, clientNoContextTakeover: true }, ["--deflate"], /server_no_context_takeover/],
  [
    { serverMaxWindowBits: 10, clientMaxWindowBits: 9 },
    ["--deflate-params", "client_max_window_bits; server_max_window_bits=11"],
    /server_max_window_bits=10; client_max_window_bits=9|client_max_window_bits=9; server_max_window_bits=10/,
  ],
  [
    { threshold: 0 },
    ["--deflate-params", "server_no_context_takeover; client_no_context_takeover"],
    /server_no_context_takeover; client_no_context_takeover/,
  ],
];
for (const [options, args, extensions] of WS_OPTIONS) {
  Deno.test(`client with ${args.join(" ")} proves an exchange with npm ws with ${JSON.stringify(options)}`, async () => {
    for (const payload of [["-n", "20", "-m", "é€😀 ".repeat(300)], ["--size", "300KiB", "--split", "70KiB"]]) {
      const outcome = await againstWs(["--json", ...args, ...payload], options);
      const report = reportOf(outcome);
      assertEquals([report.verdict, outcome.code], ["proven", 0], outcome.stderr);
      assertMatch(report.extensions, extensions);
      assert(report.wire.sent > 0 && report.wire.received > 0);
    }
  });
}

Deno.test("client says how much was saved, and shows compressed frames with their content", async () => {
  await using server = await serverProcess("--transport", "wire");
  const args = ["--transport", "wire", "--deflate", "-m", "a".repeat(1000), "--trace", server.url];
  const { stdout, stderr, code } = await client(args);
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /✓ upgraded +ws:\S+, permessage-deflate/);
  assertMatch(stdout, /\n {2}compressed: \d\d bytes on the wire for 2000, 9\d % saved\n$/);
  const shown = stderr.trim().split("\n").map((line) => line.replace(/^ *[\d.]+ ms {2}/, ""));
  // After the heads of the handshake.
  const lines = shown.slice(shown.findIndex((line) => line.startsWith("> compressed")));
  assertEquals(lines[0], '> compressed text, 1000 bytes: "aaaaaaaaaaaaaaaa" ...');
  assertMatch(lines[1] ?? "", /^> text FIN RSV1, \d+ bytes, masked: 4a 4c /);
  assertMatch(lines[2] ?? "", /^< text FIN RSV1, \d+ bytes: 4a/);
  assertEquals(lines[3], '< inflated text, 1000 bytes: "aaaaaaaaaaaaaaaa" ...');
  assertStringIncludes(await server.nextLine(), 'for "/" with permessage-deflate');
});

Deno.test("client says that compression made its messages longer, when they are too short", async () => {
  await using server = await serverProcess("--transport", "wire");
  const { stdout } = await client(["--transport", "wire", "--deflate", server.url]);
  assertMatch(stdout, /\n {2}compressed: \d+ bytes on the wire for 22, \d+ % more\n$/);
});

Deno.test("client continues without compression if the server declines, and fails with exit 4 if it is required", async () => {
  await using server = await serverProcess("--transport", "wire", "--no-deflate");
  const declined = await client(["--transport", "wire", "--deflate", server.url]);
  assertEquals(declined.code, 0);
  assertStringIncludes(declined.stdout, ", permessage-deflate declined");
  const required = await client(["--transport", "wire", "--require-deflate", server.url]);
  assertEquals(required.code, 4);
  assertStringIncludes(required.stderr, "the server has declined permessage-deflate");
});

Deno.test("client holds a compressed conversation", async () => {
  await using server = await serverProcess("--transport", "wire");
  const child = start("main.ts", ["-i", "--transport", "wire", "--deflate", server.url], { stdin: "piped" });
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode("one\ntwo\n"));
  await writer.close();
  const { code, stdout, stderr } = await outcomeOf(child);
  assertEquals(code, 0, stderr);
  assertMatch(stdout, /^\S+ < one\n\S+ < two\n$/);
  assertMatch(stderr, /Connected to ws:\S+ in \S+ ms, permessage-deflate\n/);
  assertMatch(stderr, /\nOn the wire: \d+ bytes sent, \d+ received\n/);
});

for (const option of [["--deflate"], ["--deflate-params", "client_max_window_bits"], ["--require-deflate"]]) {
  Deno.test(`client with ${option.join(" ")} says that the built-in WebSocket cannot compress`, async () => {
    const { code, stderr } = await client([...option, "ws://127.0.0.1:1/"]);
    const words = "needs --transport wire: the built-in WebSocket cannot compress";
    assertEquals([code, stderr], [2, `wsproof: Option ${option[0]} ${words}\n`]);
  });
}

const PARAMETERS: [text: string, problem: string][] = [
  ["x", 'the parameter "x" is not known'],
  ["client_max_window_bits=8", "zlib needs client_max_window_bits=9 or more"],
  ["server_max_window_bits=16", 'the parameter server_max_window_bits has "16", which is not 8 to 15'],
  ["a, permessage-deflate", "give parameters separated by semicolons"],
];
for (const [text, problem] of PARAMETERS) {
  Deno.test(`client refuses to offer the parameters "${text}"`, async () => {
    const outcome = await client(["--transport", "wire", "--deflate-params", text, "ws://127.0.0.1:1/"]);
    assertEquals([outcome.code, outcome.stderr], [
      2,
      `wsproof: Option --deflate-params cannot be "${text}": ${problem}\n`,
    ]);
  });
}

const SETTINGS: [args: string[], problem: string][] = [
  [["--deflate", "bits=8"], 'Option --deflate cannot be "bits=8": bits: give a whole number from 9 to 15'],
  [["--deflate", "takeover=maybe"], 'Option --deflate cannot be "takeover=maybe": give any of bits=9-15'],
  [["--deflate", "x=1"], 'Option --deflate cannot be "x=1": give any of bits=9-15'],
  [["--deflate", "bits=9", "--no-deflate"], "Options --deflate and --no-deflate exclude each other"],
  [["--max-inflate-ratio", "0"], 'Option --max-inflate-ratio cannot be "0": give a whole number from 1 to 2000'],
];
for (const [args, problem] of SETTINGS) {
  Deno.test(`server refuses ${args.join(" ")}`, async () => {
    const { code, stderr } = await outcomeOf(start("server.ts", ["--transport", "wire", "--port", "0", ...args]));
    assertEquals(code, 2, stderr);
    assertStringIncludes(stderr, problem);
  });
}

Deno.test("server says that the built-in WebSocket cannot compress", async () => {
  const { code, stderr } = await outcomeOf(start("server.ts", ["--port", "0", "--deflate", "bits=9"]));
  assertEquals(code, 2);
  assertStringIncludes(stderr, "Option --deflate needs --transport wire: the built-in WebSocket cannot compress");
});

Deno.test("server keeps to the settings of --deflate", async () => {
  await using server = await serverProcess(
    "--transport",
    "wire",
    "--deflate",
    "bits=9,memory=1,level=9,takeover=no,threshold=2KiB",
  );
  const args = ["--transport", "wire", "--deflate-params", "client_max_window_bits", "--json"];
  const report = reportOf(await client([...args, "--size", "100KiB", server.url]));
  assertEquals([report.verdict, report.extensions], [
    "proven",
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; client_max_window_bits=9",
  ]);
});

/** Answers with an extension, then runs a script. */
async function answered(extensions: string, args: string[], script: (socket: RawSocket) => Promise<void>) {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade(`Sec-WebSocket-Extensions: ${extensions}`);
    await script(socket);
  });
  return await client(["--transport", "wire", ...args, peer.url]);
}

const ANSWERS: [extensions: string, args: string[], problem: string][] = [
  ["permessage-deflate", [], 'the extension "permessage-deflate" was not requested'],
  ["permessage-deflate; client_max_window_bits=10", ["--deflate"], "client_max_window_bits was not requested"],
  [
    "permessage-deflate; server_max_window_bits=7",
    ["--deflate"],
    'server_max_window_bits has "7", which is not 8 to 15',
  ],
  ["permessage-deflate; server_max_window_bits=", ["--deflate"], "Sec-WebSocket-Extensions is malformed"],
  ["permessage-deflate; foo", ["--deflate"], 'the parameter "foo" is not known'],
  ["permessage-deflate, permessage-deflate", ["--deflate"], "the extension permessage-deflate appears twice"],
  ["x-other", ["--deflate"], 'the extension "x-other" was not requested'],
  [
    "permessage-deflate",
    ["--deflate-params", "server_no_context_takeover"],
    "server_no_context_takeover was requested and is missing",
  ],
];
for (const [extensions, args, problem] of ANSWERS) {
  Deno.test(`client with ${args.join(" ") || "no offer"} fails with exit 4 for the answer "${extensions}"`, async () => {
    const outcome = await answered(extensions, args, () => Promise.resolve());
    assertEquals(outcome.code, 4, outcome.stderr);
    assertStringIncludes(outcome.stderr, problem);
  });
}

const FRAMES: [name: string, script: (socket: RawSocket) => Promise<void>, exit: number, problem: RegExp][] = [
  ["garbage", (socket) => socket.frame(TEXT, Uint8Array.of(0xff, 0xff), 0xc0), 7, /cannot be inflated: invalid block/],
  [
    "a block that does not end",
    (socket) => socket.frame(TEXT, Uint8Array.of(0xf2, 0x48), 0xc0),
    7,
    /ends inside a block/,
  ],
  ["RSV1 on a ping", (socket) => socket.frame(9, "", 0xc0), 7, /RSV1 is set on a frame that does not begin a message/],
  ["RSV2", (socket) => socket.frame(TEXT, "", 0xa0), 7, /reserved bit/],
  [
    "a plain message",
    async (socket) => {
      await socket.readFrame();
      await socket.frame(TEXT, "Hello world");
      await socket.answerClose();
    },
    0,
    /^$/,
  ],
  [
    "BFINAL in the middle",
    async (socket) => {
      await socket.readFrame();
      await socket.frame(TEXT, Uint8Array.of(0xf3, 0x48, 0x05, 0x00, 0xca, 0xc9, 0xc9, 0x07, 0x00), 0xc0);
      await socket.answerClose();
    },
    0,
    /^$/,
  ],
];
for (const [name, script, exit, problem] of FRAMES) {
  Deno.test(`client ends with exit ${exit} when a peer with permessage-deflate sends ${name}`, async () => {
    const args = ["--deflate", ...(name.startsWith("BFINAL") ? ["--reply", "Hello"] : [])];
    const outcome = await answered("permessage-deflate", args, async (socket) => {
      await script(socket);
      if (exit !== 0) { while ((await socket.readFrame()).opcode !== CLOSE); }
    });
    assertEquals(outcome.code, exit, outcome.stderr);
    assertMatch(outcome.stderr, problem);
  });
}

Deno.test("client stops a server's bomb at --max-message, with 1009", async () => {
  const direction = { takeover: true, windowBits: 15 };
  const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: 1 });
  const bomb = codec.deflateWhole(new Uint8Array(2 * 1024 * 1024));
  codec.release();
  const outcome = await answered(
    "permessage-deflate",
    ["--deflate", "--max-message", "1MiB", "--json"],
    async (socket) => {
      await socket.frame(TEXT, bomb, 0xc0);
      while ((await socket.readFrame()).opcode !== CLOSE);
    },
  );
  const { verdict, problem, close } = reportOf(outcome);
  assertEquals([verdict, close.sent.code], ["wrong-reply", 1009], outcome.stderr);
  assertStringIncludes(problem, "longer than the limit of 1048576 bytes");
});
