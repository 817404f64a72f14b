/**
 * The options of the echo server: from its command line, or from the environment.
 *
 * @module
 */

import {
  assertUtf8,
  type CommandLine,
  type OptionSpec,
  parseCommandLine,
  parseSeconds,
  parseSize,
  parseWhole,
  UsageError,
} from "./command_line.ts";
import type { EchoPolicy } from "../server/policy.ts";
import { LOG_FORMS, type LogForm } from "../server/log.ts";
import { isHostPattern } from "../server/allowed_host.ts";
import { isOriginPattern } from "../server/origin.ts";
import { messageOf } from "../protocol/error.ts";
import { isToken } from "../protocol/token.ts";
import type { ServeEchoOptions } from "../server/serve.ts";
import { isTokenProtocol } from "../server/token.ts";
import { MAX_BUILTIN_FRAME_BYTES } from "../connection/builtin.ts";
import { MAX_WIRE_MESSAGE_BYTES, type TransportName } from "../connection/connection.ts";
import type { RateLimit } from "../server/rate.ts";

/** The options of the server. Each but the last two can stand in the environment as well: see {@linkcode variableOf}. */
export const SERVER_OPTIONS: readonly OptionSpec[] = [
  { name: "port", value: "PORT", help: ["Port to listen on, 0 for a free one", "(default 6455)"] },
  {
    name: "host",
    value: "HOST",
    help: ["Address to listen on (default 127.0.0.1), or", "a name: on all its addresses"],
  },
  {
    name: "transport",
    value: "NAME",
    help: ["builtin (default): the runtime's WebSocket;", "wire: own frames, strict and bounded"],
  },
  { name: "cert", value: "FILE", help: ["Be a wss: server with this certificate (PEM);", "needs --key"] },
  { name: "key", value: "FILE", help: ["The certificate's private key (PEM)"] },
  {
    name: "protocol",
    short: "p",
    value: "NAME",
    help: ["Select this subprotocol if it is offered;", "repeatable, best first"],
  },
  {
    name: "max-message",
    value: "BYTES",
    help: [
      "Longest message; KiB, MiB as suffix",
      "(default 16MiB, at most 64MiB less 1;",
      "with --transport wire 1GiB)",
    ],
  },
  {
    name: "max-connections",
    value: "N",
    help: ["Most connections at once (default 10000), fewer", "where descriptors are short; more get 503"],
  },
  {
    name: "max-buffered",
    value: "BYTES",
    help: ["Most that may wait for one peer that does", "not read (default 16MiB); more closes it"],
  },
  {
    name: "max-buffered-total",
    value: "BYTES",
    help: ["Most that may wait for all peers together", "(default 512MiB); more closes one"],
  },
  {
    name: "rate",
    value: "N[,BYTES]",
    help: ["Most messages and bytes a second from one", "peer (default any); more closes it with 1008"],
  },
  {
    name: "idle-timeout",
    value: "S",
    help: [
      "Whole seconds without traffic before a peer",
      "is dropped, with a ping at half of them; 0 for",
      "never (default 60)",
    ],
  },
  {
    name: "allow-host",
    value: "HOST",
    help: [
      "Answer requests for this host only, such as",
      "*.app.example, or * for all; repeatable",
      "(default: on a loopback address its names)",
    ],
  },
  {
    name: "allow-origin",
    value: "ORIGIN",
    help: ["Let in pages of this origin only, such as", "https://*.app.example; repeatable"],
  },
  { name: "require-origin", help: ["Let in nobody without an Origin"] },
  {
    name: "token",
    value: "FILE",
    help: [
      "Let in who has the token in this file, as",
      "Bearer, password or subprotocol; or set",
      "WSPROOF_TOKEN to the token itself",
    ],
  },
  {
    name: "shutdown-timeout",
    value: "S",
    help: ["Seconds that the end of the server may take,", "for which peers can answer (default 5)"],
  },
  {
    name: "lab",
    help: ["Be a peer that misbehaves on request, to test", "clients with; GET / lists what its paths do"],
  },
  { name: "lab-public", help: ["Let --lab listen on an address that is not", "a loopback address"] },
  { name: "log", value: "FORM", help: ["text (default), json or none"] },
  { name: "quiet", short: "q", help: ["The same as --log none"] },
  { name: "help", short: "h", help: ["Show this help"] },
  { name: "version", short: "V", help: ["Show the version"] },
];

