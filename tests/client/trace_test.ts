/** Frames as lines. */

import { assertEquals } from "@std/assert";
import { formatFrame } from "../../lib/client/trace.ts";

const header = { final: true, reserved: 0, opcode: 2, isMasked: false, length: 0 };
const line = (changes: Partial<typeof header>, start: number[] = [], direction: "in" | "out" = "in") =>
  formatFrame({ direction, header: { ...header, ...changes }, start: Uint8Array.from(start) }, 1).slice(13);

for (
  const [what, shown, expected] of [
    ["an empty frame", line({}), "< binary FIN, 0 bytes"],
    ["a frame that goes out", line({ isMasked: true }, [], "out"), "> binary FIN, 0 bytes, masked"],
    ["a fragment", line({ final: false, opcode: 0, length: 1 }, [7]), "< continuation, 1 byte: 07"],
    ["the reserved bits", line({ reserved: 5 }), "< binary FIN RSV1 RSV3, 0 bytes"],
    ["an opcode without a name", line({ opcode: 3 }), "< opcode 3 FIN, 0 bytes"],
    ["text", line({ opcode: 1, length: 3 }, [0x61, 0x0a, 0x62]), '< text FIN, 3 bytes: "a\\nb"'],
    ["long bytes", line({ length: 20 }, Array(20).fill(1)), `< binary FIN, 20 bytes: ${"01 ".repeat(16)}...`],
    [
      "a close frame",
      line({ opcode: 8, length: 4 }, [3, 232, 0x6f, 0x6b]),
      '< close FIN, 4 bytes: 1000 (normal closure), reason "ok"',
    ],
    [
      "a bad close frame",
      line({ opcode: 8, length: 1 }, [3]),
      "< close FIN, 1 byte: 03 (Close frame has a payload of one byte)",
    ],
  ] as const
) {
  Deno.test(`formatFrame() shows ${what}`, () => {
    assertEquals(shown, expected);
  });
}
