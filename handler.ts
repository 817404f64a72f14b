/**
 * The echo server for `deno serve` and for hosting platforms, with its policy from the environment.
 *
 * ```sh
 * WSPROOF_MAX_MESSAGE=1MiB deno task serve
 * ```
 *
 * `deno serve` decides where to listen. With `deno serve --parallel` each worker has a handler that knows only its own
 * connections: `WSPROOF_MAX_CONNECTIONS` and the memory limits hold for each worker, the numbers in the log begin at 1
 * in each, and `GET /metrics` is left out, as each scrape would meet another worker.
 *
 * As the main module it reads the environment at once; an error there is one line and exit code 2. Imported by a
 * program, it reads the environment at the first request, never ends the process, and rejects each request while there
 * is an error.
 *
 * @module
 */

import { UsageError } from "./lib/cli/command_line.ts";
import { createEcho } from "./lib/server/builtin_echo.ts";
import { createLog } from "./lib/server/log.ts";
import { LineWriter } from "./lib/server/line_writer.ts";
import { createPage } from "./lib/server/page.ts";
import { DEFAULT_SHUTDOWN_TIMEOUT_MS } from "./lib/server/policy.ts";
import { parseServerLine, readServerSettings } from "./lib/cli/server_settings.ts";
import { PROCESS } from "./lib/cli/environment.ts";
import { printable } from "./lib/client/report.ts";
import { listenForSignals } from "./lib/cli/signals.ts";
import { surviveErrors } from "./lib/cli/survival.ts";
import { EXIT_CODES } from "./lib/client/verdict.ts";
import { messageOf } from "./lib/protocol/error.ts";
import { withoutCredentials } from "./lib/protocol/message.ts";

// True under `deno serve`, in each of its workers too; an importing program decides itself.
const isMain = import.meta.main;

async function createHandler(): Promise<Deno.ServeDefaultExport> {
  const [word] = isMain ? Deno.args : [];
  if (word !== undefined) {
    const shown = withoutCredentials(word);
    throw new UsageError(
      `deno serve passes "${shown}" on, which the handler does not accept: set WSPROOF_... variables`,
    );
  }
  const { serve, log, note } = await readServerSettings(parseServerLine([], PROCESS), PROCESS, "deno serve");
  if (note) console.error(`wsproof: ${note}`);
  // Several workers write one log.
  const worker = crypto.randomUUID().slice(0, 8);
  const errors = new LineWriter(Deno.stderr);
  const { tell } = createLog(log, Deno.stdout, { warn: (line) => errors.write(line), worker });
  const echo = createEcho({
    ...serve,
    routes: {
      "/": createPage({
        ...serve,
        needsToken: serve.token !== undefined,
        checksOrigin: serve.allowOrigins !== undefined,
      }),
    },
    onEvent: tell,
  });
  if (isMain) {
    surviveErrors((error) => echo.troubled("runtime", error));
    watchOverEnd();
  }
  return { fetch: echo.fetch };
}

/** Bounds the shutdown after a signal; without a signal, an end is an error. */
function watchOverEnd(): void {
  let signal: AbortSignal | undefined;
  try {
    signal = listenForSignals(() => Deno.exit(EXIT_CODES.interrupted)).signal;
  } catch {
    // A hosting platform has no signals.
    return;
  }
  signal.addEventListener("abort", () => {
    // The runtime keeps a timer for each peer that dropped TCP, and would wait for it up to the idle timeout.
    Deno.unrefTimer(setTimeout(() => Deno.exit(EXIT_CODES.proven), DEFAULT_SHUTDOWN_TIMEOUT_MS));
  }, { once: true });
  globalThis.addEventListener("unload", () => {
    if (signal.aborted) return;
    console.error("wsproof: The runtime has stopped listening, for lack of free descriptors (ulimit -n)");
    Deno.exitCode = EXIT_CODES["internal-error"];
  });
}

/** Prints the error in one line, and ends the process. */
function fail(error: unknown): never {
  console.error(`wsproof: ${printable(messageOf(error))}`);
  Deno.exit(error instanceof UsageError ? EXIT_CODES.usage : EXIT_CODES["internal-error"]);
}

/** A handler made at the first request. */
function createLazily(): Deno.ServeDefaultExport {
  let made: Promise<Deno.ServeDefaultExport> | undefined;
  return { fetch: async (request, info) => await (await (made ??= createHandler())).fetch(request, info) };
}

/** The handler, as `deno serve` takes it. */
const handler: Deno.ServeDefaultExport = isMain ? await createHandler().catch(fail) : createLazily();

export default handler;
