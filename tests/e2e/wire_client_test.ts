/** Output of the client over wire only. */

import { assert, assertEquals } from "@std/assert";
import { client, reportOf } from "../support/command.ts";
import { rawPeer, TEXT } from "../support/raw_peer.ts";

const PING = 9;
Deno.test("client --trace shows each frame with direction, opcode, bits, length and payload", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.frame(PING, "hi");
    // The client sends its message as soon as it is open, so the pong may come before or after.
    for (const { opcode, payload } of [await socket.readFrame(), await socket.readFrame()]) {
      if (opcode === TEXT) await socket.frame(TEXT, payload);
    }
    await socket.closeFrame(1000, "done");
    await socket.untilGone();
  });
  const { code, stderr } = await client([
    "--transport",
    "wire",
    "--trace",
    "--reply-any",
    "--reply-timeout",
    "5",
    peer.url,
  ]);
  assertEquals(code, 0, stderr);
  for (
    const line of [
      "< ping FIN, 2 bytes: 68 69",
      "> pong FIN, 2 bytes, masked: 68 69",
      '> text FIN, 11 bytes, masked: "Hello world"',
      '< text FIN, 11 bytes: "Hello world"',
      '< close FIN, 6 bytes: 1000 (normal closure), reason "done"',
    ]
  ) assert(stderr.split("\n").some((shown) => shown.endsWith(line)), `${line}\n${stderr}`);
});

Deno.test("client --transport wire reports the refusal with its fields and body", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno");
  });
  const report = reportOf(await client(["--json", "--transport", "wire", peer.url]));
  assertEquals([report.verdict, report.transport], ["handshake-refused", "wire"]);
  assertEquals(report.refusal, {
    from: "server",
    status: 401,
    problems: ["status 401 instead of 101"],
    fields: [["WWW-Authenticate", "Basic"], ["Content-Length", "2"]],
    body: "no",
  });
});
