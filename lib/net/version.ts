/**
 * The version of wsproof, from deno.json.
 *
 * @module
 */

import config from "../../deno.json" with { type: "json" };

/** The version in `--version`, the server's page and the field User-Agent. */
export const VERSION: string = config.version;
