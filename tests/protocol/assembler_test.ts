/** MessageAssembler: fragments in, messages or typed errors out. */

import { assertEquals, assertThrows } from "@std/assert";
import { DEFAULT_MAX_MESSAGE_BYTES, type Fragment, MessageAssembler } from "../../lib/protocol/assembler.ts";
import { ProtocolError, type ProtocolErrorCode } from "../../lib/protocol/error.ts";
import type { Message, MessageKind } from "../../lib/protocol/message.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits);
const utf8 = (text: string) => new TextEncoder().encode(text);

/** The fragments of one message: the kind on the first, `final` on the last. */
function fragmentsOf(kind: MessageKind, payloads: readonly Fragment["payload"][]): Fragment[] {
  const last = payloads.length - 1;
  return payloads.map((payload, at) => ({ kind: at === 0 ? kind : "continuation", payload, final: at === last }));
}

/** The result of each push. */
function pushAll(assembler: MessageAssembler, fragments: readonly Fragment[]): (Message | undefined)[] {
  return fragments.map((fragment) => assembler.push(fragment));
}

function assertRefused(assembler: MessageAssembler, fragment: Fragment, code: ProtocolErrorCode, message: string) {
  const error = assertThrows(() => assembler.push(fragment), ProtocolError);
  assertEquals([error.code, error.message], [code, message]);
}

Deno.test("push() returns the text, when one final fragment has bytes", () => {
  const fragment = { kind: "text", payload: utf8("Hello world"), final: true } as const;
  assertEquals(new MessageAssembler().push(fragment), "Hello world");
});

Deno.test("push() returns the bytes, when one final fragment is binary", () => {
  const fragment = { kind: "binary", payload: hex("00ff80"), final: true } as const;
  assertEquals(new MessageAssembler().push(fragment), hex("00ff80"));
});

Deno.test("push() returns the text, when one final fragment is a string", () => {
  assertEquals(new MessageAssembler().push({ kind: "text", payload: "né", final: true }), "né");
});

Deno.test("push() returns UTF-8, when one final binary fragment is a string", () => {
  assertEquals(new MessageAssembler().push({ kind: "binary", payload: "né", final: true }), hex("6ec3a9"));
});

for (const kind of ["text", "binary"] as const) {
  Deno.test(`push() returns an empty message, when the only fragment of ${kind} is empty`, () => {
    const empty = kind === "text" ? "" : new Uint8Array(0);
    assertEquals(new MessageAssembler().push({ kind, payload: new Uint8Array(0), final: true }), empty);
  });

  Deno.test(`push() returns an empty message, when every fragment of ${kind} is empty`, () => {
    const empty = kind === "text" ? "" : new Uint8Array(0);
    const fragments = fragmentsOf(kind, [new Uint8Array(0), new Uint8Array(0), new Uint8Array(0)]);
    assertEquals(pushAll(new MessageAssembler(), fragments), [undefined, undefined, empty]);
  });
}

Deno.test("push() returns undefined until the final fragment, when a binary message has several", () => {
  const fragments = fragmentsOf("binary", [hex("01"), hex(""), hex("0203"), hex("04")]);
  assertEquals(pushAll(new MessageAssembler(), fragments), [undefined, undefined, undefined, hex("01020304")]);
});

Deno.test("push() returns the text, when its fragments are strings", () => {
  const fragments = fragmentsOf("text", ["né", "", "€😀"]);
  assertEquals(pushAll(new MessageAssembler(), fragments), [undefined, undefined, "né€😀"]);
});

Deno.test("push() returns the text, when strings and bytes are mixed", () => {
  assertEquals(pushAll(new MessageAssembler(), fragmentsOf("text", ["né", utf8("€")])), [undefined, "né€"]);
});

Deno.test("push() returns UTF-8, when the fragments of a binary message are strings", () => {
  assertEquals(pushAll(new MessageAssembler(), fragmentsOf("binary", ["n", "é"])), [undefined, hex("6ec3a9")]);
});

// Characters of 1, 2, 3 and 4 bytes; then the first and last of each range of UTF-8.
const TEXT = "aé€😀z";
for (let at = 0; at <= utf8(TEXT).byteLength; at++) {
  Deno.test(`push() returns the text, when it is split before byte ${at}`, () => {
    const bytes = utf8(TEXT);
    assertEquals(
      pushAll(new MessageAssembler(), fragmentsOf("text", [bytes.slice(0, at), bytes.slice(at)])).at(-1),
      TEXT,
    );
  });
}

