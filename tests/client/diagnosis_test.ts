/** Descriptions of wrong replies. */

import { assertEquals, assertFalse } from "@std/assert";
import {
  describe,
  type Difference,
  differenceOf,
  type Expectation,
  firstDifference,
} from "../../lib/client/diagnosis.ts";
import type { Message } from "../../lib/protocol/message.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits);
const utf8 = (text: string) => new TextEncoder().encode(text);
const ECHO: Expectation = { type: "echo" };

/** The difference of a reply from the expected echo. */
function echoDifference(sent: Message, reply: Message): Difference | undefined {
  return differenceOf(ECHO, sent, reply);
}

const RIGHT: readonly { what: string; expectation: Expectation; sent?: Message; reply: Message }[] = [
  { what: "the echo is the text that was sent", expectation: ECHO, sent: "né€😀", reply: "né€😀" },
  { what: "the echo has the bytes that were sent", expectation: ECHO, sent: hex("00ff"), reply: hex("00ff") },
  { what: "the echo of no text is no text", expectation: ECHO, sent: "", reply: "" },
  { what: "the echo of no bytes is no bytes", expectation: ECHO, sent: hex(""), reply: hex("") },
  { what: "the text is the expected one", expectation: { type: "text", text: "pong" }, reply: "pong" },
  { what: "the text matches", expectation: { type: "match", pattern: /^po/ }, reply: "pong" },
  { what: "any message will do and text comes", expectation: { type: "any" }, reply: "" },
  { what: "any message will do and bytes come", expectation: { type: "any" }, reply: hex("00") },
];
for (const { what, expectation, sent = "ping", reply } of RIGHT) {
  Deno.test(`differenceOf() finds none, when ${what}`, () => {
    assertEquals(differenceOf(expectation, sent, reply), undefined);
  });
}

for (const flags of ["g", "y"]) {
  Deno.test(`differenceOf() matches from the start each time, when the pattern has the flag ${flags}`, () => {
    const expectation: Expectation = { type: "match", pattern: new RegExp("pong", flags) };
    const replies = [1, 2, 3].map(() => differenceOf(expectation, "ping", "pong"));
    assertEquals(replies, [undefined, undefined, undefined]);
  });
}

const WRONG: readonly { what: string; expectation: Expectation; reply: Message; text: string; cause: string }[] = [
  {
    what: "text comes where no message was expected",
    expectation: { type: "none" },
    reply: "pong",
    text: 'text, 4 bytes: "pong", where no message was expected',
    cause: "",
  },
  {
    what: "bytes come where no message was expected",
    expectation: { type: "none" },
    reply: hex("00"),
    text: "binary, 1 byte: 00, where no message was expected",
    cause: "",
  },
  {
    what: "the text does not match",
    expectation: { type: "match", pattern: /^a+$/u },
    reply: "pong",
    text: 'text, 4 bytes: "pong", which does not match /^a+$/u',
    cause: "",
  },
  {
    what: "bytes come where text should match",
    expectation: { type: "match", pattern: /pong/u },
    reply: utf8("pong"),
    text: "binary, 4 bytes: 70 6f 6e 67, which does not match /pong/u",
    cause: "binary came instead of text",
  },
  {
    what: "another text comes than the expected one",
    expectation: { type: "text", text: "pong" },
    reply: "ping",
    text: 'text, 4 bytes, instead of text, 4 bytes; the first difference is at byte 1: "ing" instead of "ong"',
    cause: "",
  },
];
for (const { what, expectation, reply, text, cause } of WRONG) {
  Deno.test(`differenceOf() describes the difference, when ${what}`, () => {
    assertEquals(differenceOf(expectation, "ping", reply), { text, cause });
  });
}

