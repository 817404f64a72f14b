/**
 * Random peers against every echo server, and an oracle for what the server counts of them: connections, closes by code,
 * refusals by cause, messages, and bytes, in `/metrics` and in the log. It also compares descriptors before and after.
 *
 *     deno task perf:fuzz:counts --count 3000
 */

import { Compressor, OFFERS } from "./compression.ts";
import { conclude, FLAGS, makePair, readSettings, runTries, startTarget, type Target, within } from "./harness.ts";
import { Peer, Refused } from "./counts_peer.ts";
import { Tally } from "./counts_tally.ts";
import type { Random } from "./random.ts";

/** Concurrent peers: more than the servers' limit of connections, so that some get a 503. */
const AT_ONCE = 40;

/** The servers' limit of connections, and of messages in bytes. */
const MAX_CONNECTIONS = 32;
const MAX_MESSAGE_BYTES = 100_000;

/** Deadline of one peer, in milliseconds. */
const PEER_TIMEOUT_MS = 60_000;

/** Deadline for the last places to be free, in milliseconds. */
const SETTLE_TIMEOUT_MS = 20_000;

/** Descriptors that a server may have more after its peers: caches of the runtime. */
const SPARE_DESCRIPTORS = 8;

/** A server, and what its peers did. */
interface Scene {
  readonly target: Target;
  readonly isWire: boolean;
  readonly hasMetrics: boolean;
  readonly expected: Tally;
  /** Totals of its log. */
  readonly told: Tally;
  readonly descriptorsBefore: number;
}

/** What one peer does. It adds what the server has to count. */
type Act = (peer: Peer, random: Random) => Promise<void>;

const TEXTS = ["", "a", "Hello world", "é€😀", "x".repeat(125), "x".repeat(126), "ä".repeat(2500), "x".repeat(70_000)];

/** Sends messages and pings, and reads all of their answers. */
async function exchange(peer: Peer, random: Random): Promise<void> {
  for (let left = random.below(6); left > 0; left--) {
    if (random.chance(0.2)) await peer.ping(random.bytes(random.below(126)));
    const text = new TextEncoder().encode(random.pick(TEXTS));
    await peer.message(random, random.chance(0.5) ? 1 : 2, text);
  }
}

async function closeInOrder(peer: Peer, random: Random): Promise<void> {
  await peer.open(random);
  await exchange(peer, random);
  await peer.close(random.pick([0, 1000, 1001, 3000, 3500, 4000]));
}

/** Sends many messages before it reads the first echo. */
async function pile(peer: Peer, random: Random): Promise<void> {
  await peer.open(random);
  await peer.pile(random, random.whole(1, 200));
  await peer.close(1000);
}

async function compress(peer: Peer, random: Random): Promise<void> {
  const offer = random.pick(OFFERS);
  const compressor = new Compressor(!offer.includes("client_no"));
  await peer.open(random, { offer });
  for (let left = random.below(4); left > 0; left--) {
    const text = new TextEncoder().encode(random.pick(TEXTS));
    await peer.compressed(await compressor.compress(random, text), text.byteLength);
  }
  compressor.close();
  await peer.close(1000);
}

/** Frames after the head in one write, then the end of its side. */
async function early(peer: Peer, random: Random): Promise<void> {
  const isClosed = random.chance(0.5);
  await peer.openWith(random, random.below(20), isClosed);
  // Over TLS the server drops a connection without a close.
  await peer.toEnd().catch((error) => {
    if (isClosed || !(error instanceof Deno.errors.UnexpectedEof)) throw error;
  });
  peer.ended(isClosed ? "1000 peer" : "1006 none");
}

async function vanish(peer: Peer, random: Random): Promise<void> {
  await peer.open(random);
  await exchange(peer, random);
  peer.drop();
  peer.ended("1006 none");
}

/** Leaves inside a frame. */
async function breakOff(peer: Peer, random: Random): Promise<void> {
  await peer.open(random);
  await exchange(peer, random);
  await peer.raw(Uint8Array.of(0x81));
  peer.counts.add("received", 0, 1);
  peer.drop();
  peer.ended("1006 none");
}

