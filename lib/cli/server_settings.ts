/**
 * The options of the echo server and the lab, from the command line or the environment, and their settings.
 *
 * @module
 */

import { readPair } from "./certificates.ts";
import { readDeflatePolicy, SERVER_DEFLATE_OPTIONS } from "./deflate_options.ts";
import { type CommandLine, parseCommandLine, unknownVariables, UsageError, variableOf } from "./command_line.ts";
import type { Environment } from "./environment.ts";
import {
  choice,
  defined,
  flag,
  type Option,
  path,
  readSize,
  readWhole,
  type Refuse,
  seconds,
  size,
  Source,
  text,
  whole,
} from "./options.ts";
import { LAB_ONLY, type LabSettings, readLabSettings } from "./lab_settings.ts";
import { readMaxMessage, TRANSPORTS } from "./transport_options.ts";
import type { EchoPolicy } from "../server/policy.ts";
import { LOG_FORMS, type LogForm } from "../server/log.ts";
import { isHostPattern } from "../server/allowed_host.ts";
import { isOriginPattern } from "../server/origin.ts";
import { isToken } from "../protocol/token.ts";
import type { ServeEchoOptions } from "../server/serve.ts";
import { isTokenProtocol } from "../server/token.ts";
import type { TransportName } from "../connection/connection.ts";
import type { RateLimit } from "../server/rate.ts";

const LAB = "--lab";
const DENO_SERVE = "deno serve";

/** Options of the echo that mean nothing to the lab. */
const ECHO = { notWith: [LAB] };

/** Listener options, which `deno serve` has itself. */
const PLACE = { notWith: [DENO_SERVE] };

/** Options of the echo that `deno serve` has itself. */
const ECHO_PLACE = { notWith: [LAB, DENO_SERVE] };

