/** `lab --run`: a client's own harness against the lab, through the real command line. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import { outcomeOf, standIns, start } from "../support/command.ts";

const HARNESS = ["run", "-A", "--no-check", ...standIns, "examples/lab_client.ts"];

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
      `builtin: 1 failed, ${
        MIRROR_CASES.length - 1
      } not run\n  fail       6455/4.1/bad-accept: Client treated the connection as open`,
    );
    assertMatch(stdout, /not-conformant \(exit 9\): 1 case failed; add --reports DIR to see the frames\n$/);
  },
});

/** A harness that echoes in one case, and reads the index as soon as its reports are there, as harnesses of libraries do. */
const READER = `const url = Deno.env.get("WSPROOF_LAB_URL");
  const run = (path) => new Promise((resolve) => {
    const socket = new WebSocket(url + path);
    socket.onmessage = ({ data }) => socket.send(data);
    socket.onclose = resolve;
  });
  await run("runCase?casetuple=1.1.1&agent=../my%20client");
  await run("updateReports?agent=../my%20client");
  const index = JSON.parse(await Deno.readTextFile(Deno.args[0] + "/index.json"));
  Deno.exit(index["../my client"]["1.1.1"].behavior === "OK" ? 0 : 1);`;

Deno.test({
  name: "lab --reports writes them before updateReports ends: an index, and three files for each client",
  ignore,
  async fn() {
    const folder = await Deno.makeTempDir();
    const script = `${folder}/harness.ts`;
    await Deno.writeTextFile(script, READER);
    const { code, stdout } = await outcomeOf(start("server.ts", [
      ...["--lab", "--port", "0", "--cases", "autobahn", "--reports", `${folder}/a/b`],
      ...["--run", `'${Deno.execPath()}' run -A --no-check ${script} ${folder}/a/b`],
    ], { permissions: ["--allow-run=sh", "--allow-write"] }));
    const names = (await Array.fromAsync(Deno.readDir(`${folder}/a/b`))).map(({ name }) => name).sort();
    const xml = await Deno.readTextFile(`${folder}/a/b/my_client.xml`);
    await Deno.remove(folder, { recursive: true });
    const [, ...lines] = stdout.trimEnd().split("\n");
    assertEquals([code, lines], [0, [
      "../my client: 1 passed, 300 not run",
      `Reports are in ${folder}/a/b`,
      "proven (exit 0)",
    ]]);
    assertEquals(names, ["index.json", "my_client.html", "my_client.json", "my_client.xml"]);
    assertStringIncludes(xml, 'hostname="../my client"');
  },
});

for (
  const [args, line] of [
    [["--cases", "autobahn"], "Option --cases needs --lab: give both"],
    [["--reports", "x"], "Option --reports needs --lab: give both"],
    [
      ["--lab", "--run", "true"],
      'Option --run has no permission to start "sh": run deno task lab:run, or give --allow-run=sh',
    ],
    [["--lab", "--cases", "most"], 'Option --cases cannot be "most": give all or autobahn'],
    [["--lab", "--reports", ""], "Option --reports names no folder: give one, as in --reports reports"],
    [
      ["--lab", "--reports", "x"],
      'Option --reports has no permission to write "x": run deno task lab:run, or give --allow-write',
    ],
    [["--run", "true"], "Option --run needs --lab: give both"],
    [["--lab", "--run-timeout", "1"], "Option --run-timeout needs --run: give both"],
  ] as const
) {
  Deno.test(`server says in one line what is wrong with ${args.join(" ")}, and exits with 2`, async () => {
    const { code, stderr } = await outcomeOf(start("server.ts", ["--port", "0", ...args]));
    assertEquals([code, stderr], [2, `wsproof: ${line}\n`]);
  });
}

Deno.test("server --lab --help is the help of the lab, without the options of the echo", async () => {
  const { code, stdout } = await outcomeOf(start("server.ts", ["--lab", "--help"]));
  assertEquals(code, 0);
  assertMatch(stdout, /^wsproof's lab: /);
  assertStringIncludes(stdout, "--reports DIR");
  assertEquals(stdout.includes("--max-message"), false);
});
