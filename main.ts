/**
 * The command line: the first word chooses a command. Without one the client proves a connection in one exchange.
 *
 * ```sh
 * deno task -q client ws://127.0.0.1:6455/
 * ```
 *
 * @module
 */

import type { ClientSettings } from "./lib/cli/client_settings.ts";
import type { Commands } from "./lib/cli/commands.ts";
import { printLine, type Screen, type Stream, tellError, tellReport, viewOf } from "./lib/cli/output.ts";
import { plainRun } from "./lib/cli/plain_run.ts";
import { listenForSignals } from "./lib/cli/signals.ts";
import { isWorker } from "./lib/cli/survival.ts";
import { columnsOf } from "./lib/cli/environment.ts";
import { EXIT_CODES } from "./lib/client/verdict.ts";
import { DEFAULT_PORT } from "./lib/connection/connection.ts";

async function main(args: readonly string[]): Promise<number> {
  // Open: which server, and which exchange?
  const plain = plainRun(args);
  if (plain) return await run(plain);

  const { commandOf, refuseWords } = await import("./lib/cli/commands.ts");
  const command = commandOf(args, COMMANDS);
  if (command) return await command.run(args.slice(1));
  const { CLIENT_OPTIONS, readClientSettings } = await import("./lib/cli/client_settings.ts");
  const { parseCommandLine } = await import("./lib/cli/command_line.ts");
  const line = parseCommandLine(args, CLIENT_OPTIONS);
  const named = line.has("help") ? commandOf(line.operands, COMMANDS) : undefined;
  if (named) return await named.run(["--help"]);
  refuseWords(line, COMMANDS);
  if (line.has("help")) return await help();
  if (line.has("version")) {
    const { VERSION } = await import("./lib/net/version.ts");
    return print(`wsproof ${VERSION} (Deno ${Deno.version.deno})`);
  }
  return await run(await readClientSettings(line));
}

/** Runs an exchange or a conversation. */
async function run(settings: ClientSettings): Promise<number> {
  const url = settings.url ?? await findServer(settings);
  const signals = listenForSignals(() => Deno.exit(EXIT_CODES.interrupted));
  if (settings.interactive) return await (await import("./lib/cli/talk.ts")).talk(url, settings, signals, SCREEN);

  // Connect; ask for the upgrade; send; receive until the complete message is there, and verify it; close.
  const { exchange } = await import("./lib/client/exchange.ts");
  const view = await viewOf(url, settings, SCREEN);
  const report = await exchange(url, { ...settings.exchange, ...view, signal: signals.signal });
  await view.end(report);

  // Query the status and the reason of the close: both are in the report, with the proof, or the failure and its cause.
  tellReport(report, settings.output, SCREEN);
  return report.exitCode;
}

/** Commands: the alternatives to a URL as first word. Each loads its own modules. */
const COMMANDS: Commands = {
  check: {
    usage: "[OPTIONS] URL",
    help: "Hold a server to RFC 6455, case by case",
    options: async () => (await import("./lib/cli/check_settings.ts")).CHECK_OPTIONS,
    words: async () => (await import("./lib/cli/check_settings.ts")).NAMED_GROUPS,
    run: async (args) => {
      const listen = () => listenForSignals(() => Deno.exit(EXIT_CODES.interrupted)).signal;
      return await (await import("./lib/cli/check.ts")).check(args, SCREEN, listen);
    },
  },
  serve: {
    usage: "[OPTIONS]",
    help: "Run the echo server",
    options: async () => (await import("./lib/cli/server_settings.ts")).SERVER_OPTIONS,
    run: async (args) => await (await import("./server.ts")).serve(args),
  },
  lab: {
    usage: "[OPTIONS]",
    help: "Run a peer that misbehaves on request",
    options: async () => (await import("./lib/cli/server_settings.ts")).LAB_OPTIONS,
    run: async (args) => await (await import("./server.ts")).lab(args),
  },
  help: {
    usage: "[COMMAND | TOPIC]",
    help: "Show this help, or the help of a command or topic",
    words: async () => [...Object.keys(COMMANDS), ...(await import("./lib/cli/client_help.ts")).HELP_TOPICS],
    run: async ([word]) => {
      const { commandOf } = await import("./lib/cli/commands.ts");
      return await (commandOf([word ?? ""], COMMANDS)?.run(["--help"]) ?? help(word));
    },
  },
  completions: {
    usage: "bash | zsh | fish",
    help: "Print the completions of this shell",
    words: async () => Object.keys((await import("./lib/cli/completions.ts")).SHELLS),
    run: async (args) => print(await (await import("./lib/cli/completions.ts")).completionsFor(args, COMMANDS)),
  },
};

/** Shows the help of the client, or of a topic. */
async function help(topic?: string): Promise<number> {
  const { clientHelp, topicHelp } = await import("./lib/cli/client_help.ts");
  const { columns } = SCREEN.out;
  // `wsproof help --help` asks for no topic.
  const isTopic = topic !== undefined && !topic.startsWith("-");
  return print(isTopic ? topicHelp(topic, COMMANDS, columns) : clientHelp(COMMANDS, columns));
}

const SCREEN: Screen = {
  out: streamOf(Deno.stdout, (text) => console.log(text)),
  error: streamOf(Deno.stderr, (text) => console.error(text)),
};

function streamOf(output: { isTerminal(): boolean }, print: Stream["print"]): Stream {
  return {
    isColored: output.isTerminal() && !Deno.noColor,
    get columns() {
      return columnsOf(output);
    },
    print,
  };
}

function print(text: string): number {
  SCREEN.out.print(text);
  return EXIT_CODES.proven;
}

/** Looks for a server on the usual port of either family; without one, starts an echo on a free port. */
async function findServer({ output }: ClientSettings): Promise<string> {
  const { inUrl, listeningAddress, LOOPBACK_ADDRESSES } = await import("./lib/net/host.ts");
  const urlAt = (address: string) => `ws://${inUrl(address)}:${DEFAULT_PORT}/`;
  const address = await listeningAddress(DEFAULT_PORT);
  if (address !== undefined) return urlAt(address);
  const { serveEcho } = await import("./lib/server/serve.ts");
  const { url } = serveEcho({ port: 0 });
  if (output !== "nothing") {
    const places = LOOPBACK_ADDRESSES.map(urlAt).join(" or ");
    printLine(SCREEN.error, `Nothing listens on ${places}, so an echo server was started on ${url}`);
  }
  return url;
}

if (import.meta.main && isWorker()) await (await import("./server.ts")).work();
if (import.meta.main) Deno.exit(await main(Deno.args).catch((error) => tellError(error, SCREEN)));
