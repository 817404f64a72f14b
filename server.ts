/**
 * The command lines of the two servers, the echo and the lab: `wsproof serve` and `wsproof lab`.
 *
 * ```sh
 * deno task server --port 6455
 * ```
 *
 * @module
 */

import { describeOptions, UsageError } from "./lib/cli/command_line.ts";
import { addressesOf, inUrl } from "./lib/net/host.ts";
import { isLoopback } from "./lib/server/allowed_host.ts";
import { DescriptorRoom } from "./lib/server/descriptors.ts";
import { LineWriter } from "./lib/server/line_writer.ts";
import { createLog, type EventLog } from "./lib/server/log.ts";
import type { Route } from "./lib/server/policy.ts";
import {
  CertificateError,
  type EchoServer,
  type ListeningServer,
  serveEcho,
  type ServeEchoOptions,
} from "./lib/server/serve.ts";
import {
  LAB_OPTIONS,
  parseServerLine,
  readServerSettings,
  SERVER_OPTIONS,
  type ServerSettings,
} from "./lib/cli/server_settings.ts";
import type { HarnessVerdict } from "./lib/cli/harness.ts";
import type { LabSettings } from "./lib/cli/lab_settings.ts";
import type { LabServer } from "./lib/lab/lab.ts";
import type { CheckReport } from "./lib/check/report.ts";
import { columnsOf, PROCESS } from "./lib/cli/environment.ts";
import { listenForSignals } from "./lib/cli/signals.ts";
import { DEFAULT_PORT } from "./lib/connection/connection.ts";
import { printable, wrapLine } from "./lib/client/report.ts";
import { DEFAULT_COLUMNS } from "./lib/client/wrap.ts";
import { isWorker, surviveErrors } from "./lib/cli/survival.ts";
import { EXIT_CODES } from "./lib/client/verdict.ts";
import { VERSION } from "./lib/net/version.ts";
import { messageOf } from "./lib/protocol/error.ts";
import { counted } from "./lib/protocol/message.ts";

/** Writes the help of the server. */
function serveHelp(columns?: number): string[] {
  return [
    "wsproof serve echoes every message unchanged, on any path. GET / is a page to try it with; " +
    "GET /healthz and GET /metrics are for machines (not with --lab).",
    "",
    "Usage: wsproof serve [OPTIONS], or deno task server [OPTIONS]",
    "",
    ...describeOptions(SERVER_OPTIONS, columns),
    "",
    "Environment variables set options too: WSPROOF_MAX_MESSAGE=1MiB. The command line wins.",
    "Ctrl-C and SIGTERM close every connection with 1001 and end the server. " +
    "A second one, at least 500 ms later, ends it at once.",
  ];
}

/** Writes the help of the lab. */
function labHelp(columns?: number): string[] {
  return [
    "wsproof lab misbehaves on request, to test clients. The path of the URL says how, as in /refuse/403; " +
    "GET / lists the steps. Harnesses for Autobahn's fuzzing server run against it unchanged; " +
    "GET /reports/ shows their results.",
    "",
    "Usage: wsproof lab [OPTIONS], or deno task lab [OPTIONS]",
    "",
    ...describeOptions(LAB_OPTIONS, columns),
    "",
    "Environment variables set options too: WSPROOF_PORT=0. The command line wins.",
    "Ctrl-C and SIGTERM drop every connection and end the lab.",
  ];
}

/**
 * Runs the echo server, or with `--lab` the lab, until a signal ends it.
 *
 * @param args The words of the command line behind the command.
 * @returns The exit code.
 */
export async function serve(args: readonly string[]): Promise<number> {
  return await run(args).catch(fail);
}

/**
 * Runs the lab until a signal ends it.
 *
 * @param args The words of the command line behind the command.
 * @returns The exit code.
 */
export async function lab(args: readonly string[]): Promise<number> {
  return await run(["--lab", ...args]).catch(fail);
}