/** Leaves an echo unread, which resets TCP. The server reads at least 512 bytes at once. */
async function reset(peer: Peer, random: Random): Promise<void> {
  await peer.open(random);
  await exchange(peer, random);
  await peer.unread(400);
  peer.drop();
  peer.ended("1006 none");
}

/** Breaks the protocol in a way that has a code. */
async function offend(peer: Peer, random: Random): Promise<void> {
  await peer.open(random);
  await exchange(peer, random);
  const [code, bytes] = random.pick<[number, number[]]>([
    [1002, [0x83, 0x80, 0, 0, 0, 0]],
    [1002, [0x81, 0x01, 0x61]],
    [1002, [0x80, 0x80, 0, 0, 0, 0]],
    [1007, [0x81, 0x81, 0, 0, 0, 0, 0xff]],
    [1009, [0x82, 0xff, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]],
  ]);
  await peer.raw(Uint8Array.from(bytes));
  peer.counts.add("received", 0, bytes.length);
  const frame = await peer.frame();
  const found = ((frame.payload[0] ?? 0) << 8) | (frame.payload[1] ?? 0);
  if (frame.opcode !== 8 || found !== code) throw new Error(`opcode ${frame.opcode}, code ${found}, not ${code}`);
  if (random.chance(0.5)) {
    const answer = Uint8Array.of(0x88, 0x80, 0, 0, 0, 0);
    await peer.raw(answer).catch(() => {});
    peer.counts.add("received", 0, answer.byteLength);
  }
  peer.ended(`${code} server`);
}

/** A request that is refused for a known cause. */
async function beRefused(peer: Peer, random: Random): Promise<void> {
  const [cause, more] = random.pick<[string, Record<string, string | undefined>]>([
    ["plain-http", { Upgrade: undefined, Connection: undefined }],
    ["version", { "Sec-WebSocket-Version": "12" }],
    ["bad-handshake", { "Sec-WebSocket-Key": "short" }],
    ["host", { Host: "elsewhere.example" }],
  ]);
  const status = await peer.ask(random, more);
  if (status < 400) throw new Error(`status ${status} for ${cause}`);
  peer.counts.add(`refused ${cause}`, 1);
}

async function comeAndGo(peer: Peer, random: Random): Promise<void> {
  await peer.connect();
  if (random.chance(0.5)) await peer.raw(new TextEncoder().encode("GET / HT"));
}

/** Sends its head and leaves: it may be let in or not, and gone before or after its upgrade. */
async function leaveAtOnce(peer: Peer, random: Random): Promise<void> {
  await peer.sendHead(random);
  for (const name of ["accepted", "closed 1006 none", "refused gone", "refused connections"]) {
    peer.counts.add(name, 0, 1);
  }
}

const BOTH: readonly Act[] = [closeInOrder, closeInOrder, pile, early, vanish, breakOff, reset, beRefused, comeAndGo];
const WIRE: readonly Act[] = [...BOTH, compress, offend, leaveAtOnce];

async function act(scene: Scene, random: Random): Promise<string | undefined> {
  const { target, isWire, expected } = scene;
  if (!target.isAlive()) return `${target.name} has ended`;
  const peer = new Peer(target, isWire);
  const behave = random.pick(isWire ? WIRE : BOTH);
  try {
    await within(behave(peer, random), "a peer's end", PEER_TIMEOUT_MS);
  } catch (error) {
    if (!(error instanceof Refused)) return `${target.name}, ${behave.name}: ${error}`;
    peer.counts.add("refused connections", 1);
  } finally {
    peer.drop();
    expected.addAll(peer.counts);
  }
  return undefined;
}

