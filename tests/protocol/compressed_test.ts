/** Compressed messages at an endpoint (RFC 7692 section 6): valid places of RSV1, and rules for inflated data. */

import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { MessageDeflate } from "../../lib/net/zlib.ts";
import { Endpoint } from "../../lib/protocol/endpoint.ts";
import type { EndpointHandler, EndpointRole } from "../../lib/protocol/endpoint_handler.ts";
import { encodeFrame, type EncodeFrameOptions, OPCODE, RSV1 } from "../../lib/protocol/frame.ts";

const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);
const COMPRESSED = { reserved: RSV1 };
const utf8 = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function codec(maxMessageBytes = 1000): MessageDeflate {
  const direction = { takeover: true, windowBits: 15 };
  return new MessageDeflate({ own: direction, peer: direction, maxMessageBytes });
}

function packed(peer: MessageDeflate, message: string | Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  let all = new Uint8Array(0);
  peer.deflate(typeof message === "string" ? utf8(message) : message, true, (bytes) => {
    all = new Uint8Array([...all, ...bytes]);
  });
  return all;
}

/** An endpoint with an inflater, its peer's compressor, and a log of its events. */
function scene(
  role: EndpointRole,
  { form = "message", isNegotiated = true, maxMessageBytes = 1000 }: {
    form?: "message" | "bytes" | "relay";
    isNegotiated?: boolean;
    maxMessageBytes?: number;
  } = {},
) {
  const told: string[] = [];
  const [own, peer] = [codec(maxMessageBytes), codec()];
  const handler: EndpointHandler = {
    onOutput: (opcode, payload) => told.push(`out ${opcode} ${textOf(payload.subarray(opcode === 8 ? 2 : 0))}`),
    onMessage: (message) => told.push(typeof message === "string" ? `text ${message}` : `binary ${message.toHex()}`),
    ...(form === "bytes" && { onMessageBytes: (kind, bytes) => told.push(`bytes of ${kind} ${textOf(bytes)}`) }),
    onPing: (payload) => told.push(`ping ${textOf(payload)}`),
    onFailure: (error) => told.push(`failure ${error.code} ${error.closeCode}`),
    relay: form !== "relay" ? undefined : {
      onPiece: (_, piece) => told.push(`piece ${textOf(piece)}`),
      onStored() {},
      onText: (_, bytes) => told.push(`whole ${textOf(bytes)}`),
      onInflated: (kind, bytes, final) => told.push(`inflated ${kind}${final ? "" : " (more)"} ${textOf(bytes)}`),
    },
  };
  const endpoint = new Endpoint(role, handler, { maxMessageBytes, inflater: isNegotiated ? own : undefined });
  const receive = (opcode: number, payload: string | Uint8Array, more: EncodeFrameOptions = {}) => {
    const masked = role === "server" ? { maskingKey: KEY } : {};
    endpoint.receive(
      encodeFrame(opcode, typeof payload === "string" ? utf8(payload) : payload, { ...masked, ...more }),
    );
  };
  return {
    endpoint,
    told,
    receive,
    peer,
    [Symbol.dispose]() {
      own.release();
      peer.release();
    },
  };
}

for (const role of ["client", "server"] as const) {
  Deno.test(`Endpoint() accepts compressed and plain messages in turn (${role})`, () => {
    using it = scene(role);
    it.receive(OPCODE.text, packed(it.peer, "Hello"), COMPRESSED);
    it.receive(OPCODE.text, "plain");
    it.receive(OPCODE.text, packed(it.peer, "Hello"), COMPRESSED);
    it.receive(OPCODE.binary, packed(it.peer, Uint8Array.of(1, 2)), COMPRESSED);
    it.receive(OPCODE.text, packed(it.peer, ""), COMPRESSED);
    assertEquals(it.told, ["text Hello", "text plain", "text Hello", "binary 0102", "text "]);
  });

  Deno.test(`Endpoint() accepts a compressed message in fragments, with control frames between them (${role})`, () => {
    using it = scene(role);
    const bytes = packed(it.peer, "Hello, Hello");
    it.receive(OPCODE.text, "", { ...COMPRESSED, final: false });
    it.receive(OPCODE.ping, "p");
    it.receive(OPCODE.continuation, bytes.subarray(0, 3), { final: false });
    assertEquals(it.endpoint.incomplete?.kind, "text");
    it.receive(OPCODE.ping, "q");
    it.receive(OPCODE.continuation, bytes.subarray(3), { final: false });
    it.receive(OPCODE.continuation, "");
    assertEquals(it.told, ["out 10 p", "ping p", "out 10 q", "ping q", "text Hello, Hello"]);
  });

  Deno.test(`Endpoint() refuses RSV1 on continuations and control frames, and the other bits anywhere (${role})`, () => {
    const wrong: [opcode: number, options: EncodeFrameOptions][] = [
      [OPCODE.continuation, COMPRESSED],
      [OPCODE.ping, COMPRESSED],
      [OPCODE.pong, COMPRESSED],
      [OPCODE.close, COMPRESSED],
      [OPCODE.text, { reserved: 2 }],
      [OPCODE.text, { reserved: 1 }],
      [OPCODE.text, { reserved: RSV1 | 1 }],
    ];
    for (const [opcode, options] of wrong) {
      using it = scene(role);
      if (opcode === OPCODE.continuation) {
        it.receive(OPCODE.text, packed(it.peer, "a"), { ...COMPRESSED, final: false });
      }
      it.receive(opcode, "", options);
      assertEquals(it.told.at(-1), "failure reserved-bits 1002", `opcode ${opcode}`);
    }
  });

  Deno.test(`Endpoint() refuses RSV1 if nothing was negotiated (${role})`, () => {
    using it = scene(role, { isNegotiated: false });
    it.receive(OPCODE.text, packed(it.peer, "Hello"), COMPRESSED);
    assertEquals(it.told, ["out 8 Frame has a reserved bit set", "failure reserved-bits 1002"]);
  });

  Deno.test(`Endpoint() refuses a new message inside a compressed one, and a continuation after it (${role})`, () => {
    using inside = scene(role);
    inside.receive(OPCODE.text, "", { ...COMPRESSED, final: false });
    inside.receive(OPCODE.text, packed(inside.peer, "a"), COMPRESSED);
    assertEquals(inside.told.at(-1), "failure unfinished-message 1002");
    using behind = scene(role);
    behind.receive(OPCODE.text, packed(behind.peer, "a"), COMPRESSED);
    behind.receive(OPCODE.continuation, "b");
    assertEquals(behind.told.at(-1), "failure unexpected-continuation 1002");
  });
}

