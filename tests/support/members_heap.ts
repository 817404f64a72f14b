/** Prints how many KiB of a thousand departed members survive the garbage collections of short-lived memory. */

import { getHeapStatistics } from "node:v8";
import { Members } from "../../lib/net/members.ts";

/** Deno provides `gc` with `--v8-flags=--expose-gc`. */
const gc: unknown = Reflect.get(globalThis, "gc");
if (typeof gc !== "function") throw new Error("Needs --v8-flags=--expose-gc");
const used = () => getHeapStatistics().used_heap_size / 1024;

const members = new Members<number[]>();
const here: [place: number, member: number[]][] = [];

function come(): void {
  const member = new Array(512).fill(0);
  here.push([members.add(member), member]);
}

function go(): void {
  const [first] = here.splice(0, 1);
  if (first) members.remove(...first);
}

for (let count = 0; count < 8; count++) come();
// The present members become long-lived memory.
gc();
const before = used();
for (let count = 0; count < 1000; count++) {
  go();
  come();
}
gc({ type: "minor" });
gc({ type: "minor" });
console.log(Math.round(used() - before));
