/**
 * The page of the echo server: a WebSocket client for people, in one file without dependencies.
 *
 * What a peer sends only ever becomes the text of a node, never markup.
 */

/**
 * What the server tells the page.
 * @typedef {object} Settings
 * @property {string[]} protocols The subprotocols that it selects from; empty if it takes any.
 * @property {boolean} needsToken Whether it wants a token.
 * @property {boolean} checksOrigin Whether it lets in pages of some origins only.
 * @property {string} tokenPrefix What it is offered as, before its base64url: a browser cannot send a field Authorization.
 * @property {number} maxMessageBytes The longest message that it takes, in bytes.
 * @property {number} maxReasonBytes The longest close reason, in bytes.
 * @property {string} version The version of the server.
 * @property {Record<string, CodeInfo>} closeCodes What each close code with a name says.
 * @property {CodeRange[]} closeRanges What the other close codes are for.
 *
 * @typedef {{ name: string, meaning: string, source: string }} CodeInfo
 * @typedef {{ from: number, to: number } & CodeInfo} CodeRange
 */

/**
 * One connection, from the attempt to its end.
 * @typedef {object} Connection
 * @property {WebSocket} socket
 * @property {boolean} isOpened Whether it has ever been open.
 * @property {boolean} isLate Whether the connect deadline has passed.
 * @property {{ code: number, reason: string } | null} asked The close that this page asked for.
 * @property {Sent[]} waiting What was sent and has not come back, oldest first.
 * @property {number} left How many more times the message of the present run is to be sent.
 */

/** A message: a string is text, bytes are binary. @typedef {string | Uint8Array<ArrayBuffer>} Data */

/** A message that was sent, when, and its row of the log. @typedef {{ data: Data, at: number, row: HTMLElement }} Sent */

/** How long a connection may take to open, in milliseconds: 10 s. A browser's WebSocket has no deadline of its own. */
const CONNECT_TIMEOUT_MS = 10_000;

/** How many rows the log keeps. */
const MAX_ROWS = 200;

/** How many round trips the plot shows. */
const MAX_TRIPS = 60;

/** How often a message can be repeated. */
const MAX_COUNT = 1000;

/** How much of a message the log shows: characters of text, or bytes. */
const MAX_SHOWN = { chars: 200, bytes: 32 };

/** Up to this many characters, text is looked at for JSON: 64 Ki. */
const MAX_JSON_CHARS = 65_536;

/** The plot ends here, as a multiple of the upper quartile: a few slow round trips must not flatten the others. */
const PLOT_HEADROOM = 3;

/** From this size on, a message is a file on the command line, in bytes: 4 KiB. */
const MAX_COMMAND_BYTES = 4096;

/** How often a screen reader is told of new messages at most, in milliseconds: once in 2 s. */
const ANNOUNCE_MS = 2000;

/** What is offered beside the token if nothing else is: browsers drop a connection of whose offers none is selected. */
const PLAIN_PROTOCOL = "wsproof";

/** @type {Settings} */
const settings = JSON.parse(byId("settings", HTMLScriptElement).text);

const stateBox = byId("state", HTMLDivElement);
const pathInput = byId("path", HTMLInputElement);
const protocolsInput = byId("protocols", HTMLInputElement);
const tokenInput = byId("token", HTMLInputElement);
const messageInput = byId("message", HTMLTextAreaElement);
const countInput = byId("count", HTMLInputElement);
const codeInput = byId("code", HTMLInputElement);
const reasonInput = byId("reason", HTMLInputElement);
const logList = byId("log", HTMLOListElement);
const commandCode = byId("command", HTMLElement);

/** The present connection, or the last one. @type {Connection | null} */
let connection = null;

/** The latest round trips, in milliseconds, oldest first. @type {number[]} */
let trips = [];

/** The row of the last message, which stands under the button as well: on a phone the log is far below. @type {HTMLElement | null} */
let lastRow = null;

