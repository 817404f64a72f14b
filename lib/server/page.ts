/**
 * The page that the echo server answers to `GET /`: a WebSocket client in the browser.
 *
 * The answer is self-contained: style and script are inline, and a strict Content-Security-Policy lets nothing else
 * run.
 *
 * @module
 */

import { createHash } from "node:crypto";
import html from "./page/page.html" with { type: "text" };
import command from "./page/command.js" with { type: "text" };
import fields from "./page/fields.js" with { type: "text" };
import log from "./page/log.js" with { type: "text" };
import plot from "./page/plot.js" with { type: "text" };
import main from "./page/page.js" with { type: "text" };
import text from "./page/text.js" with { type: "text" };
import style from "./page/page.css" with { type: "text" };
import { DEFAULT_MAX_MESSAGE_BYTES } from "../protocol/assembler.ts";
import { CLOSE_CODES, type CloseCodeInfo, describeCloseCode, MAX_CLOSE_REASON_BYTES } from "../protocol/close.ts";
import { TOKEN_PROTOCOL_PREFIX } from "./token.ts";

/** Options of {@linkcode createPage}. */
export interface PageOptions {
  /** The subprotocols that the server selects from, in its order; empty if it takes any. */
  protocols?: readonly string[];
  /** Whether a token is required. */
  needsToken?: boolean;
  /** Whether the server admits pages of some origins only. */
  checksOrigin?: boolean;
  /** The longest message that the server takes, in bytes; 16 MiB by default. */
  maxMessageBytes?: number;
  /** The version of the server; none by default. */
  version?: string;
}

/**
 * Makes the answer to `GET /`: a page that connects to this server, sends, measures and explains the close.
 *
 * A browser cannot send the field Authorization, so the page offers a token as the last subprotocol: `wsproof.bearer.`
 * and the token's UTF-8 in base64url without padding. The chosen subprotocol, or `wsproof`, comes first, and the server
 * has to select it: a browser drops a connection when none of its offers is selected.
 *
 * @param options Facts about the server.
 * @returns Makes a new answer for each request from bytes prepared once.
 *
 * @example
 * ```ts
 * import { createPage } from "./page.ts";
 * import { assertEquals, assertStringIncludes } from "@std/assert";
 *
 * const page = createPage({ protocols: ["chat"], maxMessageBytes: 1024 });
 * const response = page();
 * assertEquals(response.headers.get("content-type"), "text/html; charset=utf-8");
 * assertStringIncludes(await response.text(), "WebSocket echo server");
 * ```
 */
export function createPage(options: PageOptions = {}): () => Response {
  const { protocols = [], needsToken = false, checksOrigin = false, version = "" } = options;
  const { maxMessageBytes = DEFAULT_MAX_MESSAGE_BYTES } = options;
  const settings = JSON.stringify({
    version,
    protocols,
    needsToken,
    checksOrigin,
    tokenPrefix: TOKEN_PROTOCOL_PREFIX,
    maxMessageBytes,
    maxReasonBytes: MAX_CLOSE_REASON_BYTES,
    closeCodes: Object.fromEntries(CLOSE_CODES),
    closeRanges: CLOSE_RANGES,
  });
  const page = [
    ['<link rel="stylesheet" href="page.css">', `<style>${style}</style>`],
    ['<script type="module" src="page.js"></script>', `<script type="module">${script}</script>`],
    // With "<" escaped, no name of a subprotocol can end the element.
    ['id="settings"></script>', `id="settings">${settings.replaceAll("<", "\\u003c")}</script>`],
  ].reduce((text, [place = "", content = ""]) => replaceOnce(text, place, content), html);
  const body = new TextEncoder().encode(page);
  return () => new Response(body, { headers: HEADERS });
}

/**
 * The modules of the page as one script, as a self-contained page cannot import. Each follows its imports, and no two
 * share a name.
 */
const script = [text, fields, command, log, plot, main].map((module) =>
  module.replaceAll(/^import [^;]*;\n/gm, "").replaceAll(/^export /gm, "")
).join("\n");

/** Uses of the codes without a name of their own (RFC 6455 section 7.4.2). */
const CLOSE_RANGES = [
  rangeOf(1000, 2999, "For the protocol itself; this one has no defined meaning."),
  rangeOf(3000, 3999, "For libraries and frameworks, registered with IANA; this one is not in this table."),
  rangeOf(4000, 4999, "For applications: both sides agree on its meaning."),
];

function rangeOf(from: number, to: number, meaning: string): CloseCodeInfo & { from: number; to: number } {
  const name = describeCloseCode(to).replace(/^\d+ \((.*)\)$/, "$1");
  return { from, to, name, meaning, source: "RFC 6455 section 7.4.2" };
}

const HEADERS: Readonly<Record<string, string>> = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": [
    "default-src 'none'",
    `script-src ${hashOf(script)}`,
    `style-src ${hashOf(style)}`,
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; "),
  "cache-control": "no-store",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  // An isolated page gets a finer clock for round trips: 5 instead of 100 microseconds.
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/** Source expression of an inline script or style (Content Security Policy Level 3, section 2.3.1). */
function hashOf(content: string): string {
  return `'sha256-${createHash("sha256").update(content).digest("base64")}'`;
}

/** Unlike `String.replace()`, leaves a `$` in the content alone. */
function replaceOnce(text: string, place: string, content: string): string {
  const [before, after, ...more] = text.split(place);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`The page has no place, or more than one, for ${place}`);
  }
  return before + content + after;
}
