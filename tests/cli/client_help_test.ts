/** The help of the client: every option in one group, within the columns. */

import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { clientHelp, HELP_TOPICS, topicHelp } from "../../lib/cli/client_help.ts";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { UsageError } from "../../lib/cli/command_line.ts";
import { EXIT_CODES } from "../../lib/client/verdict.ts";
import { TALK_COMMANDS } from "../../lib/client/talk_command.ts";
import { DEFAULT_PORT, DEFAULT_TIMEOUT_MS } from "../../lib/connection/connection.ts";

const COMMANDS = { serve: { usage: "[OPTIONS]", help: "Run the echo server", run: () => Promise.resolve(0) } };
const HELP = clientHelp(COMMANDS);

/** The names of the options in a help, in its order. */
function namesIn(help: string): string[] {
  return [...help.matchAll(/^ {2}(?:-\w,| {3}) --([a-z-]+)/gm)].map(([, name = ""]) => name);
}

for (const columns of [60, 80, 140]) {
  Deno.test(`clientHelp() keeps all but its examples within ${columns} columns, and within 100`, () => {
    const isExample = (line: string) => line.startsWith("  wsproof ");
    const lines = clientHelp(COMMANDS, columns).split("\n");
    assertEquals(lines.filter((line) => line.length > Math.min(columns, 100) && !isExample(line)), []);
  });
}

Deno.test("clientHelp() lists each option once", () => {
  assertEquals(namesIn(HELP).sort(), CLIENT_OPTIONS.map(({ name }) => name).sort());
});

Deno.test("clientHelp() begins with the five common options and three examples", () => {
  const [, first = ""] = HELP.split("Common options:\n");
  const [options = "", examples = ""] = first.split("\n\n");
  assertEquals(namesIn(options).length, 5);
  assertEquals(examples.split("\n").filter((line) => line.startsWith("  wsproof ")).length, 3);
});

for (const { name, short, value, help } of CLIENT_OPTIONS) {
  Deno.test(`clientHelp() shows --${name} in one column and its help in another`, () => {
    const letter = short === undefined ? "    " : `-${short}, `;
    const option = `  ${letter}--${name}${value === undefined ? "" : ` ${value}`}`;
    const [, entry = ""] = HELP.split(`\n${option} `);
    assertStringIncludes(entry.replace(/\s+/g, " ").trim(), help.join(" "));
    assertEquals(/^ +/.exec(entry)?.[0].length, 30 - option.length - 1);
  });
}

for (const [verdict, code] of Object.entries(EXIT_CODES)) {
  Deno.test(`clientHelp() lists exit code ${code}`, () => assertStringIncludes(HELP, `${code} ${verdict}`));
}

Deno.test("clientHelp() shows the actual defaults", () => {
  assertEquals(DEFAULT_TIMEOUT_MS, 10_000);
  assertEquals(HELP.match(/\(default 10\)/g)?.length, 3);
  assertStringIncludes(HELP, "(default 64MiB less 1)");
  assertStringIncludes(HELP, `ws://127.0.0.1:${DEFAULT_PORT}/`);
});

Deno.test("topicHelp() lists each option in one topic", () => {
  const names = HELP_TOPICS.flatMap((topic) => namesIn(topicHelp(topic, COMMANDS)));
  assertEquals(names.sort(), CLIENT_OPTIONS.map(({ name }) => name).sort());
  for (const topic of HELP_TOPICS) assert(topicHelp(topic, COMMANDS).split("\n").length > 1, topic);
});

Deno.test("topicHelp() lists the commands of a conversation", () => {
  for (const name of Object.keys(TALK_COMMANDS)) {
    assertStringIncludes(topicHelp("conversation", COMMANDS), `\n  ${name} `);
  }
});

Deno.test("topicHelp() lists commands and topics, when there is no such topic", () => {
  const { message } = assertThrows(() => topicHelp("clsoe", COMMANDS), UsageError);
  assertEquals(
    message,
    `Operand "clsoe" is neither a command (serve) nor a help topic (${HELP_TOPICS.join(", ")})`,
  );
});
