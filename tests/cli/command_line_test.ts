/** Command lines: words in, options, operands or errors out. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type CommandLine,
  describeOptions,
  type OptionSpec,
  parseCommandLine,
  unknownVariables,
  UsageError,
} from "../../lib/cli/command_line.ts";

const SPECS: readonly OptionSpec[] = [
  { name: "message", short: "m", value: "TEXT", help: [], otherBytes: "give a file" },
  { name: "count", short: "n", value: "N", help: [] },
  { name: "close-code", value: "CODE", help: [] },
  { name: "close-reason", value: "TEXT", help: [] },
  { name: "quiet", short: "q", help: [] },
  { name: "verbose", short: "v", help: [] },
  { name: "json", help: [] },
];

function parse(...args: string[]): CommandLine {
  return parseCommandLine(args, SPECS);
}

/** The content of a command line. */
function contentOf(line: CommandLine) {
  const flags = SPECS.map(({ name }) => name).filter((name) => line.has(name));
  const values = SPECS.flatMap(({ name }) => line.values(name).map((value) => `${name}=${value}`));
  return { flags, values, operands: line.operands };
}

const PARSED = [
  { args: [], flags: [], values: [], operands: [] },
  { args: ["--quiet"], flags: ["quiet"], values: [], operands: [] },
  { args: ["-q"], flags: ["quiet"], values: [], operands: [] },
  { args: ["-qv"], flags: ["quiet", "verbose"], values: [], operands: [] },
  { args: ["-qqq", "--quiet"], flags: ["quiet"], values: [], operands: [] },
  { args: ["--message", "a b"], flags: [], values: ["message=a b"], operands: [] },
  { args: ["--message=a b"], flags: [], values: ["message=a b"], operands: [] },
  { args: ["--message=a=b"], flags: [], values: ["message=a=b"], operands: [] },
  { args: ["--message=a\nb"], flags: [], values: ["message=a\nb"], operands: [] },
  { args: ["--message="], flags: [], values: ["message="], operands: [] },
  { args: ["--message", ""], flags: [], values: ["message="], operands: [] },
  { args: ["-m", "a"], flags: [], values: ["message=a"], operands: [] },
  { args: ["-n3"], flags: [], values: ["count=3"], operands: [] },
  { args: ["-n=3"], flags: [], values: ["count=3"], operands: [] },
  { args: ["-n="], flags: [], values: ["count="], operands: [] },
  { args: ["-m==a"], flags: [], values: ["message==a"], operands: [] },
  { args: ["-qn3"], flags: ["quiet"], values: ["count=3"], operands: [] },
  { args: ["-qn=3"], flags: ["quiet"], values: ["count=3"], operands: [] },
  { args: ["-qn", "3"], flags: ["quiet"], values: ["count=3"], operands: [] },
  { args: ["-nq"], flags: [], values: ["count=q"], operands: [] },
  { args: ["-m", "-5"], flags: [], values: ["message=-5"], operands: [] },
  { args: ["-m-5"], flags: [], values: ["message=-5"], operands: [] },
  { args: ["--message", "--json"], flags: [], values: ["message=--json"], operands: [] },
  { args: ["--message", "--"], flags: [], values: ["message=--"], operands: [] },
  { args: ["-m", "-"], flags: [], values: ["message=-"], operands: [] },
  { args: ["-m", "007"], flags: [], values: ["message=007"], operands: [] },
  { args: ["-m", "true"], flags: [], values: ["message=true"], operands: [] },
  { args: ["-m", "a", "-m", "b"], flags: [], values: ["message=a", "message=b"], operands: [] },
  { args: ["--close-reason=a"], flags: [], values: ["close-reason=a"], operands: [] },
  { args: ["a", "b"], flags: [], values: [], operands: ["a", "b"] },
  { args: ["-"], flags: [], values: [], operands: ["-"] },
  { args: [""], flags: [], values: [], operands: [""] },
  { args: ["007", "1e3"], flags: [], values: [], operands: ["007", "1e3"] },
  { args: ["a", "-q", "b", "-m", "c", "d"], flags: ["quiet"], values: ["message=c"], operands: ["a", "b", "d"] },
  { args: ["--quiet", "true"], flags: ["quiet"], values: [], operands: ["true"] },
  { args: ["--quiet", "false"], flags: ["quiet"], values: [], operands: ["false"] },
  { args: ["--"], flags: [], values: [], operands: [] },
  { args: ["-q", "--", "--json", "-x", "--"], flags: ["quiet"], values: [], operands: ["--json", "-x", "--"] },
  { args: ["a", "--", "b"], flags: [], values: [], operands: ["a", "b"] },
];
for (const { args, ...content } of PARSED) {
  Deno.test(`parseCommandLine() sorts the words, when they are ${JSON.stringify(args)}`, () => {
    assertEquals(contentOf(parse(...args)), content);
  });
}

