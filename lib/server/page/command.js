/**
 * The command line equivalent to the page.
 */

import { readChosen, readClose, readCount, readMessage, readUrl, settings } from "./fields.js";
import { byId, UNPRINTABLE } from "./text.js";

/** A message from this size on is a file on the command line, in bytes: 4 KiB. */
export const MAX_COMMAND_BYTES = 4096;

export const commandCode = byId("command", HTMLElement);

/** The words of the equivalent command, and a note on its needs. */
export function commandOf() {
  const { data, bytes } = readMessage();
  const count = readCount();
  const { code, reason } = readClose();
  const words = ["deno task -q client"];
  const notes = ["For a POSIX shell, in the folder of wsproof."];
  if (typeof data !== "string") words.push("-b");
  if (bytes.byteLength > MAX_COMMAND_BYTES) {
    words.push("-f message.bin");
    notes.push("The message is long: save it as message.bin first.");
  } else if (isPlain(bytes)) {
    words.push(`-m ${shellQuote(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes))}`);
  } else {
    // No argument can hold a NUL or invalid UTF-8, and other control characters are not for pasting.
    words.unshift(`printf ${printfQuote(bytes)} |`);
    words.push("-f -");
  }
  if (count > 1) words.push(`-n ${count}`);
  for (const name of readChosen()) words.push(`-p ${shellQuote(name)}`);
  if (settings.checksOrigin) words.push(`--origin ${shellQuote(location.origin)}`);
  if (settings.needsToken) {
    words.push('-H "Authorization: Bearer $WSPROOF_TOKEN"');
    notes.push("It reads the token from the variable WSPROOF_TOKEN.");
  }
  if (code !== 1000) words.push(`--close-code ${code}`);
  if (reason !== "") words.push(`--close-reason ${shellQuote(reason)}`);
  words.push(shellQuote(readUrl()));
  return { words, note: notes.join(" ") };
}

/** Whether bytes are UTF-8 that can stand between quotes. @param {Uint8Array} bytes */
export function isPlain(bytes) {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    return !UNPRINTABLE.test(text.replaceAll("\n", ""));
  } catch {
    return false;
  }
}

/** Single quotes make all literal for a shell; a single quote itself stands outside. @param {string} text */
export function shellQuote(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

/** Bytes as a printf format, without a dash that could begin an option: most as three octal digits. @param {Uint8Array} bytes */
export function printfQuote(bytes) {
  const chars = Array.from(bytes, (byte) => {
    const char = String.fromCharCode(byte);
    if (/[\w @+=:,./]/.test(char)) return char;
    return `\\${byte.toString(8).padStart(3, "0")}`;
  });
  return `'${chars.join("")}'`;
}

export async function copyCommand() {
  const copied = byId("copied", HTMLElement);
  if (commandCode.textContent === "") return;
  try {
    await navigator.clipboard.writeText(commandCode.textContent);
    copied.textContent = "Copied.";
  } catch {
    // A page that came over http: from another machine has no clipboard.
    getSelection()?.selectAllChildren(commandCode);
    copied.textContent = "Selected: press Ctrl+C to copy it.";
  }
}