const OPTIONS = {
  port: whole({
    name: "port",
    value: "PORT",
    help: ["Port to listen on (default 6455); 0 for a free one"],
    min: 0,
    max: 65535,
    ...PLACE,
  }),
  host: {
    name: "host",
    value: "HOST",
    help: ["Address to listen on (default 127.0.0.1), or", "a name, for all its addresses"],
    read: readHost,
    ...PLACE,
  },
  transport: choice({
    name: "transport",
    value: "NAME",
    help: ["builtin (default): the runtime's WebSocket;", "wire: own frames, strict and bounded"],
    choices: TRANSPORTS,
    ...ECHO,
  }),
  workers: {
    name: "workers",
    value: "N",
    help: ["Threads that share the port and all limits (wire,", "default 1); auto for one per core"],
    read: readWorkerCount,
    ...ECHO_PLACE,
  },
  cert: path({
    name: "cert",
    value: "FILE",
    help: ["Serve wss: with this certificate (PEM) and --key"],
    ...ECHO_PLACE,
  }),
  key: path({ name: "key", value: "FILE", help: ["Private key of --cert (PEM)"], ...ECHO_PLACE }),
  protocol: {
    name: "protocol",
    short: "p",
    value: "NAME",
    help: ["Select this subprotocol if offered; repeatable,", "best first (default: the client's first)"],
    isList: true,
    read: readProtocol,
    ...ECHO,
  },
  maxMessage: size({
    name: "max-message",
    value: "BYTES",
    help: [
      "Longest message to accept (default 16MiB, at most",
      "64MiB less 1, or 1GiB over wire); suffixes KiB, MiB,",
      "GiB; a longer one closes the connection with 1009",
    ],
    min: 1,
    ...ECHO,
  }),
  maxConnections: whole({
    name: "max-connections",
    value: "N",
    help: ["Most concurrent connections (default 10000, or as", "the descriptors allow); more get 503"],
    min: 1,
    max: 1_000_000,
    ...ECHO,
  }),
  maxBuffered: size({
    name: "max-buffered",
    value: "BYTES",
    help: ["Most pending bytes for one peer that does not read", "(default 16MiB); more closes its connection"],
    min: 1,
    ...ECHO,
  }),
  maxBufferedTotal: size({
    name: "max-buffered-total",
    value: "BYTES",
    help: ["Most pending bytes for all peers together", "(default 512MiB); more closes one connection"],
    min: 1,
    ...ECHO,
  }),
  rate: {
    name: "rate",
    value: "N[,BYTES]",
    help: ["Most messages, and bytes, per second from one peer", "(default: any); more closes it with 1008"],
    read: readRate,
    ...ECHO,
  },
  deflate: { ...SERVER_DEFLATE_OPTIONS.deflate, ...ECHO_PLACE },
  noDeflate: { ...SERVER_DEFLATE_OPTIONS.noDeflate, ...ECHO_PLACE },
  maxInflateRatio: { ...SERVER_DEFLATE_OPTIONS.maxInflateRatio, ...ECHO_PLACE },
  idleTimeout: whole({
    name: "idle-timeout",
    value: "S",
    help: [
      "Drop a peer after S whole seconds without traffic",
      "(default 60), with a ping at half of them; 0 for",
      "never",
    ],
    min: 0,
    max: 86400,
    ...ECHO,
  }),
  allowHost: {
    name: "allow-host",
    value: "HOST",
    help: [
      "Answer requests only for this host, such as",
      "*.app.example, or * for any; repeatable (default on",
      "a loopback address: its names)",
    ],
    isList: true,
    read: readHostPattern,
    ...ECHO,
  },
  allowOrigin: {
    name: "allow-origin",
    value: "ORIGIN",
    help: ["Let in only pages of this origin, such as", "https://*.app.example; repeatable"],
    isList: true,
    read: readOriginPattern,
    ...ECHO,
  },
  requireOrigin: flag({ name: "require-origin", help: ["Refuse requests without an Origin"], ...ECHO }),
  token: text({
    name: "token",
    value: "FILE",
    help: [
      "Require the token in this file, sent as Bearer,",
      "password or subprotocol; WSPROOF_TOKEN holds the",
      "token itself",
    ],
    variable: "content",
    ...ECHO,
  }),
  shutdownTimeout: seconds({
    name: "shutdown-timeout",
    value: "S",
    help: ["Seconds for a shutdown, in which peers may answer", "the close frame (default 5)"],
    ...ECHO_PLACE,
  }),
  ...LAB_ONLY,
  log: choice({
    name: "log",
    value: "FORM",
    help: ["Form of the log: text (default), json or none"],
    choices: LOG_FORMS,
  }),
  quiet: flag({ name: "quiet", short: "q", help: ["Same as --log none"], overruledBy: "log" }),
  help: flag({ name: "help", short: "h", help: ["Show this help"], variable: "none" }),
  version: flag({ name: "version", short: "V", help: ["Show the version"], variable: "none" }),
};

/** The options of the server. Each but `help` and `version` has a variable: see {@linkcode variableOf}. */
export const SERVER_OPTIONS: readonly Option[] = Object.values(OPTIONS);

/** The options that the lab shares with the server, except `--lab`. */
export const LAB_OPTIONS: readonly Option[] = SERVER_OPTIONS.filter((option) =>
  option !== OPTIONS.lab && !option.notWith?.includes(LAB)
);

/** Settings of a server. */
export interface ServerSettings {
  /** Listener and policy options. */
  readonly serve: ServeEchoOptions;
  /** How many workers share its port; 1 for no workers. */
  readonly workers: number;
  /** Deadline of its shutdown, in milliseconds; `undefined` for the default. */
  readonly shutdownTimeoutMs: number | undefined;
  /** The form of its log. */
  readonly log: LogForm;
  /** Whether it is the lab, and on which addresses the lab may listen. */
  readonly lab: "no" | "local" | "public";
  /** Settings of the lab alone. */
  readonly labSettings: LabSettings;
  /** A note for the operator; empty if there is none. */
  readonly note: string;
}

