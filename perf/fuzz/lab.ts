/**
 * A fuzzer of lab programs: random paths of valid and invalid steps, for clients that behave, flood, break the protocol
 * or leave. A finding is a crash, a hang, a line on stderr, memory over a bound, a wrongly accepted or refused program,
 * or a bad frame that no step makes.
 *
 *     deno task perf:fuzz:lab --count 50000
 */

import { acceptKeyFor } from "../../lib/protocol/handshake.ts";
import { encodeFrame, FrameDecoder, OPCODE } from "../../lib/protocol/frame.ts";
import { messageOf } from "../../lib/protocol/error.ts";
import { conclude, FLAGS, MAX_FINDINGS, readSettings, startTarget } from "./harness.ts";
import { Random } from "./random.ts";

const MIB = 1024 ** 2;

/** Concurrent programs. */
const CONCURRENCY = 32;
/** Deadline for one program, or one answer to `GET /`, in milliseconds: shorter than the life of a lab connection. */
const DEADLINE_MS = 50_000;
/** The memory limit of the lab, in MiB. */
const MAX_MEBIBYTES = 512;
/** Programs between two looks at memory and `GET /`. */
const LOOK_EVERY = 500;
/** The expected answer to a request, as far as path and fields decide. */
interface Plan {
  /** The request line and the fields. */
  readonly head: string;
  /** The correct statuses; 0 stands for no HTTP, or nothing. */
  readonly statuses: readonly number[];
  /** Whether all frames must be well-formed. */
  readonly isClean: boolean;
  /** Whether the lab ends the connection by itself after the client's close frame. */
  readonly ends: boolean;
  readonly path: string;
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

/** So few of each that the bounds are far. */
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
  // Without a reason the next segment would become one.
  (random: Random) => `answer-close/${random.whole(0, 65535)}/bye`,
  () => "ignore-close",
  () => "drop-on-close",
  (random: Random) => `late-close/${random.whole(1, 5)}`,
  () => "data-after-close",
] as const;

const HANDSHAKES = ["bad-accept", "no-accept", "wrong-protocol", "unasked-protocol", "unasked-extension"] as const;

/** Invalid steps, after any path. */
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

/** Field values whose request is refused for any path, with the status. */
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

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

/** Makes a program with its expected answer. */
function planOf(random: Random): Plan {
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
    // A message that does not start with its opcode does not start twice.
    const isHarmless = wrong.includes("restart") && /opcode|stray/.test(segments.join("/"));
    segments.push(isHarmless ? "nothing" : wrong);
    statuses.splice(0, 1, 404);
  }
  const path = `/${segments.join("/")}`;
  const fields = new Map([
    ["Host", "Host: 127.0.0.1"],
    ["Upgrade", "Upgrade: websocket"],
    ["Connection", "Connection: Upgrade"],
    ["Sec-WebSocket-Version", "Sec-WebSocket-Version: 13"],
    ["Sec-WebSocket-Key", `Sec-WebSocket-Key: ${KEY}`],
  ]);
  if (random.chance(0.1)) {
    const [line, refused] = random.pick(WRONG_FIELDS);
    fields.set(line.split(":")[0] ?? "", line);
    // Host and Origin are checked before the path, other fields after.
    if (line.startsWith("Host") || line.startsWith("Origin") || statuses[0] !== 404) statuses.splice(0, 1, refused);
  }
  if (path.length > 64_000) statuses.splice(0, 1, 431);
  const isUpgraded = statuses[0] === status;
  return {
    path,
    head: [`GET ${path} HTTP/1.1`, ...fields.values(), "", ""].join("\r\n"),
    statuses,
    isClean: isClean && isUpgraded && isOpen,
    ends: ends || !isUpgraded,
  };
}

/** The result of some programs. */
export interface LabFuzzResult {
  /** The faults, each with its program; at most 20. */
  readonly findings: readonly string[];
  /** The number of programs, by the manner of the client. */
  readonly counts: ReadonlyMap<string, number>;
  /** The number of accepted programs: the answer was 101. */
  readonly taken: number;
}

/** Options of {@linkcode fuzzLab}. */
export interface LabFuzzOptions {
  /** The number of programs. */
  readonly count: number;
  /** The seed of the random numbers. */
  readonly seed: number;
  /** Called after every 500 programs; its result is a finding. */
  readonly look?: () => Promise<string | undefined>;
}

