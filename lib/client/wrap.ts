/**
 * Line breaks for the columns of a terminal. Pure: text in, lines out.
 *
 * @module
 */

import { unicodeWidth } from "@std/cli/unicode-width";

/** The width of lines without a terminal: 80 columns. */
export const DEFAULT_COLUMNS = 80;

/** The width of the lines of a text, in columns. */
export interface Room {
  /** The width of the first line. */
  readonly first: number;
  /** The width of the other lines; that of the first by default. */
  readonly rest?: number;
}

/**
 * Breaks text at spaces. A URL, a number with its unit or the name of a field stays whole; a word longer than the width
 * gets a line of its own.
 *
 * @param text The text on one line; colour codes in it take no columns.
 * @param room The width.
 * @returns The lines; the first one is empty if the first word fits only on a later one.
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

/** A space, except between a number and its unit. */
const BREAK = / (?!(?<=\d )(?:bytes?|[KMG]iB|MiB\/s|ms|s)\b)/;

/**
 * Counts the columns of text in a terminal.
 *
 * @param text The text; colour codes take none.
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
  // Most reports are ASCII, which needs no width table.
  if (/^[ -~]*$/.test(text)) return text.length;
  // deno-lint-ignore no-control-regex -- a colour code begins with one
  return unicodeWidth(text.replace(/\x1b\[[\d;]*m/g, ""));
}
