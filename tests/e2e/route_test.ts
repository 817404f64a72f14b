/** The route to a server: the proxy, if any, and the exceptions in the environment. */

import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { OptionError } from "../../lib/connection/connection.ts";
import {
  environmentProxy,
  isExcepted,
  isLoopback,
  nameOf,
  proxyNameFor,
  routeTo,
  wayText,
} from "../../lib/net/proxy.ts";
import { client, reportOf } from "../support/command.ts";
import { rawPeer, type Script } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const PROXIES: readonly [string, string, Record<string, string>, string | undefined][] = [
  ["the variable of the scheme comes first", "ws://a.test/", { ws_proxy: "1", http_proxy: "2", all_proxy: "3" }, "1"],
  ["its upper case comes next", "ws://a.test/", { WS_PROXY: "1", http_proxy: "2" }, "1"],
  ["http_proxy is for ws:", "ws://a.test/", { http_proxy: "1", all_proxy: "2", https_proxy: "3" }, "1"],
  ["https_proxy is for wss:", "wss://a.test/", { http_proxy: "1", https_proxy: "2", HTTPS_PROXY: "3" }, "2"],
  ["HTTPS_PROXY is for wss:", "wss://a.test/", { HTTPS_PROXY: "1", all_proxy: "2" }, "1"],
  ["all_proxy is for both", "ws://a.test/", { all_proxy: "1", ALL_PROXY: "2", https_proxy: "3" }, "1"],
  ["ALL_PROXY is for both", "wss://a.test/", { ALL_PROXY: "1", http_proxy: "2" }, "1"],
  ["HTTP_PROXY never counts", "ws://a.test/", { HTTP_PROXY: "1" }, undefined],
  ["an empty variable counts as not set", "ws://a.test/", { http_proxy: "", all_proxy: "1" }, "1"],
  ["no_proxy has the host", "ws://a.test/", { http_proxy: "1", no_proxy: "a.test" }, undefined],
  ["NO_PROXY has the host", "ws://a.test/", { http_proxy: "1", NO_PROXY: "a.test" }, undefined],
  ["no_proxy comes before NO_PROXY", "ws://a.test/", { http_proxy: "1", no_proxy: "b", NO_PROXY: "a.test" }, "1"],
  ["the host is localhost", "ws://localhost/", { http_proxy: "1" }, undefined],
  ["the host is below localhost", "ws://a.localhost/", { all_proxy: "1" }, undefined],
  ["the host is in 127/8", "wss://127.9.9.9/", { https_proxy: "1" }, undefined],
  ["the host is [::1]", "ws://[::1]:80/", { http_proxy: "1" }, undefined],
];
for (const [what, url, variables, value] of PROXIES) {
  Deno.test(`environmentProxy() is ${value}, when ${what}`, () => {
    assertEquals(environmentProxy(new URL(url), (name) => variables[name])?.value, value);
  });
}

const EXCEPTIONS: readonly [string, string, boolean][] = [
  ["a.test", "*", true],
  ["a.test", "a.test", true],
  ["a.test", "A.TEST.", true],
  ["x.a.test", "a.test", true],
  ["x.a.test", ".a.test", true],
  ["a.test", ".a.test", true],
  ["xa.test", "a.test", false],
  ["test", "a.test", false],
  ["a.test", "b.test, a.test", true],
  ["a.test", "b.test a.test", true],
  ["a.test", "a.test:80", false],
  ["a.test", "b.test,*", false],
  ["a.test", "", false],
  ["a.test", ".", false],
  ["10.1.2.3", "10.1.2.3", true],
  ["10.1.2.3", "10.0.0.0/8", true],
  ["11.1.2.3", "10.0.0.0/8", false],
  ["10.1.2.3", "10.1.2.0/30", true],
  ["10.1.2.4", "10.1.2.0/30", false],
  ["10.1.2.3", "10.1.2.3/33", false],
  ["10.1.2.3", "10.0.0.0/0", false],
  ["10.1.2.3", "2.3", false],
  ["[fd00::1]", "fd00::/8", true],
  ["[fd00::1]", "fd00::1", true],
  ["[fe80::1]", "fd00::/8", false],
  ["[fd00::1]", "10.0.0.0/8", false],
];
for (const [host, list, excepted] of EXCEPTIONS) {
  Deno.test(`isExcepted() is ${excepted}, when NO_PROXY is "${list}" and the host ${host}`, () => {
    assertEquals(isExcepted(host, list), excepted);
  });
}

