/**
 * The steps that change the answer to the opening handshake (RFC 6455 section 4.2.2).
 *
 * @module
 */

import { statusLine } from "./answer.ts";
import type { HandshakeAnswer, LabStep } from "./step.ts";

/** An accept key that matches no key: twenty zero bytes. */
const BAD_ACCEPT_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/** The handshake steps. */
export const HANDSHAKE_STEPS: readonly LabStep[] = [
  {
    name: "refuse",
    number: { name: "STATUS", min: 200, max: 599 },
    help: "answers with this HTTP status (200 to 599) instead of 101",
    example: "/refuse/403",
    last: "connection",
    on: "handshake",
    run: (answer, { number }) => refuse(answer, number),
  },
  {
    name: "silent",
    help: "reads the request and never answers",
    example: "/silent",
    last: "connection",
    on: "handshake",
    run: (answer) => Object.assign(answer, { portion: 0, then: "silence" }),
  },
  {
    name: "half",
    help: "stops in the middle of the head of the answer",
    example: "/half",
    last: "connection",
    on: "handshake",
    run: (answer) => Object.assign(answer, { portion: 0.5, then: "silence" }),
  },
  {
    name: "garbage",
    help: "answers with bytes that are not HTTP, and ends the connection",
    example: "/garbage",
    last: "connection",
    on: "handshake",
    run: (answer) => {
      answer.fields.clear();
      Object.assign(answer, { startLine: "\x00\xff garbage", then: "end" });
    },
  },
  {
    name: "bad-accept",
    help: "answers with an accept key that does not match the request",
    example: "/bad-accept",
    on: "handshake",
    run: ({ fields }) => void fields.set("Sec-WebSocket-Accept", BAD_ACCEPT_KEY),
  },
  {
    name: "no-accept",
    help: "answers without an accept key",
    example: "/no-accept",
    on: "handshake",
    run: ({ fields }) => void fields.delete("Sec-WebSocket-Accept"),
  },
  {
    name: "wrong-protocol",
    help: 'selects the subprotocol "wrong" instead of an offered one',
    example: "/wrong-protocol",
    on: "handshake",
    run: ({ fields }) => void fields.set("Sec-WebSocket-Protocol", "wrong"),
  },
  {
    name: "unasked-protocol",
    help: 'selects the subprotocol "unasked", for a client that offers none',
    example: "/unasked-protocol",
    on: "handshake",
    run: ({ fields }) => void fields.set("Sec-WebSocket-Protocol", "unasked"),
  },
  {
    name: "unasked-extension",
    help: 'selects the extension "x-unasked"',
    example: "/unasked-extension",
    on: "handshake",
    run: ({ fields }) => void fields.set("Sec-WebSocket-Extensions", "x-unasked"),
  },
  {
    name: "slow-head",
    number: { name: "MS", min: 1, max: 60_000 },
    help: "waits this many milliseconds (at most 60000) before each line of the answer",
    example: "/slow-head/200",
    on: "handshake",
    run: (answer, { number }) => Object.assign(answer, { linePauseMs: number }),
  },
];

function refuse(answer: HandshakeAnswer, status: number): void {
  answer.startLine = statusLine(status);
  answer.fields.clear();
  answer.fields.set("Content-Length", "0");
  answer.fields.set("Connection", "close");
  answer.then = "end";
}
