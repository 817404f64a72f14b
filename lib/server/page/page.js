/**
 * The page of the echo server: a WebSocket client for people, in one file without dependencies.
 *
 * Data of a peer only ever becomes the text of a node, never markup. The server joins this module and those that it
 * imports into one script.
 */

import { commandCode, commandOf, copyCommand } from "./command.js";
import {
  countInput,
  explainCode,
  messageInput,
  pathInput,
  readChosen,
  readClose,
  readCode,
  readCount,
  readMessage,
  readOffers,
  readOr,
  readUrl,
  Refusal,
  settings,
} from "./fields.js";
import { addEvent, addMessage, announce, clearLog, describe, judgeRow } from "./log.js";
import { addTrip, clearTrips } from "./plot.js";
import { byId, describeBytes, describeMs, describeSize, element, quote } from "./text.js";

/** @import { Data } from "./fields.js" */

/**
 * One connection, from the attempt to its end.
 * @typedef {object} Connection
 * @property {WebSocket} socket
 * @property {boolean} isOpened Whether it was ever open.
 * @property {boolean} isLate Whether the connect deadline has passed.
 * @property {{ code: number, reason: string } | null} asked The close that this page asked for.
 * @property {Sent[]} waiting Messages without a reply, oldest first.
 * @property {number} left How many more times to send the message of the present run.
 */

/** A sent message, its time, and its row of the log. @typedef {{ data: Data, at: number, row: HTMLElement }} Sent */

/** Connect deadline in milliseconds: 10 s. A browser's WebSocket has none of its own. */
const CONNECT_TIMEOUT_MS = 10_000;

const stateBox = byId("state", HTMLDivElement);

/** The present connection, or the last one. @type {Connection | null} */
let connection = null;

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

/** Whether a connection is opening, open or closing. */
function isLive() {
  return connection !== null && connection.socket.readyState !== WebSocket.CLOSED;
}

/** @param {WebSocket} socket */
function showOpen({ protocol, extensions }) {
  // The token is not shown even if the server wrongly selects it.
  const isToken = protocol.startsWith(settings.tokenPrefix);
  const selected = isToken ? "Subprotocol: the token, by mistake of the server." : `Subprotocol: ${quote(protocol)}.`;
  const compression = extensions.includes("permessage-deflate") ? "Messages are compressed." : "No compression.";
  showState("open", "Connected", `${protocol === "" ? "No subprotocol." : selected} ${compression}`);
  showButtons();
  addEvent("opened", "connected");
  if (document.activeElement?.closest("#connect-form")) messageInput.focus();
}

/** A page may know only that there was a failure. @param {Connection} current */
function showFailure({ asked, isLate }) {
  if (asked) return showState("closed", "Not connected", "Cancelled before the connection was open.");
  const detail = isLate
    ? `There was no answer within ${CONNECT_TIMEOUT_MS / 1000} s.`
    : "A browser tells a page neither the cause nor the HTTP status. The command names it.";
  const questions = ["Is the server still running?"];
  if (settings.needsToken) questions.push("Is the token the right one?");
  if (readOr(readChosen, []).length > 0) questions.push("Does the server accept an offered subprotocol?");
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
  const by = isConfirmed ? "confirmed by the server" : wasClean ? "from the server" : "without a close frame";
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
 * An echo server answers in order, so a reply belongs to the oldest pending message.
 * @param {Connection} current
 * @param {Data} data
 */
function receive(current, data) {
  const now = performance.now();
  const sent = current.waiting.shift();
  if (!sent) {
    judgeRow(addMessage("received", data, ""), "bad", "it came unasked");
    announce(`received ${describe(data)}, it came unasked`);
    return;
  }
  const ms = now - sent.at;
  const same = isSame(sent.data, data);
  const verdict = same ? "the same as sent" : "not what was sent";
  judgeRow(sent.row, same ? "good" : "bad", verdict, { ms, data: same ? undefined : data });
  announce(`received ${describe(data)}, ${verdict}, round trip ${describeMs(ms)}`);
  addTrip(ms);
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

/** A disabled button stays focusable, so that the keyboard focus is never lost. */
function showButtons() {
  const isOpen = connection?.socket.readyState === WebSocket.OPEN;
  byId("connect", HTMLElement).ariaDisabled = String(isLive());
  byId("send", HTMLElement).ariaDisabled = String(!isOpen);
  byId("close", HTMLElement).ariaDisabled = String(!isLive());
}

/** Shows what follows from the fields: size, meaning of the code, command. */
function showFields() {
  const size = readOr(() => `${describeBytes(readMessage().bytes.byteLength)}.`, "");
  byId("size", HTMLElement).textContent = size;
  const code = readOr(readCode, 0);
  const { name, meaning } = explainCode(code);
  byId("code-hint", HTMLElement).textContent = code === 0 ? "1000 or 3000 to 4999." : `${code} (${name}): ${meaning}`;
  const { words, note } = readOr(commandOf, { words: [], note: "Correct the fields first." });
  commandCode.replaceChildren(
    ...words.flatMap((word, index) => [...index > 0 ? [" "] : [], element("span", word, "word")]),
  );
  byId("copy", HTMLElement).ariaDisabled = String(words.length === 0);
  byId("command-hint", HTMLElement).textContent = note;
  byId("copied", HTMLElement).textContent = "";
}

/**
 * Runs a form's action, or says why not; a field at fault is marked, and gets the focus.
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
  // Enter also ends the composition of a character, as in Japanese: ignore that one.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  messageInput.form?.requestSubmit();
});
byId("copy", HTMLElement).addEventListener("click", copyCommand);
byId("clear", HTMLElement).addEventListener("click", () => {
  clearLog();
  clearTrips();
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
clearTrips();
showFields();
showButtons();
