/** Turns request heads into requests, or into their problem. */

import { assert, assertEquals } from "@std/assert";
import { HeadRequest, parseRequest } from "../../lib/net/request.ts";

const HOST = ["Host", "a"] as const;

for (
  const [what, startLine, fields, reason] of [
    ["no Host", "GET / HTTP/1.1", [], "The field Host is missing."],
    ["two of them", "GET / HTTP/1.1", [HOST, ["X", "y"], ["host", "a"]], "Line 4 has a second field Host."],
    [
      "a Host that is none",
      "GET / HTTP/1.1",
      [["X", "y"], ["Host", "a/b"]],
      "Line 3 has a field Host that is not a host.",
    ],
    [
      "a method in small letters",
      "get / HTTP/1.1",
      [HOST],
      'Line 1 has the method "get", which is not GET: methods are case-sensitive.',
    ],
    ["CONNECT", "CONNECT / HTTP/1.1", [HOST], 'Line 1 has the method "CONNECT", which this server does not allow.'],
    [
      "another version",
      "GET / HTTP/1.2",
      [HOST],
      "Line 1 has the version HTTP/1.2: this server speaks HTTP/1.1 and HTTP/1.0.",
    ],
    [
      "two spaces",
      "GET  / HTTP/1.1",
      [HOST],
      "Line 1 is not a method, a target and a version, with one space between them.",
    ],
    ["no path", "GET x HTTP/1.1", [HOST], "Line 1 has a target that is neither a path nor an http URL."],
    ["another scheme", "GET ftp://a/ HTTP/1.1", [HOST], "Line 1 has a target that is neither a path nor an http URL."],
    [
      "a URL that is none",
      "GET http://a:x/ HTTP/1.1",
      [HOST],
      "Line 1 has a target that is neither a path nor an http URL.",
    ],
  ] as const
) {
  Deno.test(`parseRequest() says which line is wrong and why, when a head has ${what}`, () => {
    assertEquals(parseRequest({ startLine, fields }, false), { reason });
  });
}

Deno.test("parseRequest() keeps the target unchanged, when the URL has it in another form", () => {
  const parsed = parseRequest({ startLine: "GET /\u00c3\u00a9/../b HTTP/1.1", fields: [HOST] }, true);
  assert("request" in parsed);
  assertEquals([parsed.request.url, parsed.target], ["https://a/b", "/\u00c3\u00a9/../b"]);
});

Deno.test("parseRequest() accepts HTTP/1.0 without a Host, and returns the version", () => {
  const parsed = parseRequest({ startLine: "GET /x HTTP/1.0", fields: [] }, false);
  assert("request" in parsed);
  assertEquals([parsed.request.url, parsed.version], ["http://localhost/x", "1.0"]);
});

Deno.test("HeadRequest gives the fields as a Request does, when a field has several lines and any case", () => {
  const request = new HeadRequest("GET", "http://a/./b?c", [["X-A", "1"], ["x-b", ""], ["x-a", "2"]]);
  const real = request.toRequest();
  for (const name of ["x-a", "x-b", "x-c"]) assertEquals(request.headers.get(name), real.headers.get(name));
  assertEquals([request.url, request.method], [real.url, real.method]);
});
