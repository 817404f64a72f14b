/**
 * Cases about fragmented messages (RFC 6455 section 5.4).
 *
 * @module
 */

import type { Case, Profile, Reply } from "../case.ts";
import type { ScriptFrame, Step } from "../../peer/script.ts";
import {
  binary,
  FAILED_1002,
  filler,
  fragmentsOf,
  HELLO,
  make,
  more,
  NORMAL,
  ping,
  plan,
  reply,
  send,
  sendIn,
  text,
  type Way,
  WAYS,
} from "./parts.ts";
import { payloadOf } from "../../protocol/message.ts";

const WHOLE_RULE = "The fragments of a message form one message, in the order of their arrival.";
const BETWEEN_RULE = "Control frames may come between fragments, and are answered at once.";
const STRAY_RULE = "A continuation frame only continues a message that has begun.";
const RESTART_RULE = "No message begins before the previous message has ended.";

const whole: readonly Case[] = WAYS.map(([way, word], index) =>
  make({
    id: `6455/5.4/two-fragments-${word}`,
    group: "fragments",
    autobahn: [`5.${index + 3}`],
    title: `Send a text message in two fragments, ${way}; expect one echo`,
    rule: WHOLE_RULE,
    needs: ["echo", "text"],
    profile: index === 0 ? "quick" : "standard",
    plan: () =>
      plan(sendIn(way, text("fragment1", { final: false }), more("fragment2")), [
        reply("text", "fragment1fragment2"),
      ], NORMAL),
  })
);

const withPing: readonly Case[] = WAYS.map(([way, word], index) =>
  make({
    id: `6455/5.4/ping-between-${word}`,
    group: "fragments",
    autobahn: [`5.${index + 6}`],
    title: `Send a ping between the two fragments of a text message, ${way}; expect a pong, then the echo`,
    rule: BETWEEN_RULE,
    profile: index === 0 ? "quick" : "standard",
    plan: () =>
      plan(sendIn(way, text("fragment1", { final: false }), ping("ping payload"), more("fragment2")), [
        reply("pong", "ping payload"),
        reply("text", "fragment1fragment2"),
      ], NORMAL),
  })
);

const stray: readonly Case[] = [true, false].flatMap((final, group) =>
  WAYS.map(([way, word], index) =>
    make({
      id: `6455/5.4/stray-${final ? "final" : "open"}-${word}`,
      group: "fragments",
      autobahn: [`5.${9 + group * 3 + index}`],
      title: `Send a continuation ${
        final ? "with" : "without"
      } FIN outside a message, then a text message, ${way}; expect a failed connection`,
      rule: STRAY_RULE,
      profile: index === 0 ? "quick" : "standard",
      plan: () => plan(sendIn(way, more("non-continuation payload", { final }), text(HELLO)), [], FAILED_1002),
    })
  )
);

function wrong(
  word: string,
  title: string,
  rule: string,
  frames: readonly ScriptFrame[],
  rest: { replies?: readonly Reply[]; autobahn?: string; profile?: Profile } = {},
): Case {
  const { replies = [], autobahn, profile = "standard" } = rest;
  return make({
    id: `6455/5.4/${word}`,
    group: "fragments",
    ...(autobahn !== undefined && { autobahn: [autobahn] }),
    title: `${title}; expect a failed connection`,
    rule,
    profile,
    plan: () => plan([send(...frames)], replies, FAILED_1002),
  });
}

const twice = (stray: ScriptFrame) =>
  [1, 2].flatMap(() => [stray, text("fragment2", { final: false }), more("fragment3")]);

const faults: readonly Case[] = [
  wrong(
    "stray-after-message",
    "Send a text message in two fragments, a continuation without FIN, then a text message",
    STRAY_RULE,
    [text("fragment1", { final: false }), more("fragment2"), more("fragment3", { final: false }), text("fragment4")],
    { autobahn: "5.15", replies: [reply("text", "fragment1fragment2")] },
  ),
  wrong(
    "stray-open-twice",
    "Send a continuation without FIN and a text message in two fragments, twice",
    STRAY_RULE,
    twice(more("fragment1", { final: false })),
    { autobahn: "5.16" },
  ),
  wrong(
    "stray-final-twice",
    "Send a continuation with FIN and a text message in two fragments, twice",
    STRAY_RULE,
    twice(more("fragment1")),
    { autobahn: "5.17" },
  ),
  wrong("restart", "Send two frames of opcode text, the first without FIN", RESTART_RULE, [
    text("fragment1", { final: false }),
    text("fragment2"),
  ], { autobahn: "5.18", profile: "quick" }),
  wrong("restart-binary", "Send a binary message inside a text message", RESTART_RULE, [
    text("fragment1", { final: false }),
    binary(payloadOf("fragment2")),
  ]),
  wrong("restart-third", "Send a frame of opcode binary as the third fragment of a binary message", RESTART_RULE, [
    binary(payloadOf("fragment1"), { final: false }),
    more("fragment2", { final: false }),
    binary(payloadOf("fragment3")),
  ]),
  wrong("stray-empty", "Send an empty continuation with FIN outside a message", STRAY_RULE, [more("")]),
];

