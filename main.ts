/**
 * The client: one exchange, and what it proved.
 *
 * ```sh
 * deno task client ws://127.0.0.1:6455/
 * ```
 *
 * @module
 */

import { CLIENT_OPTIONS, clientHelp, type ClientSettings, readClientSettings } from "./lib/cli/client_settings.ts";
import { parseCommandLine, UsageError } from "./lib/cli/command_line.ts";
import { exchange, type ExchangeEvent, type ExchangeReport } from "./lib/client/exchange.ts";
import { openingFailure } from "./lib/client/failure.ts";
import { inUrl, listeningAddress, LOOPBACK_ADDRESSES } from "./lib/net/host.ts";
import { PayloadError } from "./lib/client/payload.ts";
import type { Progress } from "./lib/client/progress.ts";
import { formatMs, withoutPassword, withoutToken } from "./lib/protocol/message.ts";
import { formatEvent, formatFailure, formatJson, formatReport, printable } from "./lib/client/report.ts";
import { listenForSignals } from "./lib/cli/signals.ts";
import { DEFAULT_PORT, type FrameTrace, OpenError, OptionError } from "./lib/connection/connection.ts";
import { openConnection } from "./lib/connection/open.ts";
import { proxyNameFor, wayText } from "./lib/net/proxy.ts";
import { EXIT_CODES, type Failure } from "./lib/client/verdict.ts";
import { VERSION } from "./lib/net/version.ts";

async function main(args: readonly string[]): Promise<number> {
  // What is asked for?
  const line = parseCommandLine(args, CLIENT_OPTIONS);
  if (line.has("help")) return print(clientHelp());
  if (line.has("version")) return print(`wsproof ${VERSION} (Deno ${Deno.version.deno})`);
  const settings = await readClientSettings(line);

  // Where to? The server that was named, the one on the usual port, or one of our own.
  const url = settings.url ?? await findServer(settings);
  const { signal } = listenForSignals(() => Deno.exit(EXIT_CODES.interrupted));
  if (settings.interactive) return await talk(url, settings, signal);

  // Connect, upgrade, send, receive, verify, close.
  const progress = await progressOf(settings);
  const onEvent = (event: ExchangeEvent) => {
    progress?.onEvent(event);
    if (settings.verbose) console.error(formatEvent(event));
  };
  const report = await exchange(url, { ...settings.exchange, ...(await tracing(settings)), signal, onEvent });
  await progress?.stop();

  // What was proven, or what failed and why?
  tell(report, settings);
  return report.exitCode;
}

function print(text: string): number {
  console.log(text);
  return EXIT_CODES.proven;
}

/** With --trace each frame is a line on the standard error output. */
async function tracing({ trace }: ClientSettings): Promise<{ onFrame?: (frame: FrameTrace) => void }> {
  if (!trace) return {};
  const { formatFrame } = await import("./lib/client/trace.ts");
  const start = performance.now();
  return { onFrame: (frame) => console.error(formatFrame(frame, performance.now() - start)) };
}

/** Looks for a server on the usual port of either family, and starts one on a free port if there is none. */
async function findServer({ output }: ClientSettings): Promise<string> {
  const urlAt = (address: string) => `ws://${inUrl(address)}:${DEFAULT_PORT}/`;
  const address = await listeningAddress(DEFAULT_PORT);
  if (address !== undefined) return urlAt(address);
  // Modules that not every run needs are loaded where they are: a run takes little longer than the bare runtime.
  const { serveEcho } = await import("./lib/server/serve.ts");
  const { url } = serveEcho({ port: 0 });
  if (output !== "nothing") {
    const places = LOOPBACK_ADDRESSES.map(urlAt).join(" or ");
    console.error(`Nothing listens on ${places}, so an echo server was started on ${url}`);
  }
  return url;
}

/** A bar is for a person, and for work of which the end is known. */
async function progressOf(
  { output, verbose, totalBytes = 0, exchange }: ClientSettings,
): Promise<Progress | undefined> {
  if (output === "nothing" || verbose || totalBytes === 0 || !Deno.stderr.isTerminal()) return undefined;
  const { Progress } = await import("./lib/client/progress.ts");
  return new Progress(totalBytes, exchange.expectation?.type === "echo");
}