Deno.test("push() returns the text, when each byte of its characters is a fragment", () => {
  const text = "\0\x7f\u0080\u07ff\u0800\ud7ff\ue000\uffff\u{10000}\u{10ffff}";
  const fragments = fragmentsOf("text", [...utf8(text)].map((byte) => Uint8Array.of(byte)));
  assertEquals(pushAll(new MessageAssembler(), fragments).at(-1), text);
});

for (const payloads of [["efbbbf61"], ["ef", "bbbf61"], ["efbbbf", "61"]]) {
  Deno.test(`push() keeps a byte order mark, when it comes as ${payloads.join(" + ")}`, () => {
    assertEquals(pushAll(new MessageAssembler(), fragmentsOf("text", payloads.map(hex))).at(-1), "\ufeffa");
  });
}

const INVALID = [
  { what: "a byte that is never used comes", good: "61", bad: "ff" },
  { what: "a continuation byte comes first", good: "61", bad: "80" },
  { what: "C0 begins an overlong character", good: "61", bad: "c0" },
  { what: "C1 begins an overlong character", good: "61", bad: "c1" },
  { what: "E0 9F begins an overlong character", good: "e0", bad: "9f" },
  { what: "F0 8F begins an overlong character", good: "f0", bad: "8f" },
  { what: "ED A0 begins a surrogate", good: "ed", bad: "a0" },
  { what: "F4 90 begins a character beyond U+10FFFF", good: "f4", bad: "90" },
  { what: "F5 begins a character beyond U+10FFFF", good: "61", bad: "f5" },
  { what: "a character of two bytes breaks off", good: "c3", bad: "61" },
  { what: "a character of three bytes breaks off", good: "e282", bad: "61" },
  { what: "a character of four bytes breaks off", good: "f09f98", bad: "61" },
] as const;
for (const { what, good, bad } of INVALID) {
  Deno.test(`push() throws invalid-utf8 at the fragment that proves it, when ${what}`, () => {
    const assembler = new MessageAssembler();
    assertEquals(assembler.push({ kind: "text", payload: hex(good), final: false }), undefined);
    const fragment = { kind: "continuation", payload: hex(bad), final: false } as const;
    assertRefused(assembler, fragment, "invalid-utf8", "Text message is not UTF-8");
  });

  Deno.test(`push() throws invalid-utf8 at the only fragment, when ${what}`, () => {
    const fragment = { kind: "text", payload: hex(good + bad), final: true } as const;
    assertRefused(new MessageAssembler(), fragment, "invalid-utf8", "Text message is not UTF-8");
  });
}

Deno.test("push() throws invalid-utf8 at the first of several fragments, when that is not UTF-8", () => {
  const fragment = { kind: "text", payload: hex("ff"), final: false } as const;
  assertRefused(new MessageAssembler(), fragment, "invalid-utf8", "Text message is not UTF-8");
});

for (const cut of ["c3", "e2", "e282", "f0", "f09f", "f09f98"]) {
  Deno.test(`push() throws invalid-utf8 at the only fragment, when it ends in the truncated character ${cut}`, () => {
    const fragment = { kind: "text", payload: hex(`61${cut}`), final: true } as const;
    assertRefused(new MessageAssembler(), fragment, "invalid-utf8", "Text message is not UTF-8");
  });

  for (const end of ["", "61"]) {
    const payload = end === "" ? hex(cut) : hex(end + cut);
    const where = end === "" ? "that is all of it" : "it ends";
    Deno.test(`push() throws invalid-utf8 at the final fragment, when ${where} with the truncated ${cut}`, () => {
      const assembler = new MessageAssembler();
      assembler.push({ kind: "text", payload: hex("61"), final: false });
      const fragment = { kind: "continuation", payload, final: true } as const;
      assertRefused(assembler, fragment, "invalid-utf8", "Text message is not UTF-8");
    });
  }

  Deno.test(`push() throws invalid-utf8 at an empty final fragment, when ${cut} was left truncated`, () => {
    const assembler = new MessageAssembler();
    assembler.push({ kind: "text", payload: hex(cut), final: false });
    const fragment = { kind: "continuation", payload: hex(""), final: true } as const;
    assertRefused(assembler, fragment, "invalid-utf8", "Text message is not UTF-8");
  });
}

Deno.test("push() accepts bytes that are not UTF-8, when the message is binary", () => {
  const fragments = fragmentsOf("binary", [hex("c3"), hex("28ff")]);
  assertEquals(pushAll(new MessageAssembler(), fragments), [undefined, hex("c328ff")]);
});

