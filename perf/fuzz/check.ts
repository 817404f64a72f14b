/**
 * The cases of `check` against a server whose answers change on the way: bytes flipped, dropped, doubled, invented, or
 * cut off. Every case must end in time with a grade, and none may throw. The accept-key case never passes a wrong key.
 *
 *     deno task perf:fuzz:check --count 5000
 */

import { GRADES } from "../../lib/check/case.ts";
import { CASES } from "../../lib/check/cases/mod.ts";
import { wireLines } from "../../lib/check/report.ts";
import { runCase } from "../../lib/check/run_case.ts";
import { conclude, FLAGS, readSettings, runTries, startTarget, type Target, within } from "./harness.ts";
import type { Random } from "./random.ts";

/** Concurrent cases. */
const AT_ONCE = 32;

/** Only the case that compares the accept key. */
const ACCEPT_KEYS = CASES.filter(({ id }) => id === "6455/4.2.2/accept-key");

/** Deadlines of a case, then of its cleanup, in milliseconds. */
const CASE_TIMEOUT_MS = 2000;
const LET_GO_MS = 60_000;

/** Range of a change, in bytes: in the handshake answer, or in the frames after it. */
const [HEAD_BYTES, FRAMES_BYTES] = [160, 600];

type Change = (random: Random, bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | undefined;

const CHANGES: readonly Change[] = [
  (random, bytes) => {
    bytes[0] = (bytes[0] ?? 0) ^ (1 << random.below(8));
    return bytes;
  },
  (random, bytes) => {
    bytes[0] = random.below(256);
    return bytes;
  },
  (random, bytes) => bytes.subarray(1 + random.below(4)),
  (random, bytes) => joined(bytes.subarray(0, 1 + random.below(40)), bytes),
  (random, bytes) => joined(random.bytes(1 + random.below(200)), bytes),
  (random) => random.bytes(2000),
  // The end of TCP.
  () => undefined,
];

function joined(one: Uint8Array, other: Uint8Array): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(one.byteLength + other.byteLength);
  all.set(one);
  all.set(other, one.byteLength);
  return all;
}

/** Forwards bytes, and changes them at a random offset. */
async function passOn(random: Random, from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const at = random.chance(0.3) ? random.below(HEAD_BYTES) : HEAD_BYTES + random.below(FRAMES_BYTES);
  const change = random.pick(CHANGES);
  const buffer = new Uint8Array(64 * 1024);
  for (let passed = 0;;) {
    const count = await from.read(buffer);
    if (count === null) return;
    let bytes: Uint8Array<ArrayBuffer> | undefined = buffer.slice(0, count);
    if (passed <= at && at < passed + count) {
      const changed = change(random, bytes.slice(at - passed));
      bytes = changed && joined(bytes.subarray(0, at - passed), changed);
    }
    passed += count;
    if (bytes === undefined) return;
    for (let sent = 0; sent < bytes.byteLength;) {
      const piece = random.chance(0.2) ? 1 + random.below(30) : bytes.byteLength;
      sent += await to.write(bytes.subarray(sent, sent + piece));
    }
  }
}

/** Replaces the accept key. */
async function changeAccept(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(4096);
  const count = await from.read(buffer) ?? 0;
  const text = new TextDecoder("latin1").decode(buffer.subarray(0, count));
  const changed = text.replace(
    /^(sec-websocket-accept: )(.)/im,
    (_, name, first) => name + (first === "A" ? "B" : "A"),
  );
  await to.write(Uint8Array.from(changed, (char) => char.charCodeAt(0)));
  await from.readable.pipeTo(to.writable);
}

/** A proxy for one connection. */
function proxy(random: Random, { hostname, port }: Target, breaksAccept: boolean): Disposable & { readonly url: URL } {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open: Deno.Conn[] = [];
  const close = (conn: Deno.Conn) => {
    try {
      conn.close();
    } catch {
      // Already closed.
    }
  };
  (async () => {
    const client = await listener.accept();
    open.push(client);
    const server = await Deno.connect({ hostname, port });
    open.push(server);
    const back = breaksAccept ? changeAccept(server, client) : passOn(random, server, client);
    back.catch(() => {}).finally(() => close(client));
    const buffer = new Uint8Array(64 * 1024);
    for (let count = await client.read(buffer); count !== null; count = await client.read(buffer)) {
      for (let sent = 0; sent < count;) sent += await server.write(buffer.subarray(sent, count));
    }
    await server.closeWrite();
  })().catch(() => {});
  return {
    url: new URL(`ws://127.0.0.1:${listener.addr.port}/`),
    [Symbol.dispose]() {
      listener.close();
      open.forEach(close);
    },
  };
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args, 5000);
  const found: string[] = [];
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    found.push(`nobody catches ${event.reason}`);
  });
  const words = ["--port", "0", "--log", "none", "--transport", "wire"];
  const target = await startTarget("wire", ["run", ...FLAGS, "server.ts", ...words]);
  const cases = CASES.filter(({ group }) => group !== "sizes" && group !== "stress");
  const since = performance.now();
  const seen = new Map<string, number>();
  found.push(
    ...await runTries(settings, AT_ONCE, async (random) => {
      const breaksAccept = random.chance(0.1);
      const test = random.pick(breaksAccept ? ACCEPT_KEYS : cases);
      using changing = proxy(random, target, breaksAccept);
      const run = runCase(test, { url: changing.url, caseTimeoutMs: CASE_TIMEOUT_MS, echoes: true });
      const result = await within(run, `the end of ${test.id}`, LET_GO_MS);
      wireLines(result);
      const key = breaksAccept ? `wrong accept key, ${result.grade}` : result.grade;
      seen.set(key, (seen.get(key) ?? 0) + 1);
      if (!GRADES.includes(result.grade)) return `${test.id} gets the grade ${result.grade}`;
      return breaksAccept && result.grade === "pass" ? "a wrong accept key passes" : undefined;
    }),
  );
  console.log([...seen].sort().map(([grade, count]) => `${grade}: ${count}`).join(", "));
  found.push(...await target.stop());
  return conclude("cases", settings.count, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
