/**
 * The conversation of `--interactive`: sends lines of the standard input, and prints messages on the standard output.
 *
 * @module
 */

import type { ClientSettings } from "./client_settings.ts";
import { UsageError } from "./command_line.ts";
import { describeCommands } from "./commands.ts";
import type { LineEditor } from "./line_editor.ts";
import { harOf, printLine, type Screen, type Stream, tellFailure, tellProven, tracing } from "./output.ts";
import type { SignalListener } from "./signals.ts";
import { canEdit } from "./environment.ts";
import { converse, MAX_TYPED_LINE_BYTES, splitLines } from "../client/conversation.ts";
import { agreementText, claimText, VERIFIED_TEXT } from "../client/exchange_report.ts";
import { openingFailure } from "../client/failure.ts";
import { type Direction, dumpLines, messageLine } from "../client/message_line.ts";
import { EVENT_COLUMNS, formatEvent, printable } from "../client/report.ts";
import { TALK_COMMANDS } from "../client/talk_command.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { type HandshakeRefusal, OpenError } from "../connection/connection.ts";
import { keepAlive } from "../connection/keep_alive.ts";
import { openConnection } from "../connection/open.ts";
import { proxyNameFor, wayText } from "../net/proxy.ts";
import type { CloseRecord } from "../protocol/close.ts";
import { counted, formatMs, type Message, withoutPassword } from "../protocol/message.ts";

/** The colours of sent messages, received messages, and notices. */
const COLORS = { out: "\x1b[36m", in: "\x1b[32m", notice: "\x1b[90m" };

/**
 * Holds a conversation.
 *
 * @param url The URL of the server.
 * @param settings The settings of the client.
 * @param signals Ends the conversation, and takes the Ctrl-C of a terminal in raw mode.
 * @param screen The outputs.
 * @returns The exit code.
 * @throws {UsageError} If the settings do not go with a person at a terminal.
 */
export async function talk(
  url: string,
  settings: ClientSettings,
  { signal, interrupt }: Pick<SignalListener, "signal" | "interrupt">,
  screen: Screen,
): Promise<number> {
  const { output, exchange: options } = settings;
  const { transport = "builtin", expectation = { type: "echo" } } = options;
  const isTyped = Deno.stdin.isTerminal();
  if (isTyped && /^(text|match)$/.test(expectation.type)) {
    throw new UsageError(
      "Options --reply and --reply-match need lines from a pipe: in a terminal you judge the replies",
    );
  }
  // The prompt comes later; from then on, lines appear above it.
  const editing: { editor?: LineEditor } = {};
  const out = above(screen.out, editing, Deno.stdout);
  const error = above(screen.error, editing, Deno.stderr);
  const notice = (text: string) => {
    if (output !== "nothing") printLine(colored(error, isTyped ? COLORS.notice : undefined), printable(text));
  };
  const har = await harOf(url, settings);
  const ending: { close?: CloseRecord; refusal?: HandshakeRefusal | undefined } = {};
  const start = performance.now();
  try {
    const traced = await tracing(settings, error, har);
    const connection = await openConnection(url, transport, { ...options, ...traced, signal });
    har?.onUpgraded();
    connection.closed.then((record) => ending.close = record);
    const place = `${withoutPassword(url)}${wayText(proxyNameFor(url, options, transport))}`;
    const ms = formatMs(performance.now() - start);
    notice(`Connected to ${place} in ${ms}${agreementText(connection, options.deflate)}`);
    keepAlive(connection);
    let echoed: string | undefined;
    // A message is data: unbroken, a terminal copies it whole.
    const show = (message: Message, direction: Direction) => {
      // A person judges by what the terminal shows; a script has the exit code.
      if (output === "nothing" && !isTyped) return;
      colored(out, isTyped ? COLORS[direction] : undefined).print(messageLine(message, direction));
    };
    const dump = (message: Message) => {
      if (settings.hex && !settings.trace) dumpLines(message).forEach((line) => error.print(line));
    };
    if (settings.trace) {
      const told = connection.closed.then((record) =>
        printLine(error, formatEvent({ atMs: performance.now() - start, type: "closed", record }), EVENT_COLUMNS)
      );
      told.catch(() => {});
    }
    if (isTyped && canEdit()) {
      editing.editor = await editorOf(screen.out, { onEcho: (line) => echoed = line, onInterrupt: interrupt });
      signal.addEventListener("abort", () => editing.editor?.close(), { once: true });
    }
    if (isTyped) notice(TYPING_HINT);
    const report = await converse(connection, editing.editor?.lines ?? linesOf(Deno.stdin.readable), {
      ...options,
      isTyped,
      ...(isTyped && editing.editor === undefined && { cutLineBytes: MAX_TYPED_LINE_BYTES }),
      signal,
      onMessage(message, direction) {
        // The editor, or the terminal itself, has shown a typed line already.
        if (direction === "in" || (editing.editor !== undefined && message !== echoed)) show(message, direction);
        dump(message);
        har?.onMessage(message, direction);
      },
      onNotice: notice,
      onHelp: () => describeCommands(TALK_COMMANDS, error.columns).forEach(notice),
    });
    editing.editor?.close();
    const { wire } = connection;
    if (connection.extensions && wire) notice(`On the wire: ${wire.sent} bytes sent, ${wire.received} received`);
    if (report.failure) return tellFailure(report.failure, output, screen);
    const { sent, received } = report;
    const claim = isTyped && sent > 0
      ? `${counted(sent, "message")} sent, ${received} received`
      : claimText(sent, VERIFIED_TEXT[expectation.type]);
    return tellProven(`upgraded; ${claim}; close confirmed`, performance.now() - start, output, screen);
  } catch (error) {
    if (signal.aborted) return EXIT_CODES.interrupted;
    if (!(error instanceof OpenError)) throw error;
    ending.refusal = error.refusal;
    return tellFailure(openingFailure(error, url, options, transport), output, screen);
  } finally {
    editing.editor?.close();
    await har?.write(ending);
  }
}

