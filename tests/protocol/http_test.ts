/** Heads of HTTP messages as raw bytes, and the ends of their bodies. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import {
  type HeadKind,
  HeadReader,
  HttpHeadError,
  MAX_HEAD_BYTES,
  MAX_INTERIM_RESPONSES,
} from "../../lib/protocol/http.ts";
import { bodyLengthOf, BodyReader } from "../../lib/protocol/http_body.ts";
import { encodeHead, parseRequestLine, parseStatusLine } from "../../lib/protocol/http_lines.ts";

const bytesOf = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** Reads a head in pieces of one size; the rest as text. */
function read(kind: HeadKind, text: string, pieceBytes = Infinity, maxBytes?: number) {
  const reader = new HeadReader(kind, maxBytes);
  const bytes = bytesOf(text);
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) {
    const complete = reader.push(bytes.subarray(at, at + pieceBytes));
    if (complete === undefined) continue;
    const rest = String.fromCharCode(...complete.rest, ...bytes.subarray(at + pieceBytes));
    return { ...complete.head, rest };
  }
  return undefined;
}

function problemOf(kind: HeadKind, text: string): readonly [problem: string, message: string, startLine: string] {
  try {
    read(kind, text);
  } catch (error) {
    if (error instanceof HttpHeadError) return [error.problem, error.message, error.startLine];
  }
  throw new Error("It was taken");
}

const OK = "HTTP/1.1 200 OK";
const GET = "GET / HTTP/1.1";

for (const pieceBytes of [1, 2, 3, 7, Infinity]) {
  for (
    const [what, kind, text, startLine, fields, rest] of [
      ["a response", "response", `${OK}\r\nA: b\r\n\r\nbody`, OK, [["A", "b"]], "body"],
      ["a response without fields", "response", `${OK}\r\n\r\n`, OK, [], ""],
      ["lines that end with LF alone", "response", `${OK}\nA: b\n\nbody`, OK, [["A", "b"]], "body"],
      ["mixed line ends", "response", `${OK}\r\nA: b\nC: d\r\n\nbody`, OK, [["A", "b"], ["C", "d"]], "body"],
      ["LF and then CR LF at the end", "response", `${OK}\nA: b\n\r\nbody`, OK, [["A", "b"]], "body"],
      ["an empty line before the answer", "response", `\r\n${OK}\r\n\r\nx`, OK, [], "x"],
      [
        "interim responses",
        "response",
        `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nLink: a\r\n\r\n${OK}\r\n\r\n`,
        OK,
        [],
        "",
      ],
      ["101, which is the answer", "response", "HTTP/1.1 101 x\r\n\r\n\x81", "HTTP/1.1 101 x", [], "\x81"],
      [
        "a folded field",
        "response",
        `${OK}\r\nA: b\r\n  c\r\n\td \r\nE: f\r\n\r\n`,
        OK,
        [["A", "b c d"], ["E", "f"]],
        "",
      ],
      ["a request", "request", `${GET}\r\nHost:a\r\n\r\nmore`, GET, [["Host", "a"]], "more"],
      [
        "a request before a frame",
        "request",
        `${GET}\r\nHost: a\r\n\r\n\x82\xfe\xef\xbb`,
        GET,
        [["Host", "a"]],
        "\x82\xfe\xef\xbb",
      ],
      ["empty lines before a request", "request", `\r\n\r\n${GET}\r\n\r\n`, GET, [], ""],
      ["bytes above ASCII", "request", "GET /\xc3\xa9 HTTP/1.1\r\nA: \xff\r\n\r\n", "GET /\xc3\xa9 HTTP/1.1", [[
        "A",
        "\xff",
      ]], ""],
    ] as const
  ) {
    const size = pieceBytes === Infinity ? "at once" : `${pieceBytes} at a time`;
    Deno.test(`HeadReader() reads ${what} (${kind}, ${size})`, () => {
      assertEquals(read(kind, text, pieceBytes), { startLine, fields: fields.map(([...field]) => field), rest });
    });
  }
}