async function start(
  name: string,
  args: readonly string[],
  { caCert, env, isWire = true, hasMetrics = true }: {
    caCert?: string;
    env?: Record<string, string>;
    isWire?: boolean;
    hasMetrics?: boolean;
  } = {},
): Promise<Scene> {
  const told = new Tally();
  const onLine = (line: string) => line.startsWith("{") && told.addLine(JSON.parse(line));
  const target = await startTarget(name, args, {
    onLine,
    ...(caCert !== undefined && { caCert }),
    ...(env && { env }),
  });
  const scene = { target, isWire, hasMetrics, expected: new Tally(), told, descriptorsBefore: 0 };
  // The first connections make the runtime open what it keeps.
  const peer = new Peer(target, isWire);
  await peer.ask(undefined, { Upgrade: undefined, Connection: undefined });
  peer.drop();
  scene.expected.add("refused plain-http", 1);
  return { ...scene, descriptorsBefore: target.descriptors() };
}

/** Compares the counts with what the peers did. */
async function differencesOf(
  { target, hasMetrics, expected, told, descriptorsBefore, isWire }: Scene,
): Promise<string[]> {
  const found: string[] = [];
  let counted = new Tally();
  const deadline = performance.now() + SETTLE_TIMEOUT_MS;
  while (performance.now() < deadline) {
    if (hasMetrics) counted = await metricsOf(target, isWire);
    const isSettled = hasMetrics ? counted.least("open") === 0 : told.least("opened") === told.least("closed");
    if (isSettled && target.descriptors() <= descriptorsBefore + SPARE_DESCRIPTORS) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (target.descriptors() > descriptorsBefore + SPARE_DESCRIPTORS) {
    found.push(`${target.name}: ${target.descriptors()} descriptors, before ${descriptorsBefore}`);
  }
  if (hasMetrics) {
    found.push(...counted.outside(expected, isWire).map((words) => `${target.name}, /metrics: ${words}`));
    const ends = counted.sum("closed ") + counted.least("refused gone");
    const accepted = counted.least("accepted");
    if (accepted !== ends) found.push(`${target.name}: ${accepted} accepted, ${ends} ended`);
  }
  found.push(...(await target.stop()).map((words) => `${target.name}: ${words}`));
  if (told.least("opened") !== told.least("closed")) {
    found.push(`${target.name}: the log has an opened without its closed`);
  }
  found.push(...told.outside(expected, isWire).map((words) => `${target.name}, log: ${words}`));
  return found;
}

async function metricsOf(target: Target, isWire: boolean): Promise<Tally> {
  const peer = new Peer(target, isWire);
  const body = await peer.page("/metrics");
  peer.drop();
  return Tally.ofMetrics(body);
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args, 3000);
  const limits = ["--max-connections", `${MAX_CONNECTIONS}`, "--max-message", `${MAX_MESSAGE_BYTES}`];
  const run = ["run", ...FLAGS, "--unstable-net", "server.ts", "--port", "0", "--log", "json", ...limits];
  const wire = [...run, "--transport", "wire"];
  const pair = await makePair();
  const scenes = await Promise.all([
    start("builtin", run, { isWire: false }),
    start("wire", wire),
    start("two workers", [...wire, "--workers", "2"]),
    start("wire TLS", [...wire, ...pair.args], pair),
    start("deno serve", ["serve", ...FLAGS, "--host", "127.0.0.1", "--port", "0", "handler.ts"], {
      env: {
        WSPROOF_LOG: "json",
        WSPROOF_MAX_CONNECTIONS: `${MAX_CONNECTIONS}`,
        WSPROOF_MAX_MESSAGE: `${MAX_MESSAGE_BYTES}`,
        WSPROOF_ALLOW_HOST: "127.0.0.1",
      },
      isWire: false,
      hasMetrics: false,
    }),
  ]);
  await pair.remove();
  const since = performance.now();
  const found = await runTries(settings, scenes.length * AT_ONCE, async (random, index) => {
    const scene = scenes[index % scenes.length];
    return scene && await act(scene, random);
  });
  for (const scene of scenes) {
    const mib = await scene.target.residentMib();
    const differences = await differencesOf(scene);
    found.push(...differences);
    console.log(
      `${scene.target.name}: ${scene.expected.least("accepted")} connections, ${mib.toFixed(0)} MiB at the end`,
    );
  }
  return conclude("counts", settings.count, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
