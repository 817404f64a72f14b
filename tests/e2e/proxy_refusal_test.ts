/** The client's report on a proxy that does not reach the server: one verdict over both transports and schemes. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { client, reportOf } from "../support/command.ts";
import { rawPeer, type Script } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const answering = (answer: string): Script => async (socket) => {
  await socket.readHead();
  await socket.write(answer);
};

/** The proxy's action, the status in the report, if any, and the other words. */
const PROXIES: readonly [string, Script, number | undefined, RegExp?][] = [
  ["requires credentials", answering("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), 407, /user:password@127/],
  ["forbids it", answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nnope"), 403],
  ["finds nothing", answering("HTTP/1.1 404 Not Found\r\n\r\n"), 404],
  ["redirects to a login", answering("HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n"), 302],
  ["drops the connection", async (socket) => void await socket.readHead(), undefined],
  ["drops the connection at once", () => Promise.resolve(), undefined],
  ["speaks another protocol", answering("SSH-2.0-OpenSSH_9.2\r\n\r\n"), 0],
  ["stays silent", (socket) => socket.untilGone(), undefined],
];

for (const [does, script, status, hint = /./] of PROXIES) {
  for (const scheme of ["ws", "wss"]) {
    testBoth(
      `client says no-connection and names the proxy of a ${scheme}: URL, when it ${does}`,
      async (transport) => {
        await using proxy = rawPeer(script);
        const given = `http://user:secret@127.0.0.1:${proxy.port}`;
        const timeout = does === "stays silent" ? "1" : "20";
        const args = ["--json", "--transport", transport, "--connect-timeout", timeout, "--proxy", given];
        const outcome = await client([...args, `${scheme}://server.test/`]);
        const report = reportOf(outcome);
        assertEquals([report.verdict, outcome.code], ["no-connection", 3], outcome.stderr);
        assertEquals(report.stages[0].ok, false);
        assertEquals(report.proxy, `http://127.0.0.1:${proxy.port}`);
        assertStringIncludes(report.problem, `http://127.0.0.1:${proxy.port}`);
        assertMatch(report.hint, does === "stays silent" && transport === "builtin" ? /--transport wire/ : hint);
        assertEquals(report.refusal?.status, status);
        // Over a ws: URL the built-in WebSocket hides who answered, except for a 407.
        const isHidden = transport === "builtin" && scheme === "ws" && status !== 407;
        if (status !== undefined) assertEquals(report.refusal.from, isHidden ? "not-known" : "proxy");
        assertEquals(`${outcome.stdout}${outcome.stderr}`.includes("secret"), false);
      },
    );
  }
}

/** What a SOCKS proxy answers to the greeting and to the request, and what is said of it. */
const SOCKS: readonly [string, readonly number[] | undefined, RegExp][] = [
  ["drops the connection", undefined, /^Proxy socks5:\S+,? .*ended the connection/],
  ["takes no way to prove oneself", [5, 255], /opened no tunnel: it requires credentials/],
  ["forbids the connection", [5, 0, 5, 2, 0, 1, 0, 0, 0, 0, 0, 0], /opened no tunnel: its rules forbid the connection/],
  ["speaks HTTP", [72, 84, 84, 80, 47, 49, 46, 49, 32, 52, 48, 48], /opened no tunnel: it does not speak SOCKS5/],
];
for (const [does, [...bytes] = [], problem] of SOCKS) {
  for (const scheme of ["ws", "wss"]) {
    Deno.test(`client says no-connection and names the SOCKS proxy of a ${scheme}: URL, when it ${does}`, async () => {
      await using proxy = rawPeer(async (socket) => {
        await socket.readBytes(3);
        if (bytes.length === 0) return;
        await socket.write(Uint8Array.from(bytes.slice(0, 2)));
        if (bytes.length > 2) {
          if (bytes[0] === 5) await socket.readBytes(10);
          await socket.write(Uint8Array.from(bytes.slice(2)));
        }
        await socket.untilGone();
      });
      const given = `socks5://127.0.0.1:${proxy.port}`;
      const report = reportOf(await client(["--json", "--proxy", given, `${scheme}://server.test/`]));
      assertEquals([report.verdict, report.stages[0].ok], ["no-connection", false]);
      assertMatch(report.problem, problem);
      assertStringIncludes(report.problem, given);
      assertStringIncludes(report.hint, `check that ${given} is a SOCKS5 proxy`);
    });
  }
}

Deno.test("client says that nothing listens at a SOCKS proxy or at one over TLS", async () => {
  for (const proxy of ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1", "https://127.0.0.1:1"]) {
    const report = reportOf(await client(["--json", "--proxy", proxy, "wss://server.test/"]));
    assertEquals(report.verdict, "no-connection");
    assertStringIncludes(report.hint, `nothing listens at the proxy ${proxy}`);
  }
});

Deno.test("client goes through a tunnel that any 2xx opens, and says that builtin accepts only a 200", async () => {
  await using proxy = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 201 Created\r\n\r\n");
    await socket.upgrade();
    await socket.echoOne();
    await socket.answerClose();
  });
  const args = ["--json", "--proxy", `http://127.0.0.1:${proxy.port}`];
  const outcome = await client([...args, "--transport", "wire", "ws://server.test/"]);
  assertEquals(reportOf(outcome).verdict, "proven", outcome.stderr);
});

testBoth("client decodes the credentials of a proxy, also those without a user name", async (transport) => {
  const heads: string[] = [];
  await using proxy = rawPeer(async (socket) => {
    heads.push(await socket.readHead());
    await socket.write("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
  });
  for (
    const [userInfo, credentials] of [[":pw", ":pw"], ["a%40b:p%25w%C3%A9", "a@b:p%wé"], ["u", "u:"], ["u:1%", "u:1%"]]
  ) {
    const given = `http://${userInfo}@127.0.0.1:${proxy.port}`;
    await client(["-q", "--transport", transport, "--proxy", given, "ws://server.test/"]);
    const [, sent = ""] = /^proxy-authorization: basic (\S+)/im.exec(heads.at(-1) ?? "") ?? [];
    assertEquals(new TextDecoder().decode(Uint8Array.fromBase64(sent)), credentials);
  }
});

Deno.test("client names the proxy, when the server behind its tunnel refuses", async () => {
  await using proxy = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 200 OK\r\n\r\n");
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  });
  const name = `http://127.0.0.1:${proxy.port}`;
  const report = reportOf(await client(["--json", "--transport", "wire", "--proxy", name, "ws://server.test/"]));
  assertEquals([report.verdict, report.refusal.from], ["handshake-refused", "server"]);
  assertEquals(report.problem, `Server answered with status 403 (Forbidden) instead of 101, through ${name}`);
});
