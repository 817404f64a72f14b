/**
 * Fields of the client's command line for the opening handshake.
 *
 * @module
 */

import { UsageError } from "./command_line.ts";
import type { Option, Source } from "./options.ts";
import { isHost } from "../protocol/authority.ts";
import { trimBlanks } from "../protocol/http_lines.ts";
import { withoutSecrets } from "../protocol/message.ts";
import { isToken } from "../protocol/token.ts";

/** Characters of a field value: Latin-1, on one line. */
const FIELD_VALUE = /^[\t -~\x80-\xff]*$/;

/** Fields that the opening handshake sets itself. */
const HANDSHAKE_FIELD = /^(sec-websocket-.*|upgrade|connection|content-length|transfer-encoding)$/i;

/** Fields with one value instead of a list (RFC 9110): each at most once in a request. */
const SINGLE_FIELD =
  /^(authorization|content-(location|type)|date|dnt|from|host|if-(modified-since|range|unmodified-since)|max-forwards|origin|range|referer|sec-fetch-.*|upgrade-insecure-requests|user-agent)$/i;

/** A field of the request. Errors never quote its value, which may be a secret. */
export type Field = readonly [name: string, value: string];

/** `--header`: one field of the request. */
export const HEADER: Option<Field> = {
  name: "header",
  short: "H",
  value: "FIELD",
  help: ['Add this "Name: value" to the request; repeatable'],
  read: readField,
};

/** `--origin`: the field that a browser sends. */
export const ORIGIN: Option<string> = {
  name: "origin",
  value: "URL",
  help: ["Send this Origin, as a browser does"],
  read: (text, refuse) => {
    if ((URL.parse(text) !== null || text === "null") && /^[!-~]+$/.test(text)) return text;
    throw refuse("give an origin such as https://example.com", withoutSecrets(text));
  },
};

/**
 * Reads the fields that the options add to the request.
 *
 * @param source The source of the options.
 * @returns The fields in order, all cookies in one of them; empty if there are none.
 * @throws {UsageError} If a field is malformed, belongs to the handshake, or repeats a single value.
 *
 * @example
 * ```ts
 * import { HEADER, ORIGIN, readFields } from "./request_fields.ts";
 * import { parseCommandLine } from "./command_line.ts";
 * import { Source } from "./options.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const line = parseCommandLine(["-H", "Cookie: a=1", "-H", "Cookie: b=2"], [HEADER, ORIGIN]);
 * assertEquals(readFields(new Source(line)), [["Cookie", "a=1; b=2"]]);
 * ```
 */
export function readFields(source: Source): readonly Field[] {
  const fields: Field[] = [];
  for (const field of source.values(HEADER)) addField(fields, field);
  const origin = source.value(ORIGIN);
  if (origin === undefined) return fields;
  if (fields.some(([name]) => name.toLowerCase() === "origin")) {
    throw new UsageError("Options --header and --origin both set Origin: give one of them");
  }
  return [...fields, ["Origin", origin]];
}

function readField(text: string): Field {
  const [, name = "", rest = ""] = /^([^:]*):(.*)$/s.exec(text) ?? [];
  // Only blanks and tabs surround a value (RFC 9110 section 5.5).
  const value = trimBlanks(rest);
  const lowerCase = name.toLowerCase();
  if (!text.includes(":")) throw new UsageError('Option --header has no colon: give "Name: value"');
  if (!isToken(name)) {
    throw new UsageError('Option --header has a name that is not a token: give "Name: value"');
  }
  if (HANDSHAKE_FIELD.test(name)) {
    throw new UsageError(
      `Option --header cannot set ${name}: the handshake does that; for subprotocols use --protocol`,
    );
  }
  if (lowerCase === "proxy-authorization") {
    throw new UsageError(`Option --header cannot set ${name}: use --proxy http://user:password@host:port`);
  }
  if (!FIELD_VALUE.test(value)) {
    throw new UsageError(`Option --header cannot set ${name}: its value has characters that a field cannot have`);
  }
  if (lowerCase === "host" && !isHost(value)) {
    throw new UsageError("Option --header cannot set Host: give a host, or host:port");
  }
  return [name, value];
}

function addField(fields: Field[], [name, value]: Field): void {
  const lowerCase = name.toLowerCase();
  const at = fields.findIndex(([former]) => former.toLowerCase() === lowerCase);
  const former = fields[at];
  if (former === undefined) fields.push([name, value]);
  // All cookies go in one field (RFC 6265 section 5.4).
  else if (lowerCase === "cookie") fields[at] = [former[0], `${former[1]}; ${value}`];
  else if (SINGLE_FIELD.test(name)) {
    throw new UsageError(`Option --header sets ${name} twice: it takes one value, so give one`);
  } else fields.push([name, value]);
}
