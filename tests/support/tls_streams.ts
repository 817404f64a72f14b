/**
 * Broken TLS streams, from a seed: ClientHellos and handshakes of TLS 1.2 and 1.3 that are changed, cut, split,
 * repeated or flooded, and records after a good handshake that no client would send.
 */

import { Random } from "../../perf/fuzz/random.ts";
import { TimeoutError, within } from "../../lib/net/deadline.ts";
import { requestHead } from "./raw_peer.ts";
import { clientHello, inRecords, legacyClientHello, message, RECORD, record, TlsPeer } from "./tls_peer.ts";
import { frame, joined } from "./wire.ts";

/** Deadline for a server to drop a stream after its end, in milliseconds. */
const LET_GO = { timeoutMs: 30_000 };

/** Changes, cuts or lengthens bytes; preferably the first, with types and lengths. */
function changed(random: Random, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const copy = bytes.slice();
  for (let count = 1 + random.below(4); count > 0; count--) {
    const at = random.below(random.pick([5, 16, 64, copy.byteLength]));
    if (at < copy.byteLength) copy[at] = random.pick([0, 1, 0x7f, 0xff, random.below(256)]);
  }
  const how = random.below(4);
  if (how === 0) return copy.slice(0, random.below(copy.byteLength + 1));
  if (how === 1) return joined(copy, random.bytes(random.below(200)));
  return copy;
}

const TYPES = [20, 21, 22, 23, 24, 0, 255] as const;

/** Streams that break before the end of the handshake. */
async function earlyStream(random: Random): Promise<Uint8Array<ArrayBuffer>> {
  const { message: hello } = random.below(2) === 0 ? await clientHello() : legacyClientHello(random.bytes(32));
  const size = random.pick([1, 2, 5, 50, 100, 16_384]);
  const good = inRecords(RECORD.handshake, hello, size);
  // The key exchange of TLS 1.2 with an arbitrary key, and a Finished that nobody can decrypt.
  const exchange = joined(
    record(RECORD.handshake, message(16, joined(Uint8Array.of(32), random.bytes(32)))),
    record(20, Uint8Array.of(1)),
    record(RECORD.handshake, random.bytes(40)),
  );
  switch (random.below(11)) {
    case 0:
      return changed(random, good);
    case 1:
      return inRecords(RECORD.handshake, changed(random, hello), size);
    case 2:
      return joined(random.bytes(random.below(20)), good);
    case 3:
      return random.bytes(random.below(2000));
    case 4:
      return joined(good, changed(random, exchange));
    case 5:
      return joined(good, exchange, good);
    case 6: {
      const flood = record(random.pick(TYPES), random.bytes(random.below(40)));
      return joined(random.pick([good, new Uint8Array(0)]), ...Array.from({ length: 4000 }, () => flood));
    }
    case 7:
      return joined(good, inRecords(random.pick(TYPES), random.bytes(random.below(3000)), 1 + random.below(500)));
    case 8:
      // Announced as long, never completed.
      return inRecords(RECORD.handshake, message(1, random.bytes(random.below(80_000))).slice(0, 70_000), size + 20);
    case 9:
      return new TextEncoder().encode(
        random.pick([requestHead(), "SSH-2.0-x\r\n", "GET ", "\r\n\r\n", "PRI * HTTP/2.0"]),
      );
    default:
      return joined(good, record(random.pick(TYPES), new Uint8Array(0)), random.bytes(random.below(100)));
  }
}

/** The end of a stream. */
type End = "fin" | "reset" | "close_notify";

/** Sends a stream that breaks before the end of the handshake. */
async function sendEarly(random: Random, port: number): Promise<undefined> {
  const bytes = await earlyStream(random);
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  try {
    conn.setNoDelay(true);
    // In pieces or in one.
    const size = random.pick([bytes.byteLength, 1 + random.below(100), 1 + random.below(5000)]);
    const pieces = Math.ceil(bytes.byteLength / Math.max(size, bytes.byteLength / 200, 1));
    for (let count = 0; count < pieces; count++) {
      const part = bytes.subarray(
        Math.floor(bytes.byteLength * count / pieces),
        Math.floor(bytes.byteLength * (count + 1) / pieces),
      );
      for (let at = 0; at < part.byteLength;) at += await conn.write(part.subarray(at));
    }
    if (random.below(8) === 0) return undefined;
    await conn.closeWrite();
    const forgotten = new Uint8Array(65_536);
    while (await conn.read(forgotten) !== null);
    return undefined;
  } finally {
    conn.close();
  }
}

