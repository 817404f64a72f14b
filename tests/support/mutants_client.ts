/** The faults of mutant clients, each with exactly the lab cases that must catch it. */

import type { ClientFault } from "./mutant_client.ts";
import type { Case } from "../../lib/check/case.ts";
import { type Mutation, MUTATIONS } from "./mutants.ts";
import { DEFLATE_MUTATIONS } from "./mutants_deflate.ts";
import type { ClientCase } from "../../lib/lab/client_case.ts";
import { CLIENT_CASES } from "../../lib/lab/client_cases.ts";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";

/** A fault with the cases that catch it. */
export interface ClientMutation extends ClientFault {
  /** The client's fault, in a few words. */
  readonly name: string;
  /** Whether the client is wrongly silent, so that cases wait. */
  readonly isSilent?: boolean;
  /** The cases to run. */
  readonly cases: readonly ClientCase[];
  /** Whether a case catches it. */
  readonly catches: (id: string) => boolean;
}

/** Cases that no client fails: they report its choice. */
export const INFORMATIVE: ReadonlySet<string> = new Set([
  // A client may answer a message after its close frame, or not.
  "6455/5.5.1/long-message-then-close",
  // Codes from 5000 on are undefined.
  "6455/7.4/undefined-code-5000",
  "6455/7.4/undefined-code-65535",
  // A peer that half-closed TCP may get no answer.
  "6455/7.1.1/half-close",
]);

/** The tests' client checks text once its frame is complete. */
const INSIDE_FRAME = /fail-fast-inside-frame/;

/** Slow cases. */
const LONG = /\d(mib|kib)|\/1000-of|8\/bomb|text-1mib|empty-flood/;

/** The cases for most faults. */
const SHORT = MIRROR_CASES.filter(({ test }) => !INSIDE_FRAME.test(test.id) && !LONG.test(test.id));

/** The cases that a correct client passes. */
export const RIGHT_CASES = MIRROR_CASES.filter(({ test }) => !INSIDE_FRAME.test(test.id));

const OF_CLIENTS = SHORT.filter((place) => CLIENT_CASES.includes(place));

function casesOf(pattern: RegExp): readonly ClientCase[] {
  return MIRROR_CASES.filter(({ test }) => pattern.test(test.id));
}

function counted(bytes: number, isBigEndian: boolean): () => Uint8Array {
  let count = 0;
  return () => {
    const key = new Uint8Array(bytes);
    new DataView(key.buffer).setUint32(isBigEndian ? bytes - 4 : 0, 1_000_000 + count++, !isBigEndian);
    return key;
  };
}

function cycled(count: number): () => Uint8Array {
  const keys = Array.from({ length: count }, () => crypto.getRandomValues(new Uint8Array(4)));
  let next = 0;
  return () => keys[next++ % count] ?? new Uint8Array(4);
}

function named(...words: string[]): (id: string) => boolean {
  return (id) => words.some((word) => id.endsWith(`/${word}`));
}

function matching(pattern: RegExp): (id: string) => boolean {
  return (id) => pattern.test(id);
}

type Own = Omit<ClientMutation, "cases"> & Partial<Pick<ClientMutation, "cases">>;

const keys = counted(16, true);

/** Faults of randomness in masks and keys. */
const random: readonly Own[] = [
  { name: "masks with zeros", mask: () => new Uint8Array(4), catches: named("random-masks") },
  { name: "counts its masks up", mask: counted(4, false), catches: named("random-masks") },
  { name: "has five masks", mask: cycled(5), catches: named("random-masks") },
  { name: "has one key for all handshakes", key: () => "dGhlIHNhbXBsZSBub25jZQ==", catches: named("random-keys") },
  { name: "counts its keys up", key: () => keys().toBase64(), catches: named("random-keys") },
].map((each) => ({ ...each, cases: SHORT.filter(({ test }) => test.group !== "utf8") }));

