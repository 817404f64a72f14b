/**
 * Stand-in for `@std/cli/unicode-width` where JSR cannot be reached.
 *
 * @module
 */

/** The wide characters of East Asia, and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;

/**
 * Counts the terminal columns of a text.
 *
 * @param str The text.
 * @returns Two for each wide character, none for marks that combine, one for any other.
 */
export function unicodeWidth(str: string): number {
  let columns = 0;
  for (const char of str) columns += WIDE.test(char) ? 2 : /\p{M}|\p{Cf}/u.test(char) ? 0 : 1;
  return columns;
}