/** Thrown when something cannot be done; the message says what would do. */
class Refusal extends Error {
  /**
   * @param {HTMLElement | null} field The field that is the cause, if one is.
   * @param {string} message
   */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

// ---------------------------------------------------------------------------------------------- connect and close

function connect() {
  if (isLive()) throw new Refusal(null, "There is a connection already: close it first.");
  const socket = new WebSocket(readUrl(), readOffers());
  socket.binaryType = "arraybuffer";
  /** @type {Connection} */
  const current = { socket, isOpened: false, isLate: false, asked: null, waiting: [], left: 0 };
  connection = current;
  const timer = setTimeout(() => {
    current.isLate = true;
    socket.close();
  }, CONNECT_TIMEOUT_MS);
  socket.onopen = () => {
    clearTimeout(timer);
    current.isOpened = true;
    showOpen(socket);
  };
  socket.onmessage = ({ data }) => receive(current, typeof data === "string" ? data : new Uint8Array(data));
  socket.onclose = (event) => {
    clearTimeout(timer);
    if (current.isOpened) showEnd(current, event);
    else showFailure(current);
    showButtons();
  };
  byId("end", HTMLElement).hidden = true;
  showState("busy", "Connecting …");
}

function close() {
  if (!connection || !isLive()) throw new Refusal(null, "There is no connection to close.");
  const { socket } = connection;
  if (socket.readyState === WebSocket.CLOSING) return;
  connection.asked = readClose();
  connection.left = 0;
  const wasOpen = socket.readyState === WebSocket.OPEN;
  socket.close(connection.asked.code, connection.asked.reason);
  showState("busy", wasOpen ? "Closing …" : "Cancelling …");
}

/** Whether there is a connection, or soon will be, or not quite ended. */
function isLive() {
  return connection !== null && connection.socket.readyState !== WebSocket.CLOSED;
}

/** @param {WebSocket} socket */
function showOpen({ protocol }) {
  // A server that selects the token itself has misunderstood; it is not shown even then.
  const isToken = protocol.startsWith(settings.tokenPrefix);
  const selected = isToken ? "Subprotocol: the token, by mistake of the server." : `Subprotocol: ${quote(protocol)}.`;
  showState("open", "Connected", protocol === "" ? "No subprotocol." : selected);
  showButtons();
  addEvent("opened", "connected");
  if (document.activeElement?.closest("#connect-form")) messageInput.focus();
}

/** What a page may know of a failure is that there was one. @param {Connection} current */
function showFailure({ asked, isLate }) {
  if (asked) return showState("closed", "Not connected", "Cancelled before the connection was open.");
  const detail = isLate
    ? `There was no answer within ${CONNECT_TIMEOUT_MS / 1000} s.`
    : "A browser tells a page neither the cause nor the HTTP status. The command names it.";
  const questions = ["Is the server still running?"];
  if (settings.needsToken) questions.push("Is the token the right one?");
  if (readOr(readChosen, []).length > 0) questions.push("Does the server take a subprotocol that is offered?");
  if (settings.checksOrigin) questions.push(`Does it let in pages of ${location.origin} (--allow-origin)?`);
  showState("failed", "No connection", detail, questions);
  addEvent("failed", "no connection", "bad");
}

/**
 * @param {Connection} current
 * @param {CloseEvent} event
 */
function showEnd({ asked, waiting }, { code, reason, wasClean }) {
  for (const { row } of waiting) judgeRow(row, "bad", "no echo came");
  const { name, meaning, source } = explainCode(code);
  const isConfirmed = wasClean && asked?.code === code;
  const said = reason === "" ? "" : `, reason ${quote(reason)}`;
  const by = isConfirmed ? "confirmed by the server" : wasClean ? "said by the server" : "without a close frame";
  showState(wasClean ? "closed" : "failed", "Closed", `${code} (${name})${said}: ${by}.`);
  addEvent("closed", `closed: ${code} (${name})${said}`, wasClean ? "" : "bad");
  const began = asked
    ? `This page, with ${asked.code}${isConfirmed ? "; the server confirmed it" : ""}`
    : wasClean
    ? "The server"
    : "Nobody: the connection was lost, or one side broke the protocol";
  const facts = {
    Code: `${code} (${name})`,
    Meaning: meaning,
    "Defined in": source,
    Reason: reason === "" ? "none" : quote(reason),
    "Who began": began,
    Clean: wasClean ? "yes, both sides sent a close frame" : "no, the close frame of one side is missing",
    "Not echoed": waiting.length === 0 ? "nothing" : `${waiting.length} of the messages sent`,
  };
  byId("end-facts", HTMLDListElement).replaceChildren(
    ...Object.entries(facts).flatMap(([term, fact]) => [element("dt", term), element("dd", fact)]),
  );
  byId("end", HTMLElement).hidden = false;
}

/** @param {number} code @returns {CodeInfo} */
function explainCode(code) {
  return settings.closeCodes[code] ?? settings.closeRanges.find(({ from, to }) => code >= from && code <= to) ??
    { name: "not a close code", meaning: "It must not be sent.", source: "RFC 6455 section 7.4.2" };
}

// ---------------------------------------------------------------------------------------------- messages

function send() {
  if (connection?.socket.readyState !== WebSocket.OPEN) {
    throw new Refusal(null, "There is no connection: connect first.");
  }
  if (connection.left > 0) throw new Refusal(countInput, `Still sending: ${connection.left} to go.`);
  const { data } = readMessage();
  connection.left = readCount() - 1;
  sendOne(connection, data);
}

/**
 * @param {Connection} current
 * @param {Data} data
 */
function sendOne({ socket, waiting }, data) {
  waiting.push({ data, at: performance.now(), row: addMessage("sent", data, "waiting for the echo") });
  socket.send(data);
}

/**
 * An echo server answers in order, so what comes back belongs to the oldest message that is waiting.
 * @param {Connection} current
 * @param {Data} data
 */
function receive(current, data) {
  const now = performance.now();
  const sent = current.waiting.shift();
  if (!sent) {
    judgeRow(addMessage("received", data, ""), "bad", "nothing was sent for it");
    announce(`received ${describe(data)}, nothing was sent for it`);
    return;
  }
  const ms = now - sent.at;
  const same = isSame(sent.data, data);
  const verdict = same ? "the same as sent" : "not what was sent";
  judgeRow(sent.row, same ? "good" : "bad", verdict, { ms, data: same ? undefined : data });
  announce(`received ${describe(data)}, ${verdict}, round trip ${describeMs(ms)}`);
  showTrips([...trips, ms].slice(-MAX_TRIPS));
  if (current.left > 0 && current.socket.readyState === WebSocket.OPEN) {
    current.left--;
    sendOne(current, sent.data);
  }
}

/**
 * @param {Data} a
 * @param {Data} b
 */
function isSame(a, b) {
  if (typeof a === "string" || typeof b === "string") return a === b;
  return a.byteLength === b.byteLength && a.every((byte, index) => byte === b[index]);
}

// ---------------------------------------------------------------------------------------------- what the fields say

/** This server and the path: with the setters no path can lead to another host. */
function readUrl() {
  const url = new URL(location.origin);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const [, path = "", query = ""] = /^([^?]*)(.*)$/s.exec(pathInput.value) ?? [];
  url.pathname = path;
  url.search = query;
  return url.href;
}

/** The subprotocols that somebody chose. */
function readChosen() {
  if (settings.protocols.length > 0) {
    return [...document.querySelectorAll("#protocol-list input:checked")]
      .map((box) => box instanceof HTMLInputElement ? box.value : "");
  }
  const names = protocolsInput.value.split(/[\s,]+/).filter((name) => name !== "");
  for (const [index, name] of names.entries()) {
    if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) {
      throw new Refusal(
        protocolsInput,
        `${quote(name)} cannot be a subprotocol: use letters, digits and !#$%&'*+-.^_\`|~`,
      );
    }
    if (names.indexOf(name) !== index) throw new Refusal(protocolsInput, `${quote(name)} is there twice.`);
  }
  return names;
}