/**
 * Runs random programs against a lab.
 *
 * @param url The `ws:` URL of the lab.
 * @param options The number and the seed.
 * @returns The result.
 */
export async function fuzzLab(url: string, { count, seed, look }: LabFuzzOptions): Promise<LabFuzzResult> {
  const findings: string[] = [];
  const counts = new Map<string, number>();
  let [begun, taken] = [0, 0];
  const work = async () => {
    while (begun < count && findings.length < MAX_FINDINGS) {
      const number = begun++;
      const random = new Random(seed * 1_000_003 + number);
      const plan = planOf(random);
      const manner = random.pick(MANNERS);
      counts.set(manner, (counts.get(manner) ?? 0) + 1);
      const tell = (what: string) =>
        findings.push(
          `program ${number} of seed ${seed}, ${manner}: ${what}: ${JSON.stringify(plan.head.slice(0, 600))}`,
        );
      try {
        if (await runProgram(url, plan, manner, random, tell) === 101) taken++;
      } catch (error) {
        tell(messageOf(error));
      }
      if (number % LOOK_EVERY !== LOOK_EVERY - 1) continue;
      const problem = await answerTime(url) ?? await look?.();
      if (problem !== undefined) findings.push(`after program ${number} of seed ${seed}: ${problem}`);
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return { findings, counts, taken };
}

async function answerTime(url: string): Promise<string | undefined> {
  try {
    const answer = await fetch(url.replace("ws:", "http:"), { signal: AbortSignal.timeout(DEADLINE_MS) });
    await answer.body?.cancel();
    return answer.status === 200 ? undefined : `GET / is answered with ${answer.status}`;
  } catch (error) {
    return `GET / is not answered: ${messageOf(error)}`;
  }
}

/** The manner of a client. */
const MANNERS = ["behaves", "behaves", "floods", "breaks the protocol", "leaves", "leaves in the head"] as const;
type Manner = typeof MANNERS[number];

/** Runs one program; returns the status of the answer, 0 if there is none. */
async function runProgram(
  url: string,
  plan: Plan,
  manner: Manner,
  random: Random,
  tell: (what: string) => void,
): Promise<number> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const timer = setTimeout(() => {
    tell("the lab does not end the connection in time");
    connection.close();
  }, DEADLINE_MS);
  try {
    const head = new TextEncoder().encode(plan.head);
    if (manner === "leaves in the head") {
      await writeAll(connection, head.subarray(0, random.whole(0, head.byteLength - 1)));
      return 0;
    }
    // Reads while writing, or both sides would wait for each other.
    const reading = manner === "leaves" ? undefined : readToEnd(connection);
    await writeAll(connection, head).catch(ignore);
    await writeAll(connection, trafficOf(plan, manner, random)).catch(ignore);
    if (manner === "leaves") {
      if (random.chance(0.5) && !plan.path.includes("silent")) await connection.read(new Uint8Array(64)).catch(ignore);
      return 0;
    }
    // The client ends a connection that the lab does not end.
    if (!plan.ends || manner !== "behaves") await connection.closeWrite().catch(ignore);
    const { bytes, isReset } = await (reading ?? readToEnd(connection));
    return judge(plan, bytes, isReset, tell);
  } finally {
    clearTimeout(timer);
    try {
      connection.close();
    } catch {
      // The deadline was faster.
    }
  }
}

function ignore(): null {
  // The lab may be the one that ends the connection.
  return null;
}

/** The client's frames after the handshake. */
function trafficOf({ path }: Plan, manner: Manner, random: Random): Uint8Array<ArrayBuffer> {
  const frames: Uint8Array<ArrayBuffer>[] = [];
  const mask = () => ({ maskingKey: random.bytes(4) });
  const text = () => new TextEncoder().encode(random.pick(["", "a", "Hello", "aé€😀", "x".repeat(200)]));
  const kind = random.pick([OPCODE.text, OPCODE.binary, OPCODE.ping]);
  // If each message waits or becomes many frames, many messages take too long.
  const most = /delay|slow/.test(path) ? 10 : /extend|duplicate|restart|fragment\/|split/.test(path) ? 100 : 1000;
  const count = manner === "floods" ? random.whole(10, most) : random.whole(0, 4);
  for (let made = 0; made < count; made++) {
    const payload = manner === "floods" && kind !== OPCODE.binary ? new Uint8Array(0) : text();
    const opcode = manner === "floods" ? kind : random.pick([OPCODE.text, OPCODE.binary, OPCODE.ping]);
    frames.push(encodeFrame(opcode, opcode === OPCODE.ping ? payload.subarray(0, 125) : payload, mask()));
  }
  if (manner === "behaves" && random.chance(0.01)) {
    frames.push(encodeFrame(OPCODE.binary, new Uint8Array(random.whole(MIB / 4, MIB)), mask()));
  }
  if (manner === "breaks the protocol") frames.push(random.bytes(random.whole(1, 300)));
  else frames.push(encodeFrame(OPCODE.close, Uint8Array.of(0x03, 0xe8), mask()));
  const joined = new Uint8Array(frames.reduce((sum, frame) => sum + frame.byteLength, 0));
  let at = 0;
  for (const frame of frames) {
    joined.set(frame, at);
    at += frame.byteLength;
  }
  return joined;
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) at += await connection.write(bytes.subarray(at));
}