for (
  const [what, kind, text, problem, message, startLine] of [
    ["TLS", "response", "\x15\x03\x03", "not-http", "It is TLS, not HTTP", ""],
    ["SSH", "response", "SSH-2.0-x\r\n", "not-http", "It is not HTTP", ""],
    ["a request in TLS", "request", "\x16\x03\x01\x02\x00", "not-http", "It is TLS, not HTTP", ""],
    ["too many empty lines", "response", "\r\n".repeat(9), "not-http", "It is not HTTP", ""],
    [
      "LF alone in a request",
      "request",
      `${GET}\r\nA: b\n`,
      "bare-lf",
      "Line 2 ends with LF alone: lines of a request end with CR LF",
      GET,
    ],
    [
      "LF alone behind the first line",
      "request",
      `${GET}\n`,
      "bare-lf",
      "Line 1 ends with LF alone: lines of a request end with CR LF",
      GET,
    ],
    [
      "CR alone in a request, before the head is complete",
      "request",
      `${GET}\r\nA: b\rc`,
      "bare-cr",
      "Line 2 has CR without LF: lines of a request end with CR LF",
      GET,
    ],
    [
      "a line that is not a field",
      "response",
      `${OK}\r\nA: b\r\nno field\r\n\r\n`,
      "bad-line",
      'Line 3 is not a header field: "no field"',
      OK,
    ],
    [
      "a blank before the colon",
      "request",
      `${GET}\r\nHost : a\r\n\r\n`,
      "bad-line",
      'Line 2 is not a header field: "Host : a"',
      GET,
    ],
    [
      "a control character",
      "request",
      `${GET}\r\nA: \x01\r\n\r\n`,
      "bad-line",
      'Line 2 is not a header field: "A: \\u0001"',
      GET,
    ],
    ["CR alone", "response", `${OK}\r\nA: b\rc\r\n\r\n`, "bad-line", 'Line 2 is not a header field: "A: b\\rc"', OK],
    [
      "a folded field in a request",
      "request",
      `${GET}\r\nA: b\r\n c\r\n\r\n`,
      "folded-field",
      'Line 3 begins with a blank: " c"',
      GET,
    ],
    ["a fold of nothing", "response", `${OK}\r\n c\r\n\r\n`, "folded-field", 'Line 2 begins with a blank: " c"', OK],
    [
      "NUL in the first line",
      "request",
      "GET /\0 HTTP/1.1\r\n\r\n",
      "bad-line",
      'First line has a control character: "GET /\\u0000 HTTP/1.1"',
      "GET /\0 HTTP/1.1",
    ],
  ] as const
) {
  Deno.test(`HeadReader() refuses ${what} (${kind})`, () => {
    assertEquals(problemOf(kind, text), [problem, message, startLine]);
  });
}

Deno.test("HeadReader() accepts a head of exactly 64 KiB, and names the limit for one byte more", () => {
  assertEquals(MAX_HEAD_BYTES, 65_536);
  const head = (bytes: number) => {
    const frame = `HTTP/1.1 403 Forbidden\r\nCookie: \r\n\r\n`;
    return `HTTP/1.1 403 Forbidden\r\nCookie: ${"x".repeat(bytes - frame.length)}\r\n\r\n`;
  };
  assertEquals(read("response", `${head(MAX_HEAD_BYTES)}body`)?.rest, "body");
  const tooLong = ["too-long", "Head is longer than 65536 bytes", "HTTP/1.1 403 Forbidden"] as const;
  assertEquals(problemOf("response", head(MAX_HEAD_BYTES + 1)), tooLong);
  // A head without an end fails as soon as that is certain.
  assertEquals(problemOf("response", head(MAX_HEAD_BYTES + 5).slice(0, MAX_HEAD_BYTES + 1)), tooLong);
  const request = (bytes: number) => `${GET}\r\nA: ${"x".repeat(bytes - `${GET}\r\nA: \r\n\r\n`.length)}\r\n\r\n`;
  assertEquals(read("request", `${request(MAX_HEAD_BYTES)}body`)?.rest, "body");
  assertEquals(problemOf("request", request(MAX_HEAD_BYTES + 1)), ["too-long", tooLong[1], GET]);
});

for (const line of ["no colon", ": no name", "na me: a", "name : a", "n\u00e4me: a", "a: b\0c", "a: b\rc"]) {
  Deno.test(`HeadReader() refuses a response, when a line is ${JSON.stringify(line)}`, () => {
    const [problem, message] = problemOf("response", `${OK}\r\n${line}\r\n\r\n`);
    assertEquals([problem, message], ["bad-line", `Line 2 is not a header field: ${JSON.stringify(line)}`]);
  });
}

