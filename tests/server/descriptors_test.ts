import { assert, assertEquals, assertMatch } from "@std/assert";
import { countDescriptors, descriptorsFor, fitToDescriptors } from "../../lib/server/descriptors.ts";

/** A file system that opens so many, and then fails as the runtime's does. */
function filesUpTo(limit: number, code = "EMFILE") {
  const open = new Set<number>();
  let most = 0;
  return {
    counts: () => [open.size, most],
    openSync() {
      if (open.size === limit) throw Object.assign(new Error(`${code}: open '/dev/null'`), { code });
      open.add(most);
      return most++;
    },
    closeSync: (descriptor: number) => void open.delete(descriptor),
  };
}

Deno.test("countDescriptors() finds the limit, and holds none of them afterwards", () => {
  const few = filesUpTo(37);
  assertEquals([countDescriptors(100, few), few.counts()], [37, [0, 37]]);
});

Deno.test("countDescriptors() stops where there are enough", () => {
  const many = filesUpTo(1000);
  assertEquals([countDescriptors(100, many), many.counts()], [100, [0, 100]]);
});

Deno.test("countDescriptors() says that it does not know, when something else is wrong", () => {
  assertEquals(countDescriptors(100, filesUpTo(3, "ENOENT")), undefined);
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
  Deno.test(`fitToDescriptors() gives ${connections} and ${heads}, when ${asked} is asked of ${there}`, () => {
    const { maxConnections, maxHeads, note } = fitToDescriptors(there, wanted);
    assertEquals([maxConnections, maxHeads], [connections, heads]);
    // Together they fit, unless the operator wants more.
    if (wanted === undefined && there > 2) assert(maxConnections + maxHeads <= there);
    assertEquals(note === "", there >= descriptorsFor(wanted) || wanted === 100);
  });
}

Deno.test("fitToDescriptors() says what to do, and names the option that wants too much", () => {
  assertMatch(
    fitToDescriptors(1000).note,
    /^There are descriptors for 702 connections only: for 10000 raise the limit of open files \(.*\) by 10088$/,
  );
  assertMatch(
    fitToDescriptors(1000, 5000).note,
    /^There are descriptors for about 702 of the 5000 .*--max-connections: /,
  );
});
