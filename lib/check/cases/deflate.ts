/**
 * Cases about permessage-deflate (RFC 7692). They skip servers that do not negotiate the extension.
 *
 * @module
 */

import { constants, deflateRawSync } from "node:zlib";
import type { Case, DeflateReading, HandshakeAnswer, Profile, Reply } from "../case.ts";
import type { ScriptFrame } from "../../peer/script.ts";
import { DEFLATE as OFFER } from "../../protocol/deflate.ts";
import { RSV1 } from "../../protocol/frame.ts";
import { listOf } from "../../protocol/http_lines.ts";
import { filler, fragmentsOf, hex, make, more, NORMAL, ping, plan, reply, send, text } from "./parts.ts";
import { payloadOf } from "../../protocol/message.ts";

/** "Hello" in the forms of RFC 7692 section 7.2.3. */
const HELLO = hex("f248cdc9c90700");
const HELLO_AGAIN = hex("f200110000");
const HELLO_STORED = hex("000500faff48656c6c6f00");
const HELLO_FINAL = hex("f348cdc9c9070000");
const HELLO_TWO_BLOCKS = hex("f24805000000ffffcac9c90700");

function deflated(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const flushed = new Uint8Array(deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }));
  // The flush ends with an empty block; the sender cuts its last four bytes (section 7.2.1).
  return flushed.slice(0, -4);
}

function packed(payload: Uint8Array<ArrayBuffer>, rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return text(payload, { reserved: RSV1, ...rest });
}

/** Parameters of permessage-deflate in an answer; `undefined` if not negotiated. */
function parametersOf({ head }: Pick<HandshakeAnswer, "head">): Map<string, string> | undefined {
  const answer = listOf(head, "sec-websocket-extensions").find((value) => /^permessage-deflate\s*(;|$)/.test(value));
  if (answer === undefined) return undefined;
  const [, ...parts] = answer.split(";").map((part) => part.trim());
  return new Map(parts.map((part) => {
    const [name = "", value = ""] = part.split("=");
    return [name.trim(), value.trim().replace(/^"(.*)"$/, "$1")];
  }));
}

interface Exchange {
  readonly section: string;
  readonly word: string;
  readonly title: string;
  readonly rule: string;
  readonly frames: () => Iterable<ScriptFrame>;
  readonly replies: () => readonly Reply[];
  readonly offer?: string;
  readonly reading?: DeflateReading;
  readonly profile?: Profile;
  /** Whether the message refers to an earlier one, which a server may exclude. */
  readonly needsContext?: boolean;
}

const hello = () => [reply("text", "Hello")];
const RULE = "An endpoint inflates a message to what it was, however it was compressed.";

const exchanges: readonly Exchange[] = [
  {
    section: "7.2.3.1",
    word: "one-frame",
    title: "Send a compressed text message",
    rule: RULE,
    frames: () => [packed(HELLO)],
    replies: hello,
    profile: "quick",
  },
  {
    section: "7.2.3.1",
    word: "fragments",
    title: "Send a compressed text message in two fragments, with a ping between them",
    rule: "A message is compressed first and fragmented then: only its first frame has RSV1.",
    frames: () => [packed(HELLO.slice(0, 3), { final: false }), ping("between"), more(HELLO.slice(3))],
    replies: () => [reply("pong", "between"), ...hello()],
    profile: "quick",
  },
  {
    section: "7.2.3.1",
    word: "fragments-of-one-byte",
    title: "Send a compressed text message in fragments of one byte",
    rule: "A message is compressed first and fragmented then: only its first frame has RSV1.",
    frames: () => {
      const [first, ...others] = fragmentsOf("text", HELLO, 1);
      return first ? [{ ...first, reserved: RSV1 }, ...others] : [];
    },
    replies: hello,
  },
  {
    section: "7.2.3.2",
    word: "context",
    title: "Send a message twice, the second as a reference to the first",
    rule: "Unless excluded, the context of one message remains for the next.",
    frames: () => [packed(HELLO), packed(HELLO_AGAIN)],
    replies: () => [...hello(), ...hello()],
    profile: "quick",
    needsContext: true,
  },
  {
    section: "7.2.3.3",
    word: "stored-block",
    title: "Send a message in an uncompressed block",
    rule: RULE,
    frames: () => [packed(HELLO_STORED)],
    replies: hello,
  },
  {
    section: "7.2.3.4",
    word: "final-block",
    title: "Send a message whose last block has BFINAL, then another message",
    rule: "A block with BFINAL does not end the stream of the connection.",
    frames: () => [packed(HELLO_FINAL), packed(HELLO)],
    replies: () => [...hello(), ...hello()],
  },
  {
    section: "7.2.3.5",
    word: "two-blocks",
    title: "Send a message in two blocks",
    rule: RULE,
    frames: () => [packed(HELLO_TWO_BLOCKS)],
    replies: hello,
  },
  {
    section: "7.2.3.6",
    word: "empty",
    title: "Send a compressed empty message",
    rule: "An empty message compresses to the byte 00.",
    frames: () => [packed(hex("00"))],
    replies: () => [reply("text", "")],
    profile: "quick",
  },
  {
    section: "6",
    word: "uncompressed",
    title: "Send an uncompressed message between two compressed ones",
    rule: "A message without RSV1 is uncompressed, and legal.",
    frames: () => [packed(HELLO), text("plain"), packed(HELLO)],
    replies: () => [...hello(), reply("text", "plain"), ...hello()],
    profile: "quick",
  },
  {
    section: "6",
    word: "binary",
    title: "Send a compressed binary message of 64 KiB",
    rule: RULE,
    frames: () => [{ opcode: 2, payload: deflated(filler("binary", 65536)), reserved: RSV1 }],
    replies: () => [reply("binary", filler("binary", 65536))],
  },
  {
    section: "6",
    word: "text-1mib",
    title: "Send a compressed text message of 1 MiB",
    rule: RULE,
    frames: () => [packed(deflated(filler("text", 1024 ** 2)))],
    replies: () => [reply("text", filler("text", 1024 ** 2))],
  },
  {
    section: "6",
    word: "hundred",
    title: "Send 100 compressed text messages",
    rule: RULE,
    frames: () => Array.from({ length: 100 }, (_, index) => packed(deflated(payloadOf(`message ${index}`)))),
    replies: () => Array.from({ length: 100 }, (_, index) => reply("text", `message ${index}`)),
  },
  {
    section: "7.1.1.1",
    word: "server-no-context",
    title: "Request server_no_context_takeover, and send a message twice",
    rule: "A server that accepts server_no_context_takeover refers to no earlier message.",
    offer: `${OFFER}; server_no_context_takeover`,
    frames: () => [text("Hello, Hello, Hello, world"), text("Hello, Hello, Hello, world")],
    replies: () => [reply("text", "Hello, Hello, Hello, world"), reply("text", "Hello, Hello, Hello, world")],
    reading: { isFresh: true },
  },
  {
    section: "7.1.2.1",
    word: "server-window-9",
    title: "Request a server window of 512 bytes, and send 2 KiB that repeat after 1 KiB",
    rule: "A server that accepts server_max_window_bits refers no further back than its window.",
    offer: `${OFFER}; server_max_window_bits=9`,
    frames: () => [{ opcode: 2, payload: farRepeat() }],
    replies: () => [reply("binary", farRepeat())],
    reading: { windowBits: 9 },
  },
];

