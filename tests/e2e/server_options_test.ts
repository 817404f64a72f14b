/** The limits and the policy of the echo server through its real command line, over both front doors. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createAuthority } from "../support/certificates.ts";
import {
  client,
  outcomeOf,
  reportOf,
  serverProcess,
  serverProcessWith,
  start,
  startScript,
} from "../support/command.ts";
import { BINARY, CLOSE, connectRaw, rawClient, requestHead, TEXT } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";
import { assertProven, nextEvent } from "../support/server_events.ts";

const TOKEN = "open sesame";

/** A file for one test. */
async function temporaryFile(text: string): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempFile();
  await Deno.writeTextFile(path, text);
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

/** The refusal in the client's report; over wire, as the built-in WebSocket hides the fields. */
async function refusalOf(...args: string[]) {
  const report = reportOf(await client(["--json", "--transport", "wire", "--count", "0", ...args]));
  assertEquals(report.verdict, "handshake-refused");
  return { status: report.refusal.status, fields: new Map<string, string>(report.refusal.fields) };
}

testBoth("server --max-connections answers 503 with Retry-After to one more, and logs it", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--log", "json", "--max-connections", "1");
  const socket = await rawClient(server.url);
  const { status, fields } = await refusalOf(server.url);
  assertEquals([status, fields.get("retry-after")], [503, "5"]);
  const refused = await nextEvent(server, "refused");
  assertEquals([refused.status, refused.cause, refused.path], [503, "connections", "/"]);
  socket.close();
  await nextEvent(server, "closed");
  await assertProven(server.url);
});

testBoth(
  "server --allow-origin and --require-origin let in the right pages, and answer 403 to others",
  async (transport) => {
    await using server = await serverProcess(
      ...["-q", "--transport", transport, "--allow-origin", "https://app.example"],
      ...["--allow-origin", "http://*.test:8080", "--require-origin"],
    );
    await assertProven("--origin", "https://app.example", server.url);
    await assertProven("--origin", "http://chat.test:8080", server.url);
    assertEquals((await refusalOf("--origin", "http://evil.test", server.url)).status, 403);
    assertEquals((await refusalOf(server.url)).status, 403);
  },
);

testBoth("server --allow-origin alone lets in requests without an origin", async (transport) => {
  await using server = await serverProcess("-q", "--transport", transport, "--allow-origin", "https://app.example");
  await assertProven(server.url);
});

testBoth(
  "server --token lets in requests with the token, asks others for it, and never shows it",
  async (transport) => {
    await using file = await temporaryFile(`${TOKEN}\n`);
    await using server = await serverProcess("--transport", transport, "--log", "json", "--token", file.path);
    const { status, fields } = await refusalOf(server.url);
    assertEquals([status, fields.get("www-authenticate")], [
      401,
      'Bearer realm="wsproof", Basic realm="wsproof", charset="UTF-8"',
    ]);
    assertEquals((await refusalOf("-H", "Authorization: Bearer nonsense", server.url)).status, 401);
    await assertProven("-H", `Authorization: Bearer ${TOKEN}`, server.url);
    await assertProven(server.url.replace("//", `//ali:${encodeURIComponent(TOKEN)}@`));
    const offer = `wsproof.bearer.${
      new TextEncoder().encode(TOKEN).toBase64({ alphabet: "base64url", omitPadding: true })
    }`;
    await assertProven("-p", "chat", "-p", offer, server.url);
    const lines = [];
    for (let ends = 0; ends < 3;) {
      lines.push(await server.nextLine());
      if (JSON.parse(lines.at(-1) ?? "").type === "closed") ends++;
    }
    const metrics = await fetch(new URL("/metrics", server.url.replace("ws:", "http:")));
    assertEquals(metrics.status, 401);
    await metrics.body?.cancel();
    assertStringIncludes(lines.join("\n"), '"protocol":"chat"');
    assert(!lines.some((line) => line.includes("sesame") || line.includes(offer)), lines.join("\n"));
  },
);