const LOOPBACK: readonly [string, boolean][] = [
  ["localhost", true],
  ["LOCALHOST.", true],
  ["a.b.localhost", true],
  ["127.0.0.1", true],
  ["127.255.255.254", true],
  ["[::1]", true],
  ["[::ffff:7f00:1]", true],
  ["0.0.0.0", true],
  ["[::]", true],
  ["128.0.0.1", false],
  ["localhost.example", false],
  ["notlocalhost", false],
  ["[::2]", false],
  ["127.0.0.1.example", false],
];
for (const [host, loopback] of LOOPBACK) {
  Deno.test(`isLoopback() is ${loopback}, when the host is ${host}`, () => assertEquals(isLoopback(host), loopback));
}

Deno.test("routeTo() is direct, when the option says none", () => {
  assertEquals(routeTo(new URL("ws://a.test/"), { proxy: "none" }, "wire").proxy, undefined);
});

Deno.test("routeTo() refuses TLS over a Unix socket, which the runtime would leave out", () => {
  const url = new URL("wss://me:secret@a.test/");
  for (const transport of ["builtin", "wire"] as const) {
    assertThrows(
      () => routeTo(url, { unixPath: "/tmp/a" }, transport),
      OptionError,
      "Cannot use TLS over a Unix socket",
    );
  }
});

Deno.test("routeTo() throws without showing the value, when the proxy is not a URL or not one for wire", () => {
  const url = new URL("ws://a.test/");
  assertThrows(() => routeTo(url, { proxy: "u:secret@" }, "wire"), OptionError, "Cannot use the proxy: give a URL");
  const error = assertThrows(
    () => routeTo(url, { proxy: "socks5://u:secret@a:1" }, "wire"),
    OptionError,
    "Cannot use the proxy, socks5://a:1, over wire",
  );
  assertEquals(error.message.includes("secret"), false);
});

Deno.test("proxyNameFor() names the proxy without its credentials", () => {
  assertEquals(proxyNameFor("ws://a.test/", { proxy: "http://u:secret@p:3128/x" }, "wire"), "http://p:3128");
  assertEquals(nameOf(new URL("http://u:secret@[::1]:1")), "http://[::1]:1");
});

Deno.test("wayText() says that the way is unknown, when only the runtime knows", () => {
  assertStringIncludes(wayText("not-known"), "maybe through a proxy");
});

/** Answers every request as an echo server, or as a proxy in the server's place. */
const echoing: Script = async (socket) => {
  let head = await socket.readHead();
  if (head.startsWith("CONNECT")) {
    await socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    head = await socket.readHead();
  }
  await socket.answerUpgrade(head);
  await socket.echoOne();
  await socket.answerClose();
};

/** Every variable that names a proxy, with this value. */
function everyProxy(value: string): Record<string, string> {
  const names = ["ws_proxy", "http_proxy", "https_proxy", "all_proxy"];
  return Object.fromEntries(names.flatMap((name) => [[name, value], [name.toUpperCase(), value]]));
}

testBoth("client does not ask a proxy of the environment for a loopback host", async (transport) => {
  let asked = 0;
  await using proxy = rawPeer(async (socket) => {
    asked++;
    await echoing(socket);
  });
  const env = everyProxy(`http://127.0.0.1:${proxy.port}`);
  for (const host of ["127.0.0.1", "localhost", "user:secret@127.0.0.1"]) {
    const outcome = await client(["--json", "--transport", transport, `ws://${host}:1/`], "", [], env);
    assertEquals([reportOf(outcome).verdict, reportOf(outcome).proxy], ["no-connection", null], outcome.stderr);
  }
  assertEquals(asked, 0);
});

testBoth("client proves the server at a loopback host, when a dead proxy is in the environment", async (transport) => {
  await using peer = rawPeer(echoing);
  const outcome = await client(
    ["--json", "--transport", transport, peer.url],
    "",
    [],
    everyProxy("http://127.0.0.1:1"),
  );
  assertEquals(reportOf(outcome).verdict, "proven", outcome.stderr);
});

