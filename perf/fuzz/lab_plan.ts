/** Random requests for the lab fuzzer, with their expected results. */

import { OFFERS } from "./compression.ts";
import { mirrorPlanOf } from "./lab_mirror.ts";
import type { Random } from "./random.ts";

/** A request, with the result that its path and fields require. */
export interface Plan {
  /** The request line and the fields. */
  readonly head: string;
  /** The allowed statuses; 0 stands for no HTTP, or nothing. */
  readonly statuses: readonly number[];
  /** Whether all frames must be well-formed. */
  readonly isClean: boolean;
  /** Whether the lab ends the connection after the client's close frame. */
  readonly ends: boolean;
  readonly path: string;
  /** Whether this runs a case: cases accept faulty handshake fields too, and judge them. */
  readonly isCase: boolean;
}

const CLEAN_TURNS = [
  (random: Random) => `echo/${random.whole(1, 3)}`,
  (random: Random) => `greet/${encodeURIComponent(random.pick(["x", "é€😀", "a/b", "%", "hello there"]))}`,
  (random: Random) => `delay/${random.whole(1, 3)}`,
  (random: Random) => `slow/${random.whole(1_000_000, 1_000_000_000)}`,
  (random: Random) => `fragment/${random.whole(1, 100)}`,
  () => "split-utf8",
  () => "interleave-ping",
  () => "corrupt",
  (random: Random) => `extend/${random.whole(1, 5000)}`,
  () => "reorder",
  (random: Random) => `flood/${random.whole(1, 20)}`,
  (random: Random) => `ping-flood/${random.whole(1, 50)}`,
] as const;

/** Steps to use sparingly, far below the bounds. */
const COSTLY_TURNS = ["duplicate", "restart"] as const;

const FAULTY_TURNS = [
  () => "unfinished",
  (random: Random) => `truncate/${random.whole(0, 20)}`,
  () => "swap-kind",
  () => "masked",
  (random: Random) => `rsv/${random.whole(1, 3)}`,
  (random: Random) => `opcode/${random.pick([3, 4, 5, 6, 7, 11, 12, 13, 14, 15])}`,
  () => "non-minimal",
  () => "bad-utf8",
  () => "stray-continuation",
  () => "big-control",
  () => "fragmented-control",
  () => "drop-mid-message",
  (random: Random) => `deflate-bomb/${random.whole(1, 2_000_000)}`,
  ...["empty", "final", "garbage", "swap", "takeover", "truncate"].map((fault) => () => `deflate-${fault}`),
  () => "rsv1-continuation",
  () => "rsv1-control",
] as const;

const ENDS = [
  (random: Random) => `close/${random.whole(0, 65535)}/${random.pick(["bye", "é", "%20"])}`,
  () => "close/1000/bye",
  () => "close-empty",
  () => "close-byte",
  () => "close-bad-utf8",
  () => "close-long",
  () => "drop",
  () => "reset",
  () => "mute",
  () => "echo",
] as const;

const MEETINGS = [
  () => "answer-close/1011/oops",
  // Without a reason, the next segment would be the reason.
  (random: Random) => `answer-close/${random.whole(0, 65535)}/bye`,
  () => "ignore-close",
  () => "drop-on-close",
  (random: Random) => `late-close/${random.whole(1, 5)}`,
  () => "data-after-close",
] as const;

const HANDSHAKES = ["bad-accept", "no-accept", "wrong-protocol", "unasked-protocol", "unasked-extension"] as const;

/** Segments that invalidate any program. */
const NO_STEPS = [
  "nothing",
  "Echo",
  "%ff",
  "fragment/0",
  "fragment/16777217",
  "fragment",
  "echo/0",
  "echo/1000001",
  "rsv/4",
  "opcode/9",
  "opcode/1",
  "extend/1048577",
  "close/65536",
  "close",
  "late-close/60001",
  "ping-flood/100001",
  "flood/-1",
  "flood/1e3",
  "flood/0x1",
  "greet",
  `greet/${"x".repeat(4097)}`,
  `close/1000/${"x".repeat(124)}`,
  "/x",
  "duplicate/".repeat(21) + "mute",
  "restart/".repeat(21) + "mute",
  "duplicate/".repeat(11) + "restart/".repeat(10) + "mute",
  "extend/1048576/extend/1",
  "ping-flood/100000/".repeat(11) + "mute",
  "flood/1000000/flood/48577",
  "corrupt/".repeat(33) + "mute",
  "drop/echo",
  "mute/greet/x",
  "greet/x/silent",
  "answer-close/1000/x/ignore-close",
] as const;

type Wrong = readonly [line: string, status: number];

