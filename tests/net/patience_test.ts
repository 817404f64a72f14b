import { assert, assertEquals } from "@std/assert";
import { MIN_HEAD_MS, MIN_SILENT_HEAD_MS, Patience } from "../../lib/net/patience.ts";

/** A patience after this many silent peers were dropped. */
function worn(drops: number): Patience {
  const patience = new Patience();
  for (let dropped = 0; dropped < drops; dropped++) patience.wear();
  return patience;
}

Deno.test("Patience.ms falls from 2 s to 250 ms while 415 silent connections are dropped, and no further", () => {
  assertEquals([MIN_HEAD_MS, MIN_SILENT_HEAD_MS], [2000, 250]);
  assertEquals([worn(0).ms, worn(415).ms, worn(5000).ms], [2000, 250, 250]);
  assert(worn(414).ms > 250);
});

Deno.test("Patience.tick() restores nothing as long as somebody waits for a place in each tick", () => {
  const patience = worn(1000);
  for (let tick = 0; tick < 3; tick++) {
    patience.need();
    patience.tick();
  }
  assertEquals(patience.ms, 250);
  patience.tick();
  assertEquals(patience.ms, 2000);
});
