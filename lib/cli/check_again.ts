/**
 * The command line that repeats a case: with the user's connection options, without the secrets.
 *
 * @module
 */

import { CHECK_OPTIONS, CONNECTION_OPTIONS } from "./check_settings.ts";
import type { CommandLine } from "./command_line.ts";
import { harmlessValue, withoutPassword, withoutToken } from "../protocol/message.ts";

/** Options that affect the course of a case; the others choose cases and reports. */
const REPEATED = [...CONNECTION_OPTIONS, "case-timeout", "no-echo"];

/**
 * Formats the command that repeats a case; the case id follows.
 *
 * @param line The user's command line.
 * @param url The server.
 * @returns Words quoted for a shell, with three asterisks in place of each secret.
 *
 * @example
 * ```ts
 * import { againCommand } from "./check_again.ts";
 * import { CHECK_OPTIONS } from "./check_settings.ts";
 * import { parseCommandLine } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const line = parseCommandLine(["-H", "Authorization: Bearer x", "--strict", "ws://127.0.0.1/"], CHECK_OPTIONS);
 * assertEquals(againCommand(line, "ws://127.0.0.1/"), "wsproof check --trace -H 'Authorization: ***' ws://127.0.0.1/");
 * ```
 */
export function againCommand(line: CommandLine, url: string): string {
  const options = CHECK_OPTIONS.filter(({ name }) => REPEATED.includes(name)).flatMap(({ name, short, value }) => {
    const word = short === undefined ? `--${name}` : `-${short}`;
    if (value === undefined) return line.has(name) ? [word] : [];
    return line.values(name).flatMap((text) => [word, quoted(harmless(name, text))]);
  });
  return ["wsproof check --trace", ...options, quoted(withoutPassword(url))].join(" ");
}

function harmless(option: string, text: string): string {
  if (option === "header") {
    const [, name = "", value = ""] = /^([^:]*):[ \t]*(.*)$/s.exec(text) ?? [];
    return `${name}: ${harmlessValue([name, value])}`;
  }
  if (option === "protocol") return text.split(",").map((name) => withoutToken(name.trim())).join(",");
  return ["proxy", "origin"].includes(option) ? withoutPassword(text) : text;
}

/** Quotes for a POSIX shell. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
