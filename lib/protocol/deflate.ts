/**
 * The negotiation of permessage-deflate (RFC 7692 section 7.1): the client's offer, the server's choice, the client's
 * verification of it. Nothing here compresses.
 *
 * @module
 */

import { type Extension, formatExtensions, parseExtensions } from "./extension.ts";
import { trimBlanks } from "./http_lines.ts";
import { quote } from "./message.ts";

/** The name of the extension. */
export const DEFLATE = "permessage-deflate";

/** The end of a message, which its sender drops and its receiver appends (RFC 7692 sections 7.2.1 and 7.2.2). */
export const DEFLATE_TAIL: Uint8Array<ArrayBuffer> = Uint8Array.of(0x00, 0x00, 0xff, 0xff);

/** The smallest window of zlib's compressor, in bits: 9. zlib raises 8 to 9, which a peer with 8 cannot inflate. */
export const MIN_OWN_WINDOW_BITS = 9;

/** The smallest window of RFC 7692 section 7.1.2, in bits: 8, which are 256 bytes. */
export const MIN_WINDOW_BITS = 8;

/** The largest window, and the default, in bits: 15, which are 32 KiB. */
export const MAX_WINDOW_BITS = 15;

/** The four parameters (RFC 7692 section 7.1), as a client offers them or a server answers. */
export interface DeflateParameters {
  /** Whether the server compresses each message by itself; `false` by default. */
  readonly serverNoContextTakeover?: boolean;
  /** Whether the client compresses each message by itself; `false` by default. */
  readonly clientNoContextTakeover?: boolean;
  /** The largest window of the server's compressor, in bits, 8 to 15. */
  readonly serverMaxWindowBits?: number;
  /** The largest window of the client's compressor, in bits, 8 to 15; `true` in an offer that leaves it to the server. */
  readonly clientMaxWindowBits?: number | true;
}

/** The compression of one end. */
export interface DeflateDirection {
  /** Whether a message may refer back to the messages before it. */
  readonly takeover: boolean;
  /** The largest window of its compressor, in bits, 8 to 15. */
  readonly windowBits: number;
}

/** The negotiated parameters. */
export interface DeflateAgreement {
  /** The client's compression. */
  readonly client: DeflateDirection;
  /** The server's compression. */
  readonly server: DeflateDirection;
  /** The server's own words: the value of Sec-WebSocket-Extensions. */
  readonly text: string;
}

/** The server's preferences. */
export interface DeflateWish {
  /** Whether messages may refer back to earlier ones, in both directions. */
  readonly takeover: boolean;
  /** The largest window in bits, 9 to 15; asked of the client only if its offer allows that. */
  readonly windowBits: number;
}

/** The server's choice. */
export interface DeflateChoice {
  /** The agreement; `undefined` if there was no acceptable offer of the extension. */
  readonly agreement: DeflateAgreement | undefined;
  /** Reasons for declined offers of the extension, in order. */
  readonly declined: readonly string[];
}

/** The client's judgement of the answer to its offer. */
export interface DeflateVerification {
  /** The agreement; `undefined` if the server declined, or its answer is wrong. */
  readonly agreement: DeflateAgreement | undefined;
  /** The error in the answer, if any. */
  readonly problem: string | undefined;
}

/**
 * Writes parameters as a value of Sec-WebSocket-Extensions.
 *
 * @param parameters The parameters.
 * @returns The value of the field.
 *
 * @example
 * ```ts
 * import { formatDeflate } from "./deflate.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(formatDeflate({ clientMaxWindowBits: true }), "permessage-deflate; client_max_window_bits");
 * ```
 */
export function formatDeflate(parameters: DeflateParameters): string {
  const { serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits } = parameters;
  const written: [string, string | undefined][] = [];
  if (serverNoContextTakeover) written.push(["server_no_context_takeover", undefined]);
  if (clientNoContextTakeover) written.push(["client_no_context_takeover", undefined]);
  if (serverMaxWindowBits !== undefined) written.push(["server_max_window_bits", `${serverMaxWindowBits}`]);
  if (clientMaxWindowBits !== undefined) {
    written.push(["client_max_window_bits", clientMaxWindowBits === true ? undefined : `${clientMaxWindowBits}`]);
  }
  return formatExtensions([{ name: DEFLATE, parameters: written }]);
}

/**
 * Reads the parameters of permessage-deflate by every rule of RFC 7692 section 7.1.
 *
 * @param extension The extension.
 * @param from The side that wrote it: a client may leave out the value of `client_max_window_bits`, a server may not.
 * @returns The parameters, or the error in words.
 *
 * @example
 * ```ts
 * import { readDeflate } from "./deflate.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const extension = { name: "permessage-deflate", parameters: [["server_max_window_bits", "16"]] } as const;
 * assertEquals(readDeflate(extension, "client"), 'the parameter server_max_window_bits has "16", which is not 8 to 15');
 * ```
 */
