/** The lab's admission. */

import { assertEquals, assertMatch } from "@std/assert";
import { describeAddr } from "../../lib/server/gatekeeper.ts";
import { handshakeRefusal, viewOf } from "../../lib/server/handshake_refusal.ts";
import { isLoopback } from "../../lib/server/allowed_host.ts";
import { handshake, startLab } from "../support/lab.ts";
import { connectRaw, requestHead } from "../support/raw_peer.ts";

for (
  const [fields, status] of [
    [{ Host: "localhost:6455" }, 101],
    [{ Host: "127.9.9.9" }, 101],
    [{ Host: "[::1]:80" }, 101],
    [{ Host: "example.com" }, 403],
    [{ Host: "127.0.0.1.example" }, 403],
    [{ Host: "localhost.example:80" }, 403],
    [{ Host: "192.168.0.1" }, 403],
    [{ Host: "[::1" }, 400],
    [{ Host: "a:99999" }, 400],
    [{ Host: "<script>" }, 400],
    [{ Host: "" }, 400],
    [{ Host: undefined }, 400],
    [{ Origin: "http://localhost:3000" }, 101],
    [{ Origin: "https://127.0.0.1" }, 101],
    [{ Origin: "http://[::1]:8000" }, 101],
    [{ Origin: "https://app.example" }, 403],
    [{ Origin: "https://localhost.app.example" }, 403],
    [{ Origin: "null" }, 403],
    [{ Origin: "" }, 403],
  ] as const
) {
  Deno.test(`lab answers a request with ${JSON.stringify(fields)} with ${status}`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [startLine] = await handshake(socket, "/", fields);
    assertMatch(startLine ?? "", new RegExp(`^HTTP/1.1 ${status} `));
    await socket.closeWrite();
    const rest = new TextDecoder().decode(await socket.readToEnd());
    if (status === 403) assertMatch(rest, /^The field (Host|Origin) does not name this machine: .* --lab-public\.\n$/);
    socket.close();
  });
}

Deno.test("lab with isPublic accepts any Host and Origin", async () => {
  await using lab = await startLab({ isPublic: true });
  const socket = await connectRaw(lab.url);
  const [startLine] = await handshake(socket, "/", { Host: "lab.example", Origin: "https://app.example" });
  assertEquals(startLine, "HTTP/1.1 101 Switching Protocols");
  socket.close();
});

for (const length of ["0x0", "-0", "+0", "", "0, 0", "1", "0"]) {
  Deno.test(`lab judges the Content-Length ${JSON.stringify(length)} of an upgrade as the gatekeeper does`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    const [startLine] = await handshake(socket, "/", { "Content-Length": length });
    const headers = [...requestHead({ "Content-Length": length }).matchAll(/^([\w-]+): (.*)$/gm)];
    const request = new Request("http://lab/", {
      headers: headers.map(([, name = "", value = ""]) => [name, value.trim()]),
    });
    assertMatch(startLine ?? "", new RegExp(`^HTTP/1.1 ${handshakeRefusal(viewOf(request))?.status ?? 101} `));
    socket.close();
  });
}

Deno.test({
  name: "lab logs the address of an IPv6 peer as the echo server does",
  ignore: !await hasIpv6(),
  fn: async () => {
    await using lab = await startLab({ hostname: "::1" });
    const connection = await Deno.connect({ hostname: "::1", port: Number(new URL(lab.url).port) });
    await connection.write(new TextEncoder().encode(requestHead({ Host: "[::1]" })));
    assertEquals((await lab.opened).peer, describeAddr(connection.localAddr));
    connection.close();
  },
});

async function hasIpv6(): Promise<boolean> {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return await Promise.resolve(false);
  }
}

Deno.test("isLoopback() is true for the addresses that only this machine reaches", () => {
  const own = ["127.0.0.1", "127.255.0.9", "localhost", "::1"];
  const others = ["0.0.0.0", "::", "192.168.0.1", "127.0.0.1.example", "127.999.0.1", "127.0.0.256"];
  assertEquals([own.every(isLoopback), others.some(isLoopback)], [true, false]);
});
