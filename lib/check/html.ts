/**
 * The HTML report, one page that needs no network: a table of all cases, with the frames of every case that did not
 * pass.
 *
 * @module
 */

import { badgeOf } from "./badge.ts";
import { GRADES, sectionOf } from "./case.ts";
import { SCRIPT, STYLE } from "./html_assets.ts";
import { aloneLines, type CheckReport, countsInWords, wireLines } from "./report.ts";
import type { CaseResult } from "./run_case.ts";
import { formatMs } from "../protocol/message.ts";
import { printable } from "../client/report.ts";

/** A link above a report. */
export interface PageLink {
  /** Target of the link. */
  readonly href: string;
  /** Text of the link. */
  readonly words: string;
}

/** The page loads nothing, and runs only its own style and script. */
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/**
 * Formats a report as a page.
 *
 * @param report The report.
 * @param command Command that runs a case again, before the case's name; a final `=` takes no blank.
 * @param links Links above the report.
 * @returns The page.
 */
export function formatHtml(report: CheckReport, command: string, links: readonly PageLink[] = []): string {
  const { url, verdict, exitCode, counts, ms, startedAt, profile, results, comparison } = report;
  const count = comparison.unexpected.length;
  const problem = count === 0 ? "" : `: ${count} of ${results.length} cases failed`;
  const present = GRADES.filter((grade) => counts[grade] > 0);
  const boxes = present.map((grade) =>
    `<label><input type="checkbox" value="${grade}" checked>${grade} (${counts[grade]})</label>`
  );
  return [
    ...pageStart(`${verdict}: ${url}`),
    ...links.length === 0 ? [] : [`<nav>${links.map(linkOf).join(" ")}</nav>`],
    `<h1>${text(url)}</h1>`,
    `<p>${badgeOf(report)}</p>`,
    `<p><strong>${verdict}</strong> (exit ${exitCode})${problem}</p>`,
    `<p class="soft">${countsInWords(counts)}, profile ${profile}, in ${text(formatMs(ms))}, ${text(startedAt)}</p>`,
    ...comparison.stale.length === 0
      ? []
      : [`<p>In the baseline, but passed or gone: ${comparison.stale.map(text).join(", ")}</p>`],
    '<div class="tools" hidden><input type="search" id="words" placeholder="Filter: words of a case" aria-label="Filter">',
    ...boxes,
    '<span id="shown" class="soft" role="status"></span></div>',
    "<table><thead><tr><th>Grade</th><th>Case</th><th>What happened</th>",
    '<th class="number">Autobahn</th><th class="number">Level</th><th class="number">ms</th></tr></thead><tbody>',
    ...worstFirst(results).map((result) => rowOf(result, report, command)),
    `</tbody></table></main><script>${SCRIPT}</script></body></html>`,
    "",
  ].join("\n");
}

/**
 * Begins a page in the style of the reports.
 *
 * @param title Title of the page.
 * @param style CSS rules after those of the reports.
 * @returns Lines up to the start of the body.
 */
export function pageStart(title: string, style = ""): string[] {
  return [
    "<!DOCTYPE html>",
    '<html lang="en"><head><meta charset="utf-8">',
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width,initial-scale=1">',
    `<title>${text(title)}</title><style>${STYLE}${style}</style></head><body><main>`,
  ];
}

/**
 * Formats a link as HTML.
 *
 * @param link Target and text.
 * @returns The link.
 */
export function linkOf({ href, words }: PageLink): string {
  return `<a href="${text(href)}">${text(words)}</a>`;
}

function worstFirst(results: readonly CaseResult[]): readonly CaseResult[] {
  return results.toSorted((a, b) => GRADES.indexOf(b.grade) - GRADES.indexOf(a.grade));
}

function rowOf(result: CaseResult, { comparison }: CheckReport, command: string): string {
  const { test, grade, reason, ms } = result;
  const isKnown = comparison.known.includes(test.id);
  const cells = [
    `<td class="grade">${grade}${isKnown ? " (known)" : ""}</td>`,
    `<td class="id">${text(test.id)}</td>`,
    `<td>${text(test.title)}${detailsOf(result, command)}</td>`,
    `<td class="number" data-name="Autobahn">${text((test.autobahn ?? []).join(", "))}</td>`,
    `<td class="number">${test.level}</td>`,
    `<td class="number" data-name="ms">${ms.toFixed(1)}</td>`,
  ];
  return `<tr class="${grade}" data-grade="${grade}" title="${text(reason)}">${cells.join("")}</tr>`;
}

function detailsOf(result: CaseResult, command: string): string {
  const { test, grade, reason } = result;
  if (grade === "pass") return "";
  if (grade === "skipped") return `<p class="soft">${text(reason)}</p>`;
  const lines = wireLines(result).map((line) => {
    const direction = line.startsWith("<") ? "in" : line.startsWith(">") ? "out" : "soft";
    return `<span class="${direction}">${text(line)}</span>`;
  });
  const isOpen = grade === "fail" || grade === "unclean" ? " open" : "";
  const [again, note = ""] = aloneLines(test, command);
  const hidden = note && `<p class="soft">${text(note)}</p>`;
  const alone = again === undefined ? "" : `<p><code>${text(again)}</code></p>${hidden}`;
  return `<details${isOpen}><summary>${text(reason)}</summary>` +
    `<p class="soft">${text(test.rule)} (${sectionOf(test.id)})</p><pre>${lines.join("\n")}</pre>` +
    `${alone}</details>`;
}

/**
 * Escapes text: a peer's words must not become markup, nor turn the direction of the page.
 *
 * @param words The text.
 * @returns The text as HTML.
 *
 * @example
 * ```ts
 * import { text } from "./html.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(text("<b>"), "&#60;b&#62;");
 * ```
 */
export function text(words: string): string {
  return printable(words).replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}
