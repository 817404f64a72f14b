/**
 * Measures how long others wait while 1,000 peers send bombs: small messages that inflate to 1,024 times as much. Beside them
 * stand floods of as many bytes that are not compressed. `deno task perf:faults bombs [SECONDS [ROUNDS [KINDS]]]`.
 *
 * Honest peers send 20 bytes every 20 ms and wait for the echo, some of them compressed; others connect every 20 ms, upgrade and
 * wait for an echo. In each round they are measured while the bombers are silent, and then for as long while they send: the
 * ratio of the two is what counts, p99 to p99 and worst to worst. A message that is late counts from when it was due.
 */

import { MessageDeflate } from "../lib/net/zlib.ts";
import { encodeFrame, OPCODE, RSV1 } from "../lib/protocol/frame.ts";
import { median, readMebibytes, type Server } from "./support.ts";

const PEERS = 1000;
const HONEST = 16;
const PERIOD_MS = 20;
const TEXT = new TextEncoder().encode("twenty bytes of text");
const SETTLE_MS = 1000;
const LOAD = ["run", "--quiet", "--no-prompt", "--no-check", "--allow-ffi", "perf/bombs_load.ts"];

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Those who bomb, and what the server may do with it. */
const KINDS: Record<
  string,
  { what: string; load: readonly [kind: string, bytes: number]; options: readonly string[] }
> = {
  small: { what: "1 KiB bombs", load: ["compressed", 1024], options: [] },
  large: { what: "1 MiB bombs", load: ["compressed", 2 ** 20], options: [] },
  allowed: {
    what: "1 MiB bombs, allowed",
    load: ["compressed", 2 ** 20],
    options: ["--max-inflate-ratio", "2000", "--max-message", "1GiB"],
  },
  "plain-small": { what: "1 KiB, plain", load: ["plain", 1024], options: [] },
  "plain-large": { what: "1 MiB, plain", load: ["plain", 2 ** 20], options: [] },
};

const direction = { takeover: false, windowBits: 15 };
const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: 1 });
const maskingKey = new Uint8Array(4);
const FRAMES = {
  plain: encodeFrame(OPCODE.text, TEXT, { maskingKey }),
  deflate: encodeFrame(OPCODE.text, codec.deflateWhole(TEXT), { maskingKey, reserved: RSV1 }),
};
type Kind = keyof typeof FRAMES;
codec.release();

/** A peer whose upgrade is done. */
async function upgrade(url: string, kind: Kind): Promise<{ echo(): Promise<void> } & Disposable> {
  const { hostname, port } = new URL(url);
  const conn = await Deno.connect({ hostname, port: Number(port) });
  conn.setNoDelay();
  const buffer = new Uint8Array(4096);
  const read = async (isWhole: (bytes: Uint8Array) => boolean) => {
    for (let length = 0; length === 0 || !isWhole(buffer.subarray(0, length));) {
      const count = await conn.read(buffer.subarray(length));
      if (count === null) throw new Error("The server closed an honest connection");
      length += count;
    }
  };
  await conn.write(new TextEncoder().encode([
    "GET / HTTP/1.1",
    `Host: ${hostname}:${port}`,
    ...["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ...kind === "deflate" ? ["Sec-WebSocket-Extensions: permessage-deflate"] : [],
    "\r\n",
  ].join("\r\n")));
  await read((bytes) => new TextDecoder().decode(bytes).endsWith("\r\n\r\n"));
  return {
    async echo() {
      await conn.write(FRAMES[kind]);
      await read(({ byteLength, 1: length = 0 }) => byteLength === 2 + length);
    },
    [Symbol.dispose]: () => conn.close(),
  };
}

/** How long each has waited, in milliseconds, by who waited. */
type Waits = Record<Kind | "new", number[]>;
let waits: Waits | undefined;

/** Does it again and again, on time. */
async function keepTime(who: keyof Waits, signal: AbortSignal, once: () => Promise<void>): Promise<void> {
  for (let due = performance.now() + Math.random() * PERIOD_MS; !signal.aborted; due += PERIOD_MS) {
    if (performance.now() < due) await sleep(due - performance.now());
    const now = performance.now();
    const from = now - due > PERIOD_MS ? due : now;
    const into = waits;
    await once();
    into?.[who].push(performance.now() - from);
  }
}

async function collect(ms: number): Promise<Waits> {
  const collected: Waits = { plain: [], deflate: [], new: [] };
  waits = collected;
  await sleep(ms);
  waits = undefined;
  return collected;
}

/** One that all but a hundredth are below. */
function p99(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * 0.99) - 1] ?? NaN;
}