testBoth("server takes the token from WSPROOF_TOKEN, and every option from the environment", async (transport) => {
  const env = { WSPROOF_TOKEN: TOKEN, WSPROOF_TRANSPORT: transport, WSPROOF_MAX_MESSAGE: "8", WSPROOF_QUIET: "1" };
  await using server = await serverProcessWith({ env });
  assertEquals((await refusalOf(server.url)).status, 401);
  const authorization = `Authorization: Bearer ${TOKEN}`;
  await assertProven("-H", authorization, "-m", "12345678", server.url);
  const report = reportOf(await client(["--json", "-H", authorization, "-m", "123456789", server.url]));
  assertEquals([report.exitCode, report.close.received], [7, { code: 1009, reason: "at most 8 bytes" }]);
});

const MISSPELT = { WSPROOF_TOKN: "s3cret", WSPROOF_QUIET: "1", WSPROOF_SERVICE_HOST: "10.0.0.1" };
const IGNORED = "The server ignores variables that match no option: WSPROOF_SERVICE_HOST, " +
  "WSPROOF_TOKN (did you mean WSPROOF_TOKEN?)";

testBoth(
  "server says in one line which variables it ignores, and starts",
  async (transport) => {
    await using server = await serverProcessWith({ env: { ...MISSPELT, WSPROOF_TRANSPORT: transport } });
    await assertProven(server.url);
    server.child.kill("SIGTERM");
    assertEquals(await server.ended(), { code: 0, stderr: `wsproof: ${IGNORED}\n` });
  },
  { ignore: Deno.build.os === "windows" },
);

Deno.test({
  name: "server --lab says in one line which variables it ignores, and starts",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using lab = await serverProcessWith({ env: MISSPELT }, "--lab");
    lab.child.kill("SIGTERM");
    assertEquals(await lab.ended(), { code: 0, stderr: `wsproof: ${IGNORED}\n` });
  },
});

Deno.test({
  name: "server starts without a note, when the permissions let it list no variable",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using server = await serverProcessWith({ env: MISSPELT, isListing: false });
    server.child.kill("SIGTERM");
    assertEquals(await server.ended(), { code: 0, stderr: "" });
  },
});

testBoth("server --protocol selects by its own order", async (transport) => {
  await using server = await serverProcess("-q", "--transport", transport, "-p", "v2", "--protocol", "v1");
  for (const [offer, selected] of [[["v1", "v2"], "v2"], [["v0", "v1"], "v1"]] as const) {
    const report = reportOf(await client(["--json", ...offer.flatMap((name) => ["-p", name]), server.url]));
    assertEquals([report.verdict, report.protocol], ["proven", selected]);
  }
  const report = reportOf(await client(["--json", "-p", "v0", server.url]));
  assertEquals([report.verdict, report.protocol], ["handshake-refused", ""]);
});

testBoth("server --cert and --key make it a wss: server, and say so in the first line", async (transport) => {
  const authority = await createAuthority();
  const { cert, key } = await authority.sign("localhost");
  await using files = await temporaryFiles(authority.cert, cert, key);
  const [ca = "", certPath = "", keyPath = ""] = files;
  await using server = await serverProcess("-q", "--transport", transport, "--cert", certPath, "--key", keyPath);
  assertMatch(server.url, /^wss:/);
  for (const through of ["builtin", "wire"]) {
    await assertProven("--ca", ca, "--transport", through, server.url);
    await assertProven("--ca", ca, "--transport", through, "--size", "3MiB", server.url);
  }
  const health = Deno.createHttpClient({ caCerts: [authority.cert] });
  const answer = await fetch(new URL("/healthz", server.url.replace("wss:", "https:")), { client: health });
  assertEquals([answer.status, await answer.text()], [200, "ok\n"]);
  health.close();
});

async function temporaryFiles(...texts: string[]): Promise<string[] & AsyncDisposable> {
  const files = await Promise.all(texts.map(temporaryFile));
  return Object.assign(files.map(({ path }) => path), {
    async [Symbol.asyncDispose]() {
      for (const file of files) await file[Symbol.asyncDispose]();
    },
  });
}