/** All that is offered: what was chosen, and the token as the last. */
function readOffers() {
  const chosen = readChosen();
  const token = settings.needsToken ? tokenInput.value : "";
  if (token === "") return chosen;
  if (chosen.length === 0 && settings.protocols.length > 0) {
    const box = document.querySelector("#protocol-list input");
    throw new Refusal(
      box instanceof HTMLElement ? box : tokenInput,
      "Choose a subprotocol: with a token alone the browser would drop the connection.",
    );
  }
  const base64 = btoa(String.fromCharCode(...new TextEncoder().encode(token)));
  const base64url = base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [...(chosen.length > 0 ? chosen : [PLAIN_PROTOCOL]), settings.tokenPrefix + base64url];
}

/**
 * What the message field says: what goes to send(), and its bytes on the wire.
 * @returns {{ data: Data, bytes: Uint8Array<ArrayBuffer> }}
 */
function readMessage() {
  const kind = new FormData(byId("send-form", HTMLFormElement)).get("kind");
  // A WebSocket sends half a surrogate pair as U+FFFD: so it is compared.
  const text = messageInput.value.toWellFormed();
  const bytes = kind === "hex" ? parseHex(text) : new TextEncoder().encode(text);
  if (bytes.byteLength > settings.maxMessageBytes) {
    throw new Refusal(
      messageInput,
      `The message has ${bytes.byteLength} bytes: this server takes at most ${settings.maxMessageBytes}.`,
    );
  }
  return { data: kind === "text" ? text : bytes, bytes };
}

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
function parseHex(text) {
  const wrong = /[^0-9a-f\s]/iu.exec(text);
  if (wrong) throw new Refusal(messageInput, `${quote(wrong[0])} is not a hexadecimal digit: write as 00 ff 7f.`);
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 !== 0) {
    throw new Refusal(messageInput, "A digit is missing: a byte has two, as in 00 ff 7f.");
  }
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) => parseInt(digits.substr(index * 2, 2), 16));
}

