/**
 * The options of permessage-deflate, for server and client.
 *
 * @module
 */

import { defined, flag, type Option, readSize, readWhole, type Refuse, type Source, text, whole } from "./options.ts";
import type { OpenOptions, TransportName } from "../connection/connection.ts";
import { DEFLATE, type DeflateParameters, MIN_OWN_WINDOW_BITS, readDeflate } from "../protocol/deflate.ts";
import { parseExtensions } from "../protocol/extension.ts";
import type { DeflatePolicy } from "../server/policy.ts";

/** The options of the server. */
export const SERVER_DEFLATE_OPTIONS = {
  deflate: {
    name: "deflate",
    value: "SETTINGS",
    help: [
      "Settings of permessage-deflate (wire); default:",
      "bits=12, memory=5, level=3, takeover=yes, threshold=1KiB",
    ],
    read: readPolicy,
  },
  noDeflate: flag({ name: "no-deflate", help: ["Never compress (wire)"] }),
  maxInflateRatio: whole({
    name: "max-inflate-ratio",
    value: "N",
    help: [
      "Largest ratio of a message over 1 MiB to its",
      "compressed size (wire, default 256); more closes",
      "the connection with 1008",
    ],
    min: 1,
    max: 2000,
  }),
};

/** The options of the client. */
export const CLIENT_DEFLATE_OPTIONS = {
  deflate: flag({ name: "deflate", help: ["Offer permessage-deflate (wire)"] }),
  deflateParams: text({
    name: "deflate-params",
    value: "TEXT",
    help: ["Offer compression with these parameters, such as", '"server_no_context_takeover; ..."'],
  }),
  requireDeflate: flag({ name: "require-deflate", help: ["Offer compression; fail if the server declines"] }),
};

/**
 * Reads the server's compression.
 *
 * @param source The source of the options.
 * @param options The server's options.
 * @param transport The transport.
 * @returns The policy; `undefined` for the default.
 * @throws {UsageError} If a value is wrong, or an option needs our own frames.
 */
export function readDeflatePolicy(
  source: Source,
  options: typeof SERVER_DEFLATE_OPTIONS,
  transport: TransportName,
): DeflatePolicy | false | undefined {
  const { deflate, noDeflate, maxInflateRatio } = options;
  source.assertOneOf([deflate, noDeflate]);
  source.assertOneOf([maxInflateRatio, noDeflate]);
  const wireOnly = [deflate, maxInflateRatio].find((option) => source.has(option));
  if (transport === "builtin" && wireOnly !== undefined) throw source.error(wireOnly, NEEDS_WIRE);
  if (source.has(noDeflate)) return false;
  if (wireOnly === undefined) return undefined;
  return { ...source.value(deflate), ...defined({ maxInflateRatio: source.value(maxInflateRatio) }) };
}

const NEEDS_WIRE = "needs --transport wire: the built-in WebSocket cannot compress";

function readPolicy(text: string, refuse: Refuse): DeflatePolicy {
  const settings: { -readonly [Name in keyof DeflatePolicy]: DeflatePolicy[Name] } = {};
  for (const setting of text.split(",")) {
    const [name = "", value = "", ...rest] = setting.split("=").map((word) => word.trim());
    const refused: Refuse = (advice) => refuse(`${name}: ${advice}`);
    if (rest.length > 0) throw refuse(ADVICE);
    if (name === "bits") settings.windowBits = readWhole(value, refused, MIN_OWN_WINDOW_BITS, 15);
    else if (name === "memory") settings.memoryLevel = readWhole(value, refused, 1, 9);
    else if (name === "level") settings.level = readWhole(value, refused, 1, 9);
    else if (name === "threshold") settings.thresholdBytes = readSize(value, refused, 0);
    else if (name === "takeover" && (value === "yes" || value === "no")) settings.takeover = value === "yes";
    else throw refuse(ADVICE);
  }
  return settings;
}

const ADVICE = "give any of bits=9-15, memory=1-9, level=1-9, takeover=yes or no, threshold=BYTES, separated by commas";

/**
 * Reads the client's offer.
 *
 * @param source The source of the options.
 * @param transport The transport.
 * @returns The options of the connection.
 * @throws {UsageError} If a parameter is wrong, or the transport cannot compress.
 */
export function readDeflateOffer(
  source: Source,
  transport: TransportName,
): Pick<OpenOptions, "deflate" | "requireDeflate"> {
  const { deflate, deflateParams, requireDeflate } = CLIENT_DEFLATE_OPTIONS;
  const given = [deflate, deflateParams, requireDeflate].find((option: Option) => source.has(option));
  if (given === undefined) return {};
  if (transport === "builtin") throw source.error(given, NEEDS_WIRE);
  return { deflate: readParameters(source), ...(source.has(requireDeflate) && { requireDeflate: true }) };
}

function readParameters(source: Source): DeflateParameters {
  const option = CLIENT_DEFLATE_OPTIONS.deflateParams;
  const text = source.value(option);
  if (text === undefined) return {};
  const [extension, second] = parseExtensions(`${DEFLATE}; ${text}`) ?? [];
  if (extension === undefined || second !== undefined) {
    throw source.refusal(option, "give parameters separated by semicolons");
  }
  const parameters = readDeflate(extension, "client");
  if (typeof parameters === "string") throw source.refusal(option, parameters);
  if (
    Number(parameters.clientMaxWindowBits ?? MIN_OWN_WINDOW_BITS) < MIN_OWN_WINDOW_BITS &&
    parameters.clientMaxWindowBits !== true
  ) {
    throw source.refusal(option, `zlib needs client_max_window_bits=${MIN_OWN_WINDOW_BITS} or more`);
  }
  return parameters;
}
