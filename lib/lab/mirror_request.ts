/**
 * Request paths for cases, the same as of Autobahn's fuzzing server: harnesses run unchanged.
 *
 * @module
 */

import type { ClientCase } from "./client_case.ts";
import { MIRROR_CASES } from "./mirror_cases.ts";
import { MAX_AGENT_CHARS } from "./scoreboard.ts";
import { quote } from "../protocol/message.ts";

/** The request of a client. */
export type MirrorRequest =
  /** The number of cases. */
  | { readonly do: "getCaseCount" }
  /** The name of a case. */
  | { readonly do: "getCaseInfo"; readonly place: ClientCase }
  /** A run of the case. */
  | { readonly do: "runCase"; readonly place: ClientCase; readonly agent: string }
  /** The result of a case. */
  | { readonly do: "getCaseStatus"; readonly place: ClientCase; readonly agent: string }
  /** An update of the reports, which are always current. */
  | { readonly do: "updateReports"; readonly agent: string };

/** Thrown for a known path with a wrong query. */
export class MirrorQueryError extends Error {
  /** The name of the class. */
  override readonly name = "MirrorQueryError";
}

const PATHS = ["getCaseCount", "getCaseInfo", "runCase", "getCaseStatus", "updateReports"] as const;

/**
 * Parses a request for cases.
 *
 * @param path The path.
 * @param search The query, with its question mark; empty for none.
 * @returns The request; `undefined` for any other path.
 * @throws {MirrorQueryError} If the case does not exist, or a required agent is missing.
 *
 * @example
 * ```ts
 * import { parseMirrorRequest } from "./mirror_request.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const request = parseMirrorRequest("/runCase", "?casetuple=5.1&agent=mine");
 * assertEquals(request?.do === "runCase" && request.place.test.id, "6455/5.4/fragmented-ping");
 * assertEquals(parseMirrorRequest("/echo", ""), undefined);
 * ```
 */
export function parseMirrorRequest(path: string, search: string): MirrorRequest | undefined {
  const name = PATHS.find((each) => path === `/${each}` || path === `/${each}/`);
  if (name === undefined) return undefined;
  const query = new URLSearchParams(search);
  switch (name) {
    case "getCaseCount":
      return { do: name };
    case "getCaseInfo":
      return { do: name, place: placeIn(query) };
    case "updateReports":
      return { do: name, agent: agentIn(query) };
    default:
      return { do: name, place: placeIn(query), agent: agentIn(query) };
  }
}

function placeIn(query: URLSearchParams): ClientCase {
  const [tuple, place] = [query.get("casetuple")?.trim(), query.get("case")];
  const found = tuple === undefined
    ? MIRROR_CASES[/^\d{1,6}$/.test(place ?? "") ? Number(place) - 1 : -1]
    : MIRROR_CASES.find(({ number, test }) => number === tuple || test.id === tuple);
  if (found) return found;
  if (tuple !== undefined) {
    throw new MirrorQueryError(`There is no case ${quote(tuple, 40)}: /getCaseInfo?case=1 gives names`);
  }
  if (place === null) throw new MirrorQueryError("The query names no case: add case=1");
  throw new MirrorQueryError(`There is no case ${quote(place, 20)}: give 1 to ${MIRROR_CASES.length}`);
}

function agentIn(query: URLSearchParams): string {
  const agent = query.get("agent") ?? "";
  if (agent === "") throw new MirrorQueryError("The query names no agent: add agent=NAME");
  if (agent.length <= MAX_AGENT_CHARS) return agent;
  throw new MirrorQueryError(`The name of the agent has ${agent.length} characters: give at most ${MAX_AGENT_CHARS}`);
}
