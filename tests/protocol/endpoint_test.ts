/** The state machine of one end of a connection: raw bytes in, events and frames out; and two ends in memory. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { Endpoint } from "../../lib/protocol/endpoint.ts";
import { EndpointError } from "../../lib/protocol/endpoint_handler.ts";
import { OPCODE } from "../../lib/protocol/frame.ts";

import { frameFor, joined, scene, utf8 } from "../support/endpoints.ts";

function closePayload(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(code >> 8, code & 255, ...utf8(reason));
}

for (const role of ["client", "server"] as const) {
  Deno.test(`Endpoint() answers a close frame with its code and reason, and is closed (${role})`, () => {
    const { endpoint, told, receive } = scene(role);
    receive(OPCODE.close, closePayload(4000, "bye"));
    assertEquals(told, ["out close: 4000 bye", "close: 4000 bye"]);
    assertEquals([endpoint.phase, endpoint.initiator, endpoint.isOver], ["closed", "peer", true]);
  });

  Deno.test(`Endpoint() answers an empty close frame with an empty one (${role})`, () => {
    const { endpoint, told, receive } = scene(role);
    receive(OPCODE.close);
    assertEquals(told, ["out close: ", "close: 1005"]);
    assertEquals(endpoint.received, { code: 1005, reason: "" });
  });

  Deno.test(`Endpoint() ignores ping, pong and a second close frame after the peer's close frame (${role})`, () => {
    const { endpoint, told, receive, frame } = scene(role);
    endpoint.receive(joined(
      frame(OPCODE.close, closePayload(1000)),
      frame(OPCODE.ping, "a"),
      frame(OPCODE.close, closePayload(1001)),
    ));
    receive(OPCODE.ping, "b");
    receive(OPCODE.pong, "c");
    assertEquals(told, ["out close: 1000", "close: 1000"]);
    assertEquals([endpoint.phase, endpoint.received?.code], ["closed", 1000]);
  });

  Deno.test(`Endpoint() fails when data comes after the peer's close frame (${role})`, () => {
    const { endpoint, told, receive } = scene(role);
    receive(OPCODE.close, closePayload(1000));
    receive(OPCODE.text, "late");
    assertEquals(told.slice(2), ["failure: data-after-close"]);
    assertEquals(endpoint.closeRecord({ tcp: "peer" }).end, "protocol-error");
  });

  Deno.test(`Endpoint() answers each of ten pings in a burst, also between its own close frame and the peer's (${role})`, () => {
    const { endpoint, told, frame } = scene(role);
    endpoint.close(1000);
    endpoint.receive(joined(...Array.from({ length: 10 }, (_, at) => frame(OPCODE.ping, `${at}`))));
    const pongs = told.filter((one) => one.startsWith("out pong"));
    assertEquals(pongs, Array.from({ length: 10 }, (_, at) => `out pong: ${at}`));
  });

  Deno.test(`Endpoint() hands on a complete message before it reports a violation in the same bytes (${role})`, () => {
    const { endpoint, told, frame } = scene(role);
    endpoint.receive(joined(frame(OPCODE.text, "whole"), Uint8Array.of(0x83, 0x00)));
    assertEquals(told, [
      "text: whole",
      "out close: 1002 Frame has the opcode 3, which is not defined",
      "failure: unknown-opcode",
    ]);
    assertEquals([endpoint.phase, endpoint.isOver], ["failed", true]);
  });

  Deno.test(`Endpoint() finds the peer's close frame after a message over the limit (${role})`, () => {
    const { endpoint, told, receive } = scene(role, { maxMessageBytes: 4 });
    receive(OPCODE.binary, "12345");
    assertEquals(endpoint.isOver, false);
    receive(OPCODE.close, closePayload(1009));
    assertEquals(told, [
      "out close: 1009 Message is longer than the limit of 4 bytes",
      "failure: message-too-big",
      "close: 1009",
    ]);
    assertEquals([endpoint.phase, endpoint.isOver, endpoint.initiator], ["failed", true, "local"]);
  });

  Deno.test(`Endpoint() accepts an answering close frame inside a frame that it has refused (${role})`, () => {
    const { endpoint, frame } = scene(role, { maxMessageBytes: 1000 });
    // The header of a frame that never ends, and 100 bytes.
    endpoint.receive(frame(OPCODE.binary, new Uint8Array(2000)).slice(0, 100));
    assertEquals([endpoint.sent?.code, endpoint.isOver], [1009, false]);
    endpoint.receive(frame(OPCODE.close, closePayload(1009, "sorry")));
    assertEquals([endpoint.isOver, endpoint.received], [true, { code: 1009, reason: "sorry" }]);
  });

  Deno.test(`Endpoint() mistakes no bytes of an accepted frame for a close frame (${role})`, () => {
    const { endpoint, told, frame } = scene(role);
    const close = frame(OPCODE.close, closePayload(1000));
    const whole = frame(OPCODE.binary, new Uint8Array(close.byteLength), { maskingKey: new Uint8Array(4) });
    if (role === "client") whole.set(close, 2);
    endpoint.close(1000);
    const frameBytes = role === "client" ? frame(OPCODE.binary, close) : whole;
    if (role === "server") frameBytes.set(close, 6);
    endpoint.receive(frameBytes.slice(0, role === "client" ? 2 : 6));
    endpoint.receive(frameBytes.slice(role === "client" ? 2 : 6));
    assertEquals(endpoint.received, null);
    assertEquals(told.length, 2);
  });

  Deno.test(`Endpoint() says how the connection ended (${role})`, () => {
    const lost = scene(role);
    lost.receive(OPCODE.text, "half", { final: false });
    assertEquals(lost.endpoint.incomplete, { kind: "text", bytes: 4 });
    const nothing = { sent: null, received: null, initiator: null };
    assertEquals(lost.endpoint.closeRecord({ tcp: "peer", detail: "Unexpected EOF" }), {
      ...nothing,
      end: "no-close-frame",
      tcp: "peer",
      detail: "Unexpected EOF",
      incomplete: { kind: "text", bytes: 4 },
    });
    const late = scene(role);
    late.endpoint.close(1000, "done");
    assertEquals(late.endpoint.closeRecord({ tcp: "local", isLate: true }), {
      sent: { code: 1000, reason: "done" },
      received: null,
      initiator: "local",
      end: "no-answer",
      tcp: "local",
      detail: "",
      incomplete: null,
    });
  });

  Deno.test(`Endpoint() sends nothing but its pongs after its close frame (${role})`, () => {
    const { endpoint, told } = scene(role);
    endpoint.close(1000);
    endpoint.close(1001);
    assertThrows(() => endpoint.send("late"), EndpointError, "Cannot send data after the close frame");
    assertThrows(() => endpoint.ping(utf8("x")), EndpointError, "Cannot send a ping after the close frame");
    assertEquals(told, ["out close: 1000"]);
  });

  Deno.test(`Endpoint() keeps fragments of one message together (${role})`, () => {
    const { endpoint, told } = scene(role);
    endpoint.sendFragment("text", utf8("a"), false);
    assertThrows(() => endpoint.sendFragment("binary", utf8("b"), true), EndpointError);
    endpoint.sendFragment("text", utf8("c"), true);
    assertEquals(told, ["out text (more): a", "out continuation: c"]);
  });

  Deno.test(`Endpoint() refuses close codes and reasons that must not be sent (${role})`, () => {
    const { endpoint, told } = scene(role);
    assertThrows(() => endpoint.close(1006), RangeError);
    assertThrows(() => endpoint.close(1000, "x".repeat(124)), RangeError);
    assertThrows(() => endpoint.refuse(1005, "why"), RangeError);
    assertEquals([told, endpoint.phase], [[], "open"]);
  });

  Deno.test(`Endpoint() answers nothing after it has refused the peer, but still sees its close frame (${role})`, () => {
    const { endpoint, told, receive } = scene(role);
    endpoint.refuse(1008, "too fast");
    receive(OPCODE.text, "more");
    receive(OPCODE.ping, "hello?");
    receive(OPCODE.close, closePayload(1008));
    assertEquals(told, ["out close: 1008 too fast", "close: 1008"]);
    assertEquals(endpoint.closeRecord({ tcp: "peer" }).end, "close-frame");
  });
}

Deno.test("Endpoint() relays binary frames piece by piece, and text when it is known to be UTF-8", () => {
  const { endpoint, told, receive, frame } = scene("server", { isRelay: true });
  const whole = frame(OPCODE.binary, "abcdef");
  endpoint.receive(whole.slice(0, 8));
  endpoint.receive(whole.slice(8));
  receive(OPCODE.text, "hi");
  receive(OPCODE.text, "h", { final: false });
  receive(OPCODE.continuation, "i");
  assertEquals(told, ["piece first: ab", "piece last: cdef", "text in place: hi", "stored: 1024", "text: hi"]);
});

Deno.test("Endpoint() that discards after its close frame still relays the frame that was under way", () => {
  const { endpoint, told, receive, frame } = scene("server", { isRelay: true, discardsAfterClose: true });
  const whole = frame(OPCODE.binary, "abcd", { final: false });
  endpoint.receive(whole.slice(0, 8));
  endpoint.close(1001);
  endpoint.receive(whole.slice(8));
  receive(OPCODE.continuation, "more");
  receive(OPCODE.text, "more");
  assertEquals(told, ["piece first: ab", "out close: 1001", "piece last: cd"]);
});

Deno.test("Endpoint() drops a message that is not complete, and discards the rest of its frame", () => {
  const { endpoint, told, frame } = scene("server", { isRelay: true });
  const whole = frame(OPCODE.text, "x".repeat(5000));
  endpoint.receive(whole.slice(0, 2000));
  assert(endpoint.heldBytes >= 1900);
  endpoint.forget();
  endpoint.refuse(1013, "later");
  endpoint.receive(whole.slice(2000));
  assertEquals([endpoint.heldBytes, endpoint.incomplete], [0, undefined]);
  assertEquals(told.at(-1), "out close: 1013 later");
});

Deno.test("Endpoint() throws what its handler throws, which is not a fault of the peer", () => {
  const endpoint = new Endpoint("client", {
    onOutput() {},
    onMessage() {
      throw new TypeError("a bug");
    },
  });
  assertThrows(() => endpoint.receive(frameFor("client", OPCODE.text, "x")), TypeError, "a bug");
  assertEquals(endpoint.error, undefined);
});

Deno.test("Endpoint hands on messages as copied bytes if asked to, text too", () => {
  const told: [kind: string, bytes: Uint8Array][] = [];
  const endpoint = new Endpoint("server", {
    onOutput() {},
    onMessage: () => told.push(["string", new Uint8Array()]),
    onMessageBytes: (kind, bytes) => told.push([kind, bytes]),
  });
  const bytes = joined(
    frameFor("server", OPCODE.text, "\ufeffé"),
    frameFor("server", OPCODE.binary, "ab"),
    frameFor("server", OPCODE.text, "c", { final: false }),
    frameFor("server", OPCODE.continuation, "d"),
  );
  endpoint.receive(bytes);
  // The read buffer is reused.
  bytes.fill(0);
  assertEquals(told, [["text", utf8("\ufeffé")], ["binary", utf8("ab")], ["text", utf8("cd")]]);
});

Deno.test("Endpoint fails text that is not UTF-8 also if asked for bytes", () => {
  const endpoint = new Endpoint("server", { onOutput() {}, onMessageBytes: () => assert(false) });
  endpoint.receive(frameFor("server", OPCODE.text, Uint8Array.of(0xff)));
  assertEquals([endpoint.phase, endpoint.error?.code], ["failed", "invalid-utf8"]);
});