async function run(args: readonly string[]): Promise<number> {
  const line = parseServerLine(args, PROCESS);
  if (line.has("help")) {
    const columns = columnsOf(Deno.stdout);
    const lines = line.has("lab") ? labHelp(columns) : serveHelp(columns);
    return print(lines.flatMap((each) => wrapLine(each, columns ?? DEFAULT_COLUMNS, 0)).join("\n"));
  }
  if (line.has("version")) return print(`wsproof ${VERSION} (Deno ${Deno.version.deno})`);
  const settings = await readServerSettings(line, PROCESS);
  if (settings.note) console.error(`wsproof: ${settings.note}`);
  // From here on nothing may wait for a reader of our output.
  const errors = new LineWriter(Deno.stderr);
  const log = createLog(settings.log, Deno.stdout, { warn: (line) => errors.write(line) });

  const addresses = await addressesOf(settings.serve.hostname ?? "127.0.0.1");
  const { server, loading, reports } = settings.lab !== "no"
    ? await startLab(settings, addresses, log)
    : settings.workers > 1
    ? await startWorkers(settings, addresses, log)
    : startEcho(settings, addresses, log);
  // A reader of the next line may send a signal at once.
  const { signal } = listenForSignals(() => Deno.exit(EXIT_CODES.interrupted));
  for (const url of server.urls) log.tell({ type: "listening", url });
  await loading;

  const verdict = reports && await judgeHarness(settings.labSettings, server.url, reports, signal);
  if (!verdict) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
  log.tell({ type: "draining" });
  const { shutdownTimeoutMs } = settings;
  const unanswered = await server.shutdown(shutdownTimeoutMs === undefined ? {} : { timeoutMs: shutdownTimeoutMs });
  log.tell({ type: "stopped", unanswered });
  if (unanswered > 0) {
    errors.write(`wsproof: ${counted(unanswered, "peer")} did not answer the close frame in time`);
  }
  const unread = await log.flush(FLUSH_TIMEOUT_MS);
  if (unread > 0) errors.write(`wsproof: The last ${unread} lines of the log are lost: nobody reads it`);
  await errors.flush(FLUSH_TIMEOUT_MS);
  if (verdict) print(verdict.lines.flatMap((line) => wrapLine(line, columnsOf(Deno.stdout), HANG)).join("\n"));
  return verdict?.exitCode ?? EXIT_CODES.proven;
}

/** Deadline for flushing the log, and then the errors, in milliseconds: half a second each. */
const FLUSH_TIMEOUT_MS = 500;

/** The columns before the words on a case: 13. */
const HANG = 13;

/** A listening server, and its pending imports. */
interface Started {
  readonly server: ListeningServer;
  readonly loading: Promise<unknown>;
  /** Reports the cases that clients ran in the lab. */
  readonly reports?: LabServer["reports"];
}

/** Runs a client's harness if there is one, judges it, and writes the reports. */
async function judgeHarness(
  { harness, cases, reports: folder }: LabSettings,
  url: string,
  reports: LabServer["reports"],
  signal: AbortSignal,
): Promise<HarnessVerdict | undefined> {
  if (!harness) return undefined;
  const { concludeHarness, runHarness } = await import("./lib/cli/harness.ts");
  const end = await runHarness(harness, url, signal);
  const found = await reports();
  if (folder !== undefined) await (await import("./lib/cli/lab_reports.ts")).writeLabReports(folder, found, url);
  const { timeoutMs } = harness;
  const caseCount = (await import("./lib/lab/mirror_cases.ts")).caseCountOf(cases);
  return concludeHarness(end, found, { timeoutMs, caseCount, ...(folder !== undefined && { reports: folder }) });
}

function startEcho(settings: ServerSettings, addresses: readonly string[], log: EventLog): Started {
  const serve = fitted(settings.serve);
  const stats = () => ({ ...server.stats(), droppedLogLines: log.droppedLines });
  // Loaded while the server listens, as it takes as long as all the rest. Not at the first request: without free
  // descriptors, importing ends the process.
  const site = Promise.withResolvers<Record<string, Route>>();
  const route = (path: string): Route => async (request) => {
    const found = (await site.promise)[path];
    if (found === undefined) throw new Error(`Nothing is at ${path}`);
    return await found(request);
  };
  const routes = { "/": route("/"), "/metrics": route("/metrics") };
  const server: EchoServer = serveEcho({ ...serve, addresses, routes, onEvent: log.tell });
  surviveErrors((error) => server.troubled("runtime", error));
  site.resolve(import("./lib/server/site.ts").then(({ createSite }) => createSite(serve, stats, VERSION)));
  return { server, loading: site.promise };
}

