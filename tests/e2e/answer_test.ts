/** The client and unusual answers to its handshake, over both transports. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createAuthority } from "../support/certificates.ts";
import { client, reportOf } from "../support/command.ts";
import { rawPeer, type RawSocket, type Script } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const EARLY = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";

/** A replacement for a correct upgrade. */
type Edit = (answer: string) => string;

/** Answers with a correct upgrade in another form, then echoes and closes. */
const upgrading = (edit: Edit): Script => async (socket) => {
  await upgradeLike(socket, edit);
  await socket.echoOne();
  await socket.answerClose();
};

/** Answers a request with a head in the style of another server. */
async function upgradeLike(socket: RawSocket, edit: Edit): Promise<void> {
  const key = /^sec-websocket-key: *(\S+)/im.exec(await socket.readHead())?.[1] ?? "";
  const guid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  const digest = await crypto.subtle.digest("SHA-1", new TextEncoder().encode(`${key}${guid}`));
  const accept = new Uint8Array(digest).toBase64();
  const lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
  await socket.write(edit([...lines, `Sec-WebSocket-Accept: ${accept}`, "", ""].join("\r\n")));
}

/** Forms of a head that every client must accept. */
const FORMS: readonly [string, Edit][] = [
  ["three interim responses before it", (answer) => `${EARLY.repeat(3)}${answer}`],
  ["lines that end with LF", (answer) => answer.replaceAll("\r\n", "\n")],
  ["one line that ends with LF", (answer) => answer.replace("\r\n", "\n")],
  ["an empty line that ends with LF", (answer) => answer.replace(/\r\n$/, "\n")],
  ["an empty line before it", (answer) => `\r\n${answer}`],
  ["17 KiB of cookies", (answer) => answer.replace("\r\n", `\r\nSet-Cookie: ${"c".repeat(17 * 1024)}\r\n`)],
];

for (const [form, edit] of FORMS) {
  testBoth(`client says proven, when the answer has ${form}`, async (transport) => {
    await using peer = rawPeer(upgrading(edit));
    const outcome = await client(["--json", "--transport", transport, peer.url]);
    assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
  });

  Deno.test(`client goes through a tunnel, when the proxy's answer has ${form}`, async () => {
    await using proxy = rawPeer(async (socket) => {
      await socket.readHead();
      await socket.write(edit("HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\n"));
      await upgrading((answer) => answer)(socket);
    });
    const args = ["--json", "--transport", "wire", "--proxy", `http://127.0.0.1:${proxy.port}`];
    const outcome = await client([...args, "ws://server.test/"]);
    assertEquals([reportOf(outcome).verdict, outcome.code], ["proven", 0], outcome.stderr);
  });
}

testBoth("client reads a folded field over wire, and says that builtin cannot", async (transport) => {
  await using peer = rawPeer(upgrading((answer) => answer.replace("\r\n", "\r\nServer: a\r\n b\r\n")));
  const outcome = await client(["--json", "--transport", transport, peer.url]);
  const report = reportOf(outcome);
  if (transport === "wire") return assertEquals(report.verdict, "proven", outcome.stderr);
  assertEquals(report.verdict, "handshake-refused");
  assertStringIncludes(report.problem, "The built-in WebSocket failed; the same handshake over wire passes");
});

/** Refusals with unusual heads. */
const REFUSALS: readonly [string, string][] = [
  ["behind an interim response", `${EARLY}HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n`],
  ["with a folded field", "HTTP/1.1 403 Forbidden\r\nX-A: a\r\n b\r\nContent-Length: 0\r\n\r\n"],
  ["with a head over the limit", `HTTP/1.1 403 Forbidden\r\nX-A: ${"a".repeat(70_000)}\r\n\r\n`],
  ["with a line that is no field", "HTTP/1.1 403 Forbidden\r\nno field\r\n\r\n"],
  ["with lines that end with LF", "HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n"],
];

for (const [what, answer] of REFUSALS) {
  testBoth(`client shows a 403 ${what}`, async (transport) => {
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      await socket.write(answer);
    });
    const outcome = await client(["--json", "--transport", transport, peer.url]);
    assertEquals(reportOf(outcome).verdict, "handshake-refused");
    assertMatch(reportOf(outcome).problem, /^Server answered with status 403 \(Forbidden\) instead of 101(;|$)/);
    assertStringIncludes(reportOf(outcome).hint, "--origin");
  });
}

Deno.test("client shows the body of a refusal, when it comes after the head", async () => {
  const script: Script = async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nmembers\r\n");
    // A pause puts the rest into a segment of its own.
    await new Promise((resolve) => setTimeout(resolve, 50));
    await socket.write("5\r\n only\r\n0\r\n\r\n");
    await socket.untilGone();
  };
  await using peer = rawPeer(script);
  const outcome = await client(["--json", "--transport", "wire", peer.url]);
  assertEquals(reportOf(outcome).refusal.body, "members only");
  assertStringIncludes(outcome.stderr, 'the answer says "members only"');
});

Deno.test("client shows a server's answer, when its body never comes", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 10\r\n\r\nhalf");
    await socket.untilGone();
  });
  // The deadline does not hide the answer that has arrived.
  const outcome = await client(["--json", "--transport", "wire", "--connect-timeout", "20", peer.url]);
  assertEquals([reportOf(outcome).verdict, reportOf(outcome).refusal.body], ["handshake-refused", "half"]);
});

testBoth("client shows the body of a refusal over TLS", async (transport) => {
  const authority = await createAuthority();
  const body = await new Response(new Blob(["members only"]).stream().pipeThrough(new CompressionStream("gzip")))
    .bytes();
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n");
    await socket.write(body);
  }, await authority.sign("server"));
  const ca = await Deno.makeTempFile();
  await Deno.writeTextFile(ca, authority.cert);
  const url = peer.url.replace("127.0.0.1", "localhost");
  const outcome = await client(["--json", "--transport", transport, "--ca", ca, url]);
  await Deno.remove(ca);
  assertEquals(reportOf(outcome).refusal?.body, "members only", outcome.stderr);
});

Deno.test("client shows what a proxy answered and its body, when the head is over the limit or the body late", async () => {
  const script = (answer: string, body: string): Script => async (socket) => {
    await socket.readHead();
    await socket.write(answer);
    await socket.write(body);
    await socket.untilGone();
  };
  const saying = async (answer: string, body = "") => {
    await using proxy = rawPeer(script(answer, body));
    const args = ["--json", "--transport", "wire", "--proxy", `http://127.0.0.1:${proxy.port}`, "ws://server.test/"];
    return reportOf(await client(args));
  };
  const long = await saying(`HTTP/1.1 403 Forbidden\r\nVia: ${"a".repeat(70_000)}`);
  assertMatch(long.problem, /status 403 \(Forbidden\) instead of a tunnel; head is longer than 65536 bytes$/);
  const late = await saying("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n", "no tunnel");
  assertEquals([late.refusal.from, late.refusal.status, late.refusal.body], ["proxy", 403, "no tunnel"]);
  const wrong = await saying("HTTP/1.1 200 OK\r\nno field\r\n\r\n");
  assertMatch(wrong.problem, /opened no tunnel: line 2 is not a header field: "no field"$/);
});
