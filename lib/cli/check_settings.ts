/**
 * The options of `wsproof check`, and its settings.
 *
 * @module
 */

import { CLIENT_OPTIONS, type ClientSettings, readClientSettings } from "./client_settings.ts";
import { type CommandLine, describeOptions, UsageError } from "./command_line.ts";
import { type Environment, PROCESS } from "./environment.ts";
import { choice, flag, type Option, path, seconds, Source, whole } from "./options.ts";
import { type Case, GROUPS, type Profile, PROFILES } from "../check/case.ts";
import { selectCases } from "../check/runner.ts";
import type { OpenOptions } from "../connection/connection.ts";
import { isLoopback } from "../net/proxy.ts";
import { withoutCredentials } from "../protocol/message.ts";

/** Default deadline of a case, in milliseconds: 10 s. */
export const DEFAULT_CASE_TIMEOUT_MS = 10_000;

/** Default number of concurrent cases: 8. */
export const DEFAULT_JOBS = 8;

/** Groups that an operand may name: the others have an option each. */
export const NAMED_GROUPS: readonly string[] = GROUPS.filter((group) => group !== "idle" && group !== "stress");

/** Most concurrent cases: 256. */
const MAX_JOBS = 256;

const OWN = {
  list: flag({ name: "list", help: ["List the cases, run none"] }),
  profile: choice({
    name: "profile",
    value: "NAME",
    help: ["Cases to run: quick, standard (default) or full"],
    choices: PROFILES,
  }),
  strict: flag({ name: "strict", help: ["Treat SHOULD as MUST"] }),
  jobs: whole({
    name: "jobs",
    short: "j",
    value: "N",
    help: [`Run N cases at a time (default ${DEFAULT_JOBS})`],
    min: 1,
    max: MAX_JOBS,
  }),
  caseTimeout: seconds({
    name: "case-timeout",
    value: "S",
    help: ["Seconds for a case (default 10), half of them for", "a silent server"],
  }),
  baseline: path({
    name: "baseline",
    value: "FILE",
    help: ["Known failures: any other fails the run, and so", "does a known one that no longer fails"],
  }),
  writeBaseline: flag({ name: "write-baseline", help: ["Write the failures to the --baseline file"] }),
  noEcho: flag({ name: "no-echo", help: ["Skip the cases that need an echo"] }),
  sweep: flag({ name: "sweep", help: ["Find sizes at which messages break, and the", "longest message"] }),
  idle: flag({ name: "idle", help: ["Measure how long a silent connection stays open", "(takes minutes)"] }),
  stress: flag({
    name: "stress",
    help: ["Test whether the server answers others during", "floods, bombs and peers that do not read"],
  }),
  own: flag({ name: "i-own-this-server", help: ["Allow --stress against another machine"] }),
  junit: path({ name: "junit", value: "FILE", help: ["Write a JUnit XML report"] }),
  html: path({ name: "html", value: "FILE", help: ["Write an HTML report"] }),
  autobahn: path({
    name: "autobahn",
    value: "DIR",
    help: ["Write reports in the format of Autobahn's test suite:", "index.json, and one for each case"],
  }),
};

/** The client's options that decide how check reaches a server, and which replies it expects. */
export const CONNECTION_OPTIONS: readonly string[] = [
  "reply-match",
  "skip",
  "header",
  "protocol",
  "origin",
  "ca",
  "cert",
  "key",
  "proxy",
  "unix",
  "connect-timeout",
];

/** The client's options that check takes too. */
const SHARED = [...CONNECTION_OPTIONS, "trace", "json", "quiet", "help"];

/** Help texts of options with another meaning for check. */
const HELP: Record<string, readonly string[]> = {
  "reply-match": ["Expect text replies that match, not the echo"],
  "proxy": ["Connect through this HTTP proxy, or none", "(default: from http_proxy and similar variables)"],
  "connect-timeout": ["Seconds for the first connection (default 10)"],
  "json": ["Print the report as one JSON object"],
  "trace": ["Show every frame on stderr; run one case at a time"],
};

/** The options of check. */
export const CHECK_OPTIONS: readonly Option[] = [
  ...Object.values(OWN),
  ...CLIENT_OPTIONS.filter(({ name }) => SHARED.includes(name)).map((option) => ({
    ...option,
    help: HELP[option.name] ?? option.help,
  })),
];

/**
 * Writes the help text of check.
 *
 * @returns Lines of at most 80 columns.
 *
 * @example
 * ```ts
 * import { checkHelp } from "./check_settings.ts";
 * import { assert } from "@std/assert";
 *
 * assert(checkHelp().split("\n").every((line) => line.length <= 80));
 * ```
 */
export function checkHelp(): string {
  return [
    "wsproof check holds a WebSocket server to RFC 6455, case by case.",
    "",
    "Usage: wsproof check [OPTIONS] URL [GROUP|CASE ...]",
    "",
    "Without GROUP and CASE, all cases of the profile run. CASE is an id, the start",
    "of several ids (6455/5.4), or Autobahn's number (5.18).",
    `Groups: ${NAMED_GROUPS.join(", ")}.`,
    "",
    ...describeOptions(CHECK_OPTIONS),
    "",
    "Exit codes: 0 proven, 1 internal-error, 2 usage, 3 no-connection,",
    "4 handshake-refused, 7 connection-lost, 9 not-conformant, 130 interrupted.",
  ].join("\n");
}

