/** A server over our own frames whose handler records its events, to test the promises of the server. */

import { encodeFrame, type EncodeFrameOptions } from "../../lib/protocol/frame.ts";
import { within } from "../../lib/net/deadline.ts";
import { type EchoHandler, echoing } from "../../lib/server/echo_handler.ts";
import type { WireEnd, WireLimits } from "../../lib/server/wire_limits.ts";
import { WireServer, type WireServerOptions } from "../../lib/net/wire_server.ts";
import { CLOSE, connectRaw, type RawSocket, requestHead } from "./raw_peer.ts";

export const WAIT = { timeoutMs: 60_000 };

/** An event of the server. */
export type Told =
  | { readonly type: "end"; readonly end: WireEnd }
  | { readonly type: "abandoned"; readonly url: string }
  | {
    readonly type: "refused";
    readonly status: number;
    readonly cause: string;
    readonly reason: string;
    readonly port: number;
  };

/** A server with its events; dispose of it to stop it. */
export interface WireScene extends AsyncDisposable {
  readonly server: WireServer;
  readonly url: string;
  /** All events so far. */
  readonly told: readonly Told[];
  /** Waits for this many events. */
  untilTold(count: number): Promise<readonly Told[]>;
  /** A peer after its upgrade. */
  connect(): Promise<RawSocket>;
}

/** Starts a server that accepts every request, unless the handler overrides that. */
export function wireScene(
  options: Partial<WireServerOptions & WireLimits> = {},
  handler: Partial<EchoHandler> = {},
): WireScene {
  const told: Told[] = [];
  let changed = Promise.withResolvers<void>();
  const tell = (one: Told) => {
    told.push(one);
    changed.resolve();
    changed = Promise.withResolvers();
  };
  const limits = { maxMessageBytes: 32 * 1024 * 1024, idleTimeoutMs: 0, ...options };
  const server = new WireServer(
    { hostname: "127.0.0.1", port: 0, ...options },
    echoing(limits, {
      decide: () => "",
      follow: () => ({ onOpen() {}, onEnd: (end) => tell({ type: "end", end }) }),
      abandoned: (request) => tell({ type: "abandoned", url: request.url }),
      onRefused: (addr, refusal) => tell({ type: "refused", ...refusal, port: (addr as Deno.NetAddr).port }),
      ...handler,
    }),
  );
  const url = `ws://127.0.0.1:${server.port}/`;
  const sockets: RawSocket[] = [];
  return {
    server,
    url,
    told,
    async untilTold(count) {
      while (told.length < count) await within(changed.promise, "news of the server", WAIT);
      return told;
    },
    async connect() {
      const socket = await connectRaw(url);
      sockets.push(socket);
      await socket.write(requestHead());
      await within(socket.readHead(), "upgrade", WAIT);
      return socket;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.close();
      await within(server.stop(), "stop", WAIT);
    },
  };
}

/** Reads the frames up to the close frame: their opcodes, and its code and reason. */
export async function framesToClose(socket: RawSocket): Promise<[opcodes: number[], code: number, reason: string]> {
  const opcodes = [];
  while (true) {
    const { opcode, payload } = await within(socket.readFrame(), "frame", WAIT);
    if (opcode === CLOSE) {
      return [opcodes, payload[0]! * 256 + payload[1]!, new TextDecoder().decode(payload.subarray(2))];
    }
    opcodes.push(opcode);
  }
}

/** Polls for a state that no event announces. */
export async function until(isSo: () => boolean): Promise<void> {
  const begin = performance.now();
  while (!isSo()) {
    if (performance.now() - begin > WAIT.timeoutMs) throw new Error(`Not so in time: ${isSo}`);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** A client's frame. */
export function frame(
  opcode: number,
  payload: string | Uint8Array = "",
  options: EncodeFrameOptions = {},
): Uint8Array<ArrayBuffer> {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  return encodeFrame(opcode, bytes, { maskingKey: Uint8Array.of(0x37, 0xfa, 0x21, 0x3d), ...options });
}

/** Joins frames for one write. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.byteLength;
  }
  return whole;
}
