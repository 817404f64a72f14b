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

const ANSWER_RULE = "An endpoint answers a close frame with a close frame, and the connection ends.";
const BEHIND_RULE = "An endpoint ignores everything after a close frame.";
const PAYLOAD_RULE = "A close frame is empty, or has a two-byte code and a reason of at most 123 bytes of UTF-8.";
const CODE_RULE = "An endpoint never sends a code below 1000, 1004 to 1006, 1015, or an undefined code.";

const ABOUT: Partial<Plan> = { isAboutClose: true };

function behind(word: string, number: string, what: string, ...frames: ScriptFrame[]): Case {
  return make({
    id: `6455/5.5.1/${word}`,
    group: "close",
    autobahn: [number],
    title: `Send ${what}; expect a close frame and nothing else`,
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
    title: "Send a text message, and close after its echo; expect a close frame",
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
    title: "Send a text message of 256 KiB, a short one, a close frame and a ping, together",
    rule: "A peer may leave messages unanswered once the close frame after them has arrived.",
    level: "info",
    plan: () =>
      plan([send(text(filler("text", 256 * 1024)), text(HELLO), close(), ping())], [], { type: "any" }, ABOUT),
  }),
  make({
    id: "6455/5.5.2/ping-before-close",
    group: "close",
    title: "Send a ping and a close frame, together; expect a pong and a close frame",
    rule: "An endpoint answers a ping unless a close frame came before it.",
    profile: "quick",
    plan: () => plan([send(ping("last"), close())], [reply("pong", "last")], NORMAL, ABOUT),
  }),
  make({
    id: "6455/7.1.1/half-close",
    group: "close",
    title: "Send a close frame, and end our half of TCP at once",
    rule: "A client that sends nothing more can still receive the answer to its close frame.",
    level: "info",
    plan: () => plan([send(close()), { do: "half-close" }], [], NORMAL, ABOUT),
  }),
  make({
    id: "6455/7.1.1/end-without-close",
    group: "close",
    title: "End our half of TCP without a close frame; expect the end of the other half",
    rule: "An endpoint ends TCP once the other side has ended it.",
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
    title: `Send a close frame with ${what}; expect a ${end.type === "close" ? "close frame" : "failed connection"}`,
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
      title: `Send a close frame with the code ${code}; expect the same code, or 1000`,
      rule: index < VALID.length
        ? "An endpoint answers a legal code with the same code, or with 1000."
        : "An endpoint also answers a code that was registered after the RFC.",
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
      title: `Send a close frame with the illegal code ${code}; expect a failed connection`,
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
      rule: "Codes from 5000 up have no meaning.",
      level: "info",
      plan: () => plan([send(closeBytes(closePayload(code)))], [], { type: "any" }, ABOUT),
    })
  ),
];

const failures: readonly Case[] = [
  make({
    id: "6455/7.1.7/close-frame-1002",
    group: "close",
    title: "Send a frame of opcode 3; expect a close frame with 1002",
    rule: "An endpoint that fails a connection sends a close frame, with 1002 for a breach of the protocol.",
    level: "should",
    profile: "quick",
    plan: () => plan([send({ opcode: 3, payload: HELLO })], [], { type: "failure", codes: [1002], needsFrame: true }),
  }),
  make({
    id: "6455/7.4.1/close-frame-1007",
    group: "close",
    title: "Send text that is not UTF-8; expect a close frame with 1007",
    rule: "An endpoint that fails a connection sends a close frame, with 1007 for text that is not UTF-8.",
    level: "should",
    needs: ["text"],
    profile: "quick",
    plan: () => plan([send(text(hex("ff")))], [], { type: "failure", codes: [1007], needsFrame: true }),
  }),
];

/** All cases about the end of a connection. */
export const CLOSE: readonly Case[] = [...order, ...payloads.map(payloadCase), ...codes, ...failures];
