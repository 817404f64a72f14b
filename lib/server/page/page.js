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
 * @property {{ data: Data, at: number }[]} waiting What was sent and has not come back, oldest first.
 * @property {number} left How many more times the message of the present run is to be sent.
 */

/** A message: a string is text, bytes are binary. @typedef {string | Uint8Array<ArrayBuffer>} Data */

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
  addEvent("opened");
  if (document.activeElement?.closest("#connect-form")) messageInput.focus();
}

/** What a page may know of a failure is that there was one. @param {Connection} current */
function showFailure({ asked, isLate }) {
  if (asked) return showState("closed", "Not connected", "Cancelled before the connection was open.");
  const what = isLate
    ? `There was no answer within ${CONNECT_TIMEOUT_MS / 1000} s.`
    : "A browser tells a page neither the cause nor the HTTP status.";
  const token = settings.needsToken ? " Is the token the right one?" : "";
  const offer = readOr(readChosen, []).length > 0 ? " Does the server take a subprotocol that is offered?" : "";
  const origin = settings.checksOrigin ? ` Does it let in pages of ${location.origin} (--allow-origin)?` : "";
  const advice = ` Is the server still running?${token}${origin}${offer} The command below names the cause.`;
  showState("failed", "No connection", what + advice);
  addEvent("failed");
}

/**
 * @param {Connection} current
 * @param {CloseEvent} event
 */
function showEnd({ asked, waiting }, { code, reason, wasClean }) {
  const { name, meaning, source } = explainCode(code);
  const isConfirmed = wasClean && asked?.code === code;
  const said = reason === "" ? "" : `, reason ${quote(reason)}`;
  const by = isConfirmed ? "confirmed by the server" : wasClean ? "said by the server" : "without a close frame";
  showState(wasClean ? "closed" : "failed", "Closed", `${code} (${name})${said}: ${by}.`);
  addEvent("closed", `${code} (${name})${said}`);
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
  addRow({ direction: "sent", data });
  waiting.push({ data, at: performance.now() });
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
    addRow({ direction: "received", data, verdict: "nothing was sent for it" });
    return;
  }
  const ms = now - sent.at;
  const same = isSame(sent.data, data);
  addRow({ direction: "received", data, ms, isGood: same, verdict: same ? "the same as sent" : "not what was sent" });
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

/** The command that does the same; a note goes with it where it needs something. */
function commandOf() {
  const { data, bytes } = readMessage();
  const count = readCount();
  const { code, reason } = readClose();
  const words = ["deno task client"];
  let input = "";
  const notes = ["For a POSIX shell, in the folder of wsproof."];
  if (typeof data !== "string") words.push("-b");
  if (bytes.byteLength > MAX_COMMAND_BYTES) {
    words.push("-f message.bin");
    notes.push("The message is long: save it as message.bin first.");
  } else if (isPlain(bytes)) {
    words.push(`-m ${shellQuote(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes))}`);
  } else {
    // No argument can hold a NUL or what is not UTF-8, and other control characters are not for pasting.
    input = `printf ${printfQuote(bytes)} | `;
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
  return { command: input + words.join(" "), note: notes.join(" ") };
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
 */
function showState(state, name, detail = "") {
  stateBox.dataset.state = state;
  byId("state-name", HTMLElement).textContent = name;
  byId("state-detail", HTMLElement).textContent = detail;
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
  const { command, note } = readOr(commandOf, { command: "", note: "First mend what the fields above say." });
  commandCode.textContent = command;
  byId("copy", HTMLElement).ariaDisabled = String(command === "");
  byId("command-hint", HTMLElement).textContent = note;
  byId("copied", HTMLElement).textContent = "";
}

/**
 * @param {object} row
 * @param {"sent" | "received"} row.direction
 * @param {Data} row.data
 * @param {number} [row.ms] The round trip.
 * @param {string} [row.verdict]
 * @param {boolean} [row.isGood]
 */
function addRow({ direction, data, ms, verdict = "", isGood = false }) {
  const isText = typeof data === "string";
  const what = `${isText ? "text" : "binary"}, ${describeBytes(isText ? byteLengthOf(data) : data.byteLength)}`;
  const trip = ms === undefined ? "" : describeMs(ms);
  const judged = element("span", verdict, isGood ? "good" : "bad");
  const shown = element("span", isText ? quote(data, MAX_SHOWN.chars) : toHex(data), "data");
  if (verdict !== "") shown.append(" ", judged);
  prepend(direction, element("span", what, "what"), element("span", trip, "trip"), shown);
  if (direction === "received") announce(`received ${what}, ${verdict}${trip && `, round trip ${trip}`}`);
}

/**
 * @param {string} direction
 * @param {string} [detail]
 */
function addEvent(direction, detail = "") {
  prepend(direction, element("span", detail, "data"));
}

/**
 * @param {string} direction
 * @param {Node[]} cells
 */
function prepend(direction, ...cells) {
  const now = new Date();
  const millis = String(now.getMilliseconds()).padStart(3, "0");
  const time = element("time", `${now.toLocaleTimeString("en-GB")}.${millis}`);
  time.setAttribute("datetime", now.toISOString());
  const row = element("li", "", direction);
  // The spaces keep the words apart where they are read or copied as one line.
  for (const cell of [time, element("span", direction, "direction"), ...cells]) row.append(cell, " ");
  logList.prepend(row);
  if (logList.children.length > MAX_ROWS) logList.lastElementChild?.remove();
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

/** Draws the round trips as bars, with their median as a line. @param {number[]} latest */
function showTrips(latest) {
  trips = latest;
  const { width, height } = byId("plot", SVGSVGElement).viewBox.baseVal;
  const most = Math.max(...trips, 0.001);
  const step = width / MAX_TRIPS;
  const bars = trips.map((ms, index) => {
    const tall = Math.max(1, ms / most * (height - 10));
    return svg("rect", { class: "bar", x: index * step + 1, y: height - tall, width: step - 2, height: tall });
  });
  const sorted = trips.toSorted((a, b) => a - b);
  const middle = sorted[sorted.length >> 1] ?? 0;
  const y = height - middle / most * (height - 10);
  const line = trips.length < 2 ? [] : [svg("line", { class: "median", x1: 0, x2: width, y1: y, y2: y })];
  byId("plot", SVGSVGElement).replaceChildren(...bars, ...line);
  byId("plot-summary", HTMLElement).textContent = trips.length === 0
    ? "None yet."
    : `Last ${trips.length}: min ${describeMs(sorted[0] ?? 0)}, median ${describeMs(middle)}, max ${describeMs(most)}.`;
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
  const escaped = shown.replace(
    new RegExp(UNPRINTABLE, "g"),
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return text.length > maxChars ? `${escaped} …` : escaped;
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
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    problem.textContent = "";
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
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
  showTrips([]);
});

pathInput.value = location.pathname;
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
