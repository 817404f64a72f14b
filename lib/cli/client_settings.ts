/**
 * The options of the client's command line, and what they mean for an exchange.
 *
 * @module
 */

import {
  type CommandLine,
  describeOptions,
  type OptionSpec,
  parseSeconds,
  parseSize,
  parseWhole,
  UsageError,
} from "./command_line.ts";
import type { Expectation } from "../client/diagnosis.ts";
import type { ExchangeOptions } from "../client/exchange.ts";
import {
  collect,
  cut,
  LONGEST_CHARACTER_BYTES,
  randomBytes,
  readFile,
  SPLIT_WINDOW_BYTES,
  unreadable,
} from "../client/payload.ts";
import { assertSendableClose, type CloseFrame, type ExpectedClose, isSendableCloseCode } from "../protocol/close.ts";
import { isHost } from "../protocol/handshake.ts";
import { byteLengthOf, type Message, type MessageKind, withoutSecrets } from "../protocol/message.ts";
import { isToken } from "../protocol/token.ts";
import { MAX_BUILTIN_FRAME_BYTES } from "../connection/builtin.ts";
import { MAX_WIRE_MESSAGE_BYTES, type OpenOptions, type TransportName } from "../connection/connection.ts";
import { NO_PROXY } from "../net/proxy.ts";
import { messageOf } from "../protocol/error.ts";

/** The options of the client. */
export const CLIENT_OPTIONS: readonly OptionSpec[] = [
  {
    name: "message",
    short: "m",
    value: "TEXT",
    help: ['Send this text (default "Hello world")'],
    otherBytes: "send such bytes with --binary --file",
  },
  { name: "file", short: "f", value: "PATH", help: ["Send a file as one message, - for stdin"] },
  { name: "size", value: "BYTES", help: ["Send random bytes; KiB, MiB, GiB as suffix"] },
  { name: "binary", short: "b", help: ["Send as binary instead of text"] },
  {
    name: "count",
    short: "n",
    value: "N",
    help: ["Send it N times, each after the last reply;", "0 only connects and closes"],
  },
  { name: "split", value: "BYTES", help: ["Send it as several messages of this size"] },
  { name: "reply", value: "TEXT", help: ["Expect this text instead of the echo"] },
  { name: "reply-match", value: "REGEX", help: ["Expect text that matches"] },
  { name: "reply-any", help: ["Expect a message, whatever it says"] },
  { name: "reply-none", help: ["Expect no message until the close is confirmed"] },
  { name: "skip", value: "N", help: ["Skip N messages that come first (a greeting)"] },
  { name: "header", short: "H", value: "FIELD", help: ['Add "Name: value" to the request; repeatable'] },
  { name: "protocol", short: "p", value: "NAME", help: ["Offer a subprotocol; repeatable"] },
  { name: "origin", value: "URL", help: ["Send this Origin, as a browser would"] },
  { name: "ca", value: "FILE", help: ["Trust this certificate authority too (PEM)"] },
  { name: "cert", value: "FILE", help: ["Present this certificate (PEM), with --key"] },
  { name: "key", value: "FILE", help: ["The private key of --cert (PEM)"] },
  {
    name: "proxy",
    value: "URL",
    help: ["Go through this HTTP or SOCKS5 proxy, or none", "(default: as http_proxy and its kin say)"],
  },
  { name: "unix", value: "PATH", help: ["Connect to a unix socket"] },
  {
    name: "transport",
    value: "NAME",
    help: ["builtin (default) or wire: our own frames,", "which see and check all that is on the wire"],
  },
  { name: "fragment", value: "BYTES", help: ["Cut messages into frames of this size (wire)"] },
  { name: "trace", help: ["Show every frame, on stderr (wire)"] },
  { name: "connect-timeout", value: "S", help: ["Seconds until connected (default 10)"] },
  { name: "reply-timeout", value: "S", help: ["Seconds for each reply (default 10)"] },
  { name: "close-timeout", value: "S", help: ["Seconds for the close (default 10)"] },
  {
    name: "max-message",
    value: "BYTES",
    help: ["Longest reply to accept (default 64MiB less 1);", "bounds memory over wire only"],
  },
  { name: "close-code", value: "CODE", help: ["Close with 1000 (default) or 3000-4999"] },
  { name: "close-reason", value: "TEXT", help: ["Close with this reason"] },
  {
    name: "expect-close",
    value: "CODE",
    help: ["Expect this code from the peer, or none (wire)", "(default: the one that was sent)"],
  },
  { name: "expect-reason", value: "TEXT", help: ["Expect this close reason (default: any)"] },
  { name: "interactive", short: "i", help: ["Send each line of stdin, show what comes back"] },
  { name: "json", help: ["Print the report as one JSON object"] },
  { name: "quiet", short: "q", help: ["Print nothing: the exit code says it"] },
  { name: "verbose", short: "v", help: ["Show each event with its time, on stderr"] },
  { name: "help", short: "h", help: ["Show this help"] },
  { name: "version", short: "V", help: ["Show the version"] },
];