function readCount() {
  const count = readWhole(countInput);
  if (count >= 1 && count <= MAX_COUNT) return count;
  throw new Refusal(countInput, `Times is a whole number from 1 to ${MAX_COUNT}.`);
}

function readCode() {
  const code = readWhole(codeInput);
  if (code === 1000 || (code >= 3000 && code <= 4999)) return code;
  throw new Refusal(codeInput, "A page can close with the code 1000 or 3000 to 4999.");
}

function readClose() {
  const code = readCode();
  const reason = reasonInput.value.toWellFormed();
  const bytes = byteLengthOf(reason);
  if (bytes <= settings.maxReasonBytes) return { code, reason };
  throw new Refusal(
    reasonInput,
    `The reason has ${bytes} bytes of UTF-8: at most ${settings.maxReasonBytes} fit into a close frame.`,
  );
}

/** @param {HTMLInputElement} input */
function readWhole({ value }) {
  return /^\s*\d+\s*$/.test(value) ? Number(value) : NaN;
}

/**
 * @template T
 * @param {() => T} read
 * @param {T} otherwise What it is while a field cannot be used.
 */
function readOr(read, otherwise) {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refusal) return otherwise;
    throw error;
  }
}

// ---------------------------------------------------------------------------------------------- the command line

/** The words of the command that does the same; a note goes with it where it needs something. */
function commandOf() {
  const { data, bytes } = readMessage();
  const count = readCount();
  const { code, reason } = readClose();
  const words = ["deno task client"];
  const notes = ["For a POSIX shell, in the folder of wsproof."];
  if (typeof data !== "string") words.push("-b");
  if (bytes.byteLength > MAX_COMMAND_BYTES) {
    words.push("-f message.bin");
    notes.push("The message is long: save it as message.bin first.");
  } else if (isPlain(bytes)) {
    words.push(`-m ${shellQuote(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes))}`);
  } else {
    // No argument can hold a NUL or what is not UTF-8, and other control characters are not for pasting.
    words.unshift(`printf ${printfQuote(bytes)} |`);
    words.push("-f -");
  }
  if (count > 1) words.push(`-n ${count}`);
  for (const name of readChosen()) words.push(`-p ${shellQuote(name)}`);
  if (settings.checksOrigin) words.push(`--origin ${shellQuote(location.origin)}`);
  if (settings.needsToken) {
    words.push('-H "Authorization: Bearer $WSPROOF_TOKEN"');
    notes.push("It takes the token from the variable WSPROOF_TOKEN.");
  }
  if (code !== 1000) words.push(`--close-code ${code}`);
  if (reason !== "") words.push(`--close-reason ${shellQuote(reason)}`);
  words.push(shellQuote(readUrl()));
  return { words, note: notes.join(" ") };
}

