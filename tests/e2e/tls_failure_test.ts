/** The client's report on failed TLS handshakes, over both transports. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { contextOf, SecureConn } from "../../lib/net/tls.ts";
import { createAuthority, selfSigned } from "../support/certificates.ts";
import { client, reportOf } from "../support/command.ts";
import { connectRaw, rawPeer, RawSocket, type Script } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const authority = await createAuthority();
const good = await authority.sign("server");
const intermediate = await authority.intermediate("wsproof test intermediate");
const leaf = await intermediate.sign("server");
const own = await selfSigned(false);
const authorityAsServer = await selfSigned(true);

/** Runs the client with these files, which the arguments name by index. */
async function clientWith(files: readonly string[], args: readonly string[]) {
  const folder = await Deno.makeTempDir();
  try {
    for (const [index, content] of files.entries()) await Deno.writeTextFile(`${folder}/${index}`, content);
    return await client(args.map((arg) => /^\d$/.test(arg) ? `${folder}/${arg}` : arg));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const untilGone: Script = (socket) => socket.untilGone();

/** The server's certificate, the files of --ca, and the expected report. */
const CERTIFICATES: readonly [string, { cert: string; key: string }, string[], RegExp, RegExp][] = [
  [
    "is that of a certificate authority, given with --ca",
    authorityAsServer,
    [authorityAsServer.cert],
    /of a certificate authority/,
    /CA:FALSE/,
  ],
  [
    "has an issuer that is not sent, with the root as --ca",
    leaf,
    [authority.cert],
    /no trusted authority/,
    /"CN=wsproof test intermediate", which the server does not send/,
  ],
  [
    "has an issuer that is sent, without --ca",
    { cert: leaf.cert + intermediate.cert, key: leaf.key },
    [],
    /no trusted authority/,
    /signed by "CN=wsproof test authority": .*--ca/,
  ],
  ["is self-signed, without --ca", own, [], /no trusted authority/, /self-signed: .*--ca/],
  [
    "has an issuer of the name of another",
    good,
    [(await createAuthority()).cert],
    /no trusted authority|damaged/,
    /another authority with the name|^$/,
  ],
  [
    "is for another name",
    await authority.sign("server", { name: "other.example\u001b[31m" }),
    [authority.cert],
    /for another name, "other\.example\\u001b\[31m"/,
    /use a name/,
  ],
  [
    "has expired",
    await authority.sign("server", { hasExpired: true }),
    [authority.cert],
    /has expired \(2021-01-01\)/,
    /renew|clock/,
  ],
];

for (const [is, certificate, files, problem, hint] of CERTIFICATES) {
  testBoth(`client says which, when the certificate of the server ${is}`, async (transport) => {
    await using peer = rawPeer(untilGone, certificate);
    const ca = files.flatMap((_, index) => ["--ca", `${index}`]);
    const args = ["--json", "--transport", transport, ...ca, `wss://localhost:${peer.port}/`];
    const outcome = await clientWith(files, args);
    const report = reportOf(outcome);
    assertEquals([report.verdict, outcome.code], ["no-connection", 3], outcome.stderr);
    assertMatch(report.problem, problem);
    assertMatch(report.hint, hint);
    assertEquals(
      /CaUsed|UnknownIssuer|DnsName|UNIX|docs\.rs|invalid peer/.test(`${outcome.stdout}${outcome.stderr}`),
      false,
    );
  });
}

testBoth("client shows the words of the runtime with --verbose only", async (transport) => {
  await using peer = rawPeer(untilGone, authorityAsServer);
  const args = ["--transport", transport, "--ca", "0", `wss://localhost:${peer.port}/`];
  const { stderr } = await clientWith([authorityAsServer.cert], ["-v", ...args]);
  assertMatch(stderr, /connect failed \(the runtime says: .*CaUsedAsEndEntity/);
});

testBoth("client says usage, when a file of --ca or --cert is junk", async (transport) => {
  const junk = good.cert.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA");
  const args = ["--transport", transport, "wss://localhost:1/"];
  const ca = await clientWith([junk], ["--ca", "0", ...args]);
  const problem = "wsproof: Cannot use the file of --ca: it has a block that is not a valid certificate\n";
  assertEquals(ca, { code: 2, stdout: "", stderr: problem });
  const second = await clientWith([good.cert, junk], ["--ca", "0", "--ca", "1", ...args]);
  assertStringIncludes(second.stderr, "wsproof: Cannot use the file of --ca (2 of 2): it has a block");
  const cert = await clientWith([good.cert, "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"], [
    "--cert",
    "0",
    "--key",
    "1",
    ...args,
  ]);
  assertEquals([cert.code, cert.stdout], [2, ""]);
  assertStringIncludes(
    cert.stderr,
    "wsproof: Cannot use the certificate and its key: the key is damaged, encrypted, or of a kind",
  );
});

testBoth("client says usage, when the key of --key does not belong to the certificate of --cert", async (transport) => {
  const args = ["--transport", transport, "--cert", "0", "--key", "1", "wss://localhost:1/"];
  const { code, stdout, stderr } = await clientWith([good.cert, authorityAsServer.key], args);
  const problem = "wsproof: Cannot use the certificate and its key: the key does not belong to the certificate; " +
    "give --cert and --key PEM files that belong together\n";
  assertEquals([code, stdout, stderr], [2, "", problem]);
});

/** A TLS server of Python, with OpenSSL, that requires a client certificate; dispose of it to stop it. */
async function demandingServer(version: string) {
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/chain`, good.cert + good.key);
  await Deno.writeTextFile(`${folder}/ca`, authority.cert);
  const child = new Deno.Command("/usr/bin/python3", {
    args: [new URL("../support/demanding.py", import.meta.url).pathname, `${folder}/chain`, `${folder}/ca`, version],
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const { value = "" } = await reader.read();
  return {
    port: Number(value),
    async [Symbol.asyncDispose]() {
      child.kill();
      await reader.cancel();
      await child.status;
      await Deno.remove(folder, { recursive: true });
    },
  };
}

for (const version of ["TLSv1_2", "TLSv1_3"]) {
  testBoth(
    `client says that a client certificate is wanted, or refused, by a server of ${version}`,
    async (transport) => {
      await using server = await demandingServer(version);
      const args = ["--json", "--transport", transport, "--ca", "0", `wss://localhost:${server.port}/`];
      const wanted = await clientWith([authority.cert], args);
      assertEquals([reportOf(wanted).verdict, wanted.code], ["no-connection", 3], wanted.stderr);
      // TLS 1.2 has only the alert for any failed handshake.
      const problem = version === "TLSv1_3" ? "the server requires a client certificate" : "refused the TLS handshake";
      assertStringIncludes(reportOf(wanted).problem, problem);
      assertStringIncludes(reportOf(wanted).hint, "--cert and --key");
      const refused = await clientWith([authority.cert, own.cert, own.key], [...args, "--cert", "1", "--key", "2"]);
      assertEquals([reportOf(refused).verdict, refused.code], ["no-connection", 3], refused.stderr);
      assertStringIncludes(reportOf(refused).problem, "the server refused the client certificate");
      assertStringIncludes(reportOf(refused).hint, "check --cert");
    },
  );
}

testBoth(
  "client suggests wss: for a server that answers with an alert of TLS, and for one that drops",
  async (transport) => {
    await using peer = rawPeer(untilGone, good);
    const alert = await client(["--json", "--transport", transport, `ws://localhost:${peer.port}/`]);
    assertEquals(reportOf(alert).verdict, "handshake-refused");
    assertStringIncludes(alert.stderr, "try wss://");
    await using dropping = rawPeer(async (socket) => void await socket.readHead());
    const drop = await client(["--json", "--transport", transport, dropping.url]);
    assertEquals(reportOf(drop).verdict, "connection-lost");
    assertStringIncludes(drop.stderr, "try wss://");
  },
);

const PLAIN_TO_TLS = [
  "<html><body>The plain HTTP request was sent to HTTPS port</body></html>",
  "Client sent an HTTP request to an HTTPS server.\n",
  "Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />",
];
for (const body of PLAIN_TO_TLS) {
  testBoth(`client suggests wss: for a server that says ${body.slice(0, 40)}`, async (transport) => {
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      await socket.write(`HTTP/1.1 400 Bad Request\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    });
    const outcome = await client(["--json", "--transport", transport, peer.url]);
    assertEquals(reportOf(outcome).verdict, "handshake-refused");
    assertStringIncludes(reportOf(outcome).hint, "try wss:// instead of ws://");
  });
}

testBoth("client shows a server's answer over TLS, also if builtin hides it", async (transport) => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 10\r\n\r\nover there");
  }, good);
  const args = ["--json", "--transport", transport, "--ca", "0", `wss://localhost:${peer.port}/`];
  const outcome = await clientWith([authority.cert], args);
  const report = reportOf(outcome);
  assertEquals([report.verdict, report.refusal?.status, report.refusal?.from], ["handshake-refused", 503, "server"]);
  assertMatch(report.hint, /try again after 7 s; the answer says "over there"/);
  assertEquals(/asked again over wire/.test(report.problem), transport === "builtin");
});

Deno.test("client blames no peer for an answer that only builtin refuses", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade("Connection: keep-alive, Upgrade");
    await socket.answerClose();
  });
  const report = reportOf(await client(["--json", peer.url]));
  assertEquals([report.verdict, /built-in WebSocket/.test(report.problem)], ["handshake-refused", true]);
  assertStringIncludes(report.hint, "--transport wire");
});

