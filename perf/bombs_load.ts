/**
 * Peers that send bombs: `bombs_load.ts URL KIND BYTES CONNECTIONS MS`. Each sends one message of so many bytes after the
 * other, `compressed` zeros that inflate to 1,024 times as many, or `plain`, and reads what comes back. Once all have opened, a
 * word is written, and one is read before they begin. Prints how many MiB they have sent, and how many were refused, which do
 * not come again. Linux only.
 */

import {
  close,
  connectUpgraded,
  EPOLLIN,
  EPOLLOUT,
  maskedFrame,
  receiveNow,
  sendNow,
  watch,
  whenReady,
} from "./sockets.ts";
import { MessageDeflate } from "../lib/net/zlib.ts";
import { encodeFrame, OPCODE, RSV1 } from "../lib/protocol/frame.ts";
import { concatBytes } from "../lib/protocol/message.ts";

const [url = "", kind = "", bytes = "", connections = "", ms = ""] = Deno.args;
/** Ready for these: the server has ended the connection. */
const [EPOLLERR, EPOLLHUP] = [8, 16];
/** zlib reaches 1,032. */
const RATIO = 1024;

/** A message of zeros, compressed by itself; the mask of zeros leaves it as it is. */
function bombOf(inflatedBytes: number): Uint8Array<ArrayBuffer> {
  const direction = { takeover: false, windowBits: 15 };
  const codec = new MessageDeflate({ own: direction, peer: direction, maxMessageBytes: 1, level: 9 });
  const parts: Uint8Array[] = [];
  const zeros = new Uint8Array(Math.min(inflatedBytes, 2 ** 20));
  for (let left = inflatedBytes; left > 0; left -= zeros.byteLength) {
    codec.deflate(zeros, left <= zeros.byteLength, (piece) => void parts.push(piece.slice()));
  }
  const packed = concatBytes(parts);
  return encodeFrame(OPCODE.binary, packed, { reserved: RSV1, maskingKey: new Uint8Array(4) });
}

const message = kind === "plain" ? maskedFrame(Number(bytes)) : bombOf(Number(bytes) * RATIO);
const buffer = new Uint8Array(256 * 1024);
/** How many bytes each has sent. */
const open = new Map<number, number>();
for (let count = Number(connections); count > 0; count--) {
  open.set(connectUpgraded(url, ["Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]), 0);
}
console.log("open");
Deno.stdin.readSync(new Uint8Array(1));
for (const fd of open.keys()) watch(fd, EPOLLIN | EPOLLOUT, true);
const endsAt = performance.now() + Number(ms);
let sentBytes = 0;
while (performance.now() < endsAt) {
  whenReady(20, (fd, ready) => {
    const sent = open.get(fd);
    if (sent === undefined) return;
    if (ready & (EPOLLERR | EPOLLHUP) || (ready & EPOLLIN && receiveNow(fd, buffer) === 0)) {
      open.delete(fd);
      return close(fd);
    }
    const count = sendNow(fd, message.subarray(sent % message.byteLength));
    if (count <= 0) return;
    open.set(fd, sent + count);
    sentBytes += count;
  });
}
console.log(`${(sentBytes / 2 ** 20).toFixed(0)} MiB, ${Number(connections) - open.size} refused`);
Deno.exit(0);
