import { assertEquals } from "@std/assert";
import { type Holder, MemoryBudget } from "../../lib/server/budget.ts";
import { SharedLimits, WorkerShare } from "../../lib/server/workers_share.ts";

const MIB = 1024 * 1024;

/** This many workers in one thread, and their requests to others. */
function workersOf(count: number, limits: { maxConnections: number; maxHeads: number }) {
  const shared = new SharedLimits(count, limits);
  const asked: string[] = [];
  const shares = Array.from({ length: count }, (_, index) =>
    new WorkerShare(shared.memory, index, {
      room: () => void asked.push(`${index} room`),
      shed: (other) => void asked.push(`${index} shed ${other}`),
    }));
  const share = (index: number): WorkerShare => {
    const found = shares[index];
    if (found === undefined) throw new Error(`There is no worker ${index}`);
    return found;
  };
  return { shared, share, asked };
}

/** A peer that frees its memory when shed. */
class Peer implements Holder {
  constructor(public bytes: number) {}
  heldBytes = () => this.bytes;
  shed = () => {
    this.bytes = 0;
    return true;
  };
}

Deno.test("WorkerShare numbers the connections of all workers in the order of arrival", () => {
  const { share } = workersOf(3, { maxConnections: 10, maxHeads: 9 });
  assertEquals([0, 2, 1, 1, 0].map((index) => share(index).take()), [1, 2, 3, 4, 5]);
});

Deno.test("WorkerShare counts the places of all workers", () => {
  const { shared, share } = workersOf(2, { maxConnections: 3, maxHeads: 8 });
  assertEquals([0, 0, 1, 1, 0].map((index) => share(index).take()), [1, 2, 3, undefined, undefined]);
  assertEquals([shared.connections, share(0).connections, share(1).connections], [3, 2, 1]);
  share(0).leave();
  assertEquals([share(1).take(), share(0).take()], [4, undefined]);
});

Deno.test("SharedLimits takes a dead worker out of all sums", () => {
  const { shared, share } = workersOf(2, { maxConnections: 3, maxHeads: 8 });
  for (const index of [0, 1, 1]) share(index).take();
  share(1).maxHeads(5);
  share(1).tell(3 * MIB, 2 * MIB);
  assertEquals([shared.connections, shared.heads, share(0).othersBytes()], [3, 5, 3 * MIB]);
  assertEquals(shared.bury(1), 2);
  assertEquals([shared.connections, shared.heads, share(0).othersBytes()], [1, 0, 0]);
  assertEquals(share(0).askOthers(0), false);
  assertEquals([share(0).take(), share(0).take(), share(0).take()], [4, 5, undefined]);
});

Deno.test("SharedLimits changes the limits of all workers", () => {
  const { shared, share } = workersOf(4, { maxConnections: 1, maxHeads: 1024 });
  assertEquals([share(0).take(), share(3).take(), share(1).maxHeads(0)], [1, undefined, 256]);
  shared.allow({ maxConnections: 2, maxHeads: 2 });
  assertEquals([share(3).take(), share(2).take(), share(1).maxHeads(0)], [2, undefined, 1]);
});

Deno.test("WorkerShare asks for room after each 64 connections more than before", () => {
  const { share, asked } = workersOf(2, { maxConnections: 1000, maxHeads: 8 });
  for (let connections = 0; connections < 63; connections++) share(0).take();
  assertEquals(asked, []);
  share(0).take();
  assertEquals(asked, ["0 room"]);
  for (let connections = 0; connections < 64; connections++) share(0).take();
  assertEquals(asked, ["0 room", "0 room"]);
  // Peers that leave and return do not add to the count.
  for (let connections = 0; connections < 63; connections++) share(0).leave();
  for (let connections = 0; connections < 63; connections++) share(0).take();
  assertEquals(asked.length, 2);
});

Deno.test("WorkerShare asks for room after each 64 more connections before their upgrade as well", () => {
  const { share, asked } = workersOf(2, { maxConnections: 1000, maxHeads: 1024 });
  for (let heads = 0; heads < 64; heads++) share(0).maxHeads(heads);
  assertEquals(asked, []);
  share(0).maxHeads(64);
  assertEquals(asked, ["0 room"]);
  // Upgraded, they are as many as before.
  for (let connections = 1; connections <= 64; connections++) {
    share(0).maxHeads(64 - connections);
    share(0).take();
  }
  assertEquals(asked, ["0 room"]);
  for (let heads = 0; heads <= 64; heads++) share(0).maxHeads(heads);
  assertEquals(asked.length, 2);
});