/**
 * Writes the help text of the client.
 *
 * @returns Lines of at most 80 columns.
 *
 * @example
 * ```ts
 * import { clientHelp } from "./client_settings.ts";
 * import { assert } from "@std/assert";
 *
 * assert(clientHelp().split("\n").every((line) => line.length <= 80));
 * ```
 */
export function clientHelp(): string {
  return [
    "wsproof proves a WebSocket connection: the upgrade, the reply, the close.",
    "",
    "Usage: deno task client [OPTIONS] [URL]",
    "",
    "Without a URL it talks to ws://127.0.0.1:6455/, or to an echo server of its own",
    "if nothing listens there.",
    "",
    ...describeOptions(CLIENT_OPTIONS),
    "",
    "Exit codes: 0 proven, 1 internal error, 2 usage, 3 no connection, 4 handshake",
    "refused, 5 no reply, 6 wrong reply, 7 connection lost, 8 close not confirmed,",
    "130 interrupted.",
  ].join("\n");
}

/** What the client is asked to do. */
export interface ClientSettings {
  /** Where to connect to; `undefined` leaves it to the client. */
  readonly url: string | undefined;
  /** The connection, the exchange and its deadlines. */
  readonly exchange: ExchangeOptions;
  /** How many bytes will go out in all, where that is known. */
  readonly totalBytes: number | undefined;
  /** Whether to hold a conversation instead of one exchange. */
  readonly interactive: boolean;
  /** How much to print. */
  readonly output: "lines" | "json" | "nothing";
  /** Whether to show each event. */
  readonly verbose: boolean;
  /** Whether to show each frame. */
  readonly trace: boolean;
}

