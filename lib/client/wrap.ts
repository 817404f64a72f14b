/**
 * Text in the columns of a terminal. Pure: text in, lines out.
 *
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";

/** How wide lines are where no terminal says: 80 columns. */
export const DEFAULT_COLUMNS = 80;

/** The room for the lines of a text, in columns. */
export interface Room {
  /** The room on the first line. */
  readonly first: number;
  /** The room on each other line; the same as on the first by default. */
  readonly rest?: number;
}

/**
 * Breaks text at its spaces. A word stays whole, such as a URL, a number with its unit or the name of a field: one that is
 * longer than the room has a line of its own.
 *
 * @param text The text, on one line; codes of colours in it take no room.
 * @param room The room.
 * @returns The lines; the first one is empty where the first word fits on another line only.
 *
 * @example
 * ```ts
 * import { wrap } from "./wrap.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(wrap("refused by ws://host/a-long-path", { first: 12 }), ["refused by", "ws://host/a-long-path"]);
 * assertEquals(wrap("ws://host/", { first: 4, rest: 20 }), ["", "ws://host/"]);
 * ```
 */
export function wrap(text: string, { first, rest = first }: Room): string[] {
  if (widthOf(text) <= first) return [text];
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(BREAK)) {
    const room = lines.length === 0 ? first : rest;
    const longer = line === "" ? word : `${line} ${word}`;
    if (widthOf(longer) <= room || (line === "" && rest <= room)) {
      line = longer;
    } else {
      lines.push(line);
      line = word;
    }
  }
  return [...lines, line];
}

/** A space, but for one between a number and its unit. */
const BREAK = / (?!(?<=\d )(?:bytes?|[KMG]iB|MiB\/s|ms|s)\b)/;

/**
 * Counts the columns that text takes in a terminal.
 *
 * @param text The text; codes of colours take none.
 * @returns The number of columns.
 *
 * @example
 * ```ts
 * import { widthOf } from "./wrap.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["proven", "\x1b[32mproven\x1b[0m", "語"].map(widthOf), [6, 6, 2]);
 * ```
 */
export function widthOf(text: string): number {
  // ASCII, which most reports are, needs no table.
  if (/^[ -~]*$/.test(text)) return text.length;
  // deno-lint-ignore no-control-regex -- a code of a colour begins with one
  return unicodeWidth(text.replace(/\x1b\[[\d;]*m/g, ""));
}
