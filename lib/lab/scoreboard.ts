/**
 * What clients did in the cases of the lab: bounded in agents, results and bytes.
 *
 * @module
 */

import type { AgentTraits, ClientCase } from "./client_case.ts";
import { MIRROR_CASES } from "./mirror_cases.ts";
import type { CaseResult } from "../check/run_case.ts";
import { type CheckReport, conclude } from "../check/report.ts";
import { OPCODE } from "../protocol/frame.ts";

/** So many agents are kept at most: 16. One more takes the place of the one that has been away longest. */
export const MAX_AGENTS = 16;

/** The longest name of an agent, in characters: 100. */
export const MAX_AGENT_CHARS = 100;

/** So much of what went over connections is kept for all agents, in bytes: 16 MiB. Later results have their grade only. */
export const MAX_DETAIL_BYTES = 16 * 1024 ** 2;

/** So many masking keys of an agent, or of a connection, are compared: 8,192. */
export const MAX_MASKS = 8192;

/** So many keys of handshakes are compared: 1,024. */
const MAX_KEYS = 1024;

/** So many times of visits to a case are kept: 16. */
const MAX_VISITS = 16;

/** The longest head that is kept, in characters. */
const MAX_HEAD_CHARS = 2048;

/** What is known of one agent. */
export class Agent {
  /** Its name, as the URL has it. */
  readonly name: string;
  readonly #startedAt = new Date().toISOString();
  readonly #results = new Map<string, CaseResult>();
  readonly #details = new Map<string, number>();
  readonly #visits = new Map<string, number[]>();
  readonly #running = new Map<string, Promise<unknown>>();
  readonly #masks: number[] = [];
  readonly #keys: string[] = [];

  /**
   * Begins without results.
   *
   * @param name The name.
   */
  constructor(name: string) {
    this.name = name;
  }

  /** How much of what went over its connections is kept, in bytes. */
  get detailBytes(): number {
    return this.#details.values().reduce((sum, bytes) => sum + bytes, 0);
  }

  /**
   * Notes that it came for a case.
   *
   * @param number The number of the case.
   * @param key The key of its handshake.
   * @param end Resolves with the result.
   */
  came(number: string, key: string, end: Promise<unknown>): void {
    const visits = [...this.#visits.get(number) ?? [], performance.now()];
    this.#visits.set(number, visits.slice(-MAX_VISITS));
    if (this.#keys.length < MAX_KEYS) this.#keys.push(key.slice(0, 100));
    this.#running.set(number, end);
    end.finally(() => this.#running.get(number) === end && this.#running.delete(number));
  }

  /** Notes masking keys of a connection. */
  masked(keys: readonly number[]): void {
    this.#masks.push(...keys.slice(0, MAX_MASKS - this.#masks.length));
  }

  /** What is known of it besides the connection of a case. */
  traits(number: string): Pick<AgentTraits, "masks" | "keys" | "visits"> {
    return { masks: this.#masks, keys: this.#keys, visits: this.#visits.get(number) ?? [] };
  }

  /**
   * Keeps a result in place of the one before.
   *
   * @param number The number of the case.
   * @param result The result.
   * @param room How many bytes of it may be kept.
   */
  keep(number: string, result: CaseResult, room: number): void {
    const bytes = detailBytesOf(result);
    const isShown = result.grade !== "pass" && bytes <= room + (this.#details.get(number) ?? 0);
    this.#results.set(number, trimmed(result, isShown));
    this.#details.set(number, isShown ? bytes : 0);
  }

  /** Waits until no case is under way, or one of them. */
  async settled(number?: string): Promise<void> {
    await Promise.allSettled(number === undefined ? this.#running.values() : [this.#running.get(number)]);
  }

  /** The result of a case; `undefined` if it has not been run. */
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

/** All agents. */
export class Scoreboard {
  readonly #agents = new Map<string, Agent>();

  /** The agents; who came last stands last. */
  get agents(): readonly Agent[] {
    return [...this.#agents.values()];
  }

  /**
   * Finds an agent.
   *
   * @param name Its name.
   * @returns The agent; `undefined` if it never came.
   */
  find(name: string): Agent | undefined {
    return this.#agents.get(name);
  }

  /**
   * Notes that an agent came.
   *
   * @param name Its name, of at most 100 characters.
   * @returns The agent, which is a new one if it never came before.
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
   * Keeps a result.
   *
   * @param agent The agent.
   * @param place The case.
   * @param result The result.
   */
  keep(agent: Agent, { number }: ClientCase, result: CaseResult): void {
    const kept = this.agents.reduce((sum, { detailBytes }) => sum + detailBytes, 0);
    agent.keep(number, result, MAX_DETAIL_BYTES - kept);
  }

  /** Waits until no case is under way. */
  async settled(): Promise<void> {
    await Promise.all(this.agents.map((agent) => agent.settled()));
  }
}

/** The fixed part of an entry of a connection, in bytes, about. */
const ENTRY_BYTES = 128;

function detailBytesOf({ seen, request, answer }: CaseResult): number {
  const entries = seen?.wire ?? [];
  const heads = Math.min(request.length, MAX_HEAD_CHARS) + Math.min(answer.length, MAX_HEAD_CHARS);
  return entries.reduce((sum, { start }) => sum + ENTRY_BYTES + start.byteLength, heads);
}

/** Leaves messages away, of which a report shows the beginning only. */
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
