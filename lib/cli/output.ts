/**
 * The output of the client: during an exchange, at its end, and for a wrong command line.
 *
 * @module
 */

import type { ClientSettings } from "./client_settings.ts";
import type { HarFile } from "./har_file.ts";
import type { ExchangeEvent, ExchangeReport } from "../client/exchange_report.ts";
import type { ExchangeOptions } from "../client/exchange_options.ts";
import type { Progress } from "../client/progress.ts";
import {
  EVENT_COLUMNS,
  formatEvent,
  formatFailure,
  formatJson,
  type FormatOptions,
  formatProven,
  formatReport,
  printable,
  wrapLine,
} from "../client/report.ts";
import { PayloadError, UsageError } from "../client/usage.ts";
import { EXIT_CODES, type Failure } from "../client/verdict.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";
import { OptionError } from "../connection/connection.ts";

/** The two outputs of a command line. Only a shell's outputs really print. */
export interface Screen {
  /** The standard output, for results. */
  readonly out: Stream;
  /** The standard error output, for everything else. */
  readonly error: Stream;
}

/** One of the two outputs. */
export interface Stream {
  /** Whether a person reads the output and wants colours. */
  readonly isColored: boolean;
  /** Columns of the terminal now; `undefined` where no person reads. */
  readonly columns?: number | undefined;
  /** Prints a text and a line end. */
  print(text: string): void;
}

const REPORT_A_BUG =
  "This is a bug in wsproof: please report it, with the command and these lines, to its issue tracker.";

/** Listeners for an open connection. */
export type Tracing = Pick<ExchangeOptions, "onHead" | "onFrame" | "onBreach">;

/** Listeners for a running exchange. */
export interface ExchangeView extends Tracing {
  /** Shows an event. */
  onEvent(event: ExchangeEvent): void;
  /** Removes the bar, and writes the file of `--har`. */
  end(report: ExchangeReport): Promise<void>;
}

/**
 * Shows a running exchange: `--verbose` each event, `--trace` each frame, else a bar where a person waits. With
 * `--trace` the frames replace the messages, so that no message appears twice.
 *
 * @param url The URL of the server.
 * @param settings The settings of the client.
 * @param screen The outputs.
 * @returns The listeners for the exchange.
 * @throws {UsageError} If the file of `--har` cannot be written.
 */
export async function viewOf(url: string, settings: ClientSettings, { error }: Screen): Promise<ExchangeView> {
  const { verbose, trace, hex } = settings;
  const har = await harOf(url, settings);
  const bar = await progressOf(settings, error);
  // Load rarely used modules here: otherwise every run waits for them.
  const { dumpLines } = hex && !trace ? await import("../client/message_line.ts") : { dumpLines: () => [] };
  return {
    ...await tracing(settings, error, har),
    onEvent(event) {
      bar?.onEvent(event);
      if (event.type === "upgraded") har?.onUpgraded();
      else if (event.type === "sent") har?.onMessage(event.message, "out");
      else if (event.type === "received") har?.onMessage(event.message, "in");
      const isMessage = event.type === "sent" || event.type === "received";
      const isShown = trace
        ? event.type === "closed" || (verbose && !isMessage && event.type !== "closing")
        : verbose || (hex && isMessage);
      if (isShown) printLine(error, formatEvent(event), EVENT_COLUMNS);
      if (isMessage) { for (const line of dumpLines(event.message)) error.print(line); }
    },
    async end(report) {
      await bar?.stop();
      await har?.write(report);
    },
  };
}

/**
 * Begins the file of `--har`.
 *
 * @param url The URL of the server.
 * @param settings The settings of the client.
 * @returns The recorder; `undefined` without the option.
 * @throws {UsageError} If the file cannot be written.
 */
export async function harOf(url: string, { har, exchange }: ClientSettings): Promise<HarFile | undefined> {
  if (har === undefined) return undefined;
  const { HarFile } = await import("./har_file.ts");
  return await HarFile.create(har, url, exchange);
}

/**
 * Shows the handshake, every frame and each breach of the protocol with `--trace`.
 *
 * @param settings The settings of the client.
 * @param stream The output.
 * @param har Records the handshake, if it is given.
 * @returns The listeners for the connection; none without `--trace` and a recorder.
 */
export async function tracing(
  { trace, hex }: Pick<ClientSettings, "trace" | "hex">,
  stream: Stream,
  har?: HarFile,
): Promise<Tracing> {
  if (!trace) return har ? { onHead: (head) => har.onHead(head) } : {};
  const { dumpFrame, formatBreach, formatFrame, formatHead } = await import("../client/trace.ts");
  const start = performance.now();
  const now = () => performance.now() - start;
  const show = (line: string) => printLine(stream, line, EVENT_COLUMNS + 2);
  return {
    onHead(head) {
      har?.onHead(head);
      formatHead(head, now()).forEach(show);
    },
    onFrame(frame) {
      show(formatFrame(frame, now()));
      if (hex) { for (const line of dumpFrame(frame)) stream.print(line); }
    },
    onBreach: (breach) => show(formatBreach(breach, now())),
  };
}

