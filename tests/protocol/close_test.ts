/** Close codes, the close payload, and the confirmation of a close. */

import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import {
  assertSendableClose,
  CLOSE_CODES,
  type CloseEnd,
  type CloseFrame,
  type CloseOutcome,
  type CloseRecord,
  describeCloseCode,
  describeCloseFrame,
  describeConfirmation,
  describeEnd,
  encodeClosePayload,
  type ExpectedClose,
  isSendableCloseCode,
  MAX_CLOSE_REASON_BYTES,
  parseClosePayload,
  verifyClose,
} from "../../lib/protocol/close.ts";
import { ProtocolError } from "../../lib/protocol/error.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits);

/** The description of each named close code, and whether it may be sent. */
const NAMED = [
  { code: 1000, name: "normal closure", sendable: true },
  { code: 1001, name: "going away", sendable: true },
  { code: 1002, name: "protocol error", sendable: true },
  { code: 1003, name: "unsupported data", sendable: true },
  { code: 1004, name: "reserved", sendable: false },
  { code: 1005, name: "no status received", sendable: false },
  { code: 1006, name: "abnormal closure", sendable: false },
  { code: 1007, name: "invalid payload data", sendable: true },
  { code: 1008, name: "policy violation", sendable: true },
  { code: 1009, name: "message too big", sendable: true },
  { code: 1010, name: "mandatory extension", sendable: true },
  { code: 1011, name: "internal error", sendable: true },
  { code: 1012, name: "service restart", sendable: true },
  { code: 1013, name: "try again later", sendable: true },
  { code: 1014, name: "bad gateway", sendable: true },
  { code: 1015, name: "TLS handshake", sendable: false },
  { code: 3000, name: "unauthorized", sendable: true },
  { code: 3003, name: "forbidden", sendable: true },
  { code: 3008, name: "timeout", sendable: true },
];

/** The same for the bounds of the ranges. */
const UNNAMED = [
  { code: -1, name: "not a close code", sendable: false },
  { code: 0, name: "not a close code", sendable: false },
  { code: 999, name: "not a close code", sendable: false },
  { code: 1016, name: "reserved for the protocol", sendable: false },
  { code: 2999, name: "reserved for the protocol", sendable: false },
  { code: 3001, name: "registered use", sendable: true },
  { code: 3999, name: "registered use", sendable: true },
  { code: 4000, name: "private use", sendable: true },
  { code: 4999, name: "private use", sendable: true },
  { code: 5000, name: "not a close code", sendable: false },
  { code: 65535, name: "not a close code", sendable: false },
];

for (const { code, name, sendable } of [...NAMED, ...UNNAMED]) {
  Deno.test(`isSendableCloseCode() is ${sendable}, when the code is ${code}`, () => {
    assertEquals(isSendableCloseCode(code), sendable);
  });

  Deno.test(`describeCloseCode() says "${name}", when the code is ${code}`, () => {
    assertEquals(describeCloseCode(code), `${code} (${name})`);
  });
}

Deno.test("isSendableCloseCode() is true for 2012 numbers of 16 bits and no other", () => {
  const sendable = Array.from({ length: 65536 }, (_, code) => code).filter(isSendableCloseCode);
  assertEquals(sendable.length, 4 + 8 + 2000);
});

for (const code of [1000.5, NaN, Infinity]) {
  Deno.test(`isSendableCloseCode() is false, when the code is ${code}`, () => assertFalse(isSendableCloseCode(code)));
}

Deno.test("CLOSE_CODES has every code of RFC 6455 and the registry, and no other", () => {
  assertEquals([...CLOSE_CODES.keys()], NAMED.map(({ code }) => code));
});

for (const [code, { meaning, source }] of CLOSE_CODES) {
  Deno.test(`CLOSE_CODES gives a sentence and a source, when the code is ${code}`, () => {
    assert(/^[A-Z].*\.$/.test(meaning), meaning);
    const isOfTheRegistry = (code >= 1012 && code <= 1014) || code >= 3000;
    assertEquals(
      source,
      isOfTheRegistry ? "IANA WebSocket Close Code Number Registry" : "RFC 6455 section 7.4.1",
    );
  });
}

const LONGEST_REASONS = [
  { what: "characters of one byte", reason: "a".repeat(123), longer: "a".repeat(124) },
  { what: "characters of two bytes", reason: `${"é".repeat(61)}a`, longer: "é".repeat(62) },
  { what: "characters of three bytes", reason: "€".repeat(41), longer: `${"€".repeat(41)}a` },
  { what: "characters of four bytes", reason: `${"😀".repeat(30)}abc`, longer: "😀".repeat(31) },
];
for (const { what, reason, longer } of LONGEST_REASONS) {
  Deno.test(`encodeClosePayload() fills 125 bytes, when a reason of ${what} has 123`, () => {
    const payload = encodeClosePayload(1000, reason);
    assertEquals(payload.byteLength, 125);
    assertEquals(parseClosePayload(payload), { code: 1000, reason });
  });

  Deno.test(`encodeClosePayload() throws a RangeError, when a reason of ${what} has more than 123`, () => {
    const message = `Cannot close with a reason of 124 bytes: at most 123 bytes of UTF-8 fit`;
    assertThrows(() => encodeClosePayload(1000, longer), RangeError, message);
  });
}

