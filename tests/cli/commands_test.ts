/** Commands: words in, a choice out. */

import { assertEquals, assertThrows } from "@std/assert";
import { commandOf, type Commands, describeCommands, refuseWords } from "../../lib/cli/commands.ts";
import { parseCommandLine, UsageError } from "../../lib/cli/command_line.ts";

const COMMANDS: Commands = {
  serve: { usage: "[OPTIONS]", help: "Run the echo server", run: () => Promise.resolve(0) },
  help: { usage: "[COMMAND]", help: "Show this help", run: () => Promise.resolve(0) },
};

Deno.test("commandOf() finds the command that the first word names", () => {
  assertEquals(commandOf(["serve"], COMMANDS), COMMANDS["serve"]);
  assertEquals(commandOf(["help", "serve"], COMMANDS), COMMANDS["help"]);
});

for (const args of [[], ["-q", "serve"], ["ws://serve/"], ["Serve"], ["toString"], [""]]) {
  Deno.test(`commandOf() finds no command, when the words are ${JSON.stringify(args)}`, () => {
    assertEquals(commandOf(args, COMMANDS), undefined);
  });
}

for (const operand of ["ws://serve/", "serve.example", "serve:80", "serve1", "", "-"]) {
  Deno.test(`refuseWords() leaves ${JSON.stringify(operand)} to the reader of the URL`, () => {
    refuseWords(parseCommandLine(["--", operand], []), COMMANDS);
  });
}

for (
  const [operand, message] of [
    ["sevre", 'Operand "sevre" is neither a command (serve, help) nor a URL: did you mean serve?'],
    [
      "toString",
      'Operand "toString" is neither a command (serve, help) nor a URL: for a host of that name, write ws://toString/',
    ],
    ["serve", "Command serve must be the first word: write wsproof serve [OPTIONS]"],
  ] as const
) {
  Deno.test(`refuseWords() says in one line what is wrong with ${operand}`, () => {
    const error = assertThrows(() => refuseWords(parseCommandLine(["ws://a/", operand], []), COMMANDS), UsageError);
    assertEquals(error.message, message);
  });
}

Deno.test("refuseWords() suggests quotes, when a message is given", () => {
  const line = parseCommandLine(["-m", "hello", "sevre"], [
    { name: "message", short: "m", value: "TEXT", help: [] },
  ]);
  const error = assertThrows(() => refuseWords(line, COMMANDS), UsageError);
  assertEquals(
    error.message,
    'Operand "sevre" is neither a command (serve, help) nor a URL: a message of several words needs quotes, as in -m "two words"',
  );
});

Deno.test("describeCommands() puts the help of a command into the column of the options", () => {
  assertEquals(describeCommands(COMMANDS), [
    "  serve [OPTIONS]             Run the echo server",
    "  help [COMMAND]              Show this help",
  ]);
});
