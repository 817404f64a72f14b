/** The queue for a receiver is bounded and ordered. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { ProtocolError } from "../../lib/protocol/error.ts";
import { Inbox, MAX_SURPLUS_MESSAGES, MAX_UNREAD_BYTES, MESSAGE_OVERHEAD_BYTES } from "../../lib/connection/inbox.ts";

Deno.test("add() accepts 64 MiB at 64 bytes per message, and throws for more", () => {
  assertEquals([MAX_UNREAD_BYTES, MESSAGE_OVERHEAD_BYTES], [67_108_864, 64]);
  const inbox = new Inbox();
  inbox.add(new Uint8Array(MAX_UNREAD_BYTES - 2 * MESSAGE_OVERHEAD_BYTES));
  inbox.add("");
  assertEquals(inbox.bytes, MAX_UNREAD_BYTES);
  assertEquals(assertThrows(() => inbox.add(""), ProtocolError, "arrived unread").code, "too-much-unread");
});

Deno.test("add() accepts one message of any size", () => {
  const inbox = new Inbox();
  inbox.add(new Uint8Array(MAX_UNREAD_BYTES + 1));
  assertEquals(inbox.drain().length, 1);
});

Deno.test("addSurplus() keeps 1000 messages and drops the others", () => {
  assertEquals(MAX_SURPLUS_MESSAGES, 1000);
  const inbox = new Inbox();
  for (let count = 0; count < 2500; count++) inbox.addSurplus(`${count}`);
  const kept = inbox.drain();
  assertEquals([kept.length, kept[0], kept.at(-1)], [1000, "0", "999"]);
});

Deno.test("receive() and drain() keep the order of arrival, however they are mixed with add()", async () => {
  const inbox = new Inbox();
  for (const text of ["1", "2", "3"]) inbox.add(text);
  assertEquals(await inbox.receive(), "1");
  inbox.add("4");
  assertEquals(await inbox.receive(), "2");
  assertEquals(inbox.drain(), ["3", "4"]);
  assertEquals(inbox.bytes, 0);
});

Deno.test("receive() returns the present messages before it throws the connection's failure", async () => {
  const inbox = new Inbox();
  inbox.add("last");
  inbox.fail(new ProtocolError("invalid-utf8", "Text is not UTF-8"));
  assertEquals(await inbox.receive(), "last");
  await assertRejects(() => inbox.receive(), ProtocolError, "not UTF-8");
});

Deno.test("an inbox reports when a message leaves it", async () => {
  let taken = 0;
  const inbox = new Inbox(() => taken++);
  inbox.add("x");
  await inbox.receive();
  inbox.drain();
  assertEquals(taken, 2);
});
