/**
 * Cases about the end of a connection (RFC 6455 sections 5.5.1 and 7).
 *
 * @module
 */

import type { Case, Ending, Plan, Profile } from "../case.ts";
import type { ScriptFrame } from "../../peer/script.ts";
import {
  close,
  closeBytes,
  FAILED_1002,
  filler,
  HELLO,
  hex,
  make,
  more,
  NORMAL,
  ping,
  plan,
  reply,
  send,
  text,
} from "./parts.ts";
import { closePayload } from "../../peer/frame.ts";
import { KOSME } from "./utf8_sequences.ts";

const ANSWER_RULE = "A close frame is answered with a close frame, and the connection ends.";
const BEHIND_RULE = "What comes behind a close frame is ignored.";
const PAYLOAD_RULE = "A close frame is empty, or has a code of two bytes and a reason of at most 123 bytes of UTF-8.";
const CODE_RULE = "Codes below 1000, 1004 to 1006, 1015 and those that nobody has defined are never sent.";

const ABOUT: Partial<Plan> = { isAboutClose: true };

function behind(word: string, number: string, what: string, ...frames: ScriptFrame[]): Case {
  return make({
    id: `6455/5.5.1/${word}`,
    group: "close",
    autobahn: [number],
    title: `Send ${what}`,
    rule: BEHIND_RULE,
    profile: word === "text-behind-close" ? "quick" : "standard",
    plan: () => plan([send(...frames)], [], NORMAL, ABOUT),
  });
}

const order: readonly Case[] = [
  make({
    id: "6455/7.1.2/message-then-close",
    group: "close",
    autobahn: ["7.1.1"],
    title: "Send a text message, and close once the reply is there",
    rule: ANSWER_RULE,
    profile: "quick",
    plan: () => plan([send(text(HELLO))], [reply("text", HELLO)], NORMAL, ABOUT),
  }),
  behind("two-closes", "7.1.2", "two close frames", close(), closeBytes(new Uint8Array(0))),
  behind("ping-behind-close", "7.1.3", "a close frame and a ping", close(), ping()),
  behind("text-behind-close", "7.1.4", "a close frame and a text message", close(), text(HELLO)),
  behind(
    "close-between-fragments",
    "7.1.5",
    "a close frame between two fragments",
    text("fragment1", { final: false }),
    close(),
    more("fragment2"),
  ),
  make({
    id: "6455/5.5.1/long-message-then-close",
    group: "close",
    autobahn: ["7.1.6"],
    title: "Send a text message of 256 KiB, a short one, a close frame and a ping together",
    rule: "Whether messages are answered whose close frame has come already is up to the peer.",
    level: "info",
    plan: () =>
      plan([send(text(filler("text", 256 * 1024)), text(HELLO), close(), ping())], [], { type: "any" }, ABOUT),
  }),
  make({
    id: "6455/5.5.2/ping-before-close",
    group: "close",
    title: "Send a ping and a close frame together",
    rule: "A ping is answered unless the close frame has come before it.",
    profile: "quick",
    plan: () => plan([send(ping("last"), close())], [reply("pong", "last")], NORMAL, ABOUT),
  }),
  make({
    id: "6455/7.1.1/half-close",
    group: "close",
    title: "Send a close frame, and end our half of TCP at once",
    rule: "The answer to a close frame may still arrive at a client that sends nothing more.",
    level: "info",
    plan: () => plan([send(close()), { do: "half-close" }], [], NORMAL, ABOUT),
  }),
  make({
    id: "6455/7.1.1/end-without-close",
    group: "close",
    title: "End our half of TCP without a close frame",
    rule: "A peer whose other side has gone ends TCP.",
    level: "should",
    plan: () =>
      plan([send(ping("first")), { do: "await", pongs: 1 }, { do: "half-close" }], [reply("pong", "first")], {
        type: "any",
      }, {
        judge: ({ end }) => end === "none" ? { grade: "fail", reason: "Peer kept the connection" } : undefined,
      }),
  }),
];

interface Payload {
  readonly word: string;
  readonly number?: string;
  readonly what: string;
  readonly payload: Uint8Array<ArrayBuffer>;
  readonly end: Ending;
  readonly profile?: Profile;
}