export function readDeflate({ parameters }: Extension, from: "client" | "server"): DeflateParameters | string {
  const seen = new Map<string, string | undefined>();
  for (const [name, value] of parameters) {
    if (!PARAMETERS.has(name)) return `the parameter ${quote(name, MAX_SHOWN_CHARS)} is not known`;
    if (seen.has(name)) return `the parameter ${name} appears twice`;
    const isBits = name.endsWith("_bits");
    if (!isBits && value !== undefined) return `the parameter ${name} has a value`;
    if (isBits && value === undefined && (from === "server" || name.startsWith("server"))) {
      return `the parameter ${name} has no value`;
    }
    if (value !== undefined && !WINDOW_BITS.test(value)) {
      const shown = quote(value, MAX_SHOWN_CHARS);
      return `the parameter ${name} has ${shown}, which is not ${MIN_WINDOW_BITS} to ${MAX_WINDOW_BITS}`;
    }
    seen.set(name, value);
  }
  const [serverBits, clientBits] = [seen.get("server_max_window_bits"), seen.get("client_max_window_bits")];
  return {
    serverNoContextTakeover: seen.has("server_no_context_takeover"),
    clientNoContextTakeover: seen.has("client_no_context_takeover"),
    ...(serverBits !== undefined && { serverMaxWindowBits: Number(serverBits) }),
    ...(seen.has("client_max_window_bits") && {
      clientMaxWindowBits: clientBits === undefined ? true as const : Number(clientBits),
    }),
  };
}

const PARAMETERS = new Set([
  "server_no_context_takeover",
  "client_no_context_takeover",
  "server_max_window_bits",
  "client_max_window_bits",
]);

/** Decimal, without leading zeros (RFC 7692 section 7.1.2). */
const WINDOW_BITS = /^(?:[89]|1[0-5])$/;

/** The longest quotation of the peer, in characters. */
const MAX_SHOWN_CHARS = 40;

/**
 * Accepts the first offer of a client that it can (RFC 7692 section 5.1). The answer has only parameters that the offer
 * asked for, except that a server without takeover says so.
 *
 * @param offers The extensions that the client offers, also others than permessage-deflate.
 * @param wish The server's preferences.
 * @returns The agreement, and the reasons for declined offers.
 *
 * @example
 * ```ts
 * import { chooseDeflate } from "./deflate.ts";
 * import { parseExtensions } from "./extension.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const offers = parseExtensions("permessage-deflate; client_max_window_bits, permessage-deflate") ?? [];
 * const { agreement } = chooseDeflate(offers, { takeover: true, windowBits: 12 });
 * assertEquals(agreement?.text, "permessage-deflate; client_max_window_bits=12");
 * ```
 */
export function chooseDeflate(offers: readonly Extension[], wish: DeflateWish): DeflateChoice {
  const declined: string[] = [];
  for (const offer of offers) {
    if (offer.name !== DEFLATE) continue;
    const asked = readDeflate(offer, "client");
    if (typeof asked === "string") declined.push(asked);
    else if ((asked.serverMaxWindowBits ?? MAX_WINDOW_BITS) < MIN_OWN_WINDOW_BITS) declined.push(tooSmall("server"));
    else return { agreement: agreementOf(answerTo(asked, wish), wish.windowBits), declined };
  }
  return { agreement: undefined, declined };
}

function answerTo(asked: DeflateParameters, { takeover, windowBits }: DeflateWish): AnswerParameters {
  const { serverMaxWindowBits, clientMaxWindowBits } = asked;
  const clientBits = Math.min(clientMaxWindowBits === true ? MAX_WINDOW_BITS : clientMaxWindowBits ?? 0, windowBits);
  return {
    serverNoContextTakeover: asked.serverNoContextTakeover === true || !takeover,
    clientNoContextTakeover: asked.clientNoContextTakeover === true || !takeover,
    ...(serverMaxWindowBits !== undefined && { serverMaxWindowBits: Math.min(serverMaxWindowBits, windowBits) }),
    // Without the parameter, the client uses 15 bits.
    ...(clientBits > 0 && clientBits < MAX_WINDOW_BITS && { clientMaxWindowBits: clientBits }),
  };
}

/** An answer always has a value for the client's window. */
interface AnswerParameters extends DeflateParameters {
  readonly clientMaxWindowBits?: number;
}

