/**
 * This project's requirements for the three @std packages. The same tests pass on the real packages and on the
 * stand-ins of offline/, so that either can serve.
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { ProgressBar } from "@std/cli/unstable-progress-bar";
import { unicodeWidth } from "@std/cli/unicode-width";
import { accepts } from "@std/http/negotiation";
import { isStatus, STATUS_CODE, STATUS_TEXT } from "@std/http/status";

Deno.test("assert() and assertFalse() pass what they should, throw otherwise", () => {
  assert(1);
  assertFalse(0);
  assertThrows(() => assert(false, "not so"), Error, "not so");
  assertThrows(() => assertFalse(true, "not so"), Error, "not so");
});

const EQUAL: readonly { what: string; a: unknown; b: unknown }[] = [
  { what: "text is the same", a: "né", b: "né" },
  { what: "both are NaN", a: NaN, b: NaN },
  { what: "both are undefined", a: undefined, b: undefined },
  { what: "arrays have the same elements", a: [1, [2, null]], b: [1, [2, null]] },
  { what: "objects have the same properties in another order", a: { a: 1, b: { c: 2 } }, b: { b: { c: 2 }, a: 1 } },
  { what: "bytes are the same, of another buffer", a: Uint8Array.of(1, 2), b: Uint8Array.of(0, 1, 2).subarray(1) },
  { what: "patterns are the same", a: /a/u, b: /a/u },
];
for (const { what, a, b } of EQUAL) {
  Deno.test(`assertEquals() passes, when ${what}`, () => assertEquals(a, b));
}

const UNEQUAL: readonly { what: string; a: unknown; b: unknown }[] = [
  { what: "text differs", a: "a", b: "b" },
  { what: "one is text and one a number", a: 1, b: "1" },
  { what: "one is null and one undefined", a: null, b: undefined },
  { what: "an array is longer", a: [1], b: [1, 2] },
  { what: "an array has another order", a: [1, 2], b: [2, 1] },
  { what: "a property differs, deep inside", a: { a: [{ b: 1 }] }, b: { a: [{ b: 2 }] } },
  { what: "a property is missing", a: { a: 1 }, b: {} },
  { what: "a property is undefined and missing", a: { a: undefined }, b: {} },
  { what: "a byte differs", a: Uint8Array.of(1, 2), b: Uint8Array.of(1, 3) },
  { what: "one has bytes and one numbers", a: Uint8Array.of(1), b: [1] },
  { what: "patterns have other flags", a: /a/u, b: /a/i },
];
for (const { what, a, b } of UNEQUAL) {
  Deno.test(`assertEquals() throws with the message, when ${what}`, () => {
    assertThrows(() => assertEquals(a, b, "not the same"), Error, "not the same");
  });
}

Deno.test("assertMatch() passes text that matches, throws with the message otherwise", () => {
  assertMatch("abc", /b/);
  assertThrows(() => assertMatch("abc", /d/, "no match"), Error, "no match");
});

Deno.test("assertStringIncludes() passes text that contains the other, throws with the message otherwise", () => {
  assertStringIncludes("abc", "b");
  assertThrows(() => assertStringIncludes("abc", "d", "not in it"), Error, "not in it");
});

Deno.test("assertStringIncludes() says both texts, when there is no message", () => {
  const { message } = assertThrows(() => assertStringIncludes("abc", "d"), Error);
  assert(message.includes('"abc"') && message.includes('"d"'));
});

class SpecialError extends RangeError {}

function fail(): never {
  throw new SpecialError("out of range");
}

Deno.test("assertThrows() returns the error, when class and message are right", () => {
  assertEquals(assertThrows(fail, SpecialError, "of range").message, "out of range");
});

Deno.test("assertThrows() passes, when the error is of a subclass", () => {
  assert(assertThrows(fail, RangeError) instanceof SpecialError);
});

const NOT_THROWN = [
  { what: "nothing is thrown", assertion: () => assertThrows(() => {}, Error), says: "Expected function to throw" },
  { what: "the class is another", assertion: () => assertThrows(fail, TypeError), says: "TypeError" },
  { what: "the message is another", assertion: () => assertThrows(fail, RangeError, "too big"), says: "too big" },
];
for (const { what, assertion, says } of NOT_THROWN) {
  Deno.test(`assertThrows() throws itself, when ${what}`, () => {
    const error = assertThrows(assertion, Error, says);
    assertFalse(error instanceof SpecialError);
  });
}

Deno.test("assertRejects() resolves to the error, when class and message are right", async () => {
  const error = await assertRejects(() => Promise.reject(new SpecialError("out of range")), RangeError, "of range");
  assertEquals(error.message, "out of range");
});

const reject = () => Promise.reject(new SpecialError("out of range"));
const NOT_REJECTED = [
  { what: "it resolves", assertion: () => assertRejects(() => Promise.resolve(), Error), says: "to reject" },
  { what: "the class is another", assertion: () => assertRejects(reject, TypeError), says: "TypeError" },
  { what: "the message is another", assertion: () => assertRejects(reject, RangeError, "too big"), says: "too big" },
];
for (const { what, assertion, says } of NOT_REJECTED) {
  Deno.test(`assertRejects() rejects itself, when ${what}`, async () => {
    const error = await assertRejects(assertion, Error, says);
    assertFalse(error instanceof SpecialError);
  });
}

/** Sorts words like command_line.ts: two flags, and two repeatable options. */
function parse(words: readonly string[]): Record<string, unknown> {
  const withValue = ["message", "close-code"];
  return parseArgs(words, { boolean: ["json", "quiet"], string: [...withValue, "_"], collect: withValue });
}