/** Wrong echoes with their whole description. */
const WRONG_ECHOES: readonly { what: string; sent: Message; reply: Message; text: string; cause: string }[] = [
  {
    what: "one character is another",
    sent: "Hello world",
    reply: "Hello World",
    text: 'text, 11 bytes, instead of text, 11 bytes; the first difference is at byte 6: "World" instead of "world"',
    cause: "",
  },
  {
    what: "text came back as binary",
    sent: "né",
    reply: utf8("né"),
    text: "binary, 3 bytes, instead of text, 3 bytes",
    cause: "the same bytes came back as binary: the server changed the kind",
  },
  {
    what: "binary came back as text",
    sent: utf8("né"),
    reply: "né",
    text: "text, 3 bytes, instead of binary, 3 bytes",
    cause: "the same bytes came back as text: the server changed the kind",
  },
  {
    what: "no bytes came back as no text",
    sent: hex(""),
    reply: "",
    text: "text, 0 bytes, instead of binary, 0 bytes",
    cause: "the same bytes came back as text: the server changed the kind",
  },
  {
    what: "other bytes came back",
    sent: hex("000102030405"),
    reply: hex("00010a030405"),
    text: "binary, 6 bytes, instead of binary, 6 bytes; " +
      "the first difference is at byte 2: 0a 03 04 05 instead of 02 03 04 05",
    cause: "",
  },
  {
    what: "text came back as other bytes",
    sent: "ping",
    reply: hex("00"),
    text: 'binary, 1 byte, instead of text, 4 bytes; the first difference is at byte 0: 00 instead of "ping"',
    cause: "binary came instead of text",
  },
  {
    what: "bytes came back as other text",
    sent: hex("00"),
    reply: "pong",
    text: 'text, 4 bytes, instead of binary, 1 byte; the first difference is at byte 0: "pong" instead of 00',
    cause: "for a server that does not echo, use --reply, --reply-match or --reply-any",
  },
  {
    what: "other text of another length came back",
    sent: "ping",
    reply: "pangs",
    text: 'text, 5 bytes, instead of text, 4 bytes; the first difference is at byte 1: "angs" instead of "ing"',
    cause: "for a server that does not echo, use --reply, --reply-match or --reply-any",
  },
  {
    what: "the reply is longer",
    sent: "ping",
    reply: "pingpong",
    text: 'text, 8 bytes, instead of text, 4 bytes; the first difference is at byte 4: "pong" instead of the end',
    cause: "the server added something to the message",
  },
  {
    what: "the reply is shorter",
    sent: "ping",
    reply: "pin",
    text: 'text, 3 bytes, instead of text, 4 bytes; the first difference is at byte 3: the end instead of "g"',
    cause: "the reply is cut off",
  },
];
for (const { what, sent, reply, text, cause } of WRONG_ECHOES) {
  Deno.test(`differenceOf() names kinds, sizes and place, when ${what}`, () => {
    assertEquals(echoDifference(sent, reply), { text, cause });
  });
}

const CAUSES: readonly { what: string; sent: Message; reply: Message; cause: string }[] = [
  { what: "nothing came back", sent: "ping", reply: "", cause: "the reply is empty" },
  { what: "no bytes came back", sent: hex("00"), reply: hex(""), cause: "the reply is empty" },
  { what: "32 of 100 bytes came back", sent: "a".repeat(100), reply: "a".repeat(32), cause: "the reply is cut off" },
  { what: "63 of 100 bytes came back", sent: "a".repeat(100), reply: "a".repeat(63), cause: "the reply is cut off" },
  {
    what: "64 of 100 bytes came back",
    sent: "a".repeat(100),
    reply: "a".repeat(64),
    cause: "cut at 64 bytes, a power of two: probably a full buffer in the server",
  },
  {
    what: "65536 of 70000 bytes came back",
    sent: new Uint8Array(70_000),
    reply: new Uint8Array(65_536),
    cause: "cut at 65536 bytes, a power of two: probably a full buffer in the server",
  },
  { what: "a line feed is missing", sent: "a\n", reply: "a", cause: "the server removed the line end of the message" },
  {
    what: "a carriage return and line feed are missing",
    sent: "a\r\n",
    reply: "a",
    cause: "the server removed the line end of the message",
  },
  { what: "two line feeds are missing", sent: "a\n\n", reply: "a", cause: "the reply is cut off" },
  { what: "a line feed was added", sent: "a", reply: "a\n", cause: "the server added a line end" },
  {
    what: "a carriage return and line feed were added",
    sent: "a",
    reply: "a\r\n",
    cause: "the server added a line end",
  },
  { what: "a line feed came for nothing", sent: "", reply: "\n", cause: "the server added a line end" },
  { what: "a space was added", sent: "a", reply: "a ", cause: "the server added something to the message" },
  {
    what: "the reply has the message in it",
    sent: "ping",
    reply: "you said: ping!",
    cause: "the reply contains the message: for a server that does not echo, use --reply or --reply-match",
  },
  { what: "the reply begins otherwise", sent: "ping", reply: "pong", cause: "" },
];
for (const { what, sent, reply, cause } of CAUSES) {
  Deno.test(`differenceOf() says "${cause}", when ${what}`, () => {
    assertEquals(echoDifference(sent, reply)?.cause, cause);
  });
}

