/**
 * Fills the server with as many peers as the files of deploy/ admit, under their memory limit: a cgroup that kills a
 * larger server. Linux, as root, with `ulimit -n` above the number of connections.
 *
 * `limits.ts [manifest | unit]`: both by default. `limits.ts load URL KIND COUNT` is a process of peers.
 */

import { constants, deflateRawSync } from "node:zlib";
import { exchange } from "../lib/client/exchange.ts";
import { encodeFrame, OPCODE } from "../lib/protocol/frame.ts";
import { writeAll } from "../lib/net/dial.ts";
import { requestHead } from "../tests/support/raw_peer.ts";
import { readMebibytes, readStandIns } from "./support.ts";

const MIB = 1024 * 1024;
const TOKEN = "sesame";
const CGROUP = "/sys/fs/cgroup/memory/wsproof-limits";

/** Peers per process: a single process would need too many descriptors, and be slower than the server. */
const PEERS_OF_A_PROCESS = 2500;

/** Peers of a process that start at once. */
const AT_ONCE = 16;

/** Deadline for the peers to do their work, in milliseconds: 40 s. */
const LOAD_TIMEOUT_MS = 40_000;

/** Duration of endless peers, in milliseconds: 5 s. */
const ENDLESS_MS = 5000;

const masked = (opcode: number, payload: Uint8Array, final = true) =>
  encodeFrame(opcode, payload, { final, maskingKey: Uint8Array.of(1, 2, 3, 4) });
const letters = (bytes: number) => new Uint8Array(bytes).fill(97);

/** Random letters, which hardly get shorter, compressed by themselves (RFC 7692 section 7.2.1). */
function deflated(bytes: number): Uint8Array {
  const text = Uint8Array.from({ length: bytes }, () => 97 + Math.floor(Math.random() * 26));
  return deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
}

/** The same frame with RSV1: its message is compressed. */
function marked(frame: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  frame[0] = (frame[0] ?? 0) | 0x40;
  return frame;
}

const COMPRESSED = marked(masked(OPCODE.text, deflated(4000)));
const COMPRESSED_64 = marked(masked(OPCODE.text, deflated(65_000), false));
const FILLING = masked(OPCODE.binary, new Uint8Array(320 * 1024));
const UNFINISHED_64 = masked(OPCODE.text, letters(65_000), false);
const UNFINISHED_4 = masked(OPCODE.text, letters(4_000), false);
const COMPLETE = masked(OPCODE.text, letters(60_000));
const ANNOUNCED = masked(OPCODE.text, letters(MIB - 1), false).subarray(0, 1024);

/** Fills every read, so that the read buffer reaches its largest size, and reads the echo. */
async function growBuffer(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  const reading = (async () => {
    for (let got = 0; got < FILLING.byteLength - 4;) got += await conn.read(buffer) ?? Infinity;
  })();
  await writeAll(conn, FILLING);
  await reading;
}

/** Sends a compressed message and reads the echo: both directions have used their contexts. */
async function useContexts(conn: Deno.Conn): Promise<void> {
  const reading = (async () => {
    const buffer = new Uint8Array(16 * 1024);
    // The server compresses it again, a little longer or shorter.
    for (let got = 0; got < COMPRESSED.byteLength / 2;) got += await conn.read(buffer) ?? Infinity;
  })();
  await writeAll(conn, COMPRESSED);
  await reading;
}

/** The action of each peer, which then holds. Peers with compressed messages offer compression. */
const KINDS: Record<string, (conn: Deno.Conn) => Promise<void>> = {
  "nothing": () => Promise.resolve(),
  "65,000 bytes of text without end, and a grown read buffer": async (conn) => {
    await growBuffer(conn);
    await writeAll(conn, UNFINISHED_64);
  },
  "65,000 bytes of text without end": (conn) => writeAll(conn, UNFINISHED_64),
  "4,000 bytes of text without end, and a grown read buffer": async (conn) => {
    await growBuffer(conn);
    await writeAll(conn, UNFINISHED_4);
  },
  "60,000 bytes of text that it does not read": async (conn) => {
    while (true) await writeAll(conn, COMPLETE);
  },
  "1 KiB of text of which 1 MiB is announced": (conn) => writeAll(conn, ANNOUNCED),
  "the contexts of a compressed message each way": useContexts,
  "such contexts, and 65,000 bytes of compressed text without end": async (conn) => {
    await useContexts(conn);
    await writeAll(conn, COMPRESSED_64);
  },
  "compressed text that it does not read": async (conn) => {
    while (true) await writeAll(conn, COMPRESSED);
  },
};

/** Peers of one kind, until standard input ends; prints how many were refused, and how many have done their work. */
async function load(url: string, kind: string, count: number): Promise<void> {
  const act = KINDS[kind];
  if (act === undefined) throw new Error(`No such kind: ${kind}`);
  const { hostname, port } = new URL(url);
  const head = new TextEncoder().encode(requestHead({
    Authorization: `Bearer ${TOKEN}`,
    ...(kind.includes("compressed") && { "Sec-WebSocket-Extensions": "permessage-deflate" }),
  }));
  const late = new Promise<void>((resolve) => setTimeout(resolve, LOAD_TIMEOUT_MS));
  let refused = 0;
  let left = count;
  let done = 0;
  // Some kinds never end.
  const isEndless = /not read/.test(kind);
  const run = async () => {
    while (left-- > 0) {
      try {
        const conn = await Deno.connect({ hostname, port: Number(port) });
        kept.push(conn);
        await writeAll(conn, head);
        const answer = new Uint8Array(1024);
        await conn.read(answer);
        if (!new TextDecoder().decode(answer).startsWith("HTTP/1.1 101")) refused++;
        const acting = act(conn).then(() => done++, () => {});
        if (!isEndless) await Promise.race([acting, late]);
      } catch {
        // Dropped.
      }
    }
  };
  // Kept, as garbage collection closes a connection.
  const kept: Deno.Conn[] = [];
  await Promise.race([Promise.all(Array.from({ length: AT_ONCE }, run)), late]);
  // Endless peers go on until the server reads no more.
  if (isEndless) await new Promise((resolve) => setTimeout(resolve, ENDLESS_MS));
  console.log(refused, done);
  await Deno.stdin.readable.getReader().read();
  Deno.exit(kept.length === 0 ? 1 : 0);
}

