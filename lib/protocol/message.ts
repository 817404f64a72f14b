/**
 * A complete message, text or binary (RFC 6455 section 5.6), and words for people.
 *
 * @module
 */

/** A complete message: a string is a text message, bytes are a binary one. */
export type Message = string | Uint8Array<ArrayBuffer>;

/** The two kinds of message (RFC 6455 section 5.6). */
export type MessageKind = "text" | "binary";

/**
 * Tells the kind of a message.
 *
 * @param message The message.
 * @returns `"text"` for a string, `"binary"` for bytes.
 *
 * @example
 * ```ts
 * import { kindOf } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(kindOf("Hello world"), "text");
 * ```
 */
export function kindOf(message: Message): MessageKind {
  return typeof message === "string" ? "text" : "binary";
}

/**
 * Returns the payload of a message on the wire: UTF-8 for text.
 *
 * @param message The message.
 * @returns The bytes: those of a binary message themselves, else new ones.
 *
 * @example
 * ```ts
 * import { payloadOf } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(payloadOf("é"), Uint8Array.of(0xc3, 0xa9));
 * ```
 */
export function payloadOf(message: Message): Uint8Array<ArrayBuffer> {
  return typeof message === "string" ? new TextEncoder().encode(message) : message;
}

/**
 * Counts the payload bytes of a message on the wire: UTF-8 for text.
 *
 * @param message The message.
 * @returns The number of bytes.
 *
 * @example
 * ```ts
 * import { byteLengthOf } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(byteLengthOf("é€😀"), 9);
 * ```
 */
export function byteLengthOf(message: Message): number {
  if (typeof message !== "string") return message.byteLength;
  let bytes = message.length;
  for (let index = 0; index < message.length; index++) {
    const unit = message.charCodeAt(index);
    // A surrogate pair is two units and four bytes; a lone surrogate becomes U+FFFD, three bytes.
    if (unit >= 0xd800 && unit <= 0xdbff && isLowSurrogate(message.charCodeAt(index + 1))) {
      bytes += 2;
      index++;
    } else if (unit >= 0x800) bytes += 2;
    else if (unit >= 0x80) bytes += 1;
  }
  return bytes;
}

/**
 * Tells whether a message passes a limit, without counting the bytes of text if its length decides.
 *
 * @param message The message.
 * @param maxBytes The limit in bytes; a message of exactly this size is not over it.
 * @returns Whether it has more bytes.
 *
 * @example
 * ```ts
 * import { exceeds } from "./message.ts";
 * import { assert, assertFalse } from "@std/assert";
 *
 * assertFalse(exceeds("abc", 3));
 * assert(exceeds("ab€", 3));
 * ```
 */
export function exceeds(message: Message, maxBytes: number): boolean {
  if (message.length > maxBytes) return true;
  // A UTF-16 unit takes at most three bytes of UTF-8.
  if (typeof message !== "string" || message.length * 3 <= maxBytes) return false;
  return byteLengthOf(message) > maxBytes;
}

/**
 * Joins bytes.
 *
 * @param parts The bytes, in order.
 * @param length Their total length, if it is known.
 * @returns All of them, copied.
 *
 * @example
 * ```ts
 * import { concatBytes } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(concatBytes([Uint8Array.of(1), Uint8Array.of(2, 3)]), Uint8Array.of(1, 2, 3));
 * ```
 */
export function concatBytes(
  parts: readonly Uint8Array[],
  length: number = parts.reduce((sum, { byteLength }) => sum + byteLength, 0),
): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.byteLength;
  }
  return joined;
}

/**
 * Escapes characters that could steer a terminal or break a line. The escapes are those of JSON, so JSON keeps its
 * value.
 *
 * @param text The text, or the JSON.
 * @returns The text on one line, with escapes for control characters, invisible ones, those that change the direction
 * of writing, and lone surrogates.
 *
 * @example
 * ```ts
 * import { escapeUnprintable } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * // A one-character form of "escape" and "[", which JSON.stringify() leaves as it is.
 * assertEquals(escapeUnprintable(JSON.stringify("\u009b31m")), '"\\u009b31m"');
 * ```
 */
