/**
 * Faulty peers: `flood_load.ts URL KIND BYTES CONNECTIONS SECONDS [FIELD ...]`. They send `messages` of this many bytes
 * and never read; only half of a head (`heads`); or `fragments` of one message, up to this many bytes. Prints how many
 * of them the server has dropped, and the time of the first drop. Linux only.
 */

import {
  connect,
  connectUpgraded,
  EPOLLOUT,
  maskedFrame,
  sendNow,
  unfinishedHead,
  watch,
  whenReady,
} from "./sockets.ts";

const [url = "", kind = "", bytes = "", connections = "", seconds = "", ...fields] = Deno.args;
/** Events that mean the server has ended the connection. */
const [EPOLLERR, EPOLLHUP, EPOLLRDHUP] = [8, 16, 0x2000];
const FRAGMENT_BYTES = 64 * 1024;

const chunk = kind === "fragments" ? maskedFrame(FRAGMENT_BYTES) : maskedFrame(Number(bytes));
if (kind === "fragments") chunk[0] = 0;

const from = performance.now();
/** The bytes that each has sent. */
const open = new Map<number, number>();
let dropped = 0;
let droppedAfterMs = NaN;
for (let count = Number(connections); count > 0; count--) {
  if (kind === "heads") {
    const fd = connect(url);
    sendNow(fd, unfinishedHead(url, fields).subarray(0, 60));
    open.set(fd, 0);
    watch(fd, EPOLLRDHUP, true);
    continue;
  }
  const fd = connectUpgraded(url, fields);
  if (kind === "fragments") sendNow(fd, Uint8Array.of(0x02, 0x80, 0, 0, 0, 0));
  open.set(fd, 0);
  watch(fd, EPOLLOUT | EPOLLRDHUP, true);
}
while (performance.now() - from < Number(seconds) * 1000) {
  whenReady(100, (fd, ready) => {
    const sent = open.get(fd);
    if (sent === undefined) return;
    if (ready & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) return drop(fd);
    // The unsent rest goes first: a frame continues after a partial write.
    const at = sent % chunk.byteLength;
    const count = sendNow(fd, chunk.subarray(at));
    if (count > 0) open.set(fd, sent + count);
    if (kind === "fragments" && sent + count >= Number(bytes)) watch(fd, EPOLLRDHUP, false);
  });
}
const after = dropped > 0 ? `, the first after ${(droppedAfterMs / 1000).toFixed(1)} s` : "";
console.log(`${dropped} of ${connections} in ${seconds} s${after}`);
Deno.exit(0);

function drop(fd: number): void {
  if (dropped++ === 0) droppedAfterMs = performance.now() - from;
  open.delete(fd);
  watch(fd, 0, false);
}
