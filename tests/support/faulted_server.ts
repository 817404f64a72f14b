/** The real echo server in its own process, and the promises that it must keep against any peer. */

import { assert, assertEquals } from "@std/assert";
import type { TransportName } from "../../lib/connection/connection.ts";
import { client, reportOf, type ServerProcess, serverProcessWith } from "./command.ts";
import { ORIGIN, TOKEN } from "./faulty_clients.ts";

/** A policy for the public, with limits small enough to reach. */
const POLICY = [
  ["--max-connections", "100"],
  ["--max-message", "1MiB"],
  ["--max-buffered", "1MiB"],
  ["--max-buffered-total", "32MiB"],
  ["--rate", "5000,256MiB"],
  ["--idle-timeout", "2"],
  ["--allow-origin", ORIGIN],
  ["--shutdown-timeout", "3"],
].flat();

/** Deadline for the server to free everything after its peers are gone, in milliseconds. */
const LET_GO_MS = 60_000;

/** Deadline for the peers to meet each kind of refusal, in milliseconds. */
const REFUSED_MS = 60_000;

const CAUSES = [
  "plain-http",
  "method",
  "bad-handshake",
  "version",
  "host",
  "origin",
  "token",
  "connections",
  "draining",
  "gone",
  "head-too-long",
  "head-timeout",
  "head-limit",
];

/** Counts from its log. */
export interface LogCounts {
  opened: number;
  closed: number;
  readonly refused: Map<string, number>;
}

/** A server under attack; dispose of it to kill it. */
export interface FaultedServer extends AsyncDisposable {
  readonly url: string;
  /** Resident memory in MiB, on Linux. */
  residentMib(): Promise<number>;
  /** The number of open descriptors, on Linux. */
  descriptors(): Promise<number>;
  /** Proves an exchange through the real client; returns its duration, in milliseconds. */
  proveExchange(): Promise<number>;
  /**
   * Waits until the server has no more descriptors than this. The runtime's own server leaks the descriptor of a peer
   * that leaves during the upgrade: the log counts those, and they are allowed on top.
   */
  untilDescriptors(most: number): Promise<void>;
  /** Waits until the log shows a refusal for each of these causes. */
  untilRefused(causes: readonly string[]): Promise<void>;
  /** Ends the server as a service manager does, judges its end and its log, and returns the log's counts. */
  end(): Promise<LogCounts>;
}

/** Starts a server. */
export async function faultedServer(transport: TransportName): Promise<FaultedServer> {
  const args = ["--transport", transport, "--log", "json", ...POLICY];
  const server = await serverProcessWith({ env: { WSPROOF_TOKEN: TOKEN } }, ...args);
  // An unread log would block the server.
  const log = new Log();
  const reading = readAll(server, log);
  const { pid } = server.child;
  return {
    url: server.url,
    residentMib: () => residentMib(pid),
    descriptors: () => descriptors(pid),
    proveExchange: () => proveExchange(server.url),
    async untilDescriptors(most) {
      const until = Date.now() + LET_GO_MS;
      const kept = () => transport === "builtin" ? log.neverOpened : 0;
      let now = await descriptors(pid);
      while (now > most + kept() && Date.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        now = await descriptors(pid);
      }
      assert(now <= most + kept(), `${now} descriptors instead of ${most}, and ${kept()} that may be kept`);
    },
    async untilRefused(causes) {
      const until = Date.now() + REFUSED_MS;
      let missing = causes;
      while ((missing = causes.filter((cause) => !log.hasRefused(cause))).length > 0 && Date.now() < until) {
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      assertEquals(missing, [], "nobody was refused for these");
    },
    async end() {
      server.child.kill("SIGTERM");
      await reading;
      assertEquals(await server.ended(), { code: 0, stderr: "" });
      return log.judge();
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await reading;
    },
  };
}

/** Reads lines up to the end of the process. */
async function readAll(server: ServerProcess, log: Log): Promise<void> {
  try {
    while (true) log.take(await server.nextLine());
  } catch {
    // The end of its output.
  }
}

/** Judges a log line by line. */
class Log {
  readonly #open = new Set<number>();
  readonly #ids = new Set<number>();
  readonly #problems: string[] = [];
  readonly #counts: LogCounts = { opened: 0, closed: 0, refused: new Map() };
  #last = "";

  /** Peers that left before their upgrade was complete. */
  get neverOpened(): number {
    return this.#counts.refused.get("gone") ?? 0;
  }

  hasRefused(cause: string): boolean {
    return this.#counts.refused.has(cause);
  }

  take(line: string): void {
    try {
      this.#judge(JSON.parse(line));
    } catch (error) {
      this.#problems.push(`${error instanceof Error ? error.message : error}: ${line.slice(0, 500)}`);
    }
  }

  judge(): LogCounts {
    assertEquals(this.#problems.slice(0, 10), []);
    assertEquals([...this.#open], [], "opened and never closed");
    assertEquals(this.#last, "stopped");
    return this.#counts;
  }

  // deno-lint-ignore no-explicit-any -- read as any program reads the log
  #judge(event: any): void {
    assert(!Number.isNaN(Date.parse(event.time)), "time");
    this.#last = event.type;
    switch (event.type) {
      case "opened":
        assert(!this.#ids.has(event.id), "an id twice");
        this.#ids.add(event.id);
        this.#open.add(event.id);
        this.#counts.opened++;
        return;
      case "closed":
        assert(this.#open.delete(event.id), "closed twice, or never opened");
        this.#counts.closed++;
        return;
      case "refused": {
        const { cause, status, peer } = event;
        assert(CAUSES.includes(cause), "cause");
        assert([0, 400, 401, 403, 405, 408, 421, 426, 431, 503].includes(status), "status");
        // The runtime's own server knows no address of a peer that leaves before the lookup.
        assert(/^(127\.0\.0\.1:\d+|0\.0\.0\.0:0)$/.test(peer), "peer");
        this.#counts.refused.set(cause, (this.#counts.refused.get(cause) ?? 0) + 1);
        return;
      }
      default:
        assert(["listening", "draining", "stopped"].includes(event.type), "type");
    }
  }
}

async function proveExchange(url: string): Promise<number> {
  const credentials = ["--origin", ORIGIN, "-H", `Authorization: Bearer ${TOKEN}`];
  const outcome = await client(["--json", ...credentials, "--size", "100KiB", "--count", "3", url]);
  const report = reportOf(outcome);
  assertEquals([outcome.code, report.verdict], [0, "proven"], report.problem);
  return report.ms;
}

async function residentMib(pid: number): Promise<number> {
  // Reading below /proc would need every permission.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/status`], stderr: "null" }).output();
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(new TextDecoder().decode(stdout))?.[1]) / 1024;
}

async function descriptors(pid: number): Promise<number> {
  const { stdout } = await new Deno.Command("ls", { args: [`/proc/${pid}/fd`], stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim().split("\n").length;
}
