/**
 * The options of the client's command line, and its settings.
 *
 * @module
 */

import { type CommandLine, UsageError } from "./command_line.ts";
import { QUOTES_HINT } from "./commands.ts";
import { CLIENT_DEFLATE_OPTIONS, readDeflateOffer } from "./deflate_options.ts";
import { type Environment, PROCESS } from "./environment.ts";
import {
  choice,
  defined,
  flag,
  type Option,
  path,
  readWhole,
  type Refuse,
  seconds,
  size,
  Source,
  text,
  whole,
} from "./options.ts";
import { MAX_COUNT, PAYLOAD_OPTIONS, readPayload } from "./payload_options.ts";
import { HEADER, ORIGIN, readFields } from "./request_fields.ts";
import { readMaxMessage, TRANSPORTS } from "./transport_options.ts";
import type { Expectation } from "../client/diagnosis.ts";
import type { ExchangeOptions } from "../client/exchange_options.ts";
import { SPLIT_WINDOW_BYTES } from "../client/payload.ts";
import { assertSendableClose, type CloseFrame, type ExpectedClose, isSendableCloseCode } from "../protocol/close.ts";
import { withoutSecrets } from "../protocol/message.ts";
import { isToken } from "../protocol/token.ts";

import { MAX_BUILTIN_FRAME_BYTES, type OpenOptions, type TransportName } from "../connection/connection.ts";
import { NO_PROXY } from "../net/proxy.ts";
import { messageOf } from "../protocol/error.ts";

const OPTIONS = {
  ...PAYLOAD_OPTIONS,
  reply: text({ name: "reply", value: "TEXT", help: ["Expect this text instead of the echo"] }),
  replyMatch: { name: "reply-match", value: "REGEX", help: ["Expect a text message that matches"], read: readPattern },
  replyAny: flag({ name: "reply-any", help: ["Expect any message"] }),
  replyNone: flag({ name: "reply-none", help: ["Expect no message before the close is confirmed"] }),
  skip: whole({
    name: "skip",
    value: "N",
    help: ["Skip the first N messages, such as a greeting"],
    min: 0,
    max: MAX_COUNT,
  }),
  header: HEADER,
  protocol: text({ name: "protocol", short: "p", value: "NAME", help: ["Offer this subprotocol; repeatable"] }),
  origin: ORIGIN,
  ca: path({ name: "ca", value: "FILE", help: ["Also trust this certificate authority (PEM); repeatable"] }),
  cert: path({ name: "cert", value: "FILE", help: ["Present this client certificate (PEM); needs --key"] }),
  key: path({ name: "key", value: "FILE", help: ["Private key of --cert (PEM)"] }),
  proxy: {
    name: "proxy",
    value: "URL",
    help: ["Connect through this HTTP or SOCKS5 proxy, or none", "(default: from http_proxy and similar variables)"],
    read: readProxy,
  },
  unix: path({ name: "unix", value: "PATH", help: ["Connect to this Unix socket"] }),
  transport: choice({
    name: "transport",
    value: "NAME",
    help: ["builtin (default): the runtime's WebSocket;", "wire: own frames, which show and check everything"],
    choices: TRANSPORTS,
  }),
  fragment: size({ name: "fragment", value: "BYTES", help: ["Send messages in frames of this size (wire)"], min: 1 }),
  ...CLIENT_DEFLATE_OPTIONS,
  trace: flag({ name: "trace", help: ["Show the handshake and every frame on stderr (wire)"] }),
  hex: flag({ name: "hex", help: ["Dump each message as hexadecimal on stderr; with --trace, each frame"] }),
  connectTimeout: seconds({
    name: "connect-timeout",
    value: "S",
    help: ["Seconds to connect and upgrade (default 10)"],
  }),
  replyTimeout: seconds({ name: "reply-timeout", value: "S", help: ["Seconds to wait for each reply (default 10)"] }),
  closeTimeout: seconds({
    name: "close-timeout",
    value: "S",
    help: ["Seconds to wait for the close frame (default 10)"],
  }),
  maxMessage: size({
    name: "max-message",
    value: "BYTES",
    help: ["Longest reply to accept (default 64MiB less 1);", "bounds memory only over wire"],
  }),
  closeCode: whole({
    name: "close-code",
    value: "CODE",
    help: ["Close with this code, 1000 (default) or 3000-4999", "(wire: any that may be sent)"],
    min: 0,
    max: 65535,
  }),
  closeReason: text({ name: "close-reason", value: "TEXT", help: ["Close with this reason, at most 123 bytes"] }),
  expectClose: {
    name: "expect-close",
    value: "CODE",
    help: ["Expect this close code (default: the code sent), or none (wire)"],
    read: readExpectedCode,
  },
  expectReason: text({ name: "expect-reason", value: "TEXT", help: ["Expect this close reason (default: any)"] }),
  interactive: flag({
    name: "interactive",
    short: "i",
    help: ["Send each line of stdin, show received messages"],
  }),
  json: flag({ name: "json", help: ["Print the report as one JSON object"] }),
  har: path({ name: "har", value: "PATH", help: ["Write the exchange to this file as HAR 1.2"] }),
  quiet: flag({ name: "quiet", short: "q", help: ["Print nothing; the exit code is the verdict"] }),
  verbose: flag({ name: "verbose", short: "v", help: ["Show each event with its time on stderr"] }),
  help: flag({ name: "help", short: "h", help: ["Show this help"] }),
  version: flag({ name: "version", short: "V", help: ["Show the version"] }),
};

