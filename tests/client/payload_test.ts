/** Outgoing payloads: cutting, collecting, random bytes and files. */

import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  collect,
  cut,
  messageFrom,
  randomBytes,
  readFile,
  SPLIT_WINDOW_BYTES,
  unreadable,
} from "../../lib/client/payload.ts";
import { PayloadError } from "../../lib/client/usage.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits);
const utf8 = (text: string) => new TextEncoder().encode(text);
const notUtf8 = (at: number) => `Input is not UTF-8 at byte ${at}, so it cannot be sent as text: use --binary`;

/** Cuts the bytes into chunks of one size. */
function inChunks(bytes: Uint8Array, size: number): Uint8Array[] {
  const count = Math.ceil(bytes.byteLength / size);
  return Array.from({ length: count }, (_, at) => bytes.subarray(at * size, (at + 1) * size));
}

// Characters of 1, 2, 3 and 4 bytes, twice: 20 bytes.
const TEXT = "aé€😀aé€😀";
const TEXT_PARTS = [
  { partBytes: 4, parts: ["aé", "€", "😀", "aé", "€", "😀"] },
  { partBytes: 5, parts: ["aé", "€", "😀a", "é€", "😀"] },
  { partBytes: 6, parts: ["aé€", "😀a", "é€", "😀"] },
  { partBytes: 7, parts: ["aé€", "😀aé", "€😀"] },
  { partBytes: 8, parts: ["aé€", "😀aé", "€😀"] },
  { partBytes: 9, parts: ["aé€", "😀aé", "€😀"] },
  { partBytes: 10, parts: ["aé€😀", "aé€😀"] },
  { partBytes: 19, parts: ["aé€😀aé€", "😀"] },
  { partBytes: 20, parts: [TEXT] },
  { partBytes: 21, parts: [TEXT] },
];
for (const { partBytes, parts } of TEXT_PARTS) {
  Deno.test(`cut() cuts text between characters whatever the chunks, when parts have ${partBytes} bytes`, async () => {
    for (let size = 1; size <= 21; size++) {
      assertEquals(await Array.fromAsync(cut(inChunks(utf8(TEXT), size), "text", partBytes)), parts);
    }
  });
}

for (const [bytes, character] of [[1, "a"], [2, "é"], [3, "€"], [4, "😀"]] as const) {
  for (let partBytes = 4; partBytes <= 9; partBytes++) {
    Deno.test(`cut() fills parts of ${partBytes} bytes, when every character has ${bytes}`, async () => {
      const parts = await Array.fromAsync(cut([utf8(character.repeat(20))], "text", partBytes));
      const part = character.repeat(Math.floor(partBytes / bytes));
      assertEquals(parts.join(""), character.repeat(20));
      assert(parts.slice(0, -1).every((text) => text === part));
    });
  }
}

const BYTES = hex("00010203ff8081828384");
const BYTE_PARTS = [
  { partBytes: 1, parts: ["00", "01", "02", "03", "ff", "80", "81", "82", "83", "84"] },
  { partBytes: 3, parts: ["000102", "03ff80", "818283", "84"] },
  { partBytes: 5, parts: ["00010203ff", "8081828384"] },
  { partBytes: 9, parts: ["00010203ff80818283", "84"] },
  { partBytes: 10, parts: ["00010203ff8081828384"] },
  { partBytes: 11, parts: ["00010203ff8081828384"] },
];
for (const { partBytes, parts } of BYTE_PARTS) {
  Deno.test(`cut() cuts bytes anywhere whatever the chunks, when parts have ${partBytes} bytes`, async () => {
    for (let size = 1; size <= 11; size++) {
      assertEquals(await Array.fromAsync(cut(inChunks(BYTES, size), "binary", partBytes)), parts.map(hex));
    }
  });
}

const EMPTY = [{ what: "there are no chunks", chunks: [] }, {
  what: "every chunk is empty",
  chunks: [hex(""), hex("")],
}];
for (const { what, chunks } of EMPTY) {
  Deno.test(`cut() returns one empty text, when ${what}`, async () => {
    assertEquals(await Array.fromAsync(cut(chunks, "text", 4)), [""]);
  });

  Deno.test(`cut() returns one empty binary message, when ${what}`, async () => {
    assertEquals(await Array.fromAsync(cut(chunks, "binary", 4)), [hex("")]);
  });
}

Deno.test("cut() accepts asynchronous chunks as they come", async () => {
  const chunks = ReadableStream.from([utf8("Hel"), hex(""), utf8("lo world")]);
  assertEquals(await Array.fromAsync(cut(chunks, "text", 4)), ["Hell", "o wo", "rld"]);
});

Deno.test("cut() copies the bytes, when the source reuses its buffer", async () => {
  const buffer = new Uint8Array(1);
  const source = function* () {
    for (let value = 1; value <= 3; value++) yield buffer.fill(value);
  };
  assertEquals(await Array.fromAsync(cut(source(), "binary", 2)), [hex("0102"), hex("03")]);
});

Deno.test("cut() keeps a byte order mark, when a part begins with it", async () => {
  assertEquals(await Array.fromAsync(cut([utf8("\ufeffa\ufeff")], "text", 4)), ["\ufeffa", "\ufeff"]);
});

