/** The echo server through its real command line. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { outcomeOf, serverProcess, start } from "../support/command.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { rawClient, type RawSocket, TEXT } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const WAIT = { timeoutMs: 60_000 };

testBoth("server logs one line when a connection opens and one when it closes", async (transport) => {
  await using server = await serverProcess("--transport", transport);
  const connection = await openBuiltin(`${server.url}some/path?x=1`, { protocols: ["chat"] });
  await connection.send("é");
  await connection.receive(WAIT);
  await connection.close({ code: 4000, reason: "bye\u001b[31m", ...WAIT });
  assertMatch(
    await server.nextLine(),
    /^\S+Z #1 opened by 127\.0\.0\.1:\d+ for "\/some\/path\?x=1" subprotocol "chat"$/,
  );
  const closed = await server.nextLine();
  assertMatch(
    closed,
    /^\S+Z #1 closed: 4000 \(private use\), reason "bye\\u001b\[31m"; 1 message, 2 bytes in [\d.]+ ms$/,
  );
});

testBoth("server logs JSON with --log json", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--log", "json");
  const connection = await openBuiltin(server.url);
  await connection.close(WAIT);
  const [opened, closed] = [JSON.parse(await server.nextLine()), JSON.parse(await server.nextLine())];
  assertEquals([opened.type, opened.id, opened.path, opened.protocol], ["opened", 1, "/", ""]);
  assertEquals([closed.type, closed.id, closed.messages, closed.received], ["closed", 1, 0, {
    code: 1000,
    reason: "",
  }]);
});

testBoth("server closes with 1009 over --max-message, and not at it", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--max-message", "8");
  const connection = await openBuiltin(server.url);
  await connection.send("12345678");
  assertEquals(await connection.receive(WAIT), "12345678");
  await connection.send("123456789");
  const { received } = await connection.closed;
  assertEquals(received, { code: 1009, reason: "at most 8 bytes" });
});

testBoth("server pings an idle peer and drops it after --idle-timeout", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--idle-timeout", "1", "--log", "json");
  // A peer that never answers a ping.
  const socket = await rawClient(server.url);
  assertEquals(JSON.parse(await server.nextLine()).type, "opened");
  const closed = JSON.parse(await server.nextLine());
  assertEquals([closed.type, closed.received], ["closed", null]);
  assertStringIncludes(closed.error, "ping");
  socket.close();
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  testBoth(
    `server closes every connection with 1001 at ${signal} and exits with 0`,
    async (transport) => {
      await using server = await serverProcess("-q", "--transport", transport);
      const connections = await Promise.all([1, 2, 3].map(() => openBuiltin(server.url)));
      for (const connection of connections) {
        await connection.send("x");
        await connection.receive(WAIT);
      }
      server.child.kill(signal);
      for (const { closed } of connections) {
        assertEquals((await closed).received, { code: 1001, reason: "server shutting down" });
      }
      assertEquals(await server.ended(), { code: 0, stderr: "" });
    },
    { ignore: Deno.build.os === "windows" },
  );
}

async function sendMany(socket: RawSocket, count: number, payload: Uint8Array): Promise<void> {
  try {
    while (count-- > 0) await socket.frame(TEXT, payload);
  } catch {
    // The server is gone.
  }
}

testBoth(
  "server gives up a peer that neither reads nor answers the close, and exits with 0",
  async (transport) => {
    await using server = await serverProcess("-q", "--transport", transport);
    const socket = await rawClient(server.url);
    // More unread echoes than the socket buffers hold. Over our own frames the server then stops reading.
    const sending = sendMany(socket, 64, new Uint8Array(256 * 1024));
    if (transport === "builtin") {
      await sending;
      // A message during the runtime's close would cut the connection.
      const metrics = new URL("/metrics", server.url.replace("ws:", "http:"));
      while (!(await (await fetch(metrics)).text()).includes("\nwsproof_messages_total 64\n"));
    }
    server.child.kill("SIGTERM");
    const { code, stderr } = await server.ended();
    await sending;
    socket.close();
    assertEquals([code, stderr], [0, "wsproof: 1 peer did not answer the close frame in time\n"]);
  },
  { ignore: Deno.build.os === "windows" },
);

for (
  const [args, code, line] of [
    [["--port", "99999"], 2, 'Option --port cannot be "99999": give a whole number from 0 to 65535'],
    [["--max-message", "64MiB"], 2, 'Option --max-message cannot be "64MiB": at most 67108863 bytes over builtin'],
    [
      ["--transport", "wire", "--max-message", "2GiB"],
      2,
      'Option --max-message cannot be "2GiB": at most 1073741824 bytes over wire',
    ],
    [["--transport", "tcp"], 2, 'Option --transport cannot be "tcp": give builtin or wire'],
    [
      ["--idle-timeout", "never"],
      2,
      'Option --idle-timeout cannot be "never": give a whole number from 0 to 86400',
    ],
    [["--log", "xml"], 2, 'Option --log cannot be "xml": give text, json or none'],
    [["--log", "toString"], 2, 'Option --log cannot be "toString": give text, json or none'],
    [["--host", ""], 2, 'Option --host cannot be "": give an address or a name'],
    [["8080"], 2, 'The server takes no operand: leave out "8080"'],
    [["--prot", "1"], 2, "Option --prot does not exist: did you mean --port?"],
    [["--host", "no-such-host.invalid"], 1, 'Cannot listen on host "no-such-host.invalid", port 0: '],
    [["--host", "192.0.2.1"], 1, 'Cannot listen on host "192.0.2.1", port 0: '],
  ] as const
) {
  Deno.test(`server says in one line what is wrong with ${args.join(" ")}, and exits with ${code}`, async () => {
    const outcome = await outcomeOf(start("server.ts", ["--port", "0", ...args]));
    assertEquals([outcome.code, outcome.stdout], [code, ""]);
    assertMatch(outcome.stderr, /^wsproof: .*\n$/);
    assertStringIncludes(outcome.stderr, `wsproof: ${line}`);
  });
}

Deno.test("server says in one line that the port is taken, and exits with 1", async () => {
  await using server = await serverProcess();
  const { port } = new URL(server.url);
  const outcome = await outcomeOf(start("server.ts", ["--port", port]));
  assertEquals(outcome, {
    code: 1,
    stdout: "",
    stderr: `wsproof: Cannot listen on host "127.0.0.1", port ${port}: the port is in use; give another --port, or 0\n`,
  });
});

Deno.test("server shows its help within 80 columns, and its version", async () => {
  const help = await outcomeOf(start("server.ts", ["--help"]));
  assertEquals([help.code, help.stderr], [0, ""]);
  assertEquals(help.stdout.split("\n").filter((line) => line.length > 80), []);
  for (
    const option of ["--port", "--host", "--max-message", "--idle-timeout", "--transport", "--log", "-q", "-h", "-V"]
  ) {
    assertStringIncludes(help.stdout, option);
  }
  assertMatch((await outcomeOf(start("server.ts", ["--version"]))).stdout, /^wsproof \d+\.\d+\.\d+ /);
});

Deno.test("server prints no control characters of a value that it refuses", async () => {
  const env = { WSPROOF_MAX_MESSAGE: "1\u009b31m\u202e" };
  const { code, stderr } = await outcomeOf(start("server.ts", ["--port", "0"], { env }));
  assertEquals(code, 2);
  assertStringIncludes(stderr, String.raw`Variable WSPROOF_MAX_MESSAGE cannot be "1\u009b31m\u202e"`);
});