Deno.test("HeadReader() quotes 80 characters in one line, when a long line is not a field", () => {
  const [, message] = problemOf("response", `${OK}\r\n\x1b${"x".repeat(1000)}\r\n\r\n`);
  assertEquals(message, `Line 2 is not a header field: "\\u001b${"x".repeat(79)}..."`);
});

Deno.test("HeadReader() keeps the order of fields, and strips only blanks from values", () => {
  const text = `${OK}\r\nHost: a\r\nB:c\r\nx-d:\t e \t\r\nB: f:g\r\nEmpty:\r\nH: \xe9\xa0\xff\r\n\r\n`;
  const fields = [["Host", "a"], ["B", "c"], ["x-d", "e"], ["B", "f:g"], ["Empty", ""], ["H", "\xe9\xa0\xff"]];
  assertEquals(read("response", text)?.fields.map(([...field]) => field), fields);
});

Deno.test("HttpHeadError.reason says which line is wrong without what the peer sent, when the message quotes it", () => {
  for (
    const [head, reason] of [
      [`${GET}\r\nAuthorization secret\r\n\r\n`, "Line 2 is not a header field"],
      [`${GET}\r\nA: b\r\n secret\r\n\r\n`, "Line 3 begins with a blank"],
      ["GET /\0secret HTTP/1.1\r\n\r\n", "First line has a control character"],
    ] as const
  ) {
    const error = assertThrows(() => read("request", head), HttpHeadError);
    assertEquals([error.reason, error.message.startsWith(`${reason}: "`)], [reason, true]);
  }
});

Deno.test("HeadReader.fieldsSoFar() returns the readable fields of a wrong or incomplete head", () => {
  for (
    const text of [
      `${GET}\r\nA: b\r\nno field\r\nAccept : x\r\nC:d`,
      `${GET}\r\nA: b\nC: d`,
      // A valid head may still be a wrong request.
      `${GET}\r\nA: b\r\nC: d`,
    ]
  ) {
    const reader = new HeadReader("request");
    try {
      reader.push(bytesOf(`${text}\r\n\r\n`));
    } catch {
      // The failure is intended.
    }
    assertEquals(reader.fieldsSoFar(), [["A", "b"], ["C", "d"]]);
  }
});

Deno.test("HeadReader() skips 16 interim responses, and no more", () => {
  const interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
  assertEquals(MAX_INTERIM_RESPONSES, 16);
  assertEquals(read("response", `${interim.repeat(16)}${OK}\r\n\r\n`)?.startLine, OK);
  assertEquals(problemOf("response", interim.repeat(17)), [
    "too-many-interim",
    "More than 16 interim responses come before the answer",
    "HTTP/1.1 103 Early Hints",
  ]);
});

Deno.test("HeadReader() says the same of every head, wherever it is cut", () => {
  const line = fc.constantFrom("A: b", " c", "x", "Host: a", "", "\x01", "A:", ": b", "Connection: Upgrade");
  const end = fc.constantFrom("\r\n", "\r\n", "\r\n", "\n", "\r");
  const start = fc.constantFrom(GET, OK, "HTTP/1.1 100 x", "\r\n", "get / HTTP/1.0", "\x16\x03");
  const text = fc.tuple(start, fc.array(fc.tuple(end, line), { maxLength: 8 })).map(([first, lines]) =>
    `${first}${lines.flat().join("")}\r\n\r\nrest`
  );
  const outcome = (kind: HeadKind, text: string, pieceBytes: number) => {
    try {
      return read(kind, text, pieceBytes) ?? "none";
    } catch (error) {
      assert(error instanceof HttpHeadError);
      // The first line may be incomplete when the failure is certain.
      return error.problem;
    }
  };
  fc.assert(
    fc.property(
      fc.constantFrom<HeadKind>("request", "response"),
      text,
      fc.integer({ min: 1, max: 9 }),
      (kind, text, size) => {
        assertEquals(outcome(kind, text, size), outcome(kind, text, Infinity));
      },
    ),
    { seed: 6455, numRuns: 3000 },
  );
});