for (const [kind, partBytes] of [["text", 3], ["binary", 0]] as const) {
  Deno.test(`cut() throws a RangeError, when parts of ${kind} would have ${partBytes} bytes`, async () => {
    await assertRejects(() => cut([utf8("ab")], kind, partBytes).next(), RangeError);
  });
}

/** Invalid UTF-8, and the offset of the first error. */
const INVALID = [
  { what: "a byte that is never used comes first", bytes: "ff61", at: 0 },
  { what: "a mistake follows one byte", bytes: "61ff", at: 1 },
  { what: "a mistake follows a character of two bytes", bytes: "c3a9ff", at: 2 },
  { what: "a mistake follows a character of three bytes", bytes: "e282acff", at: 3 },
  { what: "a mistake follows a character of four bytes", bytes: "f09f9880ff", at: 4 },
  { what: "a mistake follows a true U+FFFD", bytes: "efbfbdff", at: 3 },
  { what: "a mistake follows a byte order mark", bytes: "efbbbfff", at: 3 },
  { what: "a mistake looks like U+FFFD for one byte", bytes: "61ef61", at: 1 },
  { what: "a mistake looks like U+FFFD for two bytes", bytes: "61efbf61", at: 1 },
  { what: "U+FFFD is truncated at the end, by two bytes", bytes: "61ef", at: 1 },
  { what: "U+FFFD is truncated at the end, by one byte", bytes: "61efbf", at: 1 },
  { what: "a character of two bytes is truncated at the end", bytes: "61c3", at: 1 },
  { what: "a character of three bytes is truncated at the end", bytes: "61e282", at: 1 },
  { what: "a character of four bytes is truncated at the end", bytes: "c3a9f09f98", at: 2 },
  { what: "a character is broken off by a letter", bytes: "61e28261", at: 1 },
  { what: "a character is broken off by another", bytes: "61c3e282ac", at: 1 },
  { what: "a continuation byte stands alone", bytes: "6180", at: 1 },
  { what: "there is one continuation byte too many", bytes: "c3a980", at: 2 },
  { what: "a slash is overlong, in two bytes", bytes: "61c0af", at: 1 },
  { what: "DEL is overlong, in two bytes", bytes: "61c1bf", at: 1 },
  { what: "NUL is overlong, in three bytes", bytes: "61e08080", at: 1 },
  { what: "NUL is overlong, in four bytes", bytes: "61f0808080", at: 1 },
  { what: "a high surrogate is encoded", bytes: "61eda080", at: 1 },
  { what: "a pair of surrogates is encoded", bytes: "eda0bdedb880", at: 0 },
  { what: "a character is beyond U+10FFFF", bytes: "61f4908080", at: 1 },
  { what: "F5 begins a character", bytes: "61f5808080", at: 1 },
];
for (const { what, bytes, at } of INVALID) {
  Deno.test(`messageFrom() throws PayloadError at byte ${at}, when ${what}`, () => {
    assertThrows(() => messageFrom(hex(bytes), "text"), PayloadError, notUtf8(at));
  });
}

/** The place of an error among parts of four bytes. */
const INVALID_PARTS = [
  { what: "the mistake is in the first part", bytes: "6161ff61" + "61616161", good: 0, at: 2 },
  { what: "the mistake is in the second part", bytes: "61616161" + "6161ff61", good: 1, at: 6 },
  { what: "a part before the mistake was shorter", bytes: "616161" + "e282ac61" + "ff61", good: 2, at: 7 },
  { what: "a character breaks off behind a cut", bytes: "616161" + "e2826161" + "61", good: 1, at: 3 },
  { what: "a character breaks off in the last part", bytes: "616161" + "e28261", good: 1, at: 3 },
  { what: "the last character is truncated", bytes: "61616161" + "f09f98", good: 1, at: 4 },
  { what: "the last character is truncated behind a cut", bytes: "6161" + "e282", good: 1, at: 2 },
  { what: "only continuation bytes come", bytes: "8080808080", good: 0, at: 0 },
];
for (const { what, bytes, good, at } of INVALID_PARTS) {
  Deno.test(`cut() returns the parts before byte ${at} and throws PayloadError there, when ${what}`, async () => {
    for (let size = 1; size <= 8; size++) {
      const parts = cut(inChunks(hex(bytes), size), "text", 4);
      for (let part = 0; part < good; part++) await parts.next();
      const error = await assertRejects(() => parts.next(), PayloadError);
      assertEquals(error.message, notUtf8(at));
    }
  });
}

Deno.test("messageFrom() counts from the offset, when it names the byte", () => {
  assertThrows(() => messageFrom(hex("61ff"), "text", 1000), PayloadError, notUtf8(1001));
});

Deno.test("messageFrom() returns the text with its byte order mark, when the kind is text", () => {
  assertEquals(messageFrom(utf8("\ufeffné"), "text"), "\ufeffné");
});

Deno.test("messageFrom() returns the bytes unchanged, when the kind is binary", () => {
  const bytes = hex("ff00");
  assert(messageFrom(bytes, "binary") === bytes);
});

