/**
 * The steps that end a connection or answer the client's close frame (RFC 6455 section 7).
 *
 * @module
 */

import { MAX_CLOSE_REASON_BYTES } from "../protocol/close.ts";
import { OPCODE } from "../protocol/frame.ts";
import { closePayload } from "../peer/frame.ts";
import type { LabPeer } from "./peer.ts";
import type { LabStep, NumberParameter, TextParameter } from "./step.ts";

/** Allows every code: clients must reject those that must not be on the wire. */
const CODE: NumberParameter = { name: "CODE", min: 0, max: 65_535 };
const REASON: TextParameter = { name: "REASON", maxBytes: MAX_CLOSE_REASON_BYTES, isOptional: true };

/** The closing steps. */
export const END_STEPS: readonly LabStep[] = [
  {
    name: "close",
    number: CODE,
    text: REASON,
    help: "closes with this code, legal or not, and waits for the answer",
    example: "/echo/1/close/1001/bye",
    last: "connection",
    on: "turn",
    run: (peer, { number, text }) => close(peer, closePayload(number, text)),
  },
  {
    name: "close-empty",
    help: "closes with an empty close frame",
    example: "/echo/1/close-empty",
    last: "connection",
    on: "turn",
    run: (peer) => close(peer, new Uint8Array(0)),
  },
  {
    name: "close-byte",
    help: "closes with a close frame of one byte, which is half a code",
    example: "/echo/1/close-byte",
    last: "connection",
    on: "turn",
    run: (peer) => close(peer, Uint8Array.of(0x03)),
  },
  {
    name: "close-bad-utf8",
    help: "closes with 1000 and a reason that is not UTF-8",
    example: "/echo/1/close-bad-utf8",
    last: "connection",
    on: "turn",
    run: (peer) => close(peer, Uint8Array.of(0x03, 0xe8, 0xff)),
  },
  {
    name: "close-long",
    help: "closes with 1000 and a reason of 124 bytes, one too many",
    example: "/echo/1/close-long",
    last: "connection",
    on: "turn",
    run: (peer) => close(peer, closePayload(1000, "x".repeat(MAX_CLOSE_REASON_BYTES + 1))),
  },
  {
    name: "answer-close",
    number: CODE,
    text: REASON,
    help: "answers the close frame with this code, legal or not, instead of the client's",
    example: "/answer-close/1011/oops",
    on: "close",
    run: (peer, { number, text }) => peer.sendClose(closePayload(number, text)),
  },
  {
    name: "ignore-close",
    help: "never answers the close frame, and keeps the connection",
    example: "/ignore-close",
    on: "close",
    run: (peer) => peer.socket.discard(),
  },
  {
    name: "drop-on-close",
    help: "ends the TCP connection instead of answering the close frame",
    example: "/drop-on-close",
    on: "close",
    run: (peer) => peer.socket.end(),
  },
  {
    name: "late-close",
    number: { name: "MS", min: 1, max: 60_000 },
    help: "answers the close frame after this many milliseconds (at most 60000)",
    example: "/late-close/500",
    on: "close",
    run: async (peer, { number }) => {
      await peer.socket.pause(number);
      await peer.sendClose(peer.answer);
    },
  },
  {
    name: "data-after-close",
    help: "answers the close frame, and sends a text message after it",
    example: "/data-after-close",
    on: "close",
    run: (peer) => peer.sendClose(peer.answer, LATE_MESSAGE),
  },
  {
    name: "drop",
    help: "ends the TCP connection without a close frame",
    example: "/echo/1/drop",
    last: "connection",
    on: "turn",
    run: (peer) => peer.socket.end(),
  },
  {
    name: "reset",
    help: "resets the TCP connection (RST) when the next message or close frame comes",
    example: "/reset",
    last: "connection",
    on: "turn",
    // A reset destroys unread data; a client that sends again has read the earlier frames.
    run: async (peer) => {
      await peer.receive();
      peer.socket.reset();
    },
  },
  {
    name: "drop-mid-message",
    help: "ends the TCP connection in the middle of the next message",
    example: "/drop-mid-message",
    on: "turn",
    run: (peer) => void Object.assign(peer, { dropsMidMessage: true }),
  },
];

const LATE_MESSAGE = { opcode: OPCODE.text, payload: new TextEncoder().encode("after the close") };

async function close(peer: LabPeer, payload: Uint8Array<ArrayBuffer>): Promise<void> {
  await peer.sendClose(payload);
  await peer.receiveClose();
}
