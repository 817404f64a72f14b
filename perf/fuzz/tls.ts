/**
 * Sends TLS streams that are wrong somewhere to the real server over our own frames, and judges it: `tls.ts [--count 3000]
 * [--seed 1] [--only SEED]`. A finding is a stream that the server takes and must not take, one that it does not let go of, an
 * exchange that fails meanwhile, a line on its standard error output, another end than 0, or memory that grows. Each stream
 * comes from a seed of its own, which a finding names. Exits with 1 if there is any. Linux only.
 */

import { messageOf } from "../../lib/protocol/error.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { createAuthority } from "../../tests/support/certificates.ts";
import { serverProcess } from "../../tests/support/command.ts";
import { sendTlsStream } from "../../tests/support/tls_streams.ts";
import { readMebibytes } from "../support.ts";

const WAIT = { timeoutMs: 20_000 };
/** So many streams are under way at once. */
const STREAMS_AT_ONCE = 16;
/** After each so many streams, an exchange is proven and the memory is looked at. */
const ROUND = 250;
/** By so much the memory may grow from the end of the first quarter on. */
const MAX_GROWTH_MIB = 64;

const only = option("only");
const first = only ?? option("seed") ?? 1;
const count = only === undefined ? option("count") ?? 3000 : 1;

const authority = await createAuthority();
const { cert, key } = await authority.sign("wsproof fuzz");
const directory = await Deno.makeTempDir();
await Deno.writeTextFile(`${directory}/cert.pem`, cert);
await Deno.writeTextFile(`${directory}/key.pem`, key);
const pair = ["--cert", `${directory}/cert.pem`, "--key", `${directory}/key.pem`];
const server = await serverProcess("--transport", "wire", "--quiet", ...pair);
await Deno.remove(directory, { recursive: true });
const { port } = new URL(server.url);

const findings: string[] = [];

/** An honest exchange. */
async function exchange(): Promise<void> {
  const connection = await openWire(server.url, { caCerts: [authority.cert], ...WAIT });
  await connection.send("honest");
  if (await connection.receive(WAIT) !== "honest") throw new Error("Another reply");
  const { received } = await connection.close(WAIT);
  if (received?.code !== 1000) throw new Error("Not closed with 1000");
}

let next = first;
async function sendSome(until: number): Promise<void> {
  while (next < until) {
    const seed = next++;
    const problem = await sendTlsStream(Number(port), seed);
    if (problem !== undefined) findings.push(`seed ${seed}: ${problem}`);
  }
}

const from = performance.now();
const memory: number[] = [];
while (next < first + count && findings.length < 10) {
  const until = Math.min(first + count, next + ROUND);
  await Promise.all(Array.from({ length: STREAMS_AT_ONCE }, () => sendSome(until)));
  try {
    await exchange();
  } catch (error) {
    findings.push(`after seed ${until - 1}: the honest exchange fails: ${messageOf(error)}`);
    break;
  }
  memory.push(await readMebibytes(server.child.pid, "VmRSS"));
}
const [atQuarter = 0, atEnd = 0] = [memory[memory.length >> 2], memory.at(-1)];
if (atEnd > atQuarter + MAX_GROWTH_MIB) findings.push(`memory grows: ${memory.map(Math.round).join(", ")} MiB`);

try {
  server.child.kill("SIGTERM");
} catch {
  // It has ended already, and its end is judged.
}
const { code, stderr } = await server.ended();
if (code !== 0 || stderr !== "") findings.push(`the server ends with ${code} and says: ${stderr}`);
const seconds = ((performance.now() - from) / 1000).toFixed(0);
console.log(
  `${next - first} TLS streams from seed ${first} in ${seconds} s, memory ${memory.map(Math.round).join(", ")} MiB`,
);
for (const finding of findings) console.log(finding);
console.log(`${findings.length} findings`);
Deno.exit(findings.length > 0 ? 1 : 0);

/** The number behind a name, as `--name 1` or `--name=1`. */
function option(name: string): number | undefined {
  const words = Deno.args.flatMap((word) => word.split("=", 2));
  const at = words.indexOf(`--${name}`);
  if (at === -1) return undefined;
  const value = words[at + 1] ?? "";
  if (/^\d+$/.test(value)) return Number(value);
  console.error(`Invalid --${name} "${value}": give a whole number`);
  Deno.exit(2);
}
