/** Random mutations of request heads, from a seed, and an independent judge of upgrades. */

import { Random } from "../../perf/fuzz/random.ts";

/** A seeded generator of numbers from 0 up to 1 (mulberry32). */
export function randomFrom(seed: number): () => number {
  const random = new Random(seed);
  return () => random.next();
}

const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const BASE: readonly (readonly [name: string, value: string])[] = [
  ["Host", "127.0.0.1"],
  ["Upgrade", "websocket"],
  ["Connection", "Upgrade"],
  ["Sec-WebSocket-Version", "13"],
  ["Sec-WebSocket-Key", KEY],
];

/** Plausible values for each field. */
const VALUES: Readonly<Record<string, readonly string[]>> = {
  "Host": [
    "localhost:1",
    "[::1]",
    "[::1",
    "a:99999",
    "<script>",
    "",
    "evil.example",
    "127.0.0.1/x?",
    "a b",
    "\u00ff",
    "127.0.0.\u00b9",
    "127.1",
    "%6cocalhost",
  ],
  "Upgrade": [
    "h2c",
    "WebSocket",
    "websocket, h2c",
    "h2c,websocket",
    "websocket/13",
    "",
    ",",
    "TLS/1.0",
    "websocket\u00a0",
  ],
  "Connection": ["keep-alive, Upgrade", "close", "upgrade, close", "", "Upgrade, HTTP2-Settings", "Upgrade Upgrade"],
  "Sec-WebSocket-Version": ["8", "13, 8", "013", "13.0", "", "-13", "1e1"],
  "Sec-WebSocket-Key": ["", "x", `${KEY}, ${KEY}`, KEY.slice(1), "dGhlIHNhbXBsZSBub25jZR==", `${KEY}=`],
  "Sec-WebSocket-Protocol": ["chat", "a,b", "a b", ",", "", "wsproof.bearer.eA", "chat, chat", "\u00e4"],
  "Sec-WebSocket-Extensions": ["permessage-deflate", 'x; y="z"', ""],
  "Content-Length": ["0", "1", "0x0", "-0", "+0", "", "00", "18446744073709551616", "0, 0"],
  "Transfer-Encoding": ["chunked", "identity", "", "chunked, chunked", "gzip"],
  "Expect": ["100-continue", "x"],
  "HTTP2-Settings": ["AAMAAABkAAQAAP__", ""],
  "TE": ["trailers"],
  "Trailer": ["Upgrade"],
  "Origin": ["null", "https://a.example", ""],
  "Authorization": ["Bearer x", "Basic eDp5", " "],
  "Keep-Alive": ["timeout=5"],
  "Accept": ["application/json", "*/*;q=x"],
  "Proxy-Connection": ["Upgrade"],
  "X-Long": ["x".repeat(4000), "x".repeat(20_000)],
};
const METHODS = ["GET", "POST", "HEAD", "OPTIONS", "CONNECT", "PRI", "get", "TRACE", "PUT", "M-SEARCH"];
const TARGETS = [
  "/",
  "//",
  "*",
  "/a\\b",
  "http://127.0.0.1/",
  "http://evil.example/",
  "/%00",
  "/#x",
  "x:1",
  "/\u00ff",
  "/metrics",
];
const VERSIONS = ["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1", "HTTP/1.2", "HTTP/0.9", ""];
const TAILS = [
  "x",
  "\x81\x80\0\0\0\0",
  "GET / HTTP/1.1\r\n\r\n",
  "\x88\x00",
  "0\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
];

/**
 * Makes a head with one to four mutations.
 *
 * @param random The source of randomness.
 * @returns Its bytes, one per character.
 */
