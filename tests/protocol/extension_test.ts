/** The grammar of Sec-WebSocket-Extensions, by hand, at random, and beside npm `ws`. */

import { assertEquals } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { extension as peer } from "npm:ws@8.23.0";
import { type Extension, formatExtensions, parseExtensions } from "../../lib/protocol/extension.ts";

const VALID: [value: string, Extension[]][] = [
  ["", []],
  [" ,, \t", []],
  ["a", [{ name: "a", parameters: [] }]],
  ["a, a", [{ name: "a", parameters: [] }, { name: "a", parameters: [] }]],
  ["a;b", [{ name: "a", parameters: [["b", undefined]] }]],
  [" a ; b ; b=1 ;c = 2", [{ name: "a", parameters: [["b", undefined], ["b", "1"], ["c", "2"]] }]],
  ['a; b="10", c', [{ name: "a", parameters: [["b", "10"]] }, { name: "c", parameters: [] }]],
  ['a; b="\\1\\0"', [{ name: "a", parameters: [["b", "10"]] }]],
];

const MALFORMED = [
  ";",
  "a;",
  "a;;b",
  ";b",
  "a b",
  "a;b=",
  "a;=1",
  "a;b=1 2",
  'a;b="',
  'a;b=""',
  'a;b="1',
  'a;b="1"2',
  'a;b="1 2"',
  'a;b="1,2"',
  'a;b="1;2"',
  'a;b="\\"',
  "a;b='\u00e9'",
  "a\u00a0",
  "a=1",
  "a/b",
];

Deno.test("parseExtensions() reads names, parameters, repeats and quoted values", () => {
  for (const [value, extensions] of VALID) assertEquals(parseExtensions(value), extensions, value);
});

Deno.test("parseExtensions() refuses what does not follow the grammar", () => {
  for (const value of MALFORMED) assertEquals(parseExtensions(value), undefined, value);
});

Deno.test("parseExtensions() reads a value of 64 KiB in linear time", () => {
  for (const part of [" ", ";", ",", "a", "a;", "a; b=", '\\"', 'a;b="', "\t="]) {
    parseExtensions(`a;b=${part.repeat(65536 / part.length)}`);
  }
});

const token = fc.string({ unit: fc.constantFrom(..."ab_1.-!~'"), minLength: 1, maxLength: 5 });
const extensions: fc.Arbitrary<Extension[]> = fc.array(
  fc.record({
    name: token,
    parameters: fc.array(fc.tuple(token, fc.option(token, { nil: undefined })), { maxLength: 4 }),
  }, { noNullPrototype: true }),
  { maxLength: 4 },
);

Deno.test("parseExtensions() returns what formatExtensions() has written", () => {
  fc.assert(fc.property(extensions, (list) => assertEquals(parseExtensions(formatExtensions(list)), list)));
});

/** The same in the form of `ws`: maps names to lists of parameters, each with its list of values. */
function grouped(list: readonly Extension[]): Record<string, Record<string, (string | true)[]>[]> {
  const found: Record<string, Record<string, (string | true)[]>[]> = {};
  for (const { name, parameters } of list) {
    const each: Record<string, (string | true)[]> = {};
    for (const [parameter, value] of parameters) (each[parameter] ??= []).push(value ?? true);
    (found[name] ??= []).push(each);
  }
  return found;
}

function peerReads(value: string): unknown {
  try {
    return JSON.parse(JSON.stringify(peer.parse(value)));
  } catch {
    return undefined;
  }
}

/** Accepted here but not by `ws`: empty elements, and blanks that RFC 2616 allows between any two tokens. */
const LENIENT = /^[ \t]|,[ \t]*(?:,|$)|^[ \t]*,|[ \t]=|=[ \t]|[ \t]$|^$/;

Deno.test("parseExtensions() reads 20,000 random values as npm ws does", () => {
  const piece = fc.constantFrom(
    "a",
    "bc",
    ";",
    "; ",
    ",",
    ", ",
    "=",
    "=1",
    '="1"',
    '="\\1"',
    '"',
    " ",
    "\t",
    "\\",
    "/",
  );
  const value = fc.array(piece, { minLength: 1, maxLength: 10 }).map((pieces) => pieces.join(""));
  const seen = { same: 0, refused: 0, lenient: 0 };
  fc.assert(
    fc.property(fc.oneof(value, extensions.map(formatExtensions)), (text) => {
      const ours = parseExtensions(text);
      const theirs = peerReads(text);
      if (ours !== undefined && theirs === undefined && LENIENT.test(text)) return void seen.lenient++;
      seen[ours === undefined ? "refused" : "same"]++;
      assertEquals(ours && grouped(ours), theirs, JSON.stringify(text));
    }),
    { numRuns: 20_000, seed: 7692 },
  );
  // Each outcome must occur often.
  assertEquals(Object.values(seen).map((count) => count > 1000), [true, true, true], JSON.stringify(seen));
});
