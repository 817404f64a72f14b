/** Messages as lines, and payloads in hexadecimal. */

import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { dumpLines, MAX_DUMPED_BYTES, messageLine } from "../../lib/client/message_line.ts";
import { hexStart } from "../../lib/protocol/message.ts";
import { standIns } from "../support/command.ts";
import { rawPeer, TEXT } from "../support/raw_peer.ts";
import { hasTerminal, Terminal } from "../support/terminal.ts";

const noon = new Date(2026, 0, 1, 12);

for (
  const [message, line] of [
    ["", "12:00:00.000 < "],
    ['say "hi" \\o/', '12:00:00.000 < say "hi" \\o/'],
    ["\u001b[2J\u202e\u2066\u009b31m", String.raw`12:00:00.000 < \u001b[2J\u202e\u2066\u009b31m`],
    [new Uint8Array(0), "12:00:00.000 < binary, 0 bytes"],
    [new Uint8Array(25), `12:00:00.000 < binary, 25 bytes:${" 00".repeat(24)} ...`],
  ] as const
) {
  Deno.test(`messageLine() is ${line}`, () => {
    assertEquals(messageLine(typeof message === "string" ? message : Uint8Array.from(message), "in", noon), line);
  });
}

Deno.test("hexStart() shows as many bytes as allowed", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  assertEquals([hexStart(bytes, 3), hexStart(bytes, 2)], [": 01 02 03", ": 01 02 ..."]);
});

Deno.test("dumpLines() shows 16 bytes per line in two groups, and a full stop for each non-ASCII byte", () => {
  assertEquals(dumpLines(Uint8Array.from({ length: 17 }, (_, index) => index * 15)), [
    "  00000000  00 0f 1e 2d 3c 4b 5a 69  78 87 96 a5 b4 c3 d2 e1  |...-<KZix.......|",
    `  00000010  f0${" ".repeat(47)} |.|`,
  ]);
  assertEquals(dumpLines("é\u001b")[0]?.slice(61), " |...|");
});

Deno.test("dumpLines() shows 4096 bytes, and says how many more there are", () => {
  assertEquals(MAX_DUMPED_BYTES, 4096);
  assertEquals(dumpLines(new Uint8Array(4096)).length, 256);
  assertEquals(dumpLines(new Uint8Array(4097)).at(-1), "  and 1 byte more");
});

/** Characters that move the cursor, hide text or reverse the reading direction, between letters. */
const HOSTILE = "a\u001b[2Jb\u009b31mc\rd\be\u202ef\u2066g\u200fh\u061ci\u2028j\u0085k";
// deno-lint-ignore no-control-regex -- the test looks for them
const STEERING = /[\x08\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\x1b\[2J|\x1b\[31m/;

for (const options of [[], ["-v"], ["--trace"], ["--hex"], ["--reply", "x"], ["-i"]]) {
  Deno.test({
    name: `client ${options.join(" ")} keeps a peer's text from steering the terminal`,
    ignore: !hasTerminal,
    fn: async () => {
      await using peer = rawPeer(async (socket) => {
        await socket.upgrade();
        await socket.frame(TEXT, HOSTILE);
        await socket.answerClose();
      });
      const words = ["run", "--no-prompt", ...standIns, "--allow-net", "--allow-read", "main.ts"];
      const expected = options.includes("--reply") ? [] : ["--reply-any"];
      const wire = ["--transport", "wire"];
      const send = options.includes("-i") ? [] : ["-m", "x"];
      await using terminal = new Terminal(...words, ...wire, ...options, ...expected, ...send, peer.url);
      if (options.includes("-i")) {
        await terminal.until(String.raw`b\u009b31mc`);
        await terminal.type("\x04");
      }
      await terminal.ended();
      assertStringIncludes(terminal.screen, String.raw`a\u001b[2Jb\u009b31mc`);
      assertFalse(STEERING.test(terminal.screen), JSON.stringify(terminal.screen));
    },
  });
}