Deno.test("value() is the last one, when an option was given more than once", () => {
  assertEquals(parse("-m", "a", "--message=b").value("message"), "b");
});

Deno.test("value() is undefined, when an option was not given", () =>
  assertEquals(parse().value("message"), undefined));

Deno.test("has() is false and value() undefined, when no option has that name", () => {
  assertEquals([parse().has("port"), parse().value("port"), parse().values("port")], [false, undefined, []]);
});

Deno.test("has() is false, when the option takes a value", () => assertEquals(parse("-m", "a").has("message"), false));

const REFUSED = [
  { args: ["--message"], message: "Option --message needs a value: --message TEXT" },
  { args: ["-n"], message: "Option -n needs a value: -n N" },
  { args: ["-qn"], message: "Option -n needs a value: -n N" },
  { args: ["--quiet=yes"], message: 'Option --quiet takes no value: leave out "yes"' },
  { args: ["--quiet="], message: 'Option --quiet takes no value: leave out ""' },
  { args: ["-q=yes"], message: 'Option -q takes no value: leave out "yes"' },
  { args: ["-qv=yes"], message: 'Option -v takes no value: leave out "yes"' },
  { args: ["-x"], message: "Option -x does not exist: --help lists them" },
  { args: ["-qx"], message: "Option -x does not exist: --help lists them" },
  { args: ["-😀"], message: "Option -😀 does not exist: --help lists them" },
  { args: ["-quiet"], message: "Option -u does not exist: --help lists them" },
  { args: ["--mesage", "a"], message: "Option --mesage does not exist: did you mean --message?" },
  { args: ["--mesage=a"], message: "Option --mesage does not exist: did you mean --message?" },
  { args: ["--messages"], message: "Option --messages does not exist: did you mean --message?" },
  { args: ["--quite"], message: "Option --quite does not exist: did you mean --quiet?" },
  { args: ["--m"], message: "Option --m does not exist: did you mean -m?" },
  { args: ["--close-cod"], message: "Option --close-cod does not exist: did you mean --close-code?" },
  { args: ["--closereasom"], message: "Option --closereasom does not exist: did you mean --close-reason?" },
  { args: ["--clozreazom"], message: "Option --clozreazom does not exist: --help lists them" },
  { args: ["--something-else"], message: "Option --something-else does not exist: --help lists them" },
  { args: ["--x"], message: "Option --x does not exist: --help lists them" },
  { args: ["--foo"], message: "Option --foo does not exist: --help lists them" },
  { args: ["--=a"], message: "Option -- does not exist: --help lists them" },
  ...[["--message", "a\ufffd"], ["--message=\ufffd"], ["-m\ufffd"], ["-qm", "\ufffd"], ["-m", "\ufffd", "-m", "a"]].map(
    (
      args,
    ) => ({
      args,
      message:
        `Option ${args[0]?.startsWith("--") ? "--message" : "-m"} is not UTF-8, or has U+FFFD in place of such ` +
        "bytes: give a file",
    }),
  ),
  {
    args: ["--close-reason", "\ufffd"],
    message: "Option --close-reason is not UTF-8, or has U+FFFD in place of such bytes: give UTF-8 without U+FFFD",
  },
  ...[["ws://a/\ufffd"], ["--", "ws://a/\ufffd"], ["a", "-q", "\ufffd"]].map((args) => ({
    args,
    message: "An argument is not UTF-8, or has U+FFFD in place of such bytes: in a URL write such bytes " +
      "percent-encoded, as %FF",
  })),
];
for (const { args, message } of REFUSED) {
  Deno.test(`parseCommandLine() says "${message}", when the words are ${JSON.stringify(args)}`, () => {
    const error = assertThrows(() => parse(...args), UsageError);
    assertEquals([error.name, error.message], ["UsageError", message]);
  });
}

