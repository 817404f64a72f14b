/**
 * The field Sec-WebSocket-Extensions (RFC 6455 section 9.1), read and written.
 *
 * @module
 */

import { trimBlanks } from "./http_lines.ts";
import { isToken } from "./token.ts";

/** One extension of an offer or an answer. */
export interface Extension {
  /** Its name, a token. */
  readonly name: string;
  /** The parameters in order, with repeated ones; a parameter without a value has `undefined`. */
  readonly parameters: readonly (readonly [name: string, value: string | undefined])[];
}

/**
 * Reads the field. A value in quotes is the token inside; empty elements of the list mean nothing (RFC 9110 section 5.6.1).
 *
 * @param value The value of the field; several lines joined with a comma.
 * @returns The extensions in order, with repeated ones; `undefined` if the value breaks the grammar: fail the
 * connection then.
 *
 * @example
 * ```ts
 * import { parseExtensions } from "./extension.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(parseExtensions('permessage-deflate; client_max_window_bits="10", x-other'), [
 *   { name: "permessage-deflate", parameters: [["client_max_window_bits", "10"]] },
 *   { name: "x-other", parameters: [] },
 * ]);
 * assertEquals(parseExtensions("permessage-deflate;"), undefined);
 * ```
 */
export function parseExtensions(value: string): Extension[] | undefined {
  const extensions: Extension[] = [];
  // A quoted value has no comma or semicolon: it is a token.
  for (const element of value.split(",")) {
    const [name = "", ...rest] = element.split(";").map((each) => trimBlanks(each));
    if (name === "" && rest.length === 0) continue;
    const parameters = rest.map(parseParameter).filter((parameter) => parameter !== undefined);
    if (!isToken(name) || parameters.length < rest.length) return undefined;
    extensions.push({ name, parameters });
  }
  return extensions;
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]";

/** Blanks may surround the equals sign (RFC 2616 section 2.1, implied *LWS). */
const PARAMETER = new RegExp(`^(${TOKEN}+)(?:[ \\t]*=[ \\t]*(?:(${TOKEN}+)|"((?:\\\\?${TOKEN})+)"))?$`);

function parseParameter(text: string): [name: string, value: string | undefined] | undefined {
  const [, name, plain, quoted] = PARAMETER.exec(text) ?? [];
  return name === undefined ? undefined : [name, plain ?? quoted?.replace(/\\/g, "")];
}

/**
 * Writes the field.
 *
 * @param extensions The extensions; names and values are tokens.
 * @returns The value of the field; empty for no extension.
 *
 * @example
 * ```ts
 * import { formatExtensions } from "./extension.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const extension = { name: "permessage-deflate", parameters: [["server_max_window_bits", "10"]] } as const;
 * assertEquals(formatExtensions([extension]), "permessage-deflate; server_max_window_bits=10");
 * ```
 */
export function formatExtensions(extensions: readonly Extension[]): string {
  return extensions.map(({ name, parameters }) =>
    [name, ...parameters.map(([parameter, value]) => value === undefined ? parameter : `${parameter}=${value}`)]
      .join("; ")
  ).join(", ");
}