/** What a server is to do. */
export interface ServerSettings {
  /** Where it listens and what it accepts. */
  readonly serve: ServeEchoOptions;
  /** How long its end may take, in milliseconds; the default if `undefined`. */
  readonly shutdownTimeoutMs: number | undefined;
  /** The form of its log. */
  readonly log: LogForm;
  /** Whether it is the lab, and on which addresses the lab may listen. */
  readonly lab: "no" | "local" | "public";
  /** What the operator should know; empty if nothing. */
  readonly note: string;
}

/** The command line of a server, with what stands in the environment only. */
export interface ServerLine extends CommandLine {
  /** The options that stand in the environment only. */
  readonly variables: ReadonlySet<string>;
}

/** What the settings are read from. */
export interface SettingsSource {
  /** The value of a variable of the environment; `undefined` if there is none. */
  variable(name: string): string | undefined;
  /** Whether there is a permission for a variable: without it there could be a value that nobody sees. */
  mayRead(name: string): boolean;
  /** The bytes of a file. */
  readFile(path: string): Promise<Uint8Array>;
}

/** The environment and the files of this process, as far as its permissions go. */
export const PROCESS: SettingsSource = {
  variable: (name) => PROCESS.mayRead(name) ? readVariable(name) : undefined,
  mayRead: (name) => Deno.permissions.querySync({ name: "env", variable: name }).state === "granted",
  readFile: (path) => Deno.readFile(path),
};

/** The runtime's error quotes the value, which may be a secret; a task may have put U+FFFD in place of the bytes. */
function readVariable(name: string): string | undefined {
  try {
    const value = Deno.env.get(name);
    if (value !== undefined) assertUtf8(`Variable ${name}`, value, "give UTF-8 without it");
    return value;
  } catch (error) {
    if (!(error instanceof Deno.errors.InvalidData)) throw error;
    throw new UsageError(`Variable ${name} is not UTF-8: give UTF-8`);
  }
}

/**
 * Names the variable of the environment that stands for an option.
 *
 * @param option The name of the option.
 * @returns The name of the variable. A flag is set by `1` or `true` in it, a list is separated by spaces.
 *
 * @example
 * ```ts
 * import { variableOf } from "./server_settings.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(variableOf("max-message"), "WSPROOF_MAX_MESSAGE");
 * ```
 */
export function variableOf(option: string): string {
  return `WSPROOF_${option.toUpperCase().replaceAll("-", "_")}`;
}

/**
 * Sorts the words of the command line, and adds the options that stand in the environment only.
 *
 * @param args The words.
 * @param source The environment.
 * @returns The command line; an option that is given there stands for itself, whatever the environment says.
 * @throws {UsageError} If something is wrong about it.
 *
 * @example
 * ```ts
 * import { parseServerLine } from "./server_settings.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const source = { variable: (name: string) => name === "WSPROOF_PORT" ? "8080" : undefined };
 * assertEquals(parseServerLine([], source).value("port"), "8080");
 * assertEquals(parseServerLine(["--port", "9090"], source).value("port"), "9090");
 * ```
 */
