/** Options: texts in, values or errors out, from the command line and from the environment. */

import { assertEquals, assertThrows } from "@std/assert";
import { parseCommandLine, UsageError } from "../../lib/cli/command_line.ts";
import { choice, defined, flag, type Option, seconds, size, Source, text, whole } from "../../lib/cli/options.ts";

const SIZE = size({ name: "size", value: "BYTES", help: [] });
const LIMIT = size({ name: "limit", value: "BYTES", help: [], min: 1 });
const TIMEOUT = seconds({ name: "reply-timeout", value: "S", help: [] });
const PORT = whole({ name: "port", value: "PORT", help: [], min: 1, max: 65_535 });
const FORM = choice({ name: "form", value: "FORM", help: [], choices: ["text", "json", "none"] });
const NAME = text({ name: "name", value: "NAME", help: [], isList: true });
const QUIET = flag({ name: "quiet", short: "q", help: [], notWith: ["--lab"] });
const OPTIONS: readonly Option[] = [SIZE, LIMIT, TIMEOUT, PORT, FORM, NAME, QUIET];

function sourceOf(args: readonly string[], variables: Record<string, string> = {}): Source {
  return new Source(parseCommandLine(args, OPTIONS, (name) => variables[name]));
}

/** The value of an option on the command line. */
function valueOf<T>(option: Option<T>, text: string): T | undefined {
  return sourceOf([`--${option.name}`, text]).value(option);
}

const SIZES = [
  ["0", 0],
  ["1", 1],
  ["007", 7],
  ["5B", 5],
  ["1KiB", 1024],
  ["64kib", 65_536],
  ["2MiB", 2_097_152],
  ["1GIB", 1_073_741_824],
  ["9007199254740991", 9_007_199_254_740_991],
  ["8388607GiB", 9_007_198_180_999_168],
] as const;
for (const [text, bytes] of SIZES) {
  Deno.test(`size() is ${bytes}, when the text is ${text}`, () => assertEquals(valueOf(SIZE, text), bytes));
}

const NO_SIZES = ["", "x", "-1", "+1", "1.5KiB", "1 KiB", " 1", "1e3", "1KB", "1K", "1TiB", "KiB", "0x10", "1\n"];
for (const text of [...NO_SIZES, "9007199254740992", "8388608GiB"]) {
  Deno.test(`size() throws UsageError, when the text is ${JSON.stringify(text)}`, () => {
    const message = `Option --size cannot be "${text}": give bytes, or a number with KiB, MiB or GiB`;
    assertThrows(() => valueOf(SIZE, text), UsageError, message);
  });
}

const SECONDS = [["1", 1000], ["0.5", 500], [".5", 500], ["5.", 5000], ["0.001", 1], ["86400", 86_400_000]] as const;
for (const [text, ms] of SECONDS) {
  Deno.test(`seconds() is ${ms} ms, when the text is ${text}`, () => {
    assertEquals(valueOf(TIMEOUT, text), ms);
  });
}

for (const text of ["", "x", ".", "0", "0.0", "-1", "+1", "1e3", "1s", " 1", "Infinity", "NaN", "86400.001", "86401"]) {
  Deno.test(`seconds() throws UsageError, when the text is ${JSON.stringify(text)}`, () => {
    const message = `Option --reply-timeout cannot be "${text}": give seconds, above 0 and at most 86400`;
    assertThrows(() => valueOf(TIMEOUT, text), UsageError, message);
  });
}

for (const [text, value] of [["1", 1], ["65535", 65_535], ["080", 80]] as const) {
  Deno.test(`whole() is ${value}, when the text is ${text}`, () => {
    assertEquals(valueOf(PORT, text), value);
  });
}

for (const text of ["", "x", "0", "65536", "-1", "+1", "1.0", "1e3", "0x10", " 1", "1 "]) {
  Deno.test(`whole() throws UsageError, when the text is ${JSON.stringify(text)}`, () => {
    const message = `Option --port cannot be "${text}": give a whole number from 1 to 65535`;
    assertThrows(() => valueOf(PORT, text), UsageError, message);
  });
}