/** The limits in a file of deploy/. */
interface Shipped {
  readonly name: string;
  readonly env: Readonly<Record<string, string>>;
  readonly limitMib: number;
  readonly connections: number;
}

async function readShipped(name: string): Promise<Shipped> {
  const file = name === "manifest" ? "kubernetes.yaml" : "wsproof.service";
  const text = await Deno.readTextFile(new URL(`../deploy/${file}`, import.meta.url));
  const pairs = name === "manifest"
    ? text.matchAll(/- name: (WSPROOF_\w+)\n +value: "?([^"\n]+)/g)
    : text.matchAll(/\b(WSPROOF_\w+)=(\S+)/g);
  const env = Object.fromEntries([...pairs].map(([, key = "", value = ""]) => [key, value]));
  const [, number, unit] = /(?:limits:\n +memory: |MemoryMax=)(\d+)([MG])/.exec(text) ?? [];
  const connections = Number(env.WSPROOF_MAX_CONNECTIONS);
  if (!number || !(connections > 0)) throw new Error(`${file} sets no memory limit, or no number of connections`);
  return { name, env, limitMib: Number(number) * (unit === "G" ? 1024 : 1), connections };
}

async function fill({ name, env, limitMib, connections }: Shipped, kind: string, standIns: string[]): Promise<void> {
  await Deno.mkdir(CGROUP).catch(() => {});
  await Deno.writeTextFile(`${CGROUP}/memory.limit_in_bytes`, `${limitMib * MIB}`);
  await Deno.writeTextFile(`${CGROUP}/memory.max_usage_in_bytes`, "0").catch(() => {});
  const words = [
    "run",
    "--no-prompt",
    ...standIns,
    "--allow-net",
    "--allow-read",
    "--allow-env=WSPROOF_*",
    "server.ts",
  ];
  const server = new Deno.Command("sh", {
    args: ["-c", `echo $$ > ${CGROUP}/cgroup.procs; exec "$0" "$@"`, Deno.execPath(), ...words],
    env: { ...env, WSPROOF_TOKEN: TOKEN, WSPROOF_HOST: "127.0.0.1", WSPROOF_PORT: "0", WSPROOF_LOG: "json" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let isOver = false;
  server.status.then(() => isOver = true);
  let url = "";
  let shed = 0;
  const listening = Promise.withResolvers<void>();
  const reading = (async () => {
    let text = "";
    for await (const piece of server.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (text + piece).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const event = JSON.parse(line);
        if (event.type === "listening") url = event.url;
        if (event.type === "closed" && /too much pending/.test(event.error + event.sent?.reason)) shed++;
        listening.resolve();
      }
    }
  })();
  await listening.promise;
  const loads = Array.from({ length: Math.ceil(connections / PEERS_OF_A_PROCESS) }, (_, at) => {
    const count = Math.min(PEERS_OF_A_PROCESS, connections - at * PEERS_OF_A_PROCESS);
    return new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", ...standIns, "perf/limits.ts", "load", url, kind, `${count - (at === 0 ? 10 : 0)}`],
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
  });
  const ready = loads.map(async ({ stdout }) => {
    const reader = stdout.pipeThrough(new TextDecoderStream()).getReader();
    const { value = "" } = await reader.read();
    reader.cancel().catch(() => {});
    return value.trim().split(" ").map(Number);
  });
  const timer = setTimeout(() => loads.forEach((each) => each.kill()), 2 * LOAD_TIMEOUT_MS);
  const counts = await Promise.all(ready);
  const sum = (at: number) => counts.reduce((sum, each) => sum + (each[at] ?? 0), 0);
  clearTimeout(timer);
  const { verdict } = await exchange(url, { headers: new Headers({ authorization: `Bearer ${TOKEN}` }) });
  const most = Number(await Deno.readTextFile(`${CGROUP}/memory.max_usage_in_bytes`)) / MIB;
  const resident = await readMebibytes(server.pid, "VmHWM");
  const end = isOver ? "the server was ended" : verdict;
  const cells = [name, connections, kind, limitMib, Math.round(most), Math.round(resident), shed, sum(0), sum(1), end];
  console.log(`| ${cells.join(" | ")} |`);
  for (const each of loads) await each.stdin.close().catch(() => {});
  await Promise.all(loads.map(({ status }) => status));
  if (!isOver) server.kill("SIGKILL");
  await Promise.all([server.status, reading]);
  await Deno.remove(CGROUP).catch(() => {});
}

if (import.meta.main) {
  const [command = "", ...rest] = Deno.args;
  if (command === "load") {
    const [url = "", kind = "", count = ""] = rest;
    await load(url, kind, Number(count));
  } else {
    const standIns = await readStandIns();
    const names = command === "" ? ["manifest", "unit"] : [command];
    const kinds = rest.length > 0 ? Object.keys(KINDS).filter((_, at) => rest.includes(`${at}`)) : Object.keys(KINDS);
    console.log(
      "| settings | peers | each holds | limit, MiB | cgroup, MiB | resident, MiB | 1013 | refused | done | an exchange |",
    );
    for (const name of names) {
      for (const kind of kinds) await fill(await readShipped(name), kind, standIns);
    }
  }
}