export function parseServerLine(args: readonly string[], source: Pick<SettingsSource, "variable">): ServerLine {
  const given = parseCommandLine(args, SERVER_OPTIONS);
  const variables = new Set<string>();
  const words = SERVER_OPTIONS.flatMap(({ name, value }) => {
    const text = UNSETTABLE.has(name) ? undefined : source.variable(variableOf(name));
    const isGiven = given.has(name) || given.value(name) !== undefined;
    // Two options that say the same.
    const isOverruled = name === "quiet" && given.value("log") !== undefined;
    if (text === undefined || text === "" || isGiven || isOverruled) return [];
    variables.add(name);
    if (value !== undefined) {
      return (LISTS.has(name) ? text.trim().split(/\s+/) : [text]).map((each) => `--${name}=${each}`);
    }
    if (/^(1|true)$/i.test(text)) return [`--${name}`];
    if (/^(0|false)$/i.test(text)) return [];
    throw new UsageError(`Variable ${variableOf(name)} cannot be "${text}": give 1 or 0`);
  });
  return { ...parseCommandLine([...words, ...args], SERVER_OPTIONS), variables };
}

/** The variable of the token holds the token itself, and these make no sense there. */
const UNSETTABLE = new Set(["token", "help", "version"]);
const LISTS = new Set(["protocol", "allow-host", "allow-origin"]);

/**
 * Reads what a server is to do.
 *
 * @param line The command line.
 * @param source What it may name: files, and the variable with the token.
 * @returns The settings.
 * @throws {UsageError} If a value is wrong; the message says which, and what to do. The token is in no message.
 *
 * @example
 * ```ts
 * import { parseServerLine, readServerSettings } from "./server_settings.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const source = { variable: () => undefined, mayRead: () => true, readFile: Deno.readFile };
 * const settings = await readServerSettings(parseServerLine(["--rate", "100,1MiB"], source), source);
 * assertEquals(settings.serve.rate, { messagesPerSecond: 100, bytesPerSecond: 1048576 });
 * ```
 */
export async function readServerSettings(line: ServerLine, source: SettingsSource): Promise<ServerSettings> {
  return await inWordsOfSource(line, () => readSettings(line, source));
}

const NO_ENVIRONMENT =
  "The environment cannot be read, so that no variable counts, WSPROOF_TOKEN neither: give --allow-env=WSPROOF_*";

/** An option that stands in the environment is called by the name that it has there. */
async function inWordsOfSource<T>({ variables }: ServerLine, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const [start, name = ""] = error instanceof UsageError ? /^Option --([a-z-]+) /.exec(error.message) ?? [] : [];
    if (!(error instanceof UsageError) || start === undefined || !variables.has(name)) throw error;
    throw new UsageError(`Variable ${variableOf(name)} ${error.message.slice(start.length)}`);
  }
}

async function readSettings(line: ServerLine, source: SettingsSource): Promise<ServerSettings> {
  const [operand] = line.operands;
  if (operand !== undefined) throw new UsageError(`The server takes no operand: leave out "${operand}"`);
  const lab = !line.has("lab") ? "no" : line.has("lab-public") ? "public" : "local";
  if (line.has("lab-public") && lab === "no") throw new UsageError("Option --lab-public belongs to --lab: give both");
  if (lab !== "no") refuseOptionsOfTheEcho(line, source);
  const shutdown = line.value("shutdown-timeout");
  return {
    serve: { ...readPlace(line), ...await readPair(line, source), ...await readLimits(line, source) },
    shutdownTimeoutMs: shutdown === undefined ? undefined : parseSeconds("--shutdown-timeout", shutdown),
    log: readLog(line.has("quiet") ? "none" : line.value("log") ?? "text"),
    lab,
    note: source.mayRead(variableOf("token")) ? "" : NO_ENVIRONMENT,
  };
}

/**
 * Reads what an echo server accepts: the part of the settings that has nothing to do with where it listens.
 *
 * @param line The command line.
 * @param source What it may name: the file or the variable with the token.
 * @returns The policy.
 * @throws {UsageError} If a value is wrong.
 *
 * @example
 * ```ts
 * import { parseServerLine, readPolicy } from "./server_settings.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const source = { variable: () => undefined, mayRead: () => true, readFile: Deno.readFile };
 * assertEquals(await readPolicy(parseServerLine(["--idle-timeout", "30"], source), source), { idleTimeoutSeconds: 30 });
 * ```
 */