/** Faults of the opening handshake. */
const handshakes: readonly Own[] = [
  {
    name: "has keys of 15 bytes",
    key: () => crypto.getRandomValues(new Uint8Array(15)).toBase64(),
    catches: named("request"),
  },
  {
    name: "asks for version 8",
    request: (fields) => fields.map(([name, value]) => [name, name === "Sec-WebSocket-Version" ? "8" : value]),
    catches: named("request"),
  },
  { name: "compares no accept key", ignores: ["accept"], catches: named("bad-accept") },
  { name: "needs no accept key", ignores: ["no-accept"], catches: named("no-accept") },
  { name: "needs no Upgrade", ignores: ["upgrade"], catches: named("no-upgrade-field", "other-upgrade") },
  { name: "needs no Connection", ignores: ["connection"], catches: named("no-connection-field", "other-connection") },
  { name: "accepts any subprotocol", ignores: ["protocol"], catches: named("unasked-protocol") },
  { name: "accepts any extension", ignores: ["extension"], catches: named("unasked-extension") },
  ...([
    ["unknown", "unknown parameters", "unknown-parameter"],
    ["doubled", "doubled parameters", "doubled-parameter"],
    ["flag", "a value where a parameter has none", "value-for-a-flag"],
    ["range", "a window of 16 bits", "window-16"],
    ["bits", "a window without its bits", "window-without-bits"],
  ] as const).map(([rule, what, word]): Own => ({
    name: `accepts ${what} of permessage-deflate`,
    ignores: [rule],
    catches: named(`refuses-${word}`),
  })),
  { name: "accepts HTTP/1.0", ignores: ["version"], catches: named("http-1.0") },
  { name: "accepts any status", ignores: ["status"], catches: named("status-200", "status-403") },
  {
    name: "compares field names case-sensitively",
    ignores: ["case-of-names"],
    catches: named("takes-small-letters"),
  },
  { name: "compares Upgrade case-sensitively", ignores: ["case-of-upgrade"], catches: named("takes-upgrade-case") },
  {
    name: "compares Connection case-sensitively",
    ignores: ["case-of-connection"],
    catches: named("takes-connection-case"),
  },
  { name: "accepts no list in Connection", ignores: ["lists"], catches: named("takes-connection-list") },
  { name: "accepts only a head in one segment", ignores: ["head-pieces"], catches: named("takes-single-bytes") },
  { name: "accepts at most twenty fields", ignores: ["many-fields"], catches: named("takes-unknown-fields") },
  { name: "accepts no long cookie", ignores: ["long-fields"], catches: named("takes-cookies-of-8-kib") },
  { name: "needs a reason phrase", ignores: ["no-words"], catches: named("takes-no-reason") },
  {
    name: "loses the data that comes with the answer",
    ignores: ["early"],
    catches: named("frame-behind-answer"),
    // In other cases one read may return both the answer and the first frame.
    cases: casesOf(/frame-behind-answer$|4\.1\/(bad|no)-accept$/),
  },
];

