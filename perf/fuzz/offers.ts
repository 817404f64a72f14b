/** An independent oracle for the field Sec-WebSocket-Extensions: valid offers, and valid answers. */

type Parameters = ReadonlyMap<string, string>;

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const PARAMETER = new RegExp(`^${TOKEN}(\\s*=\\s*(${TOKEN}|"${TOKEN}"))?$`);
const NAMES = [
  "server_no_context_takeover",
  "client_no_context_takeover",
  "server_max_window_bits",
  "client_max_window_bits",
];

/** Field values of a client, right and wrong. */
export const OFFERS: readonly string[] = [
  "permessage-deflate",
  "permessage-deflate; client_max_window_bits",
  'permessage-deflate; client_max_window_bits="10"',
  "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
  "permessage-deflate; server_max_window_bits=8",
  "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
  "permessage-deflate; server_max_window_bits=16",
  "permessage-deflate; server_max_window_bits=010",
  "permessage-deflate; server_max_window_bits",
  "permessage-deflate; server_no_context_takeover=1",
  "permessage-deflate; client_max_window_bits; client_max_window_bits",
  "permessage-deflate; x-unknown",
  "permessage-deflate; x-unknown, permessage-deflate; server_max_window_bits=15",
  "x, permessage-deflate, y; z=1",
  "Permessage-Deflate",
  "permessage-deflate;",
  "permessage-deflate; =1",
  'permessage-deflate; client_max_window_bits="1',
  "permessage deflate",
  ";",
  'a="',
  "x, y; z=1",
  ",",
  "",
];

/** Parses a list; `undefined` if it breaks the grammar. */
function read(value: string): [name: string, parameters: readonly (readonly [string, string])[]][] | undefined {
  const extensions: [string, [string, string][]][] = [];
  for (const element of value.split(",").map((each) => each.trim())) {
    if (element === "") continue;
    const [name = "", ...rest] = element.split(";").map((each) => each.trim());
    if (!new RegExp(`^${TOKEN}$`).test(name) || !rest.every((each) => PARAMETER.test(each))) return undefined;
    extensions.push([
      name,
      rest.map((each) => {
        const [key = "", bits = ""] = each.split("=").map((one) => one.trim().replaceAll('"', ""));
        return [key, bits];
      }),
    ]);
  }
  return extensions;
}

/** Whether permessage-deflate parameters are valid. */
function isSound(parameters: readonly (readonly [string, string])[], isAnswer: boolean): boolean {
  return new Set(parameters.map(([name]) => name)).size === parameters.length &&
    parameters.every(([name, value]) => {
      if (!NAMES.includes(name)) return false;
      if (!name.endsWith("_bits")) return value === "";
      return /^([89]|1[0-5])$/.test(value) || (value === "" && name === "client_max_window_bits" && !isAnswer);
    });
}

/** Whether an answer satisfies an offer (RFC 7692 section 7.1). */
function keeps(offer: Parameters, answer: Parameters): boolean {
  const asked = offer.get("server_max_window_bits");
  const given = answer.get("server_max_window_bits");
  if (asked !== undefined && (given === undefined || Number(given) > Number(asked))) return false;
  if (offer.has("server_no_context_takeover") && !answer.has("server_no_context_takeover")) return false;
  const own = answer.get("client_max_window_bits");
  if (own === undefined) return true;
  const most = offer.get("client_max_window_bits");
  return most !== undefined && (most === "" || Number(own) <= Number(most));
}

/**
 * Finds the fault of an answer that upgrades.
 *
 * @param offered The request field, several lines joined by a comma.
 * @param answered The answer field; empty if absent.
 * @param compresses Whether the server compresses where possible; `undefined` if either is right.
 */
export function problemOf(offered: string, answered: string, compresses: boolean | undefined): string | undefined {
  const extensions = read(offered);
  if (extensions === undefined) return "the offer is malformed";
  const sound = extensions.filter(([name, parameters]) => name === "permessage-deflate" && isSound(parameters, false))
    .map(([, parameters]) => new Map(parameters));
  // No zlib compresses with a window of 8 bits.
  const isPossible = sound.some((offer) => offer.get("server_max_window_bits") !== "8");
  if (answered === "") return compresses && isPossible ? "no extension, where one was possible" : undefined;
  const [answer, ...others] = read(answered) ?? [];
  if (answer === undefined || others.length > 0) return "not one extension";
  const [name, parameters] = answer;
  const isFitting = name === "permessage-deflate" && isSound(parameters, true) &&
    sound.some((offer) => keeps(offer, new Map(parameters)));
  return isFitting && compresses !== false ? undefined : `the extension ${answered}`;
}
