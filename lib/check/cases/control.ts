/**
 * Cases about control frames (RFC 6455 section 5.5), the close frame apart.
 *
 * @module
 */

import type { Case } from "../case.ts";
import type { ScriptFrame } from "../../peer/script.ts";
import { FAILED_1002, HELLO, hex, make, more, NORMAL, ping, plan, pong, reply, send, sendIn, text } from "./parts.ts";

const FE_125 = new Uint8Array(125).fill(0xfe);
const FE_126 = new Uint8Array(126).fill(0xfe);
const PONG_RULE = "An endpoint answers a ping with a pong of the same payload.";

const answered: readonly Case[] = ([
  ["empty", "2.1", "an empty ping", ping(), "together", "quick"],
  ["text", "2.2", "a ping with text", ping(HELLO), "together", "standard"],
  ["binary", "2.3", "a ping that is not UTF-8", ping(hex("00fffefdfcfb00ff")), "together", "quick"],
  ["125", "2.4", "a ping of 125 bytes", ping(FE_125), "together", "quick"],
  ["125-bytes", "2.6", "a ping of 125 bytes, byte by byte", ping(FE_125), "byte by byte", "standard"],
] as const).map(([word, number, what, frame, way, profile]) =>
  make({
    id: `6455/5.5.3/pong-to-${word}`,
    group: "control",
    autobahn: [number],
    title: `Send ${what}; expect its pong`,
    rule: PONG_RULE,
    profile,
    plan: () => plan(sendIn(way, frame), [reply("pong", frame.payload)], NORMAL),
  })
);

const TEN: readonly ScriptFrame[] = Array.from({ length: 10 }, (_, index) => ping(`payload-${index}`));

const bursts: readonly Case[] = ([["together", "2.10", "quick"], ["byte by byte", "2.11", "standard"]] as const).map(
  ([way, number, profile]) =>
    make({
      id: `6455/5.5.3/ten-pings-${way === "together" ? way : "bytes"}`,
      group: "control",
      autobahn: [number],
      title: `Send ten pings, ${way}; expect their pongs, at least the last`,
      rule: "An endpoint answers each ping, or at least the last of those that arrived before it answered.",
      profile,
      plan: () => plan(sendIn(way, ...TEN), TEN.map(({ payload }) => reply("pong", payload)), NORMAL),
    }),
);

const pongs: readonly Case[] = ([
  ["empty", "2.7", "an unsolicited empty pong", [pong()], []],
  ["text", "2.8", "an unsolicited pong with a payload", [pong("unsolicited pong payload")], []],
  ["then-ping", "2.9", "an unsolicited pong and a ping", [
    pong("unsolicited pong payload"),
    ping("ping payload"),
  ], [
    reply("pong", "ping payload"),
  ]],
] as const).map(([word, number, what, frames, replies]) =>
  make({
    id: `6455/5.5.3/unasked-pong-${word}`,
    group: "control",
    autobahn: [number],
    title: `Send ${what}; expect ${replies.length === 0 ? "no answer" : "one pong"}`,
    rule: "An unsolicited pong is legal, and gets no answer.",
    plan: () => plan([send(...frames)], replies, NORMAL),
  })
);

const LENGTH_RULE = "A control frame has a payload of at most 125 bytes.";
const FRAGMENT_RULE = "A control frame is never fragmented.";

const wrong: readonly Case[] = ([
  ["5.5", "ping-126", "2.5", "a ping of 126 bytes", LENGTH_RULE, [ping(FE_126)], "quick"],
  ["5.5", "pong-126", undefined, "a pong of 126 bytes", LENGTH_RULE, [pong(FE_126)], "standard"],
  ["5.5", "ping-65536", undefined, "a ping of 65,536 bytes", LENGTH_RULE, [ping(new Uint8Array(65536))], "standard"],
  ["5.4", "fragmented-ping", "5.1", "a ping in two fragments", FRAGMENT_RULE, [
    ping("fragment1", { final: false }),
    more("fragment2"),
  ], "quick"],
  ["5.4", "fragmented-pong", "5.2", "a pong in two fragments", FRAGMENT_RULE, [
    pong("fragment1", { final: false }),
    more("fragment2"),
  ], "standard"],
  [
    "5.4",
    "ping-without-fin",
    undefined,
    "an empty ping without FIN",
    FRAGMENT_RULE,
    [ping("", { final: false })],
    "standard",
  ],
  ["5.4", "fragmented-ping-inside", undefined, "a ping without FIN inside a message", FRAGMENT_RULE, [
    text("fragment1", { final: false }),
    ping("ping", { final: false }),
    more("fragment2"),
  ], "standard"],
] as const).map(([section, word, number, what, rule, frames, profile]) =>
  make({
    id: `6455/${section}/${word}`,
    group: "control",
    ...(number !== undefined && { autobahn: [number] }),
    title: `Send ${what}; expect a failed connection`,
    rule,
    profile,
    plan: () => plan([send(...frames)], [], FAILED_1002),
  })
);

/** All cases about control frames. */
export const CONTROL: readonly Case[] = [...answered, ...bursts, ...pongs, ...wrong];
