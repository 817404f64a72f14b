/** The commands of the one command line: the first word selects one, the rest belongs to it. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { client, outcomeOf, reportOf, start, watchServer } from "../support/command.ts";

/** The extra permission of a server. */
const OF_THE_SERVER = { permissions: ["--allow-env=WSPROOF_*"] };

for (const command of ["serve", "lab"]) {
  Deno.test({
    name: `${command} listens, proves itself to the client, and ends with 0 at SIGTERM`,
    ignore: Deno.build.os === "windows",
    fn: async () => {
      await using server = await watchServer(start("main.ts", [command, "--port", "0"], OF_THE_SERVER));
      assertEquals(reportOf(await client(["--json", server.url])).verdict, "proven");
      server.child.kill("SIGTERM");
      assertEquals(await server.ended(), { code: 0, stderr: "" });
    },
  });

  Deno.test(`help ${command} shows what ${command} --help shows, within 80 columns`, async () => {
    const help = await outcomeOf(start("main.ts", ["help", command], OF_THE_SERVER));
    assertEquals(help, await outcomeOf(start("main.ts", [command, "--help"], OF_THE_SERVER)));
    for (const asked of ["-h", "--help"]) {
      assertEquals(await outcomeOf(start("main.ts", [asked, command], OF_THE_SERVER)), help);
    }
    assertEquals([help.code, help.stderr], [0, ""]);
    assertStringIncludes(help.stdout, `Usage: wsproof ${command} [OPTIONS]`);
    assertEquals(help.stdout.split("\n").filter((line) => line.length > 80), []);
  });
}

Deno.test("help with a topic shows the options of the topic, and completions the script for a shell", async () => {
  const topic = await client(["help", "close"]);
  assertEquals([topic.code, topic.stderr], [0, ""]);
  assertMatch(topic.stdout, /^Close:\n {6}--close-code CODE /);
  const script = await client(["completions", "bash"]);
  assertEquals([script.code, script.stderr], [0, ""]);
  // The options and operands of the commands.
  for (const words of ["serve:--log", "lab:--log", "check:--profile", "utf8", "bash zsh fish", "conversation"]) {
    assertStringIncludes(script.stdout, words);
  }
});

Deno.test("lab misbehaves as its path says, without --lab", async () => {
  await using lab = await watchServer(start("main.ts", ["lab", "--port", "0"], OF_THE_SERVER));
  assertEquals(reportOf(await client(["--json", `${lab.url}corrupt`])).verdict, "wrong-reply");
});

Deno.test("lab --help shows the options that the lab takes, and no other", async () => {
  const { stdout } = await outcomeOf(start("main.ts", ["lab", "--help"], OF_THE_SERVER));
  const shown = [...stdout.matchAll(/^ {2}.{4}--([a-z-]+)/gm)].map(([, name]) => name);
  assert(shown.includes("port") && shown.includes("lab-public"), stdout);
  const { code, stderr } = await outcomeOf(start("main.ts", ["lab", "--max-message", "1"], OF_THE_SERVER));
  assertEquals([code, stderr], [2, "wsproof: Option --max-message cannot be used with --lab: leave it out\n"]);
  assert(!shown.includes("max-message"), stdout);
});

Deno.test("help is the help of the client, with the commands", async () => {
  const help = await client(["help"]);
  assertEquals(help, await client(["--help"]));
  assertEquals(help.code, 0);
  for (const command of ["check", "serve", "lab", "help", "completions"]) {
    assertMatch(help.stdout, new RegExp(`^  ${command} `, "m"));
  }
  assertEquals(help.stdout.split("\n").filter((line) => line.length > 80), []);
});

for (
  const [args, line] of [
    [
      ["sevre"],
      'Operand "sevre" is neither a command (check, serve, lab, help, completions) nor a URL: did you mean serve?',
    ],
    [["help", "sevre"], 'Operand "sevre" is neither a command'],
    [["completions"], "Command completions needs one shell: bash, zsh, fish"],
    [["-q", "serve"], "Command serve must be the first word: write wsproof serve [OPTIONS]"],
    [["serve", "x"], 'The server takes no operand: leave out "x"'],
    [["help", "ws://me:s3cret@a/"], 'Operand "ws://me:***@a/" is neither a command'],
    [["serve", "ws://me:s3cret@a/"], 'The server takes no operand: leave out "ws://me:***@a/"'],
    [["check", "ws://a/", "ws://me:s3cret@a/"], 'Operand "ws://me:***@a/" is neither a group'],
    [["check", "--junit", "ws://me:s3cret@a/", "ws://a/"], 'Option --junit cannot be "ws://me:***@a/": give a path'],
    [["lab", "--prot", "1"], "Option --prot does not exist: did you mean --port?"],
  ] as const
) {
  Deno.test(`wsproof says in one line what is wrong with ${args.join(" ")}, and exits with 2`, async () => {
    const outcome = await outcomeOf(start("main.ts", args, OF_THE_SERVER));
    assertEquals([outcome.code, outcome.stdout], [2, ""]);
    assertMatch(outcome.stderr, /^wsproof: .*\n$/);
    assertStringIncludes(outcome.stderr, `wsproof: ${line}`);
  });
}

Deno.test("a message may be the name of a command", async () => {
  await using server = await watchServer(start("main.ts", ["serve", "--port", "0", "-q"], OF_THE_SERVER));
  assertEquals(reportOf(await client(["--json", "-m", "serve", server.url])).sent, { messages: 1, bytes: 5 });
});
