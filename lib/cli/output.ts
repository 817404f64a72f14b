/**
 * What the client says of an exchange: while it runs, at its end, and where the command line itself is wrong.
 *
 * @module
 */

import type { ClientSettings } from "./client_settings.ts";
import { UsageError } from "./command_line.ts";
import type { HarFile } from "./har_file.ts";
import type { ExchangeEvent, ExchangeOptions, ExchangeReport } from "../client/exchange.ts";
import { PayloadError } from "../client/payload.ts";
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
import { EXIT_CODES, type Failure } from "../client/verdict.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";
import { OptionError } from "../connection/connection.ts";

/** Where a command line prints; only a shell has one that prints for real. */
export interface Screen {
  /** Prints results: the standard output. */
  readonly out: Stream;
  /** Prints what is no result: the standard error output. */
  readonly error: Stream;
}

/** One of the two outputs. */
export interface Stream {
  /** Whether a person reads it, and wants colours. */
  readonly isColored: boolean;
  /** The columns of the terminal, as it is now; `undefined` where no person reads. */
  readonly columns?: number | undefined;
  /** Prints a text and a line end. */
  print(text: string): void;
}

const REPORT_A_BUG =
  "This is a bug in wsproof: please report it, with the command and these lines, to its issue tracker.";

/** What follows a connection while it is open. */
export type Tracing = Pick<ExchangeOptions, "onHead" | "onFrame" | "onBreach">;

/** What follows an exchange while it runs. */
export interface ExchangeView extends Tracing {
  /** Told of each event. */
  onEvent(event: ExchangeEvent): void;
  /** Clears what is only for the time of the exchange, and writes the file of `--har`. */
  end(report: ExchangeReport): Promise<void>;
}

/**
 * Shows an exchange while it runs: each event with `--verbose`, each frame with `--trace`, else a bar where a person waits.
 * No message is shown twice: with `--trace` its frames are.
 *
 * @param url Where to connect to.
 * @param settings What the client is asked to do.
 * @param screen Where to print.
 * @returns What the exchange tells its events.
 * @throws {UsageError} If the file of `--har` cannot be written.
 */
export async function viewOf(url: string, settings: ClientSettings, { error }: Screen): Promise<ExchangeView> {
  const { verbose, trace, hex } = settings;
  const har = await harOf(url, settings);
  const bar = await progressOf(settings, error.columns);
  // Modules that not every run needs are loaded where they are: a run takes little longer than the bare runtime.
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
 * @param url Where to connect to.
 * @param settings What the client is asked to do.
 * @returns The recorder; `undefined` without the option.
 * @throws {UsageError} If the file cannot be written.
 */
export async function harOf(url: string, { har, exchange }: ClientSettings): Promise<HarFile | undefined> {
  if (har === undefined) return undefined;
  const { HarFile } = await import("./har_file.ts");
  return await HarFile.create(har, url, exchange);
}

/**
 * Shows the handshake, every frame and a breach of the protocol with `--trace`.
 *
 * @param settings What the client is asked to do.
 * @param stream Where to print.
 * @param har Records the handshake, if it is given.
 * @returns The options for the connection; none that nobody asked for.
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

/** A bar is for a person, and for work of which the end is known. */
async function progressOf(
  { output, verbose, trace, hex, totalBytes = 0, exchange }: ClientSettings,
  columns = DEFAULT_COLUMNS,
): Promise<Progress | undefined> {
  if (output === "nothing" || verbose || trace || hex || totalBytes === 0 || !Deno.stderr.isTerminal()) {
    return undefined;
  }
  const { Progress } = await import("../client/progress.ts");
  return new Progress(totalBytes, exchange.expectation?.type === "echo", columns);
}

function formatOf({ isColored, columns }: Stream): FormatOptions {
  return { color: isColored, ...(columns !== undefined && { columns }) };
}

/**
 * Prints a line, broken at words where a terminal is not as wide.
 *
 * @param stream Where to print.
 * @param line The line.
 * @param hang How far what follows is indented, in columns; 2 by default.
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
 * Says what an exchange proved, or what failed and why.
 *
 * @param report The report.
 * @param output The form that was asked for.
 * @param screen Where to print.
 */
export function tellReport(report: ExchangeReport, output: ClientSettings["output"], { out, error }: Screen): void {
  if (output === "nothing") return;
  const { steps } = formatReport(report, formatOf(out));
  const { verdict } = formatReport(report, formatOf(report.ok ? out : error));
  if (output === "json") out.print(formatJson(report));
  else if (steps.length > 0) out.print(steps.join("\n"));
  if (!report.ok) error.print(verdict.join("\n"));
  else if (output === "lines") out.print(verdict.join("\n"));
  if (report.verdict === "internal-error") error.print(REPORT_A_BUG);
}

/**
 * Says why a conversation failed.
 *
 * @param failure What failed.
 * @param output The form that was asked for.
 * @param screen Where to print.
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
 * Says what a conversation proved; on the standard error output, as the messages are its results.
 *
 * @param claims What was proven.
 * @param ms How long it took, in milliseconds.
 * @param output The form that was asked for.
 * @param screen Where to print.
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
 * Says in one line what is wrong with a command line, and in more what is a bug.
 *
 * @param thrown What was thrown.
 * @param screen Where to print.
 * @returns The exit code: 2 for what the user can mend, else 1.
 *
 * @example
 * ```ts
 * import { UsageError } from "./command_line.ts";
import type { HarFile } from "./har_file.ts";
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
    // Where the error output is the one that is full, not even this can be said.
    printLine(error, `wsproof: Cannot write to the standard output: ${thrown.message}`);
    return EXIT_CODES["internal-error"];
  }
  error.print(Deno.inspect(thrown).split("\n").map(printable).join("\n"));
  error.print(REPORT_A_BUG);
  return EXIT_CODES["internal-error"];
}

/** What the runtime throws when a line cannot be printed, as on a disk that is full. */
function isOutputError(error: unknown): error is Error {
  return error instanceof Error && /No space left on device|Broken pipe/.test(error.message);
}
