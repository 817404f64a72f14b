/** The width of a terminal. */

import { assertEquals } from "@std/assert";
import { columnsOf, MIN_COLUMNS } from "../../lib/cli/environment.ts";

const pipe = { isTerminal: () => false };
const columns = (value: string | undefined) => columnsOf(pipe, { variable: (name) => name === "COLUMNS" ? value : "" });

for (const [value, expected] of [["60", 60], ["140", 140], ["7", MIN_COLUMNS]] as const) {
  Deno.test(`columnsOf() is ${expected}, when COLUMNS is ${value}`, () => assertEquals(columns(value), expected));
}

for (const value of [undefined, "", "0", "-1", "wide", "1e99"]) {
  Deno.test(`columnsOf() is undefined, when COLUMNS is ${value} and there is no terminal`, () => {
    assertEquals(columns(value), undefined);
  });
}