/**
 * Sorts the words of the server's command line, and adds options from the environment.
 *
 * @param args The words.
 * @param environment The variables.
 * @returns The command line; an option on it wins over its variable.
 * @throws {UsageError} If a word or a variable of a flag is wrong.
 *
 * @example
 * ```ts
 * import { parseServerLine } from "./server_settings.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const environment = { variable: (name: string) => name === "WSPROOF_PORT" ? "8080" : undefined };
 * assertEquals(parseServerLine([], environment).value("port"), "8080");
 * assertEquals(parseServerLine(["--port", "9090"], environment).value("port"), "9090");
 * ```
 */
export function parseServerLine(args: readonly string[], environment: Pick<Environment, "variable">): CommandLine {
  return parseCommandLine(args, SERVER_OPTIONS, environment.variable);
}

/**
 * Turns the command line of a server into settings, reading the files that it names.
 *
 * @param line The command line.
 * @param environment The files, and the variable with the token.
 * @param way The listener: `server`, the default, or `deno serve`, which has its own options for that.
 * @returns The settings.
 * @throws {UsageError} If a value is wrong; the message names it, and what to do. No message quotes the token.
 *
 * @example
 * ```ts
 * import { parseServerLine, readServerSettings } from "./server_settings.ts";
 * import { PROCESS } from "./environment.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const settings = await readServerSettings(parseServerLine(["--rate", "100,1MiB"], PROCESS), PROCESS);
 * assertEquals(settings.serve.rate, { messagesPerSecond: 100, bytesPerSecond: 1048576 });
 * ```
 */
export async function readServerSettings(
  line: CommandLine,
  environment: Environment,
  way: "server" | typeof DENO_SERVE = "server",
): Promise<ServerSettings> {
  const source = new Source(line);
  source.assertNoOperand("The server");
  source.assertGoWith(way, SERVER_OPTIONS);
  const transport = source.value(OPTIONS.transport) ?? "builtin";
  if (way === DENO_SERVE && transport === "wire") {
    throw source.error(OPTIONS.transport, 'cannot be "wire" with deno serve: use server.ts');
  }
  const lab = readLab(source, environment);
  const labSettings = readLabSettings(source);
  return {
    lab,
    workers: readWorkers(source, transport),
    serve: {
      transport,
      ...defined({ hostname: source.value(OPTIONS.host), port: source.value(OPTIONS.port) }),
      ...await readPair(source, OPTIONS, environment),
      ...await readPolicy(source, transport, environment),
    },
    shutdownTimeoutMs: source.value(OPTIONS.shutdownTimeout),
    // Beside the output of a harness, a log of every connection is noise.
    log: source.has(OPTIONS.quiet) ? "none" : source.value(OPTIONS.log) ?? (labSettings.harness ? "none" : "text"),
    labSettings,
    note: environment.mayRead(variableOf(OPTIONS.token.name))
      ? unknownVariables(environment.names(), SERVER_OPTIONS)
      : NO_ENVIRONMENT,
  };
}

const NOT_BUILTIN = "give --transport wire, or run deno serve --parallel handler.ts for the runtime's WebSocket";

const NO_ENVIRONMENT =
  "The environment cannot be read, so no variable counts, not even WSPROOF_TOKEN: give --allow-env=WSPROOF_*";

function readLab(source: Source, environment: Environment): ServerSettings["lab"] {
  const isPublic = source.has(OPTIONS.labPublic);
  if (!source.has(OPTIONS.lab)) {
    for (const option of Object.values(LAB_ONLY)) {
      if (source.has(option)) throw source.error(option, "needs --lab: give both");
    }
    return "no";
  }
  const token = variableOf(OPTIONS.token.name);
  if (environment.variable(token) !== undefined) {
    throw new UsageError(`Variable ${token} cannot be used with --lab: leave it out`);
  }
  source.assertGoWith(LAB, SERVER_OPTIONS);
  return isPublic ? "public" : "local";
}

