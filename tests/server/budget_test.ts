import { assert, assertEquals } from "@std/assert";
import { type Holder, MemoryBudget, MIN_COUNTED_BYTES, MIN_HELD_BYTES, SHED_REASON } from "../../lib/server/budget.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** A holder that counts its calls. */
class Peer implements Holder {
  bytes = 0;
  measured = 0;
  shedCount = 0;
  /** The bytes left after shedding; `undefined` if it cannot shed. */
  readonly #rest: number | undefined;

  constructor(rest?: number) {
    this.#rest = rest;
  }

  heldBytes(): number {
    this.measured++;
    return this.bytes;
  }

  shed(): boolean {
    this.shedCount++;
    if (this.#rest === undefined) return false;
    this.bytes = this.#rest;
    return true;
  }

  /** Holds this many bytes from now on. */
  take(budget: MemoryBudget, bytes: number): boolean {
    this.bytes = bytes;
    return budget.hold(this, bytes);
  }
}

const peersOf = (count: number) => Array.from({ length: count }, () => new Peer(0));
const shedOf = (peers: readonly Peer[]) => peers.map(({ shedCount }) => shedCount);

Deno.test("MemoryBudget.hold() counts nothing below 4 KiB, and never refuses it", () => {
  const budget = new MemoryBudget(0);
  const peer = new Peer(0);
  for (let count = 0; count < 1000; count++) assert(peer.take(budget, MIN_COUNTED_BYTES - 1));
  assertEquals([budget.totalBytes, peer.measured, peer.shedCount], [0, 0, 0]);
  assertEquals(MIN_COUNTED_BYTES, 4 * KIB);
});

Deno.test("MemoryBudget.hold() adds up the current memory of the holders, and measures nobody as long as it fits", () => {
  const budget = new MemoryBudget(4 * MIB);
  const [a, b] = [new Peer(0), new Peer(0)];
  assert(a.take(budget, MIB) && b.take(budget, MIB) && a.take(budget, 3 * MIB));
  assertEquals(budget.totalBytes, 4 * MIB);
  assert(a.take(budget, 100 * KIB));
  assertEquals(budget.totalBytes, MIB + 100 * KIB);
  assert(a.take(budget, 10));
  budget.release(b);
  budget.release(b);
  assertEquals([budget.totalBytes, a.measured + b.measured], [0, 0]);
});

Deno.test("MemoryBudget.hold() sheds the largest when it is too much, and nobody else", () => {
  const budget = new MemoryBudget(6 * MIB);
  const peers = peersOf(4);
  assert(peers.every((peer, index) => peer.take(budget, [MIB, 3 * MIB, 2 * MIB, MIB][index]!)));
  assertEquals([shedOf(peers), budget.totalBytes], [[0, 1, 0, 0], 4 * MIB]);
});

Deno.test("MemoryBudget.hold() sheds the next largest too until it fits", () => {
  const budget = new MemoryBudget(6 * MIB);
  const peers = peersOf(4);
  const sizes = [2 * MIB, 3 * MIB, MIB, 5.5 * MIB];
  assert(peers.every((peer, index) => peer.take(budget, sizes[index]!)));
  // The holder of 5.5 MiB is the largest, and without it all fits.
  assertEquals([shedOf(peers), budget.totalBytes], [[0, 0, 0, 1], 6 * MIB]);
  const next = new Peer(0);
  assert(next.take(budget, 2.5 * MIB));
  assertEquals([shedOf(peers), next.shedCount], [[0, 1, 0, 1], 0]);
});

Deno.test("MemoryBudget.hold() sheds the one that asks if it is the largest", () => {
  const budget = new MemoryBudget(4 * MIB);
  const [small, large] = [new Peer(0), new Peer(0)];
  assert(small.take(budget, MIB));
  assert(large.take(budget, 10 * MIB));
  assertEquals([small.shedCount, large.shedCount, budget.totalBytes], [0, 1, MIB]);
});

Deno.test("MemoryBudget.hold() counts what is held now, not what was last reported", () => {
  const budget = new MemoryBudget(4 * MIB);
  const peers = peersOf(3);
  const [a, b, c] = peers as [Peer, Peer, Peer];
  assert(a.take(budget, 3 * MIB) && b.take(budget, MIB));
  a.bytes = 0;
  assert(c.take(budget, 2 * MIB));
  assertEquals([shedOf(peers), budget.totalBytes], [[0, 0, 0], 3 * MIB]);
});

Deno.test("MemoryBudget.hold() counts what is left with a holder that was shed, and does not ask it again", () => {
  const budget = new MemoryBudget(4 * MIB);
  const [stuck, small] = [new Peer(3 * MIB), new Peer(0)];
  assert(stuck.take(budget, 4 * MIB));
  assert(small.take(budget, MIB));
  assertEquals([stuck.shedCount, small.shedCount, budget.totalBytes], [1, 0, 4 * MIB]);
  const third = new Peer(0);
  assert(third.take(budget, MIB));
  assertEquals([stuck.shedCount, small.shedCount + third.shedCount], [1, 1]);
});

Deno.test("MemoryBudget.hold() returns false if nobody can release anything, and asks again 10 ms later", () => {
  let now = 0;
  const budget = new MemoryBudget(MIB, () => now);
  const [a, b] = [new Peer(), new Peer()];
  assertEquals([a.take(budget, MIB), b.take(budget, MIB)], [true, false]);
  now = 9;
  assertEquals(b.take(budget, MIB), false);
  assertEquals(shedOf([a, b]), [1, 1]);
  now = 10;
  assertEquals(b.take(budget, MIB), false);
  assertEquals(shedOf([a, b]), [2, 2]);
  budget.release(a);
  assertEquals([b.take(budget, MIB), budget.totalBytes], [true, MIB]);
});

Deno.test("MemoryBudget.hold() accepts that a holder releases itself when it is shed", () => {
  const budget = new MemoryBudget(MIB);
  const holder: Holder = { heldBytes: () => 0, shed: () => (budget.release(holder), true) };
  assert(budget.hold(holder, 2 * MIB));
  assertEquals(budget.totalBytes, 0);
});

Deno.test("MemoryBudget.hold() checks holders that grew since the measurement before it sheds the one that asks", () => {
  const budget = new MemoryBudget(4 * MIB, () => 0);
  const [first, large, asking] = [new Peer(0), new Peer(0), new Peer(0)];
  // This measures, and sheds the only holder.
  assert(first.take(budget, 5 * MIB));
  assert(large.take(budget, 3.5 * MIB));
  assert(asking.take(budget, MIB));
  assertEquals(shedOf([first, large, asking]), [1, 1, 0]);
});

Deno.test("MemoryBudget.hold() does not shed a holder that shrank since the measurement", () => {
  const budget = new MemoryBudget(6 * MIB, () => 0);
  const peers = peersOf(5);
  const [a, b, c, d, e] = peers as [Peer, Peer, Peer, Peer, Peer];
  // The third measures, and sheds the first.
  assert(a.take(budget, 3 * MIB) && b.take(budget, 2.5 * MIB) && c.take(budget, MIB));
  assert(b.take(budget, 100 * KIB) && d.take(budget, 4 * MIB) && e.take(budget, 1.5 * MIB));
  assertEquals(shedOf(peers), [1, 0, 0, 0, 1]);
});

Deno.test("MemoryBudget.hold() does not measure all of many holders at each call", () => {
  let now = 0;
  const budget = new MemoryBudget(64 * MIB, () => now);
  const peers = peersOf(1024);
  for (const peer of peers) assert(peer.take(budget, MIN_HELD_BYTES));
  const newcomers = peersOf(1000);
  for (const peer of newcomers) assert(peer.take(budget, MIN_HELD_BYTES));
  const most = () => Math.max(...[...peers, ...newcomers].map(({ measured }) => measured));
  // Once when the budget was full, once when shed.
  assert(most() <= 2, `${most()} measurings`);
  assertEquals(budget.totalBytes, 64 * MIB);
  now = 10;
  assert(new Peer(0).take(budget, MIN_HELD_BYTES));
  assert(most() <= 3, `${most()} measurings`);
});

Deno.test("MemoryBudget.hold() measures again only after ten times as long as it took", () => {
  let now = 0;
  const slow: Holder = { heldBytes: () => (now += 5, MIB), shed: () => false };
  const budget = new MemoryBudget(MIB, () => now);
  const asking = new Peer();
  assert(budget.hold(slow, MIB));
  // The first measurement takes from 0 to 5: the next one is due at 50.
  assertEquals(asking.take(budget, MIB), false);
  now = 49;
  assertEquals(asking.take(budget, MIB), false);
  assertEquals(asking.shedCount, 1);
  now = 50;
  assertEquals(asking.take(budget, MIB), false);
  assertEquals(asking.shedCount, 2);
});

Deno.test("MemoryBudget.reserve() grants a quarter of the whole, and released parts again", () => {
  const budget = new MemoryBudget(4 * MIB);
  assertEquals([budget.reserve(MIB / 2), budget.isTight], [true, false]);
  assertEquals([budget.reserve(MIB / 2), budget.isTight], [true, true]);
  assertEquals([budget.reserve(1), budget.totalBytes], [false, MIB]);
  budget.giveBack(MIB / 4);
  assertEquals([budget.reserve(MIB / 4), budget.totalBytes], [true, MIB]);
});

Deno.test("MemoryBudget.reserve() takes no memory that others hold", () => {
  const budget = new MemoryBudget(4 * MIB);
  const peer = new Peer(0);
  assert(peer.take(budget, 3.5 * MIB));
  assertEquals([budget.reserve(MIB), budget.reserve(MIB / 2), peer.shedCount], [false, true, 0]);
});

Deno.test("MemoryBudget.hold() counts what is reserved", () => {
  const budget = new MemoryBudget(4 * MIB);
  const peer = new Peer(0);
  assert(budget.reserve(MIB) && peer.take(budget, 3 * MIB));
  assertEquals(peer.shedCount, 0);
  assert(peer.take(budget, 3.1 * MIB));
  assertEquals([peer.shedCount, budget.totalBytes], [1, MIB]);
});

Deno.test("MemoryBudget has no limit with Infinity", () => {
  const budget = new MemoryBudget(Infinity);
  assert(new Peer(0).take(budget, 2 ** 50));
});

Deno.test("SHED_REASON fits into a close frame", () => {
  assert(new TextEncoder().encode(SHED_REASON).byteLength <= 123);
});
