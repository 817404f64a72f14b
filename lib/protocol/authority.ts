/**
 * The credentials and the host of a URL (RFC 3986 section 3.2): all that a client over the built-in WebSocket needs of
 * the handshake.
 *
 * @module
 */

/**
 * Turns the user name and password of a URL into Basic credentials (RFC 7617 section 2). A percent sign that begins no
 * escape stands for itself.
 *
 * @param url The URL; user name or password may be empty.
 * @returns The value for the field Authorization or Proxy-Authorization.
 *
 * @example
 * ```ts
 * import { basicCredentials } from "./authority.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(basicCredentials(new URL("ws://me:100%@host/")), `Basic ${btoa("me:100%")}`);
 * ```
 */
export function basicCredentials({ username, password }: URL): string {
  return `Basic ${base64(percentDecoded(`${username}:${password}`))}`;
}

/**
 * Tells whether the value of a Host field is a host with an optional port of 0 to 65535 (RFC 9110 section 7.2, RFC 3986
 * section 3.2.2): a name, an IPv4 address, or an IPv6 address in brackets. A slash would become part of the path.
 *
 * @param text The value.
 * @returns Whether it is valid, and can stand in a URL.
 *
 * @example
 * ```ts
 * import { isHost } from "./authority.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(["example.org:80", "[::1]", "a/healthz?", "a:65536", ""].map(isHost), [true, true, false, false, false]);
 * ```
 */
export function isHost(text: string): boolean {
  // The URL parser rejects invalid addresses and ports.
  return HOST.test(text) && URL.canParse(`http://${text}/`);
}

/** An address in brackets, or the characters of a name (RFC 3986 section 3.2.2), and a port. */
const HOST = /^(\[[0-9A-Fa-f:.]+\]|([A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(:\d{0,5})?$/;

/** Decodes percent escapes to bytes, which need not be UTF-8; a % that begins no escape stays. */
function percentDecoded(text: string): Uint8Array {
  const characters = text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
  // A URL is ASCII: each character is a byte.
  return Uint8Array.from(characters, (character) => character.charCodeAt(0));
}

/** Encodes bytes in Base64. `btoa` needs a string of them first, and takes six times as long for an accept key. */
export function base64(bytes: Uint8Array): string {
  const codes = new Uint8Array(4 * Math.ceil(bytes.byteLength / 3));
  writeBase64(bytes, codes, 0);
  let text = "";
  for (const code of codes) text += String.fromCharCode(code);
  return text;
}

/**
 * Encodes bytes in Base64, as text in ASCII.
 *
 * @param bytes The bytes.
 * @param into Takes four bytes for every three, or fewer at the end.
 * @param at The offset in `into`.
 */
export function writeBase64(bytes: Uint8Array, into: Uint8Array, at: number): void {
  const { byteLength } = bytes;
  for (let from = 0; from < byteLength; from += 3) {
    const three = (byteAt(bytes, from) << 16) | (byteAt(bytes, from + 1) << 8) | byteAt(bytes, from + 2);
    into[at++] = byteAt(DIGITS, three >> 18);
    into[at++] = byteAt(DIGITS, (three >> 12) & 63);
    into[at++] = from + 1 < byteLength ? byteAt(DIGITS, (three >> 6) & 63) : PADDING;
    into[at++] = from + 2 < byteLength ? byteAt(DIGITS, three & 63) : PADDING;
  }
}

const DIGITS = Uint8Array.from(
  "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
  (digit) => digit.charCodeAt(0),
);
const PADDING = 0x3d;

function byteAt(bytes: Uint8Array, at: number): number {
  return bytes[at] ?? 0;
}
