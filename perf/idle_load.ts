/**
 * Idle clients: `idle_load.ts URL CONNECTIONS [FIELD ...]` opens them, reports that with a line of JSON, and answers
 * pings. For each line on standard input it reports their state, and proves an echo on every hundredth. It ends with
 * its input. Linux only.
 */

import { connectUpgraded, EPOLLIN, maskedFrame, receiveNow, sendNow, watch, whenReady } from "./sockets.ts";

const [url = "", connections = "", ...fields] = Deno.args;
const PONG = Uint8Array.of(0x8a, 0x80, 0, 0, 0, 0);
const MESSAGE = maskedFrame(20);
/** The echo is not masked. */
const ECHO_BYTES = MESSAGE.byteLength - 4;
const PING_OPCODE = 9;

const open = new Set<number>();
const buffer = new Uint8Array(4096);
let pings = 0;
let echoes = 0;

for (let count = Number(connections); count > 0; count--) {
  const fd = connectUpgraded(url, fields);
  open.add(fd);
  watch(fd, EPOLLIN, true);
  // Answers early pings of the server while others are still being opened.
  if (count % 100 === 0) whenReady(0, receive);
}
say();

const lines = Deno.stdin.readable[Symbol.asyncIterator]();
const nextLine = (): Promise<"line" | "end"> => lines.next().then(({ done }) => done ? "end" : "line");
let next = nextLine();
while (true) {
  whenReady(20, receive);
  const what = await Promise.race([next, new Promise((resolve) => setTimeout(resolve))]);
  if (what === "end") Deno.exit(0);
  if (what !== "line") continue;
  next = nextLine();
  proveEchoes();
  say();
}

function say(): void {
  console.log(JSON.stringify({ open: open.size, pings, echoes }));
}

function proveEchoes(): void {
  const chosen = [...open].filter((_, index) => index % 100 === 0);
  echoes = 0;
  for (const fd of chosen) sendNow(fd, MESSAGE);
  const until = performance.now() + 10_000;
  while (echoes < chosen.length && performance.now() < until) whenReady(20, receive);
}

/** Every frame of the server is short, and arrives whole. */
function receive(fd: number): void {
  const count = receiveNow(fd, buffer);
  if (count <= 0) {
    if (open.delete(fd)) watch(fd, 0, false);
    return;
  }
  for (let at = 0; at < count;) {
    const length = (buffer[at + 1] ?? 0) & 127;
    if (((buffer[at] ?? 0) & 15) === PING_OPCODE) {
      pings++;
      sendNow(fd, PONG);
    } else if (2 + length === ECHO_BYTES) {
      echoes++;
    }
    at += 2 + length;
  }
}
