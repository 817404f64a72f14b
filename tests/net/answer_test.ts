/** The body of a refusal, in any encoding and any pieces. */

import { assertEquals } from "@std/assert";
import { BODY_TIMEOUT_MS, MAX_BODY_BYTES, MAX_BODY_CHARS, readAnswer, refusalOf } from "../../lib/net/answer.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);

/** A connection that delivers these pieces, then ends or stays silent. */
function connectionOf(pieces: readonly (string | Uint8Array)[], { ends = true } = {}) {
  const left = pieces.map((piece) => typeof piece === "string" ? utf8(piece) : piece);
  return {
    read(into: Uint8Array): Promise<number | null> {
      const next = left.shift();
      if (next === undefined) return ends ? Promise.resolve(null) : new Promise(() => {});
      const piece = next.subarray(0, into.byteLength);
      if (piece.byteLength < next.byteLength) left.unshift(next.subarray(piece.byteLength));
      into.set(piece);
      return Promise.resolve(piece.byteLength);
    },
  };
}

/** The shown body of a 403 with these fields and pieces. */
async function bodyOf(fields: readonly string[], ...pieces: readonly (string | Uint8Array)[]): Promise<string> {
  const head = ["HTTP/1.1 403 Forbidden", ...fields, "", ""].join("\r\n");
  const connection = connectionOf([head, ...pieces]);
  const answer = await readAnswer(connection);
  const deadline = performance.now() + 60_000;
  return (await refusalOf(connection, answer, { from: "server", problems: [], deadline })).body;
}

async function compressed(format: CompressionFormat, text: string): Promise<Uint8Array<ArrayBuffer>> {
  return await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream(format))).bytes();
}

Deno.test("refusalOf() reads the body, when it comes after the head in pieces", async () => {
  assertEquals(await bodyOf(["Content-Length: 10"], "late", " words"), "late words");
  assertEquals(await bodyOf([], "until ", "the end"), "until the end");
});

Deno.test("refusalOf() joins chunks, wherever they are cut", async () => {
  const chunks = ["5\r\nHel", "lo\r", "\n6;x=y\r\n world\r\n0\r\n\r\n"];
  assertEquals(await bodyOf(["Transfer-Encoding: chunked"], ...chunks), "Hello world");
});

for (
  const [coding, format] of [
    ["gzip", "gzip"],
    ["X-GZIP", "gzip"],
    ["deflate", "deflate"],
    ["deflate", "deflate-raw"],
  ] as const
) {
  Deno.test(`refusalOf() decompresses the body, when its coding is ${coding} and it comes as ${format}`, async () => {
    const bytes = await compressed(format, "squeezed words");
    assertEquals(
      await bodyOf([`Content-Encoding: ${coding}`], bytes.subarray(0, 5), bytes.subarray(5)),
      "squeezed words",
    );
  });
}

Deno.test("refusalOf() undoes each coding, the last first", async () => {
  const inner = await compressed("deflate", "twice");
  const outer = await new Response(new Blob([inner]).stream().pipeThrough(new CompressionStream("gzip"))).bytes();
  assertEquals(await bodyOf(["Content-Encoding: deflate", "Content-Encoding: identity, gzip"], outer), "twice");
});

Deno.test("refusalOf() returns what can be decompressed, when the body is cut off", async () => {
  const words = Array.from({ length: 2000 }, (_, at) => `${at * 7919 % 10007}`).join(" ");
  const bytes = await compressed("gzip", words);
  assertEquals(await bodyOf(["Content-Encoding: gzip"], bytes.subarray(0, 4000)), words.slice(0, MAX_BODY_CHARS));
});

Deno.test("refusalOf() returns no body, when its coding is unknown or not what the field says", async () => {
  assertEquals(await bodyOf(["Content-Encoding: br"], "words"), "");
  assertEquals(await bodyOf(["Content-Encoding: gzip"], "words"), "");
});

Deno.test("refusalOf() decodes the charset of the body, or UTF-8 if it is missing or unknown", async () => {
  const latin1 = Uint8Array.of(110, 233, 101);
  assertEquals(await bodyOf(["Content-Type: text/plain; charset=ISO-8859-1"], latin1), "née");
  assertEquals(await bodyOf(['Content-Type: text/html;charset="shift_jis"'], Uint8Array.of(0x93, 0xfa)), "日");
  assertEquals(await bodyOf(["Content-Type: text/plain"], "née"), "née");
  assertEquals(await bodyOf(["Content-Type: text/plain; charset=nonsense"], "née"), "née");
  assertEquals(await bodyOf([], latin1), "n\ufffde");
});

Deno.test("refusalOf() cuts the body at a character, at 16 KiB and at 512 UTF-16 units", async () => {
  assertEquals([MAX_BODY_BYTES, MAX_BODY_CHARS], [16_384, 512]);
  assertEquals(await bodyOf(["Content-Length: 4"], "n\u00e9\u00e9"), "n\u00e9");
  assertEquals(await bodyOf([], `x${"😀".repeat(300)}`), `x${"😀".repeat(255)}`);
  assertEquals((await bodyOf([], "y".repeat(100_000))).length, 512);
});

Deno.test("refusalOf() stops decompressing at 16 KiB, when a small body inflates to a large one", async () => {
  const bomb = await compressed("gzip", "z".repeat(8 * 1024 * 1024));
  assertEquals(await bodyOf(["Content-Encoding: gzip"], bomb), "z".repeat(512));
});

Deno.test("refusalOf() returns the arrived part, when the rest of the body does not come", async () => {
  assertEquals(BODY_TIMEOUT_MS, 1000);
  const connection = connectionOf(["HTTP/1.1 403 No\r\nContent-Length: 10\r\n\r\nhalf"], { ends: false });
  const answer = await readAnswer(connection);
  const { body, status } = await refusalOf(connection, answer, { from: "server", problems: [], deadline: 0 });
  assertEquals([status, body], [403, "half"]);
});

Deno.test("readAnswer() returns everything as the rest, when the answer is not HTTP", async () => {
  const { status, problem, rest } = await readAnswer(connectionOf(["SSH-2.0"]));
  assertEquals([status, problem, new TextDecoder().decode(rest)], [0, "it is not HTTP", "SSH-2.0"]);
});