/**
 * Turns the command line of the client into what it asks for, reading the files that it names.
 *
 * @param line The command line.
 * @returns What to do.
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
export async function readClientSettings(line: CommandLine): Promise<ClientSettings> {
  for (const group of EXCLUSIVE_OPTIONS) refuseTogether(line, group);
  for (const name of NOT_INTERACTIVE_OPTIONS) refuseTogether(line, ["interactive", name]);
  const transport = readTransport(line);
  const open = readOpenOptions(line, transport);
  const expectation = readExpectation(line);
  const isEcho = expectation.type === "echo";
  // A conversation takes its messages from the standard input.
  const payload: Payload = line.has("interactive") ? { messages: [], totalBytes: undefined } : await readPayload(
    line,
    isEcho ? open.maxMessageBytes ?? MAX_BUILTIN_FRAME_BYTES : MAX_BUILTIN_FRAME_BYTES,
  );
  const close = readClose(line, transport);
  const expectedClose = readExpectedClose(line, close, transport);
  const url = readUrl(line);
  const { username = "", password = "" } = (url && URL.parse(url)) || {};
  if (username + password !== "" && [...open.headers ?? []].some(([name]) => /^authorization$/i.test(name))) {
    throw new UsageError("Credentials stand in the URL and in --header Authorization: give one of them");
  }
  return {
    url,
    exchange: {
      transport,
      ...open,
      messages: payload.messages,
      ...(payload.onVerified && { onVerified: payload.onVerified }),
      windowBytes: line.value("split") === undefined ? 0 : SPLIT_WINDOW_BYTES,
      expectation,
      close,
      expectedClose,
      digest: line.has("json"),
      ...option(line, "skip", (name, text) => ({ skip: parseWhole(name, text, 0, MAX_COUNT) })),
      ...option(line, "reply-timeout", (name, text) => ({ replyTimeoutMs: parseSeconds(name, text) })),
      ...option(line, "close-timeout", (name, text) => ({ closeTimeoutMs: parseSeconds(name, text) })),
    },
    totalBytes: payload.totalBytes,
    interactive: line.has("interactive"),
    output: line.has("quiet") ? "nothing" : line.has("json") ? "json" : "lines",
    verbose: line.has("verbose"),
    trace: line.has("trace"),
  };
}

const EXCLUSIVE_OPTIONS = [
  ["message", "file", "size"],
  ["reply", "reply-match", "reply-any", "reply-none"],
  ["json", "quiet"],
  ["verbose", "quiet"],
  ["trace", "quiet"],
  ["proxy", "unix"],
];

/** A conversation has not one payload, and its lines are its output. */
const NOT_INTERACTIVE_OPTIONS = [
  "message",
  "file",
  "size",
  "binary",
  "count",
  "split",
  "json",
];

/** The most that `--count` and `--skip` take. */
const MAX_COUNT = 1_000_000_000;

function isGiven(line: CommandLine, name: string): boolean {
  return line.has(name) || line.value(name) !== undefined;
}

function refuseTogether(line: CommandLine, names: readonly string[]): void {
  const [first, second] = names.filter((name) => isGiven(line, name));
  if (second !== undefined) {
    throw new UsageError(`Options --${first} and --${second} exclude each other: give one of them`);
  }
}

/** Reads an option if it was given. */
function option<T>(line: CommandLine, name: string, read: (option: string, text: string) => T): T | undefined {
  const text = line.value(name);
  return text === undefined ? undefined : read(`--${name}`, text);
}

function readUrl(line: CommandLine): string | undefined {
  const [text, extra] = line.operands;
  if (extra !== undefined) throw new UsageError("There is more than one URL: leave out all but one");
  if (text === undefined) return line.value("unix") === undefined ? undefined : "ws://localhost/";
  const url = URL.parse(text);
  if (!/^(wss?|https?):\/\//i.test(text)) {
    const shown = withoutSecrets(text);
    const suggestion = `ws://${text.replace(/^(\w+:\/\/|\/\/|(wss?|https?):\/*)/i, "")}`;
    const isHarmless = shown === JSON.stringify(text) && URL.canParse(suggestion);
    const advice = isHarmless ? `: try "${suggestion}"` : ", as in ws://host:port/path";
    throw new UsageError(`URL ${shown} does not begin with ws:// or wss://${advice}`);
  }
  if (url === null) {
    throw new UsageError(`URL ${withoutSecrets(text)} is not valid: it should look like ws://host:port/path`);
  }
  if (url.protocol.startsWith("http")) url.protocol = url.protocol.replace("http", "ws");
  if (url.hash !== "") url.hash = "";
  return url.href;
}

