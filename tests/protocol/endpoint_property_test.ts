/** Properties of the endpoint: two ends in memory, and peers that send anything. */

import { assert, assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import type { CloseFrame } from "../../lib/protocol/close.ts";
import { Endpoint } from "../../lib/protocol/endpoint.ts";
import type { EndpointRole } from "../../lib/protocol/endpoint_handler.ts";
import { encodeFrame } from "../../lib/protocol/frame.ts";
import type { Message } from "../../lib/protocol/message.ts";
import { joined, KEY, scene, utf8 } from "../support/endpoints.ts";

const MIB = 1024 ** 2;
/** An action of one end. */
type Action =
  | { readonly type: "send"; readonly message: Message; readonly cuts: readonly number[] }
  | { readonly type: "ping"; readonly payload: Uint8Array<ArrayBuffer> }
  | { readonly type: "close"; readonly frame: CloseFrame }
  /** This part of the bytes in transit arrives. */
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

/** One end with its sent data, its events, and its incoming bytes. */
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

  /** Receives some of the incoming bytes. */
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

Deno.test("two Endpoint() in memory exchange every message, pong and close, whatever they do and however the bytes are cut", () => {
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
        // After the peer's close frame, pings go unanswered: the received answers are in order.
        assertEquals(one.pongs, one.pings.slice(0, one.pongs.length));
      }
      const first = client.endpoint.initiator;
      assert(first !== null && server.endpoint.initiator !== null);
      // Both ends know who closed first, unless both did.
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
      // The cuts between bytes do not matter.
      assertEquals(runs[0], runs[1]);
    }),
    { seed: 6455, numRuns: 5000 },
  );
});
