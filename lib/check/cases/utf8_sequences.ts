/**
 * Valid and invalid UTF-8 (RFC 3629), after Markus Kuhn's "UTF-8 decoder capability and stress test": every border of
 * the encoding, and every kind of fault.
 *
 * @module
 */

/** Sequences of one kind, in Autobahn's order. */
export interface SequenceGroup {
  /** A word for ids. */
  readonly word: string;
  /** Common trait of the sequences. */
  readonly what: string;
  /** Each sequence in hexadecimal, and whether the bytes are UTF-8. */
  readonly sequences: readonly (readonly [hex: string, isValid: boolean])[];
}

/** "kosme" in Greek, with letters of two and three bytes. */
export const KOSME = "cebae1bdb9cf83cebcceb5";

/** Ends of the characters in {@linkcode KOSME}, in bytes. */
const KOSME_ENDS = [2, 5, 7, 9, 11];

function valid(...sequences: string[]): SequenceGroup["sequences"] {
  return sequences.map((hex) => [hex, true]);
}

function invalid(...sequences: string[]): SequenceGroup["sequences"] {
  return sequences.map((hex) => [hex, false]);
}

function hexOf(text: string): string {
  return new TextEncoder().encode(text).toHex();
}

/** Each byte of a range but the last, with or without a space after each. */
function range(from: number, to: number, behind = ""): string {
  return Array.from({ length: to - from }, (_, index) => (from + index).toString(16) + behind).join("");
}

const CUT = ["c0", "e080", "f08080", "f8808080", "fc80808080", "df", "efbf", "f7bfbf", "fbbfbfbf", "fdbfbfbfbf"];

/** Last two code points of each plane but the first: noncharacters, but valid UTF-8. */
const PLANE_ENDS = Array.from({ length: 16 }, (_, index) => index + 1).flatMap((plane) =>
  [0xfffe, 0xffff].map((end) => hexOf(String.fromCodePoint(plane * 0x10000 + end)))
);

/** All groups: the first is Autobahn's 6.5, the last its 6.23. */
export const SEQUENCES: readonly SequenceGroup[] = [
  {
    word: "valid",
    what: "text that is UTF-8",
    sequences: valid(...["$", "\u00a2", "\u20ac", "\u{24b62}"].map((char) => hexOf(`hello${char}world`)), KOSME),
  },
  {
    word: "prefix",
    what: "the beginning of a text",
    sequences: Array.from(
      { length: 11 },
      (_, index) => [KOSME.slice(0, 2 * index + 2), KOSME_ENDS.includes(index + 1)],
    ),
  },
  { word: "first", what: "the first character of its length", sequences: valid("00", "c280", "e0a080", "f0908080") },
  {
    word: "first-beyond",
    what: "the first sequence of five or six bytes",
    sequences: invalid("f888808080", "fc8480808080"),
  },
  { word: "last", what: "the last character of its length", sequences: valid("7f", "dfbf", "efbfbf", "f48fbfbf") },
  {
    word: "last-beyond",
    what: "the last sequence of four, five or six bytes",
    sequences: invalid("f7bfbfbf", "fbbfbfbfbf", "fdbfbfbfbfbf"),
  },
  {
    word: "border",
    what: "a code point at a boundary",
    sequences: [...valid("ed9fbf", "ee8080", "efbfbd", "f48fbfbf"), ...invalid("f4908080")],
  },
  {
    word: "continuation",
    what: "continuation bytes without a first byte",
    sequences: invalid("80", "bf", "80bf", "80bf80", "80bf80bf", "80bf80bf80", "80bf80bf80bf", range(0x80, 0xbf)),
  },
  {
    word: "lonely-start",
    what: "first bytes without their continuation bytes",
    sequences: invalid(
      range(0xc0, 0xdf, "20"),
      range(0xe0, 0xef, "20"),
      range(0xf0, 0xf7, "20"),
      range(0xf8, 0xfb, "20"),
      range(0xfc, 0xfd, "20"),
    ),
  },
  { word: "cut", what: "a sequence without its last byte", sequences: invalid(...CUT) },
  { word: "cut-all", what: "sequences without their last bytes, in a row", sequences: invalid(CUT.join("")) },
  { word: "impossible", what: "bytes that never occur in UTF-8", sequences: invalid("fe", "ff", "fefeffff") },
  {
    word: "overlong-slash",
    what: "an overlong slash",
    sequences: invalid("c0af", "e080af", "f08080af", "f8808080af", "fc80808080af"),
  },
  {
    word: "overlong-max",
    what: "the largest code point, overlong by one byte",
    sequences: invalid("c1bf", "e09fbf", "f08fbfbf", "f887bfbfbf", "fc83bfbfbfbf"),
  },
  {
    word: "overlong-nul",
    what: "an overlong NUL",
    sequences: invalid("c080", "e08080", "f0808080", "f880808080", "fc8080808080"),
  },
  {
    word: "surrogate",
    what: "a UTF-16 surrogate",
    sequences: invalid("eda080", "edadbf", "edae80", "edafbf", "edb080", "edbe80", "edbfbf"),
  },
  {
    word: "surrogate-pair",
    what: "a pair of UTF-16 surrogates",
    sequences: invalid(
      "eda080edb080",
      "eda080edbfbf",
      "edadbfedb080",
      "edadbfedbfbf",
      "edae80edb080",
      "edae80edbfbf",
      "edafbfedb080",
      "edafbfedbfbf",
    ),
  },
  {
    word: "noncharacter",
    what: "a legal noncharacter",
    sequences: valid("efbfbe", "efbfbf", ...PLANE_ENDS),
  },
  {
    word: "special",
    what: "a special code point",
    sequences: valid("efbfb9", "efbfba", "efbfbb", "efbfbc", "efbfbd", "efbfbe", "efbfbf"),
  },
];
