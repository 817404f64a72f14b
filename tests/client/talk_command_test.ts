/** The lines of a conversation and their meaning. */

import { assertEquals, assertThrows } from "@std/assert";
import { readLine, TALK_COMMANDS, type TalkLine } from "../../lib/client/talk_command.ts";
import { UsageError } from "../../lib/client/usage.ts";

const text = (message: string): TalkLine => ({ type: "send", message });
const binary = (...bytes: number[]): TalkLine => ({ type: "send", message: Uint8Array.from(bytes) });

for (
  const [line, asked] of [
    ["hello", text("hello")],
    ["", text("")],
    ["/join room", text("/join room")],
    ["/pingpong", text("/pingpong")],
    ["//ping", text("/ping")],
    ["//close 1000", text("/close 1000")],
    ["//join", text("//join")],
    ["///ping", text("///ping")],
    ["/ping", { type: "ping" }],
    ["/ping ", { type: "ping" }],
    ["/help", { type: "help" }],
    ["/close", { type: "close", code: 1000, reason: "" }],
    ["/close 4000 good  bye", { type: "close", code: 4000, reason: "good  bye" }],
    ["/binary 00fF 7f", binary(0, 255, 127)],
    ["/binary 0x00 0xff", binary(0, 255)],
    ["/binary", binary()],
    ["/file a b.txt", { type: "file", path: "a b.txt", kind: "text" }],
    ["/file -b a.bin", { type: "file", path: "a.bin", kind: "binary" }],
    ["/file -", { type: "file", path: "./-", kind: "text" }],
  ] as const
) {
  Deno.test(`readLine() reads ${JSON.stringify(line)}`, () => assertEquals(readLine(line), asked));
}

for (
  const [line, advice] of [
    ["/ping x", "give /ping alone"],
    ["/help me", "give /help alone"],
    ["/close now", "give /close CODE REASON"],
    ["/binary 0", "give pairs of hexadecimal digits"],
    ["/binary xx", "give pairs of hexadecimal digits"],
    ["/file", "give /file PATH"],
    ["/file -b ", "give /file PATH"],
  ] as const
) {
  Deno.test(`readLine() says what to write instead of ${JSON.stringify(line)}`, () => {
    assertThrows(() => readLine(line), UsageError, advice);
  });
}

Deno.test("readLine() knows every command that the help shows, and sends each doubled", () => {
  for (const name of Object.keys(TALK_COMMANDS).filter((name) => !name.startsWith("//"))) {
    assertEquals(readLine(`/${name}`), text(name));
  }
});
