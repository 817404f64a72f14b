/**
 * Cases about the form of frames (RFC 6455 sections 5.1 and 5.2).
 *
 * @module
 */

import type { Case } from "../case.ts";
import {
  binary,
  closeBytes,
  FAILED_1002,
  filler,
  HELLO,
  hex,
  make,
  NORMAL,
  ping,
  plan,
  reply,
  send,
  sendIn,
  text,
  type Way,
} from "./parts.ts";
import { type MessageKind, payloadOf } from "../../protocol/message.ts";
import type { ScriptFrame } from "../../peer/script.ts";

const LENGTHS = [0, 125, 126, 127, 128, 65535, 65536];
const KINDS: readonly MessageKind[] = ["text", "binary"];

/** Lengths at the limits of the three length forms, for both kinds. */
const lengths = KINDS.flatMap((kind, group) =>
  LENGTHS.map((bytes, index): Case =>
    make({
      id: `6455/5.2/length-${bytes}-${kind}`,
      group: "framing",
      autobahn: [`1.${group + 1}.${index + 1}`],
      title: `Send a ${kind} message of ${bytes} bytes; expect its echo`,
      rule: "A length up to 125 takes 7 bits, one up to 65,535 takes 16 more, and a longer one 64 more.",
      needs: ["echo", kind],
      profile: bytes === 0 || bytes === 126 || bytes === 65536 ? "quick" : "standard",
      plan: () => {
        const payload = kind === "text" ? payloadOf("*".repeat(bytes)) : new Uint8Array(bytes).fill(0xfe);
        const frame = kind === "text" ? text(payload) : binary(payload);
        return plan([send(frame)], [reply(kind, payload)], NORMAL);
      },
    })
  )
);

/** The same bytes in writes of odd sizes: TCP keeps no boundaries. */
const pieces = KINDS.flatMap((kind, group) => [
  make({
    id: `6455/5.2/pieces-of-997-${kind}`,
    group: "framing",
    autobahn: [`1.${group + 1}.8`],
    title: `Send a ${kind} message of 65,536 bytes in writes of 997 bytes; expect its echo`,
    rule: "TCP is a stream: the boundaries of writes and segments have no meaning.",
    needs: ["echo", kind],
    plan: () => {
      const payload = filler(kind, 65536);
      const frame = kind === "text" ? text(payload) : binary(payload);
      return plan([{ do: "send", frames: [frame], chopBytes: 997 }], [reply(kind, payload)], NORMAL);
    },
  }),
  ...[300, 65536].map((bytes) =>
    make({
      id: `6455/5.2/header-byte-by-byte-${bytes}-${kind}`,
      group: "framing",
      title: `Send a ${kind} message of ${bytes} bytes, its header byte by byte; expect its echo`,
      rule: "TCP is a stream: a header may arrive in pieces.",
      needs: ["echo", kind],
      plan: () => {
        const payload = filler(kind, bytes);
        const frame = kind === "text" ? text(payload) : binary(payload);
        const step = { do: "send", frames: [frame], chopBytes: 1, choppedBytes: 14 } as const;
        return plan([step], [reply(kind, payload)], NORMAL);
      },
    })
  ),
]);

/** The peer answers frames before a wrong one, but no ping after. */
interface Wrong {
  readonly word: string;
  readonly what: string;
  readonly frame: ScriptFrame;
  readonly way: Way;
  readonly isAlone: boolean;
  readonly autobahn?: string;
  readonly isQuick?: boolean;
}

function wrongFrame(section: string, rule: string, wrong: Wrong): Case {
  const { word, what, frame, way, isAlone, autobahn, isQuick = false } = wrong;
  return make({
    id: `6455/${section}/${word}`,
    group: "framing",
    ...(autobahn !== undefined && { autobahn: [autobahn] }),
    title: isAlone
      ? `Send ${what}; expect a failed connection`
      : `Send a text message, ${what} and a ping, ${way}; expect the echo, then a failed connection`,
    rule,
    profile: isQuick ? "quick" : "standard",
    plan: () => {
      const isAboutClose = frame.opcode === 8;
      if (isAlone) return plan(sendIn(way, frame), [], FAILED_1002, { isAboutClose });
      return plan(sendIn(way, text(HELLO), frame, ping()), [reply("text", HELLO)], FAILED_1002);
    },
  });
}

const RESERVED_RULE =
  "The reserved bits are 0 unless an extension defines them; otherwise the receiver fails the connection.";
const BYTES = hex("00fffefdfcfb00ff");

