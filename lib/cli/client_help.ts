/**
 * The help of the client: its options in groups, the commonest first, with examples.
 *
 * @module
 */

import { CLIENT_OPTIONS } from "./client_settings.ts";
import { describeOptions, UsageError } from "./command_line.ts";
import { type Commands, describeCommands } from "./commands.ts";
import type { Option } from "./options.ts";
import { withoutCredentials } from "../protocol/message.ts";
import { wrapLine } from "../client/report.ts";
import { TALK_COMMANDS } from "../client/talk_command.ts";
import { EXIT_CODES } from "../client/verdict.ts";
import { DEFAULT_COLUMNS } from "../client/wrap.ts";

/** A group of options: a topic of the help. */
interface Group {
  readonly title: string;
  /** Names of the options; unlisted ones belong to the connection. */
  readonly names: readonly string[];
}

const GROUPS: Readonly<Record<string, Group>> = {
  message: { title: "Message", names: ["message", "file", "size", "binary", "count", "split", "interactive"] },
  expectation: { title: "Expected reply", names: ["reply", "reply-match", "reply-any", "reply-none", "skip"] },
  connection: { title: "Connection", names: [] },
  tls: { title: "TLS and proxy", names: ["ca", "cert", "key", "proxy"] },
  close: { title: "Close", names: ["close-code", "close-reason", "close-timeout", "expect-close", "expect-reason"] },
  output: { title: "Output", names: ["json", "har", "quiet", "verbose", "trace", "hex", "help", "version"] },
};

/** The first options; most runs need no other. */
const COMMONEST = ["message", "reply-match", "header", "transport", "interactive"];

const CONVERSATION = "conversation";

/** Topics of the help, besides the commands. */
export const HELP_TOPICS: readonly string[] = [...Object.keys(GROUPS), CONVERSATION];

/** Most columns of a help: prose is hard to read on longer lines. */
const MAX_HELP_COLUMNS = 100;

const EXAMPLES = [
  `  wsproof -m '{"type":"ping"}' --reply-match '"pong"' wss://api.example/socket`,
  "  wsproof --transport wire --trace ws://127.0.0.1:6455/",
  '  wsproof -q --connect-timeout 3 ws://127.0.0.1:8080/ || echo "down: exit $?"',
];

/**
 * Writes the help of the client.
 *
 * @param commands The other commands.
 * @param columns The columns of the terminal; 80 by default.
 * @returns The help; only an example may exceed the columns of the terminal, or 100.
 *
 * @example
 * ```ts
 * import { clientHelp } from "./client_help.ts";
 * import { assert } from "@std/assert";
 *
 * assert(clientHelp({}).split("\n").every((line) => line.length <= 80));
 * ```
 */
export function clientHelp(commands: Commands, columns?: number): string {
  const groups = Object.keys(GROUPS).flatMap((name) => {
    const options = optionsOf(name).filter((option) => !COMMONEST.includes(option.name));
    return ["", `${GROUPS[name]?.title}:`, ...describeOptions(options, fit(columns))];
  });
  return lay([
    "wsproof proves a WebSocket connection: the upgrade, the reply, the close.",
    "",
    "Usage: wsproof [OPTIONS] [URL], or deno task -q client [OPTIONS] [URL]",
    "",
    "Without a URL, it connects to ws://127.0.0.1:6455/, or to its own echo server if nothing listens there.",
    "",
    "Common options:",
    ...describeOptions(
      COMMONEST.flatMap((name) => CLIENT_OPTIONS.filter((option) => option.name === name)),
      fit(columns),
    ),
    "",
    "Examples:",
    ...EXAMPLES,
    ...groups,
    "",
    "Commands (the first word):",
    ...describeCommands(commands, fit(columns)),
    "",
    `Topics for wsproof help TOPIC: ${HELP_TOPICS.join(", ")}.`,
    "",
    `Exit codes: ${Object.entries(EXIT_CODES).map(([verdict, code]) => `${code}\u00a0${verdict}`).join(", ")}.`,
  ], columns);
}

/**
 * Writes the help of a topic: a group of options, or the commands of a conversation.
 *
 * @param topic The topic.
 * @param commands All commands, for the error.
 * @param columns The columns of the terminal; 80 by default.
 * @returns The help.
 * @throws {UsageError} If there is no such topic.
 *
 * @example
 * ```ts
 * import { topicHelp } from "./client_help.ts";
 * import { assert } from "@std/assert";
 *
 * assert(topicHelp("close", {}).includes("--expect-close"));
 * ```
 */
export function topicHelp(topic: string, commands: Commands, columns?: number): string {
  if (topic === CONVERSATION) {
    return lay(["Commands of a conversation (-i):", ...describeCommands(TALK_COMMANDS, fit(columns))], columns);
  }
  if (!Object.hasOwn(GROUPS, topic)) {
    const names = Object.keys(commands).join(", ");
    throw new UsageError(
      `Operand "${withoutCredentials(topic)}" is neither a command (${names}) nor a help topic (${
        HELP_TOPICS.join(", ")
      })`,
    );
  }
  return lay([`${GROUPS[topic]?.title}:`, ...describeOptions(optionsOf(topic), fit(columns))], columns);
}

/** The options of a group, in its order; unlisted ones in the order of the table. */
function optionsOf(group: string): Option[] {
  if (group === "connection") {
    const named = Object.values(GROUPS).flatMap(({ names }) => names);
    return CLIENT_OPTIONS.filter(({ name }) => !named.includes(name));
  }
  return (GROUPS[group]?.names ?? []).flatMap((name) => CLIENT_OPTIONS.filter((option) => option.name === name));
}

function fit(columns = DEFAULT_COLUMNS): number {
  return Math.min(columns, MAX_HELP_COLUMNS);
}

/** An example is a command line: a break would change it. */
function lay(lines: readonly string[], columns: number | undefined): string {
  return lines.flatMap((line) => EXAMPLES.includes(line) ? [line] : wrapLine(line, fit(columns), 0))
    .join("\n").replaceAll("\u00a0", " ");
}
