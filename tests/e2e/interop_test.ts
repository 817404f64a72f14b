/** Exchanges with another implementation: npm `ws`, as the server of our client and as the client of our server. */

import { assertEquals, assertMatch } from "@std/assert";
import { createServer as createHttpsServer } from "node:https";
import { WebSocket as WsClient, WebSocketServer } from "npm:ws@8.23.0";
import { serveEcho } from "../../lib/server/serve.ts";
import { createAuthority } from "../support/certificates.ts";
import { client, type Outcome, reportOf } from "../support/command.ts";

/** The echo of `ws`; a breach of the client fails the connection, and is an event here. */
function echo(socket: WsClient): void {
  socket.on("error", () => {});
  socket.on("message", (data: unknown, isBinary: boolean) => socket.send(data, { binary: isBinary }));
}

/** Runs the client against the echo server of `ws`. */
async function againstWs(args: readonly string[], options: Record<string, unknown> = {}): Promise<Outcome> {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, ...options });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", echo);
  const outcome = await client(["--json", ...args, `ws://127.0.0.1:${server.address().port}/`]);
  await new Promise((resolve) => server.close(resolve));
  return outcome;
}

for (
  const args of [
    ["-m", "é€😀"],
    ["--size", "1MiB"],
    ["--size", "3MiB", "--split", "100KiB"],
    ["-n", "20", "--close-code", "4000", "--close-reason", "bye", "--expect-reason", "bye"],
    ["-p", "chat", "-p", "soap"],
  ]
) {
  for (const transport of ["builtin", "wire"]) {
    Deno.test(`client proves an exchange over ${transport} with the server of npm ws with ${args.join(" ")}`, async () => {
      const outcome = await againstWs(["--transport", transport, ...args]);
      assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
    });
  }
}

Deno.test("client loses the connection with 1009 to a server of npm ws with a lower limit", async () => {
  const outcome = await againstWs(["--size", "2000"], { maxPayload: 1000 });
  assertEquals(reportOf(outcome).verdict, "connection-lost");
  assertMatch(reportOf(outcome).problem, /1009/);
});

Deno.test("client is refused by a server of npm ws that rejects it", async () => {
  const outcome = await againstWs([], { verifyClient: () => false });
  assertEquals(reportOf(outcome).verdict, "handshake-refused");
  assertMatch(reportOf(outcome).problem, /401/);
});

Deno.test("server echoes to the client of npm ws and confirms its close", async () => {
  const server = serveEcho({ port: 0 });
  const socket = new WsClient(server.url, ["chat"], { perMessageDeflate: true });
  await new Promise((resolve) => socket.once("open", resolve));
  assertEquals([socket.protocol, socket.extensions], ["chat", ""]);
  const sent: (string | Uint8Array)[] = ["Hello world", "", Uint8Array.of(0, 255), new Uint8Array(1024 * 1024).fill(7)];
  const received: (string | Uint8Array)[] = [];
  const all = new Promise<void>((resolve) => {
    socket.on("message", (data: Uint8Array, isBinary: boolean) => {
      received.push(isBinary ? new Uint8Array(data) : new TextDecoder().decode(data));
      if (received.length === sent.length) resolve();
    });
  });
  for (const message of sent) socket.send(message);
  await all;
  assertEquals(received, sent);
  const closed = new Promise((resolve) =>
    socket.on("close", (code: number, reason: Uint8Array) => resolve([code, new TextDecoder().decode(reason)]))
  );
  socket.close(4000, "bye");
  assertEquals(await closed, [4000, "bye"]);
  await server.shutdown();
});

/** Runs a test against an echo server of `ws` over TLS. */
async function overTls(
  test: (
    url: string,
    authority: string,
    sign: (name: string) => Promise<{ cert: string; key: string }>,
  ) => Promise<void>,
  tls: Record<string, unknown> = {},
  options: Record<string, unknown> = {},
) {
  const authority = await createAuthority();
  const { cert, key } = await authority.sign("server");
  const https = createHttpsServer({ cert, key, ca: authority.cert, ...tls });
  const server = new WebSocketServer({ server: https, ...options });
  server.on("connection", echo);
  await new Promise<void>((resolve) => https.listen(0, "127.0.0.1", resolve));
  const address = https.address();
  const port = typeof address === "object" ? address?.port : undefined;
  try {
    await test(`wss://127.0.0.1:${port}/`, authority.cert, authority.sign);
  } finally {
    await new Promise((resolve) => server.close(resolve));
    await new Promise((resolve) => https.close(resolve));
  }
}