Deno.test("differenceOf() does not advise --reply, when the expected text came from it", () => {
  const cause = differenceOf({ type: "text", text: "pong" }, "ping", "a pong")?.cause ?? "";
  assertFalse(cause.includes("use --reply"), cause);
});

Deno.test("differenceOf() shows whole characters, when they differ in their last byte", () => {
  const text = 'text, 3 bytes, instead of text, 3 bytes; the first difference is at byte 2: "è" instead of "é"';
  assertEquals(echoDifference("né", "nè")?.text, text);
});

Deno.test("differenceOf() shows whole characters, when the excerpt ends inside one", () => {
  const text = echoDifference("a".repeat(30), `bb${"€".repeat(10)}`)?.text ?? "";
  assertFalse(text.includes("\ufffd"), text);
});

Deno.test("differenceOf() shows two texts that look different, when only a byte order mark is missing", () => {
  const text = echoDifference("\ufeffa", "a")?.text ?? "";
  assertFalse(text.replaceAll("\ufeff", "").endsWith('"a" instead of "a"'), text);
});

Deno.test("differenceOf() escapes terminal control characters of the reply", () => {
  const text = 'text, 4 bytes, instead of text, 1 byte; the first difference is at byte 0: "\\u001b[2J" instead of "a"';
  assertEquals(echoDifference("a", "\x1b[2J")?.text, text);
});

const DESCRIBED: readonly { what: string; message: Message; text: string }[] = [
  { what: "text is empty", message: "", text: "text, 0 bytes" },
  { what: "text has one byte", message: "a", text: 'text, 1 byte: "a"' },
  { what: "text has two bytes", message: "é", text: 'text, 2 bytes: "é"' },
  { what: "text has 32 characters", message: "a".repeat(32), text: `text, 32 bytes: "${"a".repeat(32)}"` },
  { what: "text has 33 characters", message: "a".repeat(33), text: `text, 33 bytes: "${"a".repeat(32)}..."` },
  { what: "text has a line feed", message: "a\nb", text: 'text, 3 bytes: "a\\nb"' },
  { what: "there are no bytes", message: hex(""), text: "binary, 0 bytes" },
  { what: "there is one byte", message: hex("61"), text: "binary, 1 byte: 61" },
  { what: "there are 16 bytes", message: new Uint8Array(16), text: `binary, 16 bytes:${" 00".repeat(16)}` },
  { what: "there are 17 bytes", message: new Uint8Array(17), text: "binary, 17 bytes: 00 00 00 00 ..." },
];
for (const { what, message, text } of DESCRIBED) {
  Deno.test(`describe() says ${text}, when ${what}`, () => assertEquals(describe(message), text));
}

for (let length = 0; length <= 9; length++) {
  Deno.test(`firstDifference() finds each byte that differs, when there are ${length} at any alignment`, () => {
    for (let left = 0; left < 4; left++) {
      for (let right = 0; right < 4; right++) {
        const a = new Uint8Array(length + left).subarray(left);
        const b = new Uint8Array(length + right).subarray(right);
        assertEquals(firstDifference(a, b), -1);
        for (let at = 0; at < length; at++) {
          b.fill(0).fill(1, at);
          assertEquals(firstDifference(a, b), at);
        }
      }
    }
  });

  Deno.test(`firstDifference() is ${length}, when the bytes are the beginning of a longer string`, () => {
    const [short, long] = [new Uint8Array(length), new Uint8Array(length + 1)];
    assertEquals([firstDifference(short, long), firstDifference(long, short)], [length, length]);
  });
}