for (const [edits, word] of [[1, "--close-reasons"], [2, "--close-reason12"], [3, "--close-reason123"]] as const) {
  Deno.test(`parseCommandLine() names the nearest option, when it is off by ${edits}`, () => {
    assertThrows(() => parse(word), UsageError, "did you mean --close-reason?");
  });
}

Deno.test("parseCommandLine() names no option, when the nearest is off by 4", () => {
  assertThrows(() => parse("--close-reason1234"), UsageError, "--help lists them");
});

Deno.test("parseCommandLine() knows no option, when there are none", () => {
  assertThrows(() => parseCommandLine(["--quiet"], []), UsageError, "--help lists them");
});

Deno.test("describeOptions() puts the help of an option into column 30, on as many lines as needed", () => {
  const specs = [
    { name: "message", short: "m", value: "TEXT", help: ["Send this", "(or that)"] },
    { name: "json", help: ["Print JSON"] },
  ];
  const lines = describeOptions(specs, 40);
  assertEquals(lines, [
    "  -m, --message TEXT          Send this",
    "                              (or that)",
    "      --json                  Print JSON",
  ]);
  assert(lines.every((line) => /^.{29} \S/.test(line)));
});

Deno.test("describeOptions() puts the help of a long option below it", () => {
  const specs = [{ name: "a-very-long-name", value: "SOMETHING", help: ["Does it", "well"] }];
  assertEquals(describeOptions(specs), [
    "      --a-very-long-name SOMETHING",
    "                              Does it well",
  ]);
});

const SETTABLE: readonly OptionSpec[] = [
  { name: "max-message", value: "BYTES", help: [] },
  { name: "port", value: "PORT", help: [] },
  { name: "token", value: "FILE", help: [], variable: "content" },
  { name: "help", help: [], variable: "none" },
];
for (
  const [names, told] of [
    [["WSPROOF_MAX_MESAGE"], "WSPROOF_MAX_MESAGE (did you mean WSPROOF_MAX_MESSAGE?)"],
    [["WSPROOF_TOKN"], "WSPROOF_TOKN (did you mean WSPROOF_TOKEN?)"],
    [["WSPROOF_PROT", "PATH"], "WSPROOF_PROT (did you mean WSPROOF_PORT?)"],
    [["WSPROOF_HELP"], "WSPROOF_HELP"],
    [["WSPROOF_"], "WSPROOF_"],
    [["WSPROOF_\u001b[2J"], "WSPROOF_\\u001b[2J"],
    [["WSPROOF_TOKN", "WSPROOF_URL"], "WSPROOF_TOKN (did you mean WSPROOF_TOKEN?), WSPROOF_URL"],
    [["WSPROOF_PORT_6455_TCP", "WSPROOF_SERVICE_HOST"], "WSPROOF_PORT_6455_TCP, WSPROOF_SERVICE_HOST"],
  ] as const
) {
  Deno.test(`unknownVariables() reports ${JSON.stringify(told)}, when there are ${JSON.stringify(names)}`, () => {
    const line = `The server ignores variables that match no option: ${told}`;
    assertEquals(unknownVariables(names, SETTABLE), line);
  });
}

Deno.test("unknownVariables() is empty, when each variable with the prefix matches an option", () => {
  assertEquals(unknownVariables(["PATH", "WSPROOF_PORT", "WSPROOF_TOKEN", "WSPROF_PORT"], SETTABLE), "");
});