async function readToEnd(connection: Deno.Conn): Promise<{ bytes: Uint8Array<ArrayBuffer>; isReset: boolean }> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let isReset = false;
  try {
    while (true) {
      const buffer = new Uint8Array(16 * 1024);
      const count = await connection.read(buffer);
      if (count === null) break;
      pieces.push(buffer.subarray(0, count));
    }
  } catch {
    isReset = true;
  }
  return { bytes: new Uint8Array(await new Blob(pieces).arrayBuffer()), isReset };
}

function judge(
  plan: Plan,
  bytes: Uint8Array<ArrayBuffer>,
  isReset: boolean,
  tell: (what: string) => void,
): number {
  const text = new TextDecoder("latin1").decode(bytes.subarray(0, 20_000));
  const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0);
  // A reset may destroy the answer.
  if (isReset && bytes.byteLength === 0) return 0;
  if (!plan.statuses.includes(status)) tell(`answered with ${status} instead of ${plan.statuses.join(" or ")}`);
  if (status !== 101) return status;
  const end = text.indexOf("\r\n\r\n") + 4;
  const accept = /^sec-websocket-accept: (.*)$/im.exec(text.slice(0, end))?.[1]?.trim();
  const isAcceptRight = accept === acceptKeyFor(KEY);
  if (/\/(no|bad)-accept/.test(plan.path) === isAcceptRight && end > 4 && !/\/half/.test(plan.path)) {
    tell("the accept key is not as the steps say");
  }
  if (!plan.isClean) return status;
  const decoder = new FrameDecoder("server", { onHeader() {}, onData() {}, onControl() {} });
  try {
    decoder.push(bytes.slice(end));
  } catch (error) {
    tell(`frames are not well-formed (${messageOf(error)})`);
  }
  return status;
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args, 50_000);
  // Every opened connection must have closed.
  const told = { opened: 0, closed: 0 };
  const onLine = (line: string) => {
    const { type }: { type: string } = JSON.parse(line);
    if (type === "opened" || type === "closed") told[type]++;
  };
  const lab = await startTarget("lab", ["run", ...FLAGS, "server.ts", "--lab", "--port", "0", "--log", "json"], onLine);
  let most = 0;
  const look = async () => {
    const mebibytes = await lab.residentMib();
    most = Math.max(most, mebibytes);
    return mebibytes > MAX_MEBIBYTES ? `the lab takes ${Math.round(mebibytes)} MiB` : undefined;
  };
  const since = performance.now();
  const { findings, counts, taken } = await fuzzLab(`ws://${lab.hostname}:${lab.port}/`, { ...settings, look });
  const found = [...findings, ...await lab.stop()];
  if (told.opened !== told.closed) found.push(`${told.opened} connections opened, ${told.closed} closed`);
  const manners = [...counts].map(([manner, count]) => `${manner}: ${count}`).join(", ");
  console.log(`${manners}\n${taken} taken, ${told.opened} opened; ${Math.round(most)} MiB at most`);
  return conclude("lab programs", settings.count, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