/** Faults at the end of a connection, and with long data. */
const ends: readonly Own[] = [
  { name: "answers a frame that was cut", ignores: ["cut-frame"], catches: named("end-inside-frame") },
  { name: "answers a message without its end", ignores: ["cut-message"], catches: named("end-inside-message") },
  {
    name: "answers the beginning of a message that is too long to store",
    ignores: ["spent"],
    isSilent: true,
    catches: named("claimed-length", "length-sign-bit"),
    cases: SHORT,
  },
  // A timing fault runs only its own case: in others, a busy machine is as slow.
  {
    name: "treats the connection as open when TCP does not end after the close frames",
    forgetsMs: 100,
    catches: named("late-end"),
    cases: casesOf(/late-end$/),
  },
  {
    name: "mistakes silence for the end",
    patienceMs: 500,
    catches: named("late-close"),
    cases: casesOf(/late-close$/),
  },
  {
    name: "never ends TCP",
    ignores: ["their-end"],
    isSilent: true,
    catches: (id) => !INFORMATIVE.has(id),
    cases: casesOf(/7\.1\.1\/|5\.5\.1\/(code|empty)$|5\.4\/restart$|4\.1\/(bad-accept|random-keys)/),
  },
  { name: "answers a hundred pings at most", maxPongs: 100, catches: named("ping-flood"), cases: SHORT },
  {
    name: "accepts at most a thousand fragments",
    maxFragments: 1000,
    catches: matching(/empty-flood|fragments-of-(64|256|1kib|4kib)-/),
    cases: casesOf(/fragment|empty-flood/).filter(({ test }) => !INSIDE_FRAME.test(test.id)),
  },
  {
    name: "answers ten messages at most",
    maxMessages: 10,
    catches: matching(/1000-of|hundred|random-masks|messages-in-one-write/),
    cases: MIRROR_CASES.filter((place) => SHORT.includes(place) || /1000-of/.test(place.test.id)),
  },
  {
    name: "accepts at most 60,000 bytes",
    maxBytes: 60_000,
    catches: matching(
      /\d(mib|kib)|length-6553|65536-(text|binary)$|pieces-of-997|fragments-of-1300|6\/binary$|8\/bomb/,
    ),
    cases: RIGHT_CASES.filter(({ test }) => !/1000-of|empty-flood/.test(test.id)),
  },
];

/** Faults for cases of text inside a frame: the tests' client always has this one. */
const inside: readonly Own[] = [{
  name: "checks text only after its frame is complete",
  catches: matching(INSIDE_FRAME),
  cases: casesOf(/fail-fast|valid-1$/),
}];

/** After the handshake, clients share the servers' faults: a mutant session has either role. */
const HANDSHAKE =
  /upgrade|connection|head-pieces|blanks|keep-alive|field|cookie|extension|key|version|host|protocol|method|early/;

function isOfSession({ answer, refusal, ignores = [] }: Mutation): boolean {
  // A client waits for the server to end TCP.
  return !answer && !refusal && !ignores.some((rule) => HANDSHAKE.test(rule) || rule === "tcp-end");
}

const SHARED = SHORT.filter((place) =>
  !OF_CLIENTS.includes(place) && !/deflate|stress/.test(place.test.group) && place.test.level !== "info"
);

/** Unrelated faults run only some of the many cases of text and close codes. */
function isNear({ group, profile }: Case, caughtBy: RegExp, { isCode }: ClientFault): boolean {
  if (isCode) return group === "close";
  return group !== "utf8" || profile === "quick" || caughtBy.test("6455/8.1/valid-1") ||
    caughtBy.test("6455/8.1/cut-1");
}

const shared: readonly Own[] = MUTATIONS.filter(isOfSession).map(
  ({ name, cases = /./, caughtBy, ...fault }) => ({
    ...fault,
    name,
    catches: matching(caughtBy),
    cases: SHARED.filter(({ test }) => cases.test(test.id) && isNear(test, caughtBy, fault)),
  }),
).filter(({ cases, catches }) => cases.some(({ test }) => catches(test.id)));

const COMPRESSED = casesOf(/^7692\/(?!8|.*refuses-)/);

const deflated: readonly Own[] = DEFLATE_MUTATIONS.map(({ name, caughtBy, ...fault }) => ({
  ...fault,
  name: `${name} (compressed)`,
  catches: matching(caughtBy),
  cases: COMPRESSED,
})).filter(({ catches }) => COMPRESSED.some(({ test }) => catches(test.id)));

/** All mutations. */
export const CLIENT_MUTATIONS: readonly ClientMutation[] = [
  ...ends,
  ...random,
  ...handshakes,
  ...inside,
  ...shared,
  ...deflated,
].map((each) => ({ cases: OF_CLIENTS, ...each }));
