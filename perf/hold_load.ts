/**
 * Peers that make a server hold as much as they can: `hold_load.ts URL CONNECTIONS SECONDS`. Each sends a message of
 * 512 KiB and reads its echo, so that its read buffer grows; then a text of 64 KiB without its last byte; then nothing.
 * Prints how many the server has closed. Linux only.
 */

import { connectUpgraded, EPOLLIN, EPOLLOUT, maskedFrame, receiveNow, sendNow, watch, whenReady } from "./sockets.ts";

const [url = "", connections = "", seconds = ""] = Deno.args;
/** Events that mean the server has ended the connection. */
const [EPOLLERR, EPOLLHUP, EPOLLRDHUP] = [8, 16, 0x2000];
const MESSAGE_BYTES = 512 * 1024;
const TEXT_BYTES = 64 * 1024 - 1;

const message = maskedFrame(MESSAGE_BYTES);
const text = maskedFrame(TEXT_BYTES);
text[0] = 0x01;
const key = text.subarray(4, 8);
for (let at = 0; at < TEXT_BYTES; at++) text[8 + at] = 97 ^ (key[at & 3] ?? 0);
const sequence = new Uint8Array([...message, ...text]);
/** The echo is not masked. */
const ECHO_BYTES = message.byteLength - 4;

interface Peer {
  sent: number;
  received: number;
}

const peers = new Map<number, Peer>();
const buffer = new Uint8Array(256 * 1024);
const from = performance.now();
let closed = 0;
for (let count = Number(connections); count > 0; count--) {
  const fd = connectUpgraded(url, []);
  peers.set(fd, { sent: 0, received: 0 });
  watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, true);
  // In small groups, as the buffers of TCP are not measured.
  if (count % 50 === 0) go(20);
}
while (performance.now() - from < Number(seconds) * 1000) go(100);
console.log(`${closed} of ${connections} closed`);
Deno.exit(0);

function go(ms: number): void {
  whenReady(ms, (fd, ready) => {
    const peer = peers.get(fd);
    if (peer === undefined) return;
    if (ready & EPOLLIN) peer.received += Math.max(0, receiveNow(fd, buffer));
    if (ready & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) {
      closed++;
      peers.delete(fd);
      return watch(fd, 0, false);
    }
    // The text follows the whole echo.
    const end = peer.received < ECHO_BYTES ? message.byteLength : sequence.byteLength;
    if (peer.sent < end) peer.sent += Math.max(0, sendNow(fd, sequence.subarray(peer.sent, end)));
    const isWaiting = peer.sent === end;
    watch(fd, isWaiting ? EPOLLIN | EPOLLRDHUP : EPOLLIN | EPOLLOUT | EPOLLRDHUP, false);
    if (isWaiting && end < sequence.byteLength && peer.received >= ECHO_BYTES) {
      watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, false);
    }
  });
}