for (const [kind, empty] of [["text", ""], ["binary", new Uint8Array(0)]] as const) {
  Deno.test(`collect() returns one empty message, when there is nothing and the kind is ${kind}`, async () => {
    assertEquals(await collect([], kind, 0), empty);
  });
}

Deno.test("collect() joins chunks, when the kind is binary", async () => {
  assertEquals(await collect([hex("01"), hex(""), hex("02ff")], "binary", 3), hex("0102ff"));
});

Deno.test("collect() joins chunks, when they are asynchronous and cut a character", async () => {
  assertEquals(await collect(ReadableStream.from([hex("61e2"), hex("82ac")]), "text", 4), "a€");
});

for (const sizes of [[6], [3, 3], [5, 1], [5, 0, 1]]) {
  Deno.test(`collect() throws PayloadError past 5 bytes, when they come as ${sizes.join(" + ")}`, async () => {
    const chunks = sizes.map((size) => new Uint8Array(size));
    assertEquals(await collect(chunks, "binary", 6), new Uint8Array(6));
    const message = "Input is longer than 5 bytes, the limit of one message: use --split";
    await assertRejects(() => collect(chunks, "binary", 5), PayloadError, message);
  });
}

Deno.test("collect() throws PayloadError at the byte, when text is not UTF-8", async () => {
  await assertRejects(() => collect([hex("6161"), hex("ff")], "text", 3), PayloadError, notUtf8(2));
});

const RANDOM = [
  { bytes: 0, pieces: [] },
  { bytes: 1, pieces: [1] },
  { bytes: 65_535, pieces: [65_535] },
  { bytes: 65_536, pieces: [65_536] },
  { bytes: 65_537, pieces: [65_536, 1] },
  { bytes: 131_072, pieces: [65_536, 65_536] },
];
for (const { bytes, pieces } of RANDOM) {
  Deno.test(`randomBytes() returns pieces of at most 64 KiB, when asked for ${bytes} bytes`, () => {
    assertEquals([...randomBytes(bytes)].map((piece) => piece.byteLength), pieces);
  });
}

Deno.test("randomBytes() returns other bytes at each call", () => {
  const [[first], [second]] = [[...randomBytes(64)], [...randomBytes(64)]];
  assert(first && second && first.toHex() !== second.toHex());
});

Deno.test("SPLIT_WINDOW_BYTES is 4 MiB", () => assertEquals(SPLIT_WINDOW_BYTES, 4_194_304));

/** Runs a test with a file of these bytes. */
async function withFile(bytes: Uint8Array, test: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeFile(path, bytes);
    await test(path);
  } finally {
    await Deno.remove(path);
  }
}

const FILES = [
  { bytes: 0, pieces: [] },
  { bytes: 1, pieces: [1] },
  { bytes: 262_144, pieces: [262_144] },
  { bytes: 262_145, pieces: [262_144, 1] },
];
for (const { bytes, pieces } of FILES) {
  Deno.test(`readFile() returns pieces of at most 256 KiB, when the file has ${bytes} bytes`, async () => {
    const content = Uint8Array.from({ length: bytes }, (_, at) => at * 7);
    await withFile(content, async (path) => {
      const read = await Array.fromAsync(readFile(path));
      assertEquals(read.map((piece) => piece.byteLength), pieces);
      assertEquals(await collect(read, "binary", bytes), content);
    });
  });
}

Deno.test("readFile() closes the file, when its reader stops early", async () => {
  await withFile(new Uint8Array(262_145), async (path) => {
    for await (const piece of readFile(path)) {
      assertEquals(piece.byteLength, 262_144);
      break;
    }
  });
});

Deno.test("readFile() throws PayloadError, when there is no such file", async () => {
  const message = 'Cannot read "/nowhere/at-all": no such file; check the path';
  await assertRejects(() => readFile("/nowhere/at-all").next(), PayloadError, message);
});

Deno.test("readFile() throws PayloadError, when the path is a directory", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const message = `Cannot read "${directory}": it is a directory`;
    await assertRejects(() => readFile(directory).next(), PayloadError, message);
  } finally {
    await Deno.remove(directory);
  }
});

const UNREADABLE = [
  { path: "a", error: new Deno.errors.NotFound("os error 2"), text: 'Cannot read "a": no such file; check the path' },
  {
    path: "a",
    error: new Deno.errors.PermissionDenied("Permission denied (os error 13): open 'a'"),
    text: 'Cannot read "a": Permission denied',
  },
  { path: "a", error: new Deno.errors.IsADirectory("os error 21"), text: 'Cannot read "a": it is a directory' },
  { path: "a", error: new Error("denied"), text: 'Cannot read "a": denied' },
  { path: "a", error: "gone", text: 'Cannot read "a": gone' },
  { path: "-", error: new Error("closed"), text: "Cannot read standard input: closed" },
];
for (const { path, error, text } of UNREADABLE) {
  Deno.test(`unreadable() says ${text}, when the error is ${error}`, () => {
    assertEquals(unreadable(path, error).message, text);
  });
}
