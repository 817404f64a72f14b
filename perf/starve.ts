/**
 * Floods the server over our own frames from another process, and measures others meanwhile: `GET /healthz`, each on
 * its own connection, and the round trip of a message of 20 bytes. Prints a Markdown table. Linux only.
 *
 * `starve.ts [SECONDS [KINDS [COUNTS [DOORS]]]]`: lists separated by commas; by default 4 s of each kind of
 * `starve_load.ts` by 1, 4 and 64 peers through the doors `wire`, `wire-rate` (with `--rate 1000,10MiB`) and
 * `wire-tls`. The doors `builtin` and `wire-workers` and the kind `deflated` exist, too.
 */

import { createAuthority } from "../tests/support/certificates.ts";
import { maskedFrame, unfinishedHead } from "./sockets.ts";
import { deno, median, readStandIns, type Server, start } from "./support.ts";

const [seconds = "4", kinds = "pings,empty,fragments,large", counts = "1,4,64", doors = "wire,wire-rate,wire-tls"] =
  Deno.args;
const RATE = ["--rate", "1000,10MiB"];
const PROBE_PAUSE_MS = 20;
/** Deadline of a probe, in milliseconds; a later one counts as this long. */
const PROBE_LIMIT_MS = 20_000;

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const folder = await Deno.makeTempDir();
const authority = await createAuthority();
const certificate = await authority.sign("127.0.0.1");
const files = { ca: `${folder}/ca.pem`, cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
await Deno.writeTextFile(files.ca, authority.cert);
await Deno.writeTextFile(files.cert, certificate.cert);
await Deno.writeTextFile(files.key, certificate.key);

function startDoor(door: string, standIns: readonly string[]): Promise<Server> {
  const transport = door.startsWith("builtin") ? "builtin" : "wire";
  const tls = door.endsWith("-tls") ? ["--cert", files.cert, "--key", files.key] : [];
  const rate = door.endsWith("-rate") ? RATE : [];
  const workers = door.endsWith("-workers") ? ["--workers", "2"] : [];
  const place = ["--transport", transport, "--quiet", "--port", "0", ...workers];
  return start([...standIns, "--allow-read", "--allow-env=WSPROOF_*", "server.ts", ...place, ...tls, ...rate]);
}

function connect(url: string): Promise<Deno.Conn> {
  const { protocol, hostname, port } = new URL(url);
  const where = { hostname, port: Number(port) };
  return protocol === "wss:" ? Deno.connectTls({ ...where, caCerts: [authority.cert] }) : Deno.connect(where);
}

/** Upgrades a connection for exclusive use. */
async function upgrade(conn: Deno.Conn, url: string): Promise<{ echo(): Promise<void> } & Disposable> {
  const read = async (until: (bytes: Uint8Array) => boolean) => {
    const buffer = new Uint8Array(4096);
    for (let length = 0; !until(buffer.subarray(0, length));) {
      const count = await conn.read(buffer.subarray(length));
      if (count === null) throw new Error("The server closed the connection");
      length += count;
    }
  };
  await conn.write(new Uint8Array([...unfinishedHead(url, []), 13, 10]));
  await read((bytes) => new TextDecoder().decode(bytes).endsWith("\r\n\r\n"));
  const message = maskedFrame(20);
  return {
    async echo() {
      await conn.write(message);
      // The echo has no mask.
      await read(({ byteLength }) => byteLength === message.byteLength - 4);
    },
    [Symbol.dispose]: () => conn.close(),
  };
}

async function timeOf(probe: () => Promise<unknown>): Promise<number> {
  const from = performance.now();
  await Promise.race([probe(), sleep(PROBE_LIMIT_MS)]);
  return performance.now() - from;
}

async function askHealth(url: string): Promise<void> {
  using conn = await connect(url);
  await conn.write(new TextEncoder().encode(`GET /healthz HTTP/1.1\r\nHost: ${new URL(url).host}\r\n\r\n`));
  const buffer = new Uint8Array(4096);
  const count = await conn.read(buffer) ?? 0;
  const answer = new TextDecoder().decode(buffer.subarray(0, count));
  if (!answer.startsWith("HTTP/1.1 200 ")) throw new Error(`No health: ${answer}`);
}

async function repeat(until: AbortSignal, probe: () => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  while (!until.aborted) {
    times.push(await timeOf(probe));
    await sleep(PROBE_PAUSE_MS);
  }
  return times;
}

async function measure(door: string, kind: string, count: string, standIns: readonly string[]): Promise<string> {
  await using server = await startDoor(door, standIns);
  const wsUrl = server.url;
  using peer = await upgrade(await connect(wsUrl), wsUrl);
  const roundTrip = () => peer.echo();
  for (let warm = 0; warm < 20; warm++) await Promise.all([roundTrip(), askHealth(wsUrl)]);
  const tls = door.endsWith("-tls") ? [files.ca] : [];
  const more = door.endsWith("-tls") ? ["--allow-ffi", "--allow-net", "--allow-read"] : ["--allow-ffi"];
  const args = ["run", "--quiet", "--no-prompt", ...more, "perf/starve_load.ts", wsUrl, kind, count, seconds, ...tls];
  const flood = deno(args).output();
  const end = new AbortController();
  // The flood has started.
  await sleep(500);
  const probing = Promise.all([repeat(end.signal, () => askHealth(wsUrl)), repeat(end.signal, roundTrip)]);
  await sleep(Number(seconds) * 1000 - 500);
  end.abort();
  const [health, trips] = await probing;
  const { code, stdout } = await flood;
  if (code !== 0) throw new Error(`The flood of ${kind} failed`);
  const sent = new TextDecoder().decode(stdout).trim();
  const cells = (times: readonly number[]) => `${median(times).toFixed(1)} / ${Math.max(...times).toFixed(0)}`;
  return `| ${[door, `${count} ${kind}`, cells(health), cells(trips), sent].join(" | ")} |`;
}

const standIns = await readStandIns();
console.log("| door | flood | /healthz, median / worst ms | round trip, median / worst ms | the flood |");
console.log("| :--- | :--- | ---: | ---: | :--- |");
for (const door of doors.split(",")) {
  for (const kind of kinds.split(",")) {
    for (const count of counts.split(",")) console.log(await measure(door, kind, count, standIns));
  }
}
await Deno.remove(folder, { recursive: true });
