/**
 * The load of `deflate.ts`: `deflate_load.ts URL BYTES CONNECTIONS SECONDS` offers permessage-deflate, sends
 * compressed JSON text, one message at a time per connection, and prints the number of replies. Prepared frames keep
 * it cheap. With 0 SECONDS each connection echoes one message, and stays open until standard input ends.
 */

import { MessageDeflate } from "../lib/net/zlib.ts";
import { encodeFrame, OPCODE, RSV1 } from "../lib/protocol/frame.ts";

const [url = "", bytes = "", connections = "", seconds = ""] = Deno.args;
const { hostname, port } = new URL(url);
/** Number of different messages. */
const MESSAGES = 16;

/** A list of orders, as from an API. */
function jsonOf(length: number, seed: number): string {
  const orders = Array.from({ length: Math.ceil(length / 80) }, (_, index) => {
    const number = (seed * 7919 + index * 104729) % 1_000_003;
    return { id: number, user: `user${number % 977}`, state: number % 3 ? "open" : "paid", total: number / 100 };
  });
  return JSON.stringify({ seed, orders }).padEnd(length).slice(0, length);
}

// Without context takeover, frames can repeat in any order; a mask of zeros leaves them unchanged.
const direction = { takeover: false, windowBits: 15 };
const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: 1, level: 6 });
const frames = Array.from({ length: MESSAGES }, (_, seed) => {
  const packed = codec.deflateWhole(new TextEncoder().encode(jsonOf(Number(bytes), seed)));
  return encodeFrame(OPCODE.text, packed, { reserved: RSV1, maskingKey: new Uint8Array(4) });
});

const REQUEST = new TextEncoder().encode([
  "GET / HTTP/1.1",
  `Host: ${hostname}:${port}`,
  ...["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"],
  ...["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Extensions: permessage-deflate", "", ""],
].join("\r\n"));

async function open(): Promise<Deno.TcpConn> {
  const conn = await Deno.connect({ hostname, port: Number(port) });
  conn.setNoDelay();
  await conn.write(REQUEST);
  let head = "";
  const buffer = new Uint8Array(4096);
  while (!head.endsWith("\r\n\r\n")) head += new TextDecoder().decode(buffer.subarray(0, await conn.read(buffer) ?? 0));
  if (!/permessage-deflate/i.test(head)) throw new Error(`${url} does not compress`);
  return conn;
}

let messages = 0;
let isOver = false;

/** Sends one message after another. */
async function run(conn: Deno.TcpConn, count: number): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  for (let sent = 0; sent < count && !isOver; sent++) {
    await conn.write(frames[sent % MESSAGES] ?? new Uint8Array());
    let have = 0;
    for (let length = Infinity; have < length;) {
      have += await conn.read(buffer.subarray(have)) ?? NaN;
      if (Number.isNaN(have)) throw new Error("The server closed a connection");
      if (have < 4) continue;
      if (((buffer[0] ?? 0) & 0x40) === 0) throw new Error("The echo is not compressed");
      const short = buffer[1] ?? 0;
      length = short < 126 ? 2 + short : 4 + (buffer[2] ?? 0) * 256 + (buffer[3] ?? 0);
    }
    messages++;
  }
}

const conns: Deno.TcpConn[] = [];
for (let count = Number(connections); count > 0; count--) conns.push(await open());
if (seconds === "0") {
  for (const conn of conns) await run(conn, 1);
  console.log(JSON.stringify({ messages }));
  await Deno.stdin.read(new Uint8Array(1));
} else {
  const ended = Promise.all(conns.map((conn) => run(conn, Infinity)));
  await new Promise((resolve) => setTimeout(resolve, 500));
  const [from, before] = [performance.now(), messages];
  console.log("measuring");
  await new Promise((resolve) => setTimeout(resolve, Number(seconds) * 1000));
  console.log(JSON.stringify({ messages: messages - before, ms: performance.now() - from }));
  isOver = true;
  await ended;
}
Deno.exit(0);
