/**
 * Reports on clients: HTML pages, JSON, and the index in the format of Autobahn's test suite.
 *
 * @module
 */

import { STATUS_CODE } from "@std/http/status";
import { MIRROR_CASES } from "./mirror_cases.ts";
import type { Agent, Scoreboard } from "./scoreboard.ts";
import { autobahnIndex } from "../check/autobahn.ts";
import { type CheckReport, countsInWords } from "../check/report.ts";
import { formatHtml, linkOf, pageStart, text } from "../check/html.ts";
import { formatCheckJson } from "../check/json.ts";
import type { RequestLike } from "../net/request.ts";
import { plainResponse } from "../net/plain_response.ts";

/**
 * Responds to a request for a report.
 *
 * @param request The request, a GET or HEAD.
 * @param board The results.
 * @param path The path of the target.
 * @param search The query, with its question mark; empty for none.
 * @returns The response; `undefined` if the path is not below `/reports/`.
 *
 * @example
 * ```ts
 * import { reportsResponse } from "./reports.ts";
 * import { Scoreboard } from "./scoreboard.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const request = new Request("http://127.0.0.1:6455/reports/index.json");
 * assertEquals(await reportsResponse(request, new Scoreboard(), "/reports/index.json", "")?.json(), {});
 * assertEquals(reportsResponse(request, new Scoreboard(), "/", ""), undefined);
 * ```
 */
export function reportsResponse(
  request: RequestLike,
  board: Scoreboard,
  path: string,
  search: string,
): Response | undefined {
  if (path !== "/reports" && !path.startsWith("/reports/")) return undefined;
  const name = new URLSearchParams(search).get("agent");
  const accept = request.headers.get("accept");
  const agent = name === null ? undefined : board.find(name);
  if (path === "/reports/index.json") {
    const indexes = board.agents.map((each) => autobahnIndex(each.report().results, each.name));
    return answer("application/json", `${JSON.stringify(Object.assign({}, ...indexes))}\n`);
  }
  const isJson = path === "/reports/agent.json";
  if (!isJson && path !== "/reports" && path !== "/reports/") {
    return plainResponse(STATUS_CODE.NotFound, NO_REPORT, { accept });
  }
  if (name !== null && agent === undefined) {
    return plainResponse(STATUS_CODE.NotFound, "No agent of this name has run a case.", { accept });
  }
  if (isJson && agent === undefined) return plainResponse(STATUS_CODE.BadRequest, "Add ?agent=NAME.", { accept });
  if (isJson && agent) return answer("application/json", `${formatCheckJson(agent.report())}\n`);
  const { host } = new URL(request.url);
  return answer("text/html; charset=utf-8", agent ? agentPage(agent, host) : overviewPage(board, host));
}

const NO_REPORT = "Reports are at /reports/, /reports/index.json and /reports/agent.json?agent=NAME.";

function answer(type: string, body: string): Response {
  return new Response(body, {
    headers: { "content-type": type, "cache-control": "no-store", "x-content-type-options": "nosniff" },
  });
}

function queryOf({ name }: Pick<Agent, "name">): string {
  return `?agent=${encodeURIComponent(name)}`;
}

function agentPage(agent: Agent, host: string): string {
  const query = queryOf(agent);
  return formatHtml(agent.report(), `ws://${host}/runCase${query}&casetuple=`, [
    { href: "/reports/", words: "All agents" },
    { href: `/reports/agent.json${query}`, words: "JSON" },
  ]);
}

function overviewPage(board: Scoreboard, host: string): string {
  return [
    ...pageStart("Clients in the lab"),
    "<h1>Clients in the lab</h1>",
    ...scoreTable(board, host),
    "</main></body></html>",
    "",
  ].join("\n");
}

/**
 * Formats the table of agents, or a hint on how to enter it.
 *
 * @param board The results.
 * @param host The host and port of the lab.
 * @returns Lines of HTML.
 */
export function scoreTable(board: Scoreboard, host: string): string[] {
  const rows = board.agents.toReversed().map((agent) => rowOf(agent, agent.report()));
  const none = `<p>No agent has run a case. Run a harness for Autobahn's fuzzing server against ` +
    `<code>${text(`ws://${host}`)}</code>: one connection to <code>/getCaseCount</code>, one to ` +
    `<code>/runCase?case=N&amp;agent=NAME</code> for each case, where it echoes messages.</p>`;
  const index = linkOf({ href: "/reports/index.json", words: "Autobahn's index" });
  return [
    `<p class="soft">${MIRROR_CASES.length} cases. ${index}</p>`,
    ...rows.length === 0 ? [none] : [
      "<table><thead><tr><th>Agent</th><th>Verdict</th><th>Grades</th>",
      '<th class="number">Cases</th></tr></thead><tbody>',
      ...rows,
      "</tbody></table>",
    ],
  ];
}

function rowOf(agent: Agent, { verdict, counts, results }: CheckReport): string {
  const grade = verdict === "proven" ? "pass" : "fail";
  const cells = [
    `<td class="id">${linkOf({ href: `/reports/${queryOf(agent)}`, words: agent.name })}</td>`,
    `<td class="grade">${verdict}</td>`,
    `<td>${countsInWords(counts)}</td>`,
    `<td class="number" data-name="Cases">${results.length}</td>`,
  ];
  return `<tr class="${grade}">${cells.join("")}</tr>`;
}