export async function readPolicy(line: ServerLine, source: SettingsSource): Promise<EchoPolicy> {
  return await inWordsOfSource(line, () => readLimits(line, source));
}

async function readLimits(line: CommandLine, source: SettingsSource): Promise<EchoPolicy> {
  const policy: EchoPolicy = {};
  const isWire = readTransport(line) === "wire";
  const [message, connections, buffered, total] = [
    "max-message",
    "max-connections",
    "max-buffered",
    "max-buffered-total",
  ]
    .map((name) => line.value(name));
  const [rate, idle] = [line.value("rate"), line.value("idle-timeout")];
  if (message !== undefined) policy.maxMessageBytes = readMaxMessage(message, isWire);
  if (connections !== undefined) {
    policy.maxConnections = parseWhole("--max-connections", connections, 1, MAX_CONNECTIONS);
  }
  if (buffered !== undefined) policy.maxBufferedBytes = atLeastOne("--max-buffered", buffered);
  if (total !== undefined) policy.maxBufferedTotalBytes = atLeastOne("--max-buffered-total", total);
  if (rate !== undefined) policy.rate = readRate(rate);
  if (idle !== undefined) policy.idleTimeoutSeconds = parseWhole("--idle-timeout", idle, 0, MAX_IDLE_SECONDS);
  const hosts = line.values("allow-host");
  const [origins, protocols] = [line.values("allow-origin"), line.values("protocol")];
  for (const host of hosts) {
    if (!isHostPattern(host)) {
      throw new UsageError(
        `Option --allow-host cannot be "${host}": give a host without a port: app.example, *.app.example, [::1] or *`,
      );
    }
  }
  for (const origin of origins) {
    if (!isOriginPattern(origin)) {
      throw new UsageError(
        `Option --allow-origin cannot be "${origin}": give https://app.example, https://*.app.example, null or *`,
      );
    }
  }
  for (const name of protocols) {
    if (isTokenProtocol(name)) {
      throw new UsageError(`Option --protocol cannot be "${name}": names that begin so carry tokens, choose another`);
    }
    if (!isToken(name)) {
      throw new UsageError(`Option --protocol cannot be "${name}": give letters, digits or any of !#$%&'*+-.^_\`|~`);
    }
  }
  if (hosts.length > 0) policy.allowHosts = hosts;
  if (origins.length > 0) policy.allowOrigins = origins;
  if (line.has("require-origin")) policy.requireOrigin = true;
  if (protocols.length > 0) policy.protocols = protocols;
  const token = await readToken(line, source);
  if (token !== undefined) policy.token = token;
  return policy;
}

const MAX_CONNECTIONS = 1_000_000;
const MAX_IDLE_SECONDS = 86400;

function refuseOptionsOfTheEcho(line: CommandLine, source: SettingsSource): void {
  if (source.variable(variableOf("token")) !== undefined) {
    throw new UsageError(`Variable ${variableOf("token")} does not go with --lab: leave it out`);
  }
  for (const { name } of SERVER_OPTIONS) {
    if (!OPTIONS_OF_THE_LAB.has(name) && (line.has(name) || line.value(name) !== undefined)) {
      throw new UsageError(`Option --${name} does not go with --lab: leave it out`);
    }
  }
}

const OPTIONS_OF_THE_LAB = new Set(["port", "host", "lab", "lab-public", "log", "quiet"]);

function readPlace(line: CommandLine): Pick<ServeEchoOptions, "hostname" | "port" | "transport"> {
  const [host, port] = [line.value("host"), line.value("port")];
  if (host === "") throw new UsageError('Option --host cannot be "": give an address or a name');
  return {
    ...(host !== undefined && { hostname: host.replace(/^\[(.*)\]$/, "$1") }),
    ...(port !== undefined && { port: parseWhole("--port", port, 0, 65535) }),
    transport: readTransport(line),
  };
}