export function mutatedHead(random: () => number): string {
  const below = (count: number) => Math.floor(random() * count);
  const pick = <T>(list: readonly T[], otherwise: T): T => list[below(list.length)] ?? otherwise;
  const fields = BASE.map(([name, value]) => [name, value] as const);
  let [method, target, version] = ["GET", "/", "HTTP/1.1"];
  let [ending, tail, isFolded] = ["\r\n", "", false];
  const changes: readonly (() => void)[] = [
    () => {
      const name = pick(Object.keys(VALUES), "Upgrade");
      const at = fields.findIndex(([each]) => each === name);
      fields.splice(at === -1 ? below(fields.length + 1) : at, at === -1 ? 0 : 1, [name, pick(VALUES[name] ?? [], "")]);
    },
    () => {
      const name = pick(Object.keys(VALUES), "Upgrade");
      fields.splice(below(fields.length + 1), 0, [name, pick(VALUES[name] ?? [], "")]);
    },
    () => fields.splice(below(fields.length + 1), 0, pick(fields, ["Upgrade", "websocket"])),
    () => fields.splice(below(fields.length), 1),
    () => fields.reverse(),
    () => {
      const at = below(fields.length);
      const [name, value] = fields[at] ?? ["Host", ""];
      fields[at] = [
        pick([name.toLowerCase(), name.toUpperCase(), `${name} `, ` ${name}`, name.replace("-", "_")], name),
        value,
      ];
    },
    () => method = pick(METHODS, method),
    () => target = pick(TARGETS, target),
    () => version = pick(VERSIONS, version),
    () => ending = pick(["\n", "\r", "\r\r\n"], ending),
    () => tail = pick(TAILS, tail),
    () => isFolded = true,
  ];
  for (let count = 1 + below(4); count > 0; count--) pick(changes, () => {})();
  const lines = fields.map(([name, value]) =>
    `${name}:${isFolded ? "\r\n " : ""}${pick([" ", "", "\t ", " "], " ")}${value}`
  );
  const head = [`${method} ${target} ${version}`, ...lines, "", ""].join(ending) + tail;
  return random() < 0.3 ? withOtherBytes(head, below) : head;
}

/** Changes, adds, removes or cuts off a few bytes. */
function withOtherBytes(head: string, below: (count: number) => number): string {
  let text = head;
  for (let count = 1 + below(3); count > 0; count--) {
    const at = below(text.length);
    const byte = String.fromCharCode(below(256));
    const [from, to] = [text.slice(0, at), text.slice(at)];
    text = [from + byte + to.slice(1), from + byte + to, from + to.slice(1), from][below(4)] ?? text;
  }
  return text;
}

/** The rules that an accepted upgrade breaks; empty for none. It shares no code with lib/. */
export function wrongAbout(head: string): string[] {
  const [start = "", ...lines] = (head.split(/\r?\n\r?\n/)[0] ?? "").split(/\r?\n/).filter((line) => line !== "");
  const of = (name: string) =>
    lines.filter((line) => line.slice(0, line.indexOf(":")).toLowerCase() === name)
      .map((line) => line.slice(line.indexOf(":") + 1).replace(/^[ \t]*|[ \t]*$/g, ""));
  const wrong: string[] = [];
  if (!/^GET \S+ HTTP\/1\.[01]$/.test(start)) wrong.push(`line ${start}`);
  if (of("upgrade").join("|").toLowerCase() !== "websocket") wrong.push("Upgrade");
  if (!/(^|[,|])[ \t]*upgrade[ \t]*([,|]|$)/i.test(of("connection").join("|"))) wrong.push("Connection");
  if (of("sec-websocket-version").join("|") !== "13") wrong.push("Sec-WebSocket-Version");
  if (!/^[A-Za-z0-9+/]{21}[AQgw]==$/.test(of("sec-websocket-key").join("|"))) wrong.push("Sec-WebSocket-Key");
  // Browsers too read 127.1 as 127.0.0.1.
  if (!/^(127[\d.]*|localhost\.?|\[::1\])(:\d*)?$/i.test(of("host").join("|"))) wrong.push("Host");
  if (of("transfer-encoding").length > 0) wrong.push("Transfer-Encoding");
  if (!/^0*$/.test(of("content-length").join("|")) || of("content-length").includes("")) wrong.push("Content-Length");
  return wrong;
}