Deno.test("size() throws UsageError, when the text is less than its least size", () => {
  assertThrows(() => valueOf(LIMIT, "0B"), UsageError, 'Option --limit cannot be "0B": give at least 1 byte');
});

for (const form of ["text", "json", "none"] as const) {
  Deno.test(`choice() is ${form}, when the text is ${form}`, () => assertEquals(valueOf(FORM, form), form));
}

for (const form of ["", "TEXT", "xml"]) {
  Deno.test(`choice() throws UsageError, when the text is ${JSON.stringify(form)}`, () => {
    assertThrows(() => valueOf(FORM, form), UsageError, `Option --form cannot be "${form}": give text, json or none`);
  });
}

Deno.test("value() comes from the command line, when the environment has one as well", () => {
  assertEquals(sourceOf(["--port", "2"], { WSPROOF_PORT: "1" }).value(PORT), 2);
});

Deno.test("value() comes from the environment, when the command line has none", () => {
  assertEquals(sourceOf([], { WSPROOF_PORT: "1" }).value(PORT), 1);
});

Deno.test("value() reads the last value only, when an option was given more than once", () => {
  assertEquals(sourceOf(["--port", "x", "--port", "2"]).value(PORT), 2);
});

Deno.test("value() is undefined, when the variable is empty", () => {
  assertEquals(sourceOf([], { WSPROOF_PORT: "" }).value(PORT), undefined);
});

Deno.test("values() are those between spaces, when the environment has a list", () => {
  assertEquals(sourceOf([], { WSPROOF_NAME: " a  b " }).values(NAME), ["a", "b"]);
});

Deno.test("values() come from the command line, when the environment has a list as well", () => {
  assertEquals(sourceOf(["--name", "c d"], { WSPROOF_NAME: "a b" }).values(NAME), ["c d"]);
});

for (const [value, isGiven] of [["1", true], ["true", true], ["0", false], ["FALSE", false]] as const) {
  Deno.test(`has() is ${isGiven}, when the variable of a flag is ${value}`, () => {
    assertEquals(sourceOf([], { WSPROOF_QUIET: value }).has(QUIET), isGiven);
  });
}

const REFUSALS = [
  [[], { WSPROOF_PORT: "x" }, 'Variable WSPROOF_PORT cannot be "x": give a whole number from 1 to 65535'],
  [["--port", "x"], { WSPROOF_PORT: "1" }, 'Option --port cannot be "x": give a whole number from 1 to 65535'],
  [[], { WSPROOF_QUIET: "yes" }, 'Variable WSPROOF_QUIET cannot be "yes": give 1 or 0'],
] as const;
for (const [args, variables, message] of REFUSALS) {
  Deno.test(`value() says ${message}`, () => {
    assertThrows(() => sourceOf(args, variables).value(PORT), UsageError, message);
  });
}

for (
  const [args, variables, what] of [[["-q"], {}, "Option --quiet"], [
    [],
    { WSPROOF_QUIET: "1" },
    "Variable WSPROOF_QUIET",
  ]] as const
) {
  Deno.test(`assertGoWith() names ${what}, when it cannot be used with a way to run`, () => {
    const message = `${what} cannot be used with --lab: leave it out`;
    assertThrows(() => sourceOf(args, variables).assertGoWith("--lab", OPTIONS), UsageError, message);
    sourceOf(args, variables).assertGoWith("deno serve", OPTIONS);
  });
}

Deno.test("assertOneOf() names the first two, when options exclude each other", () => {
  const source = sourceOf(["-q", "--port", "1", "--size", "1"]);
  const message = "Options --quiet and --port exclude each other: give one of them";
  assertThrows(() => source.assertOneOf([QUIET, PORT, SIZE]), UsageError, message);
  source.assertOneOf([QUIET, FORM]);
});

Deno.test("defined() leaves out undefined and empty lists, and nothing else", () => {
  assertEquals(defined({ a: undefined, b: [], c: [1], d: 0, e: "", f: false }), { c: [1], d: 0, e: "", f: false });
});
