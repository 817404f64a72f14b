/** Request heads that the lab accepts, and its answer and log for the others. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { handshake, startLab } from "../support/lab.ts";
import { CLOSE, connectRaw, requestHead } from "../support/raw_peer.ts";

const UPGRADED = "HTTP/1.1 101 Switching Protocols";
const NORMAL = Uint8Array.of(0x03, 0xe8);
const bytesOf = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

for (
  const [what, head, path] of [
    ["an empty line before it", "\r\n" + requestHead({}, "GET /echo HTTP/1.1"), "/echo"],
    ["an absolute target", requestHead({}, "GET http://127.0.0.1:80/echo/1?a=b HTTP/1.1"), "/echo/1?a=b"],
    ["an absolute target without a path", requestHead({}, "GET http://localhost HTTP/1.1"), "/"],
    ["60,000 bytes of a field", requestHead({ Cookie: "x".repeat(60_000) }), "/"],
    ["dots in its path, as they were sent", requestHead({}, "GET /greet/.. HTTP/1.1"), "/greet/.."],
  ] as const
) {
  Deno.test(`lab upgrades a request with ${what}`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    await socket.write(head);
    assertEquals((await socket.readHead()).split("\r\n")[0], UPGRADED);
    assertEquals((await lab.opened).path, path);
    socket.close();
  });
}

for (
  const [what, target, greeting] of [
    ["UTF-8 that is not percent-encoded", "/greet/h\xc3\xa9llo%21", "h\u00e9llo!"],
    ["dots", "/greet/..", ".."],
    ["a backslash and a number sign", "/greet/a\\b#c", "a\\b#c"],
  ] as const
) {
  Deno.test(`lab greets with ${what} as it was sent`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    await socket.write(bytesOf(requestHead({}, `GET ${target} HTTP/1.1`)));
    await socket.readHead();
    assertEquals(new TextDecoder().decode((await socket.readFrame()).payload), greeting);
    await socket.frame(CLOSE, NORMAL);
    await socket.readToEnd();
    socket.close();
  });
}

const LF_ONLY = requestHead().replaceAll("\r\n", "\n");

for (
  const [what, head, status, cause, says] of [
    ["lines that end with LF alone", LF_ONLY, 400, "bad-handshake", "Line 1 ends with LF alone"],
    ["one line that ends with LF alone", requestHead().replace("13\r\n", "13\n"), 400, "bad-handshake", "Line 5 ends"],
    ["no head, but TLS", "\x16\x03\x01\x02\x00", 400, "bad-handshake", "It is TLS, not HTTP"],
    [
      "a line that is not a field",
      requestHead({ "no field": "" }),
      400,
      "bad-handshake",
      "Line 7 is not a header field",
    ],
    ["a folded field", requestHead({ Cookie: "a\r\n b" }), 400, "bad-handshake", "Line 8 begins with a blank"],
    ["HTTP/1.0", requestHead({}, "GET / HTTP/1.0"), 400, "bad-handshake", "HTTP/1.0 has no upgrade"],
    ["HTTP/2.0", requestHead({}, "GET / HTTP/2.0"), 400, "bad-handshake", "HTTP/2.0"],
    ["get in small letters", requestHead({}, "get / HTTP/1.1"), 400, "bad-handshake", '"get"'],
    ["the method CONNECT", requestHead({}, "CONNECT / HTTP/1.1"), 400, "bad-handshake", '"CONNECT"'],
    ["the method POST", requestHead({}, "POST / HTTP/1.1"), 405, "method", "GET"],
    ["the target *", requestHead({}, "GET * HTTP/1.1"), 400, "bad-handshake", "neither a path nor"],
    ["no Host", requestHead({ Host: undefined }), 400, "bad-handshake", "The field Host is missing"],
    [
      "a Host that is none",
      requestHead({ Host: "a/b" }),
      400,
      "bad-handshake",
      "Line 2 has a field Host that is not a host",
    ],
    ["a foreign Host", requestHead({ Host: "a.example" }), 403, "host", "does not name this machine"],
    ["a foreign target", requestHead({}, "GET http://a.example/ HTTP/1.1"), 403, "host", "does not name this machine"],
    ["a target without a host", requestHead({}, "GET http:/// HTTP/1.1"), 400, "bad-handshake", "neither a path nor"],
    ["a foreign Origin", requestHead({ Origin: "https://a.example" }), 403, "origin", "does not name this machine"],
    ["another version", requestHead({ "Sec-WebSocket-Version": "8" }), 426, "version", "13"],
    ["a short key", requestHead({ "Sec-WebSocket-Key": "x" }), 400, "bad-handshake", "Sec-WebSocket-Key"],
    ["no upgrade at a path", requestHead({ Upgrade: undefined }, "GET /echo HTTP/1.1"), 426, "plain-http", "WebSocket"],
    ["a path of no steps", requestHead({}, "GET /corupt HTTP/1.1"), 404, "no-such-path", '"corupt", is not a step'],
    ["66,000 bytes", requestHead({ Cookie: "x".repeat(66_000) }), 431, "head-too-long", "longer than 65536 bytes"],
  ] as const
) {
  Deno.test(`lab answers a request with ${what} with ${status} and the reason, and reports it`, async () => {
    await using lab = await startLab();
    const socket = await connectRaw(lab.url);
    await socket.write(bytesOf(head));
    const answer = new TextDecoder().decode(await socket.readToEnd());
    assertMatch(answer, new RegExp(`^HTTP/1\\.1 ${status} `));
    assertStringIncludes(answer.slice(answer.indexOf("\r\n\r\n")), says);
    const refused = await lab.refused;
    assertEquals([refused.status, refused.cause], [status, cause]);
    assertStringIncludes(refused.reason, says);
    socket.close();
  });
}

for (const [what, begun, status] of [["half a head", "GET / HT", 408], ["nothing", "", 0]] as const) {
  Deno.test(`lab ends a connection that has sent ${what} in time, and reports it`, async () => {
    await using lab = await startLab({ headTimeoutMs: 50 });
    const socket = await connectRaw(lab.url);
    await socket.write(begun);
    const answer = new TextDecoder().decode(await socket.readToEnd());
    if (status === 408) assertMatch(answer, /^HTTP\/1\.1 408 [^]*No complete request within 0\.05 s\.\n$/);
    else assertEquals(answer, "");
    const refused = await lab.refused;
    assertEquals([refused.status, refused.cause], [status, "head-timeout"]);
    socket.close();
  });
}

Deno.test("lab reports a refusal with the peer and the path, cut off", async () => {
  await using lab = await startLab();
  const socket = await connectRaw(lab.url);
  const [startLine] = await handshake(socket, `/${"x".repeat(2000)}`);
  assertEquals(startLine, "HTTP/1.1 404 Not Found");
  const { peer, path } = await lab.refused;
  assertMatch(peer, /^127\.0\.0\.1:\d+$/);
  assertEquals(path, `/${"x".repeat(1023)}`);
  socket.close();
});

Deno.test("lab lists its steps for a plain GET of HTTP/1.0", async () => {
  await using lab = await startLab();
  const socket = await connectRaw(lab.url);
  await socket.write(requestHead({ Upgrade: undefined }, "GET / HTTP/1.0"));
  assertMatch(new TextDecoder().decode(await socket.readToEnd()), /^HTTP\/1\.1 200 OK\r\n[^]*echo\[\/N\]/);
  socket.close();
});
