/**
 * Cases about long and numerous messages (RFC 6455 section 5.2). A peer may have a limit (section 10.4).
 *
 * @module
 */

import type { Case, Profile } from "../case.ts";
import type { Step } from "../../peer/script.ts";
import type { MessageKind } from "../../protocol/message.ts";
import { binary, filler, fragmentsOf, make, more, NORMAL, plan, reply, text } from "./parts.ts";

const KIB = 1024;
const MIB = 1024 ** 2;
const KINDS: readonly MessageKind[] = ["text", "binary"];
const RULE = "A message of any length comes back unchanged.";

function nameOf(bytes: number): string {
  return bytes >= MIB ? `${bytes / MIB} MiB` : bytes >= KIB ? `${bytes / KIB} KiB` : `${bytes} bytes`;
}

function wordOf(bytes: number): string {
  return nameOf(bytes).replace(" bytes", "").replace(" ", "").toLowerCase();
}

function sizeCase(
  { kind, bytes, word, number, how, profile = "standard", steps }: {
    kind: MessageKind;
    bytes: number;
    word: string;
    number: string;
    how: string;
    profile?: Profile;
    steps: (payload: Uint8Array<ArrayBuffer>) => readonly Step[];
  },
): Case {
  return make({
    id: `6455/5.4/${word}-${kind}`,
    group: "sizes",
    autobahn: [number],
    title: `Send a ${kind} message of ${nameOf(bytes)}${how}; expect its echo`,
    rule: RULE,
    needs: ["echo", kind],
    profile,
    plan: () => {
      const payload = filler(kind, bytes);
      return plan(steps(payload), [reply(kind, payload)], NORMAL, { mayRefuse: true });
    },
  });
}

function frameOf(kind: MessageKind, payload: Uint8Array<ArrayBuffer>) {
  return kind === "text" ? text(payload) : binary(payload);
}

const whole: readonly Case[] = KINDS.flatMap((kind, group) =>
  [64 * KIB, 256 * KIB, MIB, 4 * MIB, 8 * MIB, 16 * MIB].map((bytes, index) =>
    sizeCase({
      kind,
      bytes,
      word: `whole-${wordOf(bytes)}`,
      number: `9.${group + 1}.${index + 1}`,
      how: "",
      profile: index === 0 || (index === 2 && group === 0) ? "quick" : "standard",
      steps: (payload) => [{ do: "send", frames: [frameOf(kind, payload)] }],
    })
  )
);

const fragmented: readonly Case[] = KINDS.flatMap((kind, group) =>
  [64, 256, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB].map((fragment, index) =>
    sizeCase({
      kind,
      bytes: 4 * MIB,
      word: `4mib-in-fragments-of-${wordOf(fragment)}`,
      number: `9.${group + 3}.${index + 1}`,
      how: ` in fragments of ${nameOf(fragment)} and an empty one`,
      steps: (
        payload,
      ) => [{ do: "send", frames: [...fragmentsOf(kind, payload, fragment, { isWhole: false }), more("")] }],
    })
  )
);

const chopped: readonly Case[] = KINDS.flatMap((kind, group) =>
  [64, 128, 256, 512, 1024, 2048].map((chopBytes, index) =>
    sizeCase({
      kind,
      bytes: MIB,
      word: `1mib-in-writes-of-${chopBytes}`,
      number: `9.${group + 5}.${index + 1}`,
      how: ` in writes of ${chopBytes} bytes`,
      steps: (payload) => [{ do: "send", frames: [frameOf(kind, payload)], chopBytes }],
    })
  )
);

const COUNT = 1000;

const many: readonly Case[] = KINDS.flatMap((kind, group) =>
  [0, 16, 64, 256, 1024, 4096].map((bytes, index) =>
    make({
      id: `6455/5.4/1000-of-${bytes}-${kind}`,
      group: "sizes",
      autobahn: [`9.${group + 7}.${index + 1}`],
      title: `Send 1,000 ${kind} messages of ${bytes} bytes, each after the echo of the last; expect every echo`,
      rule: "An endpoint answers each message once, in order.",
      needs: ["echo", kind],
      plan: () => {
        const payload = filler(kind, bytes);
        const replies = Array.from({ length: COUNT }, () => reply(kind, payload));
        return plan([{ do: "take-turns", frame: frameOf(kind, payload), count: COUNT }], replies, NORMAL);
      },
    })
  )
);

/** All cases about long messages. */
export const SIZES: readonly Case[] = [...whole, ...fragmented, ...chopped, ...many];