async function withFiles(texts: readonly string[], test: (paths: string[]) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  const paths = await Promise.all(texts.map(async (text, index) => {
    const path = `${folder}/${index}.pem`;
    await Deno.writeTextFile(path, text);
    return path;
  }));
  try {
    await test(paths);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Debian's python3-websockets; the gate installs it. */
const hasPythonWebsockets = await new Deno.Command("/usr/bin/python3", {
  args: ["-c", "import websockets"],
  stderr: "null",
})
  .output().then(({ success }) => success, () => false);

for (const transport of ["builtin", "wire"]) {
  Deno.test(`client proves an exchange over TLS and ${transport} with --ca`, async () => {
    await overTls((url, authority) =>
      withFiles([authority], async ([ca = ""]) => {
        const outcome = await client(["--json", "--transport", transport, "--ca", ca, url]);
        assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
      })
    );
  });

  Deno.test(`client says no-connection over ${transport} when the certificate is not trusted`, async () => {
    await overTls(async (url) => {
      const outcome = await client(["--json", "--transport", transport, url]);
      assertEquals([reportOf(outcome).verdict, outcome.code], ["no-connection", 3]);
      assertMatch(reportOf(outcome).problem, /no trusted authority has signed/);
      assertMatch(reportOf(outcome).hint, /--ca/);
    });
  });

  for (const isSecure of [false, true]) {
    Deno.test({
      name: `client proves an exchange over ${transport} with the ${
        isSecure ? "wss" : "ws"
      } server of Python's websockets`,
      ignore: !hasPythonWebsockets,
      fn: async () => {
        const authority = await createAuthority();
        const { cert, key } = await authority.sign("server");
        await withFiles([authority.cert, cert, key], async ([ca = "", certPath = "", keyPath = ""]) => {
          const script = new URL("../support/echo.py", import.meta.url).pathname;
          const command = new Deno.Command("/usr/bin/python3", {
            args: [script, ...(isSecure ? [certPath, keyPath] : [])],
            stdout: "piped",
          });
          const python = command.spawn();
          const reader = python.stdout.pipeThrough(new TextDecoderStream()).getReader();
          const port = Number((await reader.read()).value);
          const url = `${isSecure ? "wss" : "ws"}://127.0.0.1:${port}/`;
          try {
            for (const args of [["-m", "é€😀"], ["--size", "3MiB", "--split", "100KiB"], ["-n", "5"]]) {
              const outcome = await client(["--json", "--transport", transport, "--ca", ca, ...args, url]);
              assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
            }
          } finally {
            python.kill();
            await reader.cancel();
            await python.status;
          }
        });
      },
    });
  }
}

for (const transport of ["builtin", "wire"]) {
  Deno.test(`client presents its certificate over ${transport} with --cert and --key`, async () => {
    await overTls(async (url, authority, sign) => {
      const { cert, key } = await sign("client");
      await withFiles([authority, cert, key], async ([ca = "", certPath = "", keyPath = ""]) => {
        const args = ["--json", "--transport", transport, "--ca", ca, url];
        assertEquals(reportOf(await client(["--cert", certPath, "--key", keyPath, ...args])).verdict, "proven");
        const refused = reportOf(await client(args));
        // The server of the runtime may end TLS without an alert.
        assertMatch(refused.verdict, /^(no-connection|connection-lost)$/);
      });
    }, { requestCert: true, rejectUnauthorized: true });
  });
}

Deno.test("client says handshake-refused over TLS, by a server without HTTP/2 and by one with it", async () => {
  await overTls(
    (url, authority) =>
      withFiles([authority], async ([ca = ""]) => {
        const outcome = await client(["--json", "--ca", ca, `${url}elsewhere`]);
        assertEquals([reportOf(outcome).verdict, outcome.code], ["handshake-refused", 4]);
        assertMatch(reportOf(outcome).problem, /^Server answered with status 400 .*; asked again over wire/);
      }),
    {},
    { path: "/" },
  );
  const authority = await createAuthority();
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, ...await authority.sign("server"), onListen() {} },
    () => new Response("no", { status: 403 }),
  );
  await withFiles([authority.cert], async ([ca = ""]) => {
    const outcome = await client(["--json", "--ca", ca, `wss://127.0.0.1:${server.addr.port}/`]);
    assertEquals(reportOf(outcome).verdict, "handshake-refused");
  });
  await server.shutdown();
});

Deno.test("client says no-connection when a wss server speaks plain HTTP", async () => {
  const server = serveEcho({ port: 0 });
  const outcome = await client(["--json", server.url.replace("ws:", "wss:")]);
  await server.shutdown();
  assertEquals([reportOf(outcome).verdict, outcome.code], ["no-connection", 3]);
});