interface Met {
  readonly usual: Waits;
  readonly bombed: Waits;
  readonly sent: string;
  /** The memory of the server, in MiB: before, and at most. */
  readonly mebibytes: readonly [before: number, peak: number];
}

/** A new server each time: one that has been bombed has to close 1,000 connections. */
async function meetBombs(
  begin: () => Promise<Server>,
  [kind, bytes]: readonly [string, number],
  ms: number,
): Promise<Met> {
  await using server = await begin();
  const { url, pid } = server;
  const end = new AbortController();
  const kindOf = (index: number) => index % 2 === 0 ? "plain" : "deflate";
  const peers = await Promise.all(Array.from({ length: HONEST }, (_, index) => upgrade(url, kindOf(index))));
  const honest = peers.map((peer, index) => keepTime(kindOf(index), end.signal, () => peer.echo()));
  const visit = async () => {
    using peer = await upgrade(url, "plain");
    await peer.echo();
  };
  honest.push(keepTime("new", end.signal, visit));
  // The bombers must not keep the honest from measuring.
  const child = new Deno.Command("nice", {
    args: ["-n", "19", Deno.execPath(), ...LOAD, url, kind, `${bytes}`, `${PEERS}`, `${ms}`],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  if ((await lines.read()).value !== "open\n") throw new Error("The bombers could not open");
  await sleep(SETTLE_MS);
  const before = await readMebibytes(pid, "VmRSS");
  const usual = await collect(ms);
  const input = child.stdin.getWriter();
  await input.write(new Uint8Array(1));
  const bombed = await collect(ms);
  const peak = await readMebibytes(pid, "VmHWM");
  const sent = (await lines.read()).value?.trim() ?? "";
  await input.close();
  await child.status;
  await lines.cancel();
  end.abort();
  await Promise.all(honest);
  for (const peer of peers) peer[Symbol.dispose]();
  return { usual, bombed, sent, mebibytes: [before, peak] };
}

const SCALES = { p99, worst: (values: readonly number[]) => Math.max(...values) };

/**
 * Measures, and prints a table in Markdown.
 *
 * @param begin Starts a server on one core.
 * @param words The words of the command line: seconds, rounds and kinds.
 */
export async function measureBombs(
  begin: (options: readonly string[]) => Promise<Server>,
  [seconds = "2", rounds = "5", kinds = Object.keys(KINDS).join(",")]: readonly string[],
): Promise<void> {
  const heads = Object.keys(SCALES).flatMap((scale) => [`${scale} usual, ms`, "bombed", "times"]);
  console.log(`| ${[`${PEERS} peers send`, "who waits", ...heads, "sent", "memory, MiB"].join(" | ")} |`);
  console.log(`| :--- | :--- | ${heads.map(() => "---:").join(" | ")} | :--- | ---: |`);
  for (const name of kinds.split(",")) {
    const found = KINDS[name];
    if (found === undefined) throw new Error(`There are no bombs of ${name}`);
    const { what, load, options } = found;
    const met: Met[] = [];
    for (let round = 0; round < Number(rounds); round++) {
      met.push(await meetBombs(() => begin(options), load, Number(seconds) * 1000));
    }
    const memory = [0, 1].map((at) => median(met.map(({ mebibytes }) => mebibytes[at] ?? NaN)).toFixed(0)).join(" to ");
    for (const who of ["plain", "deflate", "new"] as const) {
      const cells = Object.values(SCALES).flatMap((of) => {
        const usual = median(met.map((each) => of(each.usual[who])));
        const bombed = median(met.map((each) => of(each.bombed[who])));
        return [usual.toFixed(1), bombed.toFixed(1), (bombed / usual).toFixed(1)];
      });
      console.log(`| ${[what, who, ...cells, met.at(-1)?.sent, memory].join(" | ")} |`);
    }
  }
}
