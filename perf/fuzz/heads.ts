/**
 * Mutated opening handshakes against every server of the project: the two front doors with and without TLS, a server with
 * workers, the handler under `deno serve`, and the lab. No head may end or hang a server, make it print on standard error, or
 * be accepted although it is no handshake; every correct one must be accepted, with an extension that it offered or none.
 *
 *     deno task perf:fuzz:heads --count 50000
 */

import {
  conclude,
  connectTo,
  FLAGS,
  makePair,
  readSettings,
  runTries,
  startTarget,
  type Target,
  within,
} from "./harness.ts";
import { OFFERS, problemOf } from "./offers.ts";
import type { Random } from "./random.ts";

/** Concurrent connections. */
const AT_ONCE = 24;

/** Deadline for an answer, in milliseconds: the deadline of a head is 10 s. */
const ANSWER_TIMEOUT_MS = 25_000;

/** Delay before the drop of an endless head, in milliseconds. */
const PATIENCE_MS = 20;

type Field = [name: string, value: string];

/** A head to send, and its known properties. */
interface Head {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Whether it is a correct handshake. */
  readonly isCorrect: boolean;
}

const VALUES: Record<string, readonly string[]> = {
  Host: ["127.0.0.1", "localhost:1", "a b", "", "a/b", "<script>", "[::1", "a:99999", "127.0.0.1, 127.0.0.1", "\xff"],
  Upgrade: [
    "websocket",
    "WebSocket",
    "h2c",
    "websocket, h2c",
    "h2c, websocket",
    "websocket/13",
    "web socket",
    "",
    ",",
    "TLS/1.0, websocket",
  ],
  Connection: [
    "Upgrade",
    "upgrade",
    "keep-alive, Upgrade",
    "close",
    "keep-alive",
    "",
    "close, Upgrade",
    "Upgrade, HTTP2-Settings",
  ],
  "Sec-WebSocket-Version": ["13", "8", "14", "13, 8", "013", "+13", "", "1 3", "13.0"],
  "Sec-WebSocket-Key": [
    "dGhlIHNhbXBsZSBub25jZQ==",
    "AAAAAAAAAAAAAAAAAAAAAA==",
    "dGhlIHNhbXBsZSBub25jZR==",
    "short==",
    "",
    "=",
    "dGhlIHNhbXBsZSBub25jZQ==, x",
  ],
  "Sec-WebSocket-Protocol": ["chat", "a, b", "a,,b", "", ",", "a b", '"a"', "wsproof.bearer.eA"],
  "Sec-WebSocket-Extensions": OFFERS,
  "Content-Length": ["0", "1", "-0", "+0", "0x0", "", "00", "18446744073709551616", "0, 0"],
  "Transfer-Encoding": ["chunked", "identity", "", "gzip, chunked"],
  Expect: ["100-continue", "x"],
  "HTTP2-Settings": ["AAMAAABkAAQAAP__"],
  Origin: ["http://127.0.0.1", "null", "x", "http://evil.example"],
  Cookie: ["a=b", "x".repeat(17_000)],
  Authorization: ["Bearer x", "Basic eDp5", "Basic ===", "Bearer"],
  TE: ["trailers"],
  Trailer: ["X"],
};
const NAMES = Object.keys(VALUES);

/** Fields that are allowed in a correct handshake. */
const HARMLESS: readonly Field[] = [
  ["User-Agent", "fuzz/1"],
  ["Accept-Language", "de, en;q=0.5"],
  ["Cache-Control", "no-cache"],
  ["Cookie", "a=b; c=d"],
  ["Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"],
  ["X-Long", "x".repeat(3000)],
];

function shuffle<T>(random: Random, items: T[]): void {
  for (let at = items.length - 1; at > 0; at--) {
    const other = random.below(at + 1);
    const [one, two] = [items[at], items[other]];
    if (one === undefined || two === undefined) continue;
    items[at] = two;
    items[other] = one;
  }
}

