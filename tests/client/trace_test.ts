/** Frames as lines. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { dumpFrame, formatBreach, formatFrame, formatHead } from "../../lib/client/trace.ts";
import { harmlessValue } from "../../lib/protocol/message.ts";
import { serveLab } from "../../lib/lab/mod.ts";
import { client } from "../support/command.ts";

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

Deno.test("formatHead() hides the values that may be secrets, and escapes what could steer a terminal", () => {
  const fields = [
    ["Authorization", "Basic bWU6c2VjcmV0"],
    ["Cookie", "a=1"],
    ["X-Api-Key", "abc"],
    ["Sec-WebSocket-Key", "e/T93IIWobNw+HYJOCq3gA=="],
    ["Sec-WebSocket-Protocol", "chat, wsproof.bearer.abc"],
    ["X-Text", "\u202ea\u001b[2J"],
  ] as const;
  assertEquals(formatHead({ direction: "in", startLine: "HTTP/1.1 101 \u009bx", fields }, 1), [
    "    1.00 ms  < HTTP/1.1 101 \\u009bx",
    "             < Authorization: ***",
    "             < Cookie: ***",
    "             < X-Api-Key: ***",
    "             < Sec-WebSocket-Key: e/T93IIWobNw+HYJOCq3gA==",
    "             < Sec-WebSocket-Protocol: chat, wsproof.bearer.***",
    "             < X-Text: \\u202ea\\u001b[2J",
  ]);
});

Deno.test("harmlessValue() shows a value that is not a secret", () => {
  assertEquals(["Host", "Accept", "X-Request-Id"].map((name) => harmlessValue([name, "a"])), ["a", "a", "a"]);
});

Deno.test("harmlessValue() hides the password of a URL, and shows a challenge", () => {
  const fields = [["Location", "https://me:secret@a/"], ["WWW-Authenticate", "Basic realm=x"]] as const;
  assertEquals(fields.map(harmlessValue), ["https://me:***@a/", "Basic realm=x"]);
});

Deno.test("formatBreach() shows the problem alone, when the bytes of the frame are not known", () => {
  assertEquals(formatBreach({ problem: "Bad", start: new Uint8Array(0) }, 1), "    1.00 ms  ! Bad");
});

Deno.test("dumpFrame() says how much of the payload is hidden", () => {
  const frame = { direction: "in", header: { ...header, length: 130 }, start: new Uint8Array(125) } as const;
  const lines = dumpFrame(frame);
  assertEquals([lines.length, lines.at(-1)], [9, "  and 5 bytes more"]);
});

/** The client's standard error output for a step of the lab, without times. */
async function traced(step: string, ...options: string[]): Promise<string> {
  const lab = await serveLab({ port: 0 });
  const { stderr } = await client(["--transport", "wire", "--trace", "-m", "Hello", ...options, `${lab.url}${step}`]);
  await lab.shutdown();
  return stderr.replace(/^ +[\d.]+ m?s {2}/gm, "");
}

Deno.test("client --trace shows both heads of the handshake, the frames, and who ended TCP", async () => {
  const shown = await traced("echo", "-H", "Authorization: Bearer abc");
  assertMatch(shown, /^> GET \/echo HTTP\/1\.1\n +> Host: 127\.0\.0\.1:\d+\n/);
  assertMatch(
    shown,
    /\n +> Authorization: \*\*\*\n[^]*< HTTP\/1\.1 101 Switching Protocols\n[^]*\n +< Sec-WebSocket-Accept: /,
  );
  assertMatch(
    shown,
    /> text FIN, 5 bytes, masked: "Hello"\n< text FIN, 5 bytes: "Hello"\n> close .*\n< close .*\nended: .*; we closed first; the peer ended TCP\n$/,
  );
});

Deno.test("client --trace with --verbose shows no message twice", async () => {
  const shown = await traced("echo", "-v");
  assertEquals(shown.match(/Hello/g)?.length, 2);
  assertMatch(shown, /^connecting to .*\nconnected\n[^]*\nupgraded\n/);
});

for (
  const [step, breach] of [
    ["rsv/1", "! Frame has a reserved bit set; the frame begins with c1 05 48 65 6c 6c 6f: text FIN RSV1"],
    [
      "opcode/3",
      "! Frame has the opcode 3, which is not defined; the frame begins with 83 05 48 65 6c 6c 6f: opcode 3 FIN",
    ],
    ["bad-utf8", "! Text message is not UTF-8; the frame begins with 81 06 48 65 6c 6c 6f ff: text FIN"],
    ["data-after-close", "! Bytes came after the close frame; the frame begins with 81 0f"],
  ] as const
) {
  Deno.test(`client --trace shows the frame that broke the protocol, when the lab does ${step}`, async () => {
    const shown = await traced(step);
    assert(shown.includes(breach), shown);
    assertMatch(shown, /\nended: Peer broke the protocol/);
  });
}

Deno.test("client --hex dumps each message, without --trace, and each frame with it", async () => {
  const dump = /\n {2}00000000 {2}48 65 6c 6c 6f +\|Hello\|\n/g;
  assertEquals((await traced("echo", "--hex")).match(dump)?.length, 2);
  const lab = await serveLab({ port: 0 });
  const { stdout, stderr } = await client(["--hex", "-b", "-m", "Hello", `${lab.url}echo`]);
  await lab.shutdown();
  assertEquals(stderr.match(dump)?.length, 2);
  assertMatch(stdout, /received {2}binary, 5 bytes: 48 65 6c 6c 6f, the same as sent/);
});