Deno.test("MAX_CLOSE_REASON_BYTES is 123", () => assertEquals(MAX_CLOSE_REASON_BYTES, 123));

Deno.test("encodeClosePayload() writes the code alone, when there is no reason", () => {
  assertEquals(encodeClosePayload(4999), hex("1387"));
});

Deno.test("encodeClosePayload() writes code and reason, when both are given", () => {
  assertEquals(encodeClosePayload(1000, "né"), hex("03e86ec3a9"));
});

Deno.test("encodeClosePayload() writes nothing, when the code is 1005", () => {
  assertEquals(encodeClosePayload(1005), hex(""));
});

Deno.test("encodeClosePayload() throws a RangeError, when 1005 has a reason", () => {
  assertThrows(() => encodeClosePayload(1005, "x"), RangeError, "Cannot close with code 1005");
});

for (const code of [-1, 999, 1004, 1006, 1015, 1016, 2999, 5000, 65536, 1000.5]) {
  Deno.test(`encodeClosePayload() throws a RangeError, when the code is ${code}`, () => {
    const message = `Cannot close with code ${code}: use 1000-1003, 1007-1014 or 3000-4999`;
    assertThrows(() => encodeClosePayload(code), RangeError, message);
  });
}

Deno.test("assertSendableClose() passes, when code and reason may be sent", () => {
  assertEquals(assertSendableClose(1000, "a".repeat(123)), undefined);
});

Deno.test("assertSendableClose() throws a RangeError, when the code is 1005", () => {
  assertThrows(() => assertSendableClose(1005, ""), RangeError, "Cannot close with code 1005");
});

Deno.test("assertSendableClose() throws a RangeError, when the reason has 124 bytes", () => {
  assertThrows(() => assertSendableClose(1000, "a".repeat(124)), RangeError, "a reason of 124 bytes");
});

const PAYLOADS = [
  { what: "it is empty", payload: "", frame: { code: 1005, reason: "" } },
  { what: "it is a code alone", payload: "03e8", frame: { code: 1000, reason: "" } },
  { what: "it has a reason", payload: "0fa06ec3a9", frame: { code: 4000, reason: "né" } },
  {
    what: "the reason begins with a byte order mark",
    payload: "03e8efbbbf61",
    frame: { code: 1000, reason: "\ufeffa" },
  },
];
for (const { what, payload, frame } of PAYLOADS) {
  Deno.test(`parseClosePayload() returns code and reason, when ${what}`, () => {
    assertEquals(parseClosePayload(hex(payload)), frame);
  });

  Deno.test(`parseClosePayload() reads its own bytes of a larger buffer, when ${what}`, () => {
    const around = hex(`ffff${payload}ffff`);
    assertEquals(parseClosePayload(around.subarray(2, -2)), frame);
  });
}

const BROKEN_PAYLOADS = [
  { what: "there is one byte", payload: "03", code: "invalid-close-payload", closeCode: 1002 },
  { what: "the code is 999", payload: "03e7", code: "invalid-close-code", closeCode: 1002 },
  { what: "the code is 1005", payload: "03ed", code: "invalid-close-code", closeCode: 1002 },
  { what: "the code is 1006, with a reason", payload: "03ee61", code: "invalid-close-code", closeCode: 1002 },
  { what: "the code is 65535", payload: "ffff", code: "invalid-close-code", closeCode: 1002 },
  { what: "the reason is not UTF-8", payload: "03e8ff", code: "invalid-utf8", closeCode: 1007 },
  { what: "the reason is truncated", payload: "03e861e282", code: "invalid-utf8", closeCode: 1007 },
];
for (const { what, payload, code, closeCode } of BROKEN_PAYLOADS) {
  Deno.test(`parseClosePayload() throws ${code}, when ${what}`, () => {
    const error = assertThrows(() => parseClosePayload(hex(payload)), ProtocolError);
    assertEquals([error.code, error.closeCode], [code, closeCode]);
  });
}

Deno.test("parseClosePayload() names the code, when it must not be sent", () => {
  const message = "Close frame has the code 1006, which must not be sent";
  assertThrows(() => parseClosePayload(hex("03ee")), ProtocolError, message);
});

/** The end of a connection that we closed first. */
function recordOf(end: CloseEnd, received: CloseFrame | null, detail = ""): CloseRecord {
  return { sent: { code: 1000, reason: "" }, received, initiator: "local", end, tcp: "not-known", detail };
}

