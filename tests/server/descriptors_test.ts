import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { countDescriptors, DescriptorRoom, descriptorsFor, fitToDescriptors } from "../../lib/server/descriptors.ts";

/** A system that opens this many, then fails like the runtime. */
function systemOf(limit: number, code = "EMFILE") {
  let [open, most] = [0, 0];
  return {
    counts: () => [open, most],
    open() {
      if (open === limit) throw Object.assign(new Error(`${code}: open '/dev/null'`), { code });
      most = Math.max(most, ++open);
      return { close: () => void open-- };
    },
  };
}

Deno.test("countDescriptors() finds the limit, and holds none of them afterwards", () => {
  const few = systemOf(37);
  assertEquals([countDescriptors(100, few.open), few.counts()], [37, [0, 37]]);
});

Deno.test("countDescriptors() stops when there are enough", () => {
  const many = systemOf(1000);
  assertEquals([countDescriptors(100, many.open), many.counts()], [100, [0, 100]]);
});

Deno.test("countDescriptors() is undefined, when something else is wrong", () => {
  assertEquals(countDescriptors(100, systemOf(3, "ENOENT").open), undefined);
});

/** A room on a system with this many descriptors, some of them taken by connections; and the counts and messages. */
function roomOf(limit: number, maxConnections?: number) {
  const [counted, notes]: [number[], string[]] = [[], []];
  const inUse = { connections: 0, heads: 0 };
  const count = (most: number) => {
    counted.push(most);
    return Math.min(most, limit - inUse.connections - inUse.heads);
  };
  const room = new DescriptorRoom({ maxConnections, onShort: (note) => notes.push(note), count });
  return {
    counted,
    notes,
    /** The limits for this many connections. */
    limits(connections: number, heads = 0) {
      Object.assign(inUse, { connections, heads });
      return [room.maxConnections(connections), room.maxHeads(heads)];
    },
  };
}

Deno.test("DescriptorRoom counts no more than 256 for a server that has few connections", () => {
  const { counted, notes, limits } = roomOf(100_000);
  for (let connections = 0; connections <= 64; connections++) {
    assertEquals(limits(connections, connections), [10_000, 1024]);
  }
  assertEquals([counted, notes], [[256], []]);
});

Deno.test("DescriptorRoom says at once that there are few", () => {
  const { counted, notes, limits } = roomOf(200);
  assertEquals([counted, notes.length, limits(0)], [[256], 1, [113, 37]]);
  assertEquals([limits(113, 37), counted.length, notes.length], [[113, 37], 1, 1]);
});

for (const limit of [257, 1000, 4000, 11_000]) {
  Deno.test(`DescriptorRoom finds the limit before it is reached, when there are ${limit}`, () => {
    const { notes, limits } = roomOf(limit);
    const { maxConnections, maxHeads, note } = fitToDescriptors(limit);
    for (let connections = 0; connections < maxConnections; connections++) limits(connections);
    assertEquals([limits(maxConnections), notes], [[maxConnections, maxHeads], [note]]);
  });
}

Deno.test("DescriptorRoom counts for connections before their upgrade as well", () => {
  const { notes, limits } = roomOf(1000);
  for (let heads = 0; heads < 234; heads++) limits(0, heads);
  assertEquals([limits(0, 234), notes.length], [[702, 234], 1]);
});

Deno.test("DescriptorRoom counts once for about a thousand connections, and no more than are needed", () => {
  const { counted, notes, limits } = roomOf(100_000);
  for (let connections = 0; connections < 10_000; connections++) limits(connections);
  assert(counted.length < 13, `${counted}`);
  assert(counted.every((most) => most <= 2048), `${counted}`);
  assertEquals(notes, []);
});

Deno.test("DescriptorRoom keeps the operator's limit, and says that it may be too high", () => {
  const { notes, limits } = roomOf(1000, 5000);
  for (let connections = 0; connections < 900; connections++) limits(connections);
  assertEquals(limits(900), [5000, 234]);
  assertMatch(notes.join(), /^There are descriptors for about 702 of the 5000 .*--max-connections: /);
});

Deno.test("DescriptorRoom throws, when nothing can be counted", () => {
  assertThrows(() => new DescriptorRoom({ onShort() {}, count: () => undefined }), Error, "cannot be determined");
});

for (
  const [there, wanted, connections, heads] of [
    [descriptorsFor(), undefined, 10_000, 1024],
    [descriptorsFor() - 1, undefined, 9999, 1024],
    [1000, undefined, 702, 234],
    [230, undefined, 130, 43],
    [40, undefined, 23, 7],
    [4, undefined, 2, 1],
    [0, undefined, 1, 1],
    [1000, 100, 100, 234],
    [1000, 5000, 5000, 234],
    [50_000, 20_000, 20_000, 1024],
  ] as const
) {
  const asked = wanted ?? "nothing";
  Deno.test(`fitToDescriptors() returns ${connections} and ${heads}, when ${asked} are requested of ${there}`, () => {
    const { maxConnections, maxHeads, note } = fitToDescriptors(there, wanted);
    assertEquals([maxConnections, maxHeads], [connections, heads]);
    // The sum fits, unless the operator wants more.
    if (wanted === undefined && there > 2) assert(maxConnections + maxHeads <= there);
    assertEquals(note === "", there >= descriptorsFor(wanted) || wanted === 100);
  });
}

Deno.test("fitToDescriptors() says what to do, and names the option that wants too much", () => {
  assertMatch(
    fitToDescriptors(1000).note,
    /^There are descriptors for only 702 connections: for 10000, raise the limit of open files \(.*\) by 10088$/,
  );
  assertMatch(
    fitToDescriptors(1000, 5000).note,
    /^There are descriptors for about 702 of the 5000 .*--max-connections: /,
  );
});