// The limit here is 5 bytes.
for (const sizes of [[5], [2, 3], [5, 0], [0, 5], [0, 0, 5, 0, 0], [1, 1, 1, 1, 1]]) {
  for (const kind of ["text", "binary"] as const) {
    Deno.test(`push() accepts ${kind} of exactly the limit, when it comes as ${sizes.join(" + ")}`, () => {
      const whole = kind === "text" ? "aaaaa" : utf8("aaaaa");
      const fragments = fragmentsOf(kind, sizes.map((size) => utf8("a".repeat(size))));
      assertEquals(pushAll(new MessageAssembler({ maxMessageBytes: 5 }), fragments).at(-1), whole);
    });
  }
}

for (const sizes of [[6], [2, 4], [5, 1], [0, 6], [5, 0, 1], [1, 1, 1, 1, 1, 1]]) {
  for (const kind of ["text", "binary"] as const) {
    for (const final of [true, false]) {
      const last = `the last${final ? " and final" : ""} fragment`;
      Deno.test(`push() throws message-too-big at ${last}, when ${kind} comes as ${sizes.join(" + ")}`, () => {
        const assembler = new MessageAssembler({ maxMessageBytes: 5 });
        const fragments = fragmentsOf(kind, sizes.map((size) => utf8("a".repeat(size))));
        pushAll(assembler, fragments.slice(0, -1));
        for (const fragment of fragments.slice(-1)) {
          const message = "Message is longer than the limit of 5 bytes";
          assertRefused(assembler, { ...fragment, final }, "message-too-big", message);
        }
      });
    }
  }
}

for (const payloads of [["€€"], ["€", "€"]]) {
  Deno.test(`push() accepts strings of exactly the limit in UTF-8, when it comes as ${payloads.join(" + ")}`, () => {
    assertEquals(
      pushAll(new MessageAssembler({ maxMessageBytes: 6 }), fragmentsOf("text", payloads)).at(-1),
      "€€",
    );
  });

  Deno.test(`push() throws message-too-big one byte of UTF-8 later, when it comes as ${payloads.join(" + ")}`, () => {
    const assembler = new MessageAssembler({ maxMessageBytes: 5 });
    assertThrows(() => pushAll(assembler, fragmentsOf("text", payloads)), ProtocolError, "longer than the limit of 5");
  });
}

Deno.test("push() accepts only empty messages, when the limit is 0", () => {
  const assembler = new MessageAssembler({ maxMessageBytes: 0 });
  assertEquals(pushAll(assembler, fragmentsOf("text", [hex(""), hex("")])), [undefined, ""]);
  const fragment = { kind: "text", payload: "a", final: true } as const;
  assertRefused(assembler, fragment, "message-too-big", "Message is longer than the limit of 0 bytes");
});

Deno.test("push() accepts 16 MiB and throws message-too-big one byte later, when no limit is given", () => {
  assertEquals(DEFAULT_MAX_MESSAGE_BYTES, 16_777_216);
  const assembler = new MessageAssembler();
  const bytes = new Uint8Array(16_777_217);
  const whole = assembler.push({ kind: "binary", payload: bytes.subarray(0, 16_777_216), final: true });
  assertEquals(whole?.length, 16_777_216);
  const message = "Message is longer than the limit of 16777216 bytes";
  assertRefused(assembler, { kind: "binary", payload: bytes, final: true }, "message-too-big", message);
});

Deno.test("push() stores nothing of a fragment that passes the limit", () => {
  const assembler = new MessageAssembler({ maxMessageBytes: 5 });
  assertThrows(() => assembler.push({ kind: "text", payload: "abcdef", final: false }), ProtocolError);
  assertEquals(assembler.incomplete, undefined);
  assembler.push({ kind: "text", payload: "abc", final: false });
  assertThrows(() => assembler.push({ kind: "continuation", payload: "def", final: false }), ProtocolError);
  assertEquals(assembler.incomplete, { kind: "text", bytes: 3 });
});

for (const first of ["text", "binary"] as const) {
  for (const second of ["text", "binary"] as const) {
    for (const final of [true, false]) {
      const what = final ? "a whole" : "the beginning of a";
      Deno.test(`push() throws unfinished-message, when ${what} ${second} message comes inside ${first}`, () => {
        const assembler = new MessageAssembler();
        assembler.push({ kind: first, payload: hex("61"), final: false });
        const message = `New ${second} message began inside an unfinished ${first} message`;
        assertRefused(assembler, { kind: second, payload: hex("61"), final }, "unfinished-message", message);
      });
    }
  }
}