Deno.test("client says that builtin accepts only a tunnel with 200, and that wire goes through", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await socket.echoOne();
    await socket.answerClose();
  }, good);
  await using proxy = rawPeer(async (socket) => {
    await socket.readHead();
    const target = await connectRaw(peer.url);
    await socket.write("HTTP/1.1 201 Created\r\n\r\n");
    await Promise.all([socket.pipeTo(target), target.pipeTo(socket)]);
  });
  const args = ["--json", "--ca", "0", "--proxy", `http://127.0.0.1:${proxy.port}`, `wss://localhost:${peer.port}/`];
  const wire = await clientWith([authority.cert], ["--transport", "wire", ...args]);
  assertEquals(reportOf(wire).verdict, "proven", wire.stderr);
  const builtin = reportOf(await clientWith([authority.cert], args));
  assertEquals([builtin.verdict, builtin.refusal], ["no-connection", null]);
  assertStringIncludes(builtin.problem, `over wire passes, through http://127.0.0.1:${proxy.port}`);
});

testBoth(
  "client proves a close that TCP ends without close_notify, and does not call it a reset",
  async (transport) => {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const serving = (async () => {
      const secure = new SecureConn(await listener.accept(), contextOf(good.cert, good.key));
      await secure.handshake();
      const socket = new RawSocket(secure);
      await socket.upgrade();
      await socket.echoOne();
      await socket.answerClose();
      socket.close();
    })();
    const args = ["--json", "--transport", transport, "--ca", "0", `wss://localhost:${listener.addr.port}/`];
    const outcome = await clientWith([authority.cert], args);
    await serving;
    listener.close();
    const { verdict, close } = reportOf(outcome);
    assertEquals([verdict, close.tcp], ["proven", transport === "wire" ? "peer" : "not-known"], outcome.stderr);
  },
);

testBoth("client says that TLS may be the mistake at a port that does not answer to it", async (transport) => {
  await using peer = rawPeer(untilGone);
  const url = peer.url.replace("ws:", "wss:");
  const report = reportOf(await client(["--json", "--transport", transport, "--connect-timeout", "1", url]));
  assertEquals([report.verdict, report.exitCode], ["no-connection", 3]);
  assertMatch(report.hint, /if this port is not for TLS, try ws:\/\/ instead of wss:\/\//);
  if (transport === "wire") {
    assertMatch(report.problem, /^Connected to .*, but no answer to the TLS handshake within 1 s$/);
  }
});