Deno.test("WorkerShare asks the worker with the largest holder once, until it answers", () => {
  const { share, asked } = workersOf(3, { maxConnections: 9, maxHeads: 9 });
  share(0).tell(2 * MIB, MIB);
  share(1).tell(5 * MIB, MIB);
  share(2).tell(4 * MIB, 4 * MIB);
  assertEquals([share(0).askOthers(MIB), share(1).askOthers(MIB)], [true, true]);
  assertEquals(asked, ["0 shed 2"]);
  share(2).heard();
  assertEquals([share(1).askOthers(MIB), share(2).askOthers(4 * MIB)], [true, false]);
  assertEquals(asked, ["0 shed 2", "1 shed 2"]);
});

/** Two budgets of two workers with one limit. */
function budgetsOf(maxBytes: number) {
  const { share, asked } = workersOf(2, { maxConnections: 9, maxHeads: 9 });
  const budgets = [0, 1].map((index) => new MemoryBudget(maxBytes, () => 0, share(index)));
  const budget = (index: number): MemoryBudget => {
    const found = budgets[index];
    if (found === undefined) throw new Error(`There is no budget ${index}`);
    return found;
  };
  return { budget, share, asked };
}

Deno.test("MemoryBudget counts what the peers of all workers hold", () => {
  const { budget } = budgetsOf(8 * MIB);
  budget(0).hold(new Peer(3 * MIB), 3 * MIB);
  budget(1).hold(new Peer(2 * MIB), 2 * MIB);
  assertEquals([budget(0).totalBytes, budget(1).totalBytes], [5 * MIB, 5 * MIB]);
  assertEquals([budget(0).reserve(MIB), budget(1).totalBytes], [true, 6 * MIB]);
  budget(0).giveBack(MIB);
  assertEquals(budget(1).totalBytes, 5 * MIB);
});

Deno.test("MemoryBudget sheds its own largest when that is the largest of all workers", () => {
  const { budget, asked } = budgetsOf(4 * MIB);
  const [small, large] = [new Peer(MIB), new Peer(3.5 * MIB)];
  budget(1).hold(small, small.bytes);
  assertEquals(budget(0).hold(large, large.bytes), true);
  assertEquals([large.bytes, small.bytes, asked], [0, MIB, []]);
});

Deno.test("MemoryBudget leaves the shedding to the worker that has the largest of all", () => {
  const { budget, share, asked } = budgetsOf(4 * MIB);
  const [large, small] = [new Peer(3.5 * MIB), new Peer(0.75 * MIB)];
  budget(1).hold(large, large.bytes);
  assertEquals(budget(0).hold(small, small.bytes), true);
  assertEquals([asked, small.bytes], [["0 shed 1"], 0.75 * MIB]);
  share(1).heard();
  budget(1).relieve();
  assertEquals([large.bytes, budget(0).totalBytes], [0, 0.75 * MIB]);
});

Deno.test("MemoryBudget waits for another worker up to an eighth over the limit, and no further", () => {
  const { budget } = budgetsOf(8 * MIB);
  budget(1).hold(new Peer(6 * MIB), 6 * MIB);
  const [fits, exceeds] = [new Peer(3 * MIB), new Peer(MIB)];
  assertEquals([budget(0).hold(fits, fits.bytes), fits.bytes], [true, 3 * MIB]);
  // 9 MiB is an eighth over 8 MiB.
  assertEquals(budget(0).hold(exceeds, exceeds.bytes), true);
  assertEquals([fits.bytes, exceeds.bytes], [0, MIB]);
});

Deno.test("MemoryBudget sheds the requested holder only while it is the largest", () => {
  const { budget, share, asked } = budgetsOf(4 * MIB);
  const [left, stays] = [new Peer(3 * MIB), new Peer(0.5 * MIB)];
  for (const peer of [left, stays]) budget(1).hold(peer, peer.bytes);
  budget(0).hold(new Peer(0.75 * MIB), 0.75 * MIB);
  assertEquals(asked, ["0 shed 1"]);
  // The intended holder lets go by itself, and another worker takes its memory.
  budget(1).release(left);
  for (const bytes of [1.5 * MIB, 1.75 * MIB]) budget(0).hold(new Peer(bytes), bytes);
  share(1).heard();
  budget(1).relieve();
  assertEquals([stays.bytes, asked.at(-1)], [0.5 * MIB, "1 shed 0"]);
});

Deno.test("MemoryBudget reserves the read buffers of each worker from the worker's part", () => {
  const { budget } = budgetsOf(8 * MIB);
  assertEquals([budget(0).reserve(MIB), budget(0).isTight], [true, true]);
  assertEquals([budget(0).reserve(1), budget(1).reserve(MIB)], [false, true]);
});
