/** `lab --run`: a client's own harness against the lab, through the real command line. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { outcomeOf, standIns, start } from "../support/command.ts";

const HARNESS = ["run", "-A", "--no-check", ...standIns, "examples/lab_client.ts"];

Deno.test("lab --run says usage, when Deno has no permission to run the harness", async () => {
  const { code, stderr } = await outcomeOf(start("server.ts", ["--lab", "--port", "0", "--run", "true"]));
  assertEquals(code, 2, stderr);
  assertMatch(stderr, /^wsproof: Requires run access to "sh"/m);
});

function run(command: string, ...options: string[]) {
  return outcomeOf(
    start("server.ts", ["--lab", "--port", "0", "--run", command, ...options], { permissions: ["--allow-run=sh"] }),
  );
}

const ignore = Deno.build.os === "windows";

/** Messages before a fault in the same segment are lost with the connection: their reader finds it closed. */
const NOT_STRICT = ["3.2", "3.3", "3.4", "4.1.3", "4.1.4", "4.1.5", "4.2.3", "4.2.4", "4.2.5", "5.15"];

Deno.test({
  name: "lab --run: the client over wire passes every case, with permessage-deflate too",
  ignore,
  async fn() {
    const { code, stdout } = await run([`'${Deno.execPath()}'`, ...HARNESS].join(" "));
    const [, counts = "", ...lines] = stdout.trimEnd().split("\n");
    assertMatch(counts, /^wsproof-wire: \d+ passed(, \d+ not strict)?$/);
    assertEquals(lines.pop(), "proven (exit 0)");
    const others = lines.filter((line) => !NOT_STRICT.some((number) => line.startsWith(`  not-strict ${number} `)));
    assertEquals(others, []);
    assertEquals(code, 0);
  },
});

for (
  const [command, options, code, words] of [
    ["exit 7", [], 7, "Harness failed (exit 7)"],
    ["true", [], 3, "Harness ran no case: does it read WSPROOF_LAB_URL? (exit 3)"],
    ["sleep 60", ["--run-timeout", "0.2"], 5, "Harness did not end within 0.2 s (exit 5)"],
  ] as const
) {
  Deno.test({
    name: `lab --run '${command}' ${options.join(" ")} exits with ${code}, and says why`,
    ignore,
    async fn() {
      const outcome = await run(command, ...options);
      assertEquals([outcome.code, outcome.stdout.trimEnd().split("\n").slice(1)], [code, [words]]);
    },
  });
}

Deno.test({
  name: "lab --run exits with 9 when a case fails",
  ignore,
  async fn() {
    // The built-in WebSocket does not compare the accept key.
    const script = `const url = Deno.env.get("WSPROOF_LAB_URL") + "runCase?casetuple=6455/4.1/bad-accept&agent=builtin";
      const socket = new WebSocket(url);
      socket.onclose = () => Deno.exit(0);`;
    const path = await Deno.makeTempFile({ suffix: ".ts" });
    await Deno.writeTextFile(path, script);
    const { code, stdout } = await run(`'${Deno.execPath()}' run -A --no-check ${path}`);
    await Deno.remove(path);
    assertEquals(code, 9);
    assertStringIncludes(
      stdout,
      "builtin: 1 failed\n  fail       6455/4.1/bad-accept: Client took the connection for open",
    );
    assertMatch(stdout, /not-conformant \(exit 9\): 1 case failed\n$/);
  },
});

for (
  const [args, line] of [
    [["--run", "true"], "Option --run belongs to --lab: give both"],
    [["--lab", "--run-timeout", "1"], "Option --run-timeout belongs to --run: give both"],
  ] as const
) {
  Deno.test(`server says in one line what is wrong with ${args.join(" ")}, and exits with 2`, async () => {
    const { code, stderr } = await outcomeOf(start("server.ts", ["--port", "0", ...args]));
    assertEquals([code, stderr], [2, `wsproof: ${line}\n`]);
  });
}
