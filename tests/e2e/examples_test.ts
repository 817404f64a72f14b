/** The examples work: each runs as a person runs it. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { PROXY_VARIABLES } from "../../lib/net/proxy.ts";
import { OpenError } from "../../lib/connection/connection.ts";
import { openConnection } from "../../lib/connection/open.ts";
import { serveLab } from "../../lib/lab/lab.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { COMMAND_TIMEOUT_MS, type Outcome, outcomeOf, standIns } from "../support/command.ts";
import { placeOf, read } from "../support/documents.ts";

const WAIT = { timeoutMs: COMMAND_TIMEOUT_MS };
const isWindows = Deno.build.os === "windows";

/** Starts a program in the root of the project. */
function run(program: string, args: readonly string[], env: Record<string, string> = {}): Deno.ChildProcess {
  return new Deno.Command(program, {
    args: [...args],
    cwd: placeOf(""),
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

function startExample(name: string, ...args: string[]): Deno.ChildProcess {
  return run(Deno.execPath(), [
    "run",
    "--no-prompt",
    ...standIns,
    "--allow-net=127.0.0.1",
    `examples/${name}`,
    ...args,
  ]);
}

/** An example that listens; dispose of it to stop it. */
interface Listening extends AsyncDisposable {
  readonly url: string;
  readonly child: Deno.ChildProcess;
  /** The output after the first line, once the example has ended. */
  readonly rest: Promise<string>;
}

/** Starts an example on a free port, and waits for its address. */
async function listening(name: string): Promise<Listening> {
  const child = startExample(name, "0");
  const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const stderr = new Response(child.stderr).text();
  let text = "";
  while (!text.includes("\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The example ended: ${await stderr}`);
    text += value;
  }
  const [, url = ""] = /^Listening on (ws:\S+)\n/.exec(text) ?? [];
  const rest = (async () => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value;
    return text.slice(text.indexOf("\n") + 1);
  })();
  return {
    url,
    child,
    rest,
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGKILL");
      } catch {
        // Already ended.
      }
      await Promise.all([child.status, rest, stderr]);
      clearTimeout(timer);
    },
  };
}

Deno.test("each example has 20 to 60 lines", async () => {
  for await (const { name } of Deno.readDir(placeOf("examples/"))) {
    const lines = (await read(`examples/${name}`)).trimEnd().split("\n").length;
    assert(lines >= 20 && lines <= 60, `${name}: ${lines} lines`);
  }
});

Deno.test("examples/client.ts prints the answer, and ends with 0", async () => {
  const server = serveEcho({ port: 0 });
  const { code, stdout, stderr } = await outcomeOf(startExample("client.ts", server.url, "Grüße"));
  await server.shutdown();
  assertEquals({ code, stdout, stderr }, { code: 0, stdout: "Grüße\n", stderr: "" });
});

Deno.test("examples/client.ts says how the server closed, and ends with 1, when the close is not confirmed", async () => {
  const lab = await serveLab({ port: 0 });
  const { code, stdout, stderr } = await outcomeOf(startExample("client.ts", `${lab.url}echo/answer-close/1011`));
  await lab.shutdown();
  assertEquals({ code, stdout }, { code: 1, stdout: "" });
  assertEquals(stderr, "Peer closed with 1011 (internal error)\n");
});

Deno.test("examples/client.ts says in one line that nothing listens", async () => {
  const { code, stderr } = await outcomeOf(startExample("client.ts", `ws://127.0.0.1:${freePort()}/`));
  assertEquals(code, 1);
  assertMatch(stderr, /^[A-Z].*refused.*\n$/);
});

Deno.test("examples/server.ts echoes", async () => {
  await using server = await listening("server.ts");
  const connection = await openConnection(server.url, "wire");
  await connection.send("Hello", WAIT);
  assertEquals(await connection.receive(WAIT), "Hello");
  await connection.close(WAIT);
});

Deno.test("examples/server.ts refuses with 403, when a page of another site asks", async () => {
  await using server = await listening("server.ts");
  const headers = [["Origin", "https://evil.example"]] as const;
  const error = await assertRejects(() => openConnection(server.url, "wire", { headers }), OpenError);
  assertEquals(error.status, 403);
});

Deno.test(
  "examples/server.ts closes with 1001 and ends with 0, when it gets SIGTERM",
  { ignore: isWindows },
  async () => {
    await using server = await listening("server.ts");
    const connection = await openConnection(server.url, "wire");
    server.child.kill("SIGTERM");
    assertEquals((await connection.closed).received?.code, 1001);
    assertEquals((await server.child.status).code, 0);
    assertMatch(await server.rest, /^1: opened by 127\.0\.0\.1:\d+\n(.*\n)*0 peers did not answer the close frame\n$/);
  },
);

Deno.test("examples/room.ts sends a text to everybody else", async () => {
  await using room = await listening("room.ts");
  const [alice, bob] = await Promise.all([0, 1].map(() => openConnection(room.url, "wire", { protocols: ["room"] })));
  assert(alice && bob);
  assertEquals(alice.protocol, "room");
  // The runtime answers pings once the socket is open at the server, so both are in the room.
  await Promise.all([alice.ping?.(WAIT), bob.ping?.(WAIT)]);
  await alice.send("Good morning", WAIT);
  assertEquals(await bob.receive(WAIT), "Good morning");
  await bob.send("Good evening", WAIT);
  // An echo to herself would have come first.
  assertEquals(await alice.receive(WAIT), "Good evening");
  await Promise.all([alice.close(WAIT), bob.close(WAIT)]);
});

Deno.test("examples/room.ts closes with 1003, when a message is binary", async () => {
  await using room = await listening("room.ts");
  const connection = await openConnection(room.url, "wire");
  await connection.send(new Uint8Array(3), WAIT);
  assertEquals((await connection.closed).received, { code: 1003, reason: "text only" });
});

Deno.test("examples/room.ts keeps the policy of the front door", async () => {
  await using room = await listening("room.ts");
  const headers = [["Host", "evil.example"]] as const;
  const error = await assertRejects(() => openConnection(room.url, "wire", { headers }), OpenError);
  assertEquals(error.status, 421);
});

/** Runs the check with this project's own client. */
function check(url: string, env: Record<string, string> = {}): Promise<Outcome> {
  const permissions = ["--allow-net", "--allow-read", `--allow-env=${PROXY_VARIABLES.join()}`];
  const client = [Deno.execPath(), "run", "--no-prompt", ...standIns, ...permissions, "main.ts"].join(" ");
  return outcomeOf(run("sh", ["examples/ci_check.sh", url], { WSPROOF: client, ...env }));
}

/** A port without a listener. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test("examples/ci_check.sh ends with 0, when the endpoint is proven", { ignore: isWindows }, async () => {
  const server = serveEcho({ port: 0 });
  const { code, stdout } = await check(server.url, { MESSAGE: "pong" });
  await server.shutdown();
  assertEquals(code, 0);
  assertMatch(stdout, /\nproven: deploy\n$/);
});

Deno.test("examples/ci_check.sh ends with 1, when the reply is wrong", { ignore: isWindows }, async () => {
  const server = serveEcho({ port: 0 });
  const { code, stdout } = await check(server.url);
  await server.shutdown();
  assertEquals(code, 1);
  assertMatch(stdout, /\nthe server answers wrongly or late: do not deploy\n$/);
});

Deno.test("examples/ci_check.sh tries again, when nothing listens", { ignore: isWindows }, async () => {
  const { code, stdout } = await check(`ws://127.0.0.1:${freePort()}/`);
  assertEquals(code, 75);
  assertMatch(stdout, /the network or the server is down: try again\n$/);
});
