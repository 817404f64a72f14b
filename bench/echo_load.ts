/**
 * One measurement of an echo server: `echo_load.ts URL BYTES CONNECTIONS SECONDS` sends binary messages, one at a time on
 * each connection, and prints a line of JSON. Linux only.
 *
 * It calls the sockets of libc directly and waits with epoll: a message costs it two system calls and no promise, a small
 * part of what any server under Deno has to do. That, and the CPU time that it reports, keeps it from being what is measured.
 */

import process from "node:process";

const { symbols: libc } = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
});
const [AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY] = [2, 1, 6, 1];
const [MSG_DONTWAIT, MSG_NOSIGNAL] = [0x40, 0x4000];
const [EPOLLIN, EPOLLOUT, CTL_ADD, CTL_MOD] = [1, 4, 1, 3];
/** The kernel packs the structure on x86 only. */
const [EVENT_BYTES, EVENT_DATA] = Deno.build.arch === "x86_64" ? [12, 4] : [16, 8];

const [url = "", bytes = "", connections = "", seconds = ""] = Deno.args;
const { hostname, port } = new URL(url);
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

const epoll = libc.epoll_create1(0);
const peers = new Map<number, Peer>();
for (let count = Number(connections); count > 0; count--) {
  const peer = { fd: open(), toSend: 0, toReceive: 0, sentAt: 0, isWaitingToSend: false };
  peers.set(peer.fd, peer);
  watch(CTL_ADD, peer.fd, EPOLLIN);
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
  const events = new Uint8Array(EVENT_BYTES * 512);
  const view = new DataView(events.buffer);
  const until = performance.now() + forMs;
  while (performance.now() < until) {
    const count = libc.epoll_wait(epoll, events, 512, 100);
    for (let index = 0; index < count; index++) {
      const at = index * EVENT_BYTES;
      const peer = peers.get(view.getInt32(at + EVENT_DATA, true));
      if (peer === undefined) continue;
      const ready = view.getUint32(at, true);
      if (ready & EPOLLOUT) send(peer);
      if (ready & ~EPOLLOUT) receive(peer);
    }
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
  const sent = Number(libc.send(peer.fd, rest, BigInt(peer.toSend), MSG_DONTWAIT | MSG_NOSIGNAL));
  // Less than nothing is a full socket here: a server that is gone is found by receive().
  peer.toSend -= Math.max(0, sent);
  if (peer.toSend > 0 === peer.isWaitingToSend) return;
  peer.isWaitingToSend = peer.toSend > 0;
  watch(CTL_MOD, peer.fd, peer.isWaitingToSend ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

function receive(peer: Peer): void {
  const count = Number(libc.recv(peer.fd, buffer, BigInt(buffer.byteLength), MSG_DONTWAIT));
  if (count === 0) throw new Error("The server closed a connection");
  peer.toReceive -= Math.max(0, count);
  if (peer.toReceive > 0) return;
  if (peer.toReceive < 0) throw new Error("The server sent more than the echo");
  if (isMeasuring) latencies.push(performance.now() - peer.sentAt);
  begin(peer);
}

function watch(operation: number, fd: number, interest: number): void {
  const event = new Uint8Array(EVENT_BYTES);
  const view = new DataView(event.buffer);
  view.setUint32(0, interest, true);
  view.setInt32(EVENT_DATA, fd, true);
  if (libc.epoll_ctl(epoll, operation, fd, event) !== 0) throw new Error(`Cannot watch socket ${fd}`);
}

/** Connects and upgrades. */
function open(): number {
  const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
  const address = new Uint8Array(16);
  new DataView(address.buffer).setUint16(0, AF_INET, true);
  new DataView(address.buffer).setUint16(2, Number(port));
  address.set(hostname.split(".").map(Number), 4);
  if (fd < 0 || libc.connect(fd, address, 16) !== 0) throw new Error(`Cannot connect to ${url}`);
  libc.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, new Uint8Array(Int32Array.of(1).buffer), 4);
  const head = new TextEncoder().encode(
    `GET / HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
  );
  libc.send(fd, head, BigInt(head.byteLength), MSG_NOSIGNAL);
  let answer = "";
  while (!answer.endsWith("\r\n\r\n")) {
    const count = Number(libc.recv(fd, buffer, BigInt(buffer.byteLength), 0));
    if (count <= 0) throw new Error(`No upgrade: ${answer}`);
    answer += new TextDecoder().decode(buffer.subarray(0, count));
  }
  if (!answer.startsWith("HTTP/1.1 101 ")) throw new Error(`No upgrade: ${answer}`);
  return fd;
}

function maskedFrame(length: number): Uint8Array<ArrayBuffer> {
  const key = [0x12, 0x34, 0x56, 0x78];
  const size = length < 126
    ? [0x80 | length]
    : length < 65536
    ? [0xfe, length >> 8, length & 255]
    : [0xff, 0, 0, 0, 0, length >>> 24, length >>> 16 & 255, length >>> 8 & 255, length & 255];
  const header = [0x82, ...size, ...key];
  const bytes = new Uint8Array(header.length + length);
  bytes.set(header);
  for (let at = 0; at < length; at++) bytes[header.length + at] = (at * 31 & 255) ^ (key[at & 3] ?? 0);
  return bytes;
}
