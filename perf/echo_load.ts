/**
 * One measurement of an echo server: `echo_load.ts URL BYTES CONNECTIONS SECONDS [FIELD ...]` sends binary messages, one at a
 * time on each connection, and prints a line of JSON. The fields are added to its handshakes. Linux only.
 *
 * A message costs it two system calls and no promise, a small part of what any server under Deno has to do. That, and the CPU
 * time that it reports, keeps it from being what is measured.
 */

import process from "node:process";
import { connectUpgraded, EPOLLIN, EPOLLOUT, maskedFrame, receiveNow, sendNow, watch, whenReady } from "./sockets.ts";

const [url = "", bytes = "", connections = "", seconds = "", ...fields] = Deno.args;
const frame = maskedFrame(Number(bytes));
/** The echo is not masked. */
const echoBytes = frame.byteLength - 4;
const buffer = new Uint8Array(256 * 1024);

interface Peer {
  readonly fd: number;
  toSend: number;
  toReceive: number;
  sentAt: number;
  isWaitingToSend: boolean;
}

const peers = new Map<number, Peer>();
for (let count = Number(connections); count > 0; count--) {
  const peer = { fd: connectUpgraded(url, fields), toSend: 0, toReceive: 0, sentAt: 0, isWaitingToSend: false };
  peers.set(peer.fd, peer);
  watch(peer.fd, EPOLLIN, true);
}

const latencies: number[] = [];
let isMeasuring = false;
for (const peer of peers.values()) begin(peer);
run(Math.min(500, Number(seconds) * 250));
isMeasuring = true;
const from = performance.now();
const usage = process.cpuUsage();
run(Number(seconds) * 1000);
const ms = performance.now() - from;
const { user, system } = process.cpuUsage(usage);
latencies.sort((a, b) => a - b);
console.log(JSON.stringify({
  messagesPerSecond: latencies.length / ms * 1000,
  p50Ms: latencies[Math.floor(latencies.length * 0.5)],
  p99Ms: latencies[Math.floor(latencies.length * 0.99)],
  cpuShare: (user + system) / 1000 / ms,
}));
// The peers are dropped as they are: the servers have nothing to say that would count.
Deno.exit(0);

function run(forMs: number): void {
  const until = performance.now() + forMs;
  while (performance.now() < until) {
    whenReady(100, (fd, ready) => {
      const peer = peers.get(fd);
      if (peer === undefined) return;
      if (ready & EPOLLOUT) send(peer);
      if (ready & ~EPOLLOUT) receive(peer);
    });
  }
}

function begin(peer: Peer): void {
  peer.toSend = frame.byteLength;
  peer.toReceive = echoBytes;
  peer.sentAt = performance.now();
  send(peer);
}

function send(peer: Peer): void {
  const rest = peer.toSend === frame.byteLength ? frame : frame.subarray(frame.byteLength - peer.toSend);
  const sent = sendNow(peer.fd, rest);
  // Less than nothing is a full socket here: a server that is gone is found by receive().
  peer.toSend -= Math.max(0, sent);
  if (peer.toSend > 0 === peer.isWaitingToSend) return;
  peer.isWaitingToSend = peer.toSend > 0;
  watch(peer.fd, peer.isWaitingToSend ? EPOLLIN | EPOLLOUT : EPOLLIN, false);
}

function receive(peer: Peer): void {
  const count = receiveNow(peer.fd, buffer);
  if (count === 0) throw new Error("The server closed a connection");
  peer.toReceive -= Math.max(0, count);
  if (peer.toReceive > 0) return;
  if (peer.toReceive < 0) throw new Error("The server sent more than the echo");
  if (isMeasuring) latencies.push(performance.now() - peer.sentAt);
  begin(peer);
}
