/** Conversations in a real terminal. */

import { assertEquals, assertMatch } from "@std/assert";
import { SECOND_SIGNAL_MS } from "../../lib/cli/signals.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { standIns } from "../support/command.ts";
import { rawPeer, type Script, TEXT } from "../support/raw_peer.ts";
import { COOKED, hasTerminal, Terminal, type TerminalOptions } from "../support/terminal.ts";

/** A peer whose first connection runs a script after the upgrade. */
function upgraded(script: Script) {
  return rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
}

/** The client in its own terminal. */
function terminal(...args: readonly (string | TerminalOptions)[]): Terminal {
  const options = args.filter((arg) => typeof arg !== "string");
  const words = args.filter((arg) => typeof arg === "string");
  const permissions = ["--allow-net", "--allow-read", "--allow-env=COLUMNS,TERM"];
  return new Terminal(...options, "run", "--no-prompt", ...standIns, ...permissions, "main.ts", ...words);
}

const CTRL_D = "\x04";

Deno.test({
  name: "client -i holds a conversation in a terminal until Ctrl-D, without judging replies",
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
    await shown.until("wrong-reply (exit 6): A message came unasked");
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
  name: "client -i shows a received message above a half-typed line, and keeps the line",
  ignore: !hasTerminal,
  fn: async () => {
    const half = "a half line that is longer than sixty columns, so that it takes two rows";
    // A blank at the end of a row is invisible.
    const withoutBlanks = (text: string) => text.replaceAll(" ", "");
    const isTyped = (lines: string[]) => withoutBlanks(lines.slice(-2).join("")) === withoutBlanks(`> ${half}`);
    await using peer = upgraded(async (socket) => {
      await shown.untilSeen((lines) => lines.at(-1) === ">");
      await shown.type(half);
      await shown.untilSeen((lines) => isTyped(lines));
      await socket.frame(TEXT, "news");
      await shown.untilSeen((lines) => isTyped(lines) && / < news$/.test(lines.at(-3) ?? ""));
      // Two characters left, then one more: the cursor has stayed in the line.
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
    // Twice up and back: the latest line comes first.
    await shown.type("\x1b[A\x1b[A\x1b[B again\r");
    await shown.until("< second again");
    await shown.type(CTRL_D);
    assertEquals(await shown.ended(), 0);
    await server.shutdown();
  },
});

Deno.test({
  name: "client -i obeys its commands in a terminal, reports mistakes, and continues",
  ignore: !hasTerminal,
  fn: async () => {
    const server = serveEcho({ port: 0 });
    const path = await Deno.makeTempFile();
    await Deno.writeTextFile(path, "from a file");
    await using shown = terminal("-i", "--transport", "wire", server.url);
    await shown.until("Commands: /help, /ping, /close [CODE");
    for (
      const [line, answer] of [
        ["/help", "Send these bytes, in hexadecimal"],
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

/** A module that acts on SIGUSR1. */
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
    name: `client -i restores the terminal, when ${what} ends it uncaught`,
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
