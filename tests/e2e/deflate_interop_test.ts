/**
 * Random compressed messages between our ends and npm ws, Python's websockets and Chromium, each compared with its
 * echo: a few for each set of parameters. `deno task perf:fuzz:deflate` sends 20,000 each way, and also to Bun.
 */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { relations } from "../../perf/fuzz/deflate/relations.ts";
import { hasChromium } from "../support/browser.ts";

/** Debian's python3-websockets; the gate installs it. */
const hasPython = await new Deno.Command("/usr/bin/python3", { args: ["-c", "import websockets"], stderr: "null" })
  .output().then(({ success }) => success, () => false);

const IGNORED = { ws: false, python: !hasPython, chromium: !hasChromium, bun: true };
const COUNT = 25;

for (const { peer, name, run } of relations()) {
  Deno.test({
    name: `${COUNT} random compressed messages come back unchanged: ${name}`,
    ignore: IGNORED[peer],
    fn: async () => {
      const { messages, extensions } = await run(COUNT, 6455);
      assertEquals(messages, COUNT);
      assertStringIncludes(extensions.toLowerCase().replaceAll("-", ""), "permessagedeflate");
    },
  });
}