for (const final of [true, false]) {
  const stray = { kind: "continuation", payload: hex("61"), final } as const;
  const message = "Continuation came without a message to continue";

  Deno.test(`push() throws unexpected-continuation, when one comes first, final: ${final}`, () => {
    assertRefused(new MessageAssembler(), stray, "unexpected-continuation", message);
  });

  Deno.test(`push() throws unexpected-continuation, when one follows a whole message, final: ${final}`, () => {
    const assembler = new MessageAssembler();
    assembler.push({ kind: "text", payload: hex("61"), final: true });
    assertRefused(assembler, stray, "unexpected-continuation", message);
  });

  Deno.test(`push() throws unexpected-continuation, when one follows a final fragment, final: ${final}`, () => {
    const assembler = new MessageAssembler();
    pushAll(assembler, fragmentsOf("text", [hex("61"), hex("62")]));
    assertRefused(assembler, stray, "unexpected-continuation", message);
  });
}

Deno.test("incomplete is undefined, when no message is under way", () => {
  const assembler = new MessageAssembler();
  assertEquals(assembler.incomplete, undefined);
  assembler.push({ kind: "text", payload: "a", final: true });
  assertEquals(assembler.incomplete, undefined);
});

Deno.test("incomplete has kind and bytes so far, when a message is under way", () => {
  const assembler = new MessageAssembler();
  const seen = fragmentsOf("text", ["", "né", utf8("€"), ""]).map((fragment) => {
    assembler.push(fragment);
    return assembler.incomplete;
  });
  assertEquals(seen, [{ kind: "text", bytes: 0 }, { kind: "text", bytes: 3 }, { kind: "text", bytes: 6 }, undefined]);
});

Deno.test("push() starts again with the full limit, when a message is complete", () => {
  const assembler = new MessageAssembler({ maxMessageBytes: 3 });
  assertEquals(pushAll(assembler, fragmentsOf("text", ["ab", "c"])), [undefined, "abc"]);
  assertEquals(pushAll(assembler, fragmentsOf("binary", [hex("0102"), hex("ff")])), [undefined, hex("0102ff")]);
  assertEquals(pushAll(assembler, fragmentsOf("text", [hex("e2"), hex("82ac")])), [undefined, "€"]);
  assertEquals(assembler.push({ kind: "text", payload: "xyz", final: true }), "xyz");
});

Deno.test("push() copies the bytes, when the buffers of the fragments are reused", () => {
  const assembler = new MessageAssembler();
  const buffer = hex("01");
  assembler.push({ kind: "binary", payload: buffer, final: false });
  buffer[0] = 2;
  const first = assembler.push({ kind: "continuation", payload: buffer, final: true });
  buffer[0] = 3;
  pushAll(assembler, fragmentsOf("binary", [buffer, buffer]));
  assertEquals(first, hex("0102"));
});

Deno.test("push() returns all bytes, when 100,000 fragments of one byte make a binary message", () => {
  const bytes = Uint8Array.from({ length: 100_000 }, (_, at) => at * 7);
  const fragments = fragmentsOf("binary", [...bytes].map((byte) => Uint8Array.of(byte)));
  assertEquals(pushAll(new MessageAssembler(), fragments).at(-1), bytes);
});

Deno.test("push() returns all bytes, when 100,000 fragments of one byte make a text message", () => {
  const text = "é€😀a".repeat(10_000);
  const fragments = fragmentsOf("text", [...utf8(text)].map((byte) => Uint8Array.of(byte)));
  assertEquals(fragments.length, 100_000);
  assertEquals(pushAll(new MessageAssembler(), fragments).at(-1), text);
});

for (const maxMessageBytes of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
  Deno.test(`MessageAssembler() throws a RangeError, when maxMessageBytes is ${maxMessageBytes}`, () => {
    const message = `Cannot use ${maxMessageBytes} as maxMessageBytes: it must be a whole number, at least 0`;
    assertThrows(() => new MessageAssembler({ maxMessageBytes }), RangeError, message);
  });
}

for (
  const [code, closeCode] of [
    ["unexpected-continuation", 1002],
    ["unfinished-message", 1002],
    ["invalid-close-payload", 1002],
    ["invalid-close-code", 1002],
    ["invalid-utf8", 1007],
    ["message-too-big", 1009],
  ] as const
) {
  Deno.test(`ProtocolError() wants the connection closed with ${closeCode}, when the code is ${code}`, () => {
    const { name, message, code: word, closeCode: answer } = new ProtocolError(code, "What was wrong");
    assertEquals([name, message, word, answer], ["ProtocolError", "What was wrong", code, closeCode]);
  });
}