/** Starts the echo server in several workers; imported here, as one alone needs none. */
async function startWorkers(settings: ServerSettings, addresses: readonly string[], log: EventLog): Promise<Started> {
  const { workers } = settings;
  if (Deno.build.os !== "linux") {
    throw new UsageError("Option --workers needs Linux, which spreads a port's connections over threads: leave it out");
  }
  // Without the flag, the runtime ends the process when a worker listens.
  if (!("listenDatagram" in Deno)) {
    throw new UsageError("Option --workers needs Deno's flag --unstable-net: run the server with it");
  }
  const { serveOverWorkers } = await import("./lib/server/workers.ts");
  const { room, ...serve } = fitted(settings.serve);
  const server = await serveOverWorkers({
    workers,
    module: new URL(import.meta.url),
    serve: { ...serve, addresses },
    room,
    version: VERSION,
    tell: log.tell,
    tells: settings.log !== "none",
    droppedLogLines: () => log.droppedLines,
  });
  surviveErrors((error) => server.troubled(error));
  return { server, loading: Promise.resolve() };
}

/** Serves as one of several workers. Each runs the server's own module: a bundle has no other. */
export async function work(): Promise<never> {
  const { work } = await import("./lib/server/workers_thread.ts");
  return await work((server) => surviveErrors((error) => server.troubled("runtime", error)));
}

/** Limits connections to the descriptors, and says so. */
function fitted(serve: ServeEchoOptions): ServeEchoOptions {
  if (Deno.build.os === "windows") return serve;
  const { maxConnections } = serve;
  const onShort = (note: string) => console.error(`wsproof: ${note}`);
  try {
    return { ...serve, room: new DescriptorRoom({ maxConnections, onShort }) };
  } catch (error) {
    console.error(`wsproof: ${messageOf(error)}: give --allow-read=/dev/null`);
    return serve;
  }
}

/** Starts the lab; imported here, as the echo does not need it. */
async function startLab(settings: ServerSettings, addresses: readonly string[], { tell }: EventLog): Promise<Started> {
  const { serve, lab, labSettings: { cases, reports: folder, harness } } = settings;
  if (harness) await assertMayRun();
  const { startLab: open } = await import("./lib/lab/lab.ts");
  const { hostname, port } = serve;
  // The lab's Node sockets would throw where nobody can catch it.
  for (const address of addresses) {
    const host = `${inUrl(address)}:${port ?? DEFAULT_PORT}`;
    if (Deno.permissions.querySync({ name: "net", host }).state !== "granted") {
      throw new Deno.errors.NotCapable(`Requires net access to "${host}", run again with the --allow-net flag`);
    }
  }
  if (hostname !== undefined && !addresses.every(isLoopback) && lab !== "public") {
    throw new UsageError(
      `Option --host cannot be "${hostname}" with --lab: it is not a loopback address; add --lab-public to allow it`,
    );
  }
  surviveErrors((error) => tell({ type: "trouble", kind: "runtime", error }));
  const options = { addresses, ...(port !== undefined && { port }), isPublic: lab === "public", cases, onEvent: tell };
  let url = "";
  const { createReportsFolder, writeLabReports } = await import("./lib/cli/lab_reports.ts");
  if (folder !== undefined) await createReportsFolder(folder);
  const onReports = async (reports: readonly CheckReport[]) => {
    if (folder === undefined) return;
    await writeLabReports(folder, reports, url).catch((error) =>
      tell({ type: "trouble", kind: "runtime", error: `Cannot write the reports: ${messageOf(error)}` })
    );
  };
  const server = await open({ ...options, onReports });
  url = server.url;
  return { server, loading: Promise.resolve(), reports: server.reports };
}

/** Without the permission the harness would fail only once the lab listens. */
async function assertMayRun(): Promise<void> {
  const { SHELL } = await import("./lib/cli/harness.ts");
  if (Deno.permissions.querySync({ name: "run", command: SHELL }).state === "granted") return;
  throw new UsageError(
    `Option --run has no permission to start "${SHELL}": run deno task lab:run, or give --allow-run=${SHELL}`,
  );
}

function print(text: string): number {
  console.log(text);
  return EXIT_CODES.proven;
}

/** Prints the error in one line; returns its exit code. */
function fail(error: unknown): number {
  console.error(`wsproof: ${printable(messageOf(error))}`);
  const expected = [UsageError, CertificateError, Deno.errors.NotCapable];
  return expected.some((ErrorClass) => error instanceof ErrorClass) ? EXIT_CODES.usage : EXIT_CODES["internal-error"];
}

// `deno serve`, which takes handler.ts, would listen a second time.
if (import.meta.main) Deno.exit(await (isWorker() ? work() : serve(Deno.args)));