export function escapeUnprintable(text: string): string {
  // The first use of the pattern takes 2 ms, and most text needs no escape.
  if (/^[ -~]*$/.test(text)) return text;
  return text.replace(UNPRINTABLE, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/**
 * Control characters, those that reorder or break a line, invisible ones that hide text, and, by the flag u, lone
 * surrogates. Named properties instead of ranges would take long to set up.
 */
const UNPRINTABLE =
  // deno-lint-ignore no-control-regex -- the pattern looks for them
  /[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]/gu;

/**
 * Quotes foreign text on one line that cannot steer a terminal.
 *
 * @param text The text.
 * @param maxChars The longest quotation in characters; a cut shows as three full stops.
 * @returns The text in double quotes, with control and direction characters as escapes.
 *
 * @example
 * ```ts
 * import { quote } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(quote("one\ntwo\u001b[31m"), '"one\\ntwo\\u001b[31m"');
 * assertEquals(quote("Hello world", 5), '"Hello..."');
 * ```
 */
export function quote(text: string, maxChars = Infinity): string {
  const cut = text.length > maxChars;
  // Half a surrogate pair would print as a replacement character.
  const shown = cut ? text.slice(0, maxChars).replace(/[\ud800-\udbff]$/, "") : text;
  const quoted = escapeUnprintable(JSON.stringify(shown));
  return cut ? `${quoted.slice(0, -1)}..."` : quoted;
}

/**
 * Hides the password in a URL, whatever characters it has, and in an invalid URL too. A user name without a password
 * may be a token, and is hidden as well.
 *
 * @param text The URL.
 * @returns The text with three asterisks instead of the secret.
 *
 * @example
 * ```ts
 * import { withoutPassword } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(withoutPassword("ws://user:secret@host/"), "ws://user:***@host/");
 * assertEquals(withoutPassword("ws://user:s3/cret@host/"), "ws://user:***@host/");
 * ```
 */
export function withoutPassword(text: string): string {
  const [scheme = ""] = /^\s*([a-zA-Z][a-zA-Z0-9+.-]*:(?=\/))?\/*/.exec(text) ?? [];
  const rest = text.slice(scheme.length);
  const authority = rest.search(/[/?#]|$/);
  // An at sign that follows a valid host and port belongs to the path.
  const isPlain = !rest.slice(0, authority).includes("@") && URL.canParse(text.trim()) && /:\/\//.test(scheme);
  const at = isPlain ? -1 : URL.canParse(text.trim()) ? rest.lastIndexOf("@", authority) : rest.lastIndexOf("@");
  if (at === -1) return scheme.endsWith("//") ? withoutPort(scheme, rest, authority) : text;
  const colon = rest.slice(0, at).search(/:|%3a/i);
  return `${scheme}${colon === -1 ? "" : rest.slice(0, colon + 1)}***${rest.slice(at)}`;
}

/** Hides a port that is no number: it is the beginning of a password whose at sign is missing. */
function withoutPort(scheme: string, rest: string, end: number): string {
  const authority = rest.slice(0, end);
  const isAddress = /^\[|^[0-9a-f.]*:[0-9a-f.]*:[0-9a-f.:]*$/i.test(authority);
  const shown = isAddress ? authority : authority.replace(/:(?!\d*$).*/s, ":***");
  return scheme + shown + rest.slice(end);
}

/**
 * Hides the password of a URL that was given where something else belongs, such as a path or the name of a case.
 *
 * @param text The text.
 * @returns The same; with three asterisks instead of the secret, if it looks like a URL, or a colon stands before an at sign.
 *
 * @example
 * ```ts
 * import { withoutCredentials } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(withoutCredentials("ws://me:secret@host/"), "ws://me:***@host/");
 * assertEquals(withoutCredentials("node_modules/@std/assert"), "node_modules/@std/assert");
 * ```
 */
export function withoutCredentials(text: string): string {
  return /:\/\/|:.*@/s.test(text) ? withoutPassword(text) : text;
}

/**
 * Hides the token in the name of a subprotocol such as `wsproof.bearer.TOKEN`.
 *
 * @param name The name.
 * @returns The name with three asterisks instead of all that follows `bearer.`, `token.` or `authorization.`.
 *
 * @example
 * ```ts
 * import { withoutToken } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(withoutToken("wsproof.bearer.secret"), "wsproof.bearer.***");
 * ```
 */
export function withoutToken(name: string): string {
  // The first case-insensitive pattern takes 0.3 ms, as long as a reply from nearby.
  if (name === "") return name;
  return name.replace(/(\b(?:bearer|token|authorization)[._-]).+$/is, "$1***");
}

/**
 * Hides the value of a field of HTTP that may be a secret.
 *
 * @param field Name and value.
 * @returns The value, without the token of a subprotocol or the password of a URL; three asterisks for credentials, cookies,
 * tokens and keys.
 *
 * @example
 * ```ts
 * import { harmlessValue } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(harmlessValue(["Cookie", "a=1"]), "***");
 * assertEquals(harmlessValue(["Location", "https://me:secret@a/"]), "https://me:***@a/");
 * assertEquals(harmlessValue(["Host", "a"]), "a");
 * ```
 */
export function harmlessValue([name, value]: readonly [name: string, value: string]): string {
  if (/^sec-websocket-/i.test(name)) return value.split(/, */).map(withoutToken).join(", ");
  if (/^((content-)?location|origin|referer)$/i.test(name)) return withoutCredentials(value);
  // A challenge names a scheme, and no secret.
  if (/^(www|proxy)-authenticate$/i.test(name)) return value;
  return /auth|cookie|token|secret|session|password|key/i.test(name) ? "***" : value;
}

/**
 * Hides the tokens in text that may repeat a subprotocol with one.
 *
 * @param text The text; inside the strings of JSON it stays JSON.
 * @returns The text with three asterisks instead of each token.
 *
 * @example
 * ```ts
 * import { withoutTokens } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(withoutTokens('offered: "wsproof.bearer.b3Blbg", "chat"'), 'offered: "wsproof.bearer.***", "chat"');
 * ```
 */
export function withoutTokens(text: string): string {
  if (!text.toLowerCase().includes("wsproof.bearer.")) return text;
  return text.replace(/(wsproof\.bearer\.)[!#$%&'*+.^_`|~0-9A-Z-]+/gi, "$1***");
}

/**
 * Quotes a URL or a name without its secrets.
 *
 * @param text The text.
 * @returns The text in double quotes, on one line.
 *
 * @example
 * ```ts
 * import { withoutSecrets } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(withoutSecrets("ftp://me:secret@host"), '"ftp://me:***@host"');
 * ```
 */
export function withoutSecrets(text: string): string {
  return quote(withoutToken(withoutPassword(text)));
}

/**
 * Formats a duration.
 *
 * @param ms The duration in milliseconds.
 * @returns Milliseconds below a second, with three digits and two decimals at most; else seconds with two decimals.
 *
 * @example
 * ```ts
 * import { formatMs } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([0.1234, 12.34, 123.4, 1234].map(formatMs), ["0.12 ms", "12.3 ms", "123 ms", "1.23 s"]);
 * ```
 */
export function formatMs(ms: number): string {
  if (ms >= 999.5) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0)} ms`;
}

/**
 * Formats the first bytes in hexadecimal.
 *
 * @param bytes The bytes.
 * @param most The most bytes to show.
 * @returns A colon and pairs of hexadecimal digits, with three full stops if there are more; empty without bytes.
 *
 * @example
 * ```ts
 * import { hexStart } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([[], [0, 10], [1, 2, 3]].map((bytes) => hexStart(Uint8Array.from(bytes), 2)), ["", ": 00 0a", ": 01 02 ..."]);
 * ```
 */
export function hexStart(bytes: Uint8Array, most: number): string {
  if (bytes.byteLength === 0) return "";
  return `: ${hexPairs(bytes.subarray(0, most))}${bytes.byteLength > most ? " ..." : ""}`;
}

/**
 * Formats bytes in hexadecimal, with a blank between two bytes.
 *
 * @param bytes The bytes.
 * @returns The digits.
 *
 * @example
 * ```ts
 * import { hexPairs } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(hexPairs(Uint8Array.of(0, 255)), "00 ff");
 * ```
 */
export function hexPairs(bytes: Uint8Array): string {
  return bytes.toHex().replace(/..(?!$)/g, "$& ");
}

/**
 * Formats a number of things.
 *
 * @param count The number.
 * @param noun The word for one of them.
 * @param plural The word for several; with an s by default.
 * @returns Number and word.
 *
 * @example
 * ```ts
 * import { counted } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([counted(1, "byte"), counted(2, "reply", "replies")], ["1 byte", "2 replies"]);
 * ```
 */
export function counted(count: number, noun: string, plural = `${noun}s`): string {
  return `${count} ${count === 1 ? noun : plural}`;
}

/**
 * Formats a number of bytes; from 1 MiB on with the size in MiB or GiB beside it.
 *
 * @param bytes The number of bytes.
 * @returns The words.
 *
 * @example
 * ```ts
 * import { formatBytes } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([1, 65536, 209715200].map(formatBytes), ["1 byte", "65536 bytes", "209715200 bytes (200 MiB)"]);
 * ```
 */
export function formatBytes(bytes: number): string {
  const words = counted(bytes, "byte");
  return bytes < MIB ? words : `${words} (${formatSize(bytes)})`;
}

/**
 * Formats a size in the unit that a person reads.
 *
 * @param bytes The size in bytes.
 * @returns B, KiB, MiB or GiB, with one decimal below 100 unless the number is whole.
 *
 * @example
 * ```ts
 * import { formatSize } from "./message.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([11, 1536, 209715200, 3221225472].map(formatSize), ["11 B", "1.5 KiB", "200 MiB", "3 GiB"]);
 * ```
 */
export function formatSize(bytes: number): string {
  const power = Math.min(3, Math.floor(Math.log2(Math.max(bytes, 1)) / 10));
  const size = bytes / 1024 ** power;
  return `${size < 99.95 ? size.toFixed(1).replace(/\.0$/, "") : Math.round(size)} ${UNITS[power]}`;
}

const UNITS = ["B", "KiB", "MiB", "GiB"];
const MIB = 1024 ** 2;

function isLowSurrogate(unit: number): boolean {
  return unit >= 0xdc00 && unit <= 0xdfff;
}
