/** `--workers`: several threads on one port, through the real command line. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { createAuthority } from "../support/certificates.ts";
import { client, outcomeOf, type ServerProcess, serverProcess, serverProcessWith, start } from "../support/command.ts";
import { CLOSE, connectRaw, type RawSocket, requestHead, TEXT } from "../support/raw_peer.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { within } from "../../lib/net/deadline.ts";

const linuxOnly = { ignore: Deno.build.os !== "linux" };
const WAIT = { timeoutMs: 60_000 };
const WORKERS = ["--transport", "wire", "--workers", "2"];

/** Sends a request for the upgrade; returns the status of the answer. */
async function ask(url: string): Promise<{ status: number; socket: RawSocket }> {
  const socket = await connectRaw(url);
  await socket.write(requestHead());
  return { status: Number((await within(socket.readHead(), "answer", WAIT)).split(" ")[1]), socket };
}

/** The next events of the JSON log. */
async function eventsOf(server: ServerProcess, count: number) {
  const events = [];
  for (let line = 0; line < count; line++) {
    events.push(JSON.parse(await within(server.nextLine(), "line of the log", WAIT)));
  }
  return events;
}

async function pageOf(server: ServerProcess, path: string): Promise<string> {
  return await (await fetch(new URL(path, server.url.replace("ws:", "http:")))).text();
}

Deno.test({
  name: "server --workers counts connections over all workers, and gives each its own number",
  ...linuxOnly,
  async fn() {
    await using server = await serverProcess(...WORKERS, "--log", "json", "--max-connections", "16");
    const asked = await Promise.all(Array.from({ length: 16 }, () => ask(server.url)));
    assertEquals(asked.map(({ status }) => status), asked.map(() => 101));
    const over = await ask(server.url);
    assertEquals(over.status, 503);
    const opened = await eventsOf(server, 17);
    assertEquals(opened.filter(({ type }) => type === "refused").map(({ cause }) => cause), ["connections"]);
    const ids = opened.filter(({ type }) => type === "opened").map(({ id }) => id);
    assertEquals(ids.toSorted((a, b) => a - b), Array.from({ length: 16 }, (_, index) => index + 1));
    for (let times = 0; times < 4; times++) {
      assertMatch(
        await pageOf(server, "/metrics"),
        /\nwsproof_connections 16\n[^]*\nwsproof_connections_accepted_total 16\n/,
      );
    }
    for (const { socket } of [...asked, over]) socket.close();
    const closed = await eventsOf(server, 16);
    assertEquals(closed.map(({ id }) => id).toSorted((a, b) => a - b), ids.toSorted((a, b) => a - b));
  },
});

Deno.test({
  name: "server --workers answers the pages of a server alone and proves exchanges, whichever worker answers",
  ...linuxOnly,
  async fn() {
    await using alone = await serverProcess("-q", "--transport", "wire");
    const page = await pageOf(alone, "/");
    await using server = await serverProcessWith({ env: { WSPROOF_WORKERS: "2" } }, "-q", "--transport", "wire");
    for (let times = 0; times < 4; times++) {
      assertEquals((await client([server.url, "--transport", times % 2 === 0 ? "wire" : "builtin"])).code, 0);
      assertEquals(await pageOf(server, "/healthz"), "ok\n");
      assertEquals(await pageOf(server, "/"), page);
    }
  },
});

for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.test({
    name: `server --workers closes every connection of every worker with 1001 at ${signal}, and exits with 0`,
    ...linuxOnly,
    async fn() {
      await using server = await serverProcess(...WORKERS, "--log", "json");
      const connections = await Promise.all(Array.from({ length: 12 }, () => openBuiltin(server.url)));
      assertEquals((await eventsOf(server, 12)).map(({ type }) => type), connections.map(() => "opened"));
      server.child.kill(signal);
      for (const { closed } of connections) {
        assertEquals((await within(closed, "close", WAIT)).received, { code: 1001, reason: "server shutting down" });
      }
      const types = (await eventsOf(server, 14)).map(({ type }) => type);
      assertEquals(types, ["draining", ...connections.map(() => "closed"), "stopped"]);
      assertEquals(await server.ended(), { code: 0, stderr: "" });
    },
  });
}

Deno.test({
  name: "server --workers adds up the peers that did not answer the close, and ends in time",
  ...linuxOnly,
  async fn() {
    await using server = await serverProcess(...WORKERS, "--log", "json", "--shutdown-timeout", "1");
    const asked = await Promise.all(Array.from({ length: 12 }, () => ask(server.url)));
    server.child.kill("SIGTERM");
    for (const { socket } of asked) {
      const { opcode, payload } = await within(socket.readFrame(), "close frame", WAIT);
      assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1001]);
    }
    const stderr = "wsproof: 12 peers did not answer the close frame in time\n";
    assertEquals(await server.ended(), { code: 0, stderr });
    for (const { socket } of asked) socket.close();
  },
});

