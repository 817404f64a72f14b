/**
 * The conversation of `--interactive`: lines of the standard input out, messages to the standard output.
 *
 * @module
 */

import type { ClientSettings } from "./client_settings.ts";
import { UsageError } from "./command_line.ts";
import { type Screen, tellFailure, tracing } from "./output.ts";
import { converse, splitLines } from "../client/conversation.ts";
import { openingFailure } from "../client/failure.ts";
import { printable } from "../client/report.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { OpenError } from "../connection/connection.ts";
import { keepAlive } from "../connection/keep_alive.ts";
import { openConnection } from "../connection/open.ts";
import { proxyNameFor, wayText } from "../net/proxy.ts";
import { formatMs, withoutPassword, withoutToken } from "../protocol/message.ts";

/**
 * Holds a conversation.
 *
 * @param url Where to connect to.
 * @param settings What the client is asked to do.
 * @param signal Ends the conversation.
 * @param screen Where to print.
 * @returns The exit code.
 * @throws {UsageError} If the settings do not go with a person at a terminal.
 */
export async function talk(
  url: string,
  settings: ClientSettings,
  signal: AbortSignal,
  screen: Screen,
): Promise<number> {
  const { output, exchange: options } = settings;
  const notice = (text: string) => output === "nothing" || screen.error.print(printable(text));
  const isTyped = Deno.stdin.isTerminal();
  if (isTyped && /^(text|match)$/.test(options.expectation?.type ?? "")) {
    throw new UsageError("Options --reply and --reply-match need lines from a pipe: in a terminal a person judges");
  }
  const start = performance.now();
  const { transport = "builtin" } = options;
  try {
    const traced = await tracing(settings, screen.error);
    const connection = await openConnection(url, transport, { ...options, ...traced, signal });
    const protocol = connection.protocol === "" ? "" : `, subprotocol ${withoutToken(connection.protocol)}`;
    const way = wayText(proxyNameFor(url, options, transport));
    const declined = options.deflate ? ", permessage-deflate declined" : "";
    const extensions = connection.extensions ? `, ${connection.extensions}` : declined;
    notice(
      `Connected to ${withoutPassword(url)}${way} in ${formatMs(performance.now() - start)}${protocol}${extensions}`,
    );
    if (isTyped) notice("Each line is sent as a text message; Ctrl-D closes the connection.");
    keepAlive(connection);
    const lines = Deno.stdin.readable
      .pipeThrough(new TextDecoderStream("utf-8", { fatal: true, ignoreBOM: true }))
      .pipeThrough(splitLines());
    const failure = await converse(connection, lines, {
      ...options,
      isTyped,
      signal,
      onMessage: (text) => screen.out.print(text),
      onNotice: notice,
    });
    const { wire } = connection;
    if (connection.extensions && wire) notice(`On the wire: ${wire.sent} bytes sent, ${wire.received} received`);
    return failure ? tellFailure(failure, output, screen) : EXIT_CODES.proven;
  } catch (error) {
    if (signal.aborted) return EXIT_CODES.interrupted;
    if (!(error instanceof OpenError)) throw error;
    return tellFailure(openingFailure(error, url, options, transport), output, screen);
  }
}
