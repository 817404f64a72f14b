/**
 * The commonest run: one exchange with a URL, without options.
 *
 * @module
 */

import type { ClientSettings } from "./client_settings.ts";

/**
 * Recognises a command line that is only a URL. Such a run has the defaults of `exchange()`, and needs none of the
 * modules that read options; these take longer to load than a whole exchange lasts.
 *
 * @param args The words of the command line.
 * @returns The settings; `undefined` for anything else.
 *
 * @example
 * ```ts
 * import { plainRun } from "./plain_run.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(plainRun(["ws://127.0.0.1:6455"])?.url, "ws://127.0.0.1:6455/");
 * assertEquals(plainRun(["--json", "ws://127.0.0.1:6455"]), undefined);
 * ```
 */
export function plainRun(args: readonly string[]): ClientSettings | undefined {
  const [word = "", ...others] = args;
  if (others.length > 0 || !/^wss?:\/\/[!-~]+$/.test(word)) return undefined;
  const url = URL.parse(word);
  if (url === null || url.port === "0" || url.hash !== "") return undefined;
  return {
    url: url.href,
    exchange: {},
    totalBytes: undefined,
    interactive: false,
    output: "lines",
    verbose: false,
    trace: false,
    har: undefined,
    hex: false,
  };
}