Deno.test({
  name: "server --workers counts what peers hold over all workers, and closes the largest",
  ...linuxOnly,
  async fn() {
    await using server = await serverProcess(...WORKERS, "-q", "--max-buffered-total", "2MiB");
    const asked = await Promise.all(Array.from({ length: 12 }, () => ask(server.url)));
    const [largest, ...others] = asked.map(({ socket }) => socket);
    assert(largest);
    await largest.frame(TEXT, new Uint8Array(500 * 1024).fill(97), 0);
    for (const socket of others) await socket.frame(TEXT, new Uint8Array(200 * 1024).fill(97), 0);
    const { opcode, payload } = await within(largest.readFrame(), "close frame", WAIT);
    assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [CLOSE, 1013]);
    for (const { socket } of asked) socket.close();
  },
});

Deno.test({
  name: "server --workers speaks TLS in each worker",
  ...linuxOnly,
  async fn() {
    const authority = await createAuthority();
    const { cert, key } = await authority.sign("localhost");
    const folder = await Deno.makeTempDir();
    const [ca, certPath, keyPath] = ["ca", "cert", "key"].map((name) => `${folder}/${name}.pem`);
    assert(ca && certPath && keyPath);
    await Deno.writeTextFile(ca, authority.cert);
    await Deno.writeTextFile(certPath, cert);
    await Deno.writeTextFile(keyPath, key);
    await using server = await serverProcess(...WORKERS, "-q", "--cert", certPath, "--key", keyPath);
    assertMatch(server.url, /^wss:/);
    for (let times = 0; times < 4; times++) {
      const { code, stdout } = await client(["--ca", ca, "--transport", "wire", "--size", "100KiB", server.url]);
      assertEquals(code, 0, stdout);
    }
    // A mismatched certificate is an error before any worker starts.
    const outcome = await outcomeOf(
      start("server.ts", ["--port", "0", ...WORKERS, "--cert", certPath, "--key", ca]),
    );
    assertEquals([outcome.code, outcome.stdout], [2, ""]);
    await Deno.remove(folder, { recursive: true });
  },
});

for (
  const [words, problem] of [
    [
      ["--workers", "2"],
      'Option --workers cannot be "2": give --transport wire, or run deno serve --parallel handler.ts for the ' +
      "runtime's WebSocket",
    ],
    [["--workers", "0", "--transport", "wire"], 'Option --workers cannot be "0": give a whole number from 1 to 64'],
    [
      ["--workers", "few", "--transport", "wire"],
      'Option --workers cannot be "few": give a whole number from 1 to 64, or auto',
    ],
    [["--workers", "2", "--lab"], "Option --workers cannot be used with --lab: leave it out"],
  ] as const
) {
  Deno.test(`server ${words.join(" ")} is a usage error`, async () => {
    const outcome = await outcomeOf(start("server.ts", words));
    assertEquals(outcome, { code: 2, stdout: "", stderr: `wsproof: ${problem}\n` });
  });
}

Deno.test({
  name: "server --workers names the missing flag of Deno",
  ...linuxOnly,
  async fn() {
    const outcome = await outcomeOf(start("server.ts", ["--port", "0", ...WORKERS], { permissions: ["--no-config"] }));
    assertEquals([outcome.code, outcome.stdout], [2, ""]);
    assertMatch(
      outcome.stderr,
      /(^|\n)wsproof: Option --workers needs Deno's flag --unstable-net: run the server with it\n$/,
    );
  },
});

Deno.test({
  name: "server --workers works with permission for its own address only",
  ...linuxOnly,
  async fn() {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    listener.close();
    await using server = await serverProcessWith({ net: `127.0.0.1:${port}` }, ...WORKERS, "-q", "--port", `${port}`);
    assertEquals((await client([server.url])).code, 0);
    for (const path of ["/", "/healthz", "/metrics"]) assert((await pageOf(server, path)).length > 0);
  },
});

Deno.test({
  name: "server --workers is refused on the port of another server with workers",
  ...linuxOnly,
  async fn() {
    await using server = await serverProcess(...WORKERS, "-q");
    const { port } = new URL(server.url);
    const outcome = await outcomeOf(start("server.ts", ["--port", port, ...WORKERS]));
    const problem = `Cannot listen on host "127.0.0.1", port ${port}: the port is in use; give another --port, or 0`;
    assertEquals(outcome, { code: 1, stdout: "", stderr: `wsproof: ${problem}\n` });
  },
});

Deno.test({
  name: "server --workers accepts only as many connections as there are descriptors, over all workers",
  ...linuxOnly,
  async fn() {
    await using server = await serverProcessWith({ descriptors: 200 }, ...WORKERS, "--log", "json");
    const asked: { status: number; socket: RawSocket }[] = [];
    while (asked.at(-1)?.status !== 503) {
      assert(asked.length < 200, "it is never full");
      asked.push(await ask(server.url));
    }
    for (const { socket } of asked) socket.close();
    server.child.kill("SIGTERM");
    const { code, stderr } = await server.ended();
    const [, most] = /There are descriptors for only (\d+) connections/.exec(stderr) ?? [];
    assertEquals([code, asked.length - 1], [0, Number(most)]);
  },
});