function readOpenOptions(line: CommandLine, transport: TransportName): OpenOptions {
  const protocols = line.values("protocol").flatMap((names) => names.split(",")).map((name) => name.trim());
  for (const [index, name] of protocols.entries()) {
    // A subprotocol may carry a token, so none is quoted that may be more than a name.
    const shown = withoutSecrets(name);
    if (!isToken(name)) {
      throw new UsageError(`Option --protocol cannot be ${shown}: a name has no spaces or separators`);
    }
    if (protocols.indexOf(name) !== index) {
      throw new UsageError(`Option --protocol names ${shown} twice: leave one out`);
    }
  }
  const caCerts = line.values("ca").map((path) => readPem("--ca", path, "CERTIFICATE"));
  const clientCertificate = readClientCertificate(line);
  return {
    protocols,
    ...((line.values("header").length > 0 || line.value("origin") !== undefined) && { headers: readHeaders(line) }),
    ...(caCerts.length > 0 && { caCerts }),
    ...(clientCertificate && { clientCertificate }),
    ...option(line, "proxy", (name, text) => ({ proxy: readProxy(name, text) })),
    ...option(line, "unix", (_, unixPath) => ({ unixPath })),
    ...option(line, "fragment", (name, text) => ({ fragmentBytes: readFragmentBytes(name, text) })),
    ...option(line, "connect-timeout", (name, text) => ({ connectTimeoutMs: parseSeconds(name, text) })),
    ...option(line, "max-message", (name, text) => ({ maxMessageBytes: readMaxMessage(name, text, transport) })),
  };
}

/** What a header value can have: Latin-1, on one line. */
const FIELD_VALUE = /^[\t -~\x80-\xff]*$/;

/** Fields that the opening handshake sets itself. */
const HANDSHAKE_FIELD = /^(sec-websocket-.*|upgrade|connection|content-length|transfer-encoding)$/i;

/** Fields of a request that have one value and no list of them (RFC 9110), so that they are there once. */
const SINGLE_FIELD =
  /^(authorization|content-(location|type)|date|dnt|from|host|if-(modified-since|range|unmodified-since)|max-forwards|origin|range|referer|sec-fetch-.*|upgrade-insecure-requests|user-agent)$/i;

/** A field of the request. The name is as it was given; a value is never quoted, as it may be a secret. */
type Field = readonly [name: string, value: string];

function readHeaders(line: CommandLine): readonly Field[] {
  const fields: Field[] = [];
  for (const field of line.values("header")) addField(fields, field);
  const origin = line.value("origin");
  if (origin !== undefined) {
    if ((URL.parse(origin) === null && origin !== "null") || !/^[!-~]+$/.test(origin)) {
      throw new UsageError(
        `Option --origin cannot be ${withoutSecrets(origin)}: give an origin such as https://example.com`,
      );
    }
    if (fields.some(([name]) => name.toLowerCase() === "origin")) {
      throw new UsageError("Options --header and --origin both set Origin: give one of them");
    }
    fields.push(["Origin", origin]);
  }
  return fields;
}

function addField(fields: Field[], text: string): void {
  const [, name = "", rest = ""] = /^([^:]*):(.*)$/s.exec(text) ?? [];
  // Only blanks and tabs stand around a value (RFC 9110 section 5.5).
  const value = rest.replace(/^[ \t]+|[ \t]+$/g, "");
  const lowerCase = name.toLowerCase();
  if (!text.includes(":")) throw new UsageError('Option --header has no colon: give "Name: value"');
  if (!isToken(name)) {
    throw new UsageError('Option --header has a name that is no token: give "Name: value"');
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
    throw new UsageError(`Option --header cannot set ${name}: its value has characters that no field has`);
  }
  if (lowerCase === "host" && !(isHost(value) && URL.canParse(`http://${value}/`))) {
    throw new UsageError("Option --header cannot set Host: give a host, or host:port");
  }
  const at = fields.findIndex(([former]) => former.toLowerCase() === lowerCase);
  const former = fields[at];
  if (former === undefined) fields.push([name, value]);
  // All cookies go in one field (RFC 6265 section 5.4).
  else if (lowerCase === "cookie") fields[at] = [former[0], `${former[1]}; ${value}`];
  else if (SINGLE_FIELD.test(name)) {
    throw new UsageError(`Option --header sets ${name} twice: it is no list, so give one`);
  } else fields.push([name, value]);
}

