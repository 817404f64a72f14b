/** Messages: kind, size and quotation. */

import { assertEquals } from "@std/assert";
import {
  byteLengthOf,
  exceeds,
  kindOf,
  type Message,
  quote,
  withoutCredentials,
  withoutPassword,
  withoutToken,
} from "../../lib/protocol/message.ts";

Deno.test("kindOf() is text, when the message is a string", () => assertEquals(kindOf(""), "text"));

Deno.test("kindOf() is binary, when the message is bytes", () => assertEquals(kindOf(new Uint8Array(0)), "binary"));

/** Text, its description, and its length in bytes of UTF-8. */
const TEXTS = [
  { what: "nothing", text: "", bytes: 0 },
  { what: "U+0000", text: "\0", bytes: 1 },
  { what: "U+007F, the last of one byte", text: "\u007f", bytes: 1 },
  { what: "U+0080, the first of two bytes", text: "\u0080", bytes: 2 },
  { what: "U+07FF, the last of two bytes", text: "\u07ff", bytes: 2 },
  { what: "U+0800, the first of three bytes", text: "\u0800", bytes: 3 },
  { what: "U+D7FF, the last before the surrogates", text: "\ud7ff", bytes: 3 },
  { what: "U+E000, the first after the surrogates", text: "\ue000", bytes: 3 },
  { what: "U+FFFF, the last of three bytes", text: "\uffff", bytes: 3 },
  { what: "U+10000, the first of four bytes", text: "\u{10000}", bytes: 4 },
  { what: "U+10FFFF, the last of four bytes", text: "\u{10ffff}", bytes: 4 },
  { what: "a high surrogate at the end", text: "a\ud800", bytes: 4 },
  { what: "a high surrogate before a letter", text: "\udbffa", bytes: 4 },
  { what: "a high surrogate before a pair", text: "\ud83d😀", bytes: 7 },
  { what: "a low surrogate alone", text: "\udc00a", bytes: 4 },
  { what: "a low surrogate after a pair", text: "😀\udfff", bytes: 7 },
  { what: "one character of each length", text: "aé€😀", bytes: 10 },
];
for (const { what, text, bytes } of TEXTS) {
  Deno.test(`byteLengthOf() is ${bytes}, when the text is ${what}`, () => {
    assertEquals(byteLengthOf(text), bytes);
    assertEquals(new TextEncoder().encode(text).byteLength, bytes);
  });
}

Deno.test("byteLengthOf() is the length of a view, when its buffer is larger", () => {
  assertEquals(byteLengthOf(new Uint8Array(10).subarray(2, 5)), 3);
});

const MESSAGES: readonly { what: string; message: Message; bytes: number }[] = [
  { what: "an empty text", message: "", bytes: 0 },
  { what: "empty bytes", message: new Uint8Array(0), bytes: 0 },
  { what: "bytes", message: new Uint8Array(5), bytes: 5 },
  { what: "text of one byte a character", message: "aaaaa", bytes: 5 },
  { what: "text of two bytes a character", message: "éé", bytes: 4 },
  { what: "text of three bytes a character", message: "€€", bytes: 6 },
  { what: "text of four bytes a character", message: "😀😀", bytes: 8 },
];
for (const { what, message, bytes } of MESSAGES) {
  Deno.test(`exceeds() is false at ${bytes} and true one byte below, when the message is ${what}`, () => {
    assertEquals([exceeds(message, bytes), exceeds(message, bytes - 1)], [false, true]);
  });
}

Deno.test("exceeds() is false, when no text of that length can pass the limit", () => {
  assertEquals(exceeds("€€", 7), false);
});

