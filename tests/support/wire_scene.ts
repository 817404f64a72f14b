/** A server over wire, and a peer that writes frames by hand. */

import { assertEquals } from "@std/assert";
import type { EchoClosed, EchoEvent } from "../../lib/server/policy.ts";
import { type EchoServer, serveEcho, type ServeEchoOptions } from "../../lib/server/serve.ts";
import { within } from "../../lib/net/deadline.ts";
import { CLOSE, connectRaw, type RawFrame, type RawSocket, requestHead } from "./raw_peer.ts";
import { WAIT } from "./wire.ts";

export const utf8 = (text: string) => new TextEncoder().encode(text);

/** Joins frames and texts. */
export function concat(...parts: readonly (string | Uint8Array)[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...(typeof part === "string" ? utf8(part) : part)]));
}

/** A server, a raw peer after its upgrade, and the server's event for the close. */
export interface Scene {
  readonly server: EchoServer;
  readonly socket: RawSocket;
  readonly closed: Promise<EchoClosed>;
  /** The next frame. */
  next(): Promise<RawFrame>;
}

export async function onWire(test: (scene: Scene) => Promise<void>, options: ServeEchoOptions = {}): Promise<void> {
  const closed = Promise.withResolvers<EchoClosed>();
  const onEvent = (event: EchoEvent) => event.type === "closed" && closed.resolve(event);
  const server = serveEcho({ transport: "wire", port: 0, onEvent, ...options });
  const socket = await connectRaw(server.url);
  try {
    await socket.write(requestHead());
    await within(socket.readHead(), "upgrade", WAIT);
    await test({
      server,
      socket,
      closed: within(closed.promise, "end", WAIT),
      next: () => within(socket.readFrame(), "frame", WAIT),
    });
  } finally {
    socket.close();
    await server.shutdown();
    closed.resolve({} as EchoClosed);
  }
}

/** The code and reason of a close frame. */
export function closeOf({ opcode, payload }: RawFrame): [number, string] {
  assertEquals(opcode, CLOSE);
  return [payload[0]! * 256 + payload[1]!, new TextDecoder().decode(payload.subarray(2))];
}

/** Waits until the server has ended TCP. */
export async function untilEnd(socket: RawSocket): Promise<void> {
  await within(socket.untilGone().catch(() => {}), "end of TCP", WAIT);
}
