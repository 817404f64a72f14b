/**
 * A fuzzer of lab programs: random paths of valid and invalid steps, and of cases for clients, for clients that behave, flood,
 * break the protocol or leave. A finding is a crash, a hang, a line on stderr, memory over a bound, a wrongly accepted or
 * refused program, or a bad frame that no step makes.
 *
 *     deno task perf:fuzz:lab --count 50000
 */

import { acceptKeyFor } from "../../lib/protocol/handshake.ts";
import { encodeFrame, FrameDecoder, OPCODE } from "../../lib/protocol/frame.ts";
import { messageOf } from "../../lib/protocol/error.ts";
import { conclude, FLAGS, MAX_FINDINGS, readSettings, startTarget } from "./harness.ts";
import { KEY, type Plan, planOf } from "./lab_plan.ts";
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
  if (!plan.isCase && /\/(no|bad)-accept/.test(plan.path) === isAcceptRight && end > 4 && !/\/half/.test(plan.path)) {
    tell("the accept key is not as the steps say");
  }
  if (!plan.isClean) return status;
  const decoder = new FrameDecoder("server", { onHeader() {}, onData() {}, onControl() {} }, {
    allowsCompressed: true,
  });
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
  const lab = await startTarget("lab", ["run", ...FLAGS, "server.ts", "--lab", "--port", "0", "--log", "json"], {
    onLine,
  });
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
