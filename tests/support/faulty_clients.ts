/**
 * Clients that do everything wrong, written by hand over TCP: the counterpart of the lab. They import nothing of lib/.
 */

import { connect } from "node:net";
import { requestHead } from "./raw_peer.ts";

/** Repeats a fault until the signal. It never throws: the server may do anything to the client. */
export type Fault = (url: string, signal: AbortSignal) => Promise<void>;

/** The token and the origin that the server under test requires. */
export const TOKEN = "open sesame";
export const ORIGIN = "https://app.example";

const KIB = 1024;
const MIB = 1024 * KIB;
const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];

/** Deadline for one try of a fault, in milliseconds. */
const TRY_MS = 1500;

/** One try. Its end closes all that it has opened, and rejects its pending waits. */
class Try {
  readonly #url: URL;
  readonly #open = new Set<{ close(): void }>();
  #isOver = false;

  constructor(url: string) {
    this.#url = new URL(url);
  }

  async connect(): Promise<Deno.TcpConn> {
    const conn = await Deno.connect(this.#place());
    this.#keep(conn);
    return conn;
  }

  /** Connects and upgrades. */
  async upgrade(): Promise<Deno.TcpConn> {
    const conn = await this.connect();
    await writeAll(conn, HEAD);
    const answer = new Uint8Array(4 * KIB);
    for (let length = 0; length < answer.byteLength;) {
      const count = await conn.read(answer.subarray(length));
      if (count === null) break;
      length += count;
      const text = new TextDecoder().decode(answer.subarray(0, length));
      if (text.includes("\r\n\r\n")) {
        if (text.startsWith("HTTP/1.1 101 ")) return conn;
        break;
      }
    }
    throw new Error("No upgrade");
  }

  /** Connects, sends bytes, and resets the connection, which `Deno.Conn` cannot do. */
  reset(sent: string | Uint8Array, afterMs: number): Promise<void> {
    const { hostname, port } = this.#place();
    return new Promise((resolve) => {
      const socket = connect({ host: hostname, port });
      this.#keep({ close: () => socket.destroy() });
      socket.on("error", () => {});
      socket.on("close", () => resolve());
      socket.on("connect", () => {
        socket.write(sent);
        const timer = setTimeout(() => socket.resetAndDestroy(), afterMs);
        socket.on("close", () => clearTimeout(timer));
      });
    });
  }

  /** Waits; rejects when the try is over. */
  pause(ms: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(resolve, ms);
      this.#keep({
        close() {
          clearTimeout(timer);
          reject(new Error("Over"));
        },
      });
    });
  }

  end(): void {
    this.#isOver = true;
    for (const each of this.#open) close(each);
    this.#open.clear();
  }

  #keep(each: { close(): void }): void {
    this.#open.add(each);
    if (!this.#isOver) return;
    close(each);
    throw new Error("Over");
  }

  #place(): { hostname: string; port: number } {
    return { hostname: this.#url.hostname, port: Number(this.#url.port) };
  }
}

function close(each: { close(): void }): void {
  try {
    each.close();
  } catch {
    // Already closed.
  }
}