Deno.test("HeadReader() takes linear time", () => {
  // 15,000 folds and 60,000 blanks: a backtracking pattern would not end.
  for (const text of [`${OK}\r\nA: b${"\r\n c".repeat(15_000)}\r\n\r\n`, `${OK}\r\nA:${" ".repeat(60_000)}b\r\n\r\n`]) {
    assert(read("response", text, 1000) !== undefined);
  }
  // The same of a request in one piece, whose last field is wrong.
  for (const fields of ["A: b\r\n".repeat(10_000), `${"A".repeat(60_000)}: b\r\n`, `A:${" b:".repeat(20_000)}\r\n`]) {
    assertEquals(problemOf("request", `${GET}\r\n${fields}A: \x01\r\n\r\n`)[0], "bad-line");
  }
});

Deno.test("parseRequestLine() keeps the case of the method, and accepts only HTTP/1.0 and 1.1", () => {
  assertEquals(parseRequestLine("get / HTTP/1.0"), { method: "get", target: "/", version: "1.0" });
  for (
    const line of ["GET /", "GET  / HTTP/1.1", "GET / HTTP/2.0", "GET / HTTP/1.1 ", "G(T / HTTP/1.1", "GET / http/1.1"]
  ) {
    assertEquals(parseRequestLine(line), undefined);
  }
});

Deno.test("parseStatusLine() accepts a status without a reason", () => {
  assertEquals(parseStatusLine("HTTP/1.1 200"), { version: "1.1", status: 200, reason: "" });
  assertEquals(parseStatusLine("HTTP/1.0 404 Not Found")?.version, "1.0");
  for (const line of ["HTTP/1.1 20", "HTTP/1.1 2000", "HTTP/1 200", "ICY 200 OK"]) {
    assertEquals(parseStatusLine(line), undefined);
  }
});

Deno.test("encodeHead() refuses what would become another line, and does not repeat it", () => {
  for (const value of ["a\r\nb", "a\nb", "a\0", "€"]) {
    assertThrows(
      () => encodeHead(GET, [["Authorization", value]]),
      RangeError,
      'Cannot write the line "Authorization": it is not one line of bytes',
    );
  }
  assertEquals(encodeHead(GET, [["A", "\xff"]]).at(-5), 0xff);
});

for (
  const [what, startLine, fields, expected] of [
    ["chunked", OK, [["Transfer-Encoding", "gzip, Chunked"], ["Content-Length", "3"]], { type: "chunked" }],
    ["a length", OK, [["Content-Length", "3"], ["content-length", "3"]], { type: "length", bytes: 3 }],
    ["two lengths", OK, [["Content-Length", "3, 4"]], { type: "until-end" }],
    ["a length that is none", OK, [["Content-Length", "-3"]], { type: "until-end" }],
    ["nothing", OK, [], { type: "until-end" }],
    ["204", "HTTP/1.1 204 No Content", [], { type: "length", bytes: 0 }],
    ["304", "HTTP/1.1 304 Not Modified", [["Content-Length", "9"]], { type: "length", bytes: 0 }],
  ] as const
) {
  Deno.test(`bodyLengthOf() finds the end of a body with ${what}`, () => {
    assertEquals(bodyLengthOf({ startLine, fields }), expected);
  });
}

/** Reads a body byte by byte. */
function readBody(length: ReturnType<typeof bodyLengthOf>, text: string, maxBytes = 100) {
  const reader = new BodyReader(length, maxBytes);
  let taken = 0;
  for (const byte of bytesOf(text)) {
    taken++;
    if (reader.push(Uint8Array.of(byte))) return { body: new TextDecoder().decode(reader.body), isDone: true, taken };
  }
  return { body: new TextDecoder().decode(reader.body), isDone: false, taken };
}

Deno.test("BodyReader() joins chunks, with extensions and trailers", () => {
  assertEquals(readBody({ type: "chunked" }, "3;a=b\r\nabc\r\n2 \nde\r\n0\r\nX: y\r\n\r\n"), {
    body: "abcde",
    isDone: true,
    taken: 22,
  });
});

Deno.test("BodyReader() stops at an invalid chunk, at its limit and at its length", () => {
  assertEquals(readBody({ type: "chunked" }, "3\r\nabc\r\nzz\r\n").body, "abc");
  assertEquals(readBody({ type: "chunked" }, "9".repeat(2000)).isDone, true);
  assertEquals(readBody({ type: "until-end" }, "abcdef", 3), { body: "abc", isDone: true, taken: 3 });
  assertEquals(readBody({ type: "length", bytes: 4 }, "abcdef"), { body: "abcd", isDone: true, taken: 4 });
  assertEquals(readBody({ type: "until-end" }, "abcdef"), { body: "abcdef", isDone: false, taken: 6 });
});
