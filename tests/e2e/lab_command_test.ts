/** The command line of the lab. */

import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { serveLab } from "../../lib/lab/lab.ts";
import { outcomeOf, serverProcess, start } from "../support/command.ts";
import { startLab } from "../support/lab.ts";
import { CLOSE, rawClient } from "../support/raw_peer.ts";

const NORMAL = Uint8Array.of(0x03, 0xe8);
// The command line.

Deno.test("server --lab serves the lab, and logs as the echo server does", async () => {
  await using server = await serverProcess("--lab");
  const socket = await rawClient(`${server.url}close/4000/bye`);
  await socket.frame(CLOSE, NORMAL);
  await socket.readToEnd();
  socket.close();
  assertMatch(await server.nextLine(), /^\S+Z #1 opened by 127\.0\.0\.1:\d+ for "\/close\/4000\/bye"$/);
  assertMatch(
    await server.nextLine(),
    /^\S+Z #1 closed: 1000 \(normal closure\), after our 4000 \(private use\), reason "bye"; 0 messages, 0 bytes in /,
  );
  if (Deno.build.os === "windows") return;
  server.child.kill("SIGTERM");
  assertEquals(await server.ended(), { code: 0, stderr: "" });
});

for (
  const [args, code, line] of [
    [
      ["--lab", "--host", "0.0.0.0"],
      2,
      'Option --host cannot be "0.0.0.0" with --lab: it is not a loopback address; add --lab-public to allow it',
    ],
    [["--lab", "--host", "127.999.0.1"], 2, 'Option --host cannot be "127.999.0.1" with --lab: it is not a loopback'],
    [["--lab", "--host", "a/b"], 2, 'Option --host cannot be "a/b" with --lab: it is not a loopback address'],
    [["--lab", "--host", ""], 2, 'Option --host cannot be "": give an address or a name'],
    [["--lab", "--port", "70000"], 2, 'Option --port cannot be "70000": give a whole number from 0 to 65535'],
    [["--lab", "--log", "x"], 2, 'Option --log cannot be "x": give text, json or none'],
    [["--lab", "--lab-public=yes"], 2, 'Option --lab-public takes no value: leave out "yes"'],
    [["--lab", "echo"], 2, 'The server takes no operand: leave out "echo"'],
    [["--lab-public"], 2, "Option --lab-public needs --lab: give both"],
    [["--lab", "--transport", "wire"], 2, "Option --transport cannot be used with --lab: leave it out"],
    [["--lab", "--max-message", "1"], 2, "Option --max-message cannot be used with --lab: leave it out"],
    [["--lab", "--lab-public", "--host", "192.0.2.1"], 1, 'Cannot listen on host "192.0.2.1", port 0: '],
  ] as const
) {
  Deno.test(`server says in one line what is wrong with ${args.join(" ")}, and exits with ${code}`, async () => {
    const outcome = await outcomeOf(start("server.ts", ["--port", "0", ...args]));
    assertEquals([outcome.code, outcome.stdout], [code, ""]);
    assertMatch(outcome.stderr, /^wsproof: .*\n$/);
    assertStringIncludes(outcome.stderr, `wsproof: ${line}`);
  });
}

Deno.test("serveLab() says that the port is taken", async () => {
  await using lab = await startLab();
  const port = Number(new URL(lab.url).port);
  await assertRejects(
    () => serveLab({ port }),
    Error,
    `Cannot listen on host "127.0.0.1", port ${port}: the port is in use; give another --port, or 0`,
  );
});