function swapCase(random: Random, text: string): string {
  return random.chance(0.5) ? text : random.chance(0.5) ? text.toLowerCase() : text.toUpperCase();
}

function makeHead(random: Random, { hostname, port }: Target): Head {
  const key = random.bytes(16).toBase64();
  const fields: Field[] = [
    ["Host", `${hostname}:${port}`],
    ["Upgrade", swapCase(random, "websocket")],
    ["Connection", random.pick(["Upgrade", "keep-alive, Upgrade", "upgrade"])],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", key],
  ];
  for (const [name, value] of HARMLESS) if (random.chance(0.15)) fields.push([name, value]);
  shuffle(random, fields);
  const line = {
    method: "GET",
    target: random.pick(["/", "/?x=1", "/echo", "/a/b?c#d".replace("#d", "")]),
    version: "HTTP/1.1",
  };
  if (line.target.startsWith("/a")) line.target = "/";
  const isCorrect = random.chance(0.2);
  let lineEnd = "\r\n";
  if (!isCorrect) {
    for (let mutations = 1 + random.below(3); mutations > 0; mutations--) mutate(random, fields, line);
    if (random.chance(0.03)) lineEnd = random.pick(["\n", "\r", "\n\r"]);
  }
  const lines = [
    `${line.method} ${line.target} ${line.version}`,
    ...fields.map(([name, value]) => `${name}: ${value}`),
  ];
  let text = `${lines.join(lineEnd)}${lineEnd}${lineEnd}`;
  if (!isCorrect && random.chance(0.1)) text = breakText(random, text);
  return { bytes: Uint8Array.from(text, (char) => char.charCodeAt(0) & 255), isCorrect };
}