const payloads: readonly Payload[] = [
  {
    word: "empty",
    number: "7.3.1",
    what: "no payload",
    payload: new Uint8Array(0),
    end: { type: "close", codes: [1000, 1005] },
    profile: "quick",
  },
  { word: "one-byte", number: "7.3.2", what: "one byte", payload: hex("61"), end: FAILED_1002, profile: "quick" },
  { word: "code", number: "7.3.3", what: "a code", payload: closePayload(1000), end: NORMAL },
  {
    word: "reason",
    number: "7.3.4",
    what: "a code and a reason",
    payload: closePayload(1000, "Hello World!"),
    end: NORMAL,
  },
  {
    word: "reason-123",
    number: "7.3.5",
    what: "a reason of 123 bytes",
    payload: closePayload(1000, "*".repeat(123)),
    end: NORMAL,
    profile: "quick",
  },
  {
    word: "reason-124",
    number: "7.3.6",
    what: "a reason of 124 bytes",
    payload: closePayload(1000, "*".repeat(124)),
    end: FAILED_1002,
    profile: "quick",
  },
  {
    word: "reason-bad-utf8",
    number: "7.5.1",
    what: "a reason that is not UTF-8",
    payload: closePayload(1000, hex(`${KOSME}eda080656469746564`)),
    end: { type: "failure", codes: [1002, 1007] },
    profile: "quick",
  },
  {
    word: "reason-cut",
    what: "a reason that ends inside a character",
    payload: closePayload(1000, hex("e282")),
    end: { type: "failure", codes: [1002, 1007] },
  },
];

function payloadCase({ word, number, what, payload, end, profile = "standard" }: Payload): Case {
  return make({
    id: `6455/5.5.1/${word}`,
    group: "close",
    ...(number !== undefined && { autobahn: [number] }),
    title: `Send a close frame with ${what}`,
    rule: end.type === "close" ? ANSWER_RULE : PAYLOAD_RULE,
    profile,
    plan: () => plan([send(closeBytes(payload))], [], end, ABOUT),
  });
}

const VALID = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999];
const REGISTERED = [1012, 1013, 1014];
const INVALID = [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999];
const UNDEFINED = [5000, 65535];

const codes: readonly Case[] = [
  ...[...VALID, ...REGISTERED].map((code, index) =>
    make({
      id: `6455/7.4/code-${code}`,
      group: "close",
      ...(index < VALID.length && { autobahn: [`7.7.${index + 1}`] }),
      title: `Send a close frame with the code ${code}`,
      rule: index < VALID.length
        ? "A code that may be sent is answered with the same code, or with 1000."
        : "A code that the registry has gained since may be sent, and is answered.",
      level: index < VALID.length ? "must" : "should",
      profile: [1001, 3000, 4999].includes(code) ? "quick" : "standard",
      plan: () => plan([send(closeBytes(closePayload(code)))], [], { type: "close", codes: [1000, code] }, ABOUT),
    })
  ),
  ...[...INVALID, 1015, 1].map((code, index) =>
    make({
      id: `6455/7.4/bad-code-${code}`,
      group: "close",
      ...(index < INVALID.length && { autobahn: [`7.9.${index + 1}`] }),
      title: `Send a close frame with the code ${code}, which must not be sent`,
      rule: CODE_RULE,
      profile: [999, 1005, 2999].includes(code) ? "quick" : "standard",
      plan: () => plan([send(closeBytes(closePayload(code)))], [], FAILED_1002, ABOUT),
    })
  ),
  ...UNDEFINED.map((code, index) =>
    make({
      id: `6455/7.4/undefined-code-${code}`,
      group: "close",
      autobahn: [`7.13.${index + 1}`],
      title: `Send a close frame with the code ${code}`,
      rule: "Codes from 5000 on have no meaning.",
      level: "info",
      plan: () => plan([send(closeBytes(closePayload(code)))], [], { type: "any" }, ABOUT),
    })
  ),
];

const failures: readonly Case[] = [
  make({
    id: "6455/7.1.7/close-frame-1002",
    group: "close",
    title: "Send a frame of opcode 3, and await a close frame",
    rule: "Who fails a connection says so with a close frame, with 1002 for a breach of the protocol.",
    level: "should",
    profile: "quick",
    plan: () => plan([send({ opcode: 3, payload: HELLO })], [], { type: "failure", codes: [1002], needsFrame: true }),
  }),
  make({
    id: "6455/7.4.1/close-frame-1007",
    group: "close",
    title: "Send text that is not UTF-8, and await a close frame",
    rule: "Who fails a connection says so with a close frame, with 1007 for text that is not UTF-8.",
    level: "should",
    needs: ["text"],
    profile: "quick",
    plan: () => plan([send(text(hex("ff")))], [], { type: "failure", codes: [1007], needsFrame: true }),
  }),
];

/** All cases about the end of a connection. */
export const CLOSE: readonly Case[] = [...order, ...payloads.map(payloadCase), ...codes, ...failures];
