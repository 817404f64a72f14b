/**
 * The echo server.
 *
 * ```sh
 * deno task server --port 6455
 * ```
 *
 * @module
 */

import config from "./deno.json" with { type: "json" };
import {
  type CommandLine,
  describeOptions,
  type OptionSpec,
  parseCommandLine,
  parseSeconds,
  parseSize,
  parseWhole,
  UsageError,
} from "./lib/command_line.ts";
import type { EchoEvent } from "./lib/echo.ts";
import { describeCloseFrame } from "./lib/protocol/close.ts";
import { quote } from "./lib/protocol/message.ts";
import { formatMs } from "./lib/report.ts";
import { type EchoServer, serveEcho, type ServeEchoOptions } from "./lib/serve.ts";
import { MAX_BUILTIN_FRAME_BYTES } from "./lib/transport/builtin.ts";
import { MAX_WIRE_MESSAGE_BYTES, type TransportName } from "./lib/transport/connection.ts";
import { EXIT_CODES } from "./lib/verdict.ts";

const OPTIONS: readonly OptionSpec[] = [
  { name: "port", value: "PORT", help: ["Port to listen on, 0 for a free one", "(default 6455)"] },
  { name: "host", value: "HOST", help: ["Address to listen on (default 127.0.0.1)"] },
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
    name: "idle-timeout",
    value: "S",
    help: ["Seconds without traffic before a peer is", "pinged and dropped; 0 for never (default 120)"],
  },
  {
    name: "transport",
    value: "NAME",
    help: ["builtin (default): the runtime's WebSocket;", "wire: own frames, strict and bounded"],
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

const HELP = [
  "wsproof's echo server: every message comes back unchanged, on any path.",
  "",
  "Usage: deno task server [OPTIONS]",
  "",
  ...describeOptions(OPTIONS),
  "",
  "Ctrl-C and SIGTERM close every connection with 1001 and end the server.",
].join("\n");

const LOGS: Record<string, (event: EchoEvent) => void> = {
  text: (event) => console.log(describeEvent(event)),
  json: (event) => console.log(JSON.stringify({ time: new Date().toISOString(), ...event })),
  none: () => {},
};

async function main(args: readonly string[]): Promise<number> {
  const line = parseCommandLine(args, OPTIONS);
  if (line.has("help")) return print(HELP);
  if (line.has("version")) return print(`wsproof ${config.version} (Deno ${Deno.version.deno})`);
  const [operand] = line.operands;
  if (operand !== undefined) throw new UsageError(`The server takes no operand: leave out "${operand}"`);

  const onEvent = readLog(line.has("quiet") ? "none" : line.value("log") ?? "text");
  const options: ServeEchoOptions = { onEvent };
  const [host, port, size, idle] = ["host", "port", "max-message", "idle-timeout"].map((name) => line.value(name));
  options.transport = readTransport(line.value("transport") ?? "builtin");
  if (host === "") throw new UsageError('Option --host cannot be "": give an address or a name');
  if (host !== undefined) options.hostname = host.replace(/^\[(.*)\]$/, "$1");
  if (port !== undefined) options.port = parseWhole("--port", port, 0, 65535);
  if (size !== undefined) options.maxMessageBytes = readMaxMessage(size, options.transport);
  if (idle !== undefined) options.idleTimeoutSeconds = Number(idle) === 0 && idle !== "" ? 0 : readIdleTimeout(idle);

  if (line.has("lab-public") && !line.has("lab")) {
    throw new UsageError("Option --lab-public belongs to --lab: give both");
  }
  const server = line.has("lab") ? await startLab(line, options) : serveEcho(options);
  console.log(`Listening on ${server.url}`);

  await untilSignal();
  const left = await server.shutdown();
  if (left > 0) {
    console.error(`wsproof: ${left} ${left === 1 ? "peer" : "peers"} did not answer the close frame in time`);
  }
  return EXIT_CODES.proven;
}

/** Starts the lab; loaded here, as the echo server has no need of it. */
async function startLab(line: CommandLine, { hostname, port, onEvent }: ServeEchoOptions): Promise<EchoServer> {
  for (const name of ["max-message", "idle-timeout", "transport"]) {
    if (line.value(name) !== undefined) throw new UsageError(`Option --${name} does not go with --lab: leave it out`);
  }
  const { isLoopback, serveLab } = await import("./lib/lab.ts");
  if (hostname !== undefined && !isLoopback(hostname) && !line.has("lab-public")) {
    throw new UsageError(
      `Option --host cannot be "${hostname}" with --lab: it is not a loopback address; to insist add --lab-public`,
    );
  }
  return await serveLab({
    ...(hostname && { hostname }),
    ...(port !== undefined && { port }),
    ...(onEvent && { onEvent }),
  });
}

function print(text: string): number {
  console.log(text);
  return EXIT_CODES.proven;
}

function readLog(form: string): (event: EchoEvent) => void {
  const log = Object.hasOwn(LOGS, form) ? LOGS[form] : undefined;
  if (log === undefined) throw new UsageError(`Option --log cannot be "${form}": give text, json or none`);
  return log;
}

function readTransport(name: string): TransportName {
  if (name === "builtin" || name === "wire") return name;
  throw new UsageError(`Option --transport cannot be "${name}": give builtin or wire`);
}

function readMaxMessage(text: string, transport: TransportName): number {
  const bytes = parseSize("--max-message", text);
  const most = transport === "wire" ? MAX_WIRE_MESSAGE_BYTES : MAX_BUILTIN_FRAME_BYTES;
  if (bytes <= most) return bytes;
  const who = transport === "wire" ? "the server" : "the runtime";
  throw new UsageError(`Option --max-message cannot be "${text}": ${who} takes at most ${most} bytes`);
}

/** The runtime counts whole seconds. */
function readIdleTimeout(text: string): number {
  return Math.ceil(parseSeconds("--idle-timeout", text) / 1000);
}

/** One line for an event; what a peer sent is quoted, so that it stays on the line. */
function describeEvent(event: EchoEvent): string {
  const time = new Date().toISOString();
  if (event.type === "opened") {
    const protocol = event.protocol === "" ? "" : ` subprotocol ${quote(event.protocol)}`;
    return `${time} #${event.id} opened by ${event.peer} for ${quote(event.path, MAX_PATH_CHARS)}${protocol}`;
  }
  const { received, sent, error, messages, bytes, ms } = event;
  const end = received ? describeCloseFrame(received) : error === "" ? "no close frame that is known" : quote(error);
  const began = sent ? `, after our ${describeCloseFrame(sent)}` : "";
  const volume = `${messages} ${messages === 1 ? "message" : "messages"}, ${bytes} bytes`;
  return `${time} #${event.id} closed: ${end}${began}; ${volume} in ${formatMs(ms)}`;
}

const MAX_PATH_CHARS = 200;

/** Waits for Ctrl-C or a request to terminate; the second one ends the process at once. */
function untilSignal(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let isStopping = false;
  const onSignal = () => {
    if (isStopping) Deno.exit(EXIT_CODES.interrupted);
    isStopping = true;
    resolve();
  };
  Deno.addSignalListener("SIGINT", onSignal);
  if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", onSignal);
  return promise;
}

/** Says in one line what is wrong, and gives the exit code for it. */
function fail(error: unknown): number {
  console.error(`wsproof: ${error instanceof Error ? error.message : error}`);
  return error instanceof UsageError ? EXIT_CODES.usage : EXIT_CODES["internal-error"];
}

if (import.meta.main) Deno.exit(await main(Deno.args).catch(fail));
