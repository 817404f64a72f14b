/**
 * The log of the page: a message and its reply are one row.
 */

import { byId, byteLengthOf, describeBytes, describeMs, element, escapeOf, toHex, UNPRINTABLE } from "./text.js";

/** @import { Data } from "./fields.js" */

/** How many rows the log keeps. */
const MAX_ROWS = 200;

/** Longest text that is parsed as JSON, in characters: 64 Ki. */
const MAX_JSON_CHARS = 65_536;

/** Shortest interval between announcements to a screen reader, in milliseconds: 2 s. */
const ANNOUNCE_MS = 2000;

const logList = byId("log", HTMLOListElement);

/** The row of the last message, also shown under the button: on a phone the log is far below. @type {HTMLElement | null} */
let lastRow = null;

/** How many characters of text the log shows: 200. */
const MAX_SHOWN_CHARS = 200;

/** Removes all rows. */
export function clearLog() {
  logList.replaceChildren();
  lastRow = null;
  showLast();
  showLog();
}

/**
 * Puts a message on top of the log.
 * @param {"sent" | "received"} direction
 * @param {Data} data
 * @param {string} badge
 */
export function addMessage(direction, data, badge) {
  const facts = element("span", "", "facts");
  facts.append(...arrow(direction), element("span", describe(data)), " ", element("span", badge, "badge"));
  const row = prepend(direction, facts, ...shownData(data));
  lastRow = row;
  showLast();
  return row;
}

/**
 * Shows the outcome of a message in its row.
 * @param {HTMLElement} row
 * @param {"good" | "bad"} judgement
 * @param {string} verdict
 * @param {{ ms?: number, data?: Data | undefined }} [reply] The round trip, and the reply if that differs.
 */
export function judgeRow(row, judgement, verdict, { ms, data } = {}) {
  row.classList.add("judged", judgement);
  const badge = row.querySelector(".badge");
  if (badge) badge.textContent = verdict;
  if (ms !== undefined) badge?.before(...arrow("received"), element("span", describeMs(ms)), " ");
  if (data !== undefined) {
    const facts = element("span", "", "facts");
    facts.append(...arrow("received"), element("span", describe(data)));
    row.append(" ", facts, " ", ...shownData(data));
  }
  if (row === lastRow) showLast();
}

/** Shows the row of the last message under the button. */
function showLast() {
  const last = byId("last", HTMLElement);
  last.hidden = lastRow === null;
  last.replaceChildren(...lastRow ? [lastRow.cloneNode(true)] : []);
}

/**
 * @param {"opened" | "closed" | "failed"} kind
 * @param {string} text
 * @param {"" | "bad"} [judgement]
 */
export function addEvent(kind, text, judgement = "") {
  const row = prepend(kind, element("span", text, "event"));
  if (judgement !== "") row.classList.add(judgement);
}

/**
 * @param {string} kind
 * @param {Node[]} cells
 */
function prepend(kind, ...cells) {
  const now = new Date();
  const millis = String(now.getMilliseconds()).padStart(3, "0");
  const time = element("time", `${now.toLocaleTimeString("en-GB")}.${millis}`);
  time.setAttribute("datetime", now.toISOString());
  const row = element("li", "", kind);
  const [first, ...rest] = cells;
  if (first) row.append(first, " ", time, " ", ...rest);
  logList.prepend(row);
  if (logList.children.length > MAX_ROWS) logList.lastElementChild?.remove();
  showLog();
  return row;
}

function showLog() {
  const isEmpty = logList.children.length === 0;
  byId("log-empty", HTMLElement).hidden = !isEmpty;
  byId("log-hint", HTMLElement).hidden = isEmpty;
  byId("log-scroll", HTMLElement).hidden = isEmpty;
}

/** @param {Data} data */
export function describe(data) {
  return typeof data === "string"
    ? `text, ${describeBytes(byteLengthOf(data))}`
    : `binary, ${describeBytes(data.byteLength)}`;
}

/** An arrow for the eyes, a word for a screen reader. @param {"sent" | "received"} direction */
function arrow(direction) {
  const sign = element("span", direction === "sent" ? "→" : "←", "arrow");
  sign.ariaHidden = "true";
  return [sign, element("span", `${direction} `, "visually-hidden")];
}

/** A message's text, and on demand its JSON. @param {Data} data */
function shownData(data) {
  const shown = element("span", "", "data");
  if (typeof data !== "string") {
    shown.textContent = toHex(data);
    return data.byteLength === 0 ? [] : [shown];
  }
  shown.append(...escaped(data.slice(0, MAX_SHOWN_CHARS).toWellFormed()));
  if (data.length > MAX_SHOWN_CHARS) shown.append(" …");
  const pretty = prettyJson(data);
  return [...data === "" ? [] : [shown], ...pretty === undefined ? [] : [pretty]];
}

/** JSON of objects and arrays, in lines, behind a button. @param {string} text */
function prettyJson(text) {
  if (text.length > MAX_JSON_CHARS || !/^\s*[{[]/.test(text)) return undefined;
  let lines;
  try {
    lines = JSON.stringify(JSON.parse(text), null, 2).split("\n");
  } catch {
    return undefined;
  }
  const pre = element("pre", "");
  pre.append(...lines.flatMap((line, index) => [...index > 0 ? ["\n"] : [], ...escaped(line)]));
  const details = element("details", "");
  details.append(element("summary", "JSON"), pre);
  return details;
}

/**
 * Untrusted text, with control and direction characters as escapes that look unlike the text.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
function escaped(text) {
  return text.split(new RegExp(`(${UNPRINTABLE.source})`)).filter((part) => part !== "")
    .map((part) => UNPRINTABLE.test(part) ? element("span", escapeOf(part), "escape") : part);
}

/** The number of unannounced messages, and the words for the last one. */
const news = { count: 0, last: "", timer: 0 };

/** Announces messages, but not each, to a screen reader. @param {string} text */
export function announce(text) {
  news.count++;
  news.last = text;
  news.timer ||= setTimeout(() => {
    const others = news.count > 1 ? `${news.count} messages, the last: ` : "";
    byId("announcer", HTMLElement).textContent = others + news.last;
    news.count = news.timer = 0;
  }, ANNOUNCE_MS);
}
