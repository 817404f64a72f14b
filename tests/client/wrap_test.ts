/** Text in columns. */

import { assertEquals } from "@std/assert";
import { widthOf, wrap } from "../../lib/client/wrap.ts";

for (
  const { what, text, room, lines } of [
    { what: "it fits", text: "one two", room: { first: 7 }, lines: ["one two"] },
    { what: "it is one column longer", text: "one two", room: { first: 6 }, lines: ["one", "two"] },
    {
      what: "a URL is longer than any line",
      text: "at ws://host/a/b/c now",
      room: { first: 6 },
      lines: ["at", "ws://host/a/b/c", "now"],
    },
    { what: "the first line is shorter", text: "ws://host/", room: { first: 4, rest: 20 }, lines: ["", "ws://host/"] },
    {
      what: "a number has a unit",
      text: "after 65536 bytes more",
      room: { first: 11 },
      lines: ["after", "65536 bytes", "more"],
    },
    {
      what: "a size has a unit",
      text: "that is 200 MiB here",
      room: { first: 11 },
      lines: ["that is", "200 MiB", "here"],
    },
    { what: "a number has no unit", text: "code 1000 is here", room: { first: 10 }, lines: ["code 1000", "is here"] },
    { what: "it has colours", text: "\x1b[31mone\x1b[0m two", room: { first: 7 }, lines: ["\x1b[31mone\x1b[0m two"] },
    { what: "characters are wide", text: "語語 語語", room: { first: 8 }, lines: ["語語", "語語"] },
    { what: "there is nothing", text: "", room: { first: 0 }, lines: [""] },
  ]
) {
  Deno.test(`wrap() breaks at spaces only, when ${what}`, () => assertEquals(wrap(text, room), lines));
}

Deno.test("widthOf() counts no column for the codes of colours", () => {
  assertEquals(widthOf("\x1b[1;32mné語\x1b[0m"), 4);
});