const PARTS = ["fragment1", "fragment2", "fragment3", "fragment4", "fragment5"];

function paused(way: Way, autobahn: string): Case {
  return make({
    id: `6455/5.4/pings-and-pause-${way}`,
    group: "fragments",
    autobahn: [autobahn],
    title:
      `Send a text message in five fragments with two pings, waiting for the first pong, ${way}; expect pongs and echo`,
    rule: BETWEEN_RULE,
    plan: () => {
      const [one = "", two = "", three = "", four = "", five = ""] = PARTS;
      const first = [text(one, { final: false }), more(two, { final: false }), ping("pongme 1!")];
      const second = [more(three, { final: false }), more(four, { final: false }), ping("pongme 2!"), more(five)];
      const steps: Step[] = [...sendIn(way, ...first), { do: "await", pongs: 1 }, ...sendIn(way, ...second)];
      return plan(
        steps,
        [reply("pong", "pongme 1!"), reply("pong", "pongme 2!"), reply("text", PARTS.join(""))],
        NORMAL,
      );
    },
  });
}

const others: readonly Case[] = [
  paused("together", "5.19"),
  paused("apart", "5.20"),
  make({
    id: "6455/5.4/fragments-of-1300",
    group: "fragments",
    autobahn: ["10.1.1"],
    title: "Send a text message of 65,536 bytes in fragments of 1,300 bytes; expect one echo",
    rule: WHOLE_RULE,
    needs: ["echo", "text"],
    plan: () => {
      const payload = payloadOf("*".repeat(65536));
      return plan([{ do: "send", frames: fragmentsOf("text", payload, 1300) }], [reply("text", payload)], NORMAL);
    },
  }),
  make({
    id: "6455/5.4/empty-last-fragment",
    group: "fragments",
    title: "Send a binary message whose last fragment is empty; expect one echo",
    rule: WHOLE_RULE,
    needs: ["echo", "binary"],
    plan: () => {
      const payload = filler("binary", 200);
      return plan([send(binary(payload, { final: false }), more("", { final: false }), more(""))], [
        reply("binary", payload),
      ], NORMAL);
    },
  }),
  make({
    id: "6455/5.4/empty-fragments-1000",
    group: "fragments",
    title: "Send a binary message with 1,000 empty fragments in the middle; expect one echo",
    rule: WHOLE_RULE,
    needs: ["echo", "binary"],
    profile: "full",
    plan: () => {
      const payload = filler("binary", 20);
      const frames = [
        binary(payload.slice(0, 10), { final: false }),
        ...Array.from({ length: 1000 }, () => more("", { final: false })),
        more(payload.slice(10)),
      ];
      return plan([send(...frames)], [reply("binary", payload)], NORMAL, { mayRefuse: true });
    },
  }),
  make({
    id: "6455/5.4/messages-in-one-write",
    group: "fragments",
    title: "Send 20 messages of both kinds in one write; expect 20 echoes in order",
    rule: "An endpoint answers each message once, in the order of arrival.",
    needs: ["echo"],
    profile: "quick",
    plan: () => {
      const replies = Array.from(
        { length: 20 },
        (_, index) => index % 2 === 0 ? reply("text", `message ${index}`) : reply("binary", filler("binary", index)),
      );
      const frames = replies.map(({ kind, payload }) => kind === "text" ? text(payload) : binary(payload));
      return plan([send(...frames)], replies, NORMAL);
    },
  }),
];

/** All cases about fragmented messages. */
export const FRAGMENTS: readonly Case[] = [...whole, ...withPing, ...stray, ...faults, ...others];