const NOTHING = { json: false, quiet: false, message: [], "close-code": [], _: [] };
const PARSED: readonly { words: string[]; parsed: Record<string, unknown> }[] = [
  { words: [], parsed: {} },
  { words: ["--json"], parsed: { json: true } },
  { words: ["--json", "--json", "--quiet"], parsed: { json: true, quiet: true } },
  { words: ["--message=a"], parsed: { message: ["a"] } },
  { words: ["--message=a", "--message=b"], parsed: { message: ["a", "b"] } },
  { words: ["--message="], parsed: { message: [""] } },
  { words: ["--message=", "--message=a"], parsed: { message: ["", "a"] } },
  { words: ["--message=-5", "--message=--json"], parsed: { message: ["-5", "--json"] } },
  { words: ["--message=a=b", "--message==a"], parsed: { message: ["a=b", "=a"] } },
  { words: ["--message=a\nb c"], parsed: { message: ["a\nb c"] } },
  { words: ["--message=007", "--message=true"], parsed: { message: ["007", "true"] } },
  { words: ["--close-code=1000"], parsed: { "close-code": ["1000"] } },
  { words: ["a", "007", "1e3", "-", ""], parsed: { _: ["a", "007", "1e3", "-", ""] } },
  { words: ["a", "--json", "b", "--message=c", "d"], parsed: { json: true, message: ["c"], _: ["a", "b", "d"] } },
  { words: ["--"], parsed: {} },
  { words: ["a", "--", "--json", "--message=a", "--", "7"], parsed: { _: ["a", "--json", "--message=a", "--", "7"] } },
];
for (const { words, parsed } of PARSED) {
  Deno.test(`parseArgs() sorts the words, when they are ${JSON.stringify(words)}`, () => {
    assertEquals(parse(words), { ...NOTHING, ...parsed });
  });
}

/** Collects the output; the stream stays open. */
function paper() {
  const decoder = new TextDecoder();
  const written: string[] = [];
  const writable = new WritableStream<Uint8Array>({ write: (chunk) => void written.push(decoder.decode(chunk)) });
  return { writable, text: () => written.join("") };
}

Deno.test("ProgressBar draws its formatter's text at once, and disappears with the option clear", async () => {
  const { writable, text } = paper();
  const formatter = (
    { styledTime, progressBar, value, max }: { styledTime: string; progressBar: string; value: number; max: number },
  ) => `${styledTime} [${progressBar}] ${value} of ${max}`;
  const bar = new ProgressBar({ writable, max: 4, barLength: 10, clear: true, formatter });
  bar.value = 2;
  await bar.stop();
  assertEquals(text(), "\r\x1b[K00:00 [----------] 0 of 4\r\x1b[K");
});

const BARS = [
  { value: 0, bar: "----------" },
  { value: 1, bar: "##--------" },
  { value: 2, bar: "#####-----" },
  { value: 4, bar: "##########" },
  { value: 5, bar: "##########" },
];
for (const { value, bar: drawn } of BARS) {
  Deno.test(`ProgressBar draws ${drawn} at the end, when ${value} of 4 are done`, async () => {
    const { writable, text } = paper();
    const bar = new ProgressBar({ writable, max: 4, barLength: 10, formatter: ({ progressBar }) => progressBar });
    bar.value = value;
    await bar.stop();
    assertEquals(text(), `\r\x1b[K----------\r\x1b[K${drawn}\n`);
  });
}

Deno.test("ProgressBar draws 50 characters, when no length is given", async () => {
  const { writable, text } = paper();
  await new ProgressBar({ writable, max: 4, clear: true, formatter: ({ progressBar }) => progressBar }).stop();
  assertEquals(text(), `\r\x1b[K${"-".repeat(50)}\r\x1b[K`);
});

Deno.test("ProgressBar says time and bar, when it has no formatter", async () => {
  const { writable, text } = paper();
  await new ProgressBar({ writable, max: 4, barLength: 4, clear: true }).stop();
  assertStringIncludes(text(), "\r\x1b[K[00:00] [----]");
});