/** 1 KiB without repetitions, twice. */
function farRepeat(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(2048);
  let state = 1;
  for (let at = 0; at < 1024; at++) {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    bytes[at] = bytes[at + 1024] = state >> 16;
  }
  return bytes;
}

function exchangeCase(exchange: Exchange): Case {
  const { section, word, title, rule, frames, replies, offer = OFFER, reading = {}, profile, needsContext } = exchange;
  return make({
    id: `7692/${section}/${word}`,
    group: "deflate",
    title: `${title}; expect the echo`,
    rule,
    needs: ["echo", "deflate", "text"],
    ...(profile && { profile }),
    plan: () =>
      plan([{ do: "send", frames: frames() }], replies(), NORMAL, {
        handshake: { request: { fields: { "Sec-WebSocket-Extensions": [offer] } }, answer: "upgrade" },
        deflate: reading,
        mayRefuse: true,
        ...(needsContext && {
          skipReason: (answer) =>
            parametersOf(answer)?.has("client_no_context_takeover")
              ? "server excludes the client's context"
              : undefined,
        }),
      }),
  });
}

const WRONG_CODES = [1002, 1003, 1007, 1008, 1009, 1011];

const wrong: readonly Case[] = ([
  ["6.1", "rsv1-continuation", "RSV1 on the second fragment", "Only the first frame of a message has RSV1.", [
    packed(HELLO.slice(0, 3), { final: false }),
    more(HELLO.slice(3), { reserved: RSV1 }),
  ], [1002]],
  ["6.1", "rsv1-ping", "a ping with RSV1", "Control frames are never compressed.", [ping("x", { reserved: RSV1 })], [
    1002,
  ]],
  ["6", "rsv2", "text with RSV2", "Only RSV1 has a meaning.", [text("x", { reserved: 2 })], [1002]],
  ["7.2.2", "bad-block", "a block of the undefined type", "Data that cannot be inflated fails the connection.", [
    packed(hex("07")),
  ], WRONG_CODES],
  [
    "7.2.2",
    "bad-distance",
    "a reference to before the first byte",
    "Data that cannot be inflated fails the connection.",
    [
      packed(HELLO_AGAIN),
    ],
    WRONG_CODES,
  ],
  ["6.2", "bad-utf8", "compressed text that is not UTF-8", "Text is UTF-8 after inflation.", [
    packed(deflated(hex("48ff"))),
  ], [1007]],
] as const).map(([section, word, what, rule, frames, codes]) =>
  make({
    id: `7692/${section}/${word}`,
    group: "deflate",
    title: `Send ${what}; expect a failed connection`,
    rule,
    needs: ["deflate"],
    profile: word === "rsv1-continuation" || word === "bad-utf8" ? "quick" : "standard",
    plan: () =>
      plan([send(...frames)], [], { type: "failure", codes }, {
        handshake: { request: { fields: { "Sec-WebSocket-Extensions": [OFFER] } }, answer: "upgrade" },
        deflate: {},
      }),
  })
);