/** Makes a bar if a person waits and the total is known. */
async function progressOf(
  { output, verbose, trace, hex, totalBytes = 0, exchange }: ClientSettings,
  stream: Stream,
): Promise<Progress | undefined> {
  if (output === "nothing" || verbose || trace || hex || totalBytes === 0 || !Deno.stderr.isTerminal()) {
    return undefined;
  }
  const { Progress } = await import("../client/progress.ts");
  return new Progress(totalBytes, exchange.expectation?.type === "echo", stream.columns ?? DEFAULT_COLUMNS);
}

function formatOf({ isColored, columns }: Stream): FormatOptions {
  return { color: isColored, ...(columns !== undefined && { columns }) };
}

/**
 * Prints a line, broken at words to fit a narrower terminal.
 *
 * @param stream The output.
 * @param line The line.
 * @param hang The indent of the lines behind a break, in columns; 2 by default.
 *
 * @example
 * ```ts
 * import { printLine } from "./output.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * printLine({ isColored: false, columns: 16, print: (text) => void lines.push(text) }, "proven: close confirmed");
 * assertEquals(lines, ["proven: close\n  confirmed"]);
 * ```
 */
export function printLine(stream: Stream, line: string, hang?: number): void {
  stream.print(wrapLine(line, stream.columns, hang).join("\n"));
}

/**
 * Prints the steps and the verdict of an exchange.
 *
 * @param report The report.
 * @param output The form of the output.
 * @param screen The outputs.
 */
export function tellReport(report: ExchangeReport, output: ClientSettings["output"], { out, error }: Screen): void {
  if (output === "nothing") return;
  const lines = formatReport(report, formatOf(out));
  const { steps } = lines;
  const { verdict } = report.ok ? lines : formatReport(report, formatOf(error));
  if (output === "json") out.print(formatJson(report));
  else if (steps.length > 0) out.print(steps.join("\n"));
  if (!report.ok) error.print(verdict.join("\n"));
  else if (output === "lines") out.print(verdict.join("\n"));
  if (report.verdict === "internal-error") error.print(REPORT_A_BUG);
}

/**
 * Prints the verdict of a conversation that failed.
 *
 * @param failure The failure.
 * @param output The form of the output.
 * @param screen The outputs.
 * @returns The exit code.
 *
 * @example
 * ```ts
 * import { tellFailure } from "./output.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const stream = { isColored: false, print: (text: string) => void lines.push(text) };
 * const failure = { verdict: "no-reply", problem: "Nothing came", hint: "" } as const;
 * assertEquals(tellFailure(failure, "lines", { out: stream, error: stream }), 5);
 * assertEquals(lines, ["no-reply (exit 5): Nothing came"]);
 * ```
 */
export function tellFailure(failure: Failure, output: ClientSettings["output"], { error }: Screen): number {
  if (output !== "nothing") {
    error.print(formatFailure(failure, formatOf(error)).join("\n"));
    if (failure.verdict === "internal-error") error.print(REPORT_A_BUG);
  }
  return EXIT_CODES[failure.verdict];
}

/**
 * Prints the verdict of a proven conversation: on the standard error output, as the messages are the results.
 *
 * @param claims The claims.
 * @param ms Its duration, in milliseconds.
 * @param output The form of the output.
 * @param screen The outputs.
 * @returns The exit code.
 *
 * @example
 * ```ts
 * import { tellProven } from "./output.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const stream = { isColored: false, print: (text: string) => void lines.push(text) };
 * assertEquals(tellProven("close confirmed", 1234, "lines", { out: stream, error: stream }), 0);
 * assertEquals(lines, ["proven in 1.23 s: close confirmed"]);
 * ```
 */
export function tellProven(claims: string, ms: number, output: ClientSettings["output"], { error }: Screen): number {
  if (output !== "nothing") error.print(formatProven(claims, ms, formatOf(error)).join("\n"));
  return EXIT_CODES.proven;
}

/**
 * Prints the error that ends the program: one line for a mistake of the user, the whole error and an advice for a bug.
 *
 * @param thrown The thrown value.
 * @param screen The outputs.
 * @returns The exit code: 2 for a mistake of the user, else 1.
 *
 * @example
 * ```ts
 * import { UsageError } from "../client/usage.ts";
 * import { tellError } from "./output.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lines: string[] = [];
 * const stream = { isColored: false, print: (text: string) => void lines.push(text) };
 * assertEquals(tellError(new UsageError("There is more than one URL"), { out: stream, error: stream }), 2);
 * assertEquals(lines, ["wsproof: There is more than one URL"]);
 * ```
 */
export function tellError(thrown: unknown, { error }: Screen): number {
  const expected = [UsageError, PayloadError, OptionError, Deno.errors.NotCapable];
  if (thrown instanceof Error && expected.some((ErrorClass) => thrown instanceof ErrorClass)) {
    printLine(error, `wsproof: ${printable(thrown.message)}`);
    return EXIT_CODES.usage;
  }
  if (isOutputError(thrown)) {
    // A full error output swallows this line too.
    const reason = thrown.message.replace(/ \(os error \d+\).*$/s, "");
    printLine(error, `wsproof: Cannot write to standard output: ${reason}`);
    return EXIT_CODES["internal-error"];
  }
  error.print(Deno.inspect(thrown).split("\n").map(printable).join("\n"));
  error.print(REPORT_A_BUG);
  return EXIT_CODES["internal-error"];
}

/** Recognises the runtime's error for an output that takes no line, such as a full disk. */
function isOutputError(error: unknown): error is Error {
  return error instanceof Error && /No space left on device|Broken pipe/.test(error.message);
}