function over(act: (attempt: Try) => Promise<void>): Fault {
  return async (url, signal) => {
    while (!signal.aborted) {
      const attempt = new Try(url);
      const end = () => attempt.end();
      const timer = setTimeout(end, TRY_MS);
      signal.addEventListener("abort", end);
      try {
        await act(attempt);
      } catch {
        // The server has defended itself, or the try was long enough.
      }
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      attempt.end();
      // A client that is refused at once must not starve the others.
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  };
}

/** Runs an action on several connections at once. */
async function many(count: number, act: (index: number) => Promise<void>): Promise<void> {
  await Promise.all(Array.from({ length: count }, (_, index) => act(index).catch(() => {})));
}

async function writeAll(conn: Deno.Conn, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
  for (let at = 0; at < bytes.byteLength;) at += await conn.write(bytes.subarray(at));
}

/** Sends the same bytes forever. */
async function flood(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  while (true) await writeAll(conn, bytes);
}

/** Reads and discards until the peer ends. */
async function drain(conn: Deno.Conn): Promise<void> {
  const forgotten = new Uint8Array(64 * KIB);
  while (await conn.read(forgotten) !== null);
}

function head(fields: Record<string, string | undefined> = {}, line?: string): string {
  return requestHead({ Origin: ORIGIN, Authorization: `Bearer ${TOKEN}`, ...fields }, line);
}

const HEAD = head();

/** A frame with a mask of zeros, so that the payload is readable on the wire. */
function frame(opcode: number, payload: Uint8Array | number = 0, { first = 0x80 | opcode, isMasked = true } = {}) {
  const bytes = typeof payload === "number" ? new Uint8Array(payload) : payload;
  return joined([header(first, bytes.byteLength, isMasked), bytes]);
}

function header(first: number, length: number, isMasked = true): Uint8Array {
  const mask = isMasked ? 0x80 : 0;
  const size = length < 126
    ? [mask | length]
    : length < 65536
    ? [mask | 126, length >> 8, length & 255]
    : [mask | 127, 0, 0, 0, 0, length >>> 24, length >>> 16 & 255, length >>> 8 & 255, length & 255];
  return Uint8Array.from([first, ...size, ...isMasked ? [0, 0, 0, 0] : []]);
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

function repeated(bytes: Uint8Array, length: number): Uint8Array {
  return joined(Array.from({ length: Math.ceil(length / bytes.byteLength) }, () => bytes));
}

function closePayload(code: number, reason: Uint8Array = new Uint8Array(0)): Uint8Array {
  return joined([Uint8Array.of(code >> 8, code & 255), reason]);
}

/** The codes that no close frame may have (RFC 6455 section 7.4), with neighboring codes far apart. */
const ILLEGAL_CODES = Array.from({ length: 5001 }, (_, index) => index * 37 % 5001).filter((code) =>
  code < 1000 || code >= 5000 || code === 1004 || code === 1005 || code === 1006 || code > 1014 && code < 3000
);

/** Close frames that must not be sent, besides those with illegal codes. */
const BAD_CLOSES = [
  frame(CLOSE, 1),
  frame(CLOSE, closePayload(1000, Uint8Array.of(0xc3))),
  frame(CLOSE, closePayload(1000, Uint8Array.of(0xff, 0xfe))),
  frame(CLOSE, closePayload(1000, new Uint8Array(124))),
  frame(CLOSE, closePayload(1000), { first: CLOSE }),
  joined([frame(CLOSE, closePayload(1000)), frame(TEXT, 5), frame(CLOSE, closePayload(1000)), frame(BINARY, 70_000)]),
  joined([frame(CLOSE, closePayload(1000)), new Uint8Array(MIB).fill(0xff)]),
];

/** The start of a TLS handshake: a record with a ClientHello. */
const CLIENT_HELLO = joined([
  Uint8Array.of(0x16, 3, 1, 0, 0x2f, 1, 0, 0, 0x2b, 3, 3),
  new Uint8Array(32).fill(7),
  Uint8Array.of(0, 0, 2, 0x13, 1, 1, 0, 0, 0),
]);

const GARBAGE_HEADS: readonly (string | Uint8Array)[] = [
  CLIENT_HELLO,
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
  new Uint8Array(KIB),
  new Uint8Array(64 * KIB).fill(0xff),
  "\r\n".repeat(20_000),
  "hello\r\n\r\n",
  `GET /${"a".repeat(100_000)} HTTP/1.1\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: a\r\nX: ${"b".repeat(100_000)}\r\n\r\n`,
  `GET / HTTP/1.1\r\nHost: a\r\n${"X: y\r\n".repeat(5000)}\r\n`,
  "GET / HTTP/1.1\r\n\r\n",
  "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
  "GET  /  HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.1\nHost: a\n\n",
  "GET / HTTP/1.1\r\nHost : a\r\n folded\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
  "GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
  "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
  "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nX: \u0000\u001b[2J\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzzzz\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
  head({ "Sec-WebSocket-Key": "short" }),
  head({ "Sec-WebSocket-Key": undefined }),
  head({ "Sec-WebSocket-Version": "8" }),
  head({ Connection: "close" }),
  head({ "Sec-WebSocket-Protocol": "a b, \u007f" }),
  head({}, "POST / HTTP/1.1"),
  head({}, "GET /\u001b[2J HTTP/1.1"),
];

/** Bytes that no peer may send, or not in such numbers. */
const FLOODS: readonly Uint8Array[] = [
  repeated(frame(PING, 125), 64 * KIB),
  repeated(frame(PING), 16 * KIB),
  repeated(frame(PONG, 125), 64 * KIB),
  repeated(frame(BINARY), 16 * KIB),
  repeated(frame(BINARY, 1), 16 * KIB),
  joined([frame(TEXT, 0, { first: TEXT }), repeated(frame(CONTINUATION, 0, { first: CONTINUATION }), 16 * KIB)]),
  repeated(frame(TEXT, 5, { isMasked: false }), 16 * KIB),
  repeated(frame(BINARY, 5, { first: 0xc0 | BINARY }), 16 * KIB),
  repeated(frame(BINARY, 5, { first: 0xb0 | BINARY }), 16 * KIB),
  repeated(frame(3, 5), 16 * KIB),
  repeated(frame(11, 5), 16 * KIB),
  repeated(frame(PING, 126), 16 * KIB),
  repeated(frame(PING, 5, { first: PING }), 16 * KIB),
  repeated(frame(CONTINUATION, 5), 16 * KIB),
  repeated(frame(TEXT, Uint8Array.of(0xc3, 0x28)), 16 * KIB),
];

/** A peer that never ends a message leaves after this many bytes: one transport buffers all of them. */
const ENDLESS_BYTES = 32 * MIB;

/** All faults, by description. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  "never reads while it sends": over((attempt) =>
    many(5, async (index) => {
      const conn = await attempt.upgrade();
      await flood(conn, frame(index % 2 ? TEXT : BINARY, [20, KIB, 64 * KIB, 512 * KIB, MIB][index]));
    })
  ),
  "sends a huge message": over(async (attempt) => {
    const conn = await attempt.upgrade();
    await writeAll(conn, header(0x80 | BINARY, 2 ** 31));
    await many(2, (index) => index === 0 ? drain(conn) : flood(conn, new Uint8Array(64 * KIB)));
  }),
  "sends fragments without end": over(async (attempt) => {
    const conn = await attempt.upgrade();
    await writeAll(conn, frame(TEXT, KIB, { first: TEXT }));
    const fragments = repeated(frame(CONTINUATION, KIB, { first: CONTINUATION }), 64 * KIB);
    for (let sent = 0; sent < ENDLESS_BYTES; sent += fragments.byteLength) await writeAll(conn, fragments);
  }),
  "opens and vanishes": over((attempt) =>
    many(20, async (index) => {
      const sent = ["", HEAD.slice(0, 60), HEAD, [HEAD, frame(BINARY, 1000)], [HEAD, header(0x82, 1000)]][index % 5];
      const bytes = Array.isArray(sent) ? joined(sent.map(bytesOf)) : sent ?? "";
      if (index < 10) return await attempt.reset(bytes, index % 2 * 20);
      const conn = await attempt.connect();
      await writeAll(conn, bytes);
      await attempt.pause(index % 2 * 20);
      if (index < 15) await conn.closeWrite();
      conn.close();
    })
  ),
  "sends garbage for a head": over((attempt) =>
    many(GARBAGE_HEADS.length, async (index) => {
      const conn = await attempt.connect();
      await writeAll(conn, GARBAGE_HEADS[index] ?? "");
      await drain(conn);
    })
  ),
  "closes as nobody may": (url, signal) => {
    let next = 0;
    return over((attempt) =>
      many(10, async () => {
        const index = next++;
        const bad = index % 4 === 0 ? BAD_CLOSES[index / 4 % BAD_CLOSES.length] : undefined;
        const code = ILLEGAL_CODES[index % ILLEGAL_CODES.length] ?? 0;
        const conn = await attempt.upgrade();
        await writeAll(conn, bad ?? frame(CLOSE, closePayload(code)));
        await drain(conn);
      })
    )(url, signal);
  },
  "floods with what is no message": (url, signal) => {
    let next = 0;
    return over(async (attempt) => {
      const conn = await attempt.upgrade();
      const bytes = FLOODS[next++ % FLOODS.length] ?? new Uint8Array(1);
      await many(next % 2 + 1, (index) => index === 0 ? flood(conn, bytes) : drain(conn));
    })(url, signal);
  },
  "never upgrades": over((attempt) =>
    many(30, async (index) => {
      const conn = await attempt.connect();
      for (const char of index % 3 === 0 ? "" : HEAD) {
        await writeAll(conn, char);
        await attempt.pause(index % 3 === 1 ? 1000 : 5);
      }
      await drain(conn);
    })
  ),
  "comes in a crowd": over(async (attempt) => {
    const crowd = many(150, async () => void await attempt.upgrade());
    await attempt.pause(300);
    attempt.end();
    await crowd;
    // The others need connections too.
    await new Promise((resolve) => setTimeout(resolve, 700));
  }),
  "sends bodies": over((attempt) =>
    many(10, async (index) => {
      const conn = await attempt.connect();
      const line = ["POST / HTTP/1.1", "POST /metrics HTTP/1.1", "PUT /healthz HTTP/1.1", "GET / HTTP/1.1"][index % 4];
      const fields = index % 2 === 0 ? {} : { Upgrade: undefined, Connection: undefined };
      await writeAll(conn, head({ ...fields, "Content-Length": `${4 * MIB}` }, line));
      if (index < 5) await many(2, (side) => side === 0 ? drain(conn) : writeAll(conn, new Uint8Array(4 * MIB)));
      for (let sent = 0; sent < KIB; sent++) {
        await writeAll(conn, "x");
        await attempt.pause(50);
      }
    })
  ),
  "is a stranger": over((attempt) =>
    many(10, async (index) => {
      const conn = await attempt.connect();
      const fields = [
        { Authorization: undefined },
        { Authorization: "Bearer open barley" },
        { Authorization: `Basic ${btoa("ali:baba")}` },
        { Authorization: "Basic %%%" },
        { Authorization: undefined, "Sec-WebSocket-Protocol": "wsproof.bearer.b3Blbg" },
        { Origin: "https://evil.example" },
        { Origin: "null" },
        { Origin: "x".repeat(8000) },
      ][index % 8];
      await writeAll(conn, head(fields));
      await drain(conn);
    })
  ),
};

function bytesOf(part: string | Uint8Array): Uint8Array {
  return typeof part === "string" ? new TextEncoder().encode(part) : part;
}

/** Runs all faults against a server at once, until the signal. */
export async function runFaults(url: string, signal: AbortSignal): Promise<void> {
  await Promise.all(Object.values(FAULTS).map((fault) => fault(url, signal)));
}