const TYPING_HINT = `Each line is sent as a text message. Commands: ${
  Object.entries(TALK_COMMANDS).filter(([name]) => /^\/[a-z]/.test(name))
    .map(([name, { usage }]) => `${name} ${usage}`.trim()).join(", ")
}. Ctrl-D closes the connection.`;

/** Starts the editor of a terminal, whose lines appear as messages once they are entered. */
async function editorOf(
  { isColored }: Stream,
  { onEcho, onInterrupt }: { readonly onEcho: (line: string) => void; readonly onInterrupt: () => void },
): Promise<LineEditor> {
  const { LineEditor } = await import("./line_editor.ts");
  return new LineEditor({
    ...(isColored && { color: COLORS.out }),
    words: Object.keys(TALK_COMMANDS).filter((name) => !name.startsWith("//")),
    echo(line) {
      onEcho(line);
      return isColored ? `${COLORS.out}${messageLine(line, "out")}${RESET}` : messageLine(line, "out");
    },
    onInterrupt,
  });
}

function linesOf(bytes: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStream<string> {
  return bytes.pipeThrough(new TextDecoderStream("utf-8", { fatal: true, ignoreBOM: true })).pipeThrough(splitLines());
}

const RESET = "\x1b[0m";

/** A stream that prints above the prompt on the same terminal. */
function above(stream: Stream, editing: { readonly editor?: LineEditor }, output: { isTerminal(): boolean }): Stream {
  const isTerminal = output.isTerminal();
  return {
    isColored: stream.isColored,
    get columns() {
      return stream.columns;
    },
    print(text) {
      if (isTerminal && editing.editor?.isOpen) editing.editor.print(text);
      else stream.print(text);
    },
  };
}

/** A stream that prints in a colour, if both exist. */
function colored(stream: Stream, color: string | undefined): Stream {
  if (!stream.isColored || color === undefined) return stream;
  return { isColored: true, columns: stream.columns, print: (text) => stream.print(`${color}${text}${RESET}`) };
}
