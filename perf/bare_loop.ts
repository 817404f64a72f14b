/** Sends a payload in parts over a bare WebSocket and compares each echo: the baseline for `--split`. */
import { Buffer } from "node:buffer";

const [url = "", totalBytes = "0", partBytes = "0"] = Deno.args;
const parts = Number(totalBytes) / Number(partBytes);
const part = new Uint8Array(Number(partBytes));
for (let at = 0; at < part.byteLength; at += 65536) crypto.getRandomValues(part.subarray(at, at + 65536));
/** As many pending parts as wsproof has at 1 MiB a part. */
const WINDOW = 4;

const socket = new WebSocket(url);
socket.binaryType = "arraybuffer";
let sent = 0;
let received = 0;
socket.onopen = () => {
  for (; sent < Math.min(WINDOW, parts); sent++) socket.send(part);
};
socket.onmessage = ({ data }) => {
  if (Buffer.compare(new Uint8Array(data), part) !== 0) Deno.exit(6);
  if (sent < parts) {
    socket.send(part);
    sent++;
  }
  if (++received === parts) socket.close(1000);
};
socket.onerror = () => Deno.exit(7);
socket.onclose = ({ code }) => Deno.exit(code === 1000 ? 0 : 8);
