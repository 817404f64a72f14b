/**
 * Cases about UTF-8 in text messages (RFC 6455 section 8.1).
 *
 * @module
 */

import type { Case, Plan, Reply } from "../case.ts";
import type { ScriptFrame, Step } from "../../peer/script.ts";
import { KOSME, type SequenceGroup, SEQUENCES } from "./utf8_sequences.ts";
import { FAILED_1007, fragmentsOf, hex, make, more, NORMAL, plan, reply, send, text } from "./parts.ts";
import { payloadOf } from "../../protocol/message.ts";

const VALID_RULE = "An endpoint accepts text that is UTF-8, and it comes back unchanged.";
const INVALID_RULE = "An endpoint fails the connection when a text message is not UTF-8.";
const FAST_RULE =
  "An endpoint fails the connection at the first byte that proves text not to be UTF-8, before the message ends.";

const UMLAUTS = "Hello-\u00b5@\u00df\u00f6\u00e4\u00fc\u00e0\u00e1-UTF-8!!";

function sent(frames: Iterable<ScriptFrame>, replied: Reply): Plan {
  return plan([{ do: "send", frames }], [replied], NORMAL);
}

const taken: readonly Case[] = ([
  ["6455/5.6/empty-text", "6.1.1", "an empty text message", () => sent([text("")], reply("text", ""))],
  [
    "6455/5.6/empty-text-in-three",
    "6.1.2",
    "an empty text message in three fragments",
    () => sent([text("", { final: false }), more("", { final: false }), more("")], reply("text", "")),
  ],
  [
    "6455/5.6/text-in-the-middle",
    "6.1.3",
    "a text message in three fragments, the first and the last empty",
    () =>
      sent(
        [text("", { final: false }), more("middle frame payload", { final: false }), more("")],
        reply("text", "middle frame payload"),
      ),
  ],
  [
    "6455/8.1/text-whole",
    "6.2.1",
    "text with characters of two bytes",
    () => sent([text(UMLAUTS)], reply("text", UMLAUTS)),
  ],
  ["6455/8.1/text-cut-between-characters", "6.2.2", "text in two fragments, cut between characters", () => {
    const [first, second] = [UMLAUTS.slice(0, 11), UMLAUTS.slice(11)];
    return sent([text(first, { final: false }), more(second)], reply("text", UMLAUTS));
  }],
  [
    "6455/8.1/text-cut-everywhere",
    "6.2.3",
    "text in fragments of one byte, cut inside characters",
    () => sent(fragmentsOf("text", payloadOf(UMLAUTS), 1), reply("text", UMLAUTS)),
  ],
  [
    "6455/8.1/greek-cut-everywhere",
    "6.2.4",
    "Greek text in fragments of one byte, cut inside characters",
    () => sent(fragmentsOf("text", hex(KOSME), 1), reply("text", hex(KOSME))),
  ],
] as const).map(([id, number, what, makePlan]) =>
  make({
    id,
    group: "utf8",
    autobahn: [number],
    title: `Send ${what}; expect its echo`,
    rule: VALID_RULE,
    needs: ["echo", "text"],
    profile: number === "6.2.3" || number === "6.1.2" ? "quick" : "standard",
    plan: makePlan,
  })
);

const SURROGATE = hex(`${KOSME}eda080656469746564`);

const refused: readonly Case[] = [
  make({
    id: "6455/8.1/surrogate-whole",
    group: "utf8",
    autobahn: ["6.3.1"],
    title: "Send text with a UTF-16 surrogate; expect a failed connection",
    rule: INVALID_RULE,
    needs: ["text"],
    plan: () => plan([send(text(SURROGATE))], [], FAILED_1007),
  }),
  make({
    id: "6455/8.1/surrogate-cut-everywhere",
    group: "utf8",
    autobahn: ["6.3.2"],
    title: "Send text with a UTF-16 surrogate in fragments of one byte; expect a failed connection",
    rule: INVALID_RULE,
    needs: ["text"],
    profile: "quick",
    plan: () => plan([{ do: "send", frames: fragmentsOf("text", SURROGATE, 1) }], [], FAILED_1007),
  }),
];

