import { assertEquals } from "@std/assert";
import { createTokenCheck, isTokenProtocol, TOKEN_PROTOCOL_PREFIX } from "../../lib/server/token.ts";

const SECRET = "p\u00e4ss:word";
const utf8 = (text: string) => new TextEncoder().encode(text);
const offer = (text: string) =>
  TOKEN_PROTOCOL_PREFIX + utf8(text).toBase64({ alphabet: "base64url", omitPadding: true });
// Headers takes the bytes of a field value as Latin-1.
const latin1 = (text: string) => String.fromCharCode(...utf8(text));

for (
  const [what, headers, isRight] of [
    ["nothing", {}, false],
    ["Bearer in ASCII", { authorization: "Bearer plain" }, "plain"],
    ["bearer in small letters, with more spaces", { authorization: "bearer   plain  " }, "plain"],
    ["Basic with any user", { authorization: `Basic ${utf8(`anybody:${SECRET}`).toBase64()}` }, true],
    ["Basic without a user", { authorization: `Basic ${utf8(`:${SECRET}`).toBase64()}` }, true],
    [
      "Basic with the token as the user",
      { authorization: `Basic ${utf8(`${SECRET.replace(":", "")}:`).toBase64()}` },
      false,
    ],
    ["Basic that is not Base64", { authorization: "Basic ***" }, false],
    ["Basic without a colon", { authorization: `Basic ${utf8("plain").toBase64()}` }, false],
    ["another scheme", { authorization: `Digest ${SECRET.replace("\u00e4", "a")}` }, false],
    ["a subprotocol", { "sec-websocket-protocol": `chat, ${offer(SECRET)}` }, true],
    ["a wrong subprotocol and a right one", { "sec-websocket-protocol": `${offer("x")},${offer(SECRET)}` }, true],
    ["a subprotocol with a beginning of it", { "sec-websocket-protocol": offer(SECRET.slice(0, -1)) }, false],
    ["a subprotocol that is not base64url", { "sec-websocket-protocol": `${TOKEN_PROTOCOL_PREFIX}~` }, false],
    ["an empty subprotocol", { "sec-websocket-protocol": TOKEN_PROTOCOL_PREFIX }, false],
  ] as const
) {
  Deno.test(`createTokenCheck() judges ${what} as ${isRight === false ? "wrong" : "right"}`, () => {
    const check = createTokenCheck(typeof isRight === "string" ? isRight : SECRET);
    assertEquals(check(new Request("http://127.0.0.1/", { headers })), isRight !== false);
  });
}

// The last byte of "\u00e0" in UTF-8 is A0, a space if bytes are read as characters.
for (const secret of [SECRET, "voil\u00e0", "\u00e0", "\u0085\u00a0"]) {
  Deno.test(`createTokenCheck() accepts ${JSON.stringify(secret)} in UTF-8 as Bearer, byte by byte`, () => {
    const check = createTokenCheck(secret);
    const isRight = (text: string) =>
      check(new Request("http://127.0.0.1/", { headers: { authorization: `Bearer ${text}` } }));
    assertEquals([isRight(latin1(secret)), isRight(latin1(secret).slice(0, -1))], [true, false]);
  });
}

Deno.test("isTokenProtocol() recognises a token by its beginning", () => {
  const names = [offer("x"), "Wsproof.BEARER.eA", "chat", "wsproof"];
  assertEquals(names.map(isTokenProtocol), [true, true, false, false]);
});

Deno.test("createTokenCheck() reads a field of megabytes in linear time", () => {
  // A quadratic parser would take hours.
  const spaces = " ".repeat(5_000_000);
  const check = createTokenCheck("plain");
  for (const [authorization, isRight] of [[`a b${spaces}c`, false], [`Bearer${spaces}plain`, true]] as const) {
    assertEquals(check(new Request("http://127.0.0.1/", { headers: { authorization } })), isRight);
  }
});