testBoth(
  "server says in one line what is wrong with a certificate and its key, and exits with 2",
  async (transport) => {
    const authority = await createAuthority();
    const [one, other] = [await authority.sign("one"), await authority.sign("other")];
    await using files = await temporaryFiles(one.cert, one.key, other.key, "rubbish");
    const [cert = "", key = "", otherKey = "", rubbish = ""] = files;
    const mismatch = "Cannot use the certificate and its key: the key does not belong to the certificate; " +
      "give --cert and --key PEM files that belong together";
    for (
      const [pair, problem] of [
        [[cert, otherKey], mismatch],
        [[rubbish, key], `Option --cert cannot be "${rubbish}": the file has no PEM block "CERTIFICATE"`],
        [[cert, rubbish], `Option --key cannot be "${rubbish}": the file has no PEM block "PRIVATE KEY"`],
      ] as const
    ) {
      const args = ["--port", "0", "--transport", transport, "--cert", pair[0], "--key", pair[1]];
      const outcome = await outcomeOf(start("server.ts", args));
      assertEquals(outcome, { code: 2, stdout: "", stderr: `wsproof: ${problem}\n` });
    }
  },
);

testBoth(
  "server ends with --shutdown-timeout, when a peer does not answer",
  async (transport) => {
    await using server = await serverProcess("--transport", transport, "--log", "json", "--shutdown-timeout", "0.5");
    const socket = await rawClient(server.url);
    server.child.kill("SIGTERM");
    const { opcode, payload } = await socket.readFrame();
    assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1001]);
    assertEquals(await server.ended(), { code: 0, stderr: "wsproof: 1 peer did not answer the close frame in time\n" });
    socket.close();
  },
  { ignore: Deno.build.os === "windows" },
);

testBoth(
  "server answers /healthz with 503, as long as it waits for a peer to answer its close frame",
  async (transport) => {
    await using server = await serverProcess("--transport", transport, "--log", "json", "--shutdown-timeout", "600");
    const health = new URL("/healthz", server.url.replace("ws:", "http:"));
    const well = await fetch(health);
    assertEquals([well.status, await well.text()], [200, "ok\n"]);
    const socket = await rawClient(server.url);
    server.child.kill("SIGTERM");
    const { opcode, payload } = await socket.readFrame();
    assertEquals(opcode, CLOSE);
    const ill = await fetch(health);
    assertEquals([ill.status, ill.headers.get("retry-after"), await ill.text()], [503, "5", "draining\n"]);
    await socket.frame(CLOSE, payload);
    assertEquals(await server.ended(), { code: 0, stderr: "" });
    socket.close();
  },
  { ignore: Deno.build.os === "windows" },
);

testBoth(
  "server lets the answers that are under way go out before it closes with 1001",
  async (transport) => {
    await using server = await serverProcess("-q", "--transport", transport);
    const socket = await rawClient(server.url);
    const payload = new Uint8Array(1024 * 1024).fill(7);
    await socket.frame(BINARY, payload);
    // The first bytes of the echo show that the message has arrived; the rest may exceed the socket buffers.
    const head = await socket.readBytes(10);
    assertEquals(head[0], 0x80 | BINARY);
    server.child.kill("SIGTERM");
    const rest = await socket.readBytes(payload.byteLength);
    assertEquals(rest, payload);
    const { opcode, payload: reason } = await socket.readFrame();
    assertEquals([opcode, new DataView(reason.buffer).getUint16(0)], [CLOSE, 1001]);
    await socket.frame(CLOSE, reason);
    assertEquals(await server.ended(), { code: 0, stderr: "" });
    socket.close();
  },
  { ignore: Deno.build.os === "windows" },
);