/** The options of the client. */
export const CLIENT_OPTIONS: readonly Option[] = Object.values(OPTIONS);

/** Groups of mutually exclusive options. */
const EXCLUSIVE_OPTIONS: readonly (readonly Option[])[] = [
  [OPTIONS.message, OPTIONS.file, OPTIONS.size],
  [OPTIONS.reply, OPTIONS.replyMatch, OPTIONS.replyAny, OPTIONS.replyNone],
  [OPTIONS.json, OPTIONS.quiet],
  [OPTIONS.verbose, OPTIONS.quiet],
  [OPTIONS.trace, OPTIONS.quiet],
  [OPTIONS.hex, OPTIONS.quiet],
  [OPTIONS.proxy, OPTIONS.unix],
  // A conversation has no one payload, and its lines are its output.
  ...[OPTIONS.message, OPTIONS.file, OPTIONS.size, OPTIONS.binary, OPTIONS.count, OPTIONS.split, OPTIONS.json]
    .map((option) => [OPTIONS.interactive, option]),
];

/** Settings of the client. */
export interface ClientSettings {
  /** The server to connect to; `undefined` leaves it to the client. */
  readonly url: string | undefined;
  /** The connection, the exchange and its deadlines. */
  readonly exchange: ExchangeOptions;
  /** Size of all outgoing messages, in bytes, if known. */
  readonly totalBytes: number | undefined;
  /** Whether to hold a conversation instead of one exchange. */
  readonly interactive: boolean;
  /** The form of the output. */
  readonly output: "lines" | "json" | "nothing";
  /** Whether to show each event. */
  readonly verbose: boolean;
  /** Whether to show the handshake and each frame. */
  readonly trace: boolean;
  /** The HAR file to write; `undefined` for none. */
  readonly har: string | undefined;
  /** Whether to dump payloads in hexadecimal. */
  readonly hex: boolean;
}

/**
 * Turns the command line of the client into settings, reading the files that it names.
 *
 * @param line The command line.
 * @param environment The files.
 * @returns The settings.
 * @throws {UsageError} If an option or a combination makes no sense.
 * @throws {PayloadError} If the message cannot be read or sent as asked.
 *
 * @example
 * ```ts
 * import { CLIENT_OPTIONS, readClientSettings } from "./client_settings.ts";
 * import { parseCommandLine } from "./command_line.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const line = parseCommandLine(["--reply-timeout", "2", "ws://127.0.0.1/"], CLIENT_OPTIONS);
 * const settings = await readClientSettings(line);
 * assertEquals(settings.url, "ws://127.0.0.1/");
 * assertEquals(settings.exchange.replyTimeoutMs, 2000);
 * ```
 */