function mutate(random: Random, fields: Field[], line: { method: string; target: string; version: string }): void {
  const at = random.below(fields.length);
  const name = random.pick(NAMES);
  const value = random.pick(VALUES[name] ?? [""]);
  const field = fields[at];
  switch (random.below(9)) {
    case 0:
      fields.splice(at, 1);
      break;
    case 1:
    case 2:
      // Another line with a name that may exist already, before or after it.
      fields.splice(random.chance(0.5) ? 0 : fields.length, 0, [swapCase(random, name), value]);
      break;
    case 3:
    case 4: {
      const existing = fields.findIndex(([one]) => one === name);
      fields.splice(existing === -1 ? at : existing, 1, [name, value]);
      break;
    }
    case 5:
      line.method = random.pick(["POST", "HEAD", "get", "CONNECT", "OPTIONS", "PRI", "G\0T", "TRACE", ""]);
      break;
    case 6:
      line.target = random.pick([
        "*",
        "http://127.0.0.1/",
        "http://evil.example/",
        "//x",
        "/\\metrics",
        "/%00",
        "/\xc3\xa9",
        "a",
        "",
        "/a b",
        "/x".repeat(2000),
        "/../",
        "/?\x7f",
      ]);
      break;
    case 7:
      line.version = random.pick(["HTTP/1.0", "HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "http/1.1", "", "HTTP/1.1 x"]);
      break;
    default:
      if (field) {
        field[random.below(2)] = random.pick([
          "",
          " ",
          "\t",
          "\0",
          "\x7f",
          "é",
          "\xff\xfe",
          "x".repeat(9000),
          "a\r b",
          ":",
          "a\r\n b",
        ]);
      }
  }
}

/** Cuts, repeats or changes bytes anywhere. */
function breakText(random: Random, text: string): string {
  const at = random.below(text.length);
  switch (random.below(4)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    case 2:
      return text.slice(0, at) + text.slice(at + 1);
    default:
      return text.slice(0, at) + random.pick(["\r\n", "\n", "\r", "\0", ":", " "]) + text.slice(at);
  }
}

/**
 * The reason why bytes are no opening handshake (RFC 6455 section 4.2.1); `undefined` if they are one. It forgives what
 * a runtime may forgive (line ends, blanks at the end of a line, folds), but nothing decisive.
 *
 * @param bytes The head.
 * @param extensions The server's field Sec-WebSocket-Extensions.
 * @param door The kind of server.
 */
function reasonAgainst(bytes: Uint8Array, extensions: string, { hidesVersion, compresses }: Door): string | undefined {
  const text = String.fromCharCode(...bytes);
  const end = /\r?\n\r?\n/.exec(text.replace(/^(\r?\n)+/, ""));
  if (end === null) return "no end";
  const [start = "", ...lines] = text.replace(/^(\r?\n)+/, "").slice(0, end.index).split(/\r?\n/);
  const unfolded: string[] = [];
  for (const line of lines) {
    if (/^[ \t]/.test(line) && unfolded.length > 0) unfolded.push(`${unfolded.pop()} ${line.trim()}`);
    else unfolded.push(line);
  }
  const fields = unfolded.map((line) => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, "")] as const;
  });
  const all = (name: string) => fields.filter(([one]) => one === name).map(([, value]) => value);
  const list = (name: string) =>
    all(name).flatMap((value) => value.split(",")).map((one) => one.trim()).filter((one) => one !== "");
  const version = hidesVersion ? "[01]" : "1";
  if (!new RegExp(`^GET \\S+ HTTP/1\\.${version}$`).test(start.trimEnd())) return `first line ${JSON.stringify(start)}`;
  if (fields.some(([name]) => !/^[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name))) return "a field without a name";
  const upgrades = list("upgrade");
  if (upgrades.length !== 1 || upgrades[0]?.toLowerCase() !== "websocket") {
    return `Upgrade ${JSON.stringify(all("upgrade"))}`;
  }
  if (!list("connection").some((one) => one.toLowerCase() === "upgrade")) return "Connection";
  if (all("sec-websocket-version").join() !== "13") return "Sec-WebSocket-Version";
  const keys = all("sec-websocket-key");
  if (keys.length !== 1 || !/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(keys[0] ?? "")) return "Sec-WebSocket-Key";
  const hosts = all("host");
  if (hosts.length !== 1 || !/^(\[[0-9a-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(:\d{0,5})?$/i.test(hosts[0] ?? "")) {
    return `Host ${JSON.stringify(hosts)}`;
  }
  if (all("transfer-encoding").length > 0) return "Transfer-Encoding";
  if (all("content-length").some((value) => !/^0+$/.test(value))) return "Content-Length";
  const extensionProblem = problemOf(all("sec-websocket-extensions").join(), extensions, compresses);
  if (extensionProblem !== undefined) return `Sec-WebSocket-Extensions: ${extensionProblem}`;
  if (list("sec-websocket-protocol").some((one) => !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(one))) {
    return "Sec-WebSocket-Protocol";
  }
  return undefined;
}

/** A kind of server. */
interface Door {
  /** Whether the server cannot see the version of HTTP, as with the runtime's `Request`. */
  readonly hidesVersion: boolean;
  /** Whether the server accepts an offer of compression; `undefined` if either is right. */
  readonly compresses: boolean | undefined;
  readonly target: Target;
}

/** The answer of a server. */
interface Answer {
  /** The status, 0 without an answer. */
  readonly status: number;
  /** The field Sec-WebSocket-Extensions; empty without it. */
  readonly extensions: string;
}

const NO_ANSWER: Answer = { status: 0, extensions: "" };

/** Writes a head in pieces and reads the start of the answer. */
async function ask(random: Random, { target, hidesVersion }: Door, { bytes }: Head): Promise<Answer> {
  using connection = await within(connectTo(target), "connection", ANSWER_TIMEOUT_MS);
  let isHurried = false;
  try {
    const pieces = 1 + random.below(3);
    for (let piece = 0, at = 0; piece < pieces; piece++) {
      const end = piece === pieces - 1 ? bytes.byteLength : at + random.below(bytes.byteLength - at + 1);
      for (; at < end;) at += await connection.write(bytes.subarray(at, end));
    }
    // An incomplete head gets no answer, so the wait for it is short. Two servers accept only CRLF as an end, and would
    // wait for the whole deadline of a head; the runtime waits if both line ends are mixed.
    const hasEnd = (hidesVersion ? /\r\n\r\n|\n\n/ : /\r\n\r\n/).test(String.fromCharCode(...bytes));
    isHurried = !hasEnd;
    if (isHurried) await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS));
  } catch {
    // The server has already answered and closed.
  }
  if (isHurried) return NO_ANSWER;
  // A subprotocol that is selected may be as long as a head.
  const answer = new Uint8Array(64 * 1024);
  let length = 0;
  const text = () => String.fromCharCode(...answer.subarray(0, length));
  try {
    while (length < 12 || (text().startsWith("HTTP/1.1 101") && !text().includes("\r\n\r\n"))) {
      const reading = connection.read(answer.subarray(length));
      const count = await within(reading, "an answer", ANSWER_TIMEOUT_MS);
      if (count === null) break;
      length += count;
    }
  } catch (error) {
    if (error instanceof Error && error.message.startsWith("Waited")) throw error;
    // A reset: the server did not read the client's last bytes.
  }
  const [head = ""] = text().split("\r\n\r\n");
  return {
    status: Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1] ?? 0),
    extensions: [...head.matchAll(/^sec-websocket-extensions: *(.*?) *\r?$/gim)].map(([, value]) => value).join(),
  };
}

