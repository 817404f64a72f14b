/** The sockets of libc, called directly, and epoll: clients too cheap to distort a measurement. Linux only. */

const { symbols: libc } = Deno.dlopen("libc.so.6", {
  socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
  connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  close: { parameters: ["i32"], result: "i32" },
  epoll_create1: { parameters: ["i32"], result: "i32" },
  epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  epoll_wait: { parameters: ["i32", "buffer", "i32", "i32"], result: "i32" },
});
const [AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY] = [2, 1, 6, 1];
const [MSG_DONTWAIT, MSG_NOSIGNAL] = [0x40, 0x4000];
/** The kernel packs the structure on x86 only. */
const [EVENT_BYTES, EVENT_DATA] = Deno.build.arch === "x86_64" ? [12, 4] : [16, 8];
const MAX_EVENTS = 512;

/** The events of a socket. */
export const [EPOLLIN, EPOLLOUT] = [1, 4];

const epoll = libc.epoll_create1(0);
const events = new Uint8Array(EVENT_BYTES * MAX_EVENTS);
const view = new DataView(events.buffer);

/** Connects; the socket blocks until it is used with {@linkcode sendNow} or {@linkcode receiveNow}. */
export function connect(url: string): number {
  const { hostname, port } = new URL(url);
  const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
  const address = new Uint8Array(16);
  new DataView(address.buffer).setUint16(0, AF_INET, true);
  new DataView(address.buffer).setUint16(2, Number(port));
  address.set(hostname.split(".").map(Number), 4);
  if (fd < 0 || libc.connect(fd, address, 16) !== 0) throw new Error(`Cannot connect to ${url}`);
  libc.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, new Uint8Array(Int32Array.of(1).buffer), 4);
  return fd;
}

/** The start of a handshake: its head without the empty line. */
export function unfinishedHead(url: string, fields: readonly string[]): Uint8Array {
  const own = [
    "GET / HTTP/1.1",
    `Host: ${new URL(url).host}`,
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
  ];
  return new TextEncoder().encode([...own, ...fields, ""].join("\r\n"));
}

/** Connects and upgrades. */
export function connectUpgraded(url: string, fields: readonly string[]): number {
  const fd = connect(url);
  const head = new Uint8Array([...unfinishedHead(url, fields), 13, 10]);
  libc.send(fd, head, BigInt(head.byteLength), MSG_NOSIGNAL);
  const buffer = new Uint8Array(4096);
  let answer = "";
  while (!answer.endsWith("\r\n\r\n")) {
    const count = Number(libc.recv(fd, buffer, BigInt(buffer.byteLength), 0));
    if (count <= 0) throw new Error(`No upgrade: ${answer}`);
    answer += new TextDecoder().decode(buffer.subarray(0, count));
  }
  if (!answer.startsWith("HTTP/1.1 101 ")) throw new Error(`No upgrade: ${answer}`);
  return fd;
}

/** Sends without waiting; returns the number of bytes, or -1 if none fit or the peer is gone. */
export function sendNow(fd: number, bytes: Uint8Array): number {
  return Number(libc.send(fd, bytes, BigInt(bytes.byteLength), MSG_DONTWAIT | MSG_NOSIGNAL));
}

/** Receives without waiting; returns the number of bytes: 0 at the end, -1 if nothing is there, or on an error. */
export function receiveNow(fd: number, buffer: Uint8Array): number {
  return Number(libc.recv(fd, buffer, BigInt(buffer.byteLength), MSG_DONTWAIT));
}

/** Closes a socket. */
export function close(fd: number): void {
  libc.close(fd);
}

/** Sets the events of a socket for {@linkcode whenReady}, first or anew. */
export function watch(fd: number, interest: number, isNew: boolean): void {
  const [CTL_ADD, CTL_MOD] = [1, 3];
  const event = new Uint8Array(EVENT_BYTES);
  const eventView = new DataView(event.buffer);
  eventView.setUint32(0, interest, true);
  eventView.setInt32(EVENT_DATA, fd, true);
  if (libc.epoll_ctl(epoll, isNew ? CTL_ADD : CTL_MOD, fd, event) !== 0) throw new Error(`Cannot watch socket ${fd}`);
}

/** Waits for ready sockets up to a deadline, and reports each. */
export function whenReady(timeoutMs: number, tell: (fd: number, ready: number) => void): void {
  const count = libc.epoll_wait(epoll, events, MAX_EVENTS, timeoutMs);
  for (let index = 0; index < count; index++) {
    const at = index * EVENT_BYTES;
    tell(view.getInt32(at + EVENT_DATA, true), view.getUint32(at, true));
  }
}

/** A binary message in one frame, masked as by a client. */
export function maskedFrame(length: number): Uint8Array<ArrayBuffer> {
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
