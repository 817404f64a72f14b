/**
 * Helpers of the page: untrusted text, sizes, times and elements.
 */

/** How many bytes of a message are shown: 32. */
export const MAX_SHOWN_BYTES = 32;

/**
 * Control, direction and line-break characters.
 */
export const UNPRINTABLE =
  // deno-lint-ignore no-control-regex -- they are what is looked for
  /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/;

/**
 * Quotes untrusted text: on one line, control and direction characters as escapes.
 * @param {string} text
 * @param {number} [maxChars]
 */
export function quote(text, maxChars = Infinity) {
  const shown = JSON.stringify(text.length > maxChars ? text.slice(0, maxChars).toWellFormed() : text);
  const safe = shown.replace(new RegExp(UNPRINTABLE, "g"), escapeOf);
  return text.length > maxChars ? `${safe} …` : safe;
}

/** @param {string} char A control or direction character. */
export function escapeOf(char) {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[char];
  return short ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** @param {Uint8Array} bytes */
export function toHex(bytes) {
  const pairs = Array.from(bytes.subarray(0, MAX_SHOWN_BYTES), (byte) => byte.toString(16).padStart(2, "0"));
  return pairs.join(" ") + (bytes.byteLength > MAX_SHOWN_BYTES ? " …" : "");
}

/** @param {string} text */
export function byteLengthOf(text) {
  return new TextEncoder().encode(text).byteLength;
}

/** @param {number} bytes */
export function describeBytes(bytes) {
  return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
}

/** @param {number} bytes */
export function describeSize(bytes) {
  const [unit, name] = bytes % 2 ** 20 === 0 ? [2 ** 20, "MiB"] : bytes % 1024 === 0 ? [1024, "KiB"] : [1, "bytes"];
  return `${bytes / Number(unit)} ${name}`;
}

/** @param {number} ms */
export function describeMs(ms) {
  return `${ms.toFixed(ms < 10 ? 2 : ms < 100 ? 1 : 0)} ms`;
}

/**
 * @param {string} name
 * @param {string} text
 * @param {string} [className]
 */
export function element(name, text, className = "") {
  const node = document.createElement(name);
  node.textContent = text;
  if (className !== "") node.className = className;
  return node;
}

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 */
export function svg(name, attributes) {
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
export function byId(id, type) {
  const found = document.getElementById(id);
  if (found instanceof type) return found;
  throw new Error(`There is no ${type.name} #${id}`);
}