/** A compressor may use a smaller window than the agreed one without telling its peer. */
function agreementOf(answer: AnswerParameters, ownBits: number, text = formatDeflate(answer)): DeflateAgreement {
  const { serverMaxWindowBits = ownBits, clientMaxWindowBits = MAX_WINDOW_BITS } = answer;
  return {
    client: { takeover: !answer.clientNoContextTakeover, windowBits: clientMaxWindowBits },
    server: { takeover: !answer.serverNoContextTakeover, windowBits: serverMaxWindowBits },
    text,
  };
}

function tooSmall(own: "client" | "server"): string {
  const bits = MIN_OWN_WINDOW_BITS - 1;
  return `the parameter ${own}_max_window_bits has ${bits}, and zlib needs at least ${MIN_OWN_WINDOW_BITS}`;
}

/**
 * Verifies the answer of a server to an offer of permessage-deflate (RFC 7692 sections 5.1 and 7.1).
 *
 * @param value The value of Sec-WebSocket-Extensions in the answer; empty without the field.
 * @param offered The offer; `undefined` if there was none.
 * @returns The agreement, or the error.
 *
 * @example
 * ```ts
 * import { verifyDeflate } from "./deflate.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const { problem } = verifyDeflate("permessage-deflate; client_max_window_bits=10", {});
 * assertEquals(problem, "permessage-deflate: the parameter client_max_window_bits was not requested");
 * assertEquals(verifyDeflate("", {}), { agreement: undefined, problem: undefined });
 * ```
 */
export function verifyDeflate(value: string, offered: DeflateParameters | undefined): DeflateVerification {
  if (offered === undefined) {
    const first = value.split(",").map((each) => trimBlanks(each)).find((element) => element !== "");
    return first === undefined ? NONE : wrong(`the extension ${quoteShort(first)} was not requested`);
  }
  const extensions = parseExtensions(value);
  if (extensions === undefined) return wrong(`the field Sec-WebSocket-Extensions is malformed: ${quoteShort(value)}`);
  const other = extensions.find(({ name }) => name !== DEFLATE);
  if (other !== undefined) return wrong(`the extension ${quoteShort(formatExtensions([other]))} was not requested`);
  const [extension, second] = extensions;
  if (extension === undefined) return NONE;
  if (second !== undefined) return wrong(`the extension ${DEFLATE} appears twice`);
  const answer = readDeflate(extension, "server");
  const problem = typeof answer === "string" ? answer : answerProblem(answer, offered);
  if (typeof answer === "string" || problem !== undefined) return wrong(`${DEFLATE}: ${problem}`);
  const { clientMaxWindowBits: bits = offered.clientMaxWindowBits, ...others } = answer;
  // A client keeps what it offered for its own side, whatever the server answers (section 7.1.1.2, 7.1.2.2).
  const kept = {
    ...others,
    clientNoContextTakeover: answer.clientNoContextTakeover || offered.clientNoContextTakeover === true,
    ...(typeof bits === "number" && { clientMaxWindowBits: bits }),
  };
  return { agreement: agreementOf(kept, MAX_WINDOW_BITS, formatExtensions([extension])), problem: undefined };
}

function answerProblem(answer: DeflateParameters, offered: DeflateParameters): string | undefined {
  const { serverMaxWindowBits: serverBits, clientMaxWindowBits: clientBits } = answer;
  const { serverMaxWindowBits: askedBits, clientMaxWindowBits: offeredBits } = offered;
  if (offered.serverNoContextTakeover && !answer.serverNoContextTakeover) return missing("server_no_context_takeover");
  if (askedBits !== undefined && serverBits === undefined) return missing("server_max_window_bits");
  if (askedBits !== undefined && serverBits !== undefined && serverBits > askedBits) {
    return `the parameter server_max_window_bits has ${serverBits}, more than the requested ${askedBits}`;
  }
  if (clientBits === undefined) return undefined;
  if (offeredBits === undefined) return "the parameter client_max_window_bits was not requested";
  if (typeof offeredBits === "number" && Number(clientBits) > offeredBits) {
    return `the parameter client_max_window_bits has ${clientBits}, more than the offered ${offeredBits}`;
  }
  return Number(clientBits) < MIN_OWN_WINDOW_BITS ? tooSmall("client") : undefined;
}

const NONE: DeflateVerification = { agreement: undefined, problem: undefined };

function missing(name: string): string {
  return `the parameter ${name} was requested and is missing`;
}

function wrong(problem: string): DeflateVerification {
  return { agreement: undefined, problem };
}

function quoteShort(text: string): string {
  return quote(text, 80);
}