function readClientCertificate(line: CommandLine): { cert: string; key: string } | undefined {
  const [cert, key] = [line.value("cert"), line.value("key")];
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new UsageError("Options --cert and --key belong together: give both");
  }
  return { cert: readPem("--cert", cert, "CERTIFICATE"), key: readPem("--key", key, "PRIVATE KEY") };
}

function readPem(name: string, path: string, label: string): string {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  if (text.includes(`${label}-----`)) return text;
  throw new UsageError(`Option ${name} cannot be "${path}": the file has no PEM block "${label}"`);
}

function readProxy(name: string, text: string): string {
  if (text === NO_PROXY) return text;
  const url = URL.parse(text);
  if (url === null || !/^(https?|socks5h?):\/\//i.test(text) || url.hostname === "") {
    throw new UsageError(
      `Option ${name} cannot be ${withoutSecrets(text)}: give a URL such as http://host:port, or none`,
    );
  }
  return text;
}

function readExpectation(line: CommandLine): Expectation {
  const text = line.value("reply");
  if (text !== undefined) return { type: "text", text };
  if (line.has("reply-any")) return { type: "any" };
  if (line.has("reply-none")) return { type: "none" };
  return option(line, "reply-match", (name, source) => {
    try {
      return { type: "match" as const, pattern: new RegExp(source, "u") };
    } catch (error) {
      const reason = messageOf(error);
      throw new UsageError(`Option ${name} cannot be "${source}": ${reason}`);
    }
  }) ?? { type: "echo" };
}

function readClose(line: CommandLine, transport: TransportName): CloseFrame {
  const code = option(line, "close-code", (name, text) => parseWhole(name, text, 0, 65535)) ?? 1000;
  const reason = line.value("close-reason") ?? "";
  if (transport === "builtin" && code !== 1000 && !(code >= 3000 && code <= 4999)) {
    throw new UsageError(
      `Option --close-code cannot be "${code}": give 1000 or 3000-4999, or use --transport wire`,
    );
  }
  try {
    assertSendableClose(code, reason);
  } catch (error) {
    throw new UsageError(
      `Option --close-code or --close-reason is wrong: ${messageOf(error)}`,
    );
  }
  return { code, reason };
}

function readExpectedClose(line: CommandLine, close: CloseFrame, transport: TransportName): ExpectedClose {
  const code = option(line, "expect-close", (name, text) => {
    if (text === "none") return readNoClose(line, transport);
    const value = parseWhole(name, text, 0, 65535);
    if (isSendableCloseCode(value)) return value;
    throw new UsageError(
      `Option ${name} cannot be "${text}": a close frame has 1000-1003, 1007-1014, 3000-4999 or none`,
    );
  }) ?? close.code;
  return { code, ...option(line, "expect-reason", (_, reason) => ({ reason })) };
}

/** A close frame without a code is legal (RFC 6455 section 5.5.1): 1005 stands for it. */
function readNoClose(line: CommandLine, transport: TransportName): number {
  if (transport === "builtin") {
    throw new UsageError(
      'Option --expect-close cannot be "none" over the built-in WebSocket, which hides it: use --transport wire',
    );
  }
  if ((line.value("expect-reason") ?? "") !== "") {
    throw new UsageError('Option --expect-reason goes with a close code: a close frame with "none" has no reason');
  }
  return 1005;
}

interface Payload {
  readonly onVerified?: (message: Message) => void;
  readonly messages: Iterable<Message> | AsyncIterable<Message>;
  readonly totalBytes: number | undefined;
}

function readTransport(line: CommandLine): TransportName {
  const name = line.value("transport") ?? "builtin";
  if (name !== "builtin" && name !== "wire") {
    throw new UsageError(`Option --transport cannot be "${name}": give builtin or wire`);
  }
  const [wireOnly] = ["fragment", "trace"].filter((option) => isGiven(line, option));
  if (name === "builtin" && wireOnly !== undefined) {
    throw new UsageError(`Option --${wireOnly} needs --transport wire: the built-in WebSocket hides the frames`);
  }
  return name;
}

