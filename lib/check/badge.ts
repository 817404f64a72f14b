/**
 * A badge for a README: the result of a run as SVG.
 *
 * @module
 */

import type { CheckReport } from "./report.ts";

/** Assumed width of a letter in pixels, slightly above the font's. */
const LETTER_PX = 6.6;
const PADDING_PX = 14;

/**
 * Draws a badge.
 *
 * @param report The report.
 * @returns An SVG document in one line.
 *
 * @example
 * ```ts
 * import { badgeOf } from "./badge.ts";
 * import { conclude } from "./report.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const run = { url: "ws://a/", profile: "quick", strict: false, startedAt: "", ms: 0, results: [], allIds: [] } as const;
 * assertStringIncludes(badgeOf(conclude(run)), "<title>RFC 6455: 0 of 0 passed</title>");
 * ```
 */
export function badgeOf({ ok, counts, results }: Pick<CheckReport, "ok" | "counts" | "results">): string {
  const ran = results.length - counts.skipped;
  const [left, right] = ["RFC 6455", `${ran - counts.fail - counts.unclean} of ${ran} passed`];
  const [a, b] = [left, right].map((text) => Math.round(text.length * LETTER_PX + PADDING_PX));
  const width = (a ?? 0) + (b ?? 0);
  const text = (x: number, words: string) => `<text x="${x}" y="14" text-anchor="middle">${words}</text>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="20" role="img" aria-label="${left}: ${right}">`,
    `<title>${left}: ${right}</title>`,
    `<rect width="${width}" height="20" rx="3" fill="#444d56"/>`,
    `<path d="M${a} 0h${(b ?? 0) - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-${(b ?? 0) - 3}z" fill="${
      ok ? "#1a7f37" : "#b3261e"
    }"/>`,
    `<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">`,
    text((a ?? 0) / 2, left),
    text((a ?? 0) + (b ?? 0) / 2, right),
    "</g></svg>",
  ].join("");
}