export async function readClientSettings(
  line: CommandLine,
  environment: Pick<Environment, "readFile"> = PROCESS,
): Promise<ClientSettings> {
  const source = new Source(line);
  for (const group of EXCLUSIVE_OPTIONS) source.assertOneOf(group);
  const transport = readTransport(source);
  const open = await readOpenOptions(source, transport, environment);
  const expectation = readExpectation(source);
  const interactive = source.has(OPTIONS.interactive);
  const longest = expectation.type === "echo" ? open.maxMessageBytes : undefined;
  // A conversation takes its messages from the standard input.
  const { totalBytes, ...payload } = interactive
    ? { messages: [], totalBytes: undefined }
    : await readPayload(source, longest ?? MAX_BUILTIN_FRAME_BYTES);
  assertSends(source);
  const close = readClose(source, transport);
  const url = readUrl(source);
  const { username = "", password = "" } = (url && URL.parse(url)) || {};
  if (username + password !== "" && [...open.headers ?? []].some(([name]) => /^authorization$/i.test(name))) {
    throw new UsageError("Credentials are in the URL and in --header Authorization: give one of them");
  }
  const json = source.has(OPTIONS.json);
  return {
    url,
    exchange: {
      transport,
      ...open,
      ...payload,
      windowBytes: source.has(OPTIONS.split) ? SPLIT_WINDOW_BYTES : 0,
      expectation,
      close,
      expectedClose: readExpectedClose(source, close, transport),
      digest: json,
      ...defined({
        skip: source.value(OPTIONS.skip),
        replyTimeoutMs: source.value(OPTIONS.replyTimeout),
        closeTimeoutMs: source.value(OPTIONS.closeTimeout),
      }),
    },
    totalBytes,
    interactive,
    output: source.has(OPTIONS.quiet) ? "nothing" : json ? "json" : "lines",
    verbose: source.has(OPTIONS.verbose),
    trace: source.has(OPTIONS.trace),
    har: source.value(OPTIONS.har),
    hex: source.has(OPTIONS.hex),
  };
}

const MAX_PORT = 65535;