async function main(args: readonly string[]): Promise<number> {
  const settings = readSettings(args, 50_000);
  const server = (...more: string[]) => ["run", ...FLAGS, "server.ts", "--port", "0", "--log", "none", ...more];
  const wire = ["--transport", "wire"];
  const pair = await makePair();
  const door = async (target: Promise<Target>, hidesVersion: boolean, compresses?: boolean): Promise<Door> => ({
    target: await target,
    hidesVersion,
    compresses,
  });
  const doors = await Promise.all([
    door(startTarget("builtin", server()), true, false),
    door(startTarget("builtin TLS", server(...pair.args), { caCert: pair.caCert }), true, false),
    door(startTarget("wire", server(...wire)), false, true),
    door(startTarget("wire TLS", server(...wire, ...pair.args), { caCert: pair.caCert }), false, true),
    door(startTarget("two workers", server(...wire, "--workers", "2")), false, true),
    door(startTarget("lab", server("--lab")), false),
    door(
      startTarget("deno serve", ["serve", ...FLAGS, "--host", "127.0.0.1", "--port", "0", "handler.ts"]),
      true,
      false,
    ),
  ]);
  await pair.remove();
  const since = performance.now();
  const seen = new Map<string, number>();
  const found = await runTries(settings, AT_ONCE, async (random, index) => {
    const door = doors[index % doors.length];
    if (door === undefined) return undefined;
    const { target } = door;
    if (!target.isAlive()) return `${target.name} has ended`;
    const head = makeHead(random, target);
    const { status, extensions } = await ask(random, door, head);
    const key = `${target.name} ${status}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
    const shown = () => JSON.stringify(String.fromCharCode(...head.bytes.subarray(0, 600)));
    if (head.isCorrect && status !== 101) return `${target.name} answers ${status} to ${shown()}`;
    const reason = status === 101 ? reasonAgainst(head.bytes, extensions, door) : undefined;
    return reason === undefined ? undefined : `${target.name} lets in (${reason}) ${shown()}`;
  });
  console.log([...seen].sort().map(([key, count]) => `${key}: ${count}`).join(", "));
  for (const { target } of doors) {
    if (target.isAlive()) console.log(`${target.name}: ${(await target.residentMib()).toFixed(0)} MiB`);
    found.push(...await target.stop());
  }
  return conclude("heads", settings.count, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
