/**
 * The fields of the page: their values, and why some are unusable.
 */

import { byId, byteLengthOf, quote } from "./text.js";

/**
 * Settings from the server.
 * @typedef {object} Settings
 * @property {string[]} protocols The server's subprotocols; empty if it takes any.
 * @property {boolean} needsToken Whether it requires a token.
 * @property {boolean} checksOrigin Whether it admits pages of some origins only.
 * @property {string} tokenPrefix The prefix of its base64url as a subprotocol: a browser cannot send a field Authorization.
 * @property {number} maxMessageBytes The longest message, in bytes.
 * @property {number} maxReasonBytes The longest close reason, in bytes.
 * @property {string} version The version of the server.
 * @property {Record<string, CodeInfo>} closeCodes The close codes with a name.
 * @property {CodeRange[]} closeRanges Uses of the other close codes.
 *
 * @typedef {{ name: string, meaning: string, source: string }} CodeInfo
 * @typedef {{ from: number, to: number } & CodeInfo} CodeRange
 */

/** A message: a string is text, bytes are binary. @typedef {string | Uint8Array<ArrayBuffer>} Data */

/** Most repetitions of a message. */
export const MAX_COUNT = 1000;

/** The only offer beside the token: browsers drop a connection when none of the offers is selected. */
export const PLAIN_PROTOCOL = "wsproof";

/** @type {Settings} */
export const settings = JSON.parse(byId("settings", HTMLScriptElement).text);

export const pathInput = byId("path", HTMLInputElement);
export const protocolsInput = byId("protocols", HTMLInputElement);
export const tokenInput = byId("token", HTMLInputElement);
export const messageInput = byId("message", HTMLTextAreaElement);
export const countInput = byId("count", HTMLInputElement);
export const codeInput = byId("code", HTMLInputElement);
export const reasonInput = byId("reason", HTMLInputElement);

/** Thrown for an unusable input; the message says what would do. */
export class Refusal extends Error {
  /**
   * @param {HTMLElement | null} field The field at fault, if any.
   * @param {string} message
   */
  constructor(field, message) {
    super(message);
    this.field = field;
  }
}

/** @param {number} code @returns {CodeInfo} */
export function explainCode(code) {
  return settings.closeCodes[code] ?? settings.closeRanges.find(({ from, to }) => code >= from && code <= to) ??
    { name: "not a close code", meaning: "It must not be sent.", source: "RFC 6455 section 7.4.2" };
}

/** This server and the path: setters keep any path on this host. */
export function readUrl() {
  const url = new URL(location.origin);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const [, path = "", query = ""] = /^([^?]*)(.*)$/s.exec(pathInput.value) ?? [];
  url.pathname = path;
  url.search = query;
  return url.href;
}

/** The chosen subprotocols. */
export function readChosen() {
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
    if (names.indexOf(name) !== index) throw new Refusal(protocolsInput, `${quote(name)} appears twice.`);
  }
  return names;
}

/** All offers: the chosen subprotocols, and the token last. */
export function readOffers() {
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
 * The message field's content: data for send(), and its bytes on the wire.
 * @returns {{ data: Data, bytes: Uint8Array<ArrayBuffer> }}
 */
export function readMessage() {
  const kind = new FormData(byId("send-form", HTMLFormElement)).get("kind");
  // A WebSocket sends a lone surrogate as U+FFFD: compare that.
  const text = messageInput.value.toWellFormed();
  const bytes = kind === "hex" ? parseHex(text) : new TextEncoder().encode(text);
  if (bytes.byteLength > settings.maxMessageBytes) {
    throw new Refusal(
      messageInput,
      `The message has ${bytes.byteLength} bytes: this server accepts at most ${settings.maxMessageBytes}.`,
    );
  }
  return { data: kind === "text" ? text : bytes, bytes };
}

/** @param {string} text @returns {Uint8Array<ArrayBuffer>} */
export function parseHex(text) {
  const wrong = /[^0-9a-f\s]/iu.exec(text);
  if (wrong) throw new Refusal(messageInput, `${quote(wrong[0])} is not a hexadecimal digit: write bytes as 00 ff 7f.`);
  const digits = text.replace(/\s+/g, "");
  if (digits.length % 2 !== 0) {
    throw new Refusal(messageInput, "A digit is missing: a byte has two, as in 00 ff 7f.");
  }
  return Uint8Array.from({ length: digits.length / 2 }, (_, index) => parseInt(digits.substr(index * 2, 2), 16));
}

export function readCount() {
  const count = readWhole(countInput);
  if (count >= 1 && count <= MAX_COUNT) return count;
  throw new Refusal(countInput, `Times must be a whole number from 1 to ${MAX_COUNT}.`);
}

export function readCode() {
  const code = readWhole(codeInput);
  if (code === 1000 || (code >= 3000 && code <= 4999)) return code;
  throw new Refusal(codeInput, "A page can close with the code 1000 or 3000 to 4999.");
}

export function readClose() {
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
export function readWhole({ value }) {
  return /^\s*\d+\s*$/.test(value) ? Number(value) : NaN;
}

/**
 * @template T
 * @param {() => T} read
 * @param {T} otherwise The value while a field is unusable.
 */
export function readOr(read, otherwise) {
  try {
    return read();
  } catch (error) {
    if (error instanceof Refusal) return otherwise;
    throw error;
  }
}
