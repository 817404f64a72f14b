/**
 * Faulty peers over TLS: `tls_load.ts URL KIND CONNECTIONS SECONDS CA_FILE`. They send messages of 64 KiB and never
 * read (`unread`), or announce a ClientHello of 65,520 bytes, send it in records of one byte and go on forever
 * (`hello`). Dropped peers return. Prints the number of returns.
 */

const [url = "", kind = "", connections = "", seconds = "", caFile = ""] = Deno.args;
const { hostname, port, host } = new URL(url);
const caCerts = [await Deno.readTextFile(caFile)];
const until = performance.now() + Number(seconds) * 1000;
const MESSAGE_BYTES = 64 * 1024;
/** Delay of a dropped peer, as in a person's program, in milliseconds: without it only the peers would be measured. */
const AGAIN_MS = 10;
let dropped = 0;

/** A handshake message of type 1 and length 65,520 (RFC 8446 section 4) in records of one byte (section 5.1). */
function helloInPieces(): Uint8Array<ArrayBuffer> {
  const message = [1, 0, 0xff, 0xf0];
  const bytes = new Uint8Array(6 * 10_000);
  for (let at = 0; at < bytes.byteLength; at += 6) bytes.set([22, 3, 1, 0, 1, message[at / 6] ?? 0], at);
  return bytes;
}

async function announce(): Promise<void> {
  using conn = await Deno.connect({ hostname, port: Number(port) });
  const pieces = helloInPieces();
  await writeForEver(conn, pieces, pieces.subarray(24));
}

async function send(): Promise<void> {
  using conn = await Deno.connectTls({ hostname, port: Number(port), caCerts });
  const head = ["GET / HTTP/1.1", `Host: ${host}`, "Upgrade: websocket", "Connection: Upgrade"];
  const fields = ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""];
  await conn.write(new TextEncoder().encode([...head, ...fields].join("\r\n")));
  const message = new Uint8Array(14 + MESSAGE_BYTES);
  message.set([0x82, 0xff, 0, 0, 0, 0, 0, MESSAGE_BYTES >> 16, 0, 0]);
  await writeForEver(conn, message, message);
}

async function writeForEver(conn: Deno.Conn, first: Uint8Array, then: Uint8Array): Promise<void> {
  for (let bytes = first;; bytes = then) {
    for (let at = 0; at < bytes.byteLength;) at += await conn.write(bytes.subarray(at));
  }
}

for (let count = Number(connections); count > 0; count--) {
  (async () => {
    while (performance.now() < until) {
      try {
        await (kind === "hello" ? announce() : send());
      } catch {
        dropped++;
      }
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  })();
}
setTimeout(() => {
  console.log(`${dropped} in ${seconds} s`);
  Deno.exit(0);
}, Number(seconds) * 1000);