function readMaxMessage(name: string, text: string, transport: TransportName): number {
  const bytes = parseSize(name, text);
  const most = transport === "wire" ? MAX_WIRE_MESSAGE_BYTES : MAX_BUILTIN_FRAME_BYTES;
  if (bytes <= most) return bytes;
  throw new UsageError(`Option ${name} cannot be "${text}": at most ${most} bytes over ${transport}`);
}

function readFragmentBytes(name: string, text: string): number {
  const bytes = parseSize(name, text);
  if (bytes > 0) return bytes;
  throw new UsageError(`Option ${name} cannot be "${text}": give at least 1 byte`);
}

async function readPayload(line: CommandLine, maxMessageBytes: number): Promise<Payload> {
  const count = option(line, "count", (name, text) => parseWhole(name, text, 0, MAX_COUNT)) ?? 1;
  const size = option(line, "size", parseSize);
  const kind: MessageKind = line.has("binary") || size !== undefined ? "binary" : "text";
  const source = sourceOf(line, size);
  const partBytes = option(line, "split", (name, text) => readPartBytes(name, text, kind, maxMessageBytes));
  if (partBytes === undefined) {
    const message = await collect(source.chunks(), kind, maxMessageBytes);
    return { messages: repeat(count, () => [message]), totalBytes: byteLengthOf(message) * count };
  }
  if (line.value("file") === "-" && count > 1) {
    throw new UsageError("Option --count cannot repeat a standard input that is split: save it to a file first");
  }
  const totalBytes = source.bytes === undefined ? undefined : source.bytes * count;
  const pool: Uint8Array<ArrayBuffer>[] = [];
  const onVerified = (message: Message) => {
    if (typeof message !== "string" && message.byteLength === partBytes) pool.push(message);
  };
  return { messages: repeat(count, () => cut(source.chunks(), kind, partBytes, pool)), totalBytes, onVerified };
}

interface Source {
  chunks(): Iterable<Uint8Array> | AsyncIterable<Uint8Array>;
  /** How many bytes there are; `undefined` if only reading tells. */
  readonly bytes: number | undefined;
}

function sourceOf(line: CommandLine, size: number | undefined): Source {
  const path = line.value("file");
  if (size !== undefined) return { chunks: () => randomBytes(size), bytes: size };
  if (path !== undefined) return { chunks: () => readFile(path), bytes: sizeOf(path) };
  const bytes = new TextEncoder().encode(line.value("message") ?? "Hello world");
  return { chunks: () => [bytes], bytes: bytes.byteLength };
}

/** The size of a file; whether it can be read at all is found here, before anything is sent. */
function sizeOf(path: string): number | undefined {
  if (path === "-") return undefined;
  try {
    using file = Deno.openSync(path);
    const info = file.statSync();
    if (info.isDirectory) throw new Deno.errors.IsADirectory();
    return info.isFile ? info.size : undefined;
  } catch (error) {
    throw unreadable(path, error);
  }
}

function readPartBytes(name: string, text: string, kind: MessageKind, maxMessageBytes: number): number {
  const bytes = parseSize(name, text);
  const least = kind === "text" ? LONGEST_CHARACTER_BYTES : 1;
  if (maxMessageBytes < least) throw new UsageError(`Option ${name} needs a --max-message of at least ${least} bytes`);
  if (bytes < least || bytes > maxMessageBytes) {
    throw new UsageError(`Option ${name} cannot be "${text}": give ${least} to ${maxMessageBytes} bytes`);
  }
  return bytes;
}

async function* repeat(
  count: number,
  messages: () => Iterable<Message> | AsyncIterable<Message>,
): AsyncGenerator<Message> {
  for (let done = 0; done < count; done++) yield* messages();
}