/** Whether bytes are UTF-8 that can stand between quotes. @param {Uint8Array} bytes */
function isPlain(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return !UNPRINTABLE.test(text.replaceAll("\n", ""));
  } catch {
    return false;
  }
}

/** Between single quotes a shell takes all as it is; a single quote itself has to stand outside. @param {string} text */
function shellQuote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Bytes as a format of printf, without a dash that could begin an option: most as three octal digits. @param {Uint8Array} bytes */
function printfQuote(bytes) {
  const chars = Array.from(bytes, (byte) => {
    const char = String.fromCharCode(byte);
    if (/[\w @+=:,./]/.test(char)) return char;
    return `\\${byte.toString(8).padStart(3, "0")}`;
  });
  return `'${chars.join("")}'`;
}

async function copyCommand() {
  const copied = byId("copied", HTMLElement);
  if (commandCode.textContent === "") return;
  try {
    await navigator.clipboard.writeText(commandCode.textContent);
    copied.textContent = "Copied.";
  } catch {
    // There is no clipboard for a page that came over http: from another machine.
    getSelection()?.selectAllChildren(commandCode);
    copied.textContent = "Selected: press Ctrl+C to copy it.";
  }
}

// ---------------------------------------------------------------------------------------------- what people see

/**
 * @param {"closed" | "busy" | "open" | "failed"} state
 * @param {string} name
 * @param {string} [detail]
 * @param {string[]} [questions]
 */
function showState(state, name, detail = "", questions = []) {
  stateBox.dataset.state = state;
  byId("state-name", HTMLElement).textContent = name;
  byId("state-detail", HTMLElement).textContent = detail;
  byId("state-list", HTMLElement).replaceChildren(...questions.map((question) => element("li", question)));
}

/** A button that cannot be used stays reachable, so that the keyboard focus is never lost. */
function showButtons() {
  const isOpen = connection?.socket.readyState === WebSocket.OPEN;
  byId("connect", HTMLElement).ariaDisabled = String(isLive());
  byId("send", HTMLElement).ariaDisabled = String(!isOpen);
  byId("close", HTMLElement).ariaDisabled = String(!isLive());
}

/** Shows what follows from the fields: the size, what the code means, the command. */
function showFields() {
  const size = readOr(() => `${describeBytes(readMessage().bytes.byteLength)}.`, "");
  byId("size", HTMLElement).textContent = size;
  const code = readOr(readCode, 0);
  const { name, meaning } = explainCode(code);
  byId("code-hint", HTMLElement).textContent = code === 0 ? "1000 or 3000 to 4999." : `${code} (${name}): ${meaning}`;
  const { words, note } = readOr(commandOf, { words: [], note: "First mend what the fields say." });
  commandCode.replaceChildren(
    ...words.flatMap((word, index) => [...index > 0 ? [" "] : [], element("span", word, "word")]),
  );
  byId("copy", HTMLElement).ariaDisabled = String(words.length === 0);
  byId("command-hint", HTMLElement).textContent = note;
  byId("copied", HTMLElement).textContent = "";
}

/**
 * Puts a message on top of the log.
 * @param {"sent" | "received"} direction
 * @param {Data} data
 * @param {string} badge
 */
function addMessage(direction, data, badge) {
  const facts = element("span", "", "facts");
  facts.append(...arrow(direction), element("span", describe(data)), " ", element("span", badge, "badge"));
  const row = prepend(direction, facts, ...shownData(data));
  lastRow = row;
  showLast();
  return row;
}

/**
 * Says in a row what came of its message.
 * @param {HTMLElement} row
 * @param {"good" | "bad"} judgement
 * @param {string} verdict
 * @param {{ ms?: number, data?: Data | undefined }} [reply] The round trip, and what came back if that is something else.
 */