/** Text beyond the last code point: the byte 90 at index 12 proves the fault. */
const BEYOND = hex(`${KOSME}f4908080656469746564`);

/** A strict peer has failed the connection within this time, in milliseconds: 1 s, as in Autobahn. */
const FAST_MS = 1000;

/** Pause after the valid part, in milliseconds: 50. */
const CALM_MS = 50;

interface FailFast {
  readonly word: string;
  readonly number: string;
  readonly title: string;
  /** The ends of the first and the second part, in bytes. */
  readonly cuts: readonly [number, number];
  /** Whether the parts are writes of one frame, not fragments. */
  readonly isOneFrame: boolean;
}

function failFast({ word, number, title, cuts: [a, b], isOneFrame }: FailFast): Case {
  return make({
    id: `6455/8.1/fail-fast-${word}`,
    group: "utf8",
    autobahn: [number],
    title: `${title}; expect a failed connection before the third`,
    rule: FAST_RULE,
    needs: ["text"],
    profile: isOneFrame ? "standard" : "quick",
    plan: () => {
      const frame = text(BEYOND);
      const [first, second, third]: readonly [Step, Step, Step] = isOneFrame
        ? [
          { do: "send-part", frame, from: 0, to: a },
          { do: "send-part", frame, from: a, to: b },
          { do: "send-part", frame, from: b },
        ]
        : [
          send(text(BEYOND.slice(0, a), { final: false })),
          send(more(BEYOND.slice(a, b), { final: false })),
          send(more(BEYOND.slice(b))),
        ];
      const steps: Step[] = [first, { do: "settle", ms: CALM_MS }, second, { do: "settle", ms: FAST_MS }, third];
      return plan(steps, [], { type: "failure", codes: [1007], fromStep: 2, byStep: 3 });
    },
  });
}

const FAIL_FAST: readonly FailFast[] = [
  {
    word: "fragment",
    number: "6.4.1",
    title: "Send text in three fragments, the second with a code point beyond the last",
    cuts: [11, 15],
    isOneFrame: false,
  },
  {
    word: "fragment-at-once",
    number: "6.4.2",
    title: "Send text in three fragments, the second of them the wrong byte",
    cuts: [12, 13],
    isOneFrame: false,
  },
  {
    word: "inside-frame",
    number: "6.4.3",
    title: "Send text in one frame in three writes, the second with a code point beyond the last",
    cuts: [11, 15],
    isOneFrame: true,
  },
  {
    word: "inside-frame-at-once",
    number: "6.4.4",
    title: "Send text in one frame in three writes, the second of them the wrong byte",
    cuts: [12, 13],
    isOneFrame: true,
  },
];

function sequenceCases({ word, what, sequences }: SequenceGroup, group: number): Case[] {
  return sequences.map(([digits, isValid], index) =>
    make({
      id: `6455/8.1/${word}-${index + 1}`,
      group: "utf8",
      autobahn: [`6.${group + 5}.${index + 1}`],
      title: `Send ${what}, ${digits.length > 24 ? `${digits.slice(0, 24)}...` : digits}; expect ${
        isValid ? "its echo" : "a failed connection"
      }`,
      rule: isValid ? VALID_RULE : INVALID_RULE,
      needs: isValid ? ["echo", "text"] : ["text"],
      profile: index === 0 ? "quick" : "standard",
      plan: () => {
        const payload = hex(digits);
        return isValid
          ? plan([send(text(payload))], [reply("text", payload)], NORMAL)
          : plan([send(text(payload))], [], FAILED_1007);
      },
    })
  );
}

const binaryIsFree: Case = make({
  id: "6455/5.6/binary-is-not-checked",
  group: "utf8",
  title: "Send a binary message that is not UTF-8; expect its echo",
  rule: "Binary data may be any bytes.",
  needs: ["echo", "binary"],
  profile: "quick",
  plan: () => plan([send({ opcode: 2, payload: SURROGATE })], [reply("binary", SURROGATE)], NORMAL),
});

/** All cases about UTF-8. */
export const UTF8: readonly Case[] = [
  ...taken,
  ...refused,
  ...FAIL_FAST.map(failFast),
  ...SEQUENCES.flatMap(sequenceCases),
  binaryIsFree,
];
