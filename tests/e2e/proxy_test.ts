/** The client through a proxy, and over a Unix socket. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createEcho } from "../../lib/server/builtin_echo.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { createAuthority } from "../support/certificates.ts";
import { client, reportOf } from "../support/command.ts";
import { connectRaw, rawPeer } from "../support/raw_peer.ts";

Deno.test("client goes through an HTTP proxy with --proxy, with the credentials of its URL", async () => {
  const server = serveEcho({ port: 0, allowHosts: ["server.test"] });
  const head = Promise.withResolvers<string>();
  await using proxy = rawPeer(async (socket) => {
    const request = await socket.readHead();
    head.resolve(request);
    const target = await connectRaw(server.url);
    const [, path = ""] = /^GET http:\/\/server\.test(\S*)/.exec(request) ?? [];
    await target.write(`${request.replace(/^GET \S+/, `GET ${path}`)}\r\n\r\n`);
    await Promise.all([socket.pipeTo(target), target.pipeTo(socket)]);
  });
  const outcome = await client([
    "--json",
    "--proxy",
    `http://user:secret@127.0.0.1:${proxy.port}`,
    "ws://server.test/x",
  ]);
  assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
  assertStringIncludes(
    (await head.promise).toLowerCase(),
    `proxy-authorization: basic ${btoa("user:secret").toLowerCase()}`,
  );
  await server.shutdown();
});

Deno.test("client says no-connection when the proxy requires credentials", async () => {
  await using proxy = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
  });
  const outcome = await client(["--json", "--proxy", `http://127.0.0.1:${proxy.port}`, "ws://server.test/"]);
  assertEquals(reportOf(outcome).verdict, "no-connection");
  assertMatch(reportOf(outcome).problem, /407/);
});

Deno.test({
  name: "client connects to a Unix socket with --unix",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const folder = await Deno.makeTempDir();
    const path = `${folder}/echo.sock`;
    const echo = createEcho();
    const server = Deno.serve({ path, onListen() {} }, (request) => {
      const remoteAddr = { transport: "unix", path } as const;
      return echo.fetch(request, { remoteAddr, completed: Promise.resolve() });
    });
    for (const transport of ["builtin", "wire"]) {
      const outcome = await client(["--json", "--transport", transport, "--unix", path], "", ["--allow-write"]);
      assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
      assertEquals(reportOf(outcome).url, "ws://localhost/");
    }
    const refused = await client(["--json", "--unix", path]);
    assertEquals([refused.code, refused.stdout], [2, ""]);
    assertMatch(refused.stderr, /^wsproof: .*write.*\n$/);
    const missing = await client(["--json", "--unix", `${folder}/none.sock`], "", ["--allow-write"]);
    assertEquals(reportOf(missing).verdict, "no-connection");
    assertStringIncludes(reportOf(missing).hint, "--unix");
    await server.shutdown();
    await Deno.remove(folder, { recursive: true });
  },
});

Deno.test("client goes through a tunnel of an HTTP proxy to a wss server, over both transports", async () => {
  const authority = await createAuthority();
  const { cert, key } = await authority.sign("server");
  const echo = createEcho();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, cert, key, onListen() {} }, echo.fetch);
  await using proxy = rawPeer(async (socket) => {
    const [, port = ""] = /^CONNECT localhost:(\d+) /.exec(await socket.readHead()) ?? [];
    const target = await connectRaw(`http://127.0.0.1:${port}/`);
    await socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    await Promise.all([socket.pipeTo(target), target.pipeTo(socket)]);
  });
  const ca = await Deno.makeTempFile();
  await Deno.writeTextFile(ca, authority.cert);
  for (const transport of ["builtin", "wire"]) {
    const args = ["--json", "--transport", transport, "--ca", ca, "--proxy", `http://127.0.0.1:${proxy.port}`];
    const outcome = await client([...args, `wss://localhost:${server.addr.port}/`]);
    assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
  }
  await server.shutdown();
  await Deno.remove(ca);
});
