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
import { parseServerLine, readServerSettings } from "./lib/cli/server_settings.ts";
import { PROCESS } from "./lib/cli/environment.ts";
import { printable } from "./lib/client/report.ts";
import { surviveErrors } from "./lib/cli/survival.ts";
import { EXIT_CODES } from "./lib/client/verdict.ts";
import { messageOf } from "./lib/protocol/error.ts";

// True under `deno serve`, in each of its workers too; an importing program decides itself.
const isMain = import.meta.main;

async function createHandler(): Promise<Deno.ServeDefaultExport> {
  const [word] = isMain ? Deno.args : [];
  if (word !== undefined) {
    throw new UsageError(`deno serve passes "${word}" on, which the handler does not take: set variables WSPROOF_...`);
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
  if (isMain) surviveErrors((error) => echo.troubled("runtime", error));
  return { fetch: echo.fetch };
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
