/**
 * Peers that flood, and read the replies: `starve_load.ts URL KIND CONNECTIONS SECONDS [CA]`. They send `pings` and
 * `empty` messages, text in `fragments` of one byte, `large` messages of 1 MiB, or 64 KiB `deflated` to 81 bytes, as
 * fast as they can. A refused peer continues until TCP ends, then reconnects. Prints the number of sent bytes and of
 * connections. With a certificate file they speak TLS. Linux only.
 */

import { constants, deflateRawSync } from "node:zlib";
import {
  close,
  connect,
  EPOLLIN,
  EPOLLOUT,
  maskedFrame,
  receiveNow,
  sendNow,
  unfinishedHead,
  watch,
  whenReady,
} from "./sockets.ts";

const [url = "", kind = "", connections = "", seconds = "", ca] = Deno.args;
/** epoll events for the end of a connection. */
const [EPOLLERR, EPOLLHUP] = [8, 16];
const CHUNK_BYTES = 64 * 1024;

function repeated(bytes: readonly number[], count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Array.from({ length: count }, () => bytes).flat());
}

/** The repeated data: whole messages. */
const CHUNKS: Record<string, () => Uint8Array<ArrayBuffer>> = {
  pings: () => repeated([0x89, 0x80, 1, 2, 3, 4], CHUNK_BYTES / 6),
  empty: () => repeated([0x81, 0x80, 1, 2, 3, 4], CHUNK_BYTES / 6),
  fragments: () =>
    new Uint8Array([
      0x01,
      0x80,
      0,
      0,
      0,
      0,
      ...repeated([0x00, 0x81, 0, 0, 0, 0, 97], CHUNK_BYTES / 7),
      0x80,
      0x80,
      0,
      0,
      0,
      0,
    ]),
  large: () => maskedFrame(1024 * 1024),
  deflated: () => {
    const message = deflateRawSync(new Uint8Array(64 * 1024), { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
    return repeated([0xc2, 0x80 | message.byteLength, 0, 0, 0, 0, ...message], CHUNK_BYTES / message.byteLength);
  },
};
const chunk = CHUNKS[kind]?.() ?? new Uint8Array(0);
if (chunk.byteLength === 0) throw new Error(`There is no flood of ${kind}`);
const head = new Uint8Array([
  ...unfinishedHead(url, kind === "deflated" ? ["Sec-WebSocket-Extensions: permessage-deflate"] : []),
  13,
  10,
]);
const endsAt = performance.now() + Number(seconds) * 1000;
let sentBytes = 0;
let arrivals = 0;

if (ca === undefined) floodTcp();
else {
  const caCert = await Deno.readTextFile(ca);
  await Promise.all(Array.from({ length: Number(connections) }, () => floodTls(caCert)));
}
console.log(`${(sentBytes / 2 ** 20).toFixed(0)} MiB, ${arrivals} connections`);
Deno.exit(0);

function floodTcp(): void {
  const buffer = new Uint8Array(256 * 1024);
  /** Sent bytes of each peer. */
  const open = new Map<number, number>();
  const arrive = () => {
    const fd = connect(url);
    // The flood starts before the answer to the handshake, which is read with the rest.
    sendNow(fd, head);
    open.set(fd, 0);
    arrivals++;
    watch(fd, EPOLLIN | EPOLLOUT, true);
  };
  for (let count = Number(connections); count > 0; count--) arrive();
  while (performance.now() < endsAt) {
    whenReady(100, (fd, ready) => {
      const sent = open.get(fd);
      if (sent === undefined) return;
      if (ready & (EPOLLERR | EPOLLHUP) || (ready & EPOLLIN && receiveNow(fd, buffer) === 0)) {
        open.delete(fd);
        close(fd);
        return arrive();
      }
      const count = sendNow(fd, chunk.subarray(sent % chunk.byteLength));
      if (count <= 0) return;
      open.set(fd, sent + count);
      sentBytes += count;
    });
  }
}

async function floodTls(caCert: string): Promise<void> {
  const { hostname, port } = new URL(url);
  while (performance.now() < endsAt) {
    arrivals++;
    try {
      using conn = await Deno.connectTls({ hostname, port: Number(port), caCerts: [caCert] });
      await conn.write(head);
      const reading = (async () => {
        const buffer = new Uint8Array(CHUNK_BYTES);
        while (await conn.read(buffer) !== null);
      })();
      reading.catch(() => {});
      for (let at = 0; performance.now() < endsAt; at %= chunk.byteLength) {
        const count = await conn.write(chunk.subarray(at, at + CHUNK_BYTES));
        at += count;
        sentBytes += count;
      }
    } catch {
      // Refused: connect again.
    }
  }
}