testBoth("client goes through the proxy of the environment, and names it without password", async (transport) => {
  await using proxy = rawPeer(echoing);
  const name = `http://127.0.0.1:${proxy.port}`;
  const env = { http_proxy: name.replace("//", "//user:secret@") };
  const report = await client(["--json", "--transport", transport, "ws://server.test/"], "", [], env);
  assertEquals([reportOf(report).verdict, reportOf(report).proxy], ["proven", name], report.stderr);
  const lines = await client(["--transport", transport, "ws://server.test/"], "", [], env);
  assertStringIncludes(lines.stdout, `ws://server.test/ through ${name}`);
  assertEquals(`${report.stdout}${lines.stdout}${lines.stderr}`.includes("secret"), false);
});

testBoth("client names the proxy of the environment, when nothing listens there", async (transport) => {
  const env = { http_proxy: "127.0.0.1:1" };
  const outcome = await client(["--json", "--transport", transport, "ws://server.test/"], "", [], env);
  const { verdict, problem, hint, proxy } = reportOf(outcome);
  assertEquals([verdict, proxy], ["no-connection", "http://127.0.0.1:1"]);
  assertStringIncludes(problem, "No connection to server.test:80 through http://127.0.0.1:1");
  assertStringIncludes(hint, "--proxy none");
});

testBoth(
  "client goes direct with --proxy none and through --proxy URL, whatever the environment says",
  async (transport) => {
    await using proxy = rawPeer(echoing);
    const args = ["--json", "--transport", transport, "--proxy"];
    const env = { ...everyProxy(`http://127.0.0.1:${proxy.port}`), no_proxy: "*", NO_PROXY: "*" };
    const through = await client([...args, `http://127.0.0.1:${proxy.port}`, "ws://server.test/"], "", [], env);
    assertEquals(reportOf(through).verdict, "proven", through.stderr);
    const { no_proxy: _, NO_PROXY: __, ...named } = env;
    const direct = await client([...args, "none", "ws://no-such-host.invalid/"], "", [], named);
    assertEquals([reportOf(direct).verdict, reportOf(direct).proxy], ["no-connection", null]);
  },
);

testBoth("client connects directly to the hosts of NO_PROXY", async (transport) => {
  await using proxy = rawPeer(echoing);
  const env = { http_proxy: `http://127.0.0.1:${proxy.port}`, no_proxy: ".invalid" };
  const outcome = await client(["--json", "--transport", transport, "ws://no-such-host.invalid/"], "", [], env);
  assertEquals([reportOf(outcome).verdict, reportOf(outcome).proxy], ["no-connection", null]);
});

testBoth("client says usage without the value, when a variable is not the URL of a proxy", async (transport) => {
  const outcome = await client(["--transport", transport, "ws://server.test/"], "", [], {
    all_proxy: "foo://u:secret@h",
  });
  const line =
    "wsproof: Cannot use the proxy of the variable all_proxy: give a URL such as http://host:port, or --proxy none\n";
  assertEquals(outcome, { code: 2, stdout: "", stderr: line });
});

Deno.test("client says that the way over builtin is unknown, when it may not read the environment", async () => {
  await using peer = rawPeer(echoing);
  for (const [transport, proxy] of [["builtin", "not-known"], ["wire", null]] as const) {
    const outcome = await client(["--json", "--transport", transport, peer.url], "", ["--deny-env=http_proxy"]);
    const { verdict, proxy: way, stages } = reportOf(outcome);
    assertEquals([verdict, way], ["proven", proxy], outcome.stderr);
    assertEquals(stages[1].detail.includes("maybe through a proxy"), transport === "builtin");
  }
});

Deno.test("client keeps the password of a loopback URL from an unknown proxy", async () => {
  let asked = 0;
  await using proxy = rawPeer(async (socket) => {
    asked++;
    await echoing(socket);
  });
  await using peer = rawPeer(echoing);
  const url = peer.url.replace("//", "//user:secret@");
  const env = everyProxy(`http://127.0.0.1:${proxy.port}`);
  const outcome = await client(["--json", url], "", ["--deny-env=http_proxy"], env);
  assertEquals([reportOf(outcome).verdict, asked], ["proven", 0], outcome.stderr);
});