/** Sends records after a good handshake; returns wrongly accepted ones. */
async function sendLate(random: Random, port: number): Promise<string | undefined> {
  const peer = await TlsPeer.connect(port, { helloRecordBytes: random.pick([1, 40, 16_384]) });
  try {
    const isUpgraded = random.below(4) > 0;
    if (isUpgraded) {
      await peer.write(requestHead());
      await peer.read();
    }
    const good = await peer.seal(RECORD.data, frame(1, "good"));
    const wrong = await wrongRecords(random, peer);
    const last = await peer.seal(RECORD.data, frame(1, "last"));
    const isSent = isUpgraded && random.below(2) === 0;
    if (isSent) await peer.writeRaw(good);
    // The missing record breaks the sequence of keys: the server must reject all that follows.
    const stream = joined(wrong, last);
    const size = random.pick([stream.byteLength, 1 + random.below(3000)]);
    const echoes = echoesOf(peer);
    for (let at = 0; at < stream.byteLength; at += size) await peer.writeRaw(stream.subarray(at, at + size));
    const end = random.pick<End>(["fin", "reset", "close_notify"]);
    if (end === "reset") return undefined;
    if (end === "close_notify") await peer.writeRaw(await peer.seal(RECORD.alert, Uint8Array.of(1, 0)));
    await peer.closeWrite();
    const text = await echoes;
    return text.includes("last") && !isSent ? "an echo behind a record that is missing" : undefined;
  } finally {
    peer.close();
  }
}

async function wrongRecords(random: Random, peer: TlsPeer): Promise<Uint8Array<ArrayBuffer>> {
  const body = random.bytes(random.below(random.pick([10, 300, 16_000])));
  const many = async (count: number, type: number, bytes: Uint8Array, padding = 0) => {
    const records: Uint8Array[] = [];
    for (let sealed = 0; sealed < count; sealed++) records.push(await peer.seal(type, bytes, padding));
    return joined(...records);
  };
  switch (random.below(10)) {
    case 0:
      return changed(random, await peer.seal(RECORD.data, body));
    case 1:
      return await peer.seal(random.pick(TYPES), body);
    case 2:
      return await many(1 + random.below(50), RECORD.data, new Uint8Array(0), random.pick([0, 0, 5000]));
    case 3:
      return await many(1 + random.below(40), RECORD.handshake, message(24, Uint8Array.of(random.below(3))));
    case 4:
      return await many(1 + random.below(10), RECORD.alert, Uint8Array.of(1 + random.below(2), random.below(256)));
    case 5:
      return await many(1 + random.below(100), RECORD.handshake, random.bytes(1 + random.below(5)));
    case 6:
      return await peer.seal(RECORD.handshake, changed(random, message(random.below(30), body)));
    case 7:
      return record(random.pick(TYPES), body);
    case 8:
      return random.bytes(random.below(70_000));
    default:
      return await peer.seal(RECORD.handshake, (await clientHello()).message);
  }
}

/** The text of all received data. */
async function echoesOf(peer: TlsPeer): Promise<string> {
  let text = "";
  try {
    while (true) {
      const { type, bytes } = await peer.read();
      if (type === RECORD.data) text += new TextDecoder().decode(bytes);
    }
  } catch {
    return text;
  }
}

/**
 * Sends one stream to a server on 127.0.0.1.
 *
 * @param port Its port.
 * @param seed The seed of the stream.
 * @returns The server's fault; `undefined` for none.
 */
export async function sendTlsStream(port: number, seed: number): Promise<string | undefined> {
  const random = new Random(seed);
  // The first numbers of neighboring seeds are alike.
  for (let count = 0; count < 4; count++) random.below(2);
  const sending = random.below(2) === 0 ? sendEarly(random, port) : sendLate(random, port);
  try {
    return await within<string | undefined>(sending, "end", LET_GO);
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return "Server does not listen any more";
    // A drop in the middle is right; a peer that still waits is not.
    return error instanceof TimeoutError ? `Server does not let go: ${error.message}` : undefined;
  }
}