Deno.test("ProgressBar leaves the stream open and unlocked, when it has stopped", async () => {
  const { writable, text } = paper();
  await new ProgressBar({ writable, max: 1, clear: true, formatter: () => "a" }).stop();
  const writer = writable.getWriter();
  await writer.write(new TextEncoder().encode("b"));
  await writer.close();
  assertEquals(text(), "\r\x1b[Ka\r\x1b[Kb");
});

Deno.test("ProgressBar stops without an error, when the stream is broken", async () => {
  const writable = new WritableStream<Uint8Array>({ write: () => Promise.reject(new Error("broken")) });
  assertEquals(await new ProgressBar({ writable, max: 1, clear: true, formatter: () => "a" }).stop(), undefined);
});

const ACCEPTED = [
  { accept: "text/plain", type: "text/plain" },
  { accept: "application/json", type: "application/json" },
  { accept: "Application/JSON", type: "application/json" },
  { accept: "*/*", type: "text/plain" },
  { accept: "text/*", type: "text/plain" },
  { accept: "application/*", type: "application/json" },
  { accept: "image/png", type: undefined },
  { accept: "text/plain;q=0.4, application/json;q=0.5", type: "application/json" },
  { accept: "text/plain; q=0.5, application/json; q=0.4", type: "text/plain" },
  { accept: "text/plain;q=0.9, application/json", type: "application/json" },
  { accept: "text/plain, application/json", type: "text/plain" },
  { accept: "application/json, text/plain", type: "text/plain" },
  { accept: "application/json, text/plain, */*", type: "text/plain" },
  { accept: "application/json, */*", type: "application/json" },
  { accept: "text/*, application/json", type: "application/json" },
  { accept: "text/plain;q=0, */*", type: "application/json" },
  { accept: "text/plain;q=0", type: undefined },
  { accept: "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", type: "text/plain" },
];
for (const { accept, type } of ACCEPTED) {
  Deno.test(`accepts() picks ${type}, when the request accepts ${accept}`, () => {
    const request = new Request("http://127.0.0.1/", { headers: { accept } });
    assertEquals(accepts(request, "text/plain", "application/json"), type);
  });
}

Deno.test("accepts() picks the first type, when the request does not say", () => {
  assertEquals(accepts({ headers: new Headers() }, "text/plain", "application/json"), "text/plain");
});

const STATUSES = [
  { code: STATUS_CODE.SwitchingProtocols, number: 101, text: "Switching Protocols" },
  { code: STATUS_CODE.OK, number: 200, text: "OK" },
  { code: STATUS_CODE.NotModified, number: 304, text: "Not Modified" },
  { code: STATUS_CODE.BadRequest, number: 400, text: "Bad Request" },
  { code: STATUS_CODE.Unauthorized, number: 401, text: "Unauthorized" },
  { code: STATUS_CODE.Forbidden, number: 403, text: "Forbidden" },
  { code: STATUS_CODE.NotFound, number: 404, text: "Not Found" },
  { code: STATUS_CODE.MethodNotAllowed, number: 405, text: "Method Not Allowed" },
  { code: STATUS_CODE.RequestTimeout, number: 408, text: "Request Timeout" },
  { code: STATUS_CODE.MisdirectedRequest, number: 421, text: "Misdirected Request" },
  { code: STATUS_CODE.UpgradeRequired, number: 426, text: "Upgrade Required" },
  { code: STATUS_CODE.RequestHeaderFieldsTooLarge, number: 431, text: "Request Header Fields Too Large" },
  { code: STATUS_CODE.InternalServerError, number: 500, text: "Internal Server Error" },
  { code: STATUS_CODE.ServiceUnavailable, number: 503, text: "Service Unavailable" },
];
for (const { code, number, text } of STATUSES) {
  Deno.test(`STATUS_CODE and STATUS_TEXT know ${number} as ${text}`, () => {
    assertEquals([code, STATUS_TEXT[code], isStatus(number)], [number, text, true]);
  });
}

for (const [status, text] of [[301, "Moved Permanently"], [302, "Found"], [429, "Too Many Requests"]] as const) {
  Deno.test(`isStatus() lets STATUS_TEXT say ${text}, when a server answers ${status}`, () => {
    const answered: number = status;
    assertEquals(isStatus(answered) && STATUS_TEXT[answered], text);
  });
}

for (const status of [-1, 0, 99, 299, 600, 999, 200.5, NaN]) {
  Deno.test(`isStatus() is false, when the number is ${status}`, () => assertFalse(isStatus(status)));
}

for (
  const [text, columns] of [["", 0], ["abc", 3], ["é", 1], ["e\u0301", 1], ["日本", 4], ["한", 2], ["ｆ", 2], [
    "😀",
    2,
  ]] as const
) {
  Deno.test(`unicodeWidth() counts ${columns} columns for ${JSON.stringify(text)}`, () => {
    assertEquals(unicodeWidth(text), columns);
  });
}