type ParameterCheck = (parameters: Map<string, string>) => string | undefined;

function bitsAtMost(name: string, most: number): ParameterCheck {
  return (parameters) => {
    const bits = parameters.get(name);
    if (bits === undefined) return `Server accepted without ${name}`;
    return /^([89]|1[0-5])$/.test(bits) && Number(bits) <= most ? undefined : `Server answered with ${name}=${bits}`;
  };
}

const PARAMETERS = ["server_no_context_takeover", "client_no_context_takeover", "server_max_window_bits"];

/** A server must not answer with client_max_window_bits unless offered (section 7.1.2.2). */
function known(...more: readonly string[]): ParameterCheck {
  return (parameters) => {
    const name = [...parameters.keys()].find((name) => ![...PARAMETERS, ...more].includes(name));
    return name === undefined ? undefined : `Server answered with ${name}`;
  };
}

const offers: readonly (readonly [section: string, word: string, offer: string, check: ParameterCheck])[] = [
  ["7.1", "plain", OFFER, known()],
  [
    "7.1.1.1",
    "server-no-context-takeover",
    `${OFFER}; server_no_context_takeover`,
    (parameters) =>
      parameters.has("server_no_context_takeover") ? undefined : "Server accepted without server_no_context_takeover",
  ],
  ["7.1.1.2", "client-no-context-takeover", `${OFFER}; client_no_context_takeover`, known()],
  [
    "7.1.2.1",
    "server-max-window-bits-9",
    `${OFFER}; server_max_window_bits=9`,
    bitsAtMost("server_max_window_bits", 9),
  ],
  [
    "7.1.2.1",
    "server-max-window-bits-15",
    `${OFFER}; server_max_window_bits=15`,
    bitsAtMost("server_max_window_bits", 15),
  ],
  ["7.1.2.2", "client-max-window-bits", `${OFFER}; client_max_window_bits`, known("client_max_window_bits")],
  [
    "7.1.2.2",
    "client-max-window-bits-10",
    `${OFFER}; client_max_window_bits=10`,
    (parameters) =>
      parameters.has("client_max_window_bits") ? bitsAtMost("client_max_window_bits", 10)(parameters) : undefined,
  ],
  [
    "7.1.3",
    "server-no-context-and-window",
    `${OFFER}; server_no_context_takeover; server_max_window_bits=9`,
    (parameters) =>
      parameters.has("server_no_context_takeover")
        ? bitsAtMost("server_max_window_bits", 9)(parameters)
        : "Server accepted without server_no_context_takeover",
  ],
  [
    "7.1.3",
    "three-offers",
    [`${OFFER}; server_no_context_takeover; server_max_window_bits=9`, `${OFFER}; server_no_context_takeover`, OFFER]
      .join(", "),
    known(),
  ],
  ["7.1.3", "two-offers", `${OFFER}; server_max_window_bits=9; x-unknown, ${OFFER}`, known()],
];

const accepted: readonly Case[] = offers.map(([section, word, offer, check]) =>
  make({
    id: `7692/${section}/offer-${word}`,
    group: "deflate",
    title: `Offer "${offer}"; expect an answer that fits, or none`,
    rule: "A server accepts an offer only with parameters that fit it, or declines it.",
    holds: "server",
    needs: ["deflate"],
    profile: word === "plain" ? "quick" : "standard",
    plan: () =>
      plan([], [], NORMAL, {
        deflate: {},
        handshake: {
          request: { fields: { "Sec-WebSocket-Extensions": [offer] } },
          answer: "upgrade",
          problemOf: (answer) => {
            const parameters = parametersOf(answer);
            return parameters && check(parameters);
          },
        },
      }),
  })
);

const declined: readonly Case[] = ([
  ["unknown-parameter", `${OFFER}; x-unknown=1`],
  ["doubled-parameter", `${OFFER}; server_no_context_takeover; server_no_context_takeover`],
  ["window-7", `${OFFER}; server_max_window_bits=7`],
  ["window-16", `${OFFER}; server_max_window_bits=16`],
  ["window-08", `${OFFER}; server_max_window_bits=08`],
  ["window-without-bits", `${OFFER}; server_max_window_bits`],
  ["value-for-a-flag", `${OFFER}; client_no_context_takeover=1`],
] as const).map(([word, offer]) =>
  make({
    id: `7692/7.1/declines-${word}`,
    group: "deflate",
    title: `Offer "${offer}"; expect no compression`,
    rule: "A server declines an offer with unknown or repeated parameters, or with invalid values.",
    holds: "server",
    plan: () =>
      plan([], [], NORMAL, {
        handshake: {
          request: { fields: { "Sec-WebSocket-Extensions": [offer] } },
          answer: "any",
          problemOf: (answer) => parametersOf(answer) ? `Server accepted ${offer}` : undefined,
        },
      }),
  })
);

/** All cases about permessage-deflate. */
export const DEFLATE: readonly Case[] = [...exchanges.map(exchangeCase), ...wrong, ...accepted, ...declined];