testBoth("server answers GET / with a page, and GET /metrics with what it has counted", async (transport) => {
  await using server = await serverProcess("-q", "--transport", transport);
  await assertProven("-n", "3", "-m", "12345", server.url);
  const base = server.url.replace("ws:", "http:");
  const plain = await fetch(new URL("/echo", base));
  assertEquals([plain.status, await plain.text()], [426, "This is a WebSocket echo server: ask for the upgrade.\n"]);
  const page = await fetch(base);
  assertEquals([page.status, page.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
  assertMatch(await page.text(), /^<!doctype html>[\s\S]*<\/html>\n$/i);
  const metrics = await (await fetch(new URL("/metrics", base))).text();
  for (const line of ["wsproof_connections 0", "wsproof_messages_total 3", "wsproof_message_bytes_total 15"]) {
    assertStringIncludes(metrics, `\n${line}\n`);
  }
  assertStringIncludes(metrics, 'wsproof_closes_total{code="1000",initiator="peer"} 1\n');
  assertStringIncludes(metrics, 'wsproof_refusals_total{cause="plain-http"} 1\n');
});

testBoth(
  "server logs JSON with --log json from its first line to its last, whatever a peer requests",
  async (transport) => {
    await using server = await serverProcess("--transport", transport, "--log", "json");
    const socket = await rawClient(`${server.url}%1b[2J\u202e%0a`);
    const { path } = await nextEvent(server, "opened");
    assertEquals(path, "/%1b[2J%E2%80%AE%0a");
    await socket.frame(CLOSE, Uint8Array.of(0x0f, 0xa0, 0x1b, 0x5b, 0x32, 0x4a));
    assertEquals((await nextEvent(server, "closed")).received, { code: 4000, reason: "\u001b[2J" });
    if (Deno.build.os !== "windows") {
      server.child.kill("SIGTERM");
      assertEquals((await nextEvent(server, "draining")).type, "draining");
      assertEquals((await nextEvent(server, "stopped")).unanswered, 0);
    }
    socket.close();
  },
);

testBoth(
  "server survives a lack of descriptors, and says so in the log",
  async (transport) => {
    await using server = await serverProcessWith(
      { descriptors: 60 },
      ...["--transport", transport, "--log", "json", "--max-connections", "1000"],
    );
    const held = await rawClient(server.url);
    const { hostname, port } = new URL(server.url);
    const asking = await Promise.all(["/", "/metrics"].map(async (path) => {
      const socket = await connectRaw(server.url);
      await socket.write(`GET ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n`);
      return socket;
    }));
    // The last ones may be refused, as the runtime does not listen meanwhile.
    const silent = await Promise.all(Array.from({ length: 100 }, async () => {
      let connection: Deno.TcpConn | undefined;
      try {
        connection = await Deno.connect({ hostname, port: Number(port) });
        await connection.write(new TextEncoder().encode(requestHead()));
        return connection;
      } catch {
        connection?.close();
        return undefined;
      }
    }));
    assertStringIncludes((await nextEvent(server, "trouble")).error, "Too many open files");
    for (const socket of asking) {
      // The runtime would panic if it had to load a module for the answer; a slow machine may have dropped the request.
      await socket.write("\r\n").then(() => socket.readHead()).catch(() => {});
      socket.close();
    }
    // Open connections go on.
    await held.frame(TEXT, "still here");
    assertEquals((await held.readFrame()).opcode, TEXT);
    for (const connection of silent) connection?.close();
    let code: number | undefined;
    const deadline = performance.now() + 60_000;
    while (code !== 0 && performance.now() < deadline) code = (await client(["-q", server.url])).code;
    assertEquals(code, 0);
    held.close();
  },
  { ignore: Deno.build.os === "windows" },
);

Deno.test({
  name: "serveEcho() stays stopped when it is shut down while it cannot accept connections (builtin)",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    // The script runs into its own limit: it connects to itself until descriptors run out.
    const script = `import { serveEcho } from "./lib/server/serve.ts";
      const held = [];
      const server = serveEcho({ port: 0, async onEvent({ type }) {
        if (type !== "trouble") return;
        for (const connection of held.splice(0)) connection.close();
        console.log("shut down with", await server.shutdown({ timeoutMs: 2000 }));
        // It has no listener that would keep it: the process ends by itself.
      } });
      const port = Number(new URL(server.url).port);
      try {
        while (true) held.push(await Deno.connect({ hostname: "127.0.0.1", port }));
      } catch {
        // There is none left.
      }`;
    const { code, stdout, stderr } = await outcomeOf(startScript(script, { descriptors: 60 }));
    assertEquals([code, stdout, stderr], [0, "shut down with 0\n", ""]);
  },
});