function judgeRow(row, judgement, verdict, { ms, data } = {}) {
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
function addEvent(kind, text, judgement = "") {
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
function describe(data) {
  return typeof data === "string"
    ? `text, ${describeBytes(byteLengthOf(data))}`
    : `binary, ${describeBytes(data.byteLength)}`;
}

/** An arrow for the eyes, and the word for a screen reader. @param {"sent" | "received"} direction */
function arrow(direction) {
  const sign = element("span", direction === "sent" ? "→" : "←", "arrow");
  sign.ariaHidden = "true";
  return [sign, element("span", `${direction} `, "visually-hidden")];
}

/** What a message says, and on demand its JSON. @param {Data} data */
function shownData(data) {
  const shown = element("span", "", "data");
  if (typeof data !== "string") {
    shown.textContent = toHex(data);
    return data.byteLength === 0 ? [] : [shown];
  }
  shown.append(...escaped(data.slice(0, MAX_SHOWN.chars).toWellFormed()));
  if (data.length > MAX_SHOWN.chars) shown.append(" …");
  const pretty = prettyJson(data);
  return [...data === "" ? [] : [shown], ...pretty === undefined ? [] : [pretty]];
}

/** JSON of objects and arrays, in lines, behind a word to press. @param {string} text */
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
 * Text that somebody else wrote, with control and direction characters as escapes that look unlike the text.
 * @param {string} text
 * @returns {(Node | string)[]}
 */
function escaped(text) {
  return text.split(new RegExp(`(${UNPRINTABLE.source})`)).filter((part) => part !== "")
    .map((part) => UNPRINTABLE.test(part) ? element("span", escapeOf(part), "escape") : part);
}

/** How many messages a screen reader has not been told of, and of the last one what to say. */
const news = { count: 0, last: "", timer: 0 };

/** Tells a screen reader of messages, but not of each. @param {string} text */
function announce(text) {
  news.count++;
  news.last = text;
  news.timer ||= setTimeout(() => {
    const others = news.count > 1 ? `${news.count} messages, the last: ` : "";
    byId("announcer", HTMLElement).textContent = others + news.last;
    news.count = news.timer = 0;
  }, ANNOUNCE_MS);
}

/**
 * Draws the round trips as bars, with their median as a line.
 * @param {number[]} latest
 */
function showTrips(latest) {
  trips = latest;
  const plot = byId("plot", SVGSVGElement);
  const { width, height } = plot.viewBox.baseVal;
  const sorted = trips.toSorted((a, b) => a - b);
  const most = sorted.at(-1) ?? 0;
  const median = percentile(sorted, 0.5);
  const top = niceAbove(Math.min(most, percentile(sorted, 0.75) * PLOT_HEADROOM));
  const step = width / MAX_TRIPS;
  const bars = trips.map((ms, index) => {
    const tall = Math.max(1, Math.min(1, ms / top) * height);
    const box = { x: index * step + 1, y: height - tall, width: step - 2, height: tall };
    return svg("rect", { class: ms > top ? "bar over" : "bar", ...box });
  });
  const lines = [["grid", top / 2], ["median", median]].map(([name = "", ms]) => {
    const y = height - Number(ms) / top * height;
    return svg("line", { class: name, x1: 0, x2: width, y1: y, y2: y });
  });
  plot.replaceChildren(...lines.slice(0, 1), ...bars, ...lines.slice(1));
  byId("axis-top", HTMLElement).textContent = `${top} ms`;
  byId("axis-middle", HTMLElement).textContent = `${top / 2} ms`;
  byId("plot-empty", HTMLElement).hidden = trips.length > 0;
  byId("plot-area", HTMLElement).hidden = trips.length === 0;
  const over = trips.filter((ms) => ms > top).length;
  const facts = Object.entries({
    min: sorted[0] ?? 0,
    median,
    p90: percentile(sorted, 0.9),
    p99: percentile(sorted, 0.99),
  })
    .map(([name, ms]) => `${name} ${describeMs(ms)}`);
  byId("plot-summary", HTMLElement).textContent = trips.length === 0
    ? ""
    : `Last ${trips.length}, in milliseconds, the newest on the right: ${facts.join(", ")}, max ${describeMs(most)}. ` +
      `Dashed: the median.${over > 0 ? ` Red: ${over} beyond the plot.` : ""}`;
}

/** By the nearest rank. @param {number[]} sorted @param {number} share */
function percentile(sorted, share) {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** The next of 1, 2, 5, 10, 20 ... @param {number} value */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 0.01)));
  const nice = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= value) ?? 10 * power;
  return Number(nice.toPrecision(1));
}

// ---------------------------------------------------------------------------------------------- small things