const reserved: readonly Wrong[] = [
  {
    word: "rsv-1",
    what: "text with RSV3",
    frame: text(HELLO, { reserved: 1 }),
    way: "together",
    isAlone: true,
    autobahn: "3.1",
  },
  {
    word: "rsv-2",
    what: "text with RSV2",
    frame: text(HELLO, { reserved: 2 }),
    way: "together",
    isAlone: false,
    autobahn: "3.2",
  },
  {
    word: "rsv-3",
    what: "text with RSV2 and RSV3",
    frame: text(HELLO, { reserved: 3 }),
    way: "apart",
    isAlone: false,
    autobahn: "3.3",
  },
  {
    word: "rsv-4",
    what: "text with RSV1",
    frame: text(HELLO, { reserved: 4 }),
    way: "byte by byte",
    isAlone: false,
    autobahn: "3.4",
    isQuick: true,
  },
  {
    word: "rsv-5-binary",
    what: "binary with RSV1 and RSV3",
    frame: binary(BYTES, { reserved: 5 }),
    way: "together",
    isAlone: true,
    autobahn: "3.5",
  },
  {
    word: "rsv-6-binary",
    what: "binary with RSV1 and RSV2",
    frame: binary(HELLO, { reserved: 6 }),
    way: "together",
    isAlone: true,
    autobahn: "3.6",
  },
  {
    word: "rsv-7-close",
    what: "a close frame with all reserved bits",
    frame: closeBytes(new Uint8Array(0), { reserved: 7 }),
    way: "together",
    isAlone: true,
    autobahn: "3.7",
  },
  { word: "rsv-1-ping", what: "a ping with RSV3", frame: ping("", { reserved: 1 }), way: "together", isAlone: true },
  {
    word: "rsv-4-ping",
    what: "a ping with RSV1",
    frame: ping("", { reserved: 4 }),
    way: "together",
    isAlone: true,
    isQuick: true,
  },
  {
    word: "rsv-2-pong",
    what: "a pong with RSV2",
    frame: { opcode: 10, payload: HELLO, reserved: 2 },
    way: "together",
    isAlone: true,
  },
];

const OPCODE_RULE = "Opcodes 3 to 7 and 11 to 15 are undefined: the receiver fails the connection.";

/** Opcode, with or without payload, alone or after a message, as in Autobahn. */
const opcodes: readonly Wrong[] = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15].map((opcode) => {
  const isControl = opcode > 10;
  const index = isControl ? opcode - 10 : opcode - 2;
  const hasPayload = index !== 1 && index !== 3;
  return {
    word: `opcode-${opcode}`,
    what: `a frame of opcode ${opcode}${hasPayload ? " with a payload" : ""}`,
    frame: { opcode, payload: hasPayload ? HELLO : new Uint8Array(0) },
    way: index === 5 ? "byte by byte" : "together",
    isAlone: index <= 2,
    autobahn: `4.${isControl ? 2 : 1}.${index}`,
    isQuick: opcode === 3 || opcode === 11,
  };
});

const MASK_RULE =
  "A client masks every frame, a server none: the receiver fails the connection at the first wrong one.";

const masks: readonly Wrong[] = [
  {
    word: "mask-text",
    what: "text with the other role's masking",
    frame: text(HELLO, { isWronglyMasked: true }),
    isQuick: true,
  },
  {
    word: "mask-binary",
    what: "binary with the other role's masking",
    frame: binary(BYTES, { isWronglyMasked: true }),
  },
  {
    word: "mask-empty",
    what: "an empty message with the other role's masking",
    frame: text("", { isWronglyMasked: true }),
  },
  { word: "mask-ping", what: "a ping with the other role's masking", frame: ping("ping", { isWronglyMasked: true }) },
  {
    word: "mask-close",
    what: "a close frame with the other role's masking",
    frame: closeBytes(hex("03e8"), { isWronglyMasked: true }),
  },
].map((each): Wrong => ({ ...each, way: "together", isAlone: true }));

const numbers: readonly Case[] = [
  ...([
    ["16-for-5", "5 bytes in 16 bits", text("hello", { isLengthened: true }), "quick"],
    ["64-for-5", "5 bytes in 64 bits", text("hello", { claimedLength: 5n }), "standard"],
    ["64-for-300", "300 bytes in 64 bits", binary(filler("binary", 300), { isLengthened: true }), "standard"],
    ["16-for-0", "no bytes in 16 bits", text("", { isLengthened: true }), "standard"],
    ["16-for-ping", "a ping of 4 bytes in 16 bits", ping("ping", { isLengthened: true }), "standard"],
  ] as const).map(([word, what, frame, profile]) =>
    make({
      id: `6455/5.2/length-not-minimal-${word}`,
      group: "framing",
      title: `Send a frame with the length of ${what}; expect a failed connection`,
      rule: "A length takes as few bytes as possible.",
      level: "should",
      profile,
      plan: () => plan([send(frame)], [], FAILED_1002),
    })
  ),
  make({
    id: "6455/5.2/length-sign-bit",
    group: "framing",
    title: "Send a frame whose 64-bit length has its highest bit set; expect a failed connection",
    rule: "The most significant bit of a 64-bit length is 0.",
    profile: "quick",
    plan: () =>
      plan([send(binary(HELLO, { claimedLength: 2n ** 63n + 5n }))], [], { type: "failure", codes: [1002, 1009] }),
  }),
];

/** All cases about the form of frames. */
export const FRAMING: readonly Case[] = [
  ...lengths,
  ...pieces,
  ...masks.map((wrong) => wrongFrame("5.1", MASK_RULE, wrong)),
  ...numbers,
  ...reserved.map((wrong) => wrongFrame("5.2", RESERVED_RULE, wrong)),
  ...opcodes.map((wrong) => wrongFrame("5.2", OPCODE_RULE, wrong)),
];