/** Fields that get a request refused whatever its path, and the status. */
const WRONG_FIELDS: readonly [Wrong, ...Wrong[]] = [
  ["Host: [::1", 400],
  ["Host: a:99999", 400],
  ["Host: <script>", 400],
  ["Host:", 400],
  ["Host: 127.0.0.1\r\nHost: 127.0.0.1", 400],
  ["Host: app.example", 403],
  ["Host: 127.0.0.1.example", 403],
  ["Origin: https://app.example", 403],
  ["Origin: null", 403],
  ["Origin: x", 403],
  ["Content-Length: 1", 400],
  ["Transfer-Encoding: chunked", 400],
  ["Sec-WebSocket-Version: 8", 426],
  ["Sec-WebSocket-Key: x", 400],
  ["Connection: close", 400],
];

/** The key of every request. */
export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** A path with its expected result. */
type Program = Omit<Plan, "head">;

/** Makes a program. */
function programOf(random: Random): Program {
  const segments: string[] = [];
  let [isClean, ends, isOpen] = [true, true, true];
  let status = 101;
  if (random.chance(0.2)) segments.push(random.pick(HANDSHAKES));
  if (random.chance(0.03)) segments.push(`slow-head/${random.whole(1, 3)}`);
  if (random.chance(0.05)) {
    const code = random.whole(200, 599);
    const [step, answered] = random.pick([[`refuse/${code}`, code], ["silent", 0], ["half", 101], ["garbage", 0]]);
    segments.push(step);
    [status, isOpen] = [answered, false];
    ends = step !== "silent" && step !== "half";
  }
  let costly = random.whole(0, 5);
  const count = isOpen ? random.whole(0, random.chance(0.1) ? 20 : 5) : 0;
  for (let made = 0; made < count; made++) {
    const kind = random.next();
    if (kind < 0.6) segments.push(random.pick(CLEAN_TURNS)(random));
    else if (kind < 0.75 && costly-- > 0) {
      const step = random.pick(COSTLY_TURNS);
      if (step === "restart") isClean = false;
      segments.push(step);
    } else {
      segments.push(random.pick(FAULTY_TURNS)(random));
      isClean = false;
    }
  }
  if (isOpen && random.chance(0.3)) {
    const step = random.pick(MEETINGS)(random);
    segments.push(step);
    isClean &&= !/^(answer|data)/.test(step);
    ends &&= step !== "ignore-close";
  }
  if (isOpen && random.chance(0.3)) {
    const step = random.pick(ENDS)(random);
    segments.push(step);
    isClean &&= !step.startsWith("close");
  }
  const statuses = [status];
  if (random.chance(0.25)) {
    const wrong = random.pick(NO_STEPS);
    // Without its opcode at the start, a message does not restart.
    const isHarmless = wrong.includes("restart") && /opcode|stray/.test(segments.join("/"));
    segments.push(isHarmless ? "nothing" : wrong);
    statuses.splice(0, 1, 404);
  }
  const path = `/${segments.join("/")}`;
  if (path.length > 64_000) statuses.splice(0, 1, 431);
  const isUpgraded = statuses[0] === status;
  return {
    path,
    statuses,
    isClean: isClean && isUpgraded && isOpen,
    ends: ends || !isUpgraded,
    isCase: false,
  };
}

/** Makes a request for a case. */
function mirrored(random: Random): Program {
  const { target, statuses, isMessage } = mirrorPlanOf(random);
  return { path: target, statuses, isClean: isMessage, ends: true, isCase: statuses[0] !== 404 };
}

/** Makes a request with its expected result. */
export function planOf(random: Random): Plan {
  const program = random.chance(0.1) ? mirrored(random) : programOf(random);
  const { path, isCase } = program;
  const statuses = [...program.statuses];
  const [status] = statuses;
  const fields = new Map([
    ["Host", "Host: 127.0.0.1"],
    ["Upgrade", "Upgrade: websocket"],
    ["Connection", "Connection: Upgrade"],
    ["Sec-WebSocket-Version", "Sec-WebSocket-Version: 13"],
    ["Sec-WebSocket-Key", `Sec-WebSocket-Key: ${KEY}`],
  ]);
  if (random.chance(0.5)) {
    fields.set("Sec-WebSocket-Extensions", `Sec-WebSocket-Extensions: ${random.pick(OFFERS)}`);
  }
  if (random.chance(0.1)) {
    const [line, refused] = random.pick(WRONG_FIELDS);
    fields.set(line.split(":")[0] ?? "", line);
    const isStranger = line.startsWith("Host") || line.startsWith("Origin");
    if (isCase && !isStranger) statuses.push(refused);
    // The server may see either mistake first, unless one stops the request early.
    else if (isStranger || status !== 404) statuses.splice(0, statuses.length, refused);
  }
  const isAsPlanned = statuses[0] === status;
  return {
    path,
    isCase,
    head: [`GET ${path} HTTP/1.1`, ...fields.values(), "", ""].join("\r\n"),
    statuses,
    isClean: program.isClean && isAsPlanned,
    ends: program.ends || !isAsPlanned,
  };
}
