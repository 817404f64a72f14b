/**
 * The lab's list of steps: a page whose links build a path, or text or JSON for programs.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";
import { STATUS_CODE } from "@std/http/status";
import { linkOf, pageStart, text } from "../check/html.ts";
import type { HeadRequest } from "../net/request.ts";
import { UPGRADE } from "../server/handshake_refusal.ts";
import {
  describeSteps,
  GROUP_TITLES,
  LAB_STEPS,
  LabPathError,
  listSteps,
  parseLabPath,
  type StepListing,
} from "./program.ts";
import { scoreTable } from "./reports.ts";
import type { Scoreboard } from "./scoreboard.ts";

/** Options of {@linkcode listing}. */
export interface ListingOptions {
  /** The HTTP status; 200 by default. */
  readonly status?: number;
  /** The problem of the requested path; empty by default. */
  readonly problem?: string;
  /** The path that the links of the page extend; empty by default. */
  readonly path?: string;
}

/**
 * Answers with the list of steps in the client's preferred form, by default text.
 *
 * @param request The request, which gives the host of the URLs.
 * @param board The results of clients, for the page.
 * @param options The status, the problem and the path so far.
 * @returns The answer.
 *
 * @example
 * ```ts
 * import { listing } from "./listing.ts";
 * import { Scoreboard } from "./scoreboard.ts";
 * import { HeadRequest } from "../net/request.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * const request = new HeadRequest("GET", "http://127.0.0.1:6455/", [["Accept", "text/html"]]);
 * const page = await listing(request, new Scoreboard(), { path: "/greet/hello" }).text();
 * assertStringIncludes(page, "ws://127.0.0.1:6455/greet/hello");
 * ```
 */
export function listing(request: HeadRequest, board: Scoreboard, options: ListingOptions = {}): Response {
  const { status = STATUS_CODE.OK, problem = "", path = "" } = options;
  const url = `ws://${new URL(request.url).host}/`;
  const headers = new Headers({
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    ...(status === STATUS_CODE.UpgradeRequired && UPGRADE),
  });
  const form = accepts(request.toRequest(), "text/plain", "application/json", "text/html") ?? "text/plain";
  headers.set("content-type", form === "application/json" ? form : `${form}; charset=utf-8`);
  const body = {
    "application/json": () =>
      JSON.stringify({ ...(problem !== "" && { status, error: problem }), steps: listSteps(url) }),
    "text/html": () => labPage(url, board, path, problem),
    "text/plain": () => [...problem === "" ? [] : [problem, ""], describeSteps(url)].join("\n"),
  }[form];
  return new Response(`${body?.() ?? ""}\n`, { status, headers });
}

/** Added to the style of the reports: a form, and links large enough for a finger. */
const STYLE = `
h2{font-size:1.1rem;margin:1.5rem 0 .25rem}
section{margin:1rem 0;padding:.75rem 1rem;background:var(--box);border:1px solid var(--line);border-radius:.5rem}
section h2{margin-top:0}
form{display:flex;flex-wrap:wrap;gap:.5rem;align-items:center}
form input{flex:1 1 14rem;min-width:0;min-height:2.75rem;padding:.4rem .6rem;color:inherit;background:var(--back);
border:1px solid var(--soft);border-radius:.35rem;font:1rem ui-monospace,monospace}
button{min-height:2.75rem;padding:.4rem 1rem;color:var(--back);background:var(--in);border:0;border-radius:.35rem;
font:600 1rem system-ui,sans-serif;cursor:pointer}
.bad{color:var(--bad);font-weight:600}
td a,nav a,section a{display:inline-flex;align-items:center;min-height:2.75rem;overflow-wrap:anywhere}
td code{font-size:.9rem}
`;

function labPage(url: string, board: Scoreboard, path: string, problem: string): string {
  const fault = faultOf(path);
  const groups = Map.groupBy(listSteps(url), ({ group }) => group);
  return [
    ...pageStart("The lab: a WebSocket peer that misbehaves on request", STYLE),
    "<h1>The lab: a WebSocket peer that misbehaves on request</h1>",
    '<p class="soft">The path of a URL says what the lab does, step by step from left to right. After the last step it',
    "echoes every message and answers the close frame.</p>",
    "<section>",
    "<h2>Your path</h2>",
    '<form action="/"><label for="path">Path</label>',
    `<input id="path" name="path" value="${
      text(path)
    }" autocomplete="off" spellcheck="false"><button>Show</button></form>`,
    ...fault || problem ? [`<p class="bad" role="alert">${text(fault || problem)}</p>`] : [],
    ...fault ? [] : commandLines(url, path),
    ...path === "" ? [] : [linkOf({ href: "/", words: "Start over" })],
    "</section>",
    "<section>",
    "<h2>Clients that ran the cases</h2>",
    ...scoreTable(board, new URL(url).host),
    "</section>",
    ...[...groups].flatMap(([group, steps]) => [
      `<h2>${text(GROUP_TITLES[group])}</h2>`,
      "<table><thead><tr><th>Step</th><th>Effect</th><th>Add it to your path</th></tr></thead><tbody>",
      ...steps.map((step) => rowOf(step, url, path)),
      "</tbody></table>",
    ]),
    "</main></body></html>",
  ].join("\n");
}

/** Describes the wrong segment of a path; empty for a valid one. */
function faultOf(path: string): string {
  try {
    parseLabPath(path);
    return "";
  } catch (error) {
    if (error instanceof LabPathError) return error.message;
    throw error;
  }
}

function commandLines(url: string, path: string): string[] {
  const target = `${url.replace(/\/$/, "")}${path || "/"}`;
  const names = parseLabPath(path).map(({ step }) => step);
  const isCompressed = names.some((step) => DEFLATE.has(step.name));
  const command = `deno task -q client --transport wire ${isCompressed ? "--deflate " : ""}${quoted(target)}`;
  return [
    `<p>The URL for your client:</p><pre>${text(target)}</pre>`,
    `<p>The command for wsproof's client:</p><pre>${text(command)}</pre>`,
  ];
}

/** The steps that need an offer of compression. */
const DEFLATE = new Set(
  [...LAB_STEPS.compression, ...LAB_STEPS.handshake.filter(({ name }) => name.startsWith("deflate"))]
    .map(({ name }) => name),
);

/** Quotes a URL for a POSIX shell. */
function quoted(url: string): string {
  return /^[\w@%+=:,./-]+$/.test(url) ? url : `'${url.replaceAll("'", String.raw`'\''`)}'`;
}

function rowOf({ usage, group, help, example }: StepListing, url: string, path: string): string {
  const steps = example.slice(url.length - 1);
  const longer = group === "handshake" ? steps + path : path + steps;
  const href = `/?path=${encodeURIComponent(faultOf(longer) === "" ? longer : steps)}`;
  const cells = [
    `<td class="id"><code>${text(usage)}</code></td>`,
    `<td>${text(help)}</td>`,
    `<td>${linkOf({ href, words: steps })}</td>`,
  ];
  return `<tr>${cells.join("")}</tr>`;
}