/**
 * Control characters, and those that reorder or break a line.
 */
// deno-lint-ignore no-control-regex -- they are what is looked for
const UNPRINTABLE = /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/;

/**
 * Quotes text that somebody else wrote: on one line, control and direction characters as escapes.
 * @param {string} text
 * @param {number} [maxChars]
 */
function quote(text, maxChars = Infinity) {
  const shown = JSON.stringify(text.length > maxChars ? text.slice(0, maxChars).toWellFormed() : text);
  const safe = shown.replace(new RegExp(UNPRINTABLE, "g"), escapeOf);
  return text.length > maxChars ? `${safe} …` : safe;
}

/** @param {string} char A control or direction character. */
function escapeOf(char) {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[char];
  return short ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** @param {Uint8Array} bytes */
function toHex(bytes) {
  const pairs = Array.from(bytes.subarray(0, MAX_SHOWN.bytes), (byte) => byte.toString(16).padStart(2, "0"));
  return pairs.join(" ") + (bytes.byteLength > MAX_SHOWN.bytes ? " …" : "");
}

/** @param {string} text */
function byteLengthOf(text) {
  return new TextEncoder().encode(text).byteLength;
}

/** @param {number} bytes */
function describeBytes(bytes) {
  return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
}

/** @param {number} bytes */
function describeSize(bytes) {
  const [unit, name] = bytes % 2 ** 20 === 0 ? [2 ** 20, "MiB"] : bytes % 1024 === 0 ? [1024, "KiB"] : [1, "bytes"];
  return `${bytes / Number(unit)} ${name}`;
}

/** @param {number} ms */
function describeMs(ms) {
  return `${ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms`;
}

/**
 * @param {string} name
 * @param {string} text
 * @param {string} [className]
 */
function element(name, text, className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className !== "") node.className = className;
  return node;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
function svg(name, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, String(value));
  return node;
}

/**
 * The element with this id, which page.html has.
 * @template {Element} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
function byId(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`There is no ${type.name} #${id}`);
}

/**
 * Does what a form is for, or says why not; a field that is the cause is marked, and gets the focus.
 * @param {string} name
 * @param {() => void} act
 */
function onSubmit(name, act) {
  const form = byId(`${name}-form`, HTMLFormElement);
  const problem = byId(`${name}-problem`, HTMLElement);
  const clear = () => {
    problem.textContent = "";
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
  };
  form.addEventListener("input", clear);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clear();
    try {
      act();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      problem.textContent = error.message;
      if (!error.field) return;
      error.field.ariaInvalid = "true";
      error.field.focus();
    }
    showButtons();
  });
}

onSubmit("connect", connect);
onSubmit("send", send);
onSubmit("close", close);
document.addEventListener("input", showFields);
messageInput.addEventListener("keydown", (event) => {
  // Enter also ends the composition of a character, as in Japanese: that one is not for us.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  messageInput.form?.requestSubmit();
});
byId("copy", HTMLElement).addEventListener("click", copyCommand);
byId("clear", HTMLElement).addEventListener("click", () => {
  logList.replaceChildren();
  lastRow = null;
  showLast();
  showLog();
  showTrips([]);
});

pathInput.value = location.pathname + location.search;
byId("about", HTMLElement).textContent = `wsproof ${settings.version}. A message has at most ${
  describeSize(settings.maxMessageBytes)
}, a close reason ${settings.maxReasonBytes} bytes.`;
byId("origin", HTMLElement).textContent = readUrl().replace(/^(\w+:\/\/[^/]*).*$/, "$1");
byId("token-field", HTMLElement).hidden = !settings.needsToken;
byId("protocol-field", HTMLElement).hidden = settings.protocols.length > 0;
byId("protocol-choice", HTMLElement).hidden = settings.protocols.length === 0;
byId("protocol-list", HTMLElement).append(...settings.protocols.map((name, index) => {
  const box = document.createElement("input");
  box.type = "checkbox";
  box.value = name;
  box.checked = index === 0;
  box.setAttribute("aria-describedby", "connect-problem");
  const label = document.createElement("label");
  label.append(box, ` ${name}`);
  return label;
}));
showTrips([]);
showFields();
showButtons();