const QUOTED = [
  { what: "is empty", text: "", quoted: '""' },
  { what: "is plain", text: "né€😀", quoted: '"né€😀"' },
  { what: "has quotes and a backslash", text: '"\\', quoted: '"\\"\\\\"' },
  { what: "has line ends and a tab", text: "\r\n\t", quoted: '"\\r\\n\\t"' },
  { what: "has NUL and ESC", text: "\0\x1b[2J", quoted: '"\\u0000\\u001b[2J"' },
  { what: "has DEL", text: "\x7f", quoted: '"\\u007f"' },
  { what: "has C1 controls", text: "\x80\x9b\x9f", quoted: '"\\u0080\\u009b\\u009f"' },
  { what: "has line and paragraph separators", text: "\u2028\u2029", quoted: '"\\u2028\\u2029"' },
  { what: "has direction marks", text: "\u061c\u200e\u200f", quoted: '"\\u061c\\u200e\\u200f"' },
  { what: "has embeddings", text: "\u202a\u202e", quoted: '"\\u202a\\u202e"' },
  { what: "has isolates", text: "\u2066\u2069", quoted: '"\\u2066\\u2069"' },
  { what: "has half a pair", text: "a\ud83d", quoted: '"a\\ud83d"' },
];
for (const { what, text, quoted } of QUOTED) {
  Deno.test(`quote() makes one harmless line, when the text ${what}`, () => {
    assertEquals(quote(text), quoted);
  });
}

const CUT = [
  { what: "it has exactly so many characters", text: "Hello", maxChars: 5, quoted: '"Hello"' },
  { what: "it has one character more", text: "Hello!", maxChars: 5, quoted: '"Hello..."' },
  { what: "nothing may stay", text: "Hello", maxChars: 0, quoted: '"..."' },
  { what: "the last character is an escape", text: "a\nb", maxChars: 2, quoted: '"a\\n..."' },
  { what: "the cut would halve a pair", text: "a😀b", maxChars: 2, quoted: '"a..."' },
  { what: "the cut is behind a pair", text: "a😀b", maxChars: 3, quoted: '"a😀..."' },
];
for (const { what, text, maxChars, quoted } of CUT) {
  Deno.test(`quote() returns at most ${maxChars} characters, when ${what}`, () => {
    assertEquals(quote(text, maxChars), quoted);
  });
}

const URLS: readonly [string, string][] = [
  ["ws://host/", "ws://host/"],
  ["ws://user:secret@host/", "ws://user:***@host/"],
  ["ws://:secret@host/", "ws://:***@host/"],
  ["ws://token@host/", "ws://***@host/"],
  ["ws://user:s3/cret@host/", "ws://user:***@host/"],
  ["ws://user:s3#cret@host/", "ws://user:***@host/"],
  ["ws://user:s3?cret@host/", "ws://user:***@host/"],
  ["ws://user:s@cret@host/", "ws://user:***@host/"],
  ["  ws://user:secret@host/", "  ws://user:***@host/"],
  ["ftp://user:secret@host/", "ftp://user:***@host/"],
  ["ws:/user:secret@host/", "ws:/user:***@host/"],
  ["//user:secret@host/", "//user:***@host/"],
  ["user:secret@host", "user:***@host"],
  ["ws://user:secret@host:99999/", "ws://user:***@host:99999/"],
  ["ws://user:secret@host/a@b", "ws://user:***@host/a@b"],
  ["ws://user:secret", "ws://user:***"],
  ["ws://user:s3cret/", "ws://user:***/"],
  ["ws://host:70010/", "ws://host:70010/"],
  ["ws://host:/", "ws://host:/"],
  ["ws://[::1/", "ws://[::1/"],
  ["ws://fe80::1:80/", "ws://fe80::1:80/"],
  ["chat:a", "chat:a"],
  ["ws://host:80/@vite/client?mail=a@b", "ws://host:80/@vite/client?mail=a@b"],
];
for (const [text, hidden] of URLS) {
  Deno.test(`withoutPassword() is ${hidden}, when the text is ${text}`, () =>
    assertEquals(withoutPassword(text), hidden));
}

for (
  const [text, hidden] of [
    ["ws://user:secret@host", "ws://user:***@host"],
    ["ws://user:secret", "ws://user:***"],
    ["user:secret@host", "user:***@host"],
    ["node_modules/@std/a.txt", "node_modules/@std/a.txt"],
    ["C:\\a.txt", "C:\\a.txt"],
  ] as const
) {
  Deno.test(`withoutCredentials() is ${hidden}, when the text is ${text}`, () =>
    assertEquals(withoutCredentials(text), hidden));
}

for (
  const [name, hidden] of [["chat", "chat"], ["wsproof.bearer.x", "wsproof.bearer.***"], ["a.token.x y", "a.token.***"]]
) {
  Deno.test(`withoutToken() is ${hidden}, when the name is ${name}`, () =>
    assertEquals(withoutToken(name ?? ""), hidden));
}
