/** The load generator of perf/ compares all replies: its figures would be worthless otherwise. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { compileLoad } from "../../perf/load.ts";
import { outcomeOf, serverProcess } from "../support/command.ts";

/** Without a C compiler there is no load, and nothing to test: the measurements report that. */
const needsCompiler = { ignore: Deno.build.os !== "linux" || !await hasCompiler() };

async function hasCompiler(): Promise<boolean> {
  try {
    return (await new Deno.Command("cc", { args: ["--version"], stdout: "null", stderr: "null" }).output()).success;
  } catch {
    return false;
  }
}

/** A short run: here the comparison counts, not the figures. */
const SHORT = ["--seconds", "0.2", "--warm", "0", "--deadline", "30"];

/** A server that answers each message with the function's result. */
function answering(
  answer: (data: string | ArrayBuffer, count: number) => string | Uint8Array<ArrayBuffer> | undefined,
): { url: string } & AsyncDisposable {
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    const { socket, response } = Deno.upgradeWebSocket(request);
    let count = 0;
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => {
      const reply = answer(data, count++);
      if (reply === undefined) socket.close(1011, "no more");
      else socket.send(reply);
    };
    return response;
  });
  return { url: `ws://127.0.0.1:${server.addr.port}/`, [Symbol.asyncDispose]: () => server.shutdown() };
}

Deno.test(
  "load connects to both transports, compares the echoes, and counts the closes",
  needsCompiler,
  async () => {
    await using load = await compileLoad();
    for (const transport of ["wire", "builtin"]) {
      await using server = await serverProcess("--transport", transport);
      // Each connection of each group has a reply, or the load fails.
      const groups = ["5x20", "2x70000x3", "2x5x4", "1x0"];
      const { groups: found } = await load.echo(server.url, [...groups, "--kind", "binary", ...SHORT]);
      assertEquals(found.map(({ connections, bytes, depth }) => `${connections}x${bytes}x${depth}`), [
        "5x20x1",
        "2x70000x3",
        "2x5x4",
        "1x0x1",
      ]);
      assertEquals((await load.connect(server.url, ["--at-once", "4", ...SHORT])).failures, 0);
      const { rounds } = await load.storm(server.url, ["--connections", "50", "--rounds", "2", "--deadline", "30"]);
      assertEquals(rounds.map(({ through, lost, waiting }) => [through, lost, waiting]), [[50, 0, 0], [50, 0, 0]]);
    }
  },
);

Deno.test("load says how much CPU time and memory the server took", needsCompiler, async () => {
  await using load = await compileLoad();
  await using server = await serverProcess("--transport", "wire");
  const args = ["--connections", "500", "--deadline", "60", "--pid", `${server.child.pid}`];
  const { cpuSeconds = 0, cpuMicros = 0, peakMebibytes = 0 } = await load.storm(server.url, args);
  // The system counts in hundredths of a second; 500 handshakes take several anywhere.
  assert(cpuSeconds > 0, `${cpuSeconds} s`);
  assertEquals(cpuMicros.toFixed(), (cpuSeconds / 500 * 1e6).toFixed());
  // V8 alone takes more than the first, and less than the second.
  assert(peakMebibytes > 10 && peakMebibytes < 1024, `${peakMebibytes} MiB`);
});

const WRONG: readonly [what: string, answer: Parameters<typeof answering>[0], message: RegExp][] = [
  [
    "another byte",
    (data, count) => count < 2 ? `${data}` : `${`${data}`.slice(0, 19)}?`,
    /^load: wrong reply: byte 19 of message 2 on connection \d is 0x3f, not 0x74$/,
  ],
  [
    "the reply before",
    (data, count) => count < 2 ? `${data}` : `${data}`.replace(/^(.{6}).{10}/, "$10000000001"),
    /^load: wrong reply: byte 15 of message 2 on connection \d is 0x31, not 0x32$/,
  ],
  ["a reply that is too short", (data) => `${data}`.slice(0, 19), /message 0 on connection \d is too short$/],
  ["a reply that is too long", (data) => `${data}!`, /message 0 on connection \d is too long$/],
  ["another kind of message", (data) => new TextEncoder().encode(`${data}`), /wrong reply: opcode 2 on connection \d$/],
  [
    "a close",
    (data, count) => count < 2 ? `${data}` : undefined,
    /^load: connection \d is lost after 2 messages: closed with 1011 no more$/,
  ],
];

for (const [what, answer, message] of WRONG) {
  Deno.test(`load fails when a server sends ${what} instead of the echo`, needsCompiler, async () => {
    await using load = await compileLoad();
    await using server = answering(answer);
    const { message: told } = await assertRejects(() => load.echo(server.url, ["2x20", ...SHORT]), Error);
    assertMatch(told, message);
  });
}

Deno.test("load counts the connections that a storm loses, and says why", needsCompiler, async () => {
  await using load = await compileLoad();
  let asked = 0;
  await using server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    if (asked++ % 2 === 0) return new Response(null, { status: 403 });
    const { socket, response } = Deno.upgradeWebSocket(request);
    socket.onmessage = ({ data }) => socket.send(data);
    return response;
  });
  const url = `ws://127.0.0.1:${server.addr.port}/`;
  const { rounds, firstFailure } = await load.storm(url, ["--connections", "10", "--deadline", "30"]);
  assertEquals(rounds.map(({ through, lost, waiting }) => [through, lost, waiting]), [[5, 5, 0]]);
  assertEquals(firstFailure, "refused: HTTP/1.1 403 Forbidden");
});

Deno.test("perf/load.ts says in one line that there is no C compiler", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-lock",
      "--allow-read",
      "--allow-write",
      "--allow-run",
      "perf/load.ts",
      "connect",
      "ws://127.0.0.1:1/",
    ],
    cwd: new URL("../../", import.meta.url),
    env: { PATH: "/nowhere", NO_COLOR: "1" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const { code, stderr } = await outcomeOf(child);
  assertEquals(
    [code, stderr],
    [1, "There is no C compiler: perf/load.c needs cc (Debian: apt-get install gcc libc6-dev)\n"],
  );
});