/** Settings of check. */
export interface CheckSettings {
  /** The server. */
  readonly url: string;
  /** The cases to run. */
  readonly cases: readonly Case[];
  /** Whether to show the cases only. */
  readonly list: boolean;
  /** The profile. */
  readonly profile: Profile;
  /** Whether a case that is not strict fails. */
  readonly strict: boolean;
  /** Number of concurrent cases. */
  readonly jobs: number;
  /** Deadline of a case, in milliseconds. */
  readonly caseTimeoutMs: number;
  /** The file of known failures. */
  readonly baselinePath: string | undefined;
  /** Whether to write it. */
  readonly writesBaseline: boolean;
  /** Further groups: sizes, silence, floods. */
  readonly extras: { readonly sweep: boolean; readonly idle: boolean; readonly stress: boolean };
  /** Report files. */
  readonly reports: { readonly junit?: string; readonly html?: string; readonly autobahn?: string };
  /** Whether the server echoes. */
  readonly echoes: boolean;
  /** The pattern of replies. */
  readonly pattern: RegExp | undefined;
  /** Number of unasked messages at first. */
  readonly skip: number;
  /** Connection options. */
  readonly open: OpenOptions;
  /** The form of the output. */
  readonly output: ClientSettings["output"];
  /** Whether to show each frame. */
  readonly trace: boolean;
}

/**
 * Turns the command line of check into settings.
 *
 * @param line The command line.
 * @param cases All cases.
 * @param environment The files.
 * @returns The settings.
 * @throws {UsageError} If an option, a name or a combination makes no sense.
 *
 * @example
 * ```ts
 * import { CHECK_OPTIONS, readCheckSettings } from "./check_settings.ts";
 * import { parseCommandLine } from "./command_line.ts";
 * import { CASES } from "../check/cases/mod.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const line = parseCommandLine(["--jobs", "2", "ws://127.0.0.1/", "5.18"], CHECK_OPTIONS);
 * const { jobs, cases } = await readCheckSettings(line, CASES);
 * assertEquals([jobs, ...cases.map(({ id }) => id)], [2, "6455/5.4/restart"]);
 * ```
 */
export async function readCheckSettings(
  line: CommandLine,
  cases: readonly Case[],
  environment: Pick<Environment, "readFile"> = PROCESS,
): Promise<CheckSettings> {
  const source = new Source(line);
  const list = source.has(OWN.list);
  const [first, ...others] = line.operands;
  // A list needs no server.
  const names = list && first !== undefined && !/^\w+:\/\//.test(first) ? line.operands : others;
  const url = names === line.operands ? undefined : first;
  if (url === undefined && !list) {
    throw new UsageError("There is no URL: give that of the server to check, such as ws://host:port/path");
  }
  const profile = source.value(OWN.profile) ?? "standard";
  const selected = selectCases(cases, names, profile);
  const [unknown] = selected.unknown;
  if (unknown !== undefined) {
    throw new UsageError(
      `Operand "${withoutCredentials(unknown)}" is neither a group (${
        NAMED_GROUPS.join(", ")
      }) nor a case: --list shows them`,
    );
  }
  const baselinePath = source.value(OWN.baseline);
  const writesBaseline = source.has(OWN.writeBaseline);
  if (writesBaseline && baselinePath === undefined) {
    throw source.error(OWN.writeBaseline, "needs --baseline FILE, the file to write");
  }
  const { exchange, output, trace, url: checked } = await readClientSettings(asClientLine(line, url), environment);
  const { expectation, skip = 0, ...open } = exchange;
  if (source.has(OWN.noEcho) && expectation?.type === "match") {
    throw source.error(OWN.noEcho, "cannot be used with --reply-match: leave one out");
  }
  const [junit, html, autobahn] = [OWN.junit, OWN.html, OWN.autobahn].map((option) => source.value(option));
  return {
    url: checked ?? "",
    cases: selected.cases,
    list,
    profile,
    strict: source.has(OWN.strict),
    // Frames of concurrent cases would interleave.
    jobs: trace ? 1 : source.value(OWN.jobs) ?? DEFAULT_JOBS,
    caseTimeoutMs: source.value(OWN.caseTimeout) ?? DEFAULT_CASE_TIMEOUT_MS,
    baselinePath,
    writesBaseline,
    extras: { sweep: source.has(OWN.sweep), idle: source.has(OWN.idle), stress: readStress(source, checked) },
    reports: {
      ...(junit !== undefined && { junit }),
      ...(html !== undefined && { html }),
      ...(autobahn !== undefined && { autobahn }),
    },
    echoes: !source.has(OWN.noEcho),
    pattern: expectation?.type === "match" ? expectation.pattern : undefined,
    skip,
    open,
    output,
    trace,
  };
}

/** Floods only a server of one's own. */
function readStress(source: Source, url: string | undefined): boolean {
  if (!source.has(OWN.stress)) return false;
  // A list floods nobody.
  if (url === undefined) return true;
  const { hostname } = new URL(url);
  if (isLoopback(hostname) || source.has(OWN.own)) return true;
  throw source.error(OWN.stress, `floods ${hostname}: add --i-own-this-server if it is yours`);
}

/** The client reads the shared options; only wire has frames. */
function asClientLine(line: CommandLine, url: string | undefined): CommandLine {
  return {
    ...line,
    operands: url === undefined ? [] : [url],
    value: (name) => name === "transport" ? "wire" : line.value(name),
  };
}