async function readPolicy(
  source: Source,
  transport: TransportName,
  environment: Environment,
): Promise<EchoPolicy> {
  return defined({
    maxMessageBytes: readMaxMessage(source, OPTIONS.maxMessage, transport),
    maxConnections: source.value(OPTIONS.maxConnections),
    maxBufferedBytes: source.value(OPTIONS.maxBuffered),
    maxBufferedTotalBytes: source.value(OPTIONS.maxBufferedTotal),
    rate: source.value(OPTIONS.rate),
    deflate: readDeflatePolicy(source, OPTIONS, transport),
    idleTimeoutSeconds: source.value(OPTIONS.idleTimeout),
    allowHosts: source.values(OPTIONS.allowHost),
    allowOrigins: source.values(OPTIONS.allowOrigin),
    protocols: source.values(OPTIONS.protocol),
    requireOrigin: source.has(OPTIONS.requireOrigin) || undefined,
    token: await readToken(source, environment),
  });
}

function readWorkers(source: Source, transport: TransportName): number {
  const workers = source.value(OPTIONS.workers) ?? 1;
  if (workers !== 1 && transport === "builtin") throw source.refusal(OPTIONS.workers, NOT_BUILTIN);
  return workers === "auto" ? Math.min(navigator.hardwareConcurrency, MAX_WORKERS) : workers;
}

function readWorkerCount(text: string, refuse: Refuse): number | "auto" {
  if (text === "auto") return text;
  if (/^\d+$/.test(text)) return readWhole(text, refuse, 1, MAX_WORKERS);
  throw refuse(`give a whole number from 1 to ${MAX_WORKERS}, or auto`);
}

const MAX_WORKERS = 64;

function readHost(text: string, refuse: Refuse): string {
  if (text === "") throw refuse("give an address or a name");
  return text.replace(/^\[(.*)\]$/, "$1");
}

function readHostPattern(text: string, refuse: Refuse): string {
  if (isHostPattern(text)) return text;
  throw refuse("give a host without a port: app.example, *.app.example, [::1] or *");
}

function readOriginPattern(text: string, refuse: Refuse): string {
  if (isOriginPattern(text)) return text;
  throw refuse("give https://app.example, https://*.app.example, null or *");
}

function readProtocol(text: string, refuse: Refuse): string {
  if (isTokenProtocol(text)) throw refuse("such names carry tokens, so choose another");
  if (!isToken(text)) throw refuse("give letters, digits or any of !#$%&'*+-.^_`|~");
  return text;
}

function readRate(text: string, refuse: Refuse): RateLimit {
  const [messages = "", bytes, ...rest] = text.split(",");
  if (rest.length > 0 || bytes === "" || (messages === "" && bytes === undefined)) {
    throw refuse("give messages a second, or both as 100,1MiB");
  }
  return {
    messagesPerSecond: messages === "" ? Infinity : readWhole(messages, refuse, 1, MAX_MESSAGES_PER_SECOND),
    bytesPerSecond: bytes === undefined ? Infinity : readSize(bytes, refuse, 1),
  };
}

const MAX_MESSAGES_PER_SECOND = 1_000_000_000;

/**
 * Editors and secret tools end a file with a new line, which no client can send. White space beyond ASCII belongs to
 * the token, as in a field.
 */
async function readToken(source: Source, environment: Environment): Promise<string | undefined> {
  const path = source.value(OPTIONS.token);
  const name = variableOf(OPTIONS.token.name);
  const content = path === undefined ? environment.variable(name) : await readTokenFile(source, path, environment);
  if (content === undefined) return undefined;
  const token = content.replace(/^[ \t\r\n]+/, "").replace(/[ \t\r\n]+$/, "");
  const problem = "gives an empty token, which keeps nobody out: write a token";
  if (token === "" && path === undefined) throw new UsageError(`Variable ${name} ${problem}`);
  if (token === "") throw source.error(OPTIONS.token, problem);
  return token;
}

/** The path may be the token itself, by mistake: no error quotes it. */
async function readTokenFile(source: Source, path: string, { readFile }: Environment): Promise<string> {
  const bytes = await readFile(path).catch((error) => {
    const reason = error instanceof Error ? error.name : "it cannot be read";
    throw source.error(
      OPTIONS.token,
      `names no file that can be read (${reason}): give the path of a file with the token`,
    );
  });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw source.error(OPTIONS.token, "names a file that is not UTF-8: write the token as text");
  }
}
