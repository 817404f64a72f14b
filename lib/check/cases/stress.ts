/**
 * Stress cases, run only on request: floods, bombs and peers that do not read. All are bounded. The grade depends on
 * whether the server still answers another connection.
 *
 * @module
 */

import { constants, deflateRawSync } from "node:zlib";
import type { Case, Plan } from "../case.ts";
import type { ScriptFrame } from "../../peer/script.ts";
import { concatBytes } from "../../protocol/message.ts";
import { binary, filler, make, more, ping, plan, send, text } from "./parts.ts";

/** A stress case, and its number of simultaneous connections. */
export interface StressCase {
  /** The case. */
  readonly test: Case;
  /** Number of connections. */
  readonly copies: number;
}

const MIB = 1024 ** 2;
const RULE = "A server protects itself: no peer keeps it from answering another.";

/** 256 MiB of zeros, in compressed blocks of 1 MiB each. */
function bomb(): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(deflateRawSync(new Uint8Array(MIB), { finishFlush: constants.Z_SYNC_FLUSH }));
  const blocks = Array.from({ length: 256 }, () => block);
  return concatBytes(blocks, 256 * block.byteLength).slice(0, -4);
}

function stress(word: string, title: string, copies: number, makePlan: () => Plan): StressCase {
  const needs = word === "bomb" ? ["deflate"] as const : [];
  const test = make({
    id: `6455/10.4/stress-${word}`,
    group: "stress",
    option: "stress",
    title: `${title}; expect replies on another connection`,
    rule: RULE,
    needs,
    plan: makePlan,
  });
  return { test, copies };
}

function flood(count: number, frame: ScriptFrame, ...before: ScriptFrame[]): () => Plan {
  return () => plan([send(...before), { do: "discard" }, { do: "repeat", frame, count }], [], { type: "any" });
}

/** All stress cases. */
export const STRESS: readonly StressCase[] = [
  stress("pings", "Send 200,000 pings", 1, flood(200_000, ping("flood"))),
  stress("empty-messages", "Send 200,000 empty messages", 1, flood(200_000, text(""))),
  stress(
    "empty-fragments",
    "Send a message with 1,000,000 empty fragments",
    1,
    flood(1_000_000, more("", { final: false }), text("x", { final: false })),
  ),
  stress(
    "fragments",
    "Send a message in 1,000,000 fragments of one byte",
    1,
    flood(1_000_000, more("x", { final: false }), text("x", { final: false })),
  ),
  stress(
    "slow-heads",
    "Open 50 connections that send one byte of the request every 100 ms",
    50,
    () =>
      plan([], [], { type: "any" }, {
        handshake: { request: { chopBytes: 1, pauseMs: 100 }, answer: "any" },
      }),
  ),
  stress(
    "not-reading",
    "Open 4 connections that send 32 MiB each and read nothing",
    4,
    () =>
      plan([{ do: "stop-reading" }, { do: "repeat", frame: binary(filler("binary", MIB)), count: 32 }], [], {
        type: "any",
      }),
  ),
  stress(
    "bomb",
    "Send 256 MiB of zeros, compressed to 256 KiB",
    1,
    () =>
      plan([{ do: "send", frames: [binary(bomb(), { reserved: 4 })] }], [], { type: "any" }, {
        handshake: { request: { fields: { "Sec-WebSocket-Extensions": ["permessage-deflate"] } }, answer: "any" },
        deflate: {},
      }),
  ),
];
