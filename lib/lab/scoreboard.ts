/**
 * The results of clients in the lab's cases: bounded in agents, results and bytes.
 *
 * @module
 */

import type { AgentTraits, ClientCase } from "./client_case.ts";
import { MIRROR_CASES } from "./mirror_cases.ts";
import type { CaseResult } from "../check/run_case.ts";
import { type CheckReport, conclude } from "../check/report.ts";
import { OPCODE } from "../protocol/frame.ts";

/** Maximum number of agents: 16. One more replaces the least recent visitor. */
export const MAX_AGENTS = 16;

/** Maximum length of an agent's name, in characters: 100. */
export const MAX_AGENT_CHARS = 100;

/** Limit of the recorded traffic of all agents, in bytes: 16 MiB. Later results keep only their grade. */
export const MAX_DETAIL_BYTES = 16 * 1024 ** 2;

/** Masking keys to compare of an agent, or of a connection: at most 8,192. */
export const MAX_MASKS = 8192;

/** Handshake keys to compare: at most 1,024. */
const MAX_KEYS = 1024;

/** Visit times to keep for a case: 16. */
const MAX_VISITS = 16;

/** Kept part of a head, in characters. */
const MAX_HEAD_CHARS = 2048;

/** The record of one agent. */
export class Agent {
  /** The name, as in the URL. */
  readonly name: string;
  readonly #startedAt = new Date().toISOString();
  readonly #results = new Map<string, CaseResult>();
  readonly #details = new Map<string, number>();
  readonly #visits = new Map<string, number[]>();
  readonly #running = new Map<string, Promise<unknown>>();
  readonly #masks: number[] = [];
  readonly #keys: string[] = [];

  /**
   * Starts without results.
   *
   * @param name The name.
   */
  constructor(name: string) {
    this.name = name;
  }

  /** Size of the recorded traffic, in bytes. */
  get detailBytes(): number {
    return this.#details.values().reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Records a visit to a case.
   *
   * @param number The number of the case.
   * @param key The handshake key.
   * @param end Resolves with the result.
   */
  came(number: string, key: string, end: Promise<unknown>): void {
    const visits = [...this.#visits.get(number) ?? [], performance.now()];
    this.#visits.set(number, visits.slice(-MAX_VISITS));
    if (this.#keys.length < MAX_KEYS) this.#keys.push(key.slice(0, 100));
    this.#running.set(number, end);
    end.finally(() => this.#running.get(number) === end && this.#running.delete(number));
  }

  /** Records masking keys of a connection. */
  masked(keys: readonly number[]): void {
    this.#masks.push(...keys.slice(0, MAX_MASKS - this.#masks.length));
  }

  /** The traits beyond the connection of a case. */
  traits(number: string): Pick<AgentTraits, "masks" | "keys" | "visits"> {
    return { masks: this.#masks, keys: this.#keys, visits: this.#visits.get(number) ?? [] };
  }

  /**
   * Stores a result in place of the previous one.
   *
   * @param number The number of the case.
   * @param result The result.
   * @param room How many bytes may be kept.
   */
  keep(number: string, result: CaseResult, room: number): void {
    const bytes = detailBytesOf(result);
    const isShown = result.grade !== "pass" && bytes <= room + (this.#details.get(number) ?? 0);
    this.#results.set(number, trimmed(result, isShown));
    this.#details.set(number, isShown ? bytes : 0);
  }

  /** Waits until no case runs, or not this one. */
  async settled(number?: string): Promise<void> {
    await Promise.allSettled(number === undefined ? this.#running.values() : [this.#running.get(number)]);
  }

  /** The result of a case; `undefined` before its first run. */
  result(number: string): CaseResult | undefined {
    return this.#results.get(number);
  }

  /** All results, in the order of the cases. */
  report(): CheckReport {
    const results = MIRROR_CASES.flatMap(({ number }) => this.#results.get(number) ?? []);
    return conclude({
      url: this.name,
      profile: "standard",
      strict: false,
      startedAt: this.#startedAt,
      ms: results.reduce((sum, { ms }) => sum + ms, 0),
      results,
      allIds: MIRROR_CASES.map(({ test }) => test.id),
    });
  }
}

/** The agents. */
export class Scoreboard {
  readonly #agents = new Map<string, Agent>();

  /** All agents; the latest visitor is last. */
  get agents(): readonly Agent[] {
    return [...this.#agents.values()];
  }

  /**
   * Finds an agent.
   *
   * @param name Its name.
   * @returns The agent; `undefined` if unknown.
   */
  find(name: string): Agent | undefined {
    return this.#agents.get(name);
  }

  /**
   * Records the visit of an agent.
   *
   * @param name Its name, of at most 100 characters.
   * @returns The agent; a new one on the first visit.
   *
   * @example
   * ```ts
   * import { MAX_AGENTS, Scoreboard } from "./scoreboard.ts";
   * import { assertEquals } from "@std/assert";
   *
   * const board = new Scoreboard();
   * for (let index = 0; index <= MAX_AGENTS; index++) board.visit(`agent ${index}`);
   * assertEquals(board.find("agent 0"), undefined);
   * assertEquals(board.agents.length, 16);
   * ```
   */
  visit(name: string): Agent {
    const agent = this.#agents.get(name) ?? new Agent(name);
    this.#agents.delete(name);
    this.#agents.set(name, agent);
    const [oldest] = this.#agents.keys();
    if (this.#agents.size > MAX_AGENTS && oldest !== undefined) this.#agents.delete(oldest);
    return agent;
  }

  /**
   * Stores a result.
   *
   * @param agent The agent.
   * @param place The case.
   * @param result The result.
   */
  keep(agent: Agent, { number }: ClientCase, result: CaseResult): void {
    const kept = this.agents.reduce((sum, { detailBytes }) => sum + detailBytes, 0);
    agent.keep(number, result, MAX_DETAIL_BYTES - kept);
  }

  /** Waits until no case runs. */
  async settled(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.settled()));
  }
}

/** Approximate overhead of a traffic entry, in bytes. */
const ENTRY_BYTES = 128;

function detailBytesOf({ seen, request, answer }: CaseResult): number {
  const entries = seen?.wire ?? [];
  const heads = Math.min(request.length, MAX_HEAD_CHARS) + Math.min(answer.length, MAX_HEAD_CHARS);
  return entries.reduce((sum, { start }) => sum + ENTRY_BYTES + start.byteLength, heads);
}

/** Drops messages, as a report shows only their start. */
function trimmed(result: CaseResult, isShown: boolean): CaseResult {
  const { seen, request, answer } = result;
  const close = seen?.frames.find(({ opcode }) => opcode === OPCODE.close);
  return {
    ...result,
    request: isShown ? request.slice(0, MAX_HEAD_CHARS) : "",
    answer: isShown ? answer.slice(0, MAX_HEAD_CHARS) : "",
    seen: seen && {
      ...seen,
      frames: close ? [{ ...close, payload: close.payload.slice(0, 125) }] : [],
      wire: isShown ? seen.wire : [],
    },
  };
}
