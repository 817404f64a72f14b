/** Signals: one Ctrl-C of a terminal counts once, although `deno task` forwards it; a second ends the process. */

import { assertEquals, assertMatch } from "@std/assert";
import { SECOND_SIGNAL_MS, SignalCounter } from "../../lib/cli/signals.ts";
import { outcomeOf, type ServerProcess, serverProcess, start } from "../support/command.ts";
import { rawClient, rawPeer } from "../support/raw_peer.ts";
import { CTRL_C, hasTerminal, Terminal } from "../support/terminal.ts";
import { testBoth } from "../support/transports.ts";

const noSignals = { ignore: Deno.build.os === "windows" };

Deno.test("SignalCounter.take() counts no second signal, when it comes before a person could send one", () => {
  const counter = new SignalCounter();
  const times = [1000, 1000, 1000 + SECOND_SIGNAL_MS - 1, 1000 + SECOND_SIGNAL_MS];
  assertEquals(times.map((now) => counter.take(now)), ["first", "repeated", "repeated", "second"]);
});

testBoth("server continues to close its connections, when a signal comes twice at once", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--shutdown-timeout", "2", "--log", "json");
  // The peer does not answer the close frame, so that the server still waits at the second signal.
  const socket = await rawClient(server.url);
  assertEquals(JSON.parse(await server.nextLine()).type, "opened");
  server.child.kill("SIGINT");
  server.child.kill("SIGTERM");
  assertEquals(await typesUntilStopped(server), ["draining", "stopped"]);
  assertEquals(await server.ended(), {
    code: 0,
    stderr: "wsproof: 1 peer did not answer the close frame in time\n",
  });
  socket.close();
}, noSignals);

async function typesUntilStopped(server: ServerProcess): Promise<string[]> {
  const types: string[] = [];
  while (types.at(-1) !== "stopped") {
    const { type } = JSON.parse(await server.nextLine());
    // The event of a dropped connection may come before or after.
    if (type !== "closed") types.push(type);
  }
  return types;
}

/** Repeats a signal, as an impatient person does, until the process has ended. */
async function signalUntil(ended: Promise<unknown>, send: () => unknown): Promise<void> {
  let isOver = false;
  const over = ended.finally(() => isOver = true);
  while (!isOver) {
    try {
      await send();
    } catch {
      // Already ended.
    }
    await new Promise((resolve) => setTimeout(resolve, SECOND_SIGNAL_MS / 5));
  }
  await over;
}

testBoth("server ends at once with 130, when another signal comes later", async (transport) => {
  // During the test, only the second signal ends the shutdown.
  await using server = await serverProcess("-q", "--transport", transport, "--shutdown-timeout", "600");
  const socket = await rawClient(server.url);
  await signalUntil(server.child.status, () => server.child.kill("SIGINT"));
  assertEquals((await server.ended()).code, 130);
  socket.close();
}, noSignals);

testBoth("client closes and prints its report, when a signal comes twice at once", async (transport) => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.readFrame();
    child.kill("SIGINT");
    child.kill("SIGTERM");
    await socket.answerClose();
  });
  const child = start("main.ts", ["--transport", transport, peer.url]);
  const { code, stdout, stderr } = await outcomeOf(child);
  assertEquals(code, 130);
  assertMatch(stdout, /✓ closed/);
  assertMatch(stderr, /^interrupted \(exit 130\)/);
}, noSignals);

/** Tests each of several commands in a terminal, through a task. */
function testInTerminal(name: string, commands: readonly string[], test: (words: string[]) => Promise<void>): void {
  for (const command of commands) {
    Deno.test({ name: `${name} (${command})`, ignore: !hasTerminal, fn: () => test(command.split(" ")) });
  }
}

testInTerminal(
  "the server's task ends with 0 and closes with 1001 at one Ctrl-C of a terminal",
  ["server --transport builtin", "server --transport wire"],
  async (words) => {
    await using terminal = new Terminal("task", "-q", ...words, "--port", "0", "--shutdown-timeout", "2");
    await terminal.until("/\r\n");
    const socket = await rawClient(/Listening on (\S+)/.exec(terminal.screen)?.[1] ?? "");
    await terminal.until("opened");
    await terminal.type(CTRL_C);
    // The close frame is not answered, so that the server still waits when the task forwards the Ctrl-C.
    const { opcode, payload } = await socket.readFrame();
    assertEquals([opcode, new DataView(payload.buffer).getUint16(0)], [8, 1001]);
    assertEquals(await terminal.ended(), 0, terminal.screen);
    assertMatch(terminal.screen, /draining\r\n[^]* stopped: 1 peer did not answer/);
    socket.close();
  },
);

testInTerminal(
  "the lab's task ends with 0 at one Ctrl-C of a terminal",
  ["lab", "server --lab"],
  async (words) => {
    await using terminal = new Terminal("task", "-q", ...words, "--port", "0");
    await terminal.until("/\r\n");
    await terminal.type(CTRL_C);
    assertEquals(await terminal.ended(), 0, terminal.screen);
    assertMatch(terminal.screen, /draining\r\n[^]* stopped\r\n$/);
  },
);

testInTerminal(
  "the client's task closes, and ends with its report and 130, at one Ctrl-C of a terminal",
  ["client --transport builtin", "client --transport wire"],
  async (words) => {
    // The peer answers the close frame, but only after the Ctrl-C has arrived twice, and no message.
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await terminal.type(CTRL_C);
      await socket.answerClose();
    });
    await using terminal = new Terminal("task", "-q", ...words, peer.url);
    assertEquals(await terminal.ended(), 130, terminal.screen);
    assertMatch(terminal.screen, /✓ closed[^]*interrupted \(exit 130\)/);
  },
);

testInTerminal(
  "the client's task closes the conversation, and ends with 130, at one Ctrl-C of a terminal",
  ["client -i --transport builtin", "client -i --transport wire"],
  async (words) => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.answerClose();
    });
    await using terminal = new Terminal("task", "-q", ...words, peer.url);
    await terminal.until("Ctrl-D closes");
    await terminal.type(CTRL_C);
    assertEquals(await terminal.ended(), 130, terminal.screen);
    assertMatch(terminal.screen, /closed with 1000[^]*confirmed by the peer/);
  },
);

testInTerminal(
  "the server's task ends at once with 130, when Ctrl-C comes again",
  ["server --transport builtin", "server --transport wire"],
  async (words) => {
    await using terminal = new Terminal("task", "-q", ...words, "--port", "0", "--shutdown-timeout", "600");
    await terminal.until("/\r\n");
    const socket = await rawClient(/Listening on (\S+)/.exec(terminal.screen)?.[1] ?? "");
    await terminal.until("opened");
    const ended = terminal.ended();
    await signalUntil(ended, () => terminal.type(CTRL_C));
    assertEquals(await ended, 130, terminal.screen);
    socket.close();
  },
);