function readTransport(line: CommandLine): TransportName {
  const name = line.value("transport") ?? "builtin";
  if (name === "builtin" || name === "wire") return name;
  throw new UsageError(`Option --transport cannot be "${name}": give builtin or wire`);
}

function atLeastOne(option: string, text: string): number {
  const bytes = parseSize(option, text);
  if (bytes === 0) throw new UsageError(`Option ${option} cannot be "${text}": give at least 1 byte`);
  return bytes;
}

function readMaxMessage(text: string, isWire: boolean): number {
  const bytes = atLeastOne("--max-message", text);
  const most = isWire ? MAX_WIRE_MESSAGE_BYTES : MAX_BUILTIN_FRAME_BYTES;
  if (bytes <= most) return bytes;
  throw new UsageError(
    `Option --max-message cannot be "${text}": ${isWire ? "the server" : "the runtime"} takes at most ${most} bytes`,
  );
}

function readRate(text: string): RateLimit {
  const [messages = "", bytes, ...rest] = text.split(",");
  if (rest.length > 0 || bytes === "" || (messages === "" && bytes === undefined)) {
    throw new UsageError(`Option --rate cannot be "${text}": give messages a second, or both as 100,1MiB`);
  }
  return {
    messagesPerSecond: messages === "" ? Infinity : parseWhole("--rate", messages, 1, MAX_MESSAGES_PER_SECOND),
    bytesPerSecond: bytes === undefined ? Infinity : atLeastOne("--rate", bytes),
  };
}

const MAX_MESSAGES_PER_SECOND = 1_000_000_000;

function readLog(text: string): LogForm {
  const form = LOG_FORMS.find((each) => each === text);
  if (form === undefined) throw new UsageError(`Option --log cannot be "${text}": give text, json or none`);
  return form;
}

async function readPair(line: CommandLine, source: SettingsSource): Promise<Pick<ServeEchoOptions, "cert" | "key">> {
  const [cert, key] = [line.value("cert"), line.value("key")];
  if (cert === undefined && key === undefined) return {};
  if (cert === undefined || key === undefined) {
    throw new UsageError("Options --cert and --key belong together: give both");
  }
  return { cert: await readFile("--cert", cert, source), key: await readFile("--key", key, source) };
}

async function readFile(option: string, path: string, source: SettingsSource): Promise<string> {
  try {
    const text = new TextDecoder().decode(await source.readFile(path));
    if (text.trim() === "") throw new Error("it is empty");
    return text;
  } catch (error) {
    throw new UsageError(`Option ${option} cannot be "${path}": ${messageOf(error)}`);
  }
}

/**
 * An editor ends a file with a new line, and so does what fills a secret: no client could send that. Other white space than that
 * of ASCII belongs to the token, as it does in a field.
 */
async function readToken(line: CommandLine, source: SettingsSource): Promise<string | undefined> {
  const path = line.value("token");
  const variable = source.variable(variableOf("token"));
  if (path === undefined && variable === undefined) return undefined;
  const [name, text] = path === undefined
    ? [`Variable ${variableOf("token")}`, variable ?? ""]
    : ["Option --token", await readTokenFile(path, source)];
  const token = text.replace(/^[ \t\r\n]+/, "").replace(/[ \t\r\n]+$/, "");
  if (token === "") throw new UsageError(`${name} gives an empty token: nobody could be kept out with it`);
  return token;
}

/** A file may have been named by mistake that is the token itself: it is not shown. */
async function readTokenFile(path: string, source: SettingsSource): Promise<string> {
  const bytes = await source.readFile(path).catch((error) => {
    const reason = error instanceof Error ? error.name : "it cannot be read";
    throw new UsageError(
      `Option --token names no file that can be read (${reason}): give the path of one with the token`,
    );
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UsageError("Option --token names a file that is not text in UTF-8: write the token as text");
  }
}