function readUrl(source: Source): string | undefined {
  const [text, extra] = source.operands;
  if (extra !== undefined) {
    const isMessage = source.has(OPTIONS.message) && source.operands.some((word) => !word.includes("://"));
    throw new UsageError(`There is more than one URL: ${isMessage ? QUOTES_HINT : "give only one"}`);
  }
  if (text === undefined) return source.has(OPTIONS.unix) ? "ws://localhost/" : undefined;
  const url = URL.parse(text);
  if (!/^(wss?|https?):\/\//i.test(text)) {
    const shown = withoutSecrets(text);
    const suggestion = `ws://${text.replace(/^(\w+:\/\/|\/\/|(wss?|https?):\/*)/i, "")}`;
    const isHarmless = shown === JSON.stringify(text) && URL.canParse(suggestion);
    const advice = isHarmless ? `: try "${suggestion}"` : ", as in ws://host:port/path";
    throw new UsageError(`URL ${shown} does not begin with ws:// or wss://${advice}`);
  }
  if (url === null || url.port === "0") {
    const [, port] = /^\w+:\/\/[^/?#]*:(\d+)(?:[/?#]|$)/.exec(text) ?? [];
    const advice = Number(port) > MAX_PORT
      ? `port ${port} is too high: give one from 1 to ${MAX_PORT}`
      : url !== null
      ? `nothing can listen on port 0: give one from 1 to ${MAX_PORT}`
      : "it should look like ws://host:port/path";
    throw new UsageError(`URL ${withoutSecrets(text)} is not valid: ${advice}`);
  }
  if (url.protocol.startsWith("http")) url.protocol = url.protocol.replace("http", "ws");
  if (url.hash !== "") url.hash = "";
  return url.href;
}

function readTransport(source: Source): TransportName {
  const transport = source.value(OPTIONS.transport) ?? "builtin";
  const wireOnly = [OPTIONS.fragment, OPTIONS.trace].find((option) => source.has(option));
  if (transport === "builtin" && wireOnly !== undefined) {
    throw source.error(wireOnly, "needs --transport wire: the built-in WebSocket hides the frames");
  }
  return transport;
}

/** Loaded on demand: most runs have no certificates. */
async function readCertificates(
  source: Source,
  environment: Pick<Environment, "readFile">,
): Promise<Pick<OpenOptions, "caCerts" | "clientCertificate">> {
  if (![OPTIONS.ca, OPTIONS.cert, OPTIONS.key].some((option) => source.has(option))) return {};
  const { readAuthorities, readPair } = await import("./certificates.ts");
  return defined({
    caCerts: await readAuthorities(source, OPTIONS.ca, environment),
    clientCertificate: await readPair(source, OPTIONS, environment),
  });
}

async function readOpenOptions(
  source: Source,
  transport: TransportName,
  environment: Pick<Environment, "readFile">,
): Promise<OpenOptions> {
  return {
    protocols: readProtocols(source),
    ...readDeflateOffer(source, transport),
    ...defined({
      headers: readFields(source),
      ...await readCertificates(source, environment),
      proxy: source.value(OPTIONS.proxy),
      unixPath: source.value(OPTIONS.unix),
      fragmentBytes: source.value(OPTIONS.fragment),
      connectTimeoutMs: source.value(OPTIONS.connectTimeout),
      maxMessageBytes: readMaxMessage(source, OPTIONS.maxMessage, transport),
    }),
  };
}

function readProtocols(source: Source): string[] {
  const protocols = source.values(OPTIONS.protocol).flatMap((names) => names.split(",")).map((name) => name.trim());
  for (const [index, name] of protocols.entries()) {
    // A subprotocol may carry a token: errors quote only a harmless one.
    const shown = withoutSecrets(name);
    if (!isToken(name)) {
      throw source.refusal(OPTIONS.protocol, "give a name without spaces or separators", shown);
    }
    if (protocols.indexOf(name) !== index) {
      throw source.error(OPTIONS.protocol, `names ${shown} twice: leave one out`);
    }
  }
  return protocols;
}

function readProxy(text: string, refuse: Refuse): string {
  if (text === NO_PROXY) return text;
  const url = URL.parse(text);
  if (url !== null && /^(https?|socks5h?):\/\//i.test(text) && url.hostname !== "") return text;
  throw refuse("give a URL such as http://host:port, or none", withoutSecrets(text));
}

function readExpectation(source: Source): Expectation {
  const [text, pattern] = [source.value(OPTIONS.reply), source.value(OPTIONS.replyMatch)];
  if (text !== undefined) return { type: "text", text };
  if (pattern !== undefined) return { type: "match", pattern };
  if (source.has(OPTIONS.replyAny)) return { type: "any" };
  return { type: source.has(OPTIONS.replyNone) ? "none" : "echo" };
}

/** Without a message there is no reply to wait for: such an option would prove nothing. */
function assertSends(source: Source): void {
  if (source.value(OPTIONS.count) !== 0) return;
  const expected = [OPTIONS.reply, OPTIONS.replyMatch, OPTIONS.replyAny].find((option) => source.has(option));
  if (expected === undefined) return;
  throw source.error(
    expected,
    "cannot be used with --count 0, which sends nothing: use --skip N to expect unasked messages",
  );
}

function readPattern(text: string, refuse: Refuse): RegExp {
  try {
    return new RegExp(text, "u");
  } catch (error) {
    throw refuse(messageOf(error));
  }
}

function readClose(source: Source, transport: TransportName): CloseFrame {
  const code = source.value(OPTIONS.closeCode) ?? 1000;
  const reason = source.value(OPTIONS.closeReason) ?? "";
  if (transport === "builtin" && code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw source.refusal(OPTIONS.closeCode, "give 1000 or 3000-4999, or use --transport wire", `"${code}"`);
  }
  try {
    assertSendableClose(code, reason);
  } catch (error) {
    throw new UsageError(`Option --close-code or --close-reason is wrong: ${messageOf(error)}`);
  }
  return { code, reason };
}

/** 1005 stands for a close frame without a code: a legal one (RFC 6455 section 5.5.1). */
const NO_CODE = 1005;

function readExpectedCode(text: string, refuse: Refuse): number {
  if (text === "none") return NO_CODE;
  const code = readWhole(text, refuse, 0, 65535);
  if (isSendableCloseCode(code)) return code;
  throw refuse("give 1000-1003, 1007-1014, 3000-4999 or none");
}

function readExpectedClose(source: Source, close: CloseFrame, transport: TransportName): ExpectedClose {
  const code = source.value(OPTIONS.expectClose) ?? close.code;
  const reason = source.value(OPTIONS.expectReason);
  if (code === NO_CODE && transport === "builtin") {
    throw new UsageError(
      'Option --expect-close cannot be "none" over the built-in WebSocket, which hides it: use --transport wire',
    );
  }
  if (code === NO_CODE && (reason ?? "") !== "") {
    throw new UsageError('Option --expect-reason needs a close code: an empty close frame ("none") has no reason');
  }
  return { code, ...defined({ reason }) };
}