function tell(report: ExchangeReport, { output }: ClientSettings): void {
  if (output === "nothing") return;
  const { steps } = formatReport(report, { color: isColored(Deno.stdout) });
  const { verdict } = formatReport(report, { color: isColored(report.ok ? Deno.stdout : Deno.stderr) });
  if (output === "json") console.log(formatJson(report));
  else if (steps.length > 0) console.log(steps.join("\n"));
  if (!report.ok) console.error(verdict.join("\n"));
  else if (output === "lines") console.log(verdict.join("\n"));
  if (report.verdict === "internal-error") console.error(REPORT_A_BUG);
}

const REPORT_A_BUG =
  "This is a bug in wsproof: please report it, with the command and these lines, to its issue tracker.";

function isColored(stream: { isTerminal(): boolean }): boolean {
  return stream.isTerminal() && !Deno.noColor;
}

/** Holds a conversation: lines of the standard input out, messages to the standard output. */
async function talk(url: string, settings: ClientSettings, signal: AbortSignal): Promise<number> {
  const { output, exchange: options } = settings;
  const notice = (text: string) => output === "nothing" || console.error(printable(text));
  const isTyped = Deno.stdin.isTerminal();
  if (isTyped && /^(text|match)$/.test(options.expectation?.type ?? "")) {
    throw new UsageError("Options --reply and --reply-match need lines from a pipe: in a terminal a person judges");
  }
  const start = performance.now();
  const { transport = "builtin" } = options;
  try {
    const connection = await openConnection(url, transport, { ...options, ...(await tracing(settings)), signal });
    const protocol = connection.protocol === "" ? "" : `, subprotocol ${withoutToken(connection.protocol)}`;
    const way = wayText(proxyNameFor(url, options, transport));
    notice(`Connected to ${withoutPassword(url)}${way} in ${formatMs(performance.now() - start)}${protocol}`);
    if (isTyped) notice("Each line is sent as a text message; Ctrl-D closes the connection.");
    const { converse, splitLines } = await import("./lib/client/conversation.ts");
    const { keepAlive } = await import("./lib/connection/keep_alive.ts");
    keepAlive(connection);
    const lines = Deno.stdin.readable
      .pipeThrough(new TextDecoderStream("utf-8", { fatal: true, ignoreBOM: true }))
      .pipeThrough(splitLines());
    const failure = await converse(connection, lines, {
      ...options,
      isTyped,
      signal,
      onMessage: (text) => console.log(text),
      onNotice: notice,
    });
    return failure ? tellFailure(failure, settings) : EXIT_CODES.proven;
  } catch (error) {
    if (signal.aborted) return EXIT_CODES.interrupted;
    if (!(error instanceof OpenError)) throw error;
    return tellFailure(openingFailure(error, url, options, transport), settings);
  }
}

/** Says why a conversation failed, and gives the exit code for it. */
function tellFailure(failure: Failure, { output }: ClientSettings): number {
  if (output !== "nothing") {
    console.error(formatFailure(failure, { color: isColored(Deno.stderr) }).join("\n"));
    if (failure.verdict === "internal-error") console.error(REPORT_A_BUG);
  }
  return EXIT_CODES[failure.verdict];
}

/** What the runtime throws when a line cannot be printed, as on a disk that is full. */
function isOutputError(error: unknown): error is Error {
  return error instanceof Error && /No space left on device|Broken pipe/.test(error.message);
}

/** Says in one line what is wrong, and gives the exit code for it. */
function fail(error: unknown): number {
  const expected = [UsageError, PayloadError, OptionError, Deno.errors.NotCapable];
  if (error instanceof Error && expected.some((ErrorClass) => error instanceof ErrorClass)) {
    console.error(`wsproof: ${printable(error.message)}`);
    return EXIT_CODES.usage;
  }
  if (isOutputError(error)) {
    // Where the error output is the one that is full, not even this can be said.
    console.error(`wsproof: Cannot write to the standard output: ${error.message}`);
    return EXIT_CODES["internal-error"];
  }
  console.error(Deno.inspect(error).split("\n").map(printable).join("\n"));
  console.error(REPORT_A_BUG);
  return EXIT_CODES["internal-error"];
}

if (import.meta.main) Deno.exit(await main(Deno.args).catch(fail));
