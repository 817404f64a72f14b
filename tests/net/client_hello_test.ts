/** The end of a ClientHello, in any records. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { ALERT, ClientHelloReader, MAX_HANDSHAKE_BYTES, TlsError } from "../../lib/net/client_hello.ts";
import { MAX_BARREN_BYTES } from "../../lib/net/tls.ts";
import { inRecords, message, record } from "../support/tls_peer.ts";

const HELLO = message(1, new Uint8Array(300));

for (const size of [1, 2, 3, 4, 5, 100, 16_384]) {
  Deno.test(`ClientHelloReader.isComplete() finds the end of a ClientHello in records of ${size} bytes, cut anywhere`, () => {
    const bytes = inRecords(22, HELLO, size);
    const reader = new ClientHelloReader();
    for (let end = 1; end < bytes.byteLength; end++) assert(!reader.isComplete(bytes.subarray(0, end)), `${end}`);
    assert(reader.isComplete(bytes));
    assert(new ClientHelloReader().isComplete(Uint8Array.of(...bytes, 20, 3, 3)));
  });
}

/** Bytes that start no ClientHello, with their alert and message. */
const NONE: [string, Uint8Array, number, string][] = [
  ["a record of another type", record(23, HELLO), ALERT.unexpectedMessage, "First byte is 23"],
  ["an SSL 2 hello", Uint8Array.of(0x80, 46, 1), ALERT.unexpectedMessage, "First byte is 128"],
  ["another version of records", Uint8Array.of(22, 4, 0, 0, 1), ALERT.decodeError, "Record of version 4"],
  ["an empty record", Uint8Array.of(22, 3, 1, 0, 0), ALERT.unexpectedMessage, "Empty record"],
  ["a record over 16 KiB", Uint8Array.of(22, 3, 1, 0x40, 1), ALERT.recordOverflow, "Record of 16385 bytes"],
  ["another message", record(22, message(2, new Uint8Array(9))), ALERT.unexpectedMessage, "begins with message 2"],
  [
    "an alert in the middle",
    Uint8Array.of(...record(22, HELLO.subarray(0, 9)), ...record(21, Uint8Array.of(1, 0))),
    ALERT.unexpectedMessage,
    "Record of type 21 inside",
  ],
  ["65,520 bytes announced", Uint8Array.of(22, 3, 1, 0, 9, 1, 0, 0xff, 0xf0), ALERT.decodeError, "more than 65536"],
];

for (const [what, bytes, alert, problem] of NONE) {
  Deno.test(`ClientHelloReader.isComplete() refuses ${what}`, () => {
    const error = assertThrows(() => new ClientHelloReader().isComplete(bytes), TlsError, problem);
    assertEquals([error.alert, error.isText], [alert, false]);
  });
}

Deno.test("ClientHelloReader.isComplete() accepts 65,536 bytes of TCP, and refuses one more without the end", () => {
  const bytes = inRecords(22, message(1, new Uint8Array(60_000)), 1).subarray(0, MAX_HANDSHAKE_BYTES + 1);
  const reader = new ClientHelloReader();
  assert(!reader.isComplete(bytes.subarray(0, MAX_HANDSHAKE_BYTES)));
  assertThrows(() => reader.isComplete(bytes), TlsError, "ClientHello of more than 65536 bytes");
});

Deno.test("ClientHelloReader.isComplete() recognises a peer that speaks text by its first byte", () => {
  for (const text of ["GET / HTTP/1.1", "\r\n", "\n", "SSH-2.0"]) {
    const bytes = new TextEncoder().encode(text);
    const error = assertThrows(() => new ClientHelloReader().isComplete(bytes), TlsError);
    assert(error.isText, text);
  }
});

Deno.test("the limits of TLS are the documented ones", () => {
  assertEquals([MAX_HANDSHAKE_BYTES, MAX_BARREN_BYTES], [65_536, 65_536]);
});
