/** TLS over a connection, without a server. */

import { assert, assertEquals, assertRejects } from "@std/assert";

import { within } from "../../lib/net/deadline.ts";
import { contextOf, SecureConn } from "../../lib/net/tls.ts";
import { type Demand, Turns, untilEvents } from "../../lib/net/turns.ts";
import { createAuthority } from "../support/certificates.ts";
import { RECORD, TlsPeer } from "../support/tls_peer.ts";
import { WAIT } from "../support/wire.ts";

const authority = await createAuthority();
const certificate = await authority.sign("wsproof test");
const caCerts = [authority.cert];

Deno.test("SecureConn.read() throws before the handshake, instead of waiting for ever", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const peer = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  const secure = new SecureConn(await listener.accept(), contextOf(certificate.cert, certificate.key));
  await assertRejects(() => secure.read(new Uint8Array(1)), Error, "Cannot read before the handshake");
  secure.close();
  peer.close();
  listener.close();
});

Deno.test("SecureConn.write() writes at most 32 KiB, and fails once it is closed", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const connecting = Deno.connectTls({ hostname: "127.0.0.1", port, caCerts });
  const secure = new SecureConn(await listener.accept(), contextOf(certificate.cert, certificate.key));
  const peer = await connecting;
  await Promise.all([secure.handshake(), peer.handshake()]);
  assertEquals(await within(secure.write(new Uint8Array(100_000)), "write", WAIT), 32_768);
  const reading = secure.read(new Uint8Array(1)).catch((error) => error.message);
  secure.close();
  assertEquals(await within(reading, "end", WAIT), "Connection closed");
  await assertRejects(() => within(secure.write(new Uint8Array(1)), "write", WAIT), Error);
  peer.close();
  listener.close();
});

class HeldTurns extends Turns {
  readonly asked = Promise.withResolvers<number>();
  readonly held = Promise.withResolvers<void>();
  readonly demands: number[] = [];

  spent = 0;

  override spend(work: number): void {
    this.spent += work;
  }

  override turn({ expectedWork }: Demand): Promise<void> {
    this.demands.push(expectedWork);
    this.asked.resolve(expectedWork);
    return this.held.promise;
  }
}

Deno.test("SecureConn.handshake() waits for its turn after the ClientHello", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connecting = TlsPeer.connect(listener.addr.port);
  const turns = new HeldTurns();
  const secure = new SecureConn(await listener.accept(), contextOf(certificate.cert, certificate.key), turns);
  let hasEnded = false;
  const handshake = secure.handshake().then(() => hasEnded = true);
  assertEquals(secure.hasBegun, false);
  // Two fit one period.
  assertEquals(await within(turns.asked.promise, "ClientHello", WAIT), 4096);
  assertEquals([secure.hasBegun, turns.spent], [true, 4096]);
  await untilEvents();
  assertEquals(hasEnded, false);
  turns.held.resolve();
  await within(handshake, "handshake", WAIT);
  (await within(connecting, "handshake", WAIT)).close();
  secure.close();
  listener.close();
});

Deno.test("SecureConn.handshake() fails when it is closed before its turn", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connecting = TlsPeer.connect(listener.addr.port);
  const turns = new HeldTurns();
  const secure = new SecureConn(await listener.accept(), contextOf(certificate.cert, certificate.key), turns);
  const handshake = secure.handshake();
  await within(turns.asked.promise, "ClientHello", WAIT);
  secure.close();
  turns.held.resolve();
  await assertRejects(() => within(handshake, "handshake", WAIT), Error, "Connection closed");
  await connecting.catch(() => {});
  listener.close();
});

Deno.test("SecureConn.read() decrypts at most one piece ahead of its reader", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connecting = TlsPeer.connect(listener.addr.port);
  const tcp = await listener.accept();
  const reads: number[] = [];
  const counted: Deno.TcpConn = Object.create(tcp, {
    read: {
      async value(into: Uint8Array) {
        const count = await tcp.read(into);
        reads.push(count ?? 0);
        return count;
      },
    },
    write: { value: (bytes: Uint8Array) => tcp.write(bytes) },
    close: { value: () => tcp.close() },
  });
  const secure = new SecureConn(counted, contextOf(certificate.cert, certificate.key));
  await within(secure.handshake(), "handshake", WAIT);
  const peer = await within(connecting, "handshake", WAIT);
  for (let count = 0; count < 20; count++) await peer.write(new Uint8Array(10_000));
  reads.length = 0;
  let read = 0;
  while (read < 200_000) {
    const count = await within(secure.read(new Uint8Array(1000)), "bytes", WAIT) ?? 0;
    read += count;
    const arrived = reads.reduce((sum, bytes) => sum + bytes, 0);
    assert(arrived - read <= 2 * 32_768, `${arrived} bytes of TCP for ${read} of plaintext`);
  }
  secure.close();
  peer.close();
  listener.close();
});

/** Sends records of a peer, with as many bytes of plaintext, and reads them; returns the turns with what they have counted. */
async function turnsFor(
  plainBytes: number,
  seal: (peer: TlsPeer) => Promise<readonly Uint8Array<ArrayBuffer>[]>,
): Promise<Pick<HeldTurns, "spent" | "demands">> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connecting = TlsPeer.connect(listener.addr.port);
  const turns = new HeldTurns();
  turns.held.resolve();
  const secure = new SecureConn(await listener.accept(), contextOf(certificate.cert, certificate.key), turns);
  await within(secure.handshake(), "handshake", WAIT);
  const peer = await within(connecting, "handshake", WAIT);
  const writing = peer.writeRaw(new Uint8Array(await new Blob([...await seal(peer)]).arrayBuffer()));
  for (let left = plainBytes; left > 0;) {
    left -= await within(secure.read(new Uint8Array(32_768)), "bytes", WAIT) ?? left;
  }
  await writing;
  secure.close();
  peer.close();
  listener.close();
  // The first was for the handshake.
  const [handshake = 0, ...demands] = turns.demands;
  return { spent: turns.spent - handshake, demands };
}

Deno.test("SecureConn.read() takes turns for updates of the keys, which carry nothing", async () => {
  const turns = await turnsFor(48, async (peer) => {
    const records: Uint8Array<ArrayBuffer>[] = [];
    for (let count = 0; count < 48; count++) {
      for (let update = 0; update < 31; update++) records.push(await peer.sealUpdate());
      records.push(await peer.seal(RECORD.data, new Uint8Array(1)));
    }
    return records;
  });
  // 150 for each of 27 bytes of an update, and 21 of a byte of data; the rest of a division is lost with each read.
  assert(turns.spent > 11_000 && turns.spent <= 12_065, `${turns.spent} frames`);
  assert(turns.demands.length > 0 && turns.demands.every((work) => work >= 1024), `turns of ${turns.demands}`);
});

Deno.test("SecureConn.read() leaves the turns for plaintext to its reader", async () => {
  const turns = await turnsFor(100 * 28, async (peer) => {
    const records: Uint8Array<ArrayBuffer>[] = [];
    // Messages of 20 bytes are the least that are usual.
    for (let count = 0; count < 100; count++) records.push(await peer.seal(RECORD.data, new Uint8Array(28)));
    return records;
  });
  assertEquals(turns, { spent: 0, demands: [] });
});
