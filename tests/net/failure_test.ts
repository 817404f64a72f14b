/** How the runtime's words for a connection that could not be made are sorted, and put into ours. */

import { assertEquals } from "@std/assert";
import { connectionError } from "../../lib/net/failure.ts";

const CAUSES: readonly (readonly [words: string, reason: string, text: string])[] = [
  ["Connection refused (os error 111)", "refused", "connection refused"],
  ["tcp connect error", "refused", "nothing answered there"],
  ["failed to lookup address information: Name or service not known", "unknown-name", "unknown host name"],
  ["invalid host 'a..b': empty label found in FQDN", "unknown-name", "unknown host name"],
  ["Network is unreachable (os error 101)", "unreachable", "there is no route to it"],
  ["Invalid argument (os error 22)", "unreachable", "there is no route to it"],
  ["received fatal alert: HandshakeFailure", "tls-handshake", "the server refused the TLS handshake"],
  ["received fatal alert: InternalError", "tls-handshake", "the server refused the TLS handshake"],
  ["received fatal alert: AlertDescription(0xc8)", "tls-handshake", "the server refused the TLS handshake"],
  ["received fatal alert: ProtocolVersion", "tls-version", "the server speaks only other versions of TLS"],
  ["received fatal alert: UnrecognizedName", "wrong-name", "the server has no certificate for this name"],
  ["received fatal alert: UnknownCA", "client-certificate-wanted", "the server requires a client certificate"],
  ["received corrupt message of type InvalidContentType", "plain-server", "the server does not speak TLS"],
  [
    'received corrupt message of type MissingData("ProtocolVersion")',
    "tls-handshake",
    "the server broke the rules of TLS",
  ],
  ["peer misbehaved: IllegalMiddleboxChangeCipherSpec", "tls-handshake", "the server broke the rules of TLS"],
  ["tls handshake eof", "tls-handshake", "the TLS handshake was cut off"],
  ["Connection reset by peer (os error 104)", "reset", "the connection was reset"],
  ["something else (os error 5)", "other", "something else"],
];
for (const [words, reason, text] of CAUSES) {
  Deno.test(`connectionError() says that ${text}, when the runtime says ${words}`, () => {
    const error = connectionError(words, { url: new URL("wss://a.example/") });
    assertEquals([error.reason, error.message, error.detail], [
      reason,
      `No connection to a.example:443: ${text}`,
      words,
    ]);
  });
}
