/**
 * The files of `lab --reports`.
 *
 * @module
 */

import { UsageError } from "./command_line.ts";
import { autobahnIndex } from "../check/autobahn.ts";
import { formatHtml } from "../check/html.ts";
import { formatCheckJson } from "../check/json.ts";
import { formatJunit } from "../check/junit.ts";
import type { CheckReport } from "../check/report.ts";
import { whyUnreadable } from "../client/payload.ts";

/**
 * Creates the folder for reports: a run of minutes must not end with a folder that cannot be written.
 *
 * @param folder Its path.
 * @throws {UsageError} If it cannot be created, or the permission is missing.
 */
export async function createReportsFolder(folder: string): Promise<void> {
  // Asked first: creating the folder would prompt in a terminal.
  if ((await Deno.permissions.query({ name: "write", path: folder })).state !== "granted") {
    const advice = "run deno task lab:run, or give --allow-write";
    throw new UsageError(`Option --reports has no permission to write ${JSON.stringify(folder)}: ${advice}`);
  }
  try {
    await Deno.mkdir(folder, { recursive: true });
  } catch (error) {
    throw new UsageError(`Option --reports cannot write ${JSON.stringify(folder)}: ${whyUnreadable(error)}`);
  }
}

/**
 * Writes the reports on all clients of the lab.
 *
 * @param folder The folder.
 * @param reports A report for each client.
 * @param url The lab's URL; the page of a client says how to run a case again.
 * @throws {Error} If a file cannot be written.
 */
export async function writeLabReports(folder: string, reports: readonly CheckReport[], url: string): Promise<void> {
  const indexes = reports.flatMap((report) => Object.entries(autobahnIndex(report.results, report.url)));
  await Deno.writeTextFile(`${folder}/index.json`, `${JSON.stringify(Object.fromEntries(indexes), null, 3)}\n`);
  const names = fileNamesOf(reports.map((report) => report.url));
  for (const [index, report] of reports.entries()) {
    const path = `${folder}/${names[index]}`;
    const command = `${url}runCase?agent=${encodeURIComponent(report.url)}&casetuple=`;
    await Deno.writeTextFile(`${path}.html`, formatHtml(report, command));
    await Deno.writeTextFile(`${path}.json`, `${formatCheckJson(report)}\n`);
    await Deno.writeTextFile(`${path}.xml`, formatJunit(report));
  }
}

/** The most characters of a file's name that come from the client: 60. */
const MAX_NAME_CHARS = 60;

/**
 * Names files after clients. A client chooses its own name: only letters and digits of it get into the name of a file.
 *
 * @param agents The names of the clients.
 * @returns A name for each, without an extension; none is there twice, and none is `index`.
 *
 * @example
 * ```ts
 * import { fileNamesOf } from "./lab_reports.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(fileNamesOf(["../My client", "my_client", "日本", "index"]), ["my_client", "my_client_2", "agent", "index_2"]);
 * ```
 */
export function fileNamesOf(agents: readonly string[]): string[] {
  const taken = new Set(["index"]);
  return agents.map((agent) => {
    const letters = agent.toLowerCase().replace(/[^a-z0-9]+/g, "_").replace(/^_/, "").slice(0, MAX_NAME_CHARS);
    const plain = letters.replace(/_$/, "") || "agent";
    let name = plain;
    for (let count = 2; taken.has(name); count++) name = `${plain}_${count}`;
    taken.add(name);
    return name;
  });
}
