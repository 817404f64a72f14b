/** The state machine of one end of a connection: raw bytes in, events and frames out; and two ends that talk in memory. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import type { CloseFrame } from "../../lib/protocol/close.ts";
import { Endpoint, EndpointError } from "../../lib/protocol/endpoint.ts";
import type { EndpointHandler, EndpointRole } from "../../lib/protocol/endpoint_handler.ts";
import { encodeFrame, type EncodeFrameOptions, OPCODE } from "../../lib/protocol/frame.ts";
import type { Message } from "../../lib/protocol/message.ts";

const MIB = 1024 ** 2;
const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);

const utf8 = (text: string) => new TextEncoder().encode(text);

/** A frame as the peer of an endpoint sends it. */
function frameFor(
  role: EndpointRole,
  opcode: number,
  payload: string | Uint8Array = "",
  options: EncodeFrameOptions = {},
) {
  const bytes = typeof payload === "string" ? utf8(payload) : payload;
  return encodeFrame(opcode, bytes, { ...(role === "server" && { maskingKey: KEY }), ...options });
}

function closePayload(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(code >> 8, code & 255, ...utf8(reason));
}

function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** An endpoint, and everything that it told, in words. */
function scene(role: EndpointRole, options: ConstructorParameters<typeof Endpoint>[2] & { isRelay?: boolean } = {}) {
  const told: string[] = [];
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  const handler: EndpointHandler = {
    onOutput(opcode, payload, final) {
      const shown = opcode === OPCODE.close && payload.byteLength >= 2
        ? `${new DataView(payload.buffer, payload.byteOffset).getUint16(0)} ${text(payload.subarray(2))}`.trimEnd()
        : text(payload);
      const name = Object.entries(OPCODE).find(([, value]) => value === opcode)?.[0];
      told.push(`out ${name}${final ? "" : " (more)"}: ${shown}`);
    },
    onMessage: (message) => told.push(typeof message === "string" ? `text: ${message}` : `binary: ${text(message)}`),
    onPing: (payload) => told.push(`ping: ${text(payload)}`),
    onPong: (payload) => told.push(`pong: ${text(payload)}`),
    onClose: ({ code, reason }) => told.push(`close: ${code} ${reason}`.trimEnd()),
    onFailure: (error) => told.push(`failure: ${error.code}`),
    relay: options.isRelay
      ? {
        onPiece: (_, piece, isFirst, isLast) =>
          told.push(`piece${isFirst ? " first" : ""}${isLast ? " last" : ""}: ${text(piece)}`),
        onText: (_, bytes, last) => told.push(`text${bytes === last ? " in place" : ""}: ${text(bytes)}`),
        onStored: (heldBytes) => told.push(`stored: ${heldBytes}`),
      }
      : undefined,
  };
  const endpoint = new Endpoint(role, handler, options);
  const receive = (opcode: number, payload: string | Uint8Array = "", more: EncodeFrameOptions = {}) =>
    endpoint.receive(frameFor(role, opcode, payload, more));
  return { endpoint, told, receive, frame: frameFor.bind(undefined, role) };
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

  Deno.test(`Endpoint() ignores ping, pong and a second close frame behind the peer's close frame (${role})`, () => {
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

  Deno.test(`Endpoint() fails when data comes behind the peer's close frame (${role})`, () => {
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

  Deno.test(`Endpoint() gives a message that was complete before it tells of a violation in the same bytes (${role})`, () => {
    const { endpoint, told, frame } = scene(role);
    endpoint.receive(joined(frame(OPCODE.text, "whole"), Uint8Array.of(0x83, 0x00)));
    assertEquals(told, [
      "text: whole",
      "out close: 1002 Frame has the opcode 3, which is not defined",
      "failure: unknown-opcode",
    ]);
    assertEquals([endpoint.phase, endpoint.isOver], ["failed", true]);
  });

  Deno.test(`Endpoint() finds the peer's close frame behind a message over the limit (${role})`, () => {
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

  Deno.test(`Endpoint() takes an answering close frame inside a frame that it has refused (${role})`, () => {
    const { endpoint, frame } = scene(role, { maxMessageBytes: 1000 });
    // The header of a frame that never comes to its end, and 100 bytes of it.
    endpoint.receive(frame(OPCODE.binary, new Uint8Array(2000)).slice(0, 100));
    assertEquals([endpoint.sent?.code, endpoint.isOver], [1009, false]);
    endpoint.receive(frame(OPCODE.close, closePayload(1009, "sorry")));
    assertEquals([endpoint.isOver, endpoint.received], [true, { code: 1009, reason: "sorry" }]);
  });

  Deno.test(`Endpoint() takes no bytes of a frame that it wants for a close frame (${role})`, () => {
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

  Deno.test(`Endpoint() sends nothing but its pongs behind its close frame (${role})`, () => {
    const { endpoint, told } = scene(role);
    endpoint.close(1000);
    endpoint.close(1001);
    assertThrows(() => endpoint.send("late"), EndpointError, "Cannot send data behind the close frame");
    assertThrows(() => endpoint.ping(utf8("x")), EndpointError, "Cannot send a ping behind the close frame");
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

  Deno.test(`Endpoint() answers nothing more once it has refused the peer, and still sees its close frame (${role})`, () => {
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

Deno.test("Endpoint() lets go of a message that is not complete, and discards the rest of its frame", () => {
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

Deno.test("Endpoint() throws what its handler throws, which is no fault of the peer", () => {
  const endpoint = new Endpoint("client", {
    onOutput() {},
    onMessage() {
      throw new TypeError("a bug");
    },
  });
  assertThrows(() => endpoint.receive(frameFor("client", OPCODE.text, "x")), TypeError, "a bug");
  assertEquals(endpoint.error, undefined);
});

// Two ends in memory.

/** What one end does. */
type Action =
  | { readonly type: "send"; readonly message: Message; readonly cuts: readonly number[] }
  | { readonly type: "ping"; readonly payload: Uint8Array<ArrayBuffer> }
  | { readonly type: "close"; readonly frame: CloseFrame }
  /** Some of what is on the way arrives: this part of it. */
  | { readonly type: "arrive"; readonly part: number };

const part = fc.double({ min: 0, max: 1, noNaN: true });
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.string({ unit: "binary", maxLength: 200 }),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => new Uint8Array(bytes)),
  fc.constantFrom(0, 125, 126, 127, 65_535, 65_536).map((length) => "x".repeat(length)),
);
const closeFrame: fc.Arbitrary<CloseFrame> = fc.oneof(
  fc.constant({ code: 1005, reason: "" }),
  fc.record({
    code: fc.constantFrom(1000, 1001, 1011, 3000, 4999),
    reason: fc.constantFrom("", "bye", "é".repeat(61)),
  }, { noNullPrototype: true }),
);
const action = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ type: fc.constant("send" as const), message, cuts: fc.array(part, { maxLength: 4 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("ping" as const),
      payload: fc.uint8Array({ maxLength: 125 }).map((bytes) => new Uint8Array(bytes)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("close" as const), frame: closeFrame }) },
  { weight: 6, arbitrary: fc.record({ type: fc.constant("arrive" as const), part }) },
);
const steps: fc.Arbitrary<{ side: EndpointRole; action: Action }[]> = fc.array(
  fc.record({ side: fc.constantFrom<EndpointRole>("client", "server"), action }),
  { maxLength: 40 },
);

/** One end with what it has sent, what was told to it, and the bytes that are on the way to it. */
class Side {
  readonly endpoint: Endpoint;
  readonly sent: Message[] = [];
  readonly received: Message[] = [];
  readonly pings: string[] = [];
  readonly pongs: string[] = [];
  wire: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  constructor(role: EndpointRole, other: () => Side, key: () => Uint8Array) {
    this.endpoint = new Endpoint(role, {
      onOutput: (opcode, payload, final) => {
        const peer = other();
        const bytes = encodeFrame(opcode, payload, { final, ...(role === "client" && { maskingKey: key() }) });
        peer.wire = joinTwo(peer.wire, bytes);
      },
      onMessage: (one) => this.received.push(one),
      onPong: (payload) => this.pongs.push(payload.toHex()),
    }, { maxMessageBytes: MIB });
  }

  /** Takes some bytes of those that are on the way. */
  arrive(count: number): void {
    const bytes = this.wire.slice(0, count);
    this.wire = this.wire.slice(count);
    this.endpoint.receive(bytes);
  }

  act(action: Action): void {
    if (action.type === "arrive") return this.arrive(Math.ceil(action.part * this.wire.byteLength));
    if (this.endpoint.sent !== null) return;
    if (action.type === "close") return this.endpoint.close(action.frame.code, action.frame.reason);
    if (action.type === "ping") {
      this.pings.push(action.payload.toHex());
      return this.endpoint.ping(action.payload);
    }
    const { message, cuts } = action;
    const isText = typeof message === "string";
    const bytes = isText ? utf8(message) : message;
    const ends = [...cuts.map((cut) => Math.round(cut * bytes.byteLength)), bytes.byteLength].sort((a, b) => a - b);
    for (const [index, end] of ends.entries()) {
      const piece = bytes.slice(ends[index - 1] ?? 0, end);
      this.endpoint.sendFragment(isText ? "text" : "binary", piece, index === ends.length - 1);
    }
    this.sent.push(isText ? message.toWellFormed() : message);
  }
}

function joinTwo(a: Uint8Array, b: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = new Uint8Array(a.byteLength + b.byteLength);
  both.set(a);
  both.set(b, a.byteLength);
  return both;
}

Deno.test("two Endpoint() in memory give each other every message, pong and close, whatever they do and however it is cut", () => {
  const keys = fc.infiniteStream(fc.uint8Array({ minLength: 4, maxLength: 4 }));
  fc.assert(
    fc.property(steps, keys, (all, maskingKeys) => {
      const key = () => maskingKeys.next().value ?? KEY;
      const client: Side = new Side("client", () => server, key);
      const server: Side = new Side("server", () => client, key);
      const sides = { client, server };
      for (const { side, action } of all) sides[side].act(action);
      // Everything arrives in the end; if nobody closed, the client does.
      if (client.endpoint.sent === null && server.endpoint.sent === null) client.endpoint.close(1000);
      while (client.wire.byteLength + server.wire.byteLength > 0) {
        client.arrive(Math.ceil(client.wire.byteLength / 3));
        server.arrive(server.wire.byteLength);
      }
      for (const [one, other] of [[client, server], [server, client]] as const) {
        assertEquals(one.endpoint.phase, "closed");
        assertEquals(one.endpoint.error, undefined);
        assertEquals(one.endpoint.received, other.endpoint.sent);
        assertEquals(one.received, other.sent);
        // Behind the peer's close frame no ping is answered: what came of the answers came in order.
        assertEquals(one.pongs, one.pings.slice(0, one.pongs.length));
      }
      const first = client.endpoint.initiator;
      assert(first !== null && server.endpoint.initiator !== null);
      // Who began is known to both, unless both did.
      const both = first === "local" && server.endpoint.initiator === "local";
      if (!both) assertEquals(first === "local", server.endpoint.initiator === "peer");
    }),
    { seed: 6455, numRuns: 500 },
  );
});

Deno.test("Endpoint() never throws for what a peer sends, fails at most once, and says so with one close frame", () => {
  const wild = fc.array(
    fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.record({
        opcode: fc.nat(15),
        final: fc.boolean(),
        reserved: fc.constantFrom(0, 0, 0, 4),
        payload: fc.uint8Array({ maxLength: 130 }),
        isMasked: fc.constantFrom(true, true, true, false),
      }).map(({ opcode, final, reserved, payload, isMasked }) =>
        encodeFrame(opcode, payload, { final, reserved, ...(isMasked && { maskingKey: KEY }) })
      ),
    ),
    { maxLength: 12 },
  );
  fc.assert(
    fc.property(wild, fc.array(part, { maxLength: 8 }), fc.boolean(), (frames, places, isRelay) => {
      const runs = [places, []].map((cuts) => {
        const { endpoint, told } = scene("server", { isRelay, maxMessageBytes: 200 });
        const bytes = joined(...frames);
        const ends = [...cuts.map((cut) => Math.round(cut * bytes.byteLength)), bytes.byteLength].sort((a, b) => a - b);
        for (const [index, end] of ends.entries()) endpoint.receive(bytes.slice(ends[index - 1] ?? 0, end));
        assert(told.filter((one) => one.startsWith("failure")).length <= 1);
        assert(told.filter((one) => one.startsWith("out close")).length <= 1);
        assertEquals(endpoint.phase === "failed", endpoint.error !== undefined);
        return { phase: endpoint.phase, error: endpoint.error?.code, received: endpoint.received };
      });
      // Where the bytes are cut decides nothing.
      assertEquals(runs[0], runs[1]);
    }),
    { seed: 6455, numRuns: 5000 },
  );
});

Deno.test("Endpoint gives messages as bytes of their own where they are wanted, text too", () => {
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
  // The read buffer is used again.
  bytes.fill(0);
  assertEquals(told, [["text", utf8("\ufeffé")], ["binary", utf8("ab")], ["text", utf8("cd")]]);
});

Deno.test("Endpoint fails text that is not UTF-8 also where bytes are wanted", () => {
  const endpoint = new Endpoint("server", { onOutput() {}, onMessageBytes: () => assert(false) });
  endpoint.receive(frameFor("server", OPCODE.text, Uint8Array.of(0xff)));
  assertEquals([endpoint.phase, endpoint.error?.code], ["failed", "invalid-utf8"]);
});