for (const form of ["message", "bytes", "relay"] as const) {
  Deno.test(`Endpoint() holds inflated data to UTF-8, the limit and the grammar of DEFLATE (${form})`, () => {
    const told = (payload: (peer: MessageDeflate) => Uint8Array, opcode: number = OPCODE.text) => {
      using it = scene("server", { form, maxMessageBytes: 100 });
      it.receive(opcode, payload(it.peer), COMPRESSED);
      return it.told.at(-1);
    };
    assertEquals(told((peer) => packed(peer, Uint8Array.of(0xff))), "failure invalid-utf8 1007");
    assertEquals(told((peer) => packed(peer, Uint8Array.of(0x61, 0xe2, 0x82))), "failure invalid-utf8 1007");
    assertEquals(told((peer) => packed(peer, "a".repeat(101))), "failure message-too-big 1009");
    assertEquals(told((peer) => packed(peer, "a".repeat(100)))?.endsWith("a".repeat(100)), true);
    assertEquals(told(() => Uint8Array.of(0xff)), "failure invalid-deflate 1007");
    assertEquals(told(() => Uint8Array.of(0xf2, 0x48)), "failure invalid-deflate 1007");
  });
}

Deno.test("Endpoint() finds text that is not UTF-8 in the first fragment, before the message ends", () => {
  using it = scene("server", { form: "relay" });
  it.receive(OPCODE.text, packed(it.peer, Uint8Array.of(0xff, 0x61)), { ...COMPRESSED, final: false });
  assertEquals(it.told.at(-1), "failure invalid-utf8 1007");
});

Deno.test("Endpoint() accepts a message whose compressed size is over the limit, as only the inflated size counts", () => {
  using it = scene("server", { form: "bytes", maxMessageBytes: 5 });
  it.receive(OPCODE.text, Uint8Array.of(0, 5, 0, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0), COMPRESSED);
  assertEquals(it.told, ["bytes of text Hello"]);
});

Deno.test("Endpoint() hands a relay the pieces of compressed messages, and plain ones as before", () => {
  using it = scene("server", { form: "relay" });
  it.receive(OPCODE.binary, packed(it.peer, utf8("one")), COMPRESSED);
  it.receive(OPCODE.binary, "two");
  it.receive(OPCODE.text, packed(it.peer, "three"), COMPRESSED);
  it.receive(OPCODE.text, "four");
  assertEquals(it.told, ["inflated binary one", "piece two", "inflated text three", "whole four"]);
});

Deno.test("sendFragment() sets RSV1 on the first frame of a compressed message alone", () => {
  const reserved: number[] = [];
  const endpoint = new Endpoint("client", { onOutput: (_opcode, _payload, _final, bits) => reserved.push(bits) });
  endpoint.sendFragment("text", utf8("a"), false, true);
  endpoint.ping(utf8(""));
  endpoint.sendFragment("text", utf8("b"), true, true);
  endpoint.send("c");
  endpoint.sendFragment("binary", utf8("d"), true, true);
  endpoint.close(1000);
  assertEquals(reserved, [RSV1, 0, 0, 0, RSV1, 0]);
});

Deno.test("two endpoints exchange any messages, compressed and plain, in any fragments and cuts", () => {
  const message = fc.record({
    content: fc.oneof(fc.string({ maxLength: 200 }), fc.uint8Array({ maxLength: 200 })),
    isCompressed: fc.boolean(),
    cut: fc.nat({ max: 200 }),
  });
  fc.assert(fc.property(fc.array(message, { maxLength: 8 }), fc.integer({ min: 1, max: 50 }), (messages, step) => {
    const [own, peer] = [codec(), codec()];
    const received: string[] = [];
    const wire: number[] = [];
    const server = new Endpoint("server", {
      onOutput() {},
      onMessage: (each) => received.push(typeof each === "string" ? each : each.toHex()),
    }, { inflater: own, maxMessageBytes: 1000 });
    const client = new Endpoint("client", {
      onOutput: (opcode, payload, final, bits) =>
        wire.push(...encodeFrame(opcode, payload, { final, reserved: bits, maskingKey: KEY })),
    });
    const sent = messages.map(({ content, isCompressed, cut }) => {
      const kind = typeof content === "string" ? "text" as const : "binary" as const;
      const plain = typeof content === "string" ? utf8(content) : new Uint8Array(content);
      const payload = isCompressed ? packed(peer, plain) : plain;
      client.sendFragment(kind, payload.subarray(0, cut), false, isCompressed);
      client.sendFragment(kind, payload.subarray(cut), true, isCompressed);
      return typeof content === "string" ? textOf(plain) : plain.toHex();
    });
    for (let at = 0; at < wire.length; at += step) server.receive(Uint8Array.from(wire.slice(at, at + step)));
    own.release();
    peer.release();
    assertEquals(received, sent);
  }));
});