const BYE = { code: 1000, reason: "bye" };
const EMPTY = { code: 1005, reason: "" };
const FRAMES: readonly { what: string; received: CloseFrame | null; expected: ExpectedClose; outcome: CloseOutcome }[] =
  [
    { what: "the code agrees and any reason will do", received: BYE, expected: { code: 1000 }, outcome: "confirmed" },
    { what: "code and reason agree", received: BYE, expected: BYE, outcome: "confirmed" },
    { what: "no code came and none was expected", received: EMPTY, expected: { code: 1005 }, outcome: "confirmed" },
    { what: "the code is another", received: BYE, expected: { code: 1001 }, outcome: "other-code" },
    { what: "code and reason are others", received: BYE, expected: { code: 1001, reason: "" }, outcome: "other-code" },
    { what: "no code came", received: EMPTY, expected: { code: 1000 }, outcome: "other-code" },
    { what: "the frame is not known", received: null, expected: { code: 1000 }, outcome: "other-code" },
    { what: "the reason is another", received: BYE, expected: { code: 1000, reason: "gone" }, outcome: "other-reason" },
    { what: "no reason was expected", received: BYE, expected: { code: 1000, reason: "" }, outcome: "other-reason" },
  ];
for (const { what, received, expected, outcome } of FRAMES) {
  Deno.test(`verifyClose() returns ${outcome}, when ${what}`, () => {
    assertEquals(verifyClose(recordOf("close-frame", received), expected), outcome);
  });
}

Deno.test("verifyClose() returns confirmed, when the peer began and we sent nothing", () => {
  const record = { ...recordOf("close-frame", BYE), sent: null, initiator: "peer" } as const;
  assertEquals(verifyClose(record, BYE), "confirmed");
});

const ENDS = [
  { end: "no-close-frame", text: "Connection ended without a close frame" },
  { end: "no-answer", text: "Peer did not answer the close frame in time" },
  { end: "protocol-error", text: "Peer broke the protocol" },
  { end: "not-known", text: "Connection ended with an empty or invalid close frame, or with none" },
] as const;
for (const { end, text } of ENDS) {
  Deno.test(`verifyClose() returns ${end}, when that is the end`, () => {
    assertEquals(verifyClose(recordOf(end, null), { code: 1000 }), end);
  });

  Deno.test(`describeEnd() says "${text}", when the end is ${end}`, () => {
    assertEquals(describeEnd(recordOf(end, null)), text);
  });

  Deno.test(`describeEnd() adds the detail, when the end is ${end} and has one`, () => {
    assertEquals(describeEnd(recordOf(end, null, "Unexpected EOF")), `${text} (Unexpected EOF)`);
  });
}

Deno.test("describeEnd() says code and reason, when the peer's close frame came", () => {
  assertEquals(
    describeEnd(recordOf("close-frame", BYE)),
    'Peer closed with 1000 (normal closure), reason "bye"',
  );
});

for (
  const [bytes, text] of [
    [5, "Connection ended without a close frame, inside a text message after 5 bytes"],
    [1, "Connection ended without a close frame, inside a text message after 1 byte"],
  ] as const
) {
  Deno.test(`describeEnd() says inside which message the connection ended, after ${bytes}`, () => {
    assertEquals(describeEnd({ ...recordOf("no-close-frame", null), incomplete: { kind: "text", bytes } }), text);
  });
}

Deno.test("describeEnd() names no message, when none was lost or it is not known", () => {
  for (const incomplete of [null, "not-known"] as const) {
    assertEquals(
      describeEnd({ ...recordOf("no-answer", null), incomplete }),
      "Peer did not answer the close frame in time",
    );
  }
});

Deno.test("describeConfirmation() says inside which message the peer closed", () => {
  const record = { ...recordOf("close-frame", BYE), incomplete: { kind: "binary", bytes: 0 } } as const;
  assertEquals(
    describeConfirmation(record, BYE),
    '1000 (normal closure), reason "bye", confirmed by the peer, inside a binary message after 0 bytes',
  );
});

Deno.test("describeEnd() says 1005, when a close frame came with unknown content", () => {
  assertEquals(describeEnd(recordOf("close-frame", null)), "Peer closed with 1005 (no status received)");
});

const CONFIRMED = [
  { initiator: "local", code: 1000, text: "1000 (normal closure), confirmed by the peer" },
  { initiator: "local", code: 1001, text: "1001 (going away), confirmed by the peer" },
  { initiator: "peer", code: 1000, text: "1000 (normal closure), begun by the peer" },
  { initiator: "not-known", code: 1000, text: "1000 (normal closure), confirmed by the peer" },
  { initiator: "not-known", code: 1001, text: "1001 (going away), sent by the peer" },
] as const;
for (const { initiator, code, text } of CONFIRMED) {
  Deno.test(`describeConfirmation() says "${text}", when the initiator is ${initiator}`, () => {
    const record = { ...recordOf("close-frame", { code, reason: "" }), initiator };
    assertEquals(describeConfirmation(record, { code: 1000, reason: "" }), text);
  });
}

Deno.test("describeCloseFrame() says the code alone, when there is no reason", () => {
  assertEquals(describeCloseFrame({ code: 1001, reason: "" }), "1001 (going away)");
});

Deno.test("describeCloseFrame() escapes terminal control characters of the reason", () => {
  const frame = { code: 4000, reason: 'a "b"\n\u001b[2J' };
  assertEquals(describeCloseFrame(frame), '4000 (private use), reason "a \\"b\\"\\n\\u001b[2J"');
});
