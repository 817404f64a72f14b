/** The words beside a progress bar. */

import { assertEquals, assertMatch } from "@std/assert";
import { progressText } from "../../lib/client/progress.ts";
import { formatBytes, formatSize } from "../../lib/protocol/message.ts";

import { standIns } from "../support/command.ts";
import { rawPeer } from "../support/raw_peer.ts";
import { hasTerminal, Terminal } from "../support/terminal.ts";

const MIB = 1024 ** 2;

for (
  const [state, text] of [
    [{ done: 0, total: 200 * MIB, ms: 300 }, "0 B of 200 MiB, sends, 1 s so far"],
    [{ done: 0, total: 200 * MIB, ms: 4300, isSent: true }, "0 B of 200 MiB, no reply yet, 5 s so far"],
    [{ done: 50 * MIB, total: 200 * MIB, ms: 500 }, "50 MiB of 200 MiB, 100 MiB/s, 2 s left"],
    [{ done: MIB, total: 200 * MIB, ms: 1000 }, "1 MiB of 200 MiB, 1 MiB/s, 3 min 19 s left"],
    [{ done: MIB, total: 20_000 * MIB, ms: 1000 }, "1 MiB of 19.5 GiB, 1 MiB/s, 5 h 33 min left"],
    [{ done: 200 * MIB, total: 200 * MIB, ms: 2000 }, "200 MiB of 200 MiB, 100 MiB/s, 0 s left"],
    [{ done: 11, total: 1100, ms: 0 }, "11 B of 1.1 KiB, 10.7 KiB/s, 0 s left"],
  ] as const
) {
  Deno.test(`progressText() is "${text}", when ${state.done} bytes are done in ${state.ms} ms`, () => {
    assertEquals(progressText(state), text);
  });
}

Deno.test("progressText() takes at most 50 columns, when all numbers are long", () => {
  const text = progressText({ done: 1023 * MIB, total: 1023.4 * MIB * 3600, ms: 1000 });
  assertEquals(text, "1023 MiB of 3598 GiB, 1023 MiB/s, 1 h 0 min left");
  assertEquals(Math.max(50, text.length), 50);
  const waiting = progressText({ done: 0, total: 1023.4 * MIB * 3600, ms: 59.9 * 60_000, isSent: true });
  assertEquals(Math.max(50, waiting.length), 50, waiting);
});

for (
  const [bytes, text] of [
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1.5 * MIB, "1.5 MiB"],
    [99.9 * MIB, "99.9 MiB"],
    [100.4 * MIB, "100 MiB"],
    [1024 ** 4, "1024 GiB"],
  ] as const
) {
  Deno.test(`formatSize() is ${text}, when there are ${bytes} bytes`, () => assertEquals(formatSize(bytes), text));
}

Deno.test("formatBytes() shows the size beside the bytes from 1 MiB on", () => {
  assertEquals([0, MIB - 1, MIB].map(formatBytes), ["0 bytes", "1048575 bytes", "1048576 bytes (1 MiB)"]);
});

for (const columns of [60, 80]) {
  Deno.test({
    name: `client draws a bar with rate and time left, before a reply has come, in a terminal of ${columns} columns`,
    ignore: !hasTerminal,
    fn: async () => {
      // No reply comes before the bar appears, and the last one only once the bar shows the first.
      await using peer = rawPeer(async (socket) => {
        await socket.upgrade();
        for (const shown of ["0 B of 2 MiB, no reply yet, ", "1 MiB of 2 MiB, "]) {
          const { opcode, payload } = await socket.readFrame();
          await terminal.until(shown);
          await socket.frame(opcode, payload);
        }
        await socket.answerClose();
      });
      const words = ["run", "--no-prompt", ...standIns, "--allow-net", "--allow-read", "main.ts"];
      await using terminal = new Terminal({ columns }, ...words, "--size", "1MiB", "-n", "2", peer.url);
      assertEquals(await terminal.ended(), 0, terminal.screen);
      assertMatch(terminal.screen, /\[#+-+\] 1 MiB of 2 MiB, [\d.]+ [KM]?i?B\/s, \d+ s left/);
      const bars = terminal.screen.split(/[\r\n]+/).filter((line) => line.includes("so far") || line.includes(" left"));
      assertEquals(bars.filter((line) => line.replace("\x1b[K", "").length > columns), []);
      // The bar's line ends with its replacement.
      assertEquals(terminal.screen.split("\n")[0]?.split("\r\u001b[K").at(-1)?.includes(" left"), false);
      assertMatch(terminal.screen, /2097152 bytes\s+\(2 MiB\)[^]* at\s+[\d.]+ [KM]iB\/s; close/);
    },
  });
}
