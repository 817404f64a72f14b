/** An endpoint in memory, and frames for it. */

import { Endpoint } from "../../lib/protocol/endpoint.ts";
import type { EndpointHandler, EndpointRole } from "../../lib/protocol/endpoint_handler.ts";
import { encodeFrame, type EncodeFrameOptions, OPCODE } from "../../lib/protocol/frame.ts";

export const KEY = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);

export const utf8 = (text: string) => new TextEncoder().encode(text);

/** A frame from the peer of an endpoint. */
export function frameFor(
  role: EndpointRole,
  opcode: number,
  payload: string | Uint8Array = "",
  options: EncodeFrameOptions = {},
) {
  const bytes = typeof payload === "string" ? utf8(payload) : payload;
  return encodeFrame(opcode, bytes, { ...(role === "server" && { maskingKey: KEY }), ...options });
}

export function joined(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** An endpoint with a log of all its events. */
export function scene(
  role: EndpointRole,
  options: ConstructorParameters<typeof Endpoint>[2] & { isRelay?: boolean } = {},
) {
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
